//! The XMPP partner: one stream each way, over TLS with SASL EXTERNAL and acknowledgements.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use host::socket::Connection;
use host::tls::{self, PeerIdentity, TrustAnchors};
use rustls::pki_types::{ServerName, UnixTime};
use tests::appliance::EDGE;
use tests::test_ca::{Leaf, TestCa};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use xmpp_proto::jid::Domain;
use xmpp_proto::limits::StreamLimits;
use xmpp_proto::ns;
use xmpp_proto::stream::{
    Admission, Disconnect, DomainPair, InitiatingEvent, InitiatingStream, ReceivedStanza,
    ReceivingEvent, ReceivingStream, SaslTerms, StreamTerms, TlsTerms,
};

use crate::tally::{Direction, Tally};
use crate::{LOCAL_DOMAIN, PARTNER_DOMAIN};

/// The port of streams between servers.
const PORT: u16 = 5269;

/// Turns that are taken before what they caused is written.
const TURNS_MAX: usize = 256;

/// Gives a user of the partner, by its number, the turn to send its next message.
pub(crate) type Turns = mpsc::UnboundedSender<usize>;

#[derive(Clone)]
struct Partner {
    admission: Arc<Admission>,
    trust: Arc<TrustAnchors>,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    tally: Tally,
}

/// Starts the partner's server at `address`, and waits until its own stream takes stanzas.
pub(crate) async fn start(ca: &TestCa, address: Ipv4Addr, tally: Tally) -> Turns {
    let files = ca.issue(&Leaf::server(PARTNER_DOMAIN), "partner");
    let identity = tls::Identity::load(&files.certificate, &files.key);
    let identity = identity.expect("the certificate was just issued");
    let mut trust = TrustAnchors::default();
    trust.add_file(ca.certificate()).expect("the authority was just made");
    let server = tls::federation_server_config(&identity).expect("the identity is sound");
    let client = tls::federation_client_config(&identity).expect("the identity is sound");
    let terms = StreamTerms::new(TlsTerms::Required, SaslTerms::Required, false);
    let terms = terms.expect("the row is valid");
    let admission = Admission {
        local_domains: [domain(PARTNER_DOMAIN)].into(),
        partners: [(domain(LOCAL_DOMAIN), terms)].into(),
        ..Admission::default()
    };
    let partner = Partner {
        admission: Arc::new(admission),
        trust: Arc::new(trust),
        acceptor: TlsAcceptor::from(Arc::new(server)),
        connector: TlsConnector::from(Arc::new(client)),
        tally,
    };
    let listener = TcpListener::bind((address, PORT)).await.expect("the port is free");
    tokio::spawn(listen(partner.clone(), listener));
    let (turns, taken) = mpsc::unbounded_channel();
    let (ready, is_ready) = oneshot::channel();
    let socket = TcpStream::connect((EDGE, PORT)).await.expect("the edge listens");
    tokio::spawn(async move {
        let tally = partner.tally.clone();
        let end = send(partner, socket, taken, ready).await;
        tally.fault(format!("the partner's stream ended: {end}"));
    });
    is_ready.await.expect("the edge takes the partner's stream");
    turns
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).expect("the name is a domain")
}

async fn listen(partner: Partner, listener: TcpListener) {
    while let Ok((socket, _)) = listener.accept().await {
        let partner = partner.clone();
        tokio::spawn(async move {
            let tally = partner.tally.clone();
            let end = receive(partner, socket).await;
            tally.fault(format!("the edge's stream ended: {end}"));
        });
    }
}

impl Partner {
    fn examine(&self, connection: &Connection) -> PeerIdentity {
        PeerIdentity::examine(connection.peer_certificates(), &self.trust, UnixTime::now())
    }
}

/// Takes the edge's stream; returns why it ended.
async fn receive(partner: Partner, socket: TcpStream) -> String {
    let limits = StreamLimits::default();
    // Nothing is to be guessed here, so that any seed will do.
    let mut machine = ReceivingStream::new(limits, [1; 32], Instant::now());
    let mut connection = Connection::new(socket).expect("the socket is new");
    loop {
        while let Some(bytes) = machine.poll_transmit() {
            connection.send(&bytes);
        }
        match machine.poll_event() {
            Some(ReceivingEvent::StartTls) => {
                connection.progress(false).await.expect("the edge reads");
                connection.accept_tls(&partner.acceptor).await.expect("the edge can do TLS");
                machine.handle_tls(Box::new(partner.examine(&connection)), Instant::now());
            }
            Some(ReceivingEvent::Stanza(received)) => {
                if let Some(body) = body(&received) {
                    partner.tally.arrived(&body);
                }
                machine.acknowledge(1, Instant::now());
            }
            Some(ReceivingEvent::Closed(reason)) => return reason.to_string(),
            Some(ReceivingEvent::Authenticated { .. }) => {}
            Some(other) => return format!("unforeseen: {other:?}"),
            None => {
                let due = machine.poll_timeout().map(tokio::time::Instant::from_std);
                tokio::select! {
                    bytes = connection.progress(true) => match bytes {
                        Ok(bytes) if !bytes.is_empty() => {
                            machine.handle_bytes(&bytes, &partner.admission, Instant::now());
                        }
                        _ => machine.handle_disconnect(Disconnect::Lost),
                    },
                    () = sleep_until(due) => {
                        machine.handle_timeout(&partner.admission, Instant::now());
                    }
                }
            }
        }
    }
}

fn body(received: &ReceivedStanza) -> Option<String> {
    let stanza = &received.element;
    if stanza.attribute("type") == Some("error") {
        return Some("a stanza error".to_owned());
    }
    stanza.child(ns::SERVER, "body").map(|body| body.text().into_owned())
}

/// Sends messages as users get their turns; returns why the stream ended.
async fn send(
    partner: Partner,
    socket: TcpStream,
    mut turns: mpsc::UnboundedReceiver<usize>,
    ready: oneshot::Sender<()>,
) -> String {
    let pair = DomainPair { local: domain(PARTNER_DOMAIN), remote: domain(LOCAL_DOMAIN) };
    let mut machine = InitiatingStream::new(pair, StreamLimits::default(), [2; 32], Instant::now());
    let mut connection = Connection::new(socket).expect("the socket is new");
    let mut ready = Some(ready);
    let mut taken = Vec::new();
    loop {
        while let Some(bytes) = machine.poll_transmit() {
            connection.send(&bytes);
        }
        match machine.poll_event() {
            Some(InitiatingEvent::StartTls) => {
                let name = ServerName::try_from(LOCAL_DOMAIN).expect("the name is a domain");
                connection.progress(false).await.expect("the edge reads");
                let handshake = connection.connect_tls(&partner.connector, name);
                handshake.await.expect("the edge can do TLS");
                machine.handle_tls(
                    &partner.examine(&connection),
                    &partner.admission,
                    Instant::now(),
                );
            }
            Some(InitiatingEvent::Ready { .. }) => {
                // Whoever waits for it waits until it is sent.
                let _ = ready.take().map(|ready| ready.send(()));
            }
            Some(InitiatingEvent::Delivered { .. }) => partner.tally.confirmed(),
            Some(InitiatingEvent::Closed(reason)) => return reason.to_string(),
            // The stream is not bidirectional, and every stanza is small.
            Some(
                InitiatingEvent::TooLarge { .. }
                | InitiatingEvent::Verdict { .. }
                | InitiatingEvent::Stanza(_)
                | InitiatingEvent::Bounce(_),
            ) => {}
            None => {
                let due = machine.poll_timeout().map(tokio::time::Instant::from_std);
                tokio::select! {
                    _ = turns.recv_many(&mut taken, TURNS_MAX) => {
                        // A busy server hears all of its users before it writes to a stream.
                        tokio::task::yield_now().await;
                        while let Ok(user) = turns.try_recv() {
                            taken.push(user);
                        }
                        for user in taken.drain(..) {
                            say_next(&mut machine, &partner.tally, user);
                        }
                    }
                    bytes = connection.progress(true) => match bytes {
                        Ok(bytes) if !bytes.is_empty() => {
                            machine.handle_bytes(&bytes, &partner.admission, Instant::now());
                        }
                        _ => machine.handle_disconnect(Disconnect::Lost),
                    },
                    () = sleep_until(due) => machine.handle_timeout(Instant::now()),
                }
            }
        }
    }
}

/// Sends the next message of the round from a user to its counterpart, as a chat client would.
fn say_next(machine: &mut InitiatingStream, tally: &Tally, user: usize) {
    let Some((number, body)) = tally.next(Direction::X2s) else { return };
    let stanza = format!(
        "<message from='juliet{user}@{PARTNER_DOMAIN}/balcony' to='romeo{user}@{LOCAL_DOMAIN}' \
         type='chat' id='chat-{number}' xml:lang='en'><body>{body}</body>\
         <active xmlns='http://jabber.org/protocol/chatstates'/></message>"
    );
    let sent = machine.send_stanza(number as u64, Bytes::from(stanza), Instant::now());
    if let Err(error) = sent {
        tally.fault(format!("the partner cannot send: {error}"));
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
