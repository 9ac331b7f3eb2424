//! Hostile peers that we connect to: what they answer us harms nobody, and loses no message.

use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::{io, thread};

use rustls::ServerConfig;
use tests::namespace::{Place, in_namespace};
use tests::sip_user::NewMessage;
use tests::test_ca::Leaf;
use tests::wait::{Deadline, until};

use super::corpus::{XmppRow, xmpp_rows};
use super::delivery::Delivery;
use super::estate::{Estate, JULIET_URI, PEER, POLICY};
use super::wire::{Wire, server_config};
use super::xmpp_answers::words;

/// Where DNS says that peer.example is, and where the hostile peer listens.
pub(super) const HOSTILE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);

/// The first line of the peer's row of the policy.
const PEER_ROW: &str = "domain = \"peer.example\"";

pub(super) const FEATURES: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' from='peer.example' to='gw.example' id='i1' \
    version='1.0'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\
    </stream:features>";
pub(super) const PROCEED: &[u8] = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// The way to peer.example: to a hostile peer, or on to the good one.
struct Crossing {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    policy_count: u32,
}

#[test]
fn whatever_answers_us_before_tls_harms_nobody_and_loses_no_message() {
    let test = "hostile::xmpp_initiating::\
        whatever_answers_us_before_tls_harms_nobody_and_loses_no_message";
    in_namespace(test, |place| attack(place, "initiator-pre-tls"));
}

#[test]
fn whatever_answers_us_after_tls_harms_nobody_and_loses_no_message() {
    let test = "hostile::xmpp_initiating::\
        whatever_answers_us_after_tls_harms_nobody_and_loses_no_message";
    in_namespace(test, |place| attack(place, "initiator-post-tls"));
}

fn attack(place: &Place, phase: &str) {
    let mut estate = Estate::start(place, HOSTILE);
    let mut crossing = Crossing::new(&estate);
    let before = estate.look();
    let (refused, delivered): (Vec<XmppRow>, Vec<XmppRow>) =
        xmpp_rows(phase).into_iter().partition(|row| row.sender == "refused");
    for row in &refused {
        for delivery in Delivery::all(row.number) {
            crossing.change_policy(place, &estate);
            let begun = estate.romeo.begin_send(&to_juliet(&row.file));
            crossing.answer(row, phase, delivery);
            let status = estate.romeo.finish(begun, Deadline::after_s(20)).status;
            assert_eq!(status, 408, "{} {delivery}", row.file);
        }
    }
    crossing.change_policy(place, &estate);
    let text = "through it all";
    let begun = estate.romeo.begin_send(&to_juliet(text));
    for row in &delivered {
        assert_eq!(row.sender, "delivered", "{}", row.file);
        for delivery in Delivery::all(row.number) {
            crossing.answer(row, phase, delivery);
            crossing.change_policy(place, &estate);
        }
    }
    estate.assert_unharmed_since(&before);
    crossing.let_through();
    let status = estate.romeo.finish(begun, Deadline::after_s(20)).status;
    assert!(status == 200 || status == 202, "{status}");
    estate.expect_at_juliet(text);
    estate.exchange_texts();
    estate.assert_nothing_waits_at_juliet();
}

fn to_juliet(text: &str) -> NewMessage<'_> {
    NewMessage { to: JULIET_URI, body: text.as_bytes(), ..NewMessage::default() }
}

impl Crossing {
    fn new(estate: &Estate) -> Self {
        let listener = TcpListener::bind(SocketAddrV4::new(HOSTILE, 5269));
        let identity = estate.ca.issue(&Leaf::server("peer.example"), "hostile");
        Self {
            listener: listener.expect("the address is the test's own"),
            tls: server_config(&identity),
            policy_count: 0,
        }
    }

    /// Answers the next connection with the file, and compares what we say to it with the index.
    fn answer(&self, row: &XmppRow, phase: &str, delivery: Delivery) {
        let what = format!("{} {delivery}", row.file);
        let mut wire = Wire::new(self.accept(&what));
        wire.read_until(|bytes| !words(bytes).is_empty());
        if phase == "initiator-post-tls" {
            wire.send(&[FEATURES]);
            let said = wire.read_until(|bytes| words(bytes).len() >= 2);
            assert_eq!(words(said), ["header", "starttls"], "{what}");
            wire.send(&[PROCEED]);
            wire = wire.accept_tls(Arc::clone(&self.tls));
            wire.read_until(|bytes| !words(bytes).is_empty());
        }
        wire.send(&delivery.pieces(&row.input));
        wire.read_until(|bytes| words(bytes).len() >= row.answer.len());
        wire.finish();
        let said = wire.read_to_end();
        let said = said.unwrap_or_else(|| panic!("{what}: we stay connected"));
        assert_eq!(words(said), row.answer, "{what}");
    }

    fn accept(&self, what: &str) -> TcpStream {
        self.listener.set_nonblocking(true).expect("a socket has options");
        let (socket, _) =
            until(&format!("a connection, for {what}"), Deadline::after_s(20), || {
                self.listener.accept().map_err(|error| error.to_string())
            });
        socket.set_nonblocking(false).expect("a socket has options");
        socket
    }

    /// Leads the next connections to the good peer.
    fn let_through(self) {
        self.listener.set_nonblocking(false).expect("a socket has options");
        thread::spawn(move || {
            while let Ok((from, _)) = self.listener.accept() {
                let to = TcpStream::connect(SocketAddrV4::new(PEER, 5269));
                carry(&from, &to.expect("the good peer is there"));
            }
        });
    }

    /// Applies a policy that differs from the last in how long messages wait, so that what failed
    /// is tried again at once.
    fn change_policy(&mut self, place: &Place, estate: &Estate) {
        self.policy_count += 1;
        let age = format!("{PEER_ROW}\nqueue = {{ age_s_max = {} }}", 60 + self.policy_count);
        let policy = POLICY.replace(PEER_ROW, &age);
        let path = place.write("changed.toml", &policy);
        let path = path.to_str().expect("the test's directory is UTF-8");
        let output = estate.appliance.command(&["apply", path], "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Carries bytes both ways, each in a thread of its own, until an end closes.
fn carry(one: &TcpStream, other: &TcpStream) {
    for (from, to) in [(one, other), (other, one)] {
        let mut from = from.try_clone().expect("a socket can be shared");
        let mut to = to.try_clone().expect("a socket can be shared");
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}
