//! Bytes to messages: the head, its rows, and what a failure tells the peer.

mod failure;
mod head;
mod rows;

use bytes::Bytes;
use memchr::memmem;

pub use self::failure::ParseFailure;
pub(crate) use self::head::{Head, parse_head};
use self::rows::{parse_rows, unfold};
use crate::error::Malformed;
use crate::headers::Headers;
use crate::limits::Limits;
use crate::message::Message;
use crate::status::StatusCode;

/// Reads header fields without a start line, such as those of a body part, each with its CRLF.
pub(crate) fn fields(bytes: &[u8]) -> Result<Headers, Malformed> {
    let malformed = Malformed("not rows of header fields");
    let text = std::str::from_utf8(bytes).map_err(|_| malformed)?;
    let rows = parse_rows(unfold(text).into_owned(), &Limits::default()).map_err(|_| malformed)?;
    match rows.repeated {
        Some(_) => Err(Malformed("a header field is repeated")),
        None => Ok(rows.headers),
    }
}

/// Reads one message that stands alone, as in a datagram or an envelope (RFC 3261 s.18.3).
///
/// Empty lines before the message are skipped. Without Content-Length the body is all that
/// follows the head; bytes behind the Content-Length are left out, and never read as another
/// message.
///
/// # Errors
/// Fails when there is no message, or when the body is shorter than its Content-Length or longer
/// than the limit. [`ParseFailure::close`] has no meaning then.
pub fn datagram(bytes: &Bytes, limits: &Limits) -> Result<Message, ParseFailure> {
    let mut bytes = bytes.clone();
    while bytes.starts_with(b"\r\n") {
        bytes = bytes.slice(2..);
    }
    let Some(head_end) = memmem::find(&bytes, b"\r\n\r\n").map(|position| position + 4) else {
        return Err(ParseFailure::closing(StatusCode::BAD_REQUEST, "Missing Empty Line", &bytes));
    };
    if head_end > limits.head_bytes_max {
        let status = StatusCode::MESSAGE_TOO_LARGE;
        return Err(ParseFailure::closing(status, status.reason_phrase(), &bytes));
    }
    let body = bytes.split_off(head_end);
    let head = parse_head(&bytes, limits)?;
    let length = head.content_length.unwrap_or(body.len());
    if length > body.len() || length > limits.body_bytes_max {
        let reason = "Content-Length Does Not Fit The Message";
        return Err(ParseFailure::closing(StatusCode::BAD_REQUEST, reason, &bytes));
    }
    let mut message = head.message?;
    message.set_body(body.slice(..length));
    Ok(message)
}
