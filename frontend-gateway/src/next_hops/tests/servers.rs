//! The life of servers: connected to, probed, lost, back, and changed by the policy.

use sip_proto::Method;
use sip_proto::transaction::Transport;

use super::{A, B, Outcome, Stage};
use crate::testing::{Timed, policy};

const TLS: &str = "192.0.2.3:5061";

#[test]
fn a_server_is_in_service_from_its_first_answer_on() {
    let mut stage = Stage::new();
    assert_eq!(
        stage.next_hops.describe("pool").1,
        "192.0.2.1:5060 not reached yet, 192.0.2.2:5060 not reached yet"
    );
    stage.accept(A);
    let request = stage.take(A);
    assert_eq!(request.uri().to_wire(), "sip:192.0.2.1:5060;transport=tcp");
    assert!(!stage.next_hops.describe("pool").0);
    // Not every server knows OPTIONS; that it says so is a sign of life.
    stage.answer(A, &request, 405, &[]);
    stage.refuse(B);
    let expected = "192.0.2.1:5060 in service, 192.0.2.2:5060 cannot be connected to";
    assert_eq!(stage.next_hops.describe("pool"), (true, expected.to_owned()));
}

#[test]
fn a_server_that_stops_answering_is_found_out_and_found_again() {
    let mut stage = Stage::in_service();
    stage.advance_with(9, &[A, B]);
    stage.advance_with(6, &[B]);
    let expected = "192.0.2.1:5060 does not answer OPTIONS, 192.0.2.2:5060 in service";
    assert_eq!(stage.next_hops.describe("pool"), (true, expected.to_owned()));
    assert_eq!(stage.closed, [stage.flows[A]], "its connection may be dead");
    let id = stage.say();
    let request = stage.take(B);
    stage.answer(B, &request, 200, &[]);
    assert_eq!(stage.outcomes[&id], Outcome::Answered(200));
    stage.sent.clear();
    stage.advance_with(10, &[B]);
    stage.accept(A);
    stage.answer_probe(A);
    stage.say();
    assert_eq!(*stage.take(A).method(), Method::Message);
}

#[test]
fn an_error_to_options_takes_a_server_out_of_service() {
    for code in [408, 503] {
        let mut stage = Stage::new();
        stage.accept(A);
        let request = stage.take(A);
        stage.answer(A, &request, code, &[]);
        assert!(!stage.next_hops.describe("pool").0);
    }
}

#[test]
fn a_connection_that_ends_is_opened_again_and_subscriptions_are_begun_anew() {
    let mut stage = Stage::in_service();
    for restarts in [1, 1, 2] {
        stage.advance_with(15, &[A, B]);
        stage.close(stage.flows[A]);
        assert!(stage.next_hops.describe("pool").1.starts_with("192.0.2.1:5060 in service"));
        stage.advance(std::time::Duration::from_millis(500));
        stage.accept(A);
        stage.answer_probe(A);
        assert_eq!(stage.restarted.len(), restarts, "once a minute at most");
        if restarts == 1 {
            stage.advance_with(20, &[A, B]);
        }
    }
    stage.advance_with(120, &[A, B]);
    assert_eq!(stage.restarted.len(), 3);
}

#[test]
fn a_server_that_closes_what_it_has_just_answered_is_out_of_service() {
    let mut stage = Stage::in_service();
    stage.close(stage.flows[A]);
    assert!(stage.next_hops.describe("pool").1.starts_with("192.0.2.1:5060 closes its connection"));
    stage.advance_with(9, &[B]);
    assert!(stage.connecting.iter().all(|(_, it)| it.host.to_string() != "192.0.2.1"));
}

#[test]
fn requests_do_not_connect_to_a_lost_server_without_end_nor_put_its_probe_off() {
    let mut stage = Stage::new();
    for server in [A, B] {
        stage.refuse(server);
    }
    let mut connections = 0;
    for _ in 0..90 {
        stage.advance(std::time::Duration::from_millis(100));
        for _ in 0..5 {
            stage.say();
        }
        for server in [A, B] {
            let host = server.split(':').next().unwrap();
            if stage.connecting.iter().any(|(_, target)| target.host.to_string() == host) {
                connections += 1;
                stage.refuse(server);
            }
        }
    }
    assert!((10..=20).contains(&connections), "{connections} in nine seconds");
    assert_eq!(stage.outcomes.len(), 450);
    assert!(stage.outcomes.values().all(|it| *it == Outcome::Answered(503)));
    stage.advance_s(1);
    stage.accept(A);
    stage.answer_probe(A);
    assert!(stage.next_hops.describe("pool").0, "it was probed in its time");
}

#[test]
fn a_request_that_waits_for_a_server_that_the_policy_drops_goes_to_another_one() {
    let mut stage = Stage::new();
    let id = stage.say();
    stage.accept(B);
    assert!(stage.sent.values().flatten().count() == 1, "only OPTIONS went out");
    stage.answer_probe(B);
    let without_a =
        super::POLICY.replace("[[next_hop.server]]\naddress = \"192.0.2.1:5060\"\n", "");
    stage.policy = policy(&without_a);
    stage.next_hops.set_policy(&stage.policy, stage.clock.now);
    stage.collect();
    stage.advance_with(1, &[B]);
    let request = stage.take(B);
    stage.answer(B, &request, 200, &[]);
    assert_eq!(stage.outcomes[&id], Outcome::Answered(200));
    stage.advance_with(61, &[B]);
    assert_eq!(stage.restarted, ["pool"], "what was with the other one is begun anew");
}

#[test]
fn a_server_that_closes_each_connection_is_not_connected_to_without_end() {
    let mut stage = Stage::new();
    stage.refuse(B);
    let mut connections = 0;
    for _ in 0..60 {
        while stage.connecting.iter().any(|(_, target)| target.host.to_string() == "192.0.2.1") {
            stage.accept(A);
            stage.close(stage.flows[A]);
            connections += 1;
        }
        stage.connecting.clear();
        stage.advance_s(1);
    }
    assert!((5..=8).contains(&connections), "{connections}");
}

#[test]
fn a_server_must_prove_the_name_of_its_next_hop() {
    for (names, state) in [
        (&["sip.example.net"][..], "sip1.example.net:5061 not reached yet"),
        (&["sip1.example.net"], "does not prove sip.example.net"),
        (&[], "does not prove sip.example.net"),
    ] {
        let mut stage = Stage::new();
        let found = stage.connecting.iter().position(|(_, it)| it.transport == Transport::Tls);
        let (flow, target) = stage.connecting.remove(found.unwrap());
        assert_eq!(target.host.to_string(), "sip1.example.net");
        stage.open(flow, Transport::Tls, TLS.parse().unwrap(), names);
        let (_, text) = stage.next_hops.describe("tls");
        assert!(text.contains(state), "{text}");
        let is_refused = stage.closed == [flow];
        assert_eq!(is_refused, names != ["sip.example.net"]);
        assert_eq!(stage.is_silent(), is_refused, "nothing is said to a stranger");
    }
}

#[test]
fn a_changed_policy_keeps_what_stays_and_drops_what_is_gone() {
    let mut stage = Stage::in_service();
    let without_a = super::POLICY
        .replace("[[next_hop.server]]\naddress = \"192.0.2.1:5060\"\n", "")
        .replace("priority = 1", "priority = 0");
    stage.policy = policy(&without_a);
    stage.next_hops.set_policy(&stage.policy, stage.clock.now);
    stage.collect();
    assert_eq!(stage.closed, [stage.flows[A]]);
    assert_eq!(stage.next_hops.describe("pool"), (true, "192.0.2.2:5060 in service".to_owned()));
    stage.sent.clear();
    stage.say();
    stage.take(B);
    stage.policy = policy(super::POLICY);
    stage.next_hops.set_policy(&stage.policy, stage.clock.now);
    stage.collect();
    stage.accept(A);
    stage.answer_probe(A);
    stage.say();
    assert_eq!(*stage.take(A).method(), Method::Message, "the first one again");
}

#[test]
fn a_connection_that_comes_after_it_was_given_up_is_closed() {
    let mut stage = Stage::new();
    let (flow, target) = stage.connecting.remove(0);
    assert_eq!(target.host.to_string(), "192.0.2.1");
    stage.advance_s(5);
    assert!(stage.next_hops.describe("pool").1.contains("cannot be connected to in time"));
    stage.closed.clear();
    stage.open(flow, Transport::Tcp, A.parse().unwrap(), &[]);
    assert_eq!(stage.closed, [flow]);
}
