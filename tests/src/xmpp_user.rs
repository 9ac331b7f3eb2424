//! An XMPP user: slixmpp, from Debian, driven by `drivers/xmpp_user.py`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::driver::Driver;
use crate::evidence::{BulkLog, BulkOrder, Progress};
use crate::namespace::Place;
use crate::wait::Deadline;

/// The script of the folder `drivers`.
pub const SCRIPT: &str = "xmpp_user.py";

/// A message to send; what is not given is left out of the stanza.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewMessage<'a> {
    /// The recipient's JID.
    pub to: &'a str,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<&'a str>,
    /// The `type` attribute, `chat` if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'a str>,
    /// The `id` attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stanza_id: Option<&'a str>,
    /// The subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'a str>,
    /// The thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<&'a str>,
    /// The language of the stanza.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lang: Option<&'a str>,
    /// More child elements, as XML.
    pub extra: &'a str,
}

/// Presence to send; without a recipient it goes to everybody who may see it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewPresence<'a> {
    /// The recipient's JID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<&'a str>,
    /// The `type` attribute: none for available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'a str>,
    /// The `id` attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stanza_id: Option<&'a str>,
    /// `away`, `chat`, `dnd` or `xa`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub show: Option<&'a str>,
    /// The status text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'a str>,
    /// The priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i8>,
    /// More child elements, as XML.
    pub extra: &'a str,
}

/// A stanza that the user received, of any kind; absent parts are `None`.
#[derive(Clone, Debug, Deserialize)]
pub struct Stanza {
    /// When it was received, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub at_ms: u64,
    /// The `from` attribute.
    pub from: Option<String>,
    /// The `to` attribute.
    pub to: Option<String>,
    /// The `type` attribute.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The `id` attribute.
    pub id: Option<String>,
    /// The language of the stanza.
    pub lang: Option<String>,
    /// The first body of a message.
    pub body: Option<String>,
    /// Every body of a message, by its language, which is empty for the stanza's own.
    pub bodies: BTreeMap<String, String>,
    /// The subject of a message.
    pub subject: Option<String>,
    /// The thread of a message.
    pub thread: Option<String>,
    /// The `show` element of presence.
    pub show: Option<String>,
    /// The status text of presence.
    pub status: Option<String>,
    /// The priority of presence.
    pub priority: Option<String>,
    /// The time of XEP-0203.
    pub delay_stamp: Option<String>,
    /// The error, in a stanza of the type `error`.
    pub error: Option<StanzaError>,
    /// The whole stanza.
    pub xml: String,
}

/// The error of RFC 6120 s.8.3.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct StanzaError {
    /// `auth`, `cancel`, `continue`, `modify` or `wait`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Who made the error.
    pub by: Option<String>,
    /// The defined condition.
    pub condition: Option<String>,
    /// The text for a person.
    pub text: Option<String>,
}

/// What an entity says of itself that its capabilities in presence agree with.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Capabilities {
    /// Category, type, language and name of each identity.
    pub identities: Vec<[String; 4]>,
    /// The features, sorted.
    pub features: Vec<String>,
}

/// What happens to the user unasked.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A message arrived.
    Message(Stanza),
    /// Presence arrived.
    Presence(Stanza),
    /// A request arrived, such as a roster push; slixmpp has answered it.
    Iq(Stanza),
    /// The connection ended.
    Disconnected {
        /// What slixmpp knows of the cause.
        why: String,
        /// The condition of the server's stream error, if it sent one.
        stream_error: Option<String>,
    },
}

/// One account with one connection.
pub struct XmppUser {
    driver: Driver<Event>,
    jid: String,
}

impl XmppUser {
    /// Connects an account to its server and asks for the roster; presence is not sent yet.
    ///
    /// `jid` may have a resource, and has only ASCII.
    ///
    /// # Panics
    ///
    /// When the server does not let the user in.
    pub fn connect(place: &Place, jid: &str, password: &str, server: Ipv4Addr) -> Self {
        Self::connect_with(Driver::start(place, &log_name(jid), SCRIPT), jid, password, server)
    }

    /// Connects an account by `command`, which runs the script elsewhere, such as in a container.
    ///
    /// # Panics
    ///
    /// When the server does not let the user in.
    pub fn connect_by(
        place: &Place,
        command: Command,
        jid: &str,
        password: &str,
        server: Ipv4Addr,
    ) -> Self {
        Self::connect_with(Driver::start_by(place, &log_name(jid), command), jid, password, server)
    }

    fn connect_with(driver: Driver<Event>, jid: &str, password: &str, server: Ipv4Addr) -> Self {
        let mut user = Self { driver, jid: jid.to_owned() };
        user.reconnect(password, server);
        user
    }

    /// Connects once more after the connection ended.
    ///
    /// # Panics
    ///
    /// When the server does not let the user in.
    pub fn reconnect(&mut self, password: &str, server: Ipv4Addr) {
        self.driver.tell(
            "connect",
            json!({ "jid": self.jid, "password": password, "host": server.to_string() }),
        );
    }

    /// Ends the stream.
    pub fn close(&mut self) {
        self.driver.tell("close", Value::Null);
    }

    /// Sends a message.
    pub fn send(&mut self, message: &NewMessage<'_>) {
        self.driver.tell("message", json!(message));
    }

    /// Sends a text of the type `chat`.
    pub fn say(&mut self, to: &str, body: &str) {
        self.send(&NewMessage { to, body: Some(body), ..NewMessage::default() });
    }

    /// Sends presence.
    pub fn send_presence(&mut self, presence: &NewPresence<'_>) {
        self.driver.tell("presence", json!(presence));
    }

    /// Says to everybody who may know that the user is available.
    pub fn be_available(&mut self) {
        self.send_presence(&NewPresence::default());
    }

    /// Sends presence of a type, such as `subscribe`, to one.
    pub fn send_presence_type(&mut self, to: &str, kind: &str) {
        let (to, kind) = (Some(to), Some(kind));
        self.send_presence(&NewPresence { to, kind, ..NewPresence::default() });
    }

    /// Writes XML to the stream as it is.
    pub fn send_raw(&mut self, xml: &str) {
        self.driver.tell("raw", json!({ "xml": xml }));
    }

    /// Waits for the end of the connection; gives the condition of the stream error, if any.
    ///
    /// # Panics
    ///
    /// When the connection stays up.
    pub fn expect_disconnect(&mut self, deadline: Deadline) -> Option<String> {
        self.driver.take_event("the end of the connection", deadline, |event| match event {
            Event::Disconnected { stream_error, .. } => Some(stream_error.clone()),
            _ => None,
        })
    }

    /// Sends an IQ request with `payload` and gives its answer, be it a result or an error.
    ///
    /// # Panics
    ///
    /// When no answer comes.
    pub fn request(&mut self, kind: &str, to: &str, payload: &str) -> Stanza {
        self.driver.ask("iq", json!({ "kind": kind, "to": to, "payload": payload }))
    }

    /// Has slixmpp ask the sender of a presence stanza what it is, and verify the answer by the
    /// capabilities of the stanza (XEP-0115 s.5.4).
    ///
    /// # Panics
    ///
    /// When no answer comes that fits.
    pub fn capabilities(&mut self, presence: &Stanza) -> Capabilities {
        self.driver.ask("capabilities", json!({ "presence": presence.xml }))
    }

    /// Waits for a message for which `is_it` holds, and takes it.
    ///
    /// # Panics
    ///
    /// When none comes, with what came instead.
    pub fn expect_message(
        &mut self,
        awaited: &str,
        deadline: Deadline,
        is_it: impl Fn(&Stanza) -> bool,
    ) -> Stanza {
        self.driver.take_event(awaited, deadline, |event| match event {
            Event::Message(stanza) if is_it(stanza) => Some(stanza.clone()),
            _ => None,
        })
    }

    /// Waits for presence for which `is_it` holds, and takes it.
    ///
    /// # Panics
    ///
    /// When none comes, with what came instead.
    pub fn expect_presence(
        &mut self,
        awaited: &str,
        deadline: Deadline,
        is_it: impl Fn(&Stanza) -> bool,
    ) -> Stanza {
        self.driver.take_event(awaited, deadline, |event| match event {
            Event::Presence(stanza) if is_it(stanza) => Some(stanza.clone()),
            _ => None,
        })
    }

    /// Waits for presence of a type from a bare JID, and takes it.
    ///
    /// # Panics
    ///
    /// When none comes, with what came instead.
    pub fn expect_presence_type(&mut self, from: &str, kind: &str, deadline: Deadline) -> Stanza {
        self.expect_presence(&format!("{kind} from {from}"), deadline, |presence| {
            presence.kind.as_deref() == Some(kind) && presence.is_from(from)
        })
    }

    /// The events that no wait has taken, with every one that happened before the call.
    pub fn waiting_events(&mut self) -> Vec<Event> {
        self.driver.waiting_events().iter().cloned().collect()
    }

    /// Counts messages of a bulk run from here on, instead of reporting each.
    pub fn expect_bulk(&mut self, tag: &str) {
        self.driver.tell("bulk_expect", json!({ "tag": tag }));
    }

    /// Starts sending a bulk run.
    pub fn send_bulk(&mut self, order: &BulkOrder<'_>) {
        self.driver.tell("bulk_send", json!(order));
    }

    /// How far the bulk run is; every message sent counts as settled.
    pub fn bulk_progress(&mut self) -> Progress {
        self.driver.ask("bulk_report", Value::Null)
    }

    /// The log of the bulk run.
    pub fn bulk_log(&mut self) -> BulkLog {
        self.driver.ask("bulk_report", json!({ "entries": true }))
    }
}

fn log_name(jid: &str) -> String {
    jid.replace(['@', '/'], "-")
}

impl Stanza {
    /// Whether it is from a bare JID, with any resource or none.
    pub fn is_from(&self, bare_jid: &str) -> bool {
        self.from.as_deref().and_then(|from| from.split('/').next()) == Some(bare_jid)
    }
}
