//! Requests for information: answered for the domain, and for users to contacts that may see them.

use xmpp_proto::capabilities::verification_string;
use xmpp_proto::xml::Element;

use super::presence_x2s::{open, watching};
use super::{A, B, Stage};
use crate::testing::{self, jid};

const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";
const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
const ITEMS: &str = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
const VERSION: &str = "<query xmlns='jabber:iq:version'/>";
const LAST: &str = "<query xmlns='jabber:iq:last'/>";
const VCARD: &str = "<vCard xmlns='vcard-temp'/>";
const QUESTIONS: [&str; 6] = [PING, INFO, ITEMS, VERSION, LAST, VCARD];

fn get(to: &str, payload: &str) -> String {
    format!("<iq type='get' id='i1' from='juliet@example.com/b' to='{to}'>{payload}</iq>")
}

fn with_node(payload: &str, node: &str) -> String {
    payload.replace("/>", &format!(" node='{node}'/>"))
}

/// Returns the features of an answer to a disco#info request.
fn features(info: &Element) -> Vec<&str> {
    info.children().filter_map(|it| it.attribute("var")).collect()
}

/// Returns category and type of the one identity of such an answer.
fn identity(info: &Element) -> [&str; 2] {
    let mut all = info.children().filter(|it| it.local() == "identity");
    let only = all.next().unwrap();
    assert!(all.next().is_none());
    ["category", "type"].map(|name| only.attribute(name).unwrap())
}

impl Stage {
    /// Asks, and returns the content of the result, which goes back to who asked.
    fn result(&mut self, to: &str, payload: &str) -> Option<Element> {
        let sequence = self.stanza(&get(to, payload));
        assert_eq!(self.outcome(sequence), Some(&Ok(())), "{payload} to {to}");
        let result = self.only_stanza();
        assert_eq!(result.summary(), format!("iq result {to} > juliet@example.com/b"));
        assert_eq!(result.attribute("id"), "i1");
        let mut content = result.element.children().cloned();
        let only = content.next();
        assert!(content.next().is_none());
        only
    }

    /// Asks, and returns the condition and the words of the refusal.
    fn refused(&mut self, to: &str, payload: &str) -> [String; 2] {
        let sequence = self.stanza(&get(to, payload));
        assert!(self.stanzas.is_empty(), "{payload} to {to} has a result");
        match self.outcome(sequence) {
            Some(Err(bounced)) => [bounced.condition.clone(), bounced.text.clone()],
            other => panic!("{payload} to {to} is not refused: {other:?}"),
        }
    }

    fn condition(&mut self, to: &str, payload: &str) -> String {
        let [condition, _] = self.refused(to, payload);
        condition
    }

    fn seconds(&mut self, to: &str) -> String {
        let last = self.result(to, LAST).unwrap();
        last.attribute("seconds").unwrap().to_owned()
    }
}

#[test]
fn the_domain_says_what_it_is_what_runs_there_and_for_how_long() {
    let mut stage = Stage::new();
    assert_eq!(stage.result("example.net", PING), None);
    let info = stage.result("example.net", INFO).unwrap();
    assert_eq!(identity(&info), ["gateway", "simple"]);
    let announced = features(&info);
    assert_eq!(
        announced,
        [
            "http://jabber.org/protocol/disco#info",
            "http://jabber.org/protocol/disco#items",
            "urn:xmpp:ping",
            "jid\\20escaping",
            "jabber:iq:last",
            "jabber:iq:version"
        ]
    );
    let items = stage.result("example.net", ITEMS).unwrap();
    assert_eq!((items.local(), items.children().count()), ("query", 0));
    let version = stage.result("example.net", VERSION).unwrap();
    let told: Vec<_> = version.children().map(|it| (it.local(), it.text().into_owned())).collect();
    let number = env!("CARGO_PKG_VERSION").to_owned();
    assert_eq!(told, [("name", "Isthmus".to_owned()), ("version", number)]);
    stage.advance_s(90);
    assert_eq!(stage.seconds("example.net"), "90");
}

#[test]
fn the_version_is_not_told_where_policy_says_so() {
    let mut stage = Stage::new();
    let silent = "\n[xmpp_gateway]\nshow_software_version = false\n";
    stage.policy = testing::policy(&format!("{}{silent}", testing::POLICY));
    assert_eq!(stage.condition("example.net", VERSION), "service-unavailable");
    let info = stage.result("example.net", INFO).unwrap();
    assert!(!features(&info).contains(&"jabber:iq:version"));
}

#[test]
fn an_unknown_node_is_not_found_and_what_is_unknown_is_not_available() {
    let (mut stage, _) = watching();
    for to in ["example.net", "romeo@example.net", "romeo@example.net/phone"] {
        for payload in [with_node(INFO, "https://isthmus.invalid#x"), with_node(ITEMS, "x")] {
            assert_eq!(stage.condition(to, &payload), "item-not-found", "{payload} to {to}");
        }
        for payload in [VCARD, "<query xmlns='jabber:iq:register'/>"] {
            assert_eq!(stage.condition(to, payload), "service-unavailable", "{payload} to {to}");
        }
        for payload in [PING, INFO, LAST] {
            let sequence = stage.stanza(&get(to, payload).replace("'get'", "'set'"));
            assert_eq!(stage.refusal(sequence), "service-unavailable", "{payload} set at {to}");
        }
    }
    assert_eq!(stage.condition("example.net/x", PING), "service-unavailable");
}

#[test]
fn a_contact_that_may_see_a_user_may_ask_about_the_user_and_the_devices_that_are_there() {
    let (mut stage, _) = watching();
    let account = stage.result("romeo@example.net", INFO).unwrap();
    assert_eq!(identity(&account), ["account", "registered"]);
    assert!(features(&account).contains(&"jabber:iq:last"));
    let device = stage.result("romeo@example.net/phone", INFO).unwrap();
    assert_eq!(identity(&device), ["client", "pc"]);
    assert!(features(&device).contains(&"http://jabber.org/protocol/caps"));
    for to in ["romeo@example.net", "romeo@example.net/phone"] {
        assert_eq!(stage.result(to, PING), None);
        assert_eq!(stage.result(to, ITEMS).unwrap().children().count(), 0);
        // What runs on a device is not known here.
        assert_eq!(stage.condition(to, VERSION), "service-unavailable");
    }
    for payload in QUESTIONS {
        let condition = stage.condition("romeo@example.net/desk", payload);
        assert_eq!(condition, "service-unavailable", "{payload}");
    }
}

#[test]
fn presence_of_devices_carries_capabilities_that_their_answer_verifies() {
    let (mut stage, subscribe) = watching();
    stage.notified(&subscribe, 2, "active;expires=3600", &open(&["desk"]));
    let told = stage.take_stanzas();
    assert_eq!(
        told[0].summary(),
        "presence unavailable romeo@example.net/phone > juliet@example.com"
    );
    assert!(told[0].element.children().all(|it| it.local() != "c"));
    let capabilities = told[1].element.children().find(|it| it.local() == "c").unwrap();
    assert_eq!(capabilities.namespace(), "http://jabber.org/protocol/caps");
    assert_eq!(capabilities.attribute("hash"), Some("sha-1"));
    let value = |name| capabilities.attribute(name).unwrap();
    let node = format!("{}#{}", value("node"), value("ver"));
    for to in ["romeo@example.net/desk", "romeo@example.net"] {
        let info = stage.result(to, &with_node(INFO, &node)).unwrap();
        assert_eq!(info.attribute("node"), Some(node.as_str()));
        assert_eq!(verification_string(&info), value("ver"));
        assert_eq!(identity(&info), ["client", "pc"]);
    }
    assert_eq!(stage.condition("example.net", &with_node(INFO, &node)), "item-not-found");
}

#[test]
fn last_activity_is_told_as_far_as_it_is_known() {
    let (mut stage, subscribe) = watching();
    let closed = open(&["phone"]).replace("open", "closed");
    assert_eq!(stage.seconds("romeo@example.net"), "0");
    assert_eq!(stage.condition("romeo@example.net/phone", LAST), "service-unavailable");
    stage.notified(&subscribe, 2, "active;expires=3600", &closed);
    stage.take_stanzas();
    stage.advance_s(40);
    stage.notified(&subscribe, 3, "active;expires=3600", &closed);
    stage.advance_s(2);
    assert_eq!(stage.seconds("romeo@example.net"), "42");
    stage.notified(&subscribe, 4, "active;expires=3600", &open(&["desk"]));
    stage.take_stanzas();
    assert_eq!(stage.seconds("romeo@example.net"), "0");
    // A state that came without a document says nothing.
    stage.notified(&subscribe, 5, "active;expires=3600", "");
    stage.take_stanzas();
    assert_eq!(stage.condition("romeo@example.net", LAST), "service-unavailable");
    stage.notified(&subscribe, 6, "active;expires=3600", &closed);
    stage.take_stanzas();
    assert_eq!(stage.condition("romeo@example.net", LAST), "service-unavailable");
}

#[test]
fn who_may_not_see_a_user_cannot_tell_it_from_nobody() {
    let mut stage = Stage::new();
    for (to, of_nobody) in [
        ("romeo@example.net", "nobody@example.net"),
        ("romeo@example.net/phone", "nobody@example.net/phone"),
    ] {
        for payload in QUESTIONS {
            let of_somebody = stage.refused(to, payload);
            assert_eq!(of_somebody, stage.refused(of_nobody, payload), "{payload}");
            let expected = if payload == LAST { "forbidden" } else { "service-unavailable" };
            assert_eq!(of_somebody[0], expected, "{payload}");
        }
    }
    // A wish that waits grants nothing, and one that was taken back nothing any more.
    stage.stanza("<presence type='subscribe' from='juliet@example.com' to='romeo@example.net'/>");
    assert_eq!(stage.condition("romeo@example.net", INFO), "service-unavailable");
    let (mut stage, _) = watching();
    stage.stanza("<presence type='unsubscribe' from='juliet@example.com' to='romeo@example.net'/>");
    assert_eq!(stage.condition("romeo@example.net/phone", INFO), "service-unavailable");
    assert_eq!(stage.condition("romeo@example.net", LAST), "forbidden");
    // Another user of the same partner is another contact.
    let (mut stage, _) = watching();
    let sequence = stage.stanza(&get("romeo@example.net", INFO).replace("juliet", "nurse"));
    assert_eq!(stage.refusal(sequence), "service-unavailable");
}

#[test]
fn what_policy_refuses_is_refused_as_any_other_stanza_is() {
    let (mut stage, _) = watching();
    for payload in QUESTIONS {
        let [condition, text] = stage.refused("hermit@example.net", payload);
        assert_eq!(condition, "forbidden");
        assert!(text.contains("may not communicate with other organisations"), "{text}");
    }
    stage.contacts.insert(&jid("romeo@example.net"), &jid("juliet@example.com"), false);
    for payload in QUESTIONS {
        assert_eq!(stage.condition("romeo@example.net/phone", payload), "forbidden");
    }
}

#[test]
fn an_iq_that_breaks_the_rules_is_refused_and_an_answer_is_never_answered() {
    let mut stage = Stage::new();
    let two = "<a xmlns='urn:a'/><b xmlns='urn:b'/>";
    for to in ["example.net", "romeo@example.net", "romeo@example.net/phone"] {
        for text in [
            get(to, ""),
            get(to, two),
            get(to, PING).replace(" id='i1'", ""),
            get(to, PING).replace("'get'", "'ask'"),
            get(to, PING).replace("type='get'", ""),
        ] {
            let sequence = stage.stanza(&text);
            assert_eq!(stage.refusal(sequence), "bad-request", "{text}");
        }
        for kind in ["result", "error"] {
            for payload in ["", PING, two] {
                let sequence = stage.stanza(&get(to, payload).replace("get", kind));
                assert_eq!(stage.outcome(sequence), Some(&Ok(())));
            }
        }
    }
    assert!(stage.stanzas.is_empty());
}

#[test]
fn the_answer_to_a_ping_is_passed_to_every_edge() {
    let mut stage = Stage::new();
    stage.attach(B, "edge-b");
    stage.stanza("<iq type='result' id='p7' from='example.com' to='example.net'/>");
    assert_eq!(stage.barriers, [(A, "p7".to_owned()), (B, "p7".to_owned())]);
}
