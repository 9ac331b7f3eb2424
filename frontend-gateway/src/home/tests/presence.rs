//! Presence of users of the home: published, told to those who may see it, until it runs out.

use sip_proto::message::Request;

use super::{CELL, DESK, GATEWAY, PARIS, Stage};
use crate::testing::{Timed as _, body, header, jid, said};

fn document(note: &str) -> String {
    format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:romeo@example.net'>\
         <tuple id='t'><status><basic>open</basic></status><note>{note}</note></tuple></presence>"
    )
}

/// A PUBLISH of romeo; `tag` is that of what it replaces.
fn publish(number: u32, tag: &str, expires: u32, document: &str) -> String {
    let condition = match tag {
        "" => String::new(),
        tag => format!("SIP-If-Match: {tag}\n"),
    };
    let content = match document {
        "" => String::new(),
        document => format!("Content-Type: application/pidf+xml\n\n{document}"),
    };
    format!(
        "PUBLISH sip:romeo@example.net SIP/2.0\nFrom: <sip:romeo@example.net>;tag=1\n\
         To: <sip:romeo@example.net>\nCall-ID: publish\nCSeq: {number} PUBLISH\n\
         Event: presence\n{condition}Expires: {expires}\n{content}"
    )
}

/// A SUBSCRIBE of an XMPP user, as the gateway sends it.
fn subscribe(watcher: &str, expires: u32) -> String {
    format!(
        "SUBSCRIBE sip:romeo@example.net SIP/2.0\nFrom: <sip:{watcher}>;tag=w\n\
         To: <sip:romeo@example.net>\nCall-ID: {watcher}\nCSeq: 1 SUBSCRIBE\nEvent: presence\n\
         Contact: <sip:{watcher};gr=isthmus>\nExpires: {expires}"
    )
}

impl Stage {
    fn published(&mut self, text: &str) -> String {
        self.send(DESK, text);
        let response = self.only_response(DESK);
        assert_eq!(said(&response), "200 OK");
        header(response.headers(), "SIP-ETag").to_owned()
    }

    /// Takes the one NOTIFY to the gateway, which is answered by 200.
    fn notify(&mut self) -> Request {
        let notify = self.only_request(GATEWAY);
        self.answer(GATEWAY, &notify, 200);
        notify
    }

    /// Brings a SUBSCRIBE of the gateway, and takes its answer and first NOTIFY.
    fn subscribed(&mut self, text: &str) -> Request {
        self.send(GATEWAY, text);
        let mut sent = self.sent.remove(&GATEWAY).unwrap().into_iter();
        let (Some(sip_proto::message::Message::Response(response)), Some(notify), None) =
            (sent.next(), sent.next(), sent.next())
        else {
            panic!("an answer and a NOTIFY")
        };
        assert_eq!(said(&response), "200 OK");
        let sip_proto::message::Message::Request(notify) = notify else { panic!("{notify:?}") };
        self.answer(GATEWAY, &notify, 200);
        *notify
    }
}

fn state(notify: &Request) -> &str {
    let state = header(notify.headers(), "Subscription-State");
    state.split(";expires").next().unwrap()
}

/// Begins with juliet, who sees romeo at his desk.
fn watched() -> Stage {
    let mut stage = Stage::new();
    stage.register(DESK, "romeo");
    let first = stage.subscribed(&subscribe("juliet@example.com", 3600));
    assert_eq!(state(&first), "active");
    assert!(body(&first).contains("<basic>open</basic>"));
    stage.advance_s(5);
    stage
}

#[test]
fn each_publication_has_a_tag_of_its_own_that_the_next_one_must_name() {
    let mut stage = watched();
    let first = stage.published(&publish(1, "", 600, &document("one")));
    assert!(body(&stage.notify()).contains(">one<"));
    let second = stage.published(&publish(2, &first, 600, &document("two")));
    assert_ne!(first, second);
    stage.advance_s(5);
    let notify = stage.notify();
    assert!(body(&notify).contains(">two<") && !body(&notify).contains(">one<"));

    stage.send(DESK, &publish(3, &first, 600, &document("three")));
    assert_eq!(stage.only_response(DESK).status().code(), 412);
    stage.send(DESK, &publish(4, "made-up", 600, ""));
    assert_eq!(stage.only_response(DESK).status().code(), 412);
    stage.advance_s(60);
    assert!(stage.is_silent(), "what is refused changes nothing");

    let third = stage.published(&publish(5, &second, 600, ""));
    assert_ne!(second, third, "a refresh has another tag");
    let removed = stage.published(&publish(6, &third, 0, ""));
    assert_ne!(third, removed);
    stage.send(DESK, &publish(7, &third, 600, ""));
    assert_eq!(stage.only_response(DESK).status().code(), 412);
    assert!(stage.ledger.load(stage.clock.now).publications.is_empty());
}

#[test]
fn a_publication_runs_out_unless_it_is_refreshed() {
    let mut stage = watched();
    let tag = stage.published(&publish(1, "", 600, &document("one")));
    stage.notify();
    stage.advance_s(599);
    stage.published(&publish(2, &tag, 600, ""));
    let refreshed = stage.notify();
    assert!(body(&refreshed).contains(">one<"));
    stage.advance_s(599);
    assert!(stage.is_silent());
    stage.advance_s(1);
    let notify = stage.notify();
    assert!(!body(&notify).contains(">one<"));
    assert!(body(&notify).contains("<basic>open</basic>"), "the phone is registered still");
    assert!(stage.ledger.load(stage.clock.now).publications.is_empty());
}

#[test]
fn a_publication_outlives_the_process() {
    let mut stage = watched();
    let tag = stage.published(&publish(1, "", 600, &document("one")));
    stage.restart();
    let first = stage.subscribed(&subscribe("juliet@example.com", 3600));
    assert!(body(&first).contains(">one<"));
    stage.register(DESK, "romeo");
    stage.published(&publish(2, &tag, 600, ""));
}

#[test]
fn nobody_publishes_for_somebody_else_or_what_cannot_be_read() {
    let mut stage = watched();
    let good = publish(1, "", 600, &document("one"));
    for (bad, code) in [
        (good.replace("PUBLISH sip:romeo", "PUBLISH sip:paris"), 403),
        (good.replace("</tuple>", ""), 400),
        (good.replace("pidf+xml", "xml"), 415),
        (good.replace("Event: presence", "Event: dialog"), 489),
        (good.replace("Expires: 600", "Expires: 5"), 423),
        (publish(1, "", 600, ""), 400),
    ] {
        stage.send(DESK, &bad);
        assert_eq!(stage.only_response(DESK).status().code(), code, "{bad}");
    }
    stage.advance_s(60);
    assert!(stage.is_silent());
    assert!(stage.ledger.load(stage.clock.now).publications.is_empty());
}

#[test]
fn who_sees_at_once_is_decided_by_the_type_of_the_partner_and_by_the_user() {
    for (watcher, decision, expected) in [
        ("juliet@example.com", None, "active"),
        ("tybalt@verified.example", None, "active"),
        ("someone@public.example", None, "pending"),
        ("someone@public.example", Some(true), "active"),
    ] {
        let mut stage = Stage::new();
        if let Some(allowed) = decision {
            stage.contacts.decide(&jid("romeo@example.net"), &jid(watcher), allowed);
        }
        let notify = stage.subscribed(&subscribe(watcher, 3600));
        assert_eq!(state(&notify), expected, "{watcher}");
        assert_eq!(body(&notify).is_empty(), expected == "pending");
    }
    let mut stage = Stage::new();
    stage.contacts.decide(&jid("romeo@example.net"), &jid("juliet@example.com"), false);
    stage.send(GATEWAY, &subscribe("juliet@example.com", 3600));
    assert_eq!(stage.only_response(GATEWAY).status().code(), 403);
}

#[test]
fn a_colleague_whom_the_user_denied_is_refused_and_one_of_whom_it_knows_nothing_sees_at_once() {
    for (denied, code) in [(true, 403), (false, 200)] {
        let mut stage = Stage::new();
        stage.register(PARIS, "paris");
        if denied {
            stage.contacts.decide(&jid("romeo@example.net"), &jid("paris@example.net"), false);
        }
        stage.send(PARIS, &subscribe("paris@example.net", 3600));
        let answer = stage.sent.remove(&PARIS).unwrap().remove(0);
        let sip_proto::message::Message::Response(answer) = answer else { panic!("{answer:?}") };
        assert_eq!(answer.status().code(), code);
    }
}

#[test]
fn one_that_waits_is_told_nothing_until_the_user_has_decided() {
    for (allowed, expected) in [(true, "active"), (false, "terminated;reason=rejected")] {
        let mut stage = Stage::new();
        stage.register(DESK, "romeo");
        stage.subscribed(&subscribe("someone@public.example", 3600));
        stage.published(&publish(1, "", 600, &document("secret")));
        stage.advance_s(5);
        for notify in stage.sent.remove(&GATEWAY).unwrap_or_default() {
            let sip_proto::message::Message::Request(notify) = notify else { panic!() };
            assert!(body(&notify).is_empty());
            stage.answer(GATEWAY, &notify, 200);
        }
        let (user, contact) = (jid("romeo@example.net"), jid("someone@public.example"));
        stage.home.handle_decision(&user, &contact, allowed, stage.clock.now);
        stage.collect();
        let notify = stage.notify();
        assert_eq!(state(&notify), expected);
        assert_eq!(body(&notify).contains(">secret<"), allowed);
    }
}

#[test]
fn a_user_is_open_while_a_device_is_registered() {
    let mut stage = watched();
    stage.register_for(CELL, "romeo", 600);
    stage.register_for(DESK, "romeo", 1_200);
    stage.advance_s(1_199);
    assert!(stage.is_silent(), "one device more or less is no change");
    stage.advance_s(1);
    assert!(body(&stage.notify()).contains("<basic>closed</basic>"));
    stage.register(DESK, "romeo");
    stage.advance_s(5);
    assert!(body(&stage.notify()).contains("<basic>open</basic>"));
}

#[test]
fn a_notify_of_the_gateway_that_a_device_leaves_unanswered_does_not_end_the_subscription() {
    let mut stage = Stage::new();
    stage.register(DESK, "romeo");
    stage.send(
        DESK,
        "SUBSCRIBE sip:juliet@example.com SIP/2.0\nFrom: <sip:romeo@example.net>;tag=r\n\
         To: <sip:juliet@example.com>\nCall-ID: s\nCSeq: 1 SUBSCRIBE\nEvent: presence\n\
         Contact: <sip:romeo@192.0.2.1:40001>",
    );
    let subscribe = stage.only_request(GATEWAY);
    stage.answer(GATEWAY, &subscribe, 200);
    assert_eq!(stage.only_response(DESK).status().code(), 200);
    let notify = |number| {
        format!(
            "NOTIFY sip:romeo@192.0.2.1:40001 SIP/2.0\nFrom: <sip:juliet@example.com>;tag=answerer\n\
             To: <sip:romeo@example.net>;tag=r\nCall-ID: s\nCSeq: {number} NOTIFY\n\
             Event: presence\nSubscription-State: active;expires=600\n\
             Contact: <sip:juliet@example.com;gr=isthmus>"
        )
    };
    let idle = stage.due();
    stage.send(GATEWAY, &notify(1));
    let answered = stage.only_request(DESK);
    stage.answer(DESK, &answered, 200);
    assert_eq!(stage.only_response(GATEWAY).status().code(), 200);
    stage.advance_s(1);
    assert_eq!(stage.due(), idle, "there is nothing to wake up for");

    stage.send(GATEWAY, &notify(2));
    let silent = stage.only_request(DESK);
    stage.advance_s(9);
    assert!(stage.is_silent());
    stage.advance_s(1);
    assert_eq!(said(&stage.only_response(GATEWAY)), "503 Not Reachable");
    stage.answer(DESK, &silent, 200);
    assert!(stage.is_silent(), "it is too late");
    stage.register(DESK, "romeo");
    assert_eq!(stage.reachable, ["romeo@example.net"]);
}

/// A SUBSCRIBE of romeo to juliet.
fn outgoing(call_id: &str, expires: u32) -> String {
    format!(
        "SUBSCRIBE sip:juliet@example.com SIP/2.0\nFrom: <sip:romeo@example.net>;tag=r\n\
         To: <sip:juliet@example.com>\nCall-ID: {call_id}\nCSeq: 1 SUBSCRIBE\nEvent: presence\n\
         Contact: <sip:romeo@192.0.2.1:40001>\nExpires: {expires}"
    )
}

/// A NOTIFY of the gateway to romeo.
fn incoming(call_id: &str, number: u32, state: &str) -> String {
    format!(
        "NOTIFY sip:romeo@192.0.2.1:40001 SIP/2.0\nFrom: <sip:juliet@example.com>;tag=answerer\n\
         To: <sip:romeo@example.net>;tag=r\nCall-ID: {call_id}\nCSeq: {number} NOTIFY\n\
         Event: presence\nSubscription-State: {state}\n\
         Contact: <sip:juliet@example.com;gr=isthmus>"
    )
}

#[test]
fn a_notify_goes_to_the_device_that_subscribed_and_after_the_last_one_to_any() {
    // The last device to register is where a NOTIFY goes that belongs to none.
    for (expires, code, state, first, second) in [
        (600, 200, "active;expires=600", DESK, DESK),
        (600, 200, "terminated;reason=timeout", DESK, CELL),
        (0, 200, "terminated;reason=timeout", DESK, CELL),
        (600, 403, "active;expires=600", CELL, CELL),
    ] {
        let mut stage = Stage::new();
        stage.register(DESK, "romeo");
        stage.register(CELL, "romeo");
        stage.send(DESK, &outgoing("s", expires));
        let subscribe = stage.only_request(GATEWAY);
        let expires = expires.to_string();
        stage.answer_with(GATEWAY, &subscribe, code, &[("Expires", &expires)]);
        assert_eq!(stage.only_response(DESK).status().code(), code);
        for (number, flow) in [(1, first), (2, second)] {
            stage.send(GATEWAY, &incoming("s", number, state));
            let notify = stage.only_request(flow);
            stage.answer(flow, &notify, 200);
            assert_eq!(stage.only_response(GATEWAY).status().code(), 200);
        }
    }
}

#[test]
fn a_local_watcher_whose_phone_is_away_is_told_everything_when_it_is_back() {
    let mut stage = Stage::new();
    stage.register(DESK, "romeo");
    stage.register(PARIS, "paris");
    stage.send(PARIS, &subscribe("paris@example.net", 3600));
    let sent = stage.sent.remove(&PARIS).unwrap();
    let sip_proto::message::Message::Request(first) = &sent[1] else { panic!("{sent:?}") };
    stage.answer(PARIS, first, 200);
    stage.advance_s(5);
    stage.close(PARIS);
    stage.published(&publish(1, "", 600, &document("one")));
    let [(flow, _)] = stage.connects[..] else { panic!("{:?}", stage.connects) };
    stage.close(flow);
    stage.register(PARIS, "paris");
    stage.advance_s(5);
    let sent = stage.sent.remove(&PARIS).unwrap();
    let mut told = sent.iter().filter_map(|message| match message {
        sip_proto::message::Message::Request(request) => Some(body(request)),
        sip_proto::message::Message::Response(_) => None,
    });
    assert!(told.next_back().unwrap().contains(">one<"));
    assert_eq!(stage.reachable, ["paris@example.net"]);
}
