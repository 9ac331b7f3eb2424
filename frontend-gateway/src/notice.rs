//! Messages that we write ourselves, about a message that failed. They are never answered by
//! another one.

use bytes::Bytes;
use sip_proto::header::{MediaType, TypedHeader};
use sip_proto::message::{OutgoingRequest, Request};

/// The header field that tells a notice from a user's message, between gateway and home.
const MARK: &str = "Isthmus-Notice";

/// Marks a request as a notice.
pub fn mark(request: &mut OutgoingRequest) {
    request.headers_mut().push_other(MARK, "failure");
}

/// Says whether a request is a notice.
pub fn is_notice(request: &Request) -> bool {
    request.headers().first_other(MARK).is_some()
}

/// Sets the text of a message.
pub fn set_text(request: &mut OutgoingRequest, text: &str) {
    let media_type = if text.is_ascii() { "text/plain" } else { "text/plain;charset=UTF-8" };
    if let Ok(media_type) = MediaType::parse(media_type) {
        request.set_body(&media_type, Bytes::copy_from_slice(text.as_bytes()));
    }
}
