//! The link to whom it may not open, and the edge without one.

use std::fs;
use std::net::SocketAddrV4;

use tests::appliance::{EDGE, Setup, launch};
use tests::namespace::in_namespace;
use tests::process::Mark;
use tests::test_ca::{Leaf, TestCa};
use tests::wait::{Deadline, until};

use super::estate::{Estate, PEER};
use super::wire::Wire;
use super::xmpp_answers::words;

const HEADER: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' from='peer.example' to='gw.example' \
    version='1.0'>";

/// Opens a stream to the edge, which is to be answered so, and ends it.
fn assert_answer_to_stream(expected: &[&str]) {
    let mut wire = Wire::connect(SocketAddrV4::new(EDGE, 5269));
    wire.send(&[HEADER]);
    wire.read_until(|bytes| words(bytes).len() >= expected.len());
    wire.finish();
    assert_eq!(words(wire.read_to_end().expect("the edge closes the connection")), expected);
}

#[test]
fn a_front_end_of_another_authority_is_refused_and_the_edge_admits_nothing() {
    let test =
        "hostile::link::a_front_end_of_another_authority_is_refused_and_the_edge_admits_nothing";
    in_namespace(test, |place| {
        let ca = TestCa::new(place.directory(), "ca");
        Setup { domain: "gw.example", ..Setup::default() }.write(place, &ca);
        let other = TestCa::new(place.directory(), "other-ca");
        let stranger = other.issue(&Leaf::link("frontend", "frontend1"), "stranger");
        for (from, to) in
            [(stranger.certificate, "frontend-link.pem"), (stranger.key, "frontend-link.key")]
        {
            fs::copy(from, place.directory().join(to)).expect("the directory can be written");
        }
        let mut edge = launch("edge-proxy", "edge", place.directory());
        let deadline = Deadline::after_s(20);
        edge.wait_for_line("the edge is running", deadline);
        let mut frontend = launch("frontend-gateway", "frontend", place.directory());
        edge.wait_for_line("a connection to the link was refused", deadline);
        frontend.wait_for_line("no link to the edge", deadline);

        assert_answer_to_stream(&["header", "error internal-server-error", "end"]);
        let attached = edge.lines_with(Mark::START, "a front end has attached");
        assert!(attached.is_empty(), "{attached:?}");
    });
}

#[test]
fn an_edge_whose_front_end_dies_refuses_peers_at_once_and_serves_them_when_it_is_back() {
    let test = "hostile::link::\
        an_edge_whose_front_end_dies_refuses_peers_at_once_and_serves_them_when_it_is_back";
    in_namespace(test, |place| {
        let mut estate = Estate::start(place, PEER);
        estate.exchange_texts();
        estate.appliance.frontend().kill_9();
        until("an edge that knows of it", Deadline::after_s(20), || {
            match estate.appliance.edge_counter("edge_link_attached", "") {
                0.0 => Ok(()),
                attached => Err(format!("edge_link_attached is {attached}")),
            }
        });
        assert_answer_to_stream(&["header", "error internal-server-error", "end"]);

        estate.appliance.restart_frontend();
        estate.appliance.wait_until_ready();
        assert_answer_to_stream(&["header", "features starttls"]);
        estate.reconnect_romeo();
        estate.exchange_texts();
    });
}
