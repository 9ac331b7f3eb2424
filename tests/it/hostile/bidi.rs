//! Hostile peers on streams that carry both directions (XEP-0288).

use std::net::{SocketAddrV4, TcpListener};
use std::sync::Arc;

use rustls::ServerConfig;
use tests::namespace::in_namespace;
use tests::sip_user::NewMessage;
use tests::test_ca::Leaf;
use tests::wait::Deadline;

use super::corpus::Peer;
use super::estate::{Estate, JULIET_URI, PEER};
use super::wire::{Wire, server_config};
use super::xmpp_answers::words;
use super::xmpp_initiating::{FEATURES, HOSTILE, PROCEED};
use super::xmpp_receiving::{AUTH, Configs, HEADER, begin_tls, connect};

const BIDI: &[u8] = b"<bidi xmlns='urn:xmpp:bidi'/>";
const OFFER: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' from='peer.example' to='gw.example' id='i2' \
    version='1.0'><stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>EXTERNAL</mechanism></mechanisms><bidi xmlns='urn:xmpp:features:bidi'/>\
    </stream:features>";
const SUCCESS: &[u8] = b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const NO_FEATURES: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' from='peer.example' to='gw.example' id='i3' \
    version='1.0'><stream:features/>";

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// Takes a connection of the edge up to its first message, having let it ask for both directions.
fn take_message(listener: &TcpListener, tls: &Arc<ServerConfig>) -> Wire {
    let (socket, _) = listener.accept().expect("the edge connects");
    let mut wire = Wire::new(socket);
    wire.read_until(|bytes| !words(bytes).is_empty());
    wire.send(&[FEATURES]);
    wire.read_until(|bytes| words(bytes).len() >= 2);
    wire.send(&[PROCEED]);
    let mut wire = wire.accept_tls(Arc::clone(tls));
    wire.read_until(|bytes| !words(bytes).is_empty());
    wire.send(&[OFFER]);
    let said = wire.read_until(|bytes| holds(bytes, b"</auth>"));
    assert!(holds(said, b"</bidi><auth "), "{}", String::from_utf8_lossy(said));
    wire.take_received();
    wire.send(&[SUCCESS]);
    wire.read_until(|bytes| !words(bytes).is_empty());
    wire.send(&[NO_FEATURES]);
    wire.read_until(|bytes| holds(bytes, b"</message>"));
    wire
}

#[test]
fn a_server_that_speaks_for_others_on_our_stream_ends_it_and_nothing_gets_in() {
    let test = "hostile::bidi::\
        a_server_that_speaks_for_others_on_our_stream_ends_it_and_nothing_gets_in";
    in_namespace(test, |place| {
        let listener = TcpListener::bind(SocketAddrV4::new(HOSTILE, 5269));
        let listener = listener.expect("the address is the test's own");
        let mut estate = Estate::start(place, HOSTILE);
        let tls = server_config(&estate.ca.issue(&Leaf::server("peer.example"), "hostile"));
        let before = estate.look();
        for (from, to, answer) in [
            ("juliet@victim.example", "romeo@gw.example", "error invalid-from"),
            ("juliet@sub.peer.example", "romeo@gw.example", "error invalid-from"),
            ("juliet@peer.example", "romeo@victim.example", "error host-unknown"),
            ("juliet@peer.example", "", "error improper-addressing"),
        ] {
            let text = NewMessage { to: JULIET_URI, body: b"anybody?", ..NewMessage::default() };
            let begun = estate.romeo.begin_send(&text);
            let mut wire = take_message(&listener, &tls);
            let forged = format!("<message from='{from}' to='{to}'><body>forged</body></message>");
            wire.send(&[forged.as_bytes()]);
            wire.read_until(|bytes| holds(bytes, b"</stream:stream>"));
            wire.finish();
            let said = wire.read_to_end().expect("the edge closes the connection");
            assert!(words(said).contains(&answer.to_owned()), "{from}: {:?}", words(said));
            // What the peer had got and not confirmed is not said to be delivered.
            assert_eq!(estate.romeo.finish(begun, Deadline::after_s(20)).status, 408, "{from}");
        }
        estate.assert_unharmed_since(&before);
    });
}

#[test]
fn a_peer_that_takes_a_message_on_its_stream_and_goes_leaves_it_in_doubt_and_untold() {
    let test = "hostile::bidi::\
        a_peer_that_takes_a_message_on_its_stream_and_goes_leaves_it_in_doubt_and_untold";
    in_namespace(test, |place| {
        let mut estate = Estate::start(place, PEER);
        let config = Configs::new(&estate).of(Peer::Certified);
        let mut wire = begin_tls(connect(), config);
        wire.send(&[HEADER, BIDI, BIDI, AUTH]);
        wire.read_until(|bytes| words(bytes).len() >= 3);
        wire.take_received();
        wire.send(&[HEADER]);
        wire.read_until(|bytes| words(bytes).len() >= 2);
        let text = NewMessage { to: JULIET_URI, body: b"lost", ..NewMessage::default() };
        let begun = estate.romeo.begin_send(&text);
        let said = wire.read_until(|bytes| holds(bytes, b"</message>"));
        assert!(holds(said, b"<body>lost</body>"), "{}", String::from_utf8_lossy(said));
        wire.finish();
        drop(wire);
        assert_eq!(estate.romeo.finish(begun, Deadline::after_s(20)).status, 408);
        estate.exchange_texts();
        estate.assert_nothing_waits_at_juliet();
    });
}

#[test]
fn a_peer_that_asks_where_nothing_is_offered_gets_no_message() {
    let test = "hostile::bidi::a_peer_that_asks_where_nothing_is_offered_gets_no_message";
    in_namespace(test, |place| {
        let mut estate = Estate::start(place, PEER);
        let config = Configs::new(&estate).of(Peer::Certified);
        let mut wire = connect();
        wire.send(&[HEADER, BIDI]);
        wire.read_until(|bytes| words(bytes).len() >= 2);
        wire.send(&[b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"]);
        wire.read_until(|bytes| words(bytes).len() >= 3);
        let mut wire = wire.connect_tls(config, "gw.example");
        wire.send(&[HEADER, AUTH]);
        wire.read_until(|bytes| words(bytes).len() >= 3);
        wire.take_received();
        wire.send(&[HEADER, BIDI]);
        wire.read_until(|bytes| words(bytes).len() >= 2);
        assert_eq!(estate.romeo.say(JULIET_URI, "to the real one").status, 200);
        estate.expect_at_juliet("to the real one");
        wire.send(&[b"</stream:stream>"]);
        wire.finish();
        let said = wire.read_to_end().expect("the edge closes the connection");
        assert!(!holds(said, b"<message"), "{}", String::from_utf8_lossy(said));
    });
}
