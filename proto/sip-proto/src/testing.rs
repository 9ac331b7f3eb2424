//! What the tests of several modules share: a moment to begin at, and messages from and to bytes.

use std::time::Instant;

use bytes::Bytes;

use crate::header::{CallId, NameAddr, SentBy, TypedHeader, Via};
use crate::limits::Limits;
use crate::message::{Message, OutgoingRequest, OutgoingResponse, Request, RequestParts, Response};
use crate::method::Method;
use crate::parse::datagram;
use crate::uri::{Host, Uri};

/// Returns the moment at which a test begins.
#[expect(clippy::disallowed_methods, reason = "an Instant has no other origin")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

/// Reads a request.
pub(crate) fn request(bytes: &[u8]) -> Request {
    match datagram(&Bytes::copy_from_slice(bytes), &Limits::default()) {
        Ok(Message::Request(request)) => *request,
        other => panic!("a request expected: {other:?}"),
    }
}

/// Reads a response.
pub(crate) fn response(bytes: &[u8]) -> Response {
    match datagram(&Bytes::copy_from_slice(bytes), &Limits::default()) {
        Ok(Message::Response(response)) => *response,
        other => panic!("a response expected: {other:?}"),
    }
}

/// Returns a request outside of a dialog.
pub(crate) fn outgoing(method: Method) -> OutgoingRequest {
    let uri = Uri::parse("sip:romeo@example.net").unwrap();
    OutgoingRequest::new(RequestParts {
        method,
        uri: &uri,
        from: &NameAddr::new(Uri::parse("sip:juliet@example.com").unwrap()).with_tag("1"),
        to: &NameAddr::new(uri.clone()),
        call_id: &CallId::parse("x@example.com").unwrap(),
        sequence_number: 7,
    })
}

/// Returns a request as its receiver reads it.
pub(crate) fn delivered(outgoing: &OutgoingRequest) -> Request {
    let sent_by = SentBy { host: Host::parse("sip.example.net").unwrap(), port: None };
    request(&outgoing.to_bytes(&Via::new("TLS", sent_by, "z9hG4bKx")))
}

/// Returns a response as its receiver reads it.
pub(crate) fn answered(outgoing: &OutgoingResponse) -> Response {
    response(&outgoing.to_bytes())
}
