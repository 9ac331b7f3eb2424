//! Presence documents as devices write them, and as we do.

use super::{
    Activity, Basic, Document, Note, Show, Tuple, parse, resource_of_tuple_id,
    tuple_id_of_resource, write,
};

fn pidf(content: &str) -> Document {
    let text = format!(
        "<?xml version='1.0'?><presence xmlns='urn:ietf:params:xml:ns:pidf' \
         xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' xmlns:c='jabber:client' \
         xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid' \
         xmlns:ep='urn:ietf:params:xml:ns:pidf:status:rpid-status' \
         xmlns:ms='http://schemas.microsoft.com/2006/09/sip/state' \
         xmlns:x='urn:x' entity='pres:romeo@example.net'>{content}</presence>"
    );
    parse(text.as_bytes()).unwrap()
}

fn only_tuple(content: &str) -> Tuple {
    let document = pidf(&format!("<tuple id='t'>{content}</tuple>"));
    assert_eq!(document.tuples.len(), 1);
    document.tuples.into_iter().next().unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    let document = Document {
        entity: "pres:juliet@example.com".into(),
        tuples: vec![
            Tuple {
                id: "ID-balcony".into(),
                basic: Some(Basic::Open),
                show: Some(Show::DoNotDisturb),
                activity: None,
                contact: Some("sip:juliet@example.com;gr=balcony".into()),
                priority: Some(0.039),
                notes: vec![Note { language: Some("cs".into()), text: "Jednání <&>".into() }],
            },
            Tuple { id: "ID-b".into(), basic: Some(Basic::Closed), ..Tuple::default() },
        ],
        activity: Some(Activity::Busy),
        notes: Vec::new(),
    };
    assert_eq!(parse(&write(&document)), Ok(document));
}

#[test]
fn the_written_priority_is_0_or_1_or_has_three_decimals() {
    for (priority, expected) in [(0.0, "'0'"), (1.0, "'1'"), (64.0 / 127.0, "'0.504'")] {
        let contact = Some("sip:a@b.example".into());
        let tuple = Tuple { priority: Some(priority), contact, ..Tuple::default() };
        let written = write(&Document { tuples: vec![tuple], ..Document::default() });
        let written = std::str::from_utf8(&written).unwrap();
        assert!(written.contains(&format!("priority={expected}")), "{written}");
    }
}

#[test]
fn a_priority_that_the_schema_does_not_allow_is_ignored() {
    for (text, expected) in [
        ("0", Some(0.0)),
        ("1", Some(1.0)),
        (" 0.8 ", Some(0.8)),
        ("1.000", Some(1.0)),
        ("1.001", None),
        ("0.1234", None),
        ("-0.1", None),
        ("1e0", None),
        ("NaN", None),
        ("2", None),
        ("", None),
    ] {
        let tuple = only_tuple(&format!("<contact priority='{text}'>sip:a@b.example</contact>"));
        assert_eq!(tuple.priority, expected, "{text}");
    }
}

#[test]
fn the_most_restrictive_activity_counts() {
    let document = pidf(
        "<dm:person id='p'><rpid:activities><rpid:away/><rpid:busy/><rpid:tv/></rpid:activities>\
         </dm:person>",
    );
    assert_eq!(document.activity, Some(Activity::Busy));
}

#[test]
fn a_status_that_must_be_understood_and_is_not_says_nothing() {
    let tuple = only_tuple(
        "<status><basic>open</basic><x:y xmlns:p='urn:ietf:params:xml:ns:pidf' \
         p:mustUnderstand='true'/></status>",
    );
    assert_eq!(tuple.basic, None);
}

#[test]
fn microsoft_shapes_are_understood() {
    let tuple = only_tuple(
        "<status><basic>open</basic><ep:activities><ep:activity>busy</ep:activity>\
         </ep:activities></status>",
    );
    assert_eq!((tuple.basic, tuple.activity), (Some(Basic::Open), Some(Activity::Busy)));
    let tuple = only_tuple("<status><ms:availability>18500</ms:availability></status>");
    assert_eq!(tuple.basic, Some(Basic::Closed));
}

#[test]
fn another_root_a_dtd_and_broken_xml_are_refused() {
    for text in [
        "<presence xmlns='jabber:client'/>",
        "<!DOCTYPE p [<!ENTITY a 'b'>]><presence xmlns='urn:ietf:params:xml:ns:pidf'>&a;</presence>",
        "<presence xmlns='urn:ietf:params:xml:ns:pidf'>",
        "",
    ] {
        assert!(parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn different_resources_have_different_tuple_ids_that_are_xs_ids() {
    let resources = [
        "yn0cl4bnw0yr3vym",
        "9 Handy ü/@",
        "OSBIYW5keSDDvC9A",
        "T1NCSVlXNWtlU0REdkM5QQ",
        "a",
        "ID-a",
        "-",
        "日本",
        "a b",
        "a_b",
        "YSBi",
    ];
    let mut seen = std::collections::BTreeMap::new();
    for resource in resources {
        let id = tuple_id_of_resource(resource);
        assert_eq!(resource_of_tuple_id(&id), resource, "{id}");
        let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        assert!(id.starts_with("ID-") && id.chars().all(legal), "{id}");
        assert_eq!(seen.insert(id, resource), None);
    }
    assert_eq!(tuple_id_of_resource("9 Handy ü/@"), "ID-OSBIYW5keSDDvC9A");
    assert_eq!(resource_of_tuple_id("desk"), "desk");
}
