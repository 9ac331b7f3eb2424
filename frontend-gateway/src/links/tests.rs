//! The links under loss, credit, and edges that break the rules.

use std::time::{Duration, Instant};

use bytes::Bytes;
use link::sequence::SequenceError;
use link::wire::{
    self as wire, Accepted, Bounced, Credit, Envelope, FromEdge, FromFrontend, Hello, Settlement,
    settlement,
};
use xmpp_proto::jid::Domain;
use xmpp_proto::stream::DomainPair;

use super::{
    EdgeId, LINK_WAIT_MAX, LinkEvent, LinkViolation, Links, Outbound, SETTLE_MAX,
    WAITING_OF_PAIR_MAX,
};

const A: EdgeId = EdgeId(1);
const B: EdgeId = EdgeId(2);

fn hello(name: &str) -> Hello {
    let instance = Bytes::from_static(b"0123456789abcdef");
    Hello { version: link::VERSION, name: name.into(), instance }
}

fn links() -> Links<u64> {
    Links::new(hello("fe"))
}

fn attach(links: &mut Links<u64>, id: EdgeId, name: &str) {
    links.attach(id, name.into());
    let greeting = FromEdge { hello: Some(hello(name)), ..FromEdge::default() };
    links.handle_frame(id, greeting, credit_max, Instant::now(), &mut Vec::new()).unwrap();
}

/// What policy lets wait of any pair but one.
fn credit_max(pair: &DomainPair) -> Option<u32> {
    (pair.remote.as_str() != "stranger.example").then_some(5_000)
}

fn outbound(purpose: u64) -> Outbound<u64> {
    let domain = |name| Domain::parse(name).unwrap();
    let pair = DomainPair { local: domain("contoso.example"), remote: domain("fabrikam.example") };
    let mut id = [0; 16];
    id[8..].copy_from_slice(&purpose.to_be_bytes());
    Outbound {
        id,
        pair,
        stanza: Bytes::new(),
        correlation_id: String::new(),
        is_awaited: true,
        purpose,
    }
}

fn frames(links: &mut Links<u64>) -> Vec<(EdgeId, FromFrontend)> {
    std::iter::from_fn(|| links.poll_frame()).collect()
}

/// Returns the edge, sequence and purpose of each envelope that is to be sent.
fn given(links: &mut Links<u64>) -> Vec<(EdgeId, u64, u64)> {
    let mut given = Vec::new();
    for (edge, frame) in frames(links) {
        for envelope in frame.envelopes {
            let purpose = u64::from_be_bytes(envelope.id[8..].try_into().unwrap());
            given.push((edge, envelope.sequence, purpose));
        }
    }
    given
}

fn settlement(sequence: u64) -> FromEdge {
    let outcome = Some(settlement::Outcome::Accepted(Accepted {}));
    FromEdge { settlements: vec![Settlement { sequence, outcome }], ..FromEdge::default() }
}

fn envelope(sequence: u64) -> FromEdge {
    let envelope = Envelope {
        sequence,
        local_domain: "contoso.example".into(),
        remote_domain: "fabrikam.example".into(),
        ..Envelope::default()
    };
    FromEdge { envelopes: vec![envelope], ..FromEdge::default() }
}

fn credit(envelopes_max: u32) -> FromEdge {
    let credit = Credit {
        local_domain: "contoso.example".into(),
        remote_domain: "fabrikam.example".into(),
        envelopes_max,
    };
    FromEdge { credits: vec![credit], ..FromEdge::default() }
}

#[test]
fn stanzas_wait_for_an_edge_and_go_in_order() {
    let (mut links, now) = (links(), Instant::now());
    for purpose in 1..=3 {
        links.send(outbound(purpose), now).unwrap();
    }
    assert_eq!(given(&mut links), []);
    attach(&mut links, A, "edge");
    links.send(outbound(4), now).unwrap();
    assert_eq!(given(&mut links), [(A, 1, 1), (A, 2, 2), (A, 3, 3), (A, 4, 4)]);
}

#[test]
fn what_a_lost_link_left_unsettled_goes_to_another_edge_in_order() {
    let (mut links, now) = (links(), Instant::now());
    attach(&mut links, A, "edge-1");
    for purpose in 1..=3 {
        links.send(outbound(purpose), now).unwrap();
    }
    given(&mut links);
    links.handle_frame(A, settlement(2), credit_max, Instant::now(), &mut Vec::new()).unwrap();
    links.detach(A, now);
    links.send(outbound(4), now).unwrap();
    attach(&mut links, B, "edge-2");
    assert_eq!(given(&mut links), [(B, 1, 1), (B, 2, 3), (B, 3, 4)]);
}

#[test]
fn stanzas_wait_for_credit() {
    let (mut links, now) = (links(), Instant::now());
    attach(&mut links, A, "edge");
    for purpose in 0..=u64::from(link::CREDIT_INITIAL) {
        links.send(outbound(purpose), now).unwrap();
    }
    assert_eq!(given(&mut links).len(), link::CREDIT_INITIAL as usize);
    let mut events = Vec::new();
    links.handle_frame(A, settlement(1), credit_max, Instant::now(), &mut events).unwrap();
    assert!(matches!(events[..], [LinkEvent::Settled { purpose: 0, outcome: Ok(()) }]));
    assert_eq!(given(&mut links).len(), 1);
    links.send(outbound(100), now).unwrap();
    assert_eq!(given(&mut links), []);
    links.handle_frame(A, credit(1_000), credit_max, Instant::now(), &mut Vec::new()).unwrap();
    assert_eq!(given(&mut links).len(), 1);
}

#[test]
fn credit_is_what_policy_allows_at_most_and_none_is_kept_for_a_pair_that_it_does_not_name() {
    let (mut links, now) = (links(), Instant::now());
    attach(&mut links, A, "edge");
    links.handle_frame(A, credit(u32::MAX), credit_max, Instant::now(), &mut Vec::new()).unwrap();
    for purpose in 0..6_000 {
        links.send(outbound(purpose), now).unwrap();
    }
    assert_eq!(given(&mut links).len(), 5_000);

    let mut events = Vec::new();
    let mut unknown = credit(9);
    unknown.credits[0].remote_domain = "stranger.example".into();
    links.handle_frame(A, unknown, credit_max, Instant::now(), &mut events).unwrap();
    assert!(matches!(events[..], [LinkEvent::UnknownCredit { edge: A }]), "{events:?}");
    assert_eq!(links.edges[&A].outbound.len(), 1);
}

#[test]
fn the_reason_of_an_edge_is_short_and_its_condition_is_one_that_is_defined() {
    let (mut links, now) = (links(), Instant::now());
    attach(&mut links, A, "edge");
    links.send(outbound(1), now).unwrap();
    let (condition, text) = ("no\r\nsuch".into(), "é".repeat(100_000));
    let bounced = Bounced { condition, text, possibly_delivered: true };
    let outcome = Some(settlement::Outcome::Bounced(bounced));
    let settlements = vec![Settlement { sequence: 1, outcome }];
    let frame = FromEdge { settlements, ..FromEdge::default() };
    let mut events = Vec::new();
    links.handle_frame(A, frame, credit_max, Instant::now(), &mut events).unwrap();
    let [LinkEvent::Settled { outcome: Err(bounced), .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(bounced.condition, "undefined-condition");
    assert_eq!(bounced.text.chars().count(), 1_000);
}

#[test]
fn an_answer_with_an_id_that_is_none_of_ours_fills_no_frame() {
    let mut links = links();
    attach(&mut links, A, "edge");
    frames(&mut links);
    links.pass_barrier_answer(&"x".repeat(65));
    assert_eq!(frames(&mut links), []);
    links.pass_barrier_answer(&"0".repeat(32));
    assert_eq!(frames(&mut links)[0].1.barrier_answers.len(), 1);
}

#[test]
fn a_stanza_without_a_link_expires() {
    let (mut links, now) = (links(), Instant::now());
    links.send(outbound(1), now).unwrap();
    assert_eq!(links.poll_timeout(), Some(now + LINK_WAIT_MAX));
    let expired = links.take_expired(now + LINK_WAIT_MAX);
    assert_eq!(expired.len(), 1);
    attach(&mut links, A, "edge");
    assert_eq!(given(&mut links), []);
}

#[test]
fn only_what_no_edge_has_is_taken_back() {
    let (mut links, now) = (links(), Instant::now());
    attach(&mut links, A, "edge");
    links.handle_frame(A, credit(1), credit_max, Instant::now(), &mut Vec::new()).unwrap();
    for purpose in 1..=3 {
        links.send(outbound(purpose), now).unwrap();
    }
    given(&mut links);
    let pair = outbound(0).pair;
    let mut take_back = |purpose| links.take_back(&pair, |it| *it == purpose).is_some();
    assert_eq!([1, 2, 2].map(&mut take_back), [false, true, false]);
    links.handle_frame(A, settlement(1), credit_max, Instant::now(), &mut Vec::new()).unwrap();
    assert_eq!(given(&mut links), [(A, 2, 3)]);
}

#[test]
fn envelopes_are_settled_once_and_bounces_keep_their_reason() {
    let mut links = links();
    attach(&mut links, A, "edge");
    frames(&mut links);
    for sequence in 1..=2 {
        links
            .handle_frame(A, envelope(sequence), credit_max, Instant::now(), &mut Vec::new())
            .unwrap();
    }
    let bounced = Bounced { condition: "forbidden".into(), ..Bounced::default() };
    links.settle(A, 2, Err(bounced.clone()));
    links.settle(A, 2, Ok(()));
    links.settle(A, 1, Ok(()));
    let (_, frame) = frames(&mut links).remove(0);
    assert_eq!(frame.settlements.len(), 2);
    assert_eq!(frame.settlements[0].outcome, Some(settlement::Outcome::Bounced(bounced)));
}

#[test]
fn an_edge_that_breaks_a_rule_is_told_apart() {
    let violation = |frames: Vec<FromEdge>| {
        let mut links = links();
        links.attach(A, "edge".into());
        let mut results = frames
            .into_iter()
            .map(|frame| links.handle_frame(A, frame, credit_max, Instant::now(), &mut Vec::new()));
        results.find_map(Result::err)
    };
    let greeting = |name| FromEdge { hello: Some(hello(name)), ..FromEdge::default() };
    let with_instance = |length| {
        let hello = Hello { instance: vec![0; length].into(), ..hello("edge") };
        FromEdge { hello: Some(hello), ..FromEdge::default() }
    };
    let correlated = |id: &str| {
        let mut frame = envelope(1);
        frame.envelopes[0].correlation_id = id.to_owned();
        frame
    };
    let without_outcome = {
        let settlements = vec![Settlement { sequence: 1, outcome: None }];
        FromEdge { settlements, ..FromEdge::default() }
    };
    let flood = (1..=u64::from(link::CREDIT_INITIAL) + 1).map(envelope);
    let cases = [
        (vec![FromEdge::default()], LinkViolation::Hello),
        (vec![greeting("edge"), greeting("edge")], LinkViolation::Hello),
        (vec![greeting("other")], LinkViolation::Name("other".into())),
        (vec![with_instance(0)], LinkViolation::Instance(0)),
        (vec![with_instance(1 << 20)], LinkViolation::Instance(1 << 20)),
        (vec![greeting("edge"), correlated("x y")], LinkViolation::CorrelationId),
        (vec![greeting("edge"), correlated(&"x".repeat(65))], LinkViolation::CorrelationId),
        (
            vec![greeting("edge"), settlement(1)],
            SequenceError::NotOutstanding { sequence: 1 }.into(),
        ),
        (
            vec![greeting("edge"), envelope(7)],
            SequenceError::OutOfOrder { expected: 1, received: 7 }.into(),
        ),
        (vec![greeting("edge"), without_outcome], LinkViolation::NoOutcome),
        ([greeting("edge")].into_iter().chain(flood).collect(), LinkViolation::Credit),
    ];
    for (frames, expected) in cases {
        assert_eq!(violation(frames), Some(expected));
    }
}

#[test]
fn what_waits_for_one_partner_leaves_room_for_the_others() {
    let (mut links, now) = (links(), Instant::now());
    for purpose in 0..WAITING_OF_PAIR_MAX as u64 {
        links.send(outbound(purpose), now).unwrap();
    }
    assert_eq!(links.send(outbound(1_000_000), now).unwrap_err().purpose, 1_000_000);
    let mut other = outbound(1_000_001);
    other.pair.remote = Domain::parse("litware.example").unwrap();
    links.send(other, now).unwrap();
}

/// Introduces an edge of the same name as all others, as an instance of its own.
fn attach_replica(links: &mut Links<u64>, id: EdgeId) {
    links.attach(id, "edge".into());
    let instance = Bytes::copy_from_slice(&[u8::try_from(id.0).unwrap(); 16]);
    let greeting =
        FromEdge { hello: Some(Hello { instance, ..hello("edge") }), ..FromEdge::default() };
    links.handle_frame(id, greeting, credit_max, Instant::now(), &mut Vec::new()).unwrap();
}

/// Returns the edge to which a stanza of each of some pairs goes, and settles it.
fn choices(links: &mut Links<u64>) -> Vec<EdgeId> {
    let choice = |number: u64| {
        let mut outbound = outbound(number);
        outbound.pair.remote = Domain::parse(&format!("partner{number}.example")).unwrap();
        links.send(outbound, Instant::now()).unwrap();
        let (edge, sequence, _) = given(links)[0];
        links
            .handle_frame(edge, settlement(sequence), credit_max, Instant::now(), &mut Vec::new())
            .unwrap();
        edge
    };
    (0..60).map(choice).collect()
}

#[test]
fn edges_of_one_name_share_the_pairs_and_each_pair_keeps_its_edge_while_others_come_and_go() {
    const C: EdgeId = EdgeId(3);
    let mut links = links();
    [A, B, C].into_iter().for_each(|edge| attach_replica(&mut links, edge));
    let of_all = choices(&mut links);
    for edge in [A, B, C] {
        let count = of_all.iter().filter(|it| **it == edge).count();
        assert!((10..=30).contains(&count), "{edge:?} has {count} of {} pairs", of_all.len());
    }
    assert_eq!(choices(&mut links), of_all, "nothing has changed");

    links.detach(B, Instant::now());
    let without_b = choices(&mut links);
    for (before, after) in of_all.iter().zip(&without_b) {
        assert!(if *before == B { *after != B } else { after == before }, "{before:?} {after:?}");
    }
    attach_replica(&mut links, B);
    assert_eq!(choices(&mut links), of_all, "the same instance has its pairs again");
}

#[test]
fn what_an_edge_never_settles_is_given_up_after_its_time_and_may_have_arrived() {
    let mut links = links();
    let partner = wire::Partner {
        domains: vec!["fabrikam.example".into()],
        queue_age_ms_max: 60_000,
        ..wire::Partner::default()
    };
    links.push_admission(wire::Admission { partners: vec![partner], ..Default::default() });
    attach(&mut links, A, "a");
    let begin = Instant::now();
    links.send(outbound(1), begin).unwrap();
    links.send(outbound(2), begin + Duration::from_secs(1)).unwrap();
    assert_eq!(given(&mut links).len(), 2);
    let due = begin + Duration::from_secs(60) + SETTLE_MAX;
    assert_eq!(links.poll_timeout(), Some(due));
    assert_eq!(links.take_expired(due - Duration::from_millis(1)).len(), 0);
    let expired = links.take_expired(due);
    assert_eq!(
        expired.iter().map(|it| (it.purpose, it.held_by)).collect::<Vec<_>>(),
        [(1, Some(A))]
    );
    // The other one is settled in time; the one that was given up cannot be any more.
    let mut events = Vec::new();
    links.handle_frame(A, settlement(2), credit_max, due, &mut events).unwrap();
    assert_eq!(links.poll_timeout(), None);
    let late = links.handle_frame(A, settlement(1), credit_max, due, &mut events);
    let not_outstanding = SequenceError::NotOutstanding { sequence: 1 };
    assert_eq!(late, Err(LinkViolation::Sequence(not_outstanding)));
    links.detach(A, due);
    attach(&mut links, B, "b");
    assert_eq!(given(&mut links), [], "it has had its end");
}
