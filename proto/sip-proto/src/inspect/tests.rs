//! Tests of the general UAS checks and their order.

use super::*;

const METHODS: &[MethodRules] = &[
    MethodRules {
        method: Method::Message,
        understood: &["text/plain", "multipart/mixed"],
        generated: &[],
    },
    MethodRules {
        method: Method::Subscribe,
        understood: &[],
        generated: &["application/pidf+xml"],
    },
    MethodRules { method: Method::Register, understood: &[], generated: &[] },
];

const CAPABILITIES: Capabilities =
    Capabilities { methods: METHODS, schemes: &[Scheme::Sip, Scheme::Sips], extensions: &["path"] };

fn check(start: &str, rows: &str, body: &str) -> Result<(), Refusal> {
    let method = start.split(' ').next().unwrap();
    let cseq = if rows.contains("CSeq:") { String::new() } else { format!("CSeq: 1 {method}\r\n") };
    let text = format!(
        "{start} SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\nFrom: <sip:a@b.example>;tag=1\r\n\
         To: <sip:c@b.example>\r\nCall-ID: x\r\n{cseq}{rows}\r\n{body}"
    );
    let request = crate::testing::request(text.as_bytes());
    inspect(&request, &CAPABILITIES).inspect_err(|refusal| {
        assert_eq!(refusal.response(&request, "t").status(), refusal.status);
    })
}

fn status(start: &str, rows: &str, body: &str) -> u16 {
    check(start, rows, body).map_or_else(|refusal| refusal.status.code(), |()| 200)
}

#[test]
fn methods_are_unknown_unsupported_or_inconsistent() {
    assert_eq!(status("NEWMETHOD sip:b.example", "CSeq: 1 INVITE\r\n", ""), 501);
    assert_eq!(status("PUBLISH sip:b.example", "", ""), 405);
    assert_eq!(status("MESSAGE sip:b.example", "CSeq: 1 INVITE\r\n", ""), 400);
    assert_eq!(status("MESSAGE sip:b.example", "", ""), 200);
}

#[test]
fn request_uris_have_a_supported_scheme_and_no_header_fields() {
    assert_eq!(status("MESSAGE tel:+15551234", "", ""), 416);
    assert_eq!(status("MESSAGE nobodyKnowsThisScheme:x", "", ""), 416);
    assert_eq!(status("MESSAGE sip:b.example?Route=%3Csip:c%3E", "", ""), 400);
}

#[test]
fn contacts_that_make_a_dialog_are_one_sip_uri() {
    let subscribe = |contact: &str| status("SUBSCRIBE sip:b.example", contact, "");
    assert_eq!(subscribe("Contact: <sip:a@b.example>\r\n"), 200);
    assert_eq!(subscribe(""), 400);
    assert_eq!(subscribe("Contact: *\r\n"), 400);
    assert_eq!(subscribe("Contact: <tel:+1>\r\n"), 400);
    assert_eq!(subscribe("Contact: <sip:a@b.example>\r\nm: <sip:a@b.example>\r\n"), 400);
    assert_eq!(subscribe("Contact: sip:a@b.example?Route=x\r\n"), 400);
    assert_eq!(status("MESSAGE sip:b.example", "Contact: *\r\n", ""), 400);
    assert_eq!(status("MESSAGE sip:b.example", "Contact: <sip:x>, <sip:y>\r\n", ""), 200);
    assert_eq!(status("REGISTER sip:b.example", "Contact: *\r\n", ""), 200);
}

#[test]
fn unknown_extensions_are_listed_in_their_order() {
    let refusal = check("MESSAGE sip:b.example", "Require: x, Path\r\nRequire: y\r\n", "");
    let refusal = refusal.unwrap_err();
    assert_eq!(refusal.status, StatusCode::BAD_EXTENSION);
    assert_eq!(
        refusal,
        Refusal::hinting(refusal.status, Hint::Unsupported(vec!["x".into(), "y".into()]))
    );
    assert_eq!(status("MESSAGE sip:b.example", "Proxy-Require: x\r\n", ""), 200);
}

#[test]
fn content_is_understood_optional_or_refused_with_what_would_be() {
    let message = |rows: &str| check("MESSAGE sip:b.example", rows, "x");
    let refused = |hint| Err(Refusal::hinting(StatusCode::UNSUPPORTED_MEDIA_TYPE, hint));
    assert_eq!(message("Content-Type: Text/Plain;charset=utf-8\r\n"), Ok(()));
    let understood = Hint::Accept(METHODS[0].understood);
    assert_eq!(message("Content-Type: image/png\r\n"), refused(understood));
    assert_eq!(message("c: text/plain\r\ne: gzip\r\n"), refused(Hint::AcceptEncoding));
    assert_eq!(message("c: text/plain\r\ne: identity\r\n"), Ok(()));
    let optional = "c: image/png\r\nContent-Disposition: icon ; Handling=optional\r\n";
    assert_eq!(message(optional), Ok(()));
    assert_eq!(status("MESSAGE sip:b.example", "", "x"), 400);
}

#[test]
fn what_is_sent_back_must_be_acceptable() {
    let subscribe = |accept: &str| {
        status("SUBSCRIBE sip:b.example", &format!("Contact: <sip:a@b.example>\r\n{accept}"), "")
    };
    assert_eq!(subscribe("Accept: application/pidf+xml\r\n"), 200);
    assert_eq!(subscribe("Accept: text/plain\r\nAccept: */*\r\n"), 200);
    assert_eq!(subscribe("Accept: text/xml+msrtc.pidf\r\n"), 406);
    assert_eq!(subscribe("Accept:\r\n"), 406);
    assert_eq!(status("MESSAGE sip:b.example", "Accept: text/nobodyKnowsThis\r\n", ""), 200);
}
