//! Messages a second: a MESSAGE of 835 bytes framed and read, built and written.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use sip_proto::frame::{Frame, Framer};
use sip_proto::header::{CallId, HeaderName, MediaType, NameAddr, SentBy, Via};
use sip_proto::limits::Limits;
use sip_proto::message::{Message, OutgoingRequest, OutgoingResponse, Request, RequestParts};
use sip_proto::transaction::{
    Arrival, Flow, FlowId, TransactionLayer, TransactionLimits, Transport,
};
use sip_proto::uri::{Host, Uri};
use sip_proto::{IdSource, Method, StatusCode, parse};

const BODY_BYTES: usize = 300;

fn main() {
    divan::main();
}

/// A MESSAGE of 835 bytes as a proxy hands it on.
fn message() -> Vec<u8> {
    let mut text = "MESSAGE sip:juliet@example.com;transport=tls SIP/2.0\r\n\
        Via: SIP/2.0/TLS proxy.example.net:5061;branch=z9hG4bK77ef4c2312983.1;rport\r\n\
        Via: SIP/2.0/TLS 192.0.2.17:41514;received=192.0.2.17;branch=z9hG4bKnashds8\r\n\
        Max-Forwards: 69\r\n\
        To: <sip:juliet@example.com>\r\n\
        From: \"Romeo\" <sip:romeo@example.net;gr=dr4hcr0st3lup4c>;tag=a73kszlfl\r\n\
        Call-ID: 9E97FB43-85F4-4A00-8751-1124FD4C7B2E\r\n\
        CSeq: 1 MESSAGE\r\n\
        User-Agent: Example/5.2.1\r\n"
        .to_owned();
    text.push_str("Content-Type: text/plain\r\nContent-Length: 300\r\n\r\n");
    text.push_str(&"x".repeat(BODY_BYTES));
    text.into_bytes()
}

fn read(request: &Request) -> usize {
    let branch = request.via().branch().unwrap_or_default();
    let from = request.from().tag().unwrap_or_default();
    let to = request.to().uri().user().unwrap_or_default();
    let uri = request.uri().user().unwrap_or_default();
    let number = request.cseq().number as usize;
    branch.len() + from.len() + to.len() + uri.len() + request.call_id().as_str().len() + number
}

#[divan::bench(sample_size = 200)]
fn frame_and_read(bencher: Bencher<'_, '_>) {
    let bytes = message();
    let mut framer = Framer::new(Limits::default());
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        framer.handle_bytes(black_box(&bytes));
        match framer.poll_frame() {
            Some(Frame::Message(message)) => match message {
                Message::Request(request) => read(&request),
                Message::Response(_) => 0,
            },
            _ => 0,
        }
    });
}

struct Parts {
    uri: Uri,
    from: NameAddr,
    to: NameAddr,
    call_id: CallId,
    media_type: MediaType,
    body: Bytes,
}

fn parts() -> Parts {
    let uri = Uri::sip(Some("romeo"), Host::from(std::net::IpAddr::from([192, 0, 2, 1])));
    let from = NameAddr::new(uri.clone()).with_display_name("Juliet").with_tag("a73kszlfl");
    let to = NameAddr::new(uri.clone());
    let call_id = IdSource::new([1; 32]).call_id();
    let media_type = MediaType::from_static("text/plain");
    Parts { uri, from, to, call_id, media_type, body: Bytes::from(vec![b'x'; BODY_BYTES]) }
}

fn build(parts: &Parts) -> OutgoingRequest {
    let mut request = OutgoingRequest::new(RequestParts {
        method: Method::Message,
        uri: &parts.uri,
        from: &parts.from,
        to: &parts.to,
        call_id: &parts.call_id,
        sequence_number: 1,
    });
    request.headers_mut().push_text(HeaderName::Subject, "Two households");
    request.set_body(&parts.media_type, parts.body.clone());
    request
}

#[divan::bench(sample_size = 200)]
fn build_and_write_response(bencher: Bencher<'_, '_>) {
    let bytes = Bytes::from(message());
    let Ok(Message::Request(request)) = parse::datagram(&bytes, &Limits::default()) else {
        return;
    };
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        OutgoingResponse::to(black_box(&request), StatusCode::OK, Some("t")).to_bytes()
    });
}

#[divan::bench(sample_size = 200)]
fn frame_response(bencher: Bencher<'_, '_>) {
    let bytes = Bytes::from(message());
    let Ok(Message::Request(request)) = parse::datagram(&bytes, &Limits::default()) else {
        return;
    };
    let answer = OutgoingResponse::to(&request, StatusCode::OK, Some("a8s7df6a")).to_bytes();
    let mut framer = Framer::new(Limits::default());
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        framer.handle_bytes(black_box(&answer));
        framer.poll_frame()
    });
}

#[divan::bench(sample_size = 200)]
fn write_again(bencher: Bencher<'_, '_>) {
    let bytes = Bytes::from(message());
    let Ok(message) = parse::datagram(&bytes, &Limits::default()) else {
        return;
    };
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| black_box(&message).to_bytes());
}

#[divan::bench(sample_size = 200)]
fn build_request(bencher: Bencher<'_, '_>) {
    let parts = parts();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| build(black_box(&parts)));
}

/// A request that never leaves the process.
#[divan::bench(sample_size = 200)]
fn receive_locally(bencher: Bencher<'_, '_>) {
    let parts = parts();
    let host = Host::from(std::net::IpAddr::from([192, 0, 2, 2]));
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let sent_by = SentBy { host: host.clone(), port: None };
        let via = Via::new("TCP", sent_by, "z9hG4bK00112233445566778899aabbccddeeff");
        build(black_box(&parts)).into_received(via)
    });
}

/// A whole server transaction: begun, answered.
#[divan::bench(sample_size = 200)]
fn server_transaction(bencher: Bencher<'_, '_>) {
    let bytes = Bytes::from(message());
    let Ok(Message::Request(request)) = parse::datagram(&bytes, &Limits::default()) else {
        return;
    };
    let answer = OutgoingResponse::to(&request, StatusCode::OK, Some("t"));
    let sent_by = SentBy { host: Host::from(std::net::IpAddr::from([192, 0, 2, 2])), port: None };
    let ids = IdSource::new([1; 32]);
    let mut layer = TransactionLayer::new(sent_by, ids, TransactionLimits::default());
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other origin")]
    let now = Instant::now();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        if let Arrival::Fresh(id) = layer.handle_request(black_box(&request), FlowId(1), now) {
            layer.respond(id, &answer, now).ok();
        }
        layer.poll_transmit()
    });
}

/// A whole client transaction: built, sent, answered.
#[divan::bench(sample_size = 200)]
fn client_transaction(bencher: Bencher<'_, '_>) {
    let parts = parts();
    let sent_by = SentBy { host: Host::from(std::net::IpAddr::from([192, 0, 2, 2])), port: None };
    let ids = IdSource::new([1; 32]);
    let mut layer = TransactionLayer::new(sent_by, ids, TransactionLimits::default());
    let flow = Flow { id: FlowId(1), transport: Transport::Tls };
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other origin")]
    let now = Instant::now();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let sent = layer.send_request(&build(&parts), flow, now);
        let bytes = layer.poll_transmit().map(|transmit| transmit.bytes).unwrap_or_default();
        if let Ok(Message::Request(request)) = parse::datagram(&bytes, &Limits::default()) {
            let answer = OutgoingResponse::to(&request, StatusCode::OK, Some("t")).to_bytes();
            if let Ok(Message::Response(response)) = parse::datagram(&answer, &Limits::default()) {
                layer.handle_response(response, flow.id);
            }
        }
        (sent.is_ok(), layer.poll_event().is_some())
    });
}
