//! Tests of bodies: multipart walking, picking text, character sets, envelopes.

use super::cpim::{CPIM_NAMESPACE, Cpim};
use super::*;
use crate::header::TypedHeader;

fn media_type(text: &str) -> MediaType {
    MediaType::parse(text).unwrap()
}

fn text_of(kind: &str, body: &str) -> Result<Option<MessageText>, BodyError> {
    text(&media_type(kind), &Bytes::copy_from_slice(body.as_bytes()))
}

fn plain(text: &str) -> Result<Option<MessageText>, BodyError> {
    Ok(Some(MessageText { format: TextFormat::Plain, text: text.to_owned(), language: None }))
}

#[test]
fn a_body_without_parts_is_its_own_text() {
    assert_eq!(text_of("text/plain", "hi\r\n"), plain("hi\r\n"));
    assert_eq!(text_of("application/sdp", "v=0"), Ok(None));
    let html = text_of("text/html;charset=utf-8", "<b>hi</b>").unwrap().unwrap();
    assert_eq!((html.format, html.text.as_str()), (TextFormat::Html, "<b>hi</b>"));
}

#[test]
fn character_sets_are_decoded_or_refused() {
    let latin = Bytes::from_static(b"Gr\xfc\xdfe");
    assert_eq!(text(&media_type("text/plain;charset=ISO-8859-1"), &latin), plain("Grüße"));
    let malformed = text(&media_type("text/plain"), &latin).unwrap_err();
    assert_eq!(malformed.status(), StatusCode::BAD_REQUEST);
    assert!(text(&media_type("text/plain;charset=us-ascii"), &latin).is_err());
    assert_eq!(text_of("text/plain;charset=\"US-ASCII\"", "hi"), plain("hi"));
    let unsupported = text_of("text/plain;charset=koi8-r", "hi").unwrap_err();
    assert_eq!(unsupported.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[test]
fn plain_text_is_preferred_wherever_it_stands() {
    let body = "preamble\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>x</p>\r\n\
        --b \t\r\nContent-Type: text/plain\r\nContent-Language: de\r\n\r\nx\r\n--bb\r\ny\r\n\
        --b--\r\nepilogue";
    let found = text_of("multipart/alternative; boundary=b", body).unwrap().unwrap();
    assert_eq!((found.format, found.text.as_str()), (TextFormat::Plain, "x\r\n--bb\r\ny"));
    assert_eq!(found.language.as_deref(), Some("de"));
    let html = body.replace("text/plain", "image/png");
    let found = text_of("multipart/alternative; boundary=b", &html).unwrap().unwrap();
    assert_eq!(found.format, TextFormat::Html);
}

#[test]
fn parts_may_be_empty_headless_nested_encoded_and_attached() {
    let body = "--o\r\n\r\n\r\n--o\r\nContent-Type: multipart/mixed; boundary=\"i i\"\r\n\r\n\
        --i i\r\nContent-Disposition: Attachment; filename=x\r\n\r\nsaved\r\n\
        --i i\r\nContent-Transfer-Encoding: BASE64\r\n\r\naGFs\r\n bG8=\r\n--i i--\r\n\
        \r\n--o--";
    let parts = parts(&media_type("multipart/mixed;boundary=o"), &Bytes::from(body)).unwrap();
    let contents: Vec<&[u8]> = parts.iter().map(|part| part.content.as_ref()).collect();
    assert_eq!(contents, [&b""[..], b"saved", b"hallo"]);
    assert!(parts[1].is_attachment && parts[0].media_type.name() == "text/plain");
    let body = body.replacen("--o\r\n\r\n\r\n", "", 1);
    assert_eq!(text_of("multipart/mixed;boundary=o", &body), plain("hallo"));
}

#[test]
fn broken_multiparts_are_refused() {
    let refused = |kind: &str, body: &str| text_of(kind, body).unwrap_err().status().code();
    let mixed = "multipart/mixed;boundary=b";
    for body in [
        "",
        "no boundary",
        "--b",
        "--b\r\n\r\nx",
        "--bx\r\n\r\nx\r\n--b--",
        "--b\r\nx\r\n--b--",
        "--b\r\nFoo bar\r\n\r\nx\r\n--b--",
        "--b\r\nContent-Type: x\r\n\r\nx\r\n--b--",
        "--b\r\nContent-Transfer-Encoding: base64\r\n\r\n%%\r\n--b--",
    ] {
        assert_eq!(refused(mixed, body), 400, "{body}");
    }
    assert_eq!(refused("multipart/mixed", "--\r\n\r\nx\r\n----"), 400);
    assert_eq!(refused(&format!("multipart/mixed;boundary={}", "b".repeat(71)), "x"), 400);
    let encoded = "--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nx\r\n--b--";
    assert_eq!(refused(mixed, encoded), 415);
}

#[test]
fn parts_and_levels_are_bounded() {
    let flat = |count: usize| "--b\r\n\r\nx\r\n".repeat(count) + "--b--";
    let mixed = "multipart/mixed;boundary=b";
    assert!(text_of(mixed, &flat(31)).is_ok());
    assert_eq!(text_of(mixed, &flat(32)), Err(BodyError::TooComplex));
    let nested = |levels: usize| {
        (0..levels).rev().fold("x".to_owned(), |inner, level| {
            let kind = if level + 1 == levels {
                "text/plain".to_owned()
            } else {
                format!("multipart/mixed;boundary=b{}", level + 1)
            };
            format!("--b{level}\r\nContent-Type: {kind}\r\n\r\n{inner}\r\n--b{level}--")
        })
    };
    let outer = "multipart/mixed;boundary=b0";
    assert_eq!(text_of(outer, &nested(4)), plain("x"));
    assert_eq!(text_of(outer, &nested(5)), Err(BodyError::TooComplex));
}

#[test]
fn an_envelope_says_who_when_and_what() {
    let body = "From: MR SANDERS <im:piglet@100akerwood.com>\r\n\
        To: <im:eeyore@100akerwood.com>\r\nDateTime: 2000-12-13T13:40:00-08:00\r\n\
        Subject:;lang=fr \\u00ab beau \\\"temps\\\"\r\n\
        NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: 34jk324j\r\n\r\n\
        Content-type: text/plain; charset=utf-8\r\nContent-ID: <1@x>\r\n\r\nhi\r\n\r\nthere";
    let cpim = Cpim::parse(&Bytes::from(body)).unwrap();
    assert_eq!(cpim.from().unwrap().to_wire(), "im:piglet@100akerwood.com");
    assert_eq!(cpim.to().unwrap().user(), Some("eeyore"));
    assert_eq!(cpim.date_time(), Some("2000-12-13T13:40:00-08:00"));
    assert_eq!(cpim.subject(), Some("« beau \"temps\""));
    assert_eq!(cpim.field("urn:ietf:params:imdn", "Message-ID"), Some("34jk324j"));
    assert_eq!(cpim.field(CPIM_NAMESPACE, "Message-ID"), None);
    assert_eq!(cpim.media_type.name(), "text/plain");
    assert_eq!(cpim.content.as_ref(), b"hi\r\n\r\nthere");
}

fn envelope(kind: &str, content: &str) -> String {
    format!("From: <im:a@b.example>\r\n\r\nContent-Type: {kind}\r\n\r\n{content}")
}

#[test]
fn the_text_in_an_envelope_is_found_wherever_the_envelope_stands() {
    let whole = envelope("text/plain;charset=utf-8", "hi");
    assert_eq!(text_of("message/cpim", &whole), plain("hi"));
    let part = format!("--b\r\nContent-Type: Message/CPIM\r\n\r\n{whole}\r\n--b--");
    assert_eq!(text_of("multipart/mixed;boundary=b", &part), plain("hi"));
    let around = envelope("multipart/mixed;boundary=b", "--b\r\n\r\nhi\r\n--b--");
    assert_eq!(text_of("message/cpim", &around), plain("hi"));
    let named = whole.replace("Content-Type", "Content-Language: de\r\nContent-Type");
    let found = text_of("message/cpim", &named).unwrap().unwrap();
    assert_eq!(found.language.as_deref(), Some("de"));
}

#[test]
fn an_envelope_in_an_envelope_stays_closed_and_one_without_a_text_has_none() {
    let inner = envelope("text/plain", "hi");
    assert_eq!(text_of("message/cpim", &envelope("message/cpim", &inner)), Ok(None));
    assert_eq!(text_of("message/cpim", &envelope("image/png", "x")), Ok(None));
    assert!(matches!(text_of("message/cpim", "no envelope"), Err(BodyError::Malformed(_))));
}

#[test]
fn broken_and_demanding_envelopes_are_refused() {
    let parse = |body: &str| Cpim::parse(&Bytes::copy_from_slice(body.as_bytes()));
    let content = "\r\n\r\nContent-Type: text/plain\r\n\r\nx";
    assert!(parse(&format!("From: <im:a@b.example>{content}")).is_ok());
    assert!(parse("From: <im:a@b.example>\r\n\r\n\r\nheadless").is_ok());
    for bad in [
        "",
        "From: <im:a@b>",
        "From <im:a@b>\r\n\r\n\r\nx",
        "imdn.Message-ID: 1\r\n\r\n\r\nx",
        "NS: imdn\r\n\r\n\r\nx",
        "Subject: \\u00\r\n\r\n\r\nx",
        "Subject: a\nb\r\n\r\n\r\nx",
        "Subject:x\r\n\r\n\r\nx",
        "From: <im:a@b>\r\n\r\nno empty line",
    ] {
        assert!(matches!(parse(bad), Err(BodyError::Malformed(_))), "{bad}");
    }
    let demanding = parse(&format!("Require: X.y{content}"));
    assert_eq!(demanding, Err(BodyError::UnknownFeature));
    assert_eq!(
        parse(&format!("{}{content}", ["A: b"; 65].join("\r\n"))),
        Err(BodyError::TooComplex)
    );
}
