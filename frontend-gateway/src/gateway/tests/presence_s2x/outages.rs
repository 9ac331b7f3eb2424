//! SIP users who watch XMPP users, while something is away: the partner, the watcher, ourselves.

use std::time::Duration;

use link::wire::stream_report::State;

use super::{HOUR_S, active, available, pending, presence, state, subscribe, terminated, watching};
use crate::gateway::tests::B;
use crate::testing::{body, jid, said};

#[test]
fn a_watcher_that_cannot_be_reached_keeps_its_subscription_and_is_told_anew() {
    let (mut stage, _) = watching();
    stage.stanza(&available("b", "dnd"));
    let notify = stage.only_request();
    stage.answer(&notify, 503);
    stage.advance_s(60);
    assert!(stage.requests.is_empty());
    let romeo = jid("romeo@example.net");
    stage.gateway.handle_reachable(|user| *user == romeo, stage.clock.now);
    stage.collect();
    assert!(body(&stage.only_notify()).contains(">dnd<"));
}

#[test]
fn a_question_that_cannot_be_brought_is_asked_again_ever_later() {
    let (mut stage, _) = pending();
    let error = "<presence type='error' from='juliet@example.com' to='romeo@example.net'>\
         <error type='wait'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         </error></presence>";
    stage.stanza(error);
    for wait in [60, 120, 240, 480] {
        stage.advance_ms(wait * 1000 - 1);
        assert!(stage.stanzas.is_empty(), "{wait}");
        stage.advance_ms(1);
        let ask = stage.only_stanza();
        assert_eq!(ask.attribute("type"), "subscribe");
        stage.settle(&ask, Err("remote-server-timeout"));
    }
    assert!(stage.requests.is_empty(), "the watcher waits");
}

#[test]
fn a_partner_that_is_lost_closes_its_contacts_and_is_probed_ever_later() {
    let (mut stage, _) = watching();
    stage.report("example.com", State::Failed);
    assert_eq!(state(&stage.only_notify()), active(0));
    for wait in [60, 120, 240] {
        stage.advance_ms(wait * 1000 - 1);
        assert!(stage.stanzas.is_empty(), "{wait}");
        stage.advance_ms(1);
        let probe = stage.only_stanza();
        assert_eq!(probe.summary(), "presence probe romeo@example.net > juliet@example.com");
        stage.report("example.com", State::Failed);
    }
    assert!(stage.requests.is_empty(), "nothing has changed for the watcher");
    stage.report("other.example", State::Established);
    assert!(stage.stanzas.is_empty());
    stage.advance_s(10);
    stage.report("example.com", State::Established);
    assert_eq!(stage.only_stanza().attribute("type"), "probe");
    stage.stanza(&available("b", ""));
    assert_eq!(state(&stage.only_notify()), active(1));
    stage.advance_s(HOUR_S / 2);
    assert!(stage.stanzas.is_empty(), "what is known is not asked for");
}

#[test]
fn a_partner_that_is_back_just_after_a_probe_is_probed_once_the_next_one_may_go() {
    let (mut stage, _) = watching();
    stage.report("example.com", State::Failed);
    stage.only_notify();
    stage.advance_s(60);
    stage.only_stanza();
    stage.report("example.com", State::Failed);
    stage.advance_s(1);
    stage.report("example.com", State::Established);
    assert!(stage.stanzas.is_empty());
    stage.advance_s(9);
    assert_eq!(stage.only_stanza().attribute("type"), "probe");
}

#[test]
fn a_stream_that_is_closed_in_order_changes_nothing() {
    let (mut stage, _) = watching();
    stage.report("example.com", State::Closed);
    stage.advance_s(60);
    assert!(stage.requests.is_empty() && stage.stanzas.is_empty());
}

#[test]
fn subscriptions_go_on_after_a_restart_and_the_contact_is_probed() {
    let (mut stage, tag) = watching();
    let before = stage.ledger.load(stage.clock.now).dialogs.len();
    assert_eq!(before, 1);
    stage.restart();
    stage.advance_s(5);
    let probe = stage.only_stanza();
    assert_eq!(probe.summary(), "presence probe romeo@example.net > juliet@example.com");
    assert!(stage.requests.is_empty(), "nothing is said that is not known");
    stage.stanza(&available("b", "away"));
    let notify = stage.only_notify();
    assert_eq!(state(&notify), active(1));
    assert_eq!((notify.call_id().as_str(), notify.from().tag()), ("c", Some(tag.as_str())));
    assert!(notify.cseq().number > 3, "above every number that was used before");
    stage.sip(&subscribe(2, 3600, &tag));
    assert_eq!(said(&stage.only_response()), "200 OK");
}

#[test]
fn a_question_that_was_open_when_the_process_died_is_asked_again_by_us() {
    let (mut stage, _) = pending();
    stage.restart();
    stage.advance_s(5);
    assert_eq!(stage.only_stanza().attribute("type"), "subscribe");
    stage.stanza(&presence("subscribed"));
    assert_eq!(state(&stage.only_notify()), ("active".to_owned(), None));
}

#[test]
fn a_subscription_that_ran_out_while_the_process_was_down_ends_after_it() {
    let (mut stage, tag) = watching();
    let later = stage.clock.now.instant + Duration::from_secs(2 * HOUR_S);
    stage.clock.set(later);
    stage.restart();
    stage.advance_s(60);
    assert_eq!(state(&stage.only_notify()), terminated("timeout"));
    assert!(stage.stanzas.is_empty());
    stage.sip(&subscribe(2, 3600, &tag));
    assert_eq!(stage.only_response().status().code(), 481);
}

#[test]
fn a_probe_that_could_not_be_brought_is_sent_again_later_or_when_an_edge_comes() {
    let (mut stage, _) = watching();
    stage.restart();
    stage.advance_s(5);
    let probe = stage.only_stanza();
    stage.settle(&probe, Err("remote-server-timeout"));
    stage.advance_ms(59_999);
    assert!(stage.stanzas.is_empty());
    stage.advance_ms(1);
    let probe = stage.only_stanza();
    assert_eq!(probe.attribute("type"), "probe");
    stage.settle(&probe, Err("remote-server-timeout"));
    stage.advance_s(10);
    stage.attach(B, "edge-b");
    stage.advance_ms(1);
    assert_eq!(stage.only_stanza().attribute("type"), "probe");
    stage.stanza(&available("b", "away"));
    assert_eq!(state(&stage.only_notify()), active(1));
    stage.advance_s(HOUR_S / 2);
    assert!(stage.stanzas.is_empty(), "what is known is not asked for");
}
