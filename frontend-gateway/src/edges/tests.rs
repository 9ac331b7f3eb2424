//! What is shown of edges, whatever they tell and however their links end.

use bytes::Bytes;
use link::wire::stream_report::{Direction, State};
use link::wire::{Proof, StreamReport};
use xmpp_proto::jid::Domain;
use xmpp_proto::stream::DomainPair;

use super::streams::LISTED_MAX;
use super::{AddressState, EdgeAddress, Edges};
use crate::links::EdgeId;
use crate::testing::Clock;

const EDGE: EdgeId = EdgeId(1);

fn address(host: u8) -> EdgeAddress {
    let address = ([127, 0, 0, host], 23456).into();
    EdgeAddress { behind: "edges.example:23456".into(), address }
}

fn attached(clock: &Clock) -> Edges {
    let mut edges = Edges::default();
    edges.handle_address(address(3), AddressState::Found, clock.now);
    edges.attach(EDGE, "edge1".into(), clock.now);
    edges.handle_address(address(3), AddressState::Attached(EDGE), clock.now);
    edges.introduce(EDGE, Bytes::from_static(b"0123456789abcdef"));
    edges
}

fn pair() -> DomainPair {
    let domain = |name| Domain::parse(name).unwrap();
    DomainPair { local: domain("contoso.example"), remote: domain("fabrikam.example") }
}

fn report(direction: Direction, number: u64, state: State) -> StreamReport {
    StreamReport {
        direction: direction.into(),
        state: state.into(),
        proof: Proof::SaslExternal.into(),
        number,
        tls_version: 0x0304,
        ..StreamReport::default()
    }
}

/// What is shown, line by line.
fn lines(edges: &Edges, clock: &Clock) -> Vec<String> {
    edges.describe(clock.now).lines().map(str::to_owned).collect()
}

#[test]
fn an_attached_edge_is_shown_with_its_streams_until_they_end() {
    let mut clock = Clock::new();
    let mut edges = attached(&clock);
    let open = StreamReport { age_ms: 180_000, ..report(Direction::Inbound, 7, State::Open) };
    edges.handle_report(EDGE, pair(), &open, clock.now.instant);
    let established =
        StreamReport { direct_tls: true, ..report(Direction::Outbound, 7, State::Established) };
    edges.handle_report(EDGE, pair(), &established, clock.now.instant);
    clock.set(clock.now.instant + std::time::Duration::from_secs(5));
    assert_eq!(
        lines(&edges, &clock),
        [
            "edge edge1 at 127.0.0.3:23456 (edges.example:23456): attached since \
             2027-01-15T08:00:00Z, for 5 s; instance 30313233343536373839616263646566",
            "  inbound\tcontoso.example\tfabrikam.example\tSASL EXTERNAL\tTLS 1.3\topen for 3 min",
            "  outbound\tcontoso.example\tfabrikam.example\tSASL EXTERNAL\tdirect TLS 1.3\t\
             open for 5 s",
        ]
    );
    let bidirectional =
        StreamReport { bidirectional: true, ..report(Direction::Inbound, 8, State::Open) };
    edges.handle_report(EDGE, pair(), &bidirectional, clock.now.instant);
    assert_eq!(
        lines(&edges, &clock)[2],
        "  inbound, both ways\tcontoso.example\tfabrikam.example\tSASL EXTERNAL\tTLS 1.3\t\
         open for 0 s"
    );
    let ended = report(Direction::Inbound, 8, State::Closed);
    edges.handle_report(EDGE, pair(), &ended, clock.now.instant);
    let closed = report(Direction::Outbound, 7, State::Closed);
    edges.handle_report(EDGE, pair(), &closed, clock.now.instant);
    assert_eq!(lines(&edges, &clock).len(), 2);
    edges.detach(EDGE, None, clock.now);
    edges.handle_address(address(3), AddressState::Ended, clock.now);
    assert_eq!(
        lines(&edges, &clock),
        ["address 127.0.0.3:23456 (edges.example:23456): not attached for 0 s: the link has ended"]
    );
}

#[test]
fn the_reason_for_which_we_ended_a_link_is_kept_and_its_time_counts_from_the_first_failure() {
    let mut clock = Clock::new();
    let mut edges = attached(&clock);
    edges.detach(EDGE, Some("it broke a rule".into()), clock.now);
    edges.handle_address(address(3), AddressState::Ended, clock.now);
    assert!(edges.describe(clock.now).ends_with("for 0 s: it broke a rule"));
    clock.set(clock.now.instant + std::time::Duration::from_secs(9));
    edges.handle_address(address(3), AddressState::Failed("refused".into()), clock.now);
    assert!(edges.describe(clock.now).ends_with("for 9 s: refused"));
    edges.handle_address(address(3), AddressState::Gone, clock.now);
    assert_eq!(edges.describe(clock.now), "");
}

#[test]
fn addresses_that_are_dialled_or_taken_and_names_without_any_are_shown() {
    let clock = Clock::new();
    let mut edges = attached(&clock);
    edges.handle_address(address(8), AddressState::Taken("edge1".into()), clock.now);
    edges.handle_address(address(9), AddressState::Found, clock.now);
    edges.handle_name("other.example:23456".into(), Some("no such name".into()));
    let shown = lines(&edges, &clock);
    assert!(shown[1].contains("127.0.0.8:23456") && shown[1].contains("not used: edge edge1"));
    assert!(shown[2].contains("127.0.0.9:23456") && shown[2].contains("it is dialled"));
    assert_eq!(shown[3], "name other.example:23456: not resolved: no such name");
    edges.handle_name("other.example:23456".into(), None);
    assert_eq!(lines(&edges, &clock).len(), 3);
}

#[test]
fn an_edge_that_tells_of_endless_streams_takes_no_more_memory() {
    let clock = Clock::new();
    let mut edges = attached(&clock);
    let count = LISTED_MAX as u64 + 500;
    for number in 0..count {
        let report = report(Direction::Inbound, number, State::Established);
        edges.handle_report(EDGE, pair(), &report, clock.now.instant);
    }
    let shown = lines(&edges, &clock);
    assert_eq!(shown.len(), LISTED_MAX + 2);
    assert_eq!(shown.last().unwrap(), "  and 500 more streams");
    for number in 0..count {
        let report = report(Direction::Inbound, number, State::Closed);
        edges.handle_report(EDGE, pair(), &report, clock.now.instant);
    }
    assert_eq!(lines(&edges, &clock).len(), 1);
}

#[test]
fn what_an_edge_says_does_nothing_to_the_terminal() {
    let clock = Clock::new();
    let mut edges = attached(&clock);
    let words = format!("\u{1b}[2Jit \"refused\"\r\n\u{202e}{}", "x".repeat(10_000));
    edges.handle_address(address(3), AddressState::Failed(words), clock.now);
    let shown = edges.describe(clock.now);
    assert!(!shown.contains(|it: char| it.is_control() || it == '\u{202e}'), "{shown:?}");
    assert!(shown.contains("it \"refused\"") && shown.len() < 1_000, "{shown}");
}
