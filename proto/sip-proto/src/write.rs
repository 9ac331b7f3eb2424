//! Messages to bytes: CRLF only, names in their canonical spelling, Content-Length always right.

use bytes::Bytes;

use crate::header::{TypedHeader, Via};
use crate::headers::{HeaderRow, Headers};
use crate::method::Method;
use crate::scan::push_number;
use crate::status::StatusCode;
use crate::uri::Uri;

/// Room for start line, Via and Content-Length of a request beside its rows, in bytes.
const START_BYTES: usize = 192;
/// Room for name, colon and line end of one row of a request, in bytes.
const ROW_BYTES: usize = 20;

/// Writes a request, with another Via on top when one is given.
pub(crate) fn request(
    method: &Method,
    uri: &Uri,
    via: Option<&Via>,
    headers: &Headers,
    body: &Bytes,
) -> Bytes {
    let rows = headers.text_bytes() + headers.len() * ROW_BYTES;
    let mut out = String::with_capacity(START_BYTES + rows + body.len());
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
    // Room for no byte more: `Bytes` allocate once more for a vector that has some left.
    let start_bytes = "SIP/2.0 200 \r\n".len() + reason_phrase.len();
    let mut out = String::with_capacity(start_bytes + finish_bytes(headers, body));
    out.push_str("SIP/2.0 ");
    push_number(&mut out, status.code().into());
    out.push(' ');
    out.push_str(reason_phrase);
    out.push_str("\r\n");
    finish(out, headers, body)
}

/// Returns the length of what [`finish`] writes.
fn finish_bytes(headers: &Headers, body: &Bytes) -> usize {
    let row_bytes = |row: HeaderRow<'_>| row.spelling.len() + row.value.len() + ": \r\n".len();
    let length_digits = body.len().checked_ilog10().unwrap_or(0) as usize + 1;
    let end = "Content-Length: \r\n\r\n".len() + length_digits;
    headers.iter().map(row_bytes).sum::<usize>() + end + body.len()
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
