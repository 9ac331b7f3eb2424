//! Edges with a right certificate that say what they may not, and too much of everything.

use std::net::{Ipv4Addr, SocketAddrV4};

use link::wire::stream_report::{Direction, State};
use link::wire::{Credit, Envelope, FromEdge, StreamReport, settlement};
use tests::appliance::{LINK_PORT, OWN_EDGE, Setup};
use tests::namespace::{Place, in_namespace};
use tests::process::Mark;
use tests::wait::{Deadline, until};

use super::estate::{Before, Estate, PEER, POLICY};
use super::false_edge::{Deed, FalseEdge, greeting_that_yields};

/// Where the test's own edge listens.
const FALSE_EDGE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 7), LINK_PORT);

/// How much of everything an edge tells, in frames and in items of a frame.
const FRAMES: u64 = 400;
const ITEMS: u64 = 500;

/// What the front end may hold more afterwards: less than all that the edge told, or did not take.
const GROWTH_BYTES_MAX: u64 = 48 * 1024 * 1024;

/// More lines than an edge may cause at once, and in the time of the test.
const LINES_MAX: usize = 20_000;

/// An estate that works, and a false edge beside its own that has said nothing yet.
struct Scene {
    estate: Estate,
    before: Before,
    edge: FalseEdge,
    greeting: FromEdge,
}

fn start(place: &Place) -> Scene {
    let address = FALSE_EDGE.to_string();
    let setup = Setup { policy: POLICY, edges: &[OWN_EDGE, &address], ..Setup::default() };
    let mut estate = Estate::start_setup(place, PEER, &setup);
    estate.exchange_texts();
    let before = estate.look();
    let greeting = greeting_that_yields(&estate.appliance.edges());
    let edge = FalseEdge::start(place.directory(), FALSE_EDGE);
    Scene { estate, before, edge, greeting }
}

fn message(sequence: u64, pair: (&str, &str), from: &str, to: &str) -> Envelope {
    let stanza = format!(
        "<message xmlns='jabber:server' from='{from}' to='{to}' type='chat'><body>x</body></message>"
    );
    let mut id = [9; 16];
    id[8..].copy_from_slice(&sequence.to_be_bytes());
    Envelope {
        sequence,
        id: id.to_vec().into(),
        local_domain: pair.0.to_owned(),
        remote_domain: pair.1.to_owned(),
        stanza: stanza.into_bytes().into(),
        correlation_id: format!("foreign{sequence}"),
        facts: None,
    }
}

/// Stanzas, a report and credit that no edge was given.
fn foreign() -> FromEdge {
    let romeo = "romeo@gw.example";
    let mut doctype = message(6, ("gw.example", "peer.example"), "x@peer.example", romeo);
    doctype.stanza = [b"<!DOCTYPE m>", &doctype.stanza[..]].concat().into();
    let envelopes = vec![
        message(1, ("gw.example", "stranger.example"), "x@stranger.example", romeo),
        message(2, ("elsewhere.example", "peer.example"), "x@peer.example", "y@elsewhere.example"),
        message(3, ("gw.example", "gw.example"), "paris@gw.example", romeo),
        message(4, ("gw.example", "peer.example"), "x@victim.example", romeo),
        message(5, ("gw.example", "peer.example"), "x@sub.peer.example", romeo),
        doctype,
    ];
    let report = StreamReport {
        local_domain: "gw.example".into(),
        remote_domain: "stranger.example".into(),
        direction: Direction::Inbound.into(),
        state: State::Established.into(),
        ..StreamReport::default()
    };
    let credit = Credit {
        local_domain: "gw.example".into(),
        remote_domain: "stranger.example".into(),
        envelopes_max: u32::MAX,
    };
    FromEdge {
        envelopes,
        stream_reports: vec![report],
        credits: vec![credit],
        ..FromEdge::default()
    }
}

#[test]
fn stanzas_for_domains_that_an_edge_was_not_given_are_refused_and_recorded_one_by_one() {
    let test = "hostile::edge_floods::\
        stanzas_for_domains_that_an_edge_was_not_given_are_refused_and_recorded_one_by_one";
    in_namespace(test, |place| {
        let Scene { mut estate, before, edge, greeting } = start(place);
        let frame = foreign();
        let count = frame.envelopes.len();
        edge.tell(Deed::Converse(vec![greeting, frame]));
        edge.wait_for_attachment(Deadline::after_s(60));
        for settlement in edge.wait_for_settlements(count, Deadline::after_s(20)) {
            match settlement.outcome {
                Some(settlement::Outcome::Bounced(it)) => assert_eq!(it.condition, "forbidden"),
                other => panic!("{}: {other:?}", settlement.sequence),
            }
        }
        let words = [
            "a stanza from a domain that is no partner's",
            "a stanza for a domain that is not ours",
            "a stanza of other domains than its envelope",
            "XML that is not acceptable",
            "a report of a stream of domains that the policy does not name",
            "credit for domains that the policy does not name",
        ];
        for reason in words {
            let frontend = estate.appliance.frontend();
            let line = frontend.wait_for_line(reason, Deadline::after_s(10));
            assert!(line.contains("\"edge\":\"edge2\""), "{line}");
        }
        let counted = estate.appliance.frontend_counter("gateway_edge_distrusted_total", "");
        assert_eq!(counted, (count + 2) as f64);
        let shown = estate.appliance.edges().join("\n");
        assert!(shown.contains("edge edge2 at 127.0.0.7:23456"), "its link stands: {shown}");
        assert!(!shown.contains("stranger.example"), "{shown}");
        estate.assert_unharmed_since(&before);
        estate.exchange_texts();
    });
}

/// Reports without end of streams between domains of the policy and of none, and credit.
fn flood() -> Vec<FromEdge> {
    let report = |number: u64, remote: &str| StreamReport {
        local_domain: "gw.example".into(),
        remote_domain: remote.to_owned(),
        direction: Direction::Inbound.into(),
        state: State::Established.into(),
        reason: "\u{1b}[2J".repeat(20),
        number,
        ..StreamReport::default()
    };
    let credit = |number: u64| Credit {
        local_domain: "gw.example".into(),
        remote_domain: format!("{}.stranger{number}.example", "x".repeat(60)),
        envelopes_max: u32::MAX,
    };
    let frame = |frame: u64| {
        let numbers = frame * ITEMS..(frame + 1) * ITEMS;
        let of_strangers = numbers.clone().map(|it| report(it, "stranger.example"));
        let of_peer = numbers.clone().map(|it| report(it, "peer.example"));
        let credits = numbers.map(credit).collect();
        let stream_reports = of_strangers.chain(of_peer).collect();
        FromEdge { stream_reports, credits, ..FromEdge::default() }
    };
    (0..FRAMES).map(frame).collect()
}

#[test]
fn an_edge_that_tells_without_end_takes_neither_memory_nor_the_log() {
    let test =
        "hostile::edge_floods::an_edge_that_tells_without_end_takes_neither_memory_nor_the_log";
    in_namespace(test, |place| {
        let Scene { mut estate, before, edge, greeting } = start(place);
        let mark = estate.appliance.frontend().mark();
        edge.tell(Deed::Converse([vec![greeting], flood()].concat()));
        edge.wait_for_attachment(Deadline::after_s(60));
        edge.wait_until_sent(Deadline::after_s(120));
        let total = (FRAMES * ITEMS) as f64;
        until("everything counted", Deadline::after_s(120), || {
            let strange = estate.appliance.frontend_counter("gateway_edge_distrusted_total", "");
            let streams = estate.appliance.frontend_counter("gateway_streams_total", "established");
            match strange == 2.0 * total && streams >= total {
                true => Ok(()),
                false => Err(format!("{strange} and {streams} of {total}")),
            }
        });
        estate.assert_unharmed_within(&before, GROWTH_BYTES_MAX);
        let frontend = estate.appliance.frontend();
        let lines = frontend.lines_with(mark, "\"edge\":\"edge2\"").len();
        assert!(lines < LINES_MAX, "{lines} lines");
        let told = frontend.lines_with(mark, "an edge tells too much");
        assert!(!told.is_empty());
        let shown = estate.appliance.edges();
        let more = format!("  and {} more streams", FRAMES * ITEMS - 2_000);
        assert!(shown.contains(&more), "{:?}", shown.last());
        estate.exchange_texts();
    });
}

#[test]
fn an_edge_that_takes_nothing_loses_its_link_before_much_waits_for_it() {
    let test = "hostile::edge_floods::\
        an_edge_that_takes_nothing_loses_its_link_before_much_waits_for_it";
    in_namespace(test, |place| {
        let Scene { mut estate, before, edge, greeting } = start(place);
        let pair = ("gw.example", "stranger.example");
        let frame = |frame: u64| {
            let numbers = frame * 250 + 1..=(frame + 1) * 250;
            let envelopes = numbers
                .map(|it| message(it, pair, "x@stranger.example", "romeo@gw.example"))
                .collect();
            FromEdge { envelopes, ..FromEdge::default() }
        };
        let frames = [vec![greeting], (0..600).map(frame).collect()].concat();
        edge.tell(Deed::Send(frames));
        edge.wait_for_attachment(Deadline::after_s(60));
        estate.exchange_texts();
        let frontend = estate.appliance.frontend();
        frontend.wait_for_line("the edge takes no frames", Deadline::after_s(120));
        let read = estate.appliance.frontend_counter("gateway_edge_distrusted_total", "");
        assert!(read < 100_000.0, "{read} of 150000 were read although it took no answer");
        estate.exchange_texts();
        let lost = estate.appliance.frontend().lines_with(Mark::START, "the link is lost");
        assert!(lost.iter().all(|line| line.contains("\"edge\":\"edge2\"")), "{lost:?}");
        let after = estate.appliance.frontend().resident_bytes();
        let growth = after.saturating_sub(before.frontend_bytes());
        assert!(growth < GROWTH_BYTES_MAX, "the front end grew by {growth} bytes");
    });
}
