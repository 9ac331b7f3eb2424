//! XMPP users who watch SIP users: asked, granted, refused, kept up, ended, begun again.

mod outages;
mod substates;

use sip_proto::message::Request;
use xmpp_proto::jid::Jid;

use super::{Sent, Stage};
use crate::testing::{self, header, jid, said};

const HOUR_S: u64 = 3_600;

const ASK: &str = "<presence type='subscribe' from='juliet@example.com' to='romeo@example.net'/>";
const PROBE: &str = "<presence type='probe' from='juliet@example.com/b' to='romeo@example.net'/>";
const LEAVE: &str =
    "<presence type='unsubscribe' from='juliet@example.com' to='romeo@example.net'/>";

const SUBSCRIBED: &str = "presence subscribed romeo@example.net > juliet@example.com";
const UNSUBSCRIBED: &str = "presence unsubscribed romeo@example.net > juliet@example.com";
const HERE: &str = "presence  romeo@example.net/phone > juliet@example.com";
const GONE: &str = "presence unavailable romeo@example.net/phone > juliet@example.com";

/// A document with one tuple for each id, all open.
pub(super) fn open(ids: &[&str]) -> String {
    let tuple =
        |id: &&str| format!("<tuple id='{id}'><status><basic>open</basic></status></tuple>");
    let tuples: String = ids.iter().map(tuple).collect();
    format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:romeo@example.net'>{tuples}\
         </presence>"
    )
}

/// Returns a NOTIFY in the dialog of a SUBSCRIBE of the gateway.
fn notify(subscribe: &Request, number: u32, state: &str, document: &str) -> String {
    let content = match document {
        "" => String::new(),
        _ => format!("Content-Type: application/pidf+xml\n\n{document}"),
    };
    format!(
        "NOTIFY sip:juliet@example.com;gr=isthmus SIP/2.0\n\
         From: <sip:romeo@example.net>;tag=home\nTo: {}\nCall-ID: {}\nCSeq: {number} NOTIFY\n\
         Event: presence\nSubscription-State: {state}\nContact: <sip:romeo@192.0.2.1>\n{content}",
        header(subscribe.headers(), "From"),
        subscribe.call_id().as_str(),
    )
}

fn summaries(stanzas: &[Sent]) -> Vec<String> {
    stanzas.iter().map(Sent::summary).collect()
}

impl Stage {
    fn told(&mut self) -> Vec<String> {
        summaries(&self.take_stanzas())
    }

    /// Brings a NOTIFY, which is taken.
    pub(super) fn notified(
        &mut self,
        subscribe: &Request,
        number: u32,
        state: &str,
        document: &str,
    ) {
        self.sip(&notify(subscribe, number, state, document));
        assert_eq!(said(&self.only_response()), "200 OK");
    }
}

/// Begins with a question of the watcher that is on its way; returns its SUBSCRIBE.
fn asked() -> (Stage, Request) {
    let mut stage = Stage::new();
    stage.stanza(ASK);
    let subscribe = stage.only_request();
    stage.bytes(&testing::answer(&subscribe, 200, &[("Expires", "3600")]));
    (stage, subscribe)
}

/// Begins with a watcher who sees one device.
pub(super) fn watching() -> (Stage, Request) {
    let (mut stage, subscribe) = asked();
    stage.notified(&subscribe, 1, "active;expires=3600", &open(&["phone"]));
    assert_eq!(stage.told(), [SUBSCRIBED, HERE]);
    (stage, subscribe)
}

/// Says whether the authorisation outlived it all: a process that starts anew subscribes.
fn is_authorised(mut stage: Stage) -> bool {
    stage.restart();
    stage.advance_s(5);
    !stage.take_requests().is_empty()
}

#[test]
fn a_question_is_settled_once_it_is_on_the_disk_and_asked_again_only_after_an_end() {
    let mut stage = Stage::new();
    stage.store = super::Store::Holds;
    let sequence = stage.stanza(ASK);
    assert_eq!(stage.outcome(sequence), None);
    stage.answer_commits(super::Store::Confirms);
    assert_eq!(stage.outcome(sequence), Some(&Ok(())));
    assert_eq!(stage.take_requests().len(), 1);
    stage.stanza(ASK);
    assert!(stage.requests.is_empty() && stage.stanzas.is_empty());
}

#[test]
fn what_was_granted_is_granted_again_with_the_state_at_once() {
    let (mut stage, _) = watching();
    stage.stanza(ASK);
    assert_eq!(stage.told(), [SUBSCRIBED, HERE]);
    assert!(stage.requests.is_empty());
}

#[test]
fn a_state_is_told_once_and_a_device_that_is_missing_has_gone() {
    let (mut stage, subscribe) = watching();
    stage.notified(&subscribe, 2, "active;expires=3600", &open(&["phone"]));
    assert_eq!(stage.told(), [""; 0]);
    stage.notified(&subscribe, 3, "active;expires=3600", &open(&[]));
    assert_eq!(stage.told(), [GONE]);
    stage.notified(&subscribe, 4, "active;expires=3600", &open(&[]));
    assert_eq!(stage.told(), [""; 0]);
}

#[test]
fn a_note_is_shown_to_federated_partners_alone() {
    for (domain, shown) in [("example.com", "at lunch"), ("verified.example", "")] {
        let mut stage = Stage::new();
        stage.stanza(&ASK.replace("example.com", domain));
        let subscribe = stage.only_request();
        let document = open(&["phone"]).replace("</tuple>", "<note>at lunch</note></tuple>");
        stage.notified(&subscribe, 1, "active;expires=3600", &document);
        let stanzas = stage.take_stanzas();
        assert_eq!(stanzas.len(), 2);
        assert_eq!(stanzas[1].text("status"), shown, "{domain}");
    }
}

#[test]
fn a_notify_that_is_not_ours_or_malformed_is_refused_and_the_subscription_goes_on() {
    let (mut stage, subscribe) = watching();
    let good = notify(&subscribe, 2, "active;expires=3600", &open(&["desk"]));
    let call_id = subscribe.call_id().as_str();
    for (bad, code) in [
        (good.replace(call_id, "unknown"), 481),
        (good.replace(subscribe.from().tag().unwrap(), "somebody"), 481),
        (good.replace("tag=home", "tag=another"), 481),
        (good.replace("Event: presence", "Event: dialog"), 489),
        (good.replace("CSeq: 2", "CSeq: 0"), 500),
        (good.replace("application/pidf+xml", "text/plain"), 415),
        (good.replace("</presence>", ""), 400),
        (good.replace("Subscription-State: active;expires=3600\n", ""), 400),
    ] {
        // The first NOTIFY of a fork is not refused while Timer N runs.
        stage.advance_s(40);
        stage.sip(&bad);
        assert_eq!(stage.only_response().status().code(), code, "{bad}");
        assert_eq!(stage.told(), [""; 0], "{bad}");
    }
    stage.notified(&subscribe, 3, "active;expires=3600", &open(&["phone"]));
    stage.stanza(PROBE);
    assert_eq!(stage.told(), [HERE]);
}

#[test]
fn a_probe_is_answered_from_what_is_known_or_fetches_it_and_then_subscribes() {
    let (mut stage, subscribe) = watching();
    stage.stanza(PROBE);
    assert_eq!(stage.told(), [HERE]);
    assert!(stage.requests.is_empty());

    stage.notified(&subscribe, 2, "terminated;reason=invariant", "");
    stage.stanza(PROBE);
    let fetch = stage.only_request();
    assert_eq!(header(fetch.headers(), "Expires"), "0");
    stage.stanza(PROBE);
    assert!(stage.requests.is_empty(), "one is under way");
    stage.answer(&fetch, 200);
    stage.notified(&fetch, 1, "terminated;reason=timeout", &open(&["desk"]));
    stage.advance_ms(1);
    assert_eq!(stage.told(), ["presence  romeo@example.net/desk > juliet@example.com"]);
    let long = stage.only_request();
    assert_eq!(header(long.headers(), "Expires"), "3600");
    assert_ne!(long.call_id(), fetch.call_id());
}

#[test]
fn a_probe_without_an_authorisation_gets_unsubscribed_whoever_it_is_for() {
    for user in ["romeo@example.net", "nobody@example.net"] {
        let mut stage = Stage::new();
        stage.stanza(&PROBE.replace("romeo@example.net", user));
        let expected = format!("presence unsubscribed {user} > juliet@example.com");
        assert_eq!(stage.told(), [expected]);
        assert!(stage.requests.is_empty());
    }
    let (mut stage, _) = asked();
    stage.stanza(PROBE);
    assert_eq!(stage.told(), [UNSUBSCRIBED], "pending is not granted");
}

/// Lets time pass at the side of the presentity's server, which grants every SUBSCRIBE.
/// Returns how many came.
fn serve(stage: &mut Stage, number: &mut u32, seconds: u64) -> usize {
    let mut count = 0;
    for _ in 0..seconds / 10 {
        stage.advance_s(10);
        for request in stage.take_requests() {
            count += 1;
            stage.bytes(&testing::answer(&request, 200, &[("Expires", "3600")]));
            *number += 1;
            stage.sip(&notify(&request, *number, "active;expires=3600", &open(&["phone"])));
        }
    }
    count
}

#[test]
fn a_subscription_is_refreshed_while_the_watcher_shows_itself_and_ends_when_it_does_not() {
    let (mut stage, _) = watching();
    let mut number = 1;
    for _ in 0..3 {
        assert!(serve(&mut stage, &mut number, 7 * HOUR_S) >= 8, "an hour is refreshed in it");
        assert_eq!(stage.told(), [""; 0]);
        stage.stanza(PROBE);
        assert_eq!(stage.told(), [HERE]);
    }
    assert!(serve(&mut stage, &mut number, 9 * HOUR_S) <= 13);
    assert_eq!(stage.told(), [GONE], "what is not kept up is not shown");
    assert_eq!(serve(&mut stage, &mut number, 24 * HOUR_S), 0);
    stage.stanza(PROBE);
    assert_eq!(header(stage.only_request().headers(), "Expires"), "0", "it is back");
}

#[test]
fn a_policy_that_is_withdrawn_ends_the_subscription_at_its_refresh() {
    let (mut stage, subscribe) = watching();
    stage.policy = testing::policy(&testing::POLICY.replace("xmpp_access = true", ""));
    stage.notified(&subscribe, 2, "active;expires=3600", &open(&["desk"]));
    assert_eq!(stage.told(), [""; 0], "nothing is revealed from then on");
    assert_eq!(serve(&mut stage, &mut 2, 2 * HOUR_S), 0);
    assert_eq!(stage.told(), [GONE]);
    // What was granted is not forgotten: it counts when policy permits it again.
    stage.policy = testing::policy(testing::POLICY);
    stage.stanza(PROBE);
    assert_eq!(stage.take_requests().len(), 1);
}

#[test]
fn a_first_subscribe_that_is_refused_for_good_takes_everything_back() {
    for code in [403, 404, 489, 603] {
        let mut stage = Stage::new();
        stage.stanza(ASK);
        let subscribe = stage.only_request();
        stage.answer(&subscribe, code);
        assert_eq!(stage.told(), [UNSUBSCRIBED], "{code}");
        stage.advance_s(600);
        assert!(stage.requests.is_empty(), "{code}");
        assert!(!is_authorised(stage), "{code}");
    }
}

#[test]
fn a_subscribe_that_fails_for_now_is_tried_again_ever_later_and_nothing_is_told() {
    let mut stage = Stage::new();
    stage.stanza(ASK);
    for wait in [5, 10, 20, 40, 80, 160, 300, 300] {
        let subscribe = stage.only_request();
        stage.answer(&subscribe, 500);
        stage.advance_ms(wait * 1000 - 1);
        assert!(stage.requests.is_empty(), "{wait}");
        stage.advance_ms(1);
    }
    let subscribe = stage.only_request();
    stage.bytes(&testing::answer(&subscribe, 503, &[("Retry-After", "1000")]));
    stage.advance_s(999);
    assert!(stage.requests.is_empty());
    stage.advance_s(1);
    // One without any answer is over with its transaction, and follows the same rule.
    stage.only_request();
    stage.advance_s(32 + 299);
    assert!(stage.requests.is_empty());
    stage.advance_s(1);
    stage.only_request();
    assert_eq!(stage.told(), [""; 0]);
    assert!(is_authorised(stage));
}

#[test]
fn a_subscription_that_its_server_forgot_begins_anew_without_the_watcher_noticing() {
    let (mut stage, _) = watching();
    let refresh = loop {
        stage.advance_s(10);
        if let Some(request) = stage.take_requests().pop() {
            break request;
        }
        assert!(stage.clock.elapsed().as_secs() < HOUR_S);
    };
    stage.answer(&refresh, 481);
    stage.advance_ms(1);
    let subscribe = stage.only_request();
    assert!(!subscribe.is_in_dialog());
    stage.answer(&subscribe, 200);
    stage.notified(&subscribe, 1, "active;expires=3600", &open(&["phone"]));
    assert_eq!(stage.told(), [""; 0]);
}

#[test]
fn a_server_that_may_have_forgotten_is_asked_soon_about_its_own_users_alone() {
    let (mut stage, _) = watching();
    let of = |domain: &'static str| move |user: &Jid| user.domain().as_str() == domain;
    stage.gateway.handle_restarted(of("other.example"), stage.clock.now);
    stage.advance_s(60);
    assert!(stage.take_requests().is_empty());
    stage.gateway.handle_restarted(of("example.net"), stage.clock.now);
    stage.advance_s(5);
    let refresh = stage.only_request();
    assert!(refresh.is_in_dialog());
    stage.answer(&refresh, 481);
    stage.advance_ms(1);
    let subscribe = stage.only_request();
    assert!(!subscribe.is_in_dialog());
    // One that waits to be tried again waits no longer.
    stage.answer(&subscribe, 503);
    stage.gateway.handle_restarted(of("example.net"), stage.clock.now);
    stage.advance_ms(4_999);
    assert_eq!(stage.take_requests().len(), 1);
    assert_eq!(stage.told(), [""; 0]);
}

#[test]
fn a_watcher_that_leaves_is_told_once_and_is_forgotten() {
    let (mut stage, _) = watching();
    let sequence = stage.stanza(LEAVE);
    assert_eq!(stage.outcome(sequence), Some(&Ok(())));
    let ending = stage.only_request();
    assert_eq!((header(ending.headers(), "Expires"), ending.is_in_dialog()), ("0", true));
    assert_eq!(stage.told(), [""; 0], "it is not over yet");
    stage.answer(&ending, 200);
    assert_eq!(stage.told(), [UNSUBSCRIBED]);
    stage.notified(&ending, 2, "terminated;reason=timeout", "");
    stage.advance_s(600);
    assert_eq!(stage.told(), [""; 0]);
    assert!(stage.requests.is_empty());
    stage.stanza(LEAVE);
    assert!(stage.requests.is_empty() && stage.stanzas.is_empty(), "nobody is interested");
    assert!(!is_authorised(stage));
}

#[test]
fn a_watcher_that_leaves_before_it_was_granted_is_not_granted_after() {
    let mut stage = Stage::new();
    stage.stanza(ASK);
    let subscribe = stage.only_request();
    stage.stanza(LEAVE);
    stage.answer(&subscribe, 200);
    stage.notified(&subscribe, 1, "active;expires=3600", &open(&["phone"]));
    let ending = stage.only_request();
    assert_eq!(header(ending.headers(), "Expires"), "0");
    stage.answer(&ending, 200);
    stage.notified(&subscribe, 2, "terminated;reason=timeout", "");
    assert_eq!(stage.told(), [UNSUBSCRIBED]);
    assert!(!is_authorised(stage));
}

#[test]
fn a_watcher_that_comes_back_while_it_leaves_is_asked_for_anew() {
    let (mut stage, _) = watching();
    stage.stanza(LEAVE);
    stage.only_request();
    stage.stanza(ASK);
    let subscribe = stage.only_request();
    assert!(!subscribe.is_in_dialog());
    stage.notified(&subscribe, 1, "active;expires=3600", &open(&["phone"]));
    assert_eq!(stage.told().last().unwrap(), HERE);
    assert!(is_authorised(stage));
}

#[test]
fn subscriptions_go_on_after_a_restart_without_anybody_asking_again() {
    let (mut stage, _) = watching();
    stage.restart();
    stage.advance_s(5);
    let subscribe = stage.only_request();
    assert_eq!(subscribe.to().uri().to_wire(), "sip:romeo@example.net");
    stage.notified(&subscribe, 1, "active;expires=3600", &open(&["phone"]));
    assert_eq!(stage.told(), [HERE], "what was granted is not granted again");
}

#[test]
fn a_question_that_was_open_when_the_process_died_is_answered_after_it() {
    let (mut stage, _) = asked();
    stage.restart();
    stage.advance_s(5);
    let subscribe = stage.only_request();
    stage.notified(&subscribe, 1, "active;expires=3600", &open(&["phone"]));
    assert_eq!(stage.told(), [SUBSCRIBED, HERE]);
}

#[test]
fn after_a_restart_the_subscription_of_a_watcher_long_unseen_waits_for_its_probe() {
    let (mut stage, _) = watching();
    let later = stage.clock.now.instant + std::time::Duration::from_secs(9 * HOUR_S);
    stage.clock.set(later);
    stage.restart();
    stage.advance_s(5);
    assert!(stage.requests.is_empty());
    stage.stanza(PROBE);
    assert_eq!(stage.take_requests().len(), 1);
}

#[test]
fn the_watches_of_one_user_are_bounded() {
    let mut stage = Stage::new();
    for number in 0..1_000 {
        let to = format!("user{number}@example.net");
        stage.stanza(&ASK.replace("romeo@example.net", &to));
    }
    assert_eq!(stage.take_requests().len(), 1_000);
    let sequence = stage.stanza(ASK);
    assert_eq!(stage.refusal(sequence), "resource-constraint");
    let sequence = stage.stanza(&ASK.replace("juliet@", "nurse@"));
    assert_eq!(stage.outcome(sequence), Some(&Ok(())));
}

#[test]
fn a_question_that_policy_refuses_is_told_so_and_asks_nobody() {
    let mut stage = Stage::new();
    stage.contacts.decide(&jid("romeo@example.net"), &jid("juliet@example.com"), false);
    let sequence = stage.stanza(ASK);
    assert_eq!(stage.refusal(sequence), "forbidden");
    assert!(stage.requests.is_empty() && !is_authorised(stage));
}

#[test]
fn a_change_of_what_a_device_shows_is_told() {
    let (mut stage, subscribe) = watching();
    let show = "</basic><show xmlns='jabber:client'>dnd</show>";
    let document = open(&["phone"]).replace("</basic>", show);
    stage.notified(&subscribe, 2, "active;expires=3600", &document);
    assert_eq!(stage.only_stanza().text("show"), "dnd");
}

#[test]
fn the_note_of_a_device_that_has_closed_is_told_to_federated_partners_alone() {
    for (domain, shown) in [("example.com", "gone"), ("verified.example", "")] {
        let mut stage = Stage::new();
        stage.stanza(&ASK.replace("example.com", domain));
        let subscribe = stage.only_request();
        stage.notified(&subscribe, 1, "active;expires=3600", &open(&["phone"]));
        stage.take_stanzas();
        let closed = open(&["phone"]).replace("open", "closed");
        let closed = closed.replace("</tuple>", "<note>gone</note></tuple>");
        stage.notified(&subscribe, 2, "active;expires=3600", &closed);
        let sent = stage.only_stanza();
        assert_eq!(sent.attribute("type"), "unavailable");
        assert_eq!(sent.text("status"), shown, "{domain}");
    }
}
