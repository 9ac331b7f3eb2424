//! Requests of the gateway: to whom they go, when another server is tried, how they end.

use sip_proto::header::{HeaderName, Route};

use super::{A, B, Outcome, Stage, message, notify, subscribe};

#[test]
fn the_preferred_server_gets_a_request_and_its_answer_ends_it() {
    let mut stage = Stage::in_service();
    let id = stage.say();
    let request = stage.take(A);
    assert_eq!(request.uri().to_wire(), "sip:romeo@example.net");
    assert_eq!(request.max_forwards().unwrap().0, 69);
    assert!(stage.outcomes.is_empty());
    stage.answer(A, &request, 200, &[]);
    assert_eq!(stage.outcomes[&id], Outcome::Answered(200));
    // It answers twice, and otherwise: the first answer counts.
    stage.answer(A, &request, 404, &[]);
    assert_eq!(stage.outcomes.len(), 1);
    assert!(stage.is_silent());
}

#[test]
fn a_refusal_is_the_answer_and_no_other_server_is_asked() {
    for code in [302, 404, 408, 480, 486, 500, 603] {
        let mut stage = Stage::in_service();
        let id = stage.say();
        let request = stage.take(A);
        stage.answer(A, &request, code, &[("Reason", "so it is")]);
        assert_eq!(stage.outcomes[&id], Outcome::Answered(code));
        assert_eq!(stage.answers[0].reason_phrase(), "so it is");
        assert!(stage.is_silent());
    }
}

#[test]
fn a_server_that_is_busy_lost_or_silent_is_followed_by_the_next_one() {
    type Fault = fn(&mut Stage);
    let faults: [Fault; 3] = [
        |stage| {
            let request = stage.take(A);
            stage.answer(A, &request, 503, &[("Retry-After", "9")]);
        },
        |stage| {
            stage.take(A);
            stage.close(stage.flows[A]);
        },
        |stage| {
            stage.take(A);
            stage.advance_s(5);
        },
    ];
    for fault in faults {
        let mut stage = Stage::in_service();
        let id = stage.say();
        fault(&mut stage);
        assert!(stage.outcomes.is_empty());
        let request = stage.take(B);
        assert_eq!(request.call_id().as_str(), "m");
        assert_eq!(request.cseq().number, 1, "it is the same request");
        stage.answer(B, &request, 200, &[]);
        assert_eq!(stage.outcomes[&id], Outcome::Answered(200));
    }
}

#[test]
fn a_silent_server_may_still_answer_while_the_next_one_is_tried() {
    let mut stage = Stage::in_service();
    let id = stage.say();
    let late = stage.take(A);
    stage.advance_s(5);
    stage.take(B);
    stage.answer(A, &late, 200, &[]);
    assert_eq!(stage.outcomes[&id], Outcome::Answered(200));
}

#[test]
fn a_refusal_of_the_next_server_does_not_end_what_the_first_may_still_bring() {
    for code in [404, 480, 482, 500, 503] {
        let mut stage = Stage::in_service();
        let id = stage.say();
        let slow = stage.take(A);
        stage.advance_s(5);
        let request = stage.take(B);
        stage.answer(B, &request, code, &[]);
        assert!(stage.outcomes.is_empty(), "{code}");
        stage.answer(A, &slow, 200, &[]);
        assert_eq!(stage.outcomes[&id], Outcome::Answered(200), "{code}");

        let mut stage = Stage::in_service();
        let lost = stage.say();
        stage.take(A);
        stage.advance_s(5);
        let request = stage.take(B);
        stage.answer(B, &request, code, &[]);
        stage.close(stage.flows[A]);
        assert_eq!(stage.outcomes[&lost], Outcome::Unanswered, "it may have arrived: {code}");
    }
    let mut stage = Stage::in_service();
    let id = stage.say();
    let first = stage.take(A);
    stage.advance_s(5);
    let second = stage.take(B);
    stage.answer(B, &second, 404, &[]);
    stage.answer(A, &first, 480, &[]);
    assert_eq!(stage.outcomes[&id], Outcome::Answered(480), "both have refused it");
}

#[test]
fn a_device_that_does_not_answer_is_not_told_anew_at_every_sign_of_life_of_its_server() {
    let mut stage = Stage::in_service();
    let silent = stage.ask(&notify(",<sip:192.0.2.1:5060;lr>"));
    stage.take(A);
    stage.advance_with(120, &[A, B]);
    assert_eq!(stage.outcomes[&silent], Outcome::Answered(503));
    assert!(stage.reachable.is_empty());
}

#[test]
fn what_was_sent_and_never_answered_is_unknown_and_what_was_not_sent_is_refused() {
    let mut stage = Stage::in_service();
    let unknown = stage.say();
    stage.take(A);
    for server in [A, B] {
        stage.close(stage.flows[server]);
    }
    assert_eq!(stage.outcomes[&unknown], Outcome::Unanswered);
    let refused = stage.say();
    assert_eq!(stage.outcomes[&refused], Outcome::Answered(503));
    assert_eq!(stage.answers[0].reason_phrase(), "Next Hop Not Reachable");
    stage.advance_s(1);
    let refused = stage.say();
    for server in [A, B] {
        stage.refuse(server);
    }
    assert_eq!(stage.outcomes[&refused], Outcome::Answered(503));
}

#[test]
fn without_another_server_a_silent_one_is_waited_for_until_the_transaction_ends() {
    let mut stage = Stage::in_service();
    stage.close(stage.flows[B]);
    let id = stage.say();
    stage.take(A);
    // B is tried as well, and refuses every connection.
    for _ in 0..31 {
        stage.advance_s(1);
        while stage.connecting.iter().any(|(_, target)| target.host.to_string() == "192.0.2.2") {
            stage.refuse(B);
        }
        if stage.connecting.iter().any(|(_, target)| target.host.to_string() == "192.0.2.1") {
            stage.refuse(A);
        }
    }
    assert_eq!(stage.outcomes.get(&id), Some(&Outcome::Unanswered));
}

#[test]
fn a_busy_server_is_passed_over_for_the_time_that_it_names() {
    let mut stage = Stage::in_service();
    stage.say();
    let request = stage.take(A);
    stage.answer(A, &request, 503, &[("Retry-After", "4")]);
    stage.take(B);
    stage.say();
    stage.take(B);
    stage.advance_s(4);
    stage.sent.clear();
    stage.say();
    stage.take(A);
}

#[test]
fn a_busy_server_with_no_other_one_is_what_the_gateway_is_told() {
    let mut stage = Stage::in_service();
    let id = stage.say();
    for server in [A, B] {
        let request = stage.take(server);
        stage.answer(server, &request, 503, &[("Retry-After", "7"), ("Reason", "too much")]);
    }
    assert_eq!(stage.outcomes[&id], Outcome::Answered(503));
    assert_eq!(stage.answers[0].headers().first(HeaderName::RetryAfter), Some("7"));
}

// Without an answer the gateway would end the subscription, which its watcher may come back to.
#[test]
fn a_notify_that_nobody_takes_keeps_its_subscription_and_its_watcher_is_told_later() {
    let mut stage = Stage::in_service();
    let silent = stage.ask(&notify(""));
    stage.take(A);
    stage.advance_s(10);
    assert_eq!(stage.outcomes[&silent], Outcome::Answered(503));
    let lost = stage.ask(&notify(""));
    for server in [A, B] {
        stage.close(stage.flows[server]);
    }
    assert_eq!(stage.outcomes[&lost], Outcome::Answered(503));
    assert!(stage.reachable.is_empty());
    stage.advance_s(10);
    stage.accept(B);
    stage.sent.retain(|flow, _| *flow == stage.flows[B]);
    stage.answer_probe(B);
    assert_eq!(stage.reachable, ["romeo@example.net"]);
}

#[test]
fn a_request_of_a_dialog_follows_its_route_to_the_server_that_holds_it() {
    let mut stage = Stage::in_service();
    let id = stage.ask(&notify(",<sip:192.0.2.2:5060;transport=tcp;lr>"));
    let request = stage.take(B);
    let Route(hops) = request.headers().required().unwrap();
    assert_eq!(hops.len(), 1, "our own is not among them");
    assert_eq!(request.uri().to_wire(), "sip:romeo@203.0.113.7:5060");
    // The server that holds the dialog is gone, and another one would end it.
    stage.close(stage.flows[B]);
    assert_eq!(stage.outcomes[&id], Outcome::Answered(503));
    assert!(stage.is_silent());
    // A refresh may go to another one, which says that it does not know the subscription.
    let refresh = subscribe("sip:juliet@example.com", "sip:romeo@example.net")
        .replace("Event", "Route: <sip:192.0.2.2:5060;lr>\nEvent");
    stage.ask(&refresh);
    assert_eq!(stage.take(A).call_id().as_str(), "s");
}

#[test]
fn whatever_may_begin_a_dialog_records_the_way_back_to_us() {
    let mut stage = Stage::in_service();
    stage.ask(&subscribe("sip:juliet@example.com", "sip:romeo@example.net"));
    let request = stage.take(A);
    let recorded = request.headers().first(HeaderName::RecordRoute);
    let own = "<sip:isthmus@gateway.example.net:5070;transport=tcp;lr>";
    assert_eq!(recorded, Some(own));
    stage.ask(&notify(""));
    assert_eq!(stage.take(A).headers().first(HeaderName::RecordRoute), Some(own));
    assert_eq!(request.headers().first(HeaderName::Contact), Some("<sip:c@192.0.2.77>"));
}

#[test]
fn a_domain_that_no_next_hop_serves_is_not_found() {
    let mut stage = Stage::in_service();
    let id = stage.ask(&message("sip:juliet@example.com", "sip:romeo@elsewhere.example"));
    assert_eq!(stage.outcomes[&id], Outcome::Answered(404));
}
