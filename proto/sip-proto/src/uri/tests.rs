//! Tests of URIs: the RFC 3261 s.19.1.4 lists, the RFC 4475 URIs, refusals.

use super::*;

fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn rfc_3261_lists_of_equivalent_uris_are_equivalent() {
    for (left, right) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8::1]", "SIP:a@[2001:0DB8:0::1]"),
        ("sip:a@b.example;%6Cr", "sip:a@b.example;lr"),
    ] {
        assert!(uri(left).is_equivalent(&uri(right)), "{left} {right}");
        assert!(uri(right).is_equivalent(&uri(left)), "{right} {left}");
    }
}

#[test]
fn rfc_3261_lists_of_different_uris_are_different() {
    for (left, right) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@b.example", "sips:a@b.example"),
        ("sip:b.example", "sip:a@b.example"),
        ("sip:a:x@b.example", "sip:a@b.example"),
        ("sip:a@b.example;maddr=192.0.2.1", "sip:a@b.example"),
        ("sip:m%26m@b.example", "sip:m&m@b.example"),
        ("sip:%00@host5.example.com", "sip:%00%00@host5.example.com"),
    ] {
        assert!(!uri(left).is_equivalent(&uri(right)), "{left} {right}");
        assert!(!uri(right).is_equivalent(&uri(left)), "{right} {left}");
    }
}

#[test]
fn semicolons_before_the_at_sign_belong_to_the_user() {
    let uri = uri("sip:user;par=u%40example.net@example.com");
    assert_eq!(uri.user(), Some("user;par=u%40example.net"));
    assert_eq!(uri.user_decoded().unwrap().unwrap(), "user;par=u@example.net");
    assert_eq!(uri.host().and_then(Host::name), Some("example.com"));
    assert_eq!(uri.parameters().count(), 0);
}

#[test]
fn escapes_in_parameters_are_decoded_once() {
    let uri = uri("sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31");
    assert_eq!(uri.user_decoded().unwrap().unwrap(), "caller");
    assert_eq!(uri.parameter("lr").unwrap().unwrap(), "");
    assert_eq!(uri.parameter("NAME").unwrap().unwrap(), "value%41");
    assert!(!uri.has_parameter("value"));
}

#[test]
fn octets_that_are_not_utf8_fail_when_they_are_decoded() {
    let uri = uri("sip:x%C3%28y@sip.example;gr=%ff");
    assert!(uri.user_decoded().is_err());
    assert!(uri.parameter("gr").is_err());
}

#[test]
fn logs_never_show_the_password() {
    let wire = "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:\
        &it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com";
    let uri = uri(wire);
    assert_eq!(uri.user(), Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert!(!format!("{uri} {uri:?}").contains("weird"));
    assert_eq!(uri.to_wire(), wire);
}

#[test]
fn other_schemes_are_opaque() {
    let phone = uri("tel:+1-201-555-0123;phone-context=example.com");
    assert_eq!((phone.scheme(), phone.host()), (&Scheme::Tel, None));
    assert_eq!(uri("soap.beep://192.0.2.103:3002").opaque(), Some("//192.0.2.103:3002"));
    let presentity = uri("pres:romeo@Example.NET");
    assert_eq!(presentity.host().and_then(Host::name), Some("example.net"));
    assert_eq!(presentity.user(), Some("romeo"));
}

#[test]
fn refuses_uris_that_do_not_follow_the_grammar() {
    for bad in [
        "",
        "sip",
        "sip:",
        ":a@b",
        "1sip:a@b",
        "sip:@b.example",
        "sip:a@",
        "sip:a b@c.example",
        " sip:a@b.example",
        "sip:a@b.example ",
        "<sip:a@b.example>",
        "sip:a@b@c.example",
        "sip:a@b.example;",
        "sip:a@b.example;;lr",
        "sip:a@b.example;=x",
        "sip:a@b.example;x=",
        "sip:a@b.example;lr;LR",
        "sip:a@b.example;lr;%6cr",
        "sip:a@b.example; lr",
        "sip:a@b.example?",
        "sip:a@b.example?x",
        "sip:a@b.example?=y",
        "sip:a%@b.example",
        "sip:a%4@b.example",
        "sip:é@b.example",
        "sip:a\"b@c.example",
        "sip:a@b.example\r\nX: y",
        "sip:a\0@b.example",
        "sip:a@b.example:99999",
        "sip:a@b.example;x=<y>",
        "http:",
        "a:b c",
    ] {
        assert!(Uri::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn length_and_number_of_parameters_are_bounded() {
    let of_length = |length: usize| format!("sip:{}@b.example", "a".repeat(length - 14));
    assert!(Uri::parse(&of_length(URI_BYTES_MAX)).is_ok());
    assert!(Uri::parse(&of_length(URI_BYTES_MAX + 1)).is_err());
    let with_parameters = |count: usize| {
        (0..count).fold("sip:b.example".to_owned(), |text, index| format!("{text};p{index}"))
    };
    assert!(Uri::parse(&with_parameters(crate::limits::PARAMETERS_MAX)).is_ok());
    assert!(Uri::parse(&with_parameters(crate::limits::PARAMETERS_MAX + 1)).is_err());
}

#[test]
fn a_request_uri_has_no_header_fields_and_no_method() {
    let uri = uri("sip:a@b.example;method=REGISTER;lr?Route=%3Csip:evil.example%3E");
    assert_eq!(uri.headers(), Some("Route=%3Csip:evil.example%3E"));
    assert_eq!(uri.to_request_uri().to_wire(), "sip:a@b.example;lr");
}

#[test]
fn what_is_set_cannot_add_parameters_or_header_fields() {
    let mut uri = Uri::sip(Some("o'malley@x"), Host::parse("sip.example").unwrap());
    uri.set_parameter("gr", "a;b=c?d>e\r\nX: y");
    uri.set_parameter("ob", "");
    let wire = uri.to_wire();
    assert_eq!(wire, "sip:o'malley%40x@sip.example;gr=a%3Bb%3Dc%3Fd%3Ee%0D%0AX:%20y;ob");
    let again = Uri::parse(&wire).unwrap();
    assert_eq!(again, uri);
    assert_eq!(again.parameter("gr").unwrap().unwrap(), "a;b=c?d>e\r\nX: y");
    uri.remove_parameter("GR");
    assert_eq!(uri.to_wire(), "sip:o'malley%40x@sip.example;ob");
}
