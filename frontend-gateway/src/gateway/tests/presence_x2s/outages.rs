//! XMPP watchers that cannot be reached: they are told anew what they missed, and only that.

use link::wire::stream_report::State;

use super::{
    ASK, GONE, HERE, HOUR_S, LEAVE, PROBE, SUBSCRIBED, Stage, UNSUBSCRIBED, asked, open, serve,
    watching,
};
use crate::gateway::tests::{A, Sent};
use crate::testing::{self, header};

const ACTIVE: &str = "active;expires=3600";

/// Settles everything that the watcher was told; returns what that was.
fn settled(stage: &mut Stage, outcome: Result<(), &str>) -> Vec<String> {
    let sent = stage.take_stanzas();
    for stanza in &sent {
        stage.settle(stanza, outcome);
    }
    sent.iter().map(Sent::summary).collect()
}

#[test]
fn what_is_told_while_the_link_is_cut_is_told_when_it_is_back() {
    let (mut stage, subscribe) = asked();
    stage.notified(&subscribe, 1, ACTIVE, &open(&["phone"]));
    assert_eq!(settled(&mut stage, Ok(())), [SUBSCRIBED, HERE]);
    stage.detach(A);
    stage.notified(&subscribe, 2, ACTIVE, &open(&[]));
    stage.advance_s(70);
    assert_eq!(stage.told(), [""; 0]);
    stage.attach(A, "edge-a");
    stage.advance_ms(1);
    assert_eq!(settled(&mut stage, Ok(())), [GONE]);
    stage.detach(A);
    stage.attach(A, "edge-a");
    stage.advance_s(2 * HOUR_S / 3);
    assert_eq!(stage.told(), [""; 0], "it is known now");
}

#[test]
fn what_a_partner_does_not_take_is_told_anew_ever_later_as_it_is_by_then() {
    let (mut stage, subscribe) = asked();
    stage.notified(&subscribe, 1, ACTIVE, &open(&["phone"]));
    for wait in [60, 120, 240] {
        assert_eq!(settled(&mut stage, Err("remote-server-timeout")), [SUBSCRIBED, HERE]);
        stage.advance_ms(wait * 1000 - 1);
        assert_eq!(stage.told(), [""; 0], "{wait}");
        stage.advance_ms(1);
    }
    settled(&mut stage, Err("remote-server-timeout"));
    stage.notified(&subscribe, 2, ACTIVE, &open(&["desk"]));
    let desk = "presence  romeo@example.net/desk > juliet@example.com";
    assert_eq!(settled(&mut stage, Err("remote-server-timeout")), [GONE, desk]);
    stage.report("other.example", State::Established);
    stage.advance_ms(1);
    assert_eq!(stage.told(), [""; 0], "another partner is back");
    stage.report("example.com", State::Established);
    stage.advance_ms(1);
    assert_eq!(settled(&mut stage, Ok(())), [SUBSCRIBED, GONE, desk]);
    stage.report("example.com", State::Established);
    stage.advance_ms(1);
    assert_eq!(stage.told(), [""; 0]);
}

#[test]
fn a_refusal_that_could_not_be_told_is_told_anew_unless_the_watcher_asks_again() {
    for asks_again in [false, true] {
        let mut stage = Stage::new();
        stage.stanza(ASK);
        let subscribe = stage.only_request();
        stage.answer(&subscribe, 403);
        assert_eq!(settled(&mut stage, Err("remote-server-timeout")), [UNSUBSCRIBED]);
        if asks_again {
            stage.stanza(ASK);
        }
        stage.advance_s(60);
        let expected: &[&str] = if asks_again { &[] } else { &[UNSUBSCRIBED] };
        assert_eq!(settled(&mut stage, Ok(())), expected);
        stage.report("example.com", State::Established);
        stage.advance_s(60);
        assert_eq!(stage.told(), [""; 0]);
    }
}

#[test]
fn a_watcher_that_has_left_is_told_of_no_state() {
    let (mut stage, subscribe) = watching();
    stage.notified(&subscribe, 2, ACTIVE, &open(&["desk", "phone"]));
    settled(&mut stage, Err("remote-server-timeout"));
    stage.stanza(LEAVE);
    let ending = stage.only_request();
    stage.answer(&ending, 200);
    stage.notified(&ending, 3, "terminated;reason=timeout", "");
    assert_eq!(settled(&mut stage, Ok(())), [UNSUBSCRIBED]);
    stage.advance_s(60);
    let gone = "presence unavailable romeo@example.net/desk > juliet@example.com";
    assert_eq!(settled(&mut stage, Ok(())), [gone]);
    stage.advance_s(HOUR_S);
    assert_eq!(stage.told(), [""; 0]);
}

#[test]
fn a_question_that_nobody_kept_up_is_asked_anew_when_the_watcher_asks_or_probes() {
    for again in [ASK, PROBE] {
        let (mut stage, subscribe) = asked();
        stage.notified(&subscribe, 1, "pending;expires=3600", "");
        for _ in 0..10 * 60 {
            stage.advance_s(60);
            for request in stage.take_requests() {
                stage.bytes(&testing::answer(&request, 200, &[("Expires", "3600")]));
            }
        }
        stage.advance_s(2 * HOUR_S);
        assert!(stage.requests.is_empty(), "the watcher has not shown itself");
        stage.stanza(again);
        let subscribe = stage.only_request();
        assert_eq!(header(subscribe.headers(), "Expires"), "3600", "{again}");
        assert!(!subscribe.is_in_dialog(), "{again}");
        stage.take_stanzas();
        stage.notified(&subscribe, 1, ACTIVE, &open(&["phone"]));
        assert_eq!(stage.told(), [SUBSCRIBED, HERE], "{again}");
    }
}

#[test]
fn a_watcher_that_asks_again_after_its_subscription_lapsed_is_told_what_is_true_then() {
    let (mut stage, _) = watching();
    serve(&mut stage, &mut 1, 10 * HOUR_S);
    assert_eq!(stage.told(), [GONE]);
    stage.forget();
    stage.stanza(ASK);
    assert_eq!(stage.told(), [SUBSCRIBED]);
    let fetch = stage.only_request();
    assert_eq!(header(fetch.headers(), "Expires"), "0");
    stage.answer(&fetch, 200);
    stage.notified(&fetch, 1, "terminated;reason=timeout", &open(&["phone"]));
    assert_eq!(stage.told(), [HERE]);
}

#[test]
fn after_a_restart_a_device_that_has_closed_is_told_as_gone() {
    let (mut stage, _) = watching();
    stage.restart();
    stage.advance_s(5);
    let subscribe = stage.only_request();
    let closed = open(&["phone"]).replace("open", "closed");
    stage.notified(&subscribe, 1, ACTIVE, &closed);
    let all_gone = "presence unavailable romeo@example.net > juliet@example.com";
    assert_eq!(stage.told(), [GONE, all_gone]);
    stage.notified(&subscribe, 2, ACTIVE, &closed);
    assert_eq!(stage.told(), [""; 0]);
}
