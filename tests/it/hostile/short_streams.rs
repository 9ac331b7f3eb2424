//! Peers whose streams end before what they sent has been dealt with.

use std::net::{SocketAddrV4, TcpListener};
use std::sync::Arc;

use rustls::ClientConfig;
use tests::namespace::in_namespace;
use tests::process::Mark;
use tests::sip_user::NewMessage;
use tests::test_ca::Leaf;
use tests::wait::{Deadline, until};

use super::estate::{Estate, JULIET_URI, PEER, POLICY};
use super::wire::{Wire, client_config};
use super::xmpp_answers::words;
use super::xmpp_initiating::{FEATURES, HOSTILE, PROCEED};
use super::xmpp_receiving::{AUTH, HEADER, authenticate, begin_tls, connect};

fn certified(estate: &Estate) -> Arc<ClientConfig> {
    let identity = estate.ca.issue(&Leaf::server("peer.example"), "hostile");
    client_config(estate.ca.certificate(), Some(&identity))
}

/// A message that the front end refuses: a domain reads none.
fn message(id: &str) -> String {
    format!(
        "<message from='juliet@peer.example/balcony' to='gw.example' id='{id}' \
         type='chat'><body>{id}</body></message>"
    )
}

#[test]
fn what_is_refused_comes_back_although_its_stream_has_ended() {
    let test = "hostile::short_streams::\
        what_is_refused_comes_back_although_its_stream_has_ended";
    in_namespace(test, |place| {
        let mut estate = Estate::start(place, PEER);
        let certified = certified(&estate);
        for (id, end) in [("closed", "</stream:stream>"), ("dropped", "")] {
            let mark = estate.peer.process().mark();
            let mut wire = authenticate(begin_tls(connect(), Arc::clone(&certified)));
            let last_words = format!("{}{end}", message(id));
            wire.send(&[[HEADER, last_words.as_bytes()].concat().as_slice()]);
            wire.finish();
            wire.read_to_end().expect("the edge closes the connection");
            let deadline = Deadline::after_s(10);
            let line =
                estate.peer.process().wait_for_line_after(mark, &format!("id='{id}'"), deadline);
            assert!(line.contains("type='error'"), "{line}");
        }
    });
}

#[test]
fn streams_that_end_as_soon_as_they_begin_are_not_shown_as_open() {
    const COUNT: usize = 40;
    let test =
        "hostile::short_streams::streams_that_end_as_soon_as_they_begin_are_not_shown_as_open";
    in_namespace(test, |place| {
        let mut estate = Estate::start(place, PEER);
        let certified = certified(&estate);
        for _ in 0..COUNT {
            let mut wire = begin_tls(connect(), Arc::clone(&certified));
            wire.send(&[&[HEADER, AUTH, HEADER, b"</stream:stream>"].concat()]);
            wire.finish();
            wire.read_to_end().expect("the edge closes the connection");
        }
        let expected = [COUNT as f64; 2];
        until("reports of all streams", Deadline::after_s(20), || {
            let counts = ["established", "closed"]
                .map(|it| estate.appliance.frontend_counter("gateway_streams_total", it));
            if counts == expected { Ok(()) } else { Err(format!("{counts:?}")) }
        });
        let shown = estate.appliance.edges();
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert!(shown[0].starts_with("edge edge1 at 127.0.0.3:23456"), "{shown:?}");
        estate.exchange_texts();
        let streams = estate.appliance.edges();
        assert_eq!(streams.len(), 3, "one in each direction: {streams:?}");
    });
}

#[test]
fn what_comes_with_a_stream_that_is_too_many_is_not_taken() {
    let test = "hostile::short_streams::what_comes_with_a_stream_that_is_too_many_is_not_taken";
    in_namespace(test, |place| {
        let limited = r#"domain = "peer.example"
connection_limit = 1"#;
        let policy = POLICY.replace(r#"domain = "peer.example""#, limited);
        let mut estate = Estate::start_with(place, PEER, &policy);
        estate.exchange_texts();
        let before = estate.look();
        let mut wire = begin_tls(connect(), certified(&estate));
        let all_at_once = [HEADER, AUTH, HEADER, message("late").as_bytes()].concat();
        wire.send(&[&all_at_once]);
        let said = wire.read_to_end().expect("the edge closes the connection");
        assert!(words(said).contains(&"error resource-constraint".to_owned()), "{:?}", words(said));
        estate.appliance.edge().wait_for_line("too many streams open", Deadline::after_s(5));
        estate.assert_unharmed_since(&before);
    });
}

#[test]
fn a_peer_that_stalls_in_tls_does_not_keep_the_edge_from_ending() {
    let test = "hostile::short_streams::\
        a_peer_that_stalls_in_tls_does_not_keep_the_edge_from_ending";
    in_namespace(test, |place| {
        let listener = TcpListener::bind(SocketAddrV4::new(HOSTILE, 5269));
        let listener = listener.expect("the address is the test's own");
        let mut estate = Estate::start(place, HOSTILE);
        let text = NewMessage { to: JULIET_URI, body: b"anybody?", ..NewMessage::default() };
        let _begun = estate.romeo.begin_send(&text);
        let (socket, _) = listener.accept().expect("the edge connects");
        let mut wire = Wire::new(socket);
        wire.read_until(|bytes| !words(bytes).is_empty());
        wire.send(&[FEATURES]);
        wire.read_until(|bytes| words(bytes).len() >= 2);
        wire.take_received();
        wire.send(&[PROCEED]);
        assert!(!wire.read_until(|bytes| !bytes.is_empty()).is_empty(), "TLS has begun");

        let status = estate.appliance.edge().terminate(Deadline::after_s(4));
        assert_eq!(status.code(), Some(0));
        assert_eq!(estate.appliance.edge().lines_with(Mark::START, "cut off"), [""; 0]);
    });
}
