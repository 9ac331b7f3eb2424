//! What an XMPP user's client may ask of the domain, of a SIP user, and of nobody, and what it is
//! answered.

use tests::appliance::Setup;
use tests::namespace::in_namespace;
use tests::prosody::Situation;
use tests::sip_user::pidf;
use tests::wait::Deadline;
use tests::xmpp_user::{Event, Stanza, XmppUser};

use super::contoso::{ROMEO_JID, start};

const ROMEO_URI: &str = "sip:romeo@contoso.example";
const NOBODY_JID: &str = "nobody@contoso.example";
const DOMAIN: &str = "contoso.example";

const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";
const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
const ITEMS: &str = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
const VERSION: &str = "<query xmlns='jabber:iq:version'/>";
const LAST: &str = "<query xmlns='jabber:iq:last'/>";
const VCARD: &str = "<vCard xmlns='vcard-temp'/>";

fn soon() -> Deadline {
    Deadline::after_s(20)
}

/// Asks, and returns the result, in which all of `parts` stand.
fn result(juliet: &mut XmppUser, to: &str, payload: &str, parts: &[&str]) -> Stanza {
    let answer = juliet.request("get", to, payload);
    assert_eq!(answer.kind.as_deref(), Some("result"), "{payload} to {to}: {}", answer.xml);
    assert_eq!(answer.from.as_deref(), Some(to));
    for part in parts {
        assert!(answer.xml.contains(part), "{payload} to {to}: no {part} in {}", answer.xml);
    }
    answer
}

/// Asks, and returns condition and words of the error.
fn refusal(juliet: &mut XmppUser, kind: &str, to: &str, payload: &str) -> [String; 2] {
    let answer = juliet.request(kind, to, payload);
    assert_eq!(answer.kind.as_deref(), Some("error"), "{payload} to {to}: {}", answer.xml);
    assert_eq!(answer.from.as_deref(), Some(to));
    let error = answer.error.unwrap_or_else(|| panic!("no <error/> in {}", answer.xml));
    [error.condition, error.text].map(Option::unwrap_or_default)
}

fn seconds(juliet: &mut XmppUser, to: &str) -> u64 {
    let answer = result(juliet, to, LAST, &[]);
    let value = answer.xml.split("seconds=\"").nth(1).and_then(|rest| rest.split('"').next());
    let number = value.and_then(|value| value.parse().ok());
    number.unwrap_or_else(|| panic!("no seconds in {}", answer.xml))
}

fn with_node(payload: &str, node: &str) -> String {
    payload.replace("/>", &format!(" node='{node}'/>"))
}

#[test]
fn the_domain_answers_for_itself_and_nothing_for_users_that_are_not_shown() {
    let test =
        "stories::services::the_domain_answers_for_itself_and_nothing_for_users_that_are_not_shown";
    in_namespace(test, |place| {
        let world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let _romeo = world.romeo(place);
        let juliet = &mut juliet;
        result(juliet, DOMAIN, PING, &[]);
        result(juliet, DOMAIN, INFO, &["gateway", "simple", "urn:xmpp:ping", "jabber:iq:version"]);
        assert!(!result(juliet, DOMAIN, ITEMS, &[]).xml.contains("item "));
        result(juliet, DOMAIN, VERSION, &["Isthmus", env!("CARGO_PKG_VERSION")]);
        assert!(seconds(juliet, DOMAIN) < 3_600);
        for payload in [with_node(INFO, "x"), with_node(ITEMS, "x")] {
            assert_eq!(refusal(juliet, "get", DOMAIN, &payload)[0], "item-not-found");
        }
        for (kind, payload) in [("get", VCARD), ("set", VERSION), ("set", VCARD)] {
            assert_eq!(refusal(juliet, kind, DOMAIN, payload)[0], "service-unavailable");
        }
        // Romeo is there, and his device too; she may not see it.
        for resource in ["", "/phone"] {
            let [romeo, nobody] = [ROMEO_JID, NOBODY_JID].map(|user| format!("{user}{resource}"));
            for payload in [PING, INFO, ITEMS, VERSION, LAST, VCARD] {
                let expected = if payload == LAST { "forbidden" } else { "service-unavailable" };
                let of_romeo = refusal(juliet, "get", &romeo, payload);
                assert_eq!(of_romeo[0], expected, "{payload}");
                assert_eq!(of_romeo, refusal(juliet, "get", &nobody, payload));
            }
        }
    });
}

#[test]
fn a_user_who_may_see_a_sip_user_may_ask_and_verify_what_the_device_can_do() {
    let test = "stories::services::a_user_who_may_see_a_sip_user_may_ask_and_verify_what_the_device_can_do";
    in_namespace(test, |place| {
        let world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        juliet.send_presence_type(ROMEO_JID, "subscribe");
        juliet.expect_presence_type(ROMEO_JID, "subscribed", soon());
        assert_eq!(romeo.publish(&pidf(ROMEO_URI, true, "here"), 600).status, 200);
        let presence = juliet.expect_presence("Romeo", soon(), |it| {
            it.is_from(ROMEO_JID) && it.status.as_deref() == Some("here")
        });
        let device = presence.from.clone().unwrap();
        assert!(device.contains('/'), "{device}");

        let capabilities = juliet.capabilities(&presence);
        let names = ["client", "pc", "", "Isthmus"].map(str::to_owned);
        assert_eq!(capabilities.identities, [names]);
        assert_eq!(
            capabilities.features,
            [
                "http://jabber.org/protocol/caps",
                "http://jabber.org/protocol/disco#info",
                "http://jabber.org/protocol/disco#items",
                "urn:xmpp:ping"
            ]
        );

        let juliet = &mut juliet;
        result(juliet, ROMEO_JID, INFO, &["account", "registered", "jabber:iq:last"]);
        for to in [ROMEO_JID, &device] {
            result(juliet, to, PING, &[]);
            assert!(!result(juliet, to, ITEMS, &[]).xml.contains("item "));
            assert_eq!(refusal(juliet, "get", to, VERSION)[0], "service-unavailable");
        }
        assert_eq!(seconds(juliet, ROMEO_JID), 0);
        let elsewhere = format!("{ROMEO_JID}/elsewhere");
        assert_eq!(refusal(juliet, "get", &elsewhere, INFO)[0], "service-unavailable");
        assert_eq!(romeo.publish(&pidf(ROMEO_URI, false, ""), 600).status, 200);
        juliet.expect_presence("gone", soon(), |it| {
            it.from.as_ref() == Some(&device) && it.kind.as_deref() == Some("unavailable")
        });
        assert!(seconds(juliet, ROMEO_JID) < 60);
        assert_eq!(refusal(juliet, "get", &device, PING)[0], "service-unavailable");
    });
}

#[test]
fn errors_and_results_come_to_an_end_at_the_appliance() {
    let test = "stories::services::errors_and_results_come_to_an_end_at_the_appliance";
    in_namespace(test, |place| {
        let world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let _romeo = world.romeo(place);
        let error = "<error type='cancel'>\
            <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
        for to in [DOMAIN, ROMEO_JID, NOBODY_JID, "nobody@contoso.example/x"] {
            for (name, kind) in
                [("message", "error"), ("presence", "error"), ("iq", "error"), ("iq", "result")]
            {
                for content in [VERSION, error] {
                    juliet.send_raw(&format!(
                        "<{name} type='{kind}' to='{to}' id='loop'>{content}</{name}>"
                    ));
                }
            }
            // What such a stanza brought about would be here before the answer.
            let answer = juliet.request("get", DOMAIN, PING);
            assert_eq!(answer.kind.as_deref(), Some("result"));
        }
        let counted =
            |kind| world.appliance.frontend_counter("gateway_stanzas_received_total", kind);
        assert!(["message", "presence", "iq"].into_iter().all(|kind| counted(kind) >= 8.0));
        let answers = juliet.waiting_events().into_iter().filter(|event| match event {
            Event::Message(it) | Event::Presence(it) | Event::Iq(it) => {
                it.from.as_deref().is_some_and(|from| from.contains(DOMAIN))
            }
            Event::Disconnected { .. } => true,
        });
        assert_eq!(answers.map(|event| format!("{event:?}")).collect::<Vec<_>>(), [""; 0]);
    });
}
