//! Requests for information: answered for the domain, refused for users, never about errors.

use super::{A, B, Stage};

fn get(to: &str, payload: &str) -> String {
    format!("<iq type='get' id='i1' from='example.com' to='{to}'>{payload}</iq>")
}

#[test]
fn the_domain_answers_a_ping_and_says_what_it_can_do() {
    let mut stage = Stage::new();
    stage.stanza(&get("example.net", "<ping xmlns='urn:xmpp:ping'/>"));
    let pong = stage.only_stanza();
    assert_eq!(pong.summary(), "iq result example.net > example.com");
    assert_eq!((pong.attribute("id"), pong.element.children().count()), ("i1", 0));

    stage.stanza(&get("example.net", "<query xmlns='http://jabber.org/protocol/disco#info'/>"));
    let info = stage.only_stanza();
    let query = info.element.children().next().unwrap();
    let features: Vec<_> = query.children().filter_map(|it| it.attribute("var")).collect();
    assert!(features.contains(&"urn:xmpp:ping") && features.contains(&"jid\\20escaping"));
}

#[test]
fn whatever_else_is_asked_is_refused_alike_for_users_that_exist_and_that_do_not() {
    let mut stage = Stage::new();
    for text in [
        get("romeo@example.net", "<ping xmlns='urn:xmpp:ping'/>"),
        get("nobody@example.net", "<query xmlns='http://jabber.org/protocol/disco#info'/>"),
        get("romeo@example.net/desk", "<query xmlns='jabber:iq:version'/>"),
        get("example.net", "<query xmlns='jabber:iq:register'/>"),
        get("example.net", "<ping xmlns='urn:xmpp:ping'/>").replace("'get'", "'set'"),
    ] {
        let sequence = stage.stanza(&text);
        assert_eq!(stage.refusal(sequence), "service-unavailable", "{text}");
    }
}

#[test]
fn an_iq_that_breaks_the_rules_is_refused_and_an_answer_is_never_answered() {
    let mut stage = Stage::new();
    let two = "<a xmlns='urn:a'/><b xmlns='urn:b'/>";
    for text in [
        get("example.net", ""),
        get("example.net", two),
        get("example.net", "<ping xmlns='urn:xmpp:ping'/>").replace(" id='i1'", ""),
        get("example.net", "<ping xmlns='urn:xmpp:ping'/>").replace("'get'", "'ask'"),
        get("example.net", "<ping xmlns='urn:xmpp:ping'/>").replace("type='get'", ""),
    ] {
        let sequence = stage.stanza(&text);
        assert_eq!(stage.refusal(sequence), "bad-request", "{text}");
    }
    for kind in ["result", "error"] {
        let sequence = stage.stanza(&get("romeo@example.net", "").replace("get", kind));
        assert_eq!(stage.outcome(sequence), Some(&Ok(())));
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
