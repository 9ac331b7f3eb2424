//! Tests of the publication rules: the four operations of RFC 3903 s.4 and their refusals.

use super::*;
use crate::header::TypedHeader;

const RULES: PublicationRules = PublicationRules {
    packages: &["presence"],
    expires_seconds_min: 60,
    expires_seconds_default: 3600,
    expires_seconds_max: 7200,
    publications_max: 2,
};

fn tag(text: &str) -> EntityTag {
    EntityTag::parse(text).unwrap()
}

fn request(rows: &str, body: &str) -> Request {
    let text = format!(
        "PUBLISH sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\n\
         From: <sip:a@example.com>;tag=1\r\nTo: <sip:a@example.com>\r\nCall-ID: x\r\n\
         CSeq: 1 PUBLISH\r\n{rows}\r\n{body}"
    );
    crate::testing::request(text.as_bytes())
}

fn apply(rows: &str, body: &str) -> Result<Publication, Refusal> {
    publish(&request(&format!("Event: presence\r\n{rows}"), body), &[tag("one")], &RULES)
}

fn status(rows: &str, body: &str) -> u16 {
    apply(rows, body).map_or_else(|refusal| refusal.status.code(), |_| 200)
}

#[test]
fn the_four_operations_differ_by_tag_body_and_interval() {
    for (rows, body, change, matched, seconds) in [
        ("Expires: 99\r\n", "<x/>", PublicationChange::Store, None, 99),
        ("SIP-If-Match: one\r\n", "", PublicationChange::Refresh, Some("one"), 3600),
        ("SIP-If-Match: one\r\n", "<x/>", PublicationChange::Store, Some("one"), 3600),
        ("SIP-If-Match: one\r\nExpires: 0\r\n", "", PublicationChange::Remove, Some("one"), 0),
        ("Expires: 0\r\n", "<x/>", PublicationChange::Remove, None, 0),
        ("Expires: 99999\r\n", "<x/>", PublicationChange::Store, None, 7200),
    ] {
        let publication = apply(rows, body).unwrap();
        assert_eq!(publication.change, change, "{rows}");
        assert_eq!(publication.matched, matched.map(tag));
        assert_eq!(publication.expires_seconds, seconds);
    }
}

#[test]
fn unknown_tags_brief_intervals_and_empty_publications_are_refused() {
    assert_eq!(status("SIP-If-Match: two\r\n", "<x/>"), 412);
    assert_eq!(status("SIP-If-Match: one, two\r\n", "<x/>"), 400);
    assert_eq!(status("Expires: 59\r\n", "<x/>"), 423);
    assert_eq!(status("Expires: soon\r\n", "<x/>"), 400);
    assert_eq!(status("", ""), 400);
}

#[test]
fn other_event_packages_are_refused_with_ours() {
    for rows in ["", "Event: dialog\r\n"] {
        let request = request(rows, "<x/>");
        let answer = publish(&request, &[], &RULES).unwrap_err().response(&request, "t");
        assert_eq!(answer.status(), StatusCode::BAD_EVENT);
        assert_eq!(answer.headers().first(HeaderName::AllowEvents), Some("presence"));
    }
}

#[test]
fn the_number_of_publications_is_bounded() {
    let request = request("Event: presence\r\n", "<x/>");
    let full = [tag("one"), tag("two")];
    assert!(publish(&request, &full[..1], &RULES).is_ok());
    let refused = publish(&request, &full, &RULES).map_err(|refusal| refusal.status);
    assert_eq!(refused, Err(StatusCode::FORBIDDEN));
}

#[test]
fn the_answer_names_the_next_tag_and_the_interval() {
    let request = request("Event: presence\r\n", "<x/>");
    let publication = publish(&request, &[], &RULES).unwrap();
    let answer = response(&request, &publication, &tag("next"), "t");
    assert_eq!(answer.headers().typed::<EntityTag>(), Ok(Some(tag("next"))));
    assert_eq!(answer.headers().typed::<Expires>(), Ok(Some(Expires(3600))));
}
