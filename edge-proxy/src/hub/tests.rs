//! The hub under the loss of links, repetition, and front ends that break the rules.

use std::time::{Duration, Instant};

use bytes::Bytes;
use link::sequence::SequenceError;
use link::wire::{
    Accepted, Admission, Bounced, Credit, Envelope, FromEdge, FromFrontend, Hello, Settlement,
    StreamFacts, StreamReport, settlement, stream_report,
};
use xmpp_proto::jid::Domain;
use xmpp_proto::stream::DomainPair;

use super::{
    DETACHED_ANSWER_WAIT, DETACHED_STREAM_WAIT, FrontendId, Hub, HubEffect, Inbound, LinkViolation,
    Settling,
};

const A: FrontendId = FrontendId(1);
const B: FrontendId = FrontendId(2);

fn hello(name: &str) -> Hello {
    let instance = Bytes::from_static(b"0123456789abcdef");
    Hello { version: link::VERSION, name: name.into(), instance }
}

fn hub() -> Hub {
    Hub::new(hello("edge"))
}

/// Attaches a front end and takes the frame that greets it.
fn attach(hub: &mut Hub, id: FrontendId, name: &str, now: Instant) {
    hub.attach(id, name.into(), now);
    let greeting = FromFrontend { hello: Some(hello(name)), ..FromFrontend::default() };
    hub.handle_frame(id, greeting, now).unwrap();
}

fn pair() -> DomainPair {
    let domain = |name| Domain::parse(name).unwrap();
    DomainPair { local: domain("contoso.example"), remote: domain("fabrikam.example") }
}

fn inbound(index: u64) -> Inbound {
    Inbound {
        pair: pair(),
        stanza: Bytes::from(format!("<message id='{index}'/>")),
        facts: StreamFacts::default(),
        correlation_id: String::new(),
        conversation: index,
        settling: Settling { stream: 7, index },
    }
}

fn frames(hub: &mut Hub) -> Vec<(FrontendId, FromEdge)> {
    std::iter::from_fn(|| hub.poll_frame()).collect()
}

fn envelopes(hub: &mut Hub, of: FrontendId) -> Vec<Envelope> {
    let frames = frames(hub).into_iter().filter(|(id, _)| *id == of);
    frames.flat_map(|(_, frame)| frame.envelopes).collect()
}

fn effects(hub: &mut Hub) -> Vec<HubEffect> {
    std::iter::from_fn(|| hub.poll_effect()).collect()
}

fn settlement(sequence: u64) -> FromFrontend {
    let outcome = Some(settlement::Outcome::Accepted(Accepted {}));
    FromFrontend { settlements: vec![Settlement { sequence, outcome }], ..FromFrontend::default() }
}

fn offer(sequence: u64, id: u8) -> FromFrontend {
    let envelope = Envelope {
        sequence,
        id: Bytes::from(vec![id; 16]),
        local_domain: "contoso.example".into(),
        remote_domain: "fabrikam.example".into(),
        ..Envelope::default()
    };
    FromFrontend { envelopes: vec![envelope], ..FromFrontend::default() }
}

fn dispatched(hub: &mut Hub) -> Vec<u8> {
    let ids = effects(hub).into_iter().filter_map(|effect| match effect {
        HubEffect::Dispatch(dispatch) => Some(dispatch.id[0]),
        _ => None,
    });
    ids.collect()
}

#[test]
fn a_stanza_is_settled_by_the_front_end_that_got_it() {
    let (mut hub, now) = (hub(), Instant::now());
    attach(&mut hub, A, "fe", now);
    hub.handle_stanza(inbound(1));
    let offered = envelopes(&mut hub, A);
    assert_eq!(offered.len(), 1);
    hub.handle_frame(A, settlement(offered[0].sequence), now).unwrap();
    let settled = effects(&mut hub).into_iter().any(|effect| {
        matches!(effect, HubEffect::Settled(Settling { stream: 7, index: 1 }, Ok(())))
    });
    assert!(settled);
}

#[test]
fn what_a_lost_link_left_unsettled_is_offered_again_with_the_same_ids_in_order() {
    let (mut hub, now) = (hub(), Instant::now());
    attach(&mut hub, A, "fe", now);
    for index in 1..=3 {
        hub.handle_stanza(inbound(index));
    }
    let first = envelopes(&mut hub, A);
    hub.handle_frame(A, settlement(first[0].sequence), now).unwrap();
    hub.detach(A, now);
    hub.handle_stanza(inbound(4));
    assert_eq!(envelopes(&mut hub, A), []);

    attach(&mut hub, B, "fe", now);
    let again = envelopes(&mut hub, B);
    let ids = |envelopes: &[Envelope]| -> Vec<Bytes> {
        envelopes.iter().map(|envelope| envelope.id.clone()).collect()
    };
    assert_eq!(ids(&again)[..2], ids(&first)[1..]);
    assert_eq!(again[2].stanza, inbound(4).stanza);
}

#[test]
fn a_front_end_that_attaches_anew_gets_first_what_its_earlier_link_left_unsettled() {
    let (mut hub, now) = (hub(), Instant::now());
    attach(&mut hub, A, "fe", now);
    hub.handle_stanza(inbound(1));
    hub.handle_stanza(inbound(2));
    let first = envelopes(&mut hub, A);
    hub.handle_frame(A, offer(1, 9), now).unwrap();
    effects(&mut hub);

    attach(&mut hub, B, "fe", now);
    hub.handle_stanza(inbound(3));
    hub.handle_outcome([9; 16], Ok(()), now);
    assert!(matches!(effects(&mut hub)[..], [HubEffect::Replaced(A)]));
    hub.handle_frame(A, settlement(first[0].sequence), now).expect("a dead link breaks no rule");
    hub.detach(A, now);
    let sent = frames(&mut hub);
    assert!(sent.iter().all(|(id, _)| *id == B), "{sent:?}");
    let stanzas: Vec<Bytes> = sent
        .iter()
        .flat_map(|(_, frame)| frame.envelopes.iter().map(|envelope| envelope.stanza.clone()))
        .collect();
    assert_eq!(stanzas, [1, 2, 3].map(|index| inbound(index).stanza));
    assert!(effects(&mut hub).is_empty(), "it was never detached");
}

#[test]
fn a_link_without_a_hello_is_left_to_the_front_end() {
    let (mut hub, now) = (hub(), Instant::now());
    hub.attach(A, "fe".into(), now);
    attach(&mut hub, B, "fe", now);
    let replaced = |effect: &HubEffect| matches!(effect, HubEffect::Replaced(_));
    assert!(!effects(&mut hub).iter().any(replaced));
    let greeted: Vec<_> = frames(&mut hub).into_iter().map(|(id, _)| id).collect();
    assert_eq!(greeted, [A, B]);
}

#[test]
fn a_front_end_replaces_no_link_of_another_and_no_newer_one() {
    let (mut hub, now) = (hub(), Instant::now());
    attach(&mut hub, A, "fe-1", now);
    effects(&mut hub);
    attach(&mut hub, B, "fe-2", now);
    assert!(effects(&mut hub).is_empty());
    hub.attach(FrontendId(9), "fe-2".into(), now);
    attach(&mut hub, FrontendId(8), "fe-2", now);
    assert!(matches!(effects(&mut hub)[..], [HubEffect::Replaced(B)]));
}

#[test]
fn stanzas_wait_for_credit() {
    let (mut hub, now) = (hub(), Instant::now());
    attach(&mut hub, A, "fe", now);
    for index in 0..=u64::from(link::CREDIT_INITIAL) {
        hub.handle_stanza(inbound(index));
    }
    let offered = envelopes(&mut hub, A);
    assert_eq!(offered.len(), link::CREDIT_INITIAL as usize);
    hub.handle_frame(A, settlement(1), now).unwrap();
    assert_eq!(envelopes(&mut hub, A).len(), 1);

    let credit = Credit {
        local_domain: "contoso.example".into(),
        remote_domain: "fabrikam.example".into(),
        envelopes_max: 1,
    };
    let frame = FromFrontend { credits: vec![credit], ..settlement(2) };
    hub.handle_frame(A, frame, now).unwrap();
    hub.handle_stanza(inbound(100));
    assert_eq!(envelopes(&mut hub, A), []);
}

#[test]
fn a_pair_with_many_stanzas_does_not_go_before_one_with_few() {
    let (mut hub, now) = (hub(), Instant::now());
    attach(&mut hub, A, "frontend", now);
    frames(&mut hub);
    for index in 0..200 {
        hub.handle_stanza(inbound(index));
    }
    // Behind the other in the order of names, and of time.
    let quiet = DomainPair { remote: Domain::parse("zoo.example").unwrap(), ..pair() };
    for index in 200..203 {
        hub.handle_stanza(Inbound { pair: quiet.clone(), ..inbound(index) });
    }
    let offered = envelopes(&mut hub, A);
    let is_quiet = |it: &Envelope| it.remote_domain == "zoo.example";
    let places: Vec<_> = (0..offered.len()).filter(|at| is_quiet(&offered[*at])).collect();
    assert_eq!((offered.len(), places), (203, vec![1, 3, 5]));
}

#[test]
fn stanzas_of_a_conversation_go_to_one_front_end_and_only_those_of_a_lost_one_move() {
    let (mut hub, now) = (hub(), Instant::now());
    attach(&mut hub, A, "fe-1", now);
    attach(&mut hub, B, "fe-2", now);
    let owners = |hub: &mut Hub| -> Vec<Bytes> {
        for conversation in 0..40 {
            hub.handle_stanza(inbound(conversation));
        }
        envelopes(hub, A).into_iter().map(|envelope| envelope.stanza).collect()
    };
    let of_a = owners(&mut hub);
    assert!(of_a.len() > 5 && of_a.len() < 35, "{} of 40", of_a.len());
    for sequence in 1..=of_a.len() as u64 {
        hub.handle_frame(A, settlement(sequence), now).unwrap();
    }
    assert_eq!(owners(&mut hub), of_a);
    hub.detach(B, now);
    assert_eq!(envelopes(&mut hub, A).len(), 2 * (40 - of_a.len()));
}

#[test]
fn a_stanza_that_is_offered_again_is_not_sent_again() {
    let (mut hub, now) = (hub(), Instant::now());
    attach(&mut hub, A, "fe", now);
    hub.handle_frame(A, offer(1, 9), now).unwrap();
    assert_eq!(dispatched(&mut hub), [9]);
    hub.detach(A, now);
    attach(&mut hub, B, "fe", now);
    hub.handle_frame(B, offer(1, 9), now).unwrap();
    assert!(dispatched(&mut hub).is_empty());

    frames(&mut hub);
    hub.handle_outcome([9; 16], Ok(()), now);
    let settled = frames(&mut hub);
    assert_eq!(settled[0].0, B, "the outcome goes to whoever offered it last");
    assert_eq!(settled[0].1.settlements.len(), 1);

    hub.handle_frame(B, offer(2, 9), now).unwrap();
    assert!(dispatched(&mut hub).is_empty());
    assert_eq!(frames(&mut hub)[0].1.settlements[0].sequence, 2);
}

#[test]
fn without_a_front_end_stanzas_bounce_and_then_streams_close() {
    let (mut hub, now) = (hub(), Instant::now());
    attach(&mut hub, A, "fe", now);
    hub.handle_stanza(inbound(1));
    frames(&mut hub);
    hub.detach(A, now);
    hub.handle_stanza(inbound(2));
    effects(&mut hub);

    hub.handle_timeout(now + DETACHED_ANSWER_WAIT - Duration::from_millis(1));
    assert!(effects(&mut hub).is_empty());
    assert_eq!(hub.poll_timeout(), Some(now + DETACHED_ANSWER_WAIT));
    hub.handle_timeout(now + DETACHED_ANSWER_WAIT);
    let bounced = effects(&mut hub);
    assert_eq!(bounced.len(), 2);
    for effect in bounced {
        let HubEffect::Settled(_, Err(Bounced { condition, .. })) = effect else {
            panic!("{effect:?}")
        };
        assert_eq!(condition, "remote-server-timeout");
    }
    assert_eq!(hub.poll_timeout(), Some(now + DETACHED_STREAM_WAIT));
    hub.handle_timeout(now + DETACHED_STREAM_WAIT);
    assert!(matches!(effects(&mut hub)[..], [HubEffect::CloseStreams]));
}

#[test]
fn a_front_end_that_comes_back_in_time_changes_nothing() {
    let (mut hub, now) = (hub(), Instant::now());
    attach(&mut hub, A, "fe", now);
    hub.detach(A, now);
    attach(&mut hub, B, "fe", now);
    effects(&mut hub);
    hub.handle_timeout(now + DETACHED_STREAM_WAIT);
    assert!(effects(&mut hub).is_empty());
}

#[test]
fn an_admission_is_never_replaced_by_an_earlier_one() {
    let (mut hub, now) = (hub(), Instant::now());
    attach(&mut hub, A, "fe", now);
    effects(&mut hub);
    let versions = [5, 4, 5, 6].map(|version| {
        let admission = Some(Admission { version, ..Admission::default() });
        let frame = FromFrontend { admission, ..FromFrontend::default() };
        hub.handle_frame(A, frame, now).unwrap();
        effects(&mut hub).len()
    });
    assert_eq!(versions, [1, 0, 1, 1]);
}

fn greet_with_version(hub: &mut Hub, id: FrontendId, name: &str, version: u64) -> Vec<u64> {
    let now = Instant::now();
    hub.attach(id, name.into(), now);
    let greeting = FromFrontend {
        hello: Some(hello(name)),
        admission: Some(Admission { version, ..Admission::default() }),
        ..FromFrontend::default()
    };
    hub.handle_frame(id, greeting, now).unwrap();
    let admitted = effects(hub).into_iter().filter_map(|effect| match effect {
        HubEffect::Admit(admission) => Some(admission.version),
        _ => None,
    });
    admitted.collect()
}

#[test]
fn an_earlier_admission_counts_once_nobody_is_left_who_knows_a_later_one() {
    const C: FrontendId = FrontendId(3);
    const NONE: [u64; 0] = [];
    let (mut hub, now) = (hub(), Instant::now());
    assert_eq!(greet_with_version(&mut hub, A, "fe-1", 9), [9]);
    assert_eq!(greet_with_version(&mut hub, B, "fe-2", 4), NONE, "the first is still attached");
    hub.detach(B, now);
    assert_eq!(greet_with_version(&mut hub, B, "fe-2", 4), NONE);
    hub.detach(A, now);
    hub.detach(B, now);
    assert_eq!(greet_with_version(&mut hub, C, "fe-2", 4), [4]);
    let again = FrontendId(4);
    assert_eq!(greet_with_version(&mut hub, again, "fe-2", 3), [3], "in place of its own link");
}

#[test]
fn a_front_end_that_breaks_a_rule_is_told_apart() {
    let now = Instant::now();
    let violation = |name: &str, frames: Vec<FromFrontend>| {
        let mut hub = hub();
        hub.attach(A, name.into(), now);
        let mut results = frames.into_iter().map(|frame| hub.handle_frame(A, frame, now));
        results.find_map(Result::err)
    };
    let greeting = |name| FromFrontend { hello: Some(hello(name)), ..FromFrontend::default() };
    let old = {
        let hello = Hello { version: 99, ..hello("fe") };
        FromFrontend { hello: Some(hello), ..FromFrontend::default() }
    };
    let cases = [
        (vec![FromFrontend::default()], LinkViolation::Hello),
        (vec![greeting("fe"), greeting("fe")], LinkViolation::Hello),
        (vec![greeting("other")], LinkViolation::Name("other".into())),
        (vec![old], LinkViolation::Version(99)),
        (
            vec![greeting("fe"), offer(2, 1)],
            SequenceError::OutOfOrder { expected: 1, received: 2 }.into(),
        ),
        (vec![greeting("fe"), settlement(1)], SequenceError::NotOutstanding { sequence: 1 }.into()),
    ];
    for (frames, expected) in cases {
        assert_eq!(violation("fe", frames), Some(expected));
    }
}

fn stream_report(number: u64, state: stream_report::State) -> StreamReport {
    StreamReport {
        local_domain: "contoso.example".into(),
        remote_domain: "fabrikam.example".into(),
        direction: stream_report::Direction::Inbound.into(),
        state: state.into(),
        number,
        ..StreamReport::default()
    }
}

#[test]
fn a_front_end_that_attaches_later_learns_which_streams_are_open_and_since_when() {
    use stream_report::State;
    let (mut hub, begin) = (hub(), Instant::now());
    for number in 1..=3 {
        hub.report(&stream_report(number, State::Established), begin);
    }
    hub.report(&stream_report(4, State::Failed), begin);
    hub.report(&stream_report(2, State::Closed), begin + Duration::from_secs(1));
    attach(&mut hub, A, "fe", begin + Duration::from_secs(5));
    let told: Vec<_> = frames(&mut hub).into_iter().flat_map(|it| it.1.stream_reports).collect();
    let summary: Vec<_> = told.iter().map(|it| (it.number, it.state(), it.age_ms)).collect();
    assert_eq!(summary, [(1, State::Open, 5_000), (3, State::Open, 5_000)]);

    hub.report(&stream_report(5, State::Established), begin + Duration::from_secs(6));
    let told = frames(&mut hub).remove(0).1.stream_reports;
    assert_eq!(told, [stream_report(5, State::Established)], "as it happens");
}

#[test]
fn what_an_attaching_front_end_learns_goes_in_frames_that_it_accepts() {
    let (mut hub, now) = (hub(), Instant::now());
    let count = link::FRAME_ITEMS_MAX as u64 + 1;
    for number in 1..=count {
        hub.report(&stream_report(number, stream_report::State::Established), now);
    }
    attach(&mut hub, A, "fe", now);
    let frames = frames(&mut hub);
    let sizes = || frames.iter().map(|(_, frame)| frame.stream_reports.len());
    assert!(sizes().all(|size| size <= link::BATCH_ITEMS_MAX), "{:?}", sizes().max());
    assert_eq!(sizes().sum::<usize>() as u64, count);
    let greetings = frames.iter().filter(|(_, frame)| frame.hello.is_some());
    assert_eq!(greetings.count(), 1);
}
