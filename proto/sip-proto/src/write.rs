//! Messages to bytes: CRLF only, names in their canonical spelling, Content-Length always right.

use bytes::Bytes;

use crate::header::{TypedHeader, Via};
use crate::headers::Headers;
use crate::method::Method;
use crate::scan::push_number;
use crate::status::StatusCode;
use crate::uri::Uri;

/// Room for the start line and Content-Length beside the rows, in bytes.
const START_BYTES: usize = 192;
/// Room for name, colon and line end of one row, in bytes.
const ROW_BYTES: usize = 20;

/// Writes a request, with another Via on top when one is given.
pub(crate) fn request(
    method: &Method,
    uri: &Uri,
    via: Option<&Via>,
    headers: &Headers,
    body: &Bytes,
) -> Bytes {
    let mut out = with_room(headers, body);
    out.push_str(method.as_str());
    out.push(' ');
    uri.write(&mut out);
    out.push_str(" SIP/2.0\r\n");
    if let Some(via) = via {
        out.push_str("Via: ");
        via.write(&mut out);
        out.push_str("\r\n");
    }
    finish(out, headers, body)
}

/// Writes a response.
pub(crate) fn response(
    status: StatusCode,
    reason_phrase: &str,
    headers: &Headers,
    body: &Bytes,
) -> Bytes {
    let mut out = with_room(headers, body);
    out.push_str("SIP/2.0 ");
    push_number(&mut out, status.code().into());
    out.push(' ');
    out.push_str(reason_phrase);
    out.push_str("\r\n");
    finish(out, headers, body)
}

fn with_room(headers: &Headers, body: &Bytes) -> String {
    let rows = headers.text_bytes() + headers.len() * ROW_BYTES;
    String::with_capacity(START_BYTES + rows + body.len())
}

fn finish(mut out: String, headers: &Headers, body: &Bytes) -> Bytes {
    for row in headers.iter() {
        out.push_str(row.spelling);
        out.push_str(": ");
        out.push_str(row.value);
        out.push_str("\r\n");
    }
    out.push_str("Content-Length: ");
    push_number(&mut out, body.len() as u64);
    out.push_str("\r\n\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(body);
    Bytes::from(out)
}
