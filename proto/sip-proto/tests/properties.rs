//! Properties over generated messages and broken ones: round trips, one message out of one, no
//! panic, independence of chunking.

use std::time::Instant;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sip_proto::auth::{Challenge, Credentials};
use sip_proto::body;
use sip_proto::body::cpim::Cpim;
use sip_proto::frame::{Frame, Framer};
use sip_proto::header::{
    Accept, Allow, CSeq, CallId, Contact, Date, Event, Expires, HeaderName, MaxForwards, MediaType,
    MinExpires, NameAddr, RecordRoute, RetryAfter, Route, SentBy, SubscriptionState, TypedHeader,
    Via, Warning,
};
use sip_proto::limits::Limits;
use sip_proto::message::{Message, OutgoingRequest, OutgoingResponse, Request, RequestParts};
use sip_proto::transaction::{Flow, FlowId, TransactionLayer, TransactionLimits, Transport};
use sip_proto::uri::{Host, Uri};
use sip_proto::{Headers, IdSource, Method, StatusCode, parse};

/// A request to build, out of arbitrary text wherever an owner may put text of a peer.
#[derive(Clone, Debug)]
struct Plan {
    method: Method,
    user: String,
    display_name: String,
    parameter: String,
    subject: String,
    note: String,
    tokens: Vec<String>,
    sequence_number: u32,
    body: Option<Vec<u8>>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let text = || prop_oneof![any::<String>(), "[a-z\r\n\0:;,<>\"\\\\ ]{0,40}"];
    let methods = vec![Method::Message, Method::Subscribe, Method::Notify, Method::Register];
    let tokens = vec(prop_oneof![text(), "[a-z0-9]{1,8}"], 0..4);
    let parts = (select(methods), text(), text(), text(), text(), text());
    let rest = (tokens, any::<u32>(), option::of(vec(any::<u8>(), 1..200)));
    (parts, rest).prop_map(|((method, user, display_name, parameter, subject, note), rest)| {
        let (tokens, sequence_number, body) = rest;
        Plan { method, user, display_name, parameter, subject, note, tokens, sequence_number, body }
    })
}

fn host(name: &str) -> Host {
    Host::parse(name).expect("a host")
}

fn from_of(plan: &Plan) -> NameAddr {
    let mut uri = Uri::sip(Some(&plan.user), host("example.com"));
    uri.set_parameter("gr", &plan.parameter);
    NameAddr::new(uri).with_display_name(&plan.display_name).with_tag("t1")
}

fn build(plan: &Plan) -> OutgoingRequest {
    let uri = Uri::sip(Some(&plan.user), host("example.net"));
    let mut request = OutgoingRequest::new(RequestParts {
        method: plan.method.clone(),
        uri: &uri,
        from: &from_of(plan),
        to: &NameAddr::new(uri.clone()),
        call_id: &CallId::parse("x@example.com").expect("a Call-ID"),
        sequence_number: plan.sequence_number,
    });
    let tokens: Vec<&str> = plan.tokens.iter().map(String::as_str).collect();
    let headers = request.headers_mut();
    headers.push_text(HeaderName::Subject, &plan.subject);
    headers.push_other("X-Note", &plan.note);
    headers.push_tokens(HeaderName::Supported, &tokens);
    if let Some(body) = &plan.body {
        request.set_body(&MediaType::from_static("text/plain"), Bytes::from(body.clone()));
    }
    request
}

/// Sends a request through a transaction layer, and returns its bytes.
fn sent(request: &OutgoingRequest) -> Bytes {
    let sent_by = SentBy { host: host("gw.example.com"), port: Some(5061) };
    let ids = IdSource::new([1; 32]);
    let mut layer = TransactionLayer::new(sent_by, ids, TransactionLimits::default());
    let flow = Flow { id: FlowId(1), transport: Transport::Tls };
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other origin")]
    let now = Instant::now();
    layer.send_request(request, flow, now).expect("room for one transaction");
    layer.poll_transmit().expect("one message").bytes
}

/// What a stream gives, with what would be answered.
fn frames<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut framer = Framer::new(Limits::default());
    let mut seen = Vec::new();
    for chunk in chunks {
        framer.handle_bytes(chunk);
        while let Some(frame) = framer.poll_frame() {
            seen.push(match frame {
                Frame::Ping => "ping".to_owned(),
                Frame::Message(message) => {
                    read_everything(&message);
                    format!("{:?}", message.to_bytes())
                }
                Frame::Failure(failure) => {
                    let answer = failure.response("t").map(|answer| answer.to_bytes());
                    format!("{failure} {} {answer:?}", failure.close)
                }
            });
        }
    }
    seen
}

fn only_request(bytes: &Bytes) -> Request {
    let mut framer = Framer::new(Limits::default());
    framer.handle_bytes(bytes);
    let first = framer.poll_frame();
    assert!(framer.poll_frame().is_none() && !framer.is_inside_message());
    match first {
        Some(Frame::Message(message)) => match message {
            Message::Request(request) => *request,
            Message::Response(response) => panic!("a request expected: {response:?}"),
        },
        other => panic!("one message expected: {other:?}"),
    }
}

/// Reads every typed header field and the body, for the sake of what may go wrong.
fn read_everything(message: &Message) {
    let (headers, body) = match message {
        Message::Request(request) => (request.headers(), request.body()),
        Message::Response(response) => (response.headers(), response.body()),
    };
    read_typed(headers);
    for name in [HeaderName::Require, HeaderName::Supported, HeaderName::AllowEvents] {
        let _ = headers.tokens(name);
    }
    if let Ok(Some(media_type)) = headers.typed::<MediaType>() {
        let _ = body::text(&media_type, body);
    }
    let _ = Cpim::parse(body);
}

fn read_typed(headers: &Headers) {
    let _ = headers.typed::<Via>();
    let _ = headers.typed::<Contact>();
    let _ = headers.typed::<Date>();
    let _ = headers.typed::<Event>();
    let _ = headers.typed::<SubscriptionState>();
    let _ = headers.typed::<Accept>();
    let _ = headers.typed::<Warning>();
    let _ = headers.typed::<RetryAfter>();
    let _ = headers.typed::<Route>();
    let _ = headers.readable_rows::<Credentials>().count();
    let _ = headers.readable_rows::<Challenge>().count();
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture/rfc4475");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the corpus")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).expect("a file")).collect()
}

/// Bytes of the corpus with some of them changed, removed or doubled.
fn broken() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<Index>(), any::<u8>(), 0..3_u8);
    (select(corpus()), vec(change, 1..6)).prop_map(|(mut bytes, changes)| {
        for (position, byte, kind) in changes {
            let position = position.index(bytes.len());
            match kind {
                0 => bytes[position] = byte,
                1 if bytes.len() > 1 => drop(bytes.remove(position)),
                _ => bytes.insert(position, b"\r\n\0:;,<>\"% "[usize::from(byte) % 11]),
            }
        }
        bytes
    })
}

/// What reads must be written so that it reads as the same value.
fn reads_back<H: TypedHeader + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(value) = H::parse(text) else {
        return;
    };
    let mut written = String::new();
    value.write(&mut written);
    assert_eq!(H::parse(&written), Ok(value), "{text} {written}");
}

fn check_all(text: &str) {
    reads_back::<Via>(text);
    reads_back::<Contact>(text);
    reads_back::<Route>(text);
    reads_back::<RecordRoute>(text);
    reads_back::<CallId>(text);
    reads_back::<CSeq>(text);
    reads_back::<Event>(text);
    reads_back::<SubscriptionState>(text);
    reads_back::<MediaType>(text);
    reads_back::<Accept>(text);
    reads_back::<Allow>(text);
    reads_back::<Expires>(text);
    reads_back::<MinExpires>(text);
    reads_back::<MaxForwards>(text);
    reads_back::<RetryAfter>(text);
    reads_back::<Warning>(text);
    reads_back::<Date>(text);
    reads_back::<Challenge>(text);
    reads_back::<Credentials>(text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_built_request_is_one_message_with_the_same_values(plan in plan()) {
        let outgoing = build(&plan);
        let request = only_request(&sent(&outgoing));
        prop_assert_eq!(request.method(), &plan.method);
        prop_assert_eq!(request.uri(), outgoing.uri());
        let user = request.from().uri().user_decoded().unwrap();
        prop_assert_eq!(user.unwrap_or_default(), plan.user.as_str());
        let parameter = request.from().uri().parameter("gr").unwrap();
        prop_assert_eq!(parameter.unwrap_or_default(), plan.parameter.as_str());
        prop_assert_eq!(request.cseq().number, plan.sequence_number);
        prop_assert_eq!(request.body().as_ref(), plan.body.as_deref().unwrap_or_default());
        let sent_rows: Vec<String> =
            outgoing.headers().iter().map(|row| row.value.trim().to_owned()).collect();
        let seen_rows: Vec<String> = request
            .headers()
            .iter()
            .skip(1)
            .map(|row| row.value.trim().to_owned())
            .collect();
        prop_assert_eq!(seen_rows, sent_rows);
        prop_assert!(!request.headers().has(HeaderName::Route));
    }

    #[test]
    fn a_built_response_is_one_message_with_the_same_values(plan in plan(), code in 100..700_u16) {
        let request = only_request(&sent(&build(&plan)));
        let status = StatusCode::new(code).unwrap();
        let response = OutgoingResponse::to(&request, status, Some("t2"))
            .with_reason_phrase(&plan.subject);
        let bytes = response.to_bytes();
        let seen = frames([bytes.as_ref()]);
        prop_assert_eq!(seen.len(), 1);
        let Ok(Message::Response(read)) = parse::datagram(&bytes, &Limits::default()) else {
            panic!("a response expected");
        };
        prop_assert_eq!(read.status(), status);
        prop_assert_eq!(read.from(), request.from());
        prop_assert_eq!(read.cseq(), request.cseq());
        prop_assert_eq!(read.to().tag(), Some("t2"));
    }

    #[test]
    fn broken_messages_give_the_same_however_they_are_cut(
        bytes in broken(),
        length in 1..50_usize,
    ) {
        let whole = frames([bytes.as_slice()]);
        prop_assert_eq!(frames(bytes.chunks(length)), whole);
    }

    #[test]
    fn what_is_forwarded_reads_as_the_same_message(bytes in broken()) {
        let bytes = Bytes::from(bytes);
        if let Ok(first) = parse::datagram(&bytes, &Limits::default()) {
            let written = first.to_bytes();
            let second = parse::datagram(&written, &Limits::default()).unwrap();
            prop_assert_eq!(second.to_bytes(), written.clone());
            prop_assert_eq!(frames([written.as_ref()]).len(), 1);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        frames([bytes.as_slice()]);
        let bytes = Bytes::from(bytes);
        let _ = Cpim::parse(&bytes);
        let media_type = MediaType::parse("multipart/mixed;boundary=a").unwrap();
        let _ = body::parts(&media_type, &bytes);
    }

    #[test]
    fn header_fields_read_back(text in "[ -~é]{0,60}") {
        check_all(&text);
    }

    #[test]
    fn header_fields_made_of_their_own_delimiters_read_back(
        parts in vec(select(vec![
            "\"a\\\"b\"", "<sip:a@b.example>", "sip:c@d.example:5060", ";", ",", "=", "q=0.5",
            "tag", "1", "4294967295", "SIP/2.0/TCP", " ", "h.example", "[::1]", ":", "/", "*",
            "Digest realm=\"x\"", "nonce=\"y\"", "active", "expires=5", "399", "INVITE", "(c)",
        ]), 0..8),
    ) {
        check_all(&parts.concat());
    }

    #[test]
    fn uris_read_back_and_equal_themselves(text in "(sip|sips|tel|pres|x):[!-~]{1,40}") {
        if let Ok(uri) = Uri::parse(&text) {
            prop_assert_eq!(Uri::parse(&uri.to_wire()), Ok(uri.clone()));
            prop_assert!(uri.is_equivalent(&uri));
        }
    }

    #[test]
    fn equivalence_of_uris_is_symmetric(
        left in "sip:(a|%61|b)@(h|H)\\.example(:5060)?(;(lr|LR|x=1|user=ip)){0,2}",
        right in "sip:(a|%61|b)@(h|H)\\.example(:5060)?(;(lr|LR|x=1|user=ip)){0,2}",
    ) {
        if let (Ok(left), Ok(right)) = (Uri::parse(&left), Uri::parse(&right)) {
            prop_assert_eq!(left.is_equivalent(&right), right.is_equivalent(&left));
        }
    }
}
