//! The link: to whom it may not open, edges that break its rules, and the edge without one.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use link::wire::{Accepted, FromEdge, Settlement, settlement};
use tests::appliance::{EDGE, LINK_PORT, OTHER_EDGE_NAME, OWN_EDGE, Setup, launch};
use tests::namespace::in_namespace;
use tests::process::Mark;
use tests::test_ca::{Leaf, TestCa};
use tests::wait::{Deadline, until};

use super::estate::{Estate, PEER, POLICY};
use super::false_edge::{Deed, FalseEdge, greeting};
use super::wire::Wire;
use super::xmpp_answers::words;

/// Where the test's own edge listens.
const FALSE_EDGE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 7), LINK_PORT);

/// The front end gives an edge two seconds to end a link; far less than what a keep-alive takes.
const ENDING_MAX: Duration = Duration::from_secs(5);

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

#[test]
fn an_edge_that_drops_its_links_before_any_frame_is_dialled_less_and_less_often() {
    let test = "hostile::link::\
        an_edge_that_drops_its_links_before_any_frame_is_dialled_less_and_less_often";
    in_namespace(test, |place| {
        let ca = TestCa::new(place.directory(), "ca");
        let address = FALSE_EDGE.to_string();
        Setup { edges: &[OWN_EDGE, &address], ..Setup::default() }.write(place, &ca);
        let edge = FalseEdge::start(place.directory(), FALSE_EDGE);
        let _frontend = launch("frontend-gateway", "frontend", place.directory());
        let attachments = [(); 5].map(|()| {
            edge.tell(Deed::End);
            edge.wait_for_attachment(Deadline::after_s(20))
        });
        let waits = attachments.windows(2).map(|pair| pair[1].duration_since(pair[0]));
        // Half of each wait is left to chance.
        for (wait, least_ms) in waits.zip([125, 250, 500, 1_000]) {
            assert!(wait >= Duration::from_millis(least_ms), "{wait:?} of {least_ms} ms");
        }
    });
}

#[test]
fn an_edge_that_breaks_a_rule_loses_its_link_and_is_dialled_again_while_another_serves() {
    let test = "hostile::link::\
        an_edge_that_breaks_a_rule_loses_its_link_and_is_dialled_again_while_another_serves";
    in_namespace(test, |place| {
        let address = FALSE_EDGE.to_string();
        let setup = Setup { policy: POLICY, edges: &[OWN_EDGE, &address], ..Setup::default() };
        let mut estate = Estate::start_setup(place, PEER, &setup);
        let edge = FalseEdge::start(place.directory(), FALSE_EDGE);
        let outcome = Some(settlement::Outcome::Accepted(Accepted {}));
        let invented = Settlement { sequence: 7, outcome };
        let invented = FromEdge { settlements: vec![invented], ..FromEdge::default() };
        for (number, (frame, violation)) in [
            (invented, "settlement of envelope 7, which is not outstanding"),
            (greeting(), "a hello that is missing or out of place"),
        ]
        .into_iter()
        .enumerate()
        {
            edge.wait_for_attachment(Deadline::after_s(40));
            // It has not introduced itself, so that all goes through the other one.
            estate.exchange_texts();
            let mark = estate.appliance.frontend().mark();
            edge.tell(Deed::Send(vec![greeting(), frame]));
            let sent = edge.wait_until_sent(Deadline::after_s(20));
            let lasted = edge.wait_for_end(Deadline::after_s(20)).duration_since(sent);
            assert!(lasted < ENDING_MAX, "{lasted:?}");
            let frontend = estate.appliance.frontend();
            let line = frontend.wait_for_line_after(mark, violation, Deadline::after_s(5));
            assert!(line.contains("an edge broke the rules of the link"), "{line}");
            let shown = estate.appliance.edges();
            let of_edge = shown.iter().find(|line| line.contains("127.0.0.7:23456"));
            assert!(of_edge.is_some_and(|line| line.contains(violation)), "{shown:?}");
            let counted = estate.appliance.frontend_counter("gateway_link_violations_total", "");
            assert_eq!(counted, (number + 1) as f64);
        }
        edge.wait_for_attachment(Deadline::after_s(40));
        estate.exchange_texts();

        let attached = estate.appliance.edge().lines_with(Mark::START, "a front end has attached");
        assert_eq!(attached.len(), 1, "{attached:?}");
        let lost = estate.appliance.frontend().lines_with(Mark::START, "the link is lost");
        let of_false_edge =
            |line: &String| line.contains(&format!("\"edge\":\"{OTHER_EDGE_NAME}\""));
        assert!(lost.len() == 2 && lost.iter().all(of_false_edge), "{lost:?}");
    });
}

#[test]
fn two_addresses_of_one_edge_make_one_link_which_comes_back_after_the_edge_does() {
    let test = "hostile::link::\
        two_addresses_of_one_edge_make_one_link_which_comes_back_after_the_edge_does";
    in_namespace(test, |place| {
        let ca = TestCa::new(place.directory(), "ca");
        place.name_address("edge.example", EDGE);
        let address = format!("edge.example:{LINK_PORT}");
        let setup = Setup { edges: &[OWN_EDGE, &address], ..Setup::default() };
        let mut appliance = setup.start(place, &ca);
        let warning = "the edge is attached already by another address";
        let frontend = appliance.frontend();
        let line = frontend.wait_for_line(warning, Deadline::after_s(20));
        assert!(line.contains("WARN") && line.contains("\"edge\":\"edge1\""), "{line}");
        let told = Instant::now();
        let again = "the edge is still attached by another address";
        let line = frontend.wait_for_line(again, Deadline::after_s(60));
        assert!(line.contains("DEBUG"), "{line}");
        // Half of the longest wait is left to chance, and some of it to a slow machine.
        assert!(told.elapsed() > Duration::from_secs(10), "{:?}", told.elapsed());
        assert_eq!(frontend.lines_with(Mark::START, warning).len(), 1);
        assert_eq!(appliance.frontend_counter("gateway_link_duplicates_total", ""), 2.0);
        let attached = appliance.edge().lines_with(Mark::START, "a front end has attached");
        assert_eq!(attached.len(), 1, "{attached:?}");

        appliance.restart_edge();
        appliance.edge().wait_for_line("a front end has attached", Deadline::after_s(40));
        appliance.wait_until_ready();
        assert_eq!(appliance.edge_counter("edge_link_replaced_total", ""), 0.0);
    });
}
