//! Tests of reading and building whole messages.

use super::*;
use crate::header::{
    Contact, Event, Expires, HeaderName, MediaType, SentBy, SubscriptionState, TypedHeader,
};
use crate::limits::Limits;
use crate::method::Method;
use crate::parse::{ParseFailure, datagram};
use crate::status::StatusCode;
use crate::uri::{Host, Uri};

const NOTIFY: &str = "NOTIFY sip:juliet@example.com SIP/2.0\r\n\
    Via: SIP/2.0/TLS sip.example.net;branch=z9hG4bKeskdgs677;rport, \
    SIP/2.0/TCP inner.example.net\r\n\
    v: SIP/2.0/UDP far.example.net\r\n\
    f: \"Romeo\" <sip:romeo@example.net>;tag=ffd2\r\n\
    TO : <sip:juliet@example.com>;tag=j89d\r\n\
    i: 5BCF940D-793D-43F8-8972-218F7F4EAA8C\r\n\
    o: presence\r\n\
    Subscription-State: active;expires=499\r\n\
    CSeq: 0002 NOTIFY\r\n\
    m: <sip:romeo@example.net;gr=dr4hcr0st3lup4c>\r\n\
    X-Unknown:  kept\tas it is  \r\n\
    c: application/pidf+xml\r\n\
    l: 5\r\n\r\nhello";

fn parse(text: &str) -> Result<Message, ParseFailure> {
    datagram(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
}

fn request(text: &str) -> Request {
    match parse(text) {
        Ok(Message::Request(request)) => *request,
        other => panic!("a request expected: {other:?}"),
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn compact_and_long_forms_read_alike() {
    let request = request(NOTIFY);
    assert_eq!(request.method(), &Method::Notify);
    assert_eq!(request.cseq().number, 2);
    assert_eq!(request.from().tag(), Some("ffd2"));
    assert!(request.is_in_dialog());
    assert_eq!(request.via().branch(), Some("z9hG4bKeskdgs677"));
    assert_eq!(request.headers().required::<Event>().unwrap().package(), "presence");
    let state = request.headers().required::<SubscriptionState>().unwrap();
    assert_eq!(state.expires_seconds, Some(499));
    assert_eq!(request.content_type().unwrap().unwrap().name(), "application/pidf+xml");
    assert_eq!(request.headers().first_other("x-unknown"), Some("kept\tas it is"));
    assert_eq!(request.max_forwards().unwrap().0, 70);
    assert_eq!(request.body().as_ref(), b"hello");
}

#[test]
fn what_is_written_again_reads_as_the_same_message() {
    let first = request(NOTIFY);
    let second = request(&text(&first.to_bytes()));
    assert!(first.headers().iter().eq(second.headers().iter()));
    assert_eq!((first.uri(), first.body()), (second.uri(), second.body()));
    assert_eq!(second.to_bytes(), first.to_bytes());
}

#[test]
fn a_response_copies_what_it_must_in_order() {
    let mut request = request(NOTIFY);
    request.record_source("192.0.2.9:40000".parse().unwrap());
    let response = OutgoingResponse::to(&request, StatusCode::OK, Some("ignored"));
    assert_eq!(
        text(&response.to_bytes()),
        "SIP/2.0 200 OK\r\n\
         Via: SIP/2.0/TLS sip.example.net;branch=z9hG4bKeskdgs677;received=192.0.2.9;rport=40000, \
         SIP/2.0/TCP inner.example.net\r\n\
         Via: SIP/2.0/UDP far.example.net\r\n\
         From: \"Romeo\" <sip:romeo@example.net>;tag=ffd2\r\n\
         To: <sip:juliet@example.com>;tag=j89d\r\n\
         Call-ID: 5BCF940D-793D-43F8-8972-218F7F4EAA8C\r\n\
         CSeq: 0002 NOTIFY\r\n\
         Content-Length: 0\r\n\r\n",
    );
}

#[test]
fn a_response_adds_our_tag_only_to_a_to_without_one() {
    let request =
        request(&NOTIFY.replace("<sip:juliet@example.com>;tag=j89d", "sip:j@example.com"));
    let tagged = OutgoingResponse::to(&request, StatusCode::OK, Some("a1"));
    assert_eq!(tagged.headers().first(HeaderName::To), Some("sip:j@example.com;tag=a1"));
    let trying = OutgoingResponse::to(&request, StatusCode::TRYING, None);
    assert_eq!(trying.headers().first(HeaderName::To), Some("sip:j@example.com"));
}

#[test]
fn a_reason_phrase_cannot_end_its_line() {
    let response = OutgoingResponse::to(&request(NOTIFY), StatusCode::FORBIDDEN, None)
        .with_reason_phrase("No\r\nContact: <sip:evil@example.com>\0");
    assert!(
        text(&response.to_bytes()).starts_with("SIP/2.0 403 NoContact: <sip:evil@example.com>\r\n")
    );
}

#[test]
fn mandatory_header_fields_are_named_when_they_fail() {
    for (from, to, reason) in [
        ("f: \"Romeo\"", "X-F: \"Romeo\"", "Missing From Header Field"),
        ("TO :", "X-To:", "Missing To Header Field"),
        ("i: ", "X-I: ", "Missing Call-ID Header Field"),
        ("CSeq:", "X-CSeq:", "Missing CSeq Header Field"),
        ("0002 NOTIFY", "4294967296 NOTIFY", "Malformed CSeq Header Field"),
        ("\"Romeo\"", "\"Romeo", "Malformed From Header Field"),
        ("SIP/2.0/UDP far", "SIP/2.0/UDP far;;", "Malformed Via Header Field"),
        ("o: presence", "o: presence\r\nEvent: presence", "Repeated Event Header Field"),
        ("CSeq:", "Expires: 1\r\nexpires: 1\r\nCSeq:", "Repeated Expires Header Field"),
        ("CSeq:", "t: <sip:a@b.example>\r\nCSeq:", "Repeated To Header Field"),
    ] {
        let failure = parse(&NOTIFY.replacen(from, to, 1)).unwrap_err();
        assert_eq!(failure.reason_phrase, reason);
        assert_eq!((failure.status, failure.close), (StatusCode::BAD_REQUEST, false));
        let answer = text(&failure.response("a1").unwrap().to_bytes());
        assert!(answer.contains("Via: SIP/2.0/TLS sip.example.net;branch=z9hG4bKeskdgs677"));
    }
}

#[test]
fn request_lines_have_two_single_spaces() {
    let line =
        |line: &str| parse(&NOTIFY.replacen("NOTIFY sip:juliet@example.com SIP/2.0", line, 1));
    for bad in [
        "NOTIFY  sip:a@b.example  SIP/2.0",
        "NOTIFY sip:a@b.example SIP/2.0 ",
        " NOTIFY sip:a@b.example SIP/2.0",
        "NOTIFY\tsip:a@b.example SIP/2.0",
        "NOTIFY sip:a@b.example; lr SIP/2.0",
        "NOTIFY <sip:a@b.example> SIP/2.0",
        "NOTIFY SIP/2.0",
    ] {
        let failure = line(bad).unwrap_err();
        assert_eq!((failure.status, failure.close), (StatusCode::BAD_REQUEST, false), "{bad}");
        assert!(failure.response("a").is_some());
    }
    assert!(line("NOTIFY sip:a@b.example sip/2.0").is_ok());
    let failure = line("NOTIFY sip:a@b.example SIP/7.0").unwrap_err();
    assert_eq!(failure.status, StatusCode::VERSION_NOT_SUPPORTED);
    for hopeless in ["NOTIFY sip:a@b.example", "NOTIFY sip:a@b.example SIP/x", "GET / HTTP/1.1"] {
        assert!(line(hopeless).unwrap_err().close, "{hopeless}");
    }
    assert!(line("GET / HTTP/1.1").unwrap_err().response("a").is_none());
    let long = format!("NOTIFY sip:{}@b.example SIP/2.0", "a".repeat(9000));
    assert_eq!(line(&long).unwrap_err().status, StatusCode::REQUEST_URI_TOO_LONG);
}

#[test]
fn responses_and_acknowledgements_are_never_answered() {
    let broken = NOTIFY.replace("CSeq: 0002 NOTIFY", "CSeq: x");
    for line in ["SIP/2.0 200 OK", "SIP/2.0 4294967301 no", "ACK sip:a@b.example SIP/2.0"] {
        let text = broken.replacen("NOTIFY sip:juliet@example.com SIP/2.0", line, 1);
        assert!(parse(&text).unwrap_err().response("a").is_none(), "{line}");
    }
}

#[test]
fn a_datagram_ignores_what_follows_and_refuses_what_is_missing() {
    assert_eq!(request(&format!("{NOTIFY}INVITE sip:x@y SIP/2.0")).body().as_ref(), b"hello");
    assert_eq!(request(&NOTIFY.replace("l: 5\r\n", "")).body().as_ref(), b"hello");
    assert_eq!(request(&format!("\r\n\r\n{NOTIFY}")).method(), &Method::Notify);
    assert!(parse(&NOTIFY.replace("l: 5", "l: 6")).is_err());
    assert!(parse("NOTIFY sip:a@b SIP/2.0\r\n").is_err());
}

#[test]
fn a_built_request_reads_back() {
    let uri = Uri::parse("sip:romeo@example.net").unwrap();
    let from = NameAddr::new(Uri::parse("sip:juliet@example.com;gr=x").unwrap()).with_tag("12345");
    let to = NameAddr::new(uri.clone());
    let call_id = CallId::parse("D9AA95FD-2BD5").unwrap();
    let mut outgoing = OutgoingRequest::new(RequestParts {
        method: Method::Message,
        uri: &uri,
        from: &from,
        to: &to,
        call_id: &call_id,
        sequence_number: 1,
    });
    outgoing.headers_mut().push(&Expires(60));
    outgoing.headers_mut().push_text(HeaderName::Subject, "Grüße\r\nRoute: <sip:evil.example>");
    outgoing
        .set_body(&MediaType::parse("text/plain").unwrap(), Bytes::from_static(b"Hallo\r\n\r\n"));
    let sent_by = SentBy { host: Host::parse("edge.example.com").unwrap(), port: Some(5061) };
    let wire = outgoing.to_bytes(&Via::new("TLS", sent_by, "z9hG4bKna998sk"));
    assert_eq!(
        text(&wire),
        "MESSAGE sip:romeo@example.net SIP/2.0\r\n\
         Via: SIP/2.0/TLS edge.example.com:5061;branch=z9hG4bKna998sk\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:juliet@example.com;gr=x>;tag=12345\r\n\
         To: <sip:romeo@example.net>\r\n\
         Call-ID: D9AA95FD-2BD5\r\n\
         CSeq: 1 MESSAGE\r\n\
         Expires: 60\r\n\
         Subject: Grüße Route: <sip:evil.example>\r\n\
         Content-Type: text/plain\r\n\
         Content-Length: 9\r\n\r\nHallo\r\n\r\n",
    );
    let request = request(&text(&wire));
    assert_eq!(request.from(), &from);
    assert_eq!(request.to(), &to);
    assert!(!request.headers().has(HeaderName::Route));
    assert_eq!(request.headers().typed::<Contact>(), Ok(None));
}

#[test]
fn a_request_within_the_process_is_what_its_bytes_would_be() {
    let uri = Uri::parse("sip:romeo@example.net").unwrap();
    let from = NameAddr::new(Uri::parse("sip:juliet@example.com;gr=x").unwrap()).with_tag("1");
    let mut outgoing = OutgoingRequest::new(RequestParts {
        method: Method::Subscribe,
        uri: &uri,
        from: &from.with_display_name("Jul\"iet"),
        to: &NameAddr::new(uri.clone()).with_tag("2"),
        call_id: &CallId::parse("D9AA95FD-2BD5").unwrap(),
        sequence_number: 7,
    });
    outgoing.headers_mut().push(&Expires(60));
    outgoing.set_body(&MediaType::parse("text/plain").unwrap(), Bytes::from_static(b"Hallo"));
    let sent_by = SentBy { host: Host::parse("edge.example.com").unwrap(), port: None };
    let via = Via::new("TCP", sent_by, "z9hG4bK1");
    let read = request(&text(&outgoing.to_bytes(&via)));
    let handed_over = outgoing.into_received(via).unwrap();
    assert_eq!(handed_over.to_bytes(), read.to_bytes());
    assert_eq!(handed_over.from(), read.from());
    assert_eq!(handed_over.to(), read.to());
    assert_eq!(handed_over.call_id(), read.call_id());
    assert_eq!(handed_over.cseq(), read.cseq());
    assert_eq!(handed_over.via(), read.via());
    let answers = [&handed_over, &read]
        .map(|request| OutgoingResponse::to(request, StatusCode::OK, None).to_bytes());
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn an_element_puts_itself_on_the_path_and_keeps_credentials_to_itself() {
    let recorded = "Record-Route: <sip:far.example;lr>\r\n";
    let proven = NOTIFY.replace("o: presence", "Authorization: Digest x=\"y\"\r\no: presence");
    let mut request = request(&proven.replace("X-Unknown", &format!("{recorded}X-Unknown")));
    let before = request.clone();
    request.remove_credentials();
    let hop = Uri::parse("sip:near.example;lr").unwrap();
    request.record_route(NameAddr::new(hop));
    let routes: Vec<&str> = request.headers().rows(HeaderName::RecordRoute).collect();
    assert_eq!(routes, ["<sip:near.example;lr>", "<sip:far.example;lr>"], "the last one first");
    assert!(!request.headers().has(HeaderName::Authorization));
    assert!(before.headers().has(HeaderName::Authorization), "a clone is not changed");
    assert_eq!(request.headers().first(HeaderName::To), before.headers().first(HeaderName::To));
}
