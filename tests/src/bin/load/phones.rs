//! SIP users: registered with digest over TCP, one or several on a connection.

use std::net::SocketAddr;

use host::socket::Connection;
use sip_proto::auth::{Answer, Challenge, Ha1};
use sip_proto::frame::{Frame, Framer};
use sip_proto::header::TypedHeader;
use sip_proto::limits::Limits;
use sip_proto::message::{Message, OutgoingResponse, Request, Response};
use sip_proto::uri::Uri;
use sip_proto::{Method, StatusCode};
use tests::account::Account;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::partner::Turns;
use crate::tally::{Direction, Tally};
use crate::{LOCAL_DOMAIN, PARTNER_DOMAIN};

/// The password of every user.
const PASSWORD: &str = "romeo-secret";

/// The name of the user with a number.
pub(crate) fn name(user: usize) -> String {
    format!("romeo{user}")
}

/// The account of the user with this name.
pub(crate) fn account(name: &str) -> Account<'_> {
    Account { user: name, domain: LOCAL_DOMAIN, password: PASSWORD }
}

/// One connection with its users.
struct Line {
    connection: Connection,
    framer: Framer,
    local: SocketAddr,
    sequence_number: u32,
    tally: Tally,
    partner: Turns,
}

/// Connects and registers the users, and gives them to a task that sends as they get their turns.
///
/// A message that arrives gives the partner's user of the same number its turn; an answer gives
/// the user itself its next.
pub(crate) async fn connect(
    home: SocketAddr,
    users: impl Iterator<Item = usize>,
    tally: Tally,
    partner: Turns,
) -> mpsc::UnboundedSender<usize> {
    let socket = TcpStream::connect(home).await.expect("the home listens");
    let local = socket.local_addr().expect("the socket is connected");
    let connection = Connection::new(socket).expect("the socket is new");
    let framer = Framer::new(Limits::default());
    let mut line =
        Line { connection, framer, local, sequence_number: 0, tally: tally.clone(), partner };
    for user in users {
        line.register(user).await;
    }
    let (turns, taken) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        line.serve(taken).await;
        tally.fault("the home closed a connection");
    });
    turns
}

impl Line {
    async fn register(&mut self, user: usize) {
        let challenged = self.try_register(user, "").await;
        let challenge = challenged.headers().readable_rows::<Challenge>().next();
        let challenge = challenge.expect("the home asks for a password that MD5 or SHA-256 hash");
        let name = name(user);
        let ha1 = Ha1::compute(challenge.algorithm(), &name, challenge.realm(), PASSWORD);
        let uri = Uri::parse(&format!("sip:{LOCAL_DOMAIN}")).expect("it is a URI");
        let credentials = challenge.answer(&Answer {
            user_name: &name,
            ha1: &ha1,
            method: &Method::Register,
            uri: &uri,
            client_nonce: "load",
            nonce_count: 1,
        });
        let mut authorization = String::from("Authorization: ");
        credentials.write(&mut authorization);
        authorization.push_str("\r\n");
        let answer = self.try_register(user, &authorization).await;
        assert_eq!(answer.status(), StatusCode::OK, "{name} registers");
    }

    async fn try_register(&mut self, user: usize, authorization: &str) -> Response {
        self.sequence_number += 1;
        let (number, local, name) = (self.sequence_number, self.local, name(user));
        let request = format!(
            "REGISTER sip:{LOCAL_DOMAIN} SIP/2.0\r\n\
             Via: SIP/2.0/TCP {local};branch=z9hG4bK{name}r{number}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{name}@{LOCAL_DOMAIN}>;tag=r{name}\r\n\
             To: <sip:{name}@{LOCAL_DOMAIN}>\r\n\
             Call-ID: register-{name}\r\n\
             CSeq: {number} REGISTER\r\n\
             Contact: <sip:{name}@{local};transport=tcp>\r\n\
             Expires: 3600\r\n\
             {authorization}Content-Length: 0\r\n\r\n"
        );
        self.connection.send(&request.into());
        loop {
            if let Some(Frame::Message(Message::Response(response))) = self.framer.poll_frame() {
                return *response;
            }
            let bytes = self.connection.progress(true).await.expect("the home answers");
            assert!(!bytes.is_empty(), "the home closed the connection of {name}");
            self.framer.handle_bytes(&bytes);
        }
    }

    async fn serve(&mut self, mut turns: mpsc::UnboundedReceiver<usize>) {
        loop {
            tokio::select! {
                turn = turns.recv() => match turn {
                    Some(user) => self.say_next(user),
                    None => return,
                },
                bytes = self.connection.progress(true) => match bytes {
                    Ok(bytes) if !bytes.is_empty() => self.framer.handle_bytes(&bytes),
                    _ => return,
                },
            }
            while let Some(frame) = self.framer.poll_frame() {
                match frame {
                    Frame::Message(Message::Request(request)) => self.take(&request),
                    Frame::Message(Message::Response(response)) => self.take_answer(&response),
                    Frame::Ping => {}
                    Frame::Failure(failure) => {
                        self.tally.fault(format!("the home sent what is no SIP: {failure:?}"));
                    }
                }
            }
        }
    }

    /// Answers a message that arrived.
    fn take(&mut self, request: &Request) {
        let response = OutgoingResponse::to(request, StatusCode::OK, Some("phone"));
        self.connection.send(&response.to_bytes());
        self.tally.arrived(&String::from_utf8_lossy(request.body()));
        match request.uri().user().and_then(number_of) {
            // The partner lives as long as the run.
            Some(user) => drop(self.partner.send(user)),
            None => self.tally.fault("a message is for somebody else"),
        }
    }

    fn take_answer(&mut self, response: &Response) {
        if response.status() != StatusCode::OK {
            return self.tally.fault(format!("a user was answered {}", response.status().code()));
        }
        self.tally.confirmed();
        match response.from().uri().user().and_then(number_of) {
            Some(user) => self.say_next(user),
            None => self.tally.fault("an answer is for somebody else"),
        }
    }

    /// Sends the next message of the round from a user to its counterpart.
    fn say_next(&mut self, user: usize) {
        let Some((_, body)) = self.tally.next(Direction::S2x) else { return };
        self.sequence_number += 1;
        let (number, local, length) = (self.sequence_number, self.local, body.len());
        let request = format!(
            "MESSAGE sip:juliet{user}@{PARTNER_DOMAIN} SIP/2.0\r\n\
             Via: SIP/2.0/TCP {local};branch=z9hG4bKr{user}m{number}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:romeo{user}@{LOCAL_DOMAIN}>;tag=m{user}\r\n\
             To: <sip:juliet{user}@{PARTNER_DOMAIN}>\r\n\
             Call-ID: message-{user}\r\n\
             CSeq: {number} MESSAGE\r\n\
             Content-Type: text/plain\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.connection.send(&request.into());
    }
}

/// The number of the user with a name.
fn number_of(name: &str) -> Option<usize> {
    name.strip_prefix("romeo")?.parse().ok()
}
