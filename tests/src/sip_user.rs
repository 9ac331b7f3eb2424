//! A SIP user: `drivers/sip_user.py`, which shares no code with the engine under test.

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use crate::account::Account;
use crate::driver::{Begun, Driver};
use crate::evidence::{BulkLog, BulkOrder, Progress};
use crate::namespace::Place;
use crate::process::Process;
use crate::wait::Deadline;

/// The script of the folder `drivers`.
pub const SCRIPT: &str = "sip_user.py";

/// How a user reaches a server.
#[derive(Clone, Copy, Debug)]
pub enum Transport<'a> {
    /// TCP.
    Tcp,
    /// TLS.
    Tls {
        /// The name that the server's certificate must have.
        server_name: &'a str,
        /// The authority that must have issued it; without one, anything is taken.
        ca: Option<&'a Path>,
    },
}

/// A MESSAGE to send.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewMessage<'a> {
    /// The recipient's URI, which is also the Request-URI.
    pub to: &'a str,
    /// The body.
    #[serde(rename = "body_hex", serialize_with = "as_hex")]
    pub body: &'a [u8],
    /// The type of the body, `text/plain` if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<&'a str>,
    /// More header fields, such as Subject or Content-Language.
    pub headers: &'a [(&'a str, &'a str)],
    /// The Call-ID; random if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<&'a str>,
    /// The From tag; random if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_tag: Option<&'a str>,
    /// The CSeq number; the next one if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cseq: Option<u32>,
}

/// A request or response that the user received.
#[derive(Clone, Debug, Deserialize)]
pub struct Received {
    /// When it was received, in milliseconds since the Unix epoch; 0 in results of commands.
    #[serde(default)]
    pub at_ms: u64,
    /// What [`SipUser::respond`] needs; 0 for a response.
    #[serde(default)]
    pub key: u64,
    /// The first line.
    pub start_line: String,
    /// The header fields in their order, each with the spelling that it came with.
    pub headers: Vec<(String, String)>,
    /// The body, if it is UTF-8.
    #[serde(default)]
    pub body: String,
    /// The body in hexadecimal, if it is not UTF-8.
    #[serde(default)]
    pub body_hex: Option<String>,
}

impl Received {
    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start_line.split(' ').next().unwrap_or_default()
    }

    /// The first value of a header field by its long name, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }
}

/// The final response to a request of the user.
#[derive(Clone, Debug, Deserialize)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The digest algorithm, if the server challenged the request first.
    pub algorithm: String,
    /// The whole response.
    #[serde(flatten)]
    pub received: Received,
}

/// A subscription of the user, named by its Call-ID.
#[derive(Clone, Debug, Deserialize)]
pub struct Subscription {
    /// The Call-ID, which its NOTIFY requests carry.
    pub call_id: String,
    /// The response to its SUBSCRIBE.
    #[serde(flatten)]
    pub response: Response,
}

/// What happens to the user unasked.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A request arrived.
    Request(Received),
    /// A provisional response arrived.
    Provisional(Received),
    /// A response arrived that answers no request which still waits.
    StrayResponse(Received),
    /// A keep-alive was answered, or sent by the server.
    Pong {},
    /// A connection was opened.
    Connected {
        /// The user's end of it.
        local_port: u16,
    },
    /// The connection ended.
    Disconnected {
        /// The cause.
        why: String,
    },
}

/// One user agent with one address-of-record.
pub struct SipUser {
    driver: Driver<Event>,
    aor: String,
}

impl SipUser {
    /// Starts the user agent of an account; it does not connect yet.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(place: &Place, account: &Account<'_>) -> Self {
        Self::start_with(Driver::start(place, &log_name(account), SCRIPT), account)
    }

    /// Starts the user agent by `command`, which runs the script elsewhere, such as in a container.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start_by(place: &Place, command: Command, account: &Account<'_>) -> Self {
        Self::start_with(Driver::start_by(place, &log_name(account), command), account)
    }

    fn start_with(mut driver: Driver<Event>, account: &Account<'_>) -> Self {
        let Account { user, domain, password } = account;
        driver.tell("identify", json!({ "user": user, "domain": domain, "password": password }));
        Self { driver, aor: account.aor() }
    }

    /// Limits the digest algorithms that the user can do, such as `MD5` and `SHA-256`.
    pub fn limit_algorithms(&mut self, algorithms: &[&str]) {
        self.driver.tell("limit_algorithms", json!({ "algorithms": algorithms }));
    }

    /// Opens a connection, by which all later requests leave.
    ///
    /// # Panics
    ///
    /// When the server refuses it or its certificate does not verify.
    pub fn connect(&mut self, server: SocketAddrV4, transport: Transport<'_>) {
        let result = self.try_connect(server, transport);
        result.unwrap_or_else(|why| panic!("{}: {why}", self.aor));
    }

    /// Opens a connection, or says why it cannot.
    pub fn try_connect(
        &mut self,
        server: SocketAddrV4,
        transport: Transport<'_>,
    ) -> Result<(), String> {
        let (host, port) = (server.ip().to_string(), server.port());
        let mut arguments = json!({ "host": host, "port": port });
        if let Transport::Tls { server_name, ca } = transport {
            arguments["transport"] = json!("tls");
            arguments["server_name"] = json!(server_name);
            arguments["ca"] = json!(ca);
        }
        self.driver.try_call("connect", arguments).map(drop)
    }

    /// Opens a connection like the last one.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub fn reconnect(&mut self) {
        self.driver.tell("reconnect", Value::Null);
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.driver.tell("close", Value::Null);
    }

    /// Accepts connections over TCP, and names this address in Contact from here on.
    ///
    /// # Panics
    ///
    /// When the address is taken.
    pub fn listen(&mut self, address: SocketAddrV4) {
        let (host, port) = (address.ip().to_string(), address.port());
        self.driver.tell("listen", json!({ "address": host, "port": port }));
    }

    /// Registers for some seconds, or removes the binding with 0.
    pub fn register(&mut self, expires_s: u32) -> Response {
        self.driver.ask("register", json!({ "expires": expires_s }))
    }

    /// Connects and registers again from here on, whenever the connection is lost.
    pub fn stay_registered(&mut self) {
        self.driver.tell("stay_registered", Value::Null);
    }

    /// Sends a MESSAGE and waits for its final response.
    pub fn send(&mut self, message: &NewMessage<'_>) -> Response {
        self.driver.ask("message", json!(message))
    }

    /// Sends a text and waits for its final response.
    pub fn say(&mut self, to: &str, body: &str) -> Response {
        self.send(&NewMessage { to, body: body.as_bytes(), ..NewMessage::default() })
    }

    /// Sends a MESSAGE; [`SipUser::finish`] waits for its final response.
    pub fn begin_send(&mut self, message: &NewMessage<'_>) -> Begun {
        self.driver.begin("message", json!(message))
    }

    /// Waits for the final response to a request that was begun.
    ///
    /// # Panics
    ///
    /// When the request fails without one.
    pub fn finish(&mut self, begun: Begun, deadline: Deadline) -> Response {
        let result = self.driver.finish(begun, deadline);
        self.driver.read_result(result)
    }

    /// Sends a request of any kind outside a dialog and waits for its final response.
    pub fn request(
        &mut self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        self.driver.ask(
            "request",
            json!({ "method": method, "uri": uri, "headers": headers, "body": body }),
        )
    }

    /// Subscribes to the presence of `to` for some seconds, or polls with 0.
    pub fn subscribe(&mut self, to: &str, expires_s: u32) -> Subscription {
        self.driver.ask("subscribe", json!({ "to": to, "expires": expires_s }))
    }

    /// Refreshes a subscription for some seconds, or ends it with 0.
    pub fn resubscribe(&mut self, subscription: &Subscription, expires_s: u32) -> Response {
        let call_id = &subscription.call_id;
        self.driver.ask("resubscribe", json!({ "call_id": call_id, "expires": expires_s }))
    }

    /// Publishes or modifies the user's own presence, as a PIDF document.
    pub fn publish(&mut self, pidf: &str, expires_s: u32) -> Response {
        self.driver.ask("publish", json!({ "body": pidf, "expires": expires_s }))
    }

    /// Refreshes what is published for some seconds, or removes it with 0.
    pub fn republish(&mut self, expires_s: u32) -> Response {
        self.driver.ask("publish", json!({ "expires": expires_s }))
    }

    /// Writes bytes to the connection as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.driver.tell("raw", json!({ "data_hex": hex(bytes) }));
    }

    /// Answers requests of a method with a status after a while, in milliseconds.
    pub fn answer(&mut self, method: &str, status: u16, delay_ms: u32) {
        let arguments = json!({ "method": method, "status": status, "delay_ms": delay_ms });
        self.driver.tell("answer", arguments);
    }

    /// Leaves requests of a method unanswered until [`SipUser::respond`] is called.
    pub fn leave_unanswered(&mut self, method: &str) {
        self.driver.tell("answer", json!({ "method": method, "status": null }));
    }

    /// Answers one request that was left unanswered.
    pub fn respond(&mut self, request: &Received, status: u16, headers: &[(&str, &str)]) {
        self.driver
            .tell("respond", json!({ "key": request.key, "status": status, "headers": headers }));
    }

    /// Waits for a request of a method for which `is_it` holds, and takes it.
    ///
    /// # Panics
    ///
    /// When none comes, with what came instead.
    pub fn expect_request(
        &mut self,
        method: &str,
        awaited: &str,
        deadline: Deadline,
        is_it: impl Fn(&Received) -> bool,
    ) -> Received {
        self.driver.take_event(&format!("{method}: {awaited}"), deadline, |event| match event {
            Event::Request(request) if request.method() == method && is_it(request) => {
                Some(request.clone())
            }
            _ => None,
        })
    }

    /// Waits for a MESSAGE with this body, and takes it.
    ///
    /// # Panics
    ///
    /// When none comes, with what came instead.
    pub fn expect_text(&mut self, body: &str, deadline: Deadline) -> Received {
        self.expect_request("MESSAGE", body, deadline, |request| request.body == body)
    }

    /// Waits for a NOTIFY of a subscription for which `is_it` holds, and takes it.
    ///
    /// # Panics
    ///
    /// When none comes, with what came instead.
    pub fn expect_notify(
        &mut self,
        subscription: &Subscription,
        awaited: &str,
        deadline: Deadline,
        is_it: impl Fn(&Received) -> bool,
    ) -> Received {
        self.expect_request("NOTIFY", awaited, deadline, |request| {
            request.header("Call-ID") == subscription.call_id && is_it(request)
        })
    }

    /// Waits for the answer to a keep-alive.
    ///
    /// # Panics
    ///
    /// When none comes.
    pub fn expect_pong(&mut self, deadline: Deadline) {
        self.driver
            .take_event("a pong", deadline, |event| matches!(event, Event::Pong {}).then_some(()));
    }

    /// Waits for the end of the connection.
    ///
    /// # Panics
    ///
    /// When it stays up.
    pub fn expect_disconnect(&mut self, deadline: Deadline) {
        self.driver.take_event("the end of the connection", deadline, |event| {
            matches!(event, Event::Disconnected { .. }).then_some(())
        });
    }

    /// The process of the driver: its log and its end.
    pub fn process(&mut self) -> &mut Process {
        self.driver.process()
    }

    /// The events that no wait has taken, with every one that happened before the call.
    pub fn waiting_events(&mut self) -> Vec<Event> {
        self.driver.waiting_events().iter().cloned().collect()
    }

    /// Counts MESSAGEs of a bulk run from here on, instead of reporting each.
    pub fn expect_bulk(&mut self, tag: &str) {
        self.driver.tell("bulk_expect", json!({ "tag": tag }));
    }

    /// Starts sending a bulk run: one message in flight for each recipient.
    ///
    /// A message without an answer is sent again as the same request, over a connection that is
    /// opened and registered again if need be, until `give_up_s` seconds have passed.
    pub fn send_bulk(&mut self, order: &BulkOrder<'_>, answer_wait_s: u32, give_up_s: u32) {
        let mut arguments = json!(order);
        arguments["answer_wait_s"] = json!(answer_wait_s);
        arguments["give_up_s"] = json!(give_up_s);
        self.driver.tell("bulk_send", arguments);
    }

    /// How far the bulk run is.
    pub fn bulk_progress(&mut self) -> Progress {
        self.driver.ask("bulk_report", Value::Null)
    }

    /// The log of the bulk run.
    pub fn bulk_log(&mut self) -> BulkLog {
        self.driver.ask("bulk_report", json!({ "entries": true }))
    }
}

fn log_name(account: &Account<'_>) -> String {
    format!("{}-{}", account.user, account.domain)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn as_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

/// A presence document with one tuple: `open` or closed, and a note if it is not empty.
pub fn pidf(entity: &str, is_open: bool, note: &str) -> String {
    let basic = if is_open { "open" } else { "closed" };
    let note = if note.is_empty() { String::new() } else { format!("<note>{note}</note>") };
    format!(
        "<?xml version='1.0' encoding='UTF-8'?>\
         <presence xmlns='urn:ietf:params:xml:ns:pidf' entity='{entity}'>\
         <tuple id='t1'><status><basic>{basic}</basic></status>{note}</tuple></presence>"
    )
}
