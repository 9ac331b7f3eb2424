//! SIP users who watch XMPP users: asked, granted, told, refused, kept up, ended.

mod outages;

use sip_proto::message::Request;

use super::Stage;
use crate::testing::{self, body, header, jid, said};

const HOUR_S: u64 = 3_600;

/// What romeo sends to see juliet; `tag` is that of an answered dialog.
fn subscribe(number: u32, expires: u32, tag: &str) -> String {
    let to = match tag {
        "" => String::new(),
        tag => format!(";tag={tag}"),
    };
    format!(
        "SUBSCRIBE sip:juliet@example.com SIP/2.0\nFrom: <sip:romeo@example.net>;tag=r1\n\
         To: <sip:juliet@example.com>{to}\nCall-ID: c\nCSeq: {number} SUBSCRIBE\n\
         Event: presence\nContact: <sip:romeo@192.0.2.1>\nExpires: {expires}"
    )
}

fn presence(kind: &str) -> String {
    format!("<presence type='{kind}' from='juliet@example.com' to='romeo@example.net'/>")
}

fn available(resource: &str, show: &str) -> String {
    let show = if show.is_empty() { String::new() } else { format!("<show>{show}</show>") };
    format!(
        "<presence from='juliet@example.com/{resource}' to='romeo@example.net'>{show}</presence>"
    )
}

fn unavailable(resource: &str) -> String {
    available(resource, "").replace("<presence ", "<presence type='unavailable' ")
}

/// Returns the Subscription-State without its seconds, and the number of open tuples, none when
/// there is no document.
fn state(notify: &Request) -> (String, Option<usize>) {
    let state = header(notify.headers(), "Subscription-State");
    let state = state.split(";expires").next().unwrap().to_owned();
    let open = body(notify).matches("<basic>open</basic>").count();
    (state, (!body(notify).is_empty()).then_some(open))
}

fn active(open: usize) -> (String, Option<usize>) {
    ("active".to_owned(), Some(open))
}

fn terminated(reason: &str) -> (String, Option<usize>) {
    (format!("terminated;reason={reason}"), None)
}

impl Stage {
    /// Takes the one NOTIFY that was sent since the last look; it is answered by 200.
    fn only_notify(&mut self) -> Request {
        let notify = self.only_request();
        assert_eq!(notify.method().as_str(), "NOTIFY");
        self.answer(&notify, 200);
        notify
    }

    /// Subscribes; returns our tag of the dialog.
    fn subscribed(&mut self) -> String {
        self.sip(&subscribe(1, 3600, ""));
        let response = self.only_response();
        assert_eq!(said(&response), "200 OK");
        response.to().tag().unwrap().to_owned()
    }
}

/// Begins with a question that is open; returns our tag of the dialog.
fn pending() -> (Stage, String) {
    let mut stage = Stage::new();
    let tag = stage.subscribed();
    assert_eq!(state(&stage.only_notify()), ("pending".to_owned(), None));
    let ask = stage.only_stanza();
    assert_eq!(ask.summary(), "presence subscribe romeo@example.net > juliet@example.com");
    stage.settle(&ask, Ok(()));
    (stage, tag)
}

/// Begins with a watcher who sees one resource, and who may be told of a change.
fn watching() -> (Stage, String) {
    let (mut stage, tag) = pending();
    stage.stanza(&presence("subscribed"));
    stage.only_notify();
    stage.stanza(&available("b", ""));
    assert_eq!(state(&stage.only_notify()), active(1));
    stage.advance_s(5);
    (stage, tag)
}

#[test]
fn the_first_state_follows_at_once_and_later_ones_at_most_every_five_seconds() {
    let (mut stage, _) = pending();
    stage.stanza(&presence("subscribed"));
    assert_eq!(state(&stage.only_notify()), ("active".to_owned(), None));
    stage.stanza(&available("b", "away"));
    assert_eq!(state(&stage.only_notify()), active(1));
    for show in ["dnd", "xa", "chat"] {
        stage.stanza(&available("b", show));
    }
    stage.advance_ms(4_999);
    assert!(stage.requests.is_empty());
    stage.advance_ms(1);
    assert!(body(&stage.only_notify()).contains(">chat<"), "the last one counts");
    stage.advance_s(60);
    assert!(stage.requests.is_empty());
    stage.stanza(&available("b", "dnd"));
    assert_eq!(state(&stage.only_notify()), active(1));
}

#[test]
fn the_same_state_again_is_not_told() {
    let (mut stage, _) = watching();
    stage.stanza(&available("b", ""));
    stage.advance_s(60);
    assert!(stage.requests.is_empty());
}

#[test]
fn every_resource_has_its_tuple_until_it_has_gone() {
    let (mut stage, _) = watching();
    stage.stanza(&available("c", "away"));
    assert_eq!(state(&stage.only_notify()), active(2));
    stage.advance_s(5);
    stage.stanza(&unavailable("b"));
    let notify = stage.only_notify();
    assert_eq!(state(&notify), active(1));
    assert_eq!(body(&notify).matches("<basic>closed</basic>").count(), 1);
    stage.advance_s(5);
    stage.stanza(&available("c", ""));
    assert_eq!(body(&stage.only_notify()).matches("<tuple ").count(), 1, "it is told once");
}

#[test]
fn what_a_contact_announces_that_has_not_granted_it_is_not_told() {
    let (mut stage, _) = pending();
    stage.stanza(&available("b", ""));
    stage.stanza(&available("b", "").replace("juliet@", "nurse@"));
    stage.advance_s(60);
    assert!(stage.requests.is_empty());
}

#[test]
fn a_refusal_ends_the_subscription_and_is_asked_again_only_by_the_user() {
    for begin in [pending, watching] {
        let (mut stage, tag) = begin();
        let sequence = stage.stanza(&presence("unsubscribed"));
        assert_eq!(stage.outcome(sequence), Some(&Ok(())));
        let notify = stage.only_notify();
        assert_eq!(state(&notify), terminated("rejected"));
        assert!(!header(notify.headers(), "Subscription-State").contains("expires"));
        stage.sip(&subscribe(2, 3600, &tag));
        assert_eq!(stage.only_response().status().code(), 481);
        stage.restart();
        stage.advance_s(600);
        assert!(stage.stanzas.is_empty() && stage.requests.is_empty());
        stage.subscribed();
        assert_eq!(stage.only_stanza().attribute("type"), "subscribe");
    }
}

#[test]
fn a_grant_that_nobody_asked_for_is_ignored() {
    let mut stage = Stage::new();
    stage.stanza(&presence("subscribed"));
    stage.stanza(&available("b", ""));
    stage.subscribed();
    assert_eq!(state(&stage.only_notify()), ("pending".to_owned(), None));
    assert_eq!(stage.only_stanza().attribute("type"), "subscribe");
}

#[test]
fn a_watcher_that_leaves_is_shown_nothing_as_open_and_the_contact_learns_it() {
    let (mut stage, tag) = watching();
    stage.sip(&subscribe(2, 0, &tag));
    assert_eq!(header(stage.only_response().headers(), "Expires"), "0");
    let (substate, open) = state(&stage.only_notify());
    assert_eq!((substate.as_str(), open), ("terminated;reason=timeout", Some(0)));
    let stanza = stage.only_stanza();
    assert_eq!(stanza.summary(), "presence unavailable romeo@example.net > juliet@example.com");
    stage.stanza(&available("b", "dnd"));
    stage.advance_s(60);
    assert!(stage.requests.is_empty());
}

#[test]
fn a_watcher_that_the_contact_watches_too_is_not_hidden_when_it_leaves() {
    let (mut stage, tag) = watching();
    stage.stanza(&presence("subscribe"));
    let x2s = stage.only_request();
    let notify = format!(
        "NOTIFY sip:juliet@example.com SIP/2.0\nFrom: <sip:romeo@example.net>;tag=home\nTo: {}\n\
         Call-ID: {}\nCSeq: 1 NOTIFY\nEvent: presence\nSubscription-State: active;expires=600\n\
         Contact: <sip:romeo@192.0.2.1>",
        header(x2s.headers(), "From"),
        x2s.call_id().as_str(),
    );
    stage.sip(&notify);
    stage.forget();
    stage.sip(&subscribe(2, 0, &tag));
    assert!(stage.stanzas.is_empty());
}

#[test]
fn a_subscription_that_is_not_refreshed_runs_out() {
    let (mut stage, tag) = watching();
    stage.advance_s(HOUR_S - 6);
    assert!(stage.requests.is_empty());
    stage.advance_s(1);
    let (substate, _) = state(&stage.only_notify());
    assert_eq!(substate, "terminated;reason=timeout");
    stage.sip(&subscribe(2, 3600, &tag));
    assert_eq!(stage.only_response().status().code(), 481);
}

#[test]
fn a_refresh_keeps_it_and_asks_the_contact_nothing() {
    let (mut stage, tag) = watching();
    for number in 2..6 {
        stage.advance_s(HOUR_S / 2);
        stage.sip(&subscribe(number, 3600, &tag));
        assert_eq!(said(&stage.only_response()), "200 OK");
        let notify = stage.only_notify();
        assert_eq!(state(&notify), active(1));
        assert_eq!(header(notify.headers(), "Subscription-State"), "active;expires=3600");
    }
    assert!(stage.stanzas.is_empty());
}

#[test]
fn a_refresh_while_the_question_is_open_does_not_ask_again() {
    let (mut stage, tag) = pending();
    stage.sip(&subscribe(2, 3600, &tag));
    assert_eq!(state(&stage.only_notify()), ("pending".to_owned(), None));
    assert!(stage.stanzas.is_empty());
}

#[test]
fn a_policy_that_is_withdrawn_refuses_the_refresh_and_reveals_nothing_but_lets_one_leave() {
    let (mut stage, tag) = watching();
    stage.policy = testing::policy(&testing::POLICY.replace("xmpp_access = true", ""));
    stage.stanza(&available("b", "dnd"));
    stage.advance_s(5);
    assert!(stage.requests.is_empty());
    stage.sip(&subscribe(2, 3600, &tag));
    assert_eq!(stage.only_response().status().code(), 403);
    stage.sip(&subscribe(3, 0, &tag));
    assert_eq!(said(&stage.only_response()), "200 OK");
}

#[test]
fn a_dialog_that_its_watcher_does_not_know_is_dropped() {
    // A NOTIFY without an answer ends it as well (RFC 6665 s.4.2.2).
    for code in [Some(481), Some(489), Some(404), None] {
        let (mut stage, tag) = watching();
        stage.stanza(&available("b", "dnd"));
        let notify = stage.only_request();
        match code {
            Some(code) => stage.answer(&notify, code),
            None => stage.advance_s(32),
        }
        stage.advance_s(5);
        stage.stanza(&available("b", "xa"));
        stage.advance_s(60);
        assert!(stage.requests.is_empty(), "{code:?}");
        stage.sip(&subscribe(2, 3600, &tag));
        assert_eq!(stage.only_response().status().code(), 481, "{code:?}");
    }
}

#[test]
fn a_question_that_the_contacts_server_answers_by_an_error_ends_as_the_error_says() {
    for (condition, reason) in [
        ("item-not-found", "noresource"),
        ("gone", "noresource"),
        ("forbidden", "rejected"),
        ("not-allowed", "rejected"),
        ("service-unavailable", "rejected"),
    ] {
        let (mut stage, _) = pending();
        stage.stanza(&format!(
            "<presence type='error' from='juliet@example.com' to='romeo@example.net'>\
             <error type='cancel'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             </error></presence>"
        ));
        assert_eq!(state(&stage.only_notify()), terminated(reason), "{condition}");
    }
}

#[test]
fn a_poll_is_answered_once_by_what_is_known_and_asks_for_no_authorisation() {
    let poll = subscribe(1, 0, "").replace("Call-ID: c", "Call-ID: poll");
    let mut stage = Stage::new();
    stage.sip(&poll);
    assert_eq!(said(&stage.only_response()), "200 OK");
    assert_eq!(state(&stage.only_notify()), terminated("timeout"));
    assert!(stage.stanzas.is_empty());

    let (mut stage, _) = watching();
    stage.sip(&poll);
    let (substate, open) = state(&stage.only_notify());
    assert_eq!((substate.as_str(), open), ("terminated;reason=timeout", Some(1)));
    assert!(stage.stanzas.is_empty());
}

#[test]
fn a_poll_waits_a_second_for_a_state_that_is_not_known() {
    let (mut stage, _) = pending();
    stage.stanza(&presence("subscribed"));
    stage.only_notify();
    stage.sip(&subscribe(1, 0, "").replace("Call-ID: c", "Call-ID: poll"));
    assert_eq!(stage.only_stanza().attribute("type"), "probe");
    stage.advance_ms(999);
    assert!(stage.requests.is_empty());
    stage.stanza(&available("b", ""));
    let told = stage.take_requests();
    let states: Vec<_> = told.iter().map(|notify| state(notify).1).collect();
    assert_eq!(states, [Some(1), Some(1)], "the poll and the subscription");
}

#[test]
fn a_user_that_is_removed_leaves_everything_it_watched() {
    let (mut stage, _) = watching();
    stage.gateway.remove_user(&jid("romeo@example.net"), stage.clock.now);
    stage.collect();
    assert_eq!(state(&stage.only_notify()), terminated("noresource"));
    let stanza = stage.only_stanza();
    assert_eq!(stanza.summary(), "presence unsubscribe romeo@example.net > juliet@example.com");
    let loaded = stage.ledger.load(stage.clock.now);
    assert_eq!((loaded.authorisations.len(), loaded.dialogs.len()), (0, 0));
}

#[test]
fn a_subscription_that_the_rules_do_not_allow_is_refused_and_asks_nobody() {
    let good = subscribe(1, 3600, "");
    for (bad, code) in [
        (good.replace("Event: presence", "Event: dialog"), 489),
        (good.replace("Event: presence\n", ""), 489),
        (format!("{good}\nAccept: text/plain"), 406),
        (good.replace("Expires: 3600", "Expires: 10"), 423),
        (good.replace("\nContact: <sip:romeo@192.0.2.1>", ""), 400),
    ] {
        let mut stage = Stage::new();
        stage.sip(&bad);
        assert_eq!(stage.only_response().status().code(), code, "{bad}");
        assert!(stage.stanzas.is_empty() && stage.requests.is_empty(), "{bad}");
    }
}

#[test]
fn a_watcher_that_asks_anew_has_an_unanswered_contact_asked_anew_once_a_minute() {
    let (mut stage, tag) = pending();
    let anew = |call_id: &str| subscribe(1, 3600, "").replace("Call-ID: c", call_id);
    stage.advance_ms(59_999);
    stage.sip(&anew("Call-ID: d"));
    assert!(stage.stanzas.is_empty());
    stage.advance_ms(1);
    stage.sip(&subscribe(2, 3600, &tag));
    assert!(stage.stanzas.is_empty(), "a refresh is no new wish");
    for call_id in ["Call-ID: e", "Call-ID: f"] {
        stage.sip(&anew(call_id));
    }
    let ask = stage.only_stanza();
    assert_eq!(ask.summary(), "presence subscribe romeo@example.net > juliet@example.com");
    stage.stanza(&presence("subscribed"));
    stage.advance_s(60);
    stage.sip(&anew("Call-ID: g"));
    let kinds: Vec<String> =
        stage.take_stanzas().iter().map(|it| it.attribute("type").to_owned()).collect();
    assert!(!kinds.contains(&"subscribe".to_owned()), "who has answered is not asked: {kinds:?}");
}

#[test]
fn the_contacts_that_one_user_asks_are_bounded_also_when_it_leaves_them() {
    let mut stage = Stage::new();
    let ask = |number: u32, expires: u32| {
        let text = subscribe(1, expires, "").replace("juliet", &format!("user{number}"));
        text.replace("Call-ID: c", &format!("Call-ID: {number}"))
    };
    for number in 0..1_000 {
        stage.sip(&ask(number, 3600));
        let tag = stage.only_response().to().tag().unwrap().to_owned();
        let to = format!("<sip:user{number}@example.com>");
        let leave = ask(number, 0).replace(&to, &format!("{to};tag={tag}"));
        stage.sip(&leave.replace("CSeq: 1", "CSeq: 2"));
        assert_eq!(said(&stage.only_response()), "200 OK");
        for notify in stage.take_requests() {
            stage.answer(&notify, 200);
        }
        let sent = stage.only_stanza();
        stage.settle(&sent, Ok(()));
    }
    stage.sip(&ask(1_000, 3600));
    assert_eq!(said(&stage.only_response()), "403 Too Many Contacts");
    assert!(stage.stanzas.is_empty());
    for (number, expires) in [(1_001, 0), (7, 3600)] {
        stage.sip(&ask(number, expires).replace("Call-ID: 7", "Call-ID: again"));
        assert_eq!(said(&stage.only_response()), "200 OK", "{number}");
    }
    stage.sip(&ask(1_002, 3600).replace("romeo", "nurse"));
    assert_eq!(said(&stage.only_response()), "200 OK", "another user has its own");
}

#[test]
fn the_word_that_a_resource_leaves_is_told_with_its_closed_tuple() {
    let (mut stage, _) = watching();
    let leaving = "<presence type='unavailable' from='juliet@example.com/b' \
                   to='romeo@example.net'><status>gone</status></presence>";
    stage.stanza(leaving);
    let notify = stage.only_notify();
    assert_eq!(state(&notify), active(0));
    assert!(body(&notify).contains("<note>gone</note>"), "{}", body(&notify));
    stage.stanza(&unavailable("b"));
    stage.advance_s(60);
    assert!(stage.requests.is_empty(), "it has gone once");
}

#[test]
fn a_contact_that_announces_without_a_resource_is_open_until_it_has_gone() {
    let (mut stage, _) = pending();
    stage.stanza(&presence("subscribed"));
    stage.only_notify();
    let bare = available("b", "dnd").replace("/b", "");
    stage.stanza(&bare);
    let notify = stage.only_notify();
    assert_eq!(state(&notify), active(1));
    assert!(body(&notify).contains("id=\"ID-\"") || body(&notify).contains("id='ID-'"));
    stage.advance_s(5);
    stage.stanza(&presence("unavailable"));
    assert_eq!(state(&stage.only_notify()), active(0));
}
