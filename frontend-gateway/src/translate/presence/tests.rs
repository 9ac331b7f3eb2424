//! Every row of the presence table, both ways.

use xmpp_proto::jid::Jid;
use xmpp_proto::limits::Limits;
use xmpp_proto::xml::{Element, parse_document};

use super::{Available, s2x_presence, s2x_stanza, x2s_available, x2s_document, x2s_tuple};
use crate::pidf::{self, Activity, Availability, Basic, Document, Show, Tuple};

const TABLE: &str = include_str!("../../../../tests/vectors/presence-map.tsv");

fn stanza(content: &str, attributes: &str) -> Element {
    let text = format!("<presence xmlns='jabber:server' {attributes}>{content}</presence>");
    parse_document(text.as_bytes(), &Limits::AFTER_AUTHENTICATION).unwrap()
}

/// Translates the content of a presence stanza to the text of a document.
fn document_of(content: &str) -> String {
    let jid = Jid::parse("juliet@example.com/balcony").unwrap();
    let available = x2s_available(&stanza(content, ""), None);
    let tuple = x2s_tuple(&jid, Some(&available)).unwrap();
    written(&x2s_document(&jid, vec![tuple]).unwrap())
}

fn written(document: &Document) -> String {
    String::from_utf8(pidf::write(document).to_vec()).unwrap()
}

fn shows_of_activity(name: &str) -> Option<Show> {
    let text = format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
         xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' entity='pres:r@example.net'>\
         <tuple id='t'><status><basic>open</basic></status></tuple><dm:person id='p'>{name}\
         </dm:person></presence>"
    );
    let states = s2x_presence(&pidf::parse(text.as_bytes()).unwrap());
    states[0].available.as_ref().unwrap().show
}

fn expected_show(other_side: &str) -> Option<Show> {
    let word = other_side.strip_prefix("show=")?;
    Show::from_word(word.split(' ').next().unwrap())
}

#[test]
fn every_row_of_the_table_holds() {
    let mut rows = 0;
    for line in TABLE.lines().skip(1) {
        let mut columns = line.split('\t');
        let mut column = || columns.next().unwrap();
        let (side, value, other_side) = (column(), column(), column());
        match side {
            "xmpp" => x2s_row(value, other_side),
            "sip" => s2x_row(value, other_side),
            "ms" => microsoft_row(value, other_side),
            other => panic!("unknown side {other}"),
        }
        rows += 1;
    }
    assert_eq!(rows, 28);
}

fn x2s_row(value: &str, other_side: &str) {
    let has = |content: &str, expected: &[&str]| {
        let text = document_of(content);
        for part in expected {
            assert!(text.contains(part), "{value}: {part} is not in {text}");
        }
        text
    };
    match value {
        "available, no show" => {
            let text = has("", &["<basic>open</basic>"]);
            assert!(!text.contains("show") && !text.contains("rpid"), "{text}");
        }
        "type=unavailable" => {
            let jid = Jid::parse("juliet@example.com/balcony").unwrap();
            assert_eq!(x2s_tuple(&jid, None).unwrap().basic, Some(Basic::Closed));
            assert_eq!(other_side, "basic=closed");
        }
        "status text" => {
            has("<status xml:lang='de'>hallo</status>", &["<note xml:lang='de'>hallo</note>"]);
        }
        "priority 0..127" => every_priority_is_different_and_comes_back(),
        "priority <0" => {
            let text = has("<priority>-1</priority>", &[]);
            assert!(!text.contains("priority"), "{text}");
        }
        "resource" => drop(has("", &["<tuple id='ID-balcony'>"])),
        "id" => assert_eq!(other_side, "no mapping"),
        show => {
            let word = show.strip_prefix("show=").unwrap();
            let text = has(
                &format!("<show>{word}</show>"),
                &["<basic>open</basic>", &format!("<show xmlns='jabber:client'>{word}</show>")],
            );
            for activity in ["away", "busy"] {
                let expected = other_side.contains(&format!("rpid {activity}"));
                assert_eq!(text.contains(&format!("<{activity}/>")), expected, "{text}");
            }
        }
    }
}

fn every_priority_is_different_and_comes_back() {
    let mut seen = std::collections::BTreeSet::new();
    for priority in 0..=127 {
        let text = document_of(&format!("<priority>{priority}</priority>"));
        let state = s2x_presence(&pidf::parse(text.as_bytes()).unwrap());
        assert_eq!(state[0].available.as_ref().unwrap().priority, Some(priority));
        let at = text.find("priority='").unwrap();
        assert!(seen.insert(text[at..at + 16].to_owned()), "{text}");
    }
}

fn s2x_row(value: &str, other_side: &str) {
    let tuple = |basic| Tuple { id: "t".into(), basic, ..Tuple::default() };
    let states = |tuples: Vec<Tuple>| s2x_presence(&Document { tuples, ..Document::default() });
    match value {
        "basic=closed" => assert_eq!(states(vec![tuple(Some(Basic::Closed))])[0].available, None),
        "basic=open, <show>" => {
            let show = Some(Show::Chat);
            let state = states(vec![Tuple { show, ..tuple(Some(Basic::Open)) }]);
            assert_eq!(state[0].available.as_ref().unwrap().show, show);
        }
        "basic missing" => {
            assert_eq!(states(vec![tuple(None)])[0].available, None);
            assert_eq!(states(vec![tuple(None), tuple(Some(Basic::Open))]).len(), 1);
        }
        "rpid user-input idle" => {
            let show = shows_of_activity("<r:user-input>idle</r:user-input>");
            assert_eq!(show, expected_show(other_side));
        }
        rpid => {
            for name in rpid.strip_prefix("rpid ").unwrap().split('|') {
                let show = shows_of_activity(&format!("<r:activities><r:{name}/></r:activities>"));
                assert!(Activity::from_name(name).is_some(), "{name} is unknown");
                assert_eq!(show, expected_show(other_side), "{name}");
            }
        }
    }
}

fn microsoft_row(value: &str, other_side: &str) {
    if let Some(names) = value.strip_prefix("<ep:activity>") {
        for name in names.split("</").next().unwrap().split(['|', ' ']).filter(|n| !n.is_empty()) {
            let show = Activity::from_name(name).unwrap().show();
            assert_eq!(show, expected_show(other_side), "{name}");
        }
        return;
    }
    let range = value.strip_prefix("availability ").unwrap_or(value);
    let bounds = range.split(' ').next().unwrap().trim_end_matches('+');
    for number in bounds.split('-').map(|number| number.parse().unwrap()) {
        match (Availability::from_number(number), other_side) {
            (Availability::Offline, "type=unavailable")
            | (Availability::Online(None), "available") => {}
            (Availability::Online(show), _) => assert_eq!(show, expected_show(other_side)),
            (found, _) => panic!("{number} is {found:?}, not {other_side}"),
        }
    }
}

#[test]
fn an_unknown_show_is_left_out_and_the_resource_is_available() {
    let expected = Available::default();
    assert_eq!(x2s_available(&stanza("<show>bored</show>", ""), None), expected);
}

#[test]
fn the_language_of_a_status_is_its_own_or_that_of_the_stanza_or_the_stream() {
    let language = |content: &str, attributes: &str, stream| {
        x2s_available(&stanza(content, attributes), stream).status.unwrap().language
    };
    let own = "<status xml:lang='cs'>x</status>";
    assert_eq!(language(own, "xml:lang='de'", Some("en")).as_deref(), Some("cs"));
    let none = "<status>x</status>";
    assert_eq!(language(none, "xml:lang='de'", Some("en")).as_deref(), Some("de"));
    assert_eq!(language(none, "", Some("en")).as_deref(), Some("en"));
    assert_eq!(language(none, "", Some("e n")), None);
}

#[test]
fn a_tuple_id_that_is_no_resource_falls_back_to_the_bare_address() {
    let document = Document {
        tuples: vec![Tuple { id: "a\u{202e}".into(), basic: None, ..Tuple::default() }],
        ..Document::default()
    };
    let romeo = Jid::parse("romeo@example.net").unwrap();
    let states = s2x_presence(&document);
    let stanza = s2x_stanza(&states[0], &romeo, &romeo);
    let from = stanza.attribute("from").unwrap();
    assert!(Jid::parse(from).is_ok(), "{from}");
    assert_eq!(stanza.attribute("type"), Some("unavailable"));
}
