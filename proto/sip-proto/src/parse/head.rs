//! The head of a message: its start line and the header fields that every message has.

use compact_str::CompactString;
use memchr::memchr;

use super::failure::ParseFailure;
use super::rows::{Refused, Rows, parse_rows, unfold};
use crate::error::{HeaderError, Malformed};
use crate::header::{CSeq, CallId, HeaderName, NameAddr, TypedHeader, Via};
use crate::headers::Headers;
use crate::limits::{LIST_VALUES_MAX, Limits, START_LINE_BYTES_MAX};
use crate::message::{Addressing, Message, Request, Response};
use crate::method::Method;
use crate::scan::{Scanner, is_control, split_at_byte};
use crate::status::StatusCode;
use crate::uri::Uri;

/// What a head says: where the message ends, and the message itself without its body.
pub(crate) struct Head {
    pub(crate) content_length: Option<usize>,
    pub(crate) message: Result<Message, ParseFailure>,
}

/// Reads a head with the empty line that ends it.
///
/// A failure means that the rows cannot be trusted, so that the end of the message is unknown; a
/// failure inside of the returned head leaves it known.
pub(crate) fn parse_head(bytes: &[u8], limits: &Limits) -> Result<Head, ParseFailure> {
    let refuse = |refused: Refused| ParseFailure::closing(refused.status, refused.reason, bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| refuse(Refused::bad_request("Not UTF-8")))?;
    let line_end = memchr(b'\r', bytes).unwrap_or(bytes.len());
    let (start_line, rows) = text.split_at_checked(line_end).unwrap_or((text, ""));
    let Some(rows) = rows.strip_prefix("\r\n") else {
        return Err(refuse(Refused::bad_request("Bare Carriage Return")));
    };
    let rows = rows.strip_suffix("\r\n").unwrap_or(rows);
    if rows.starts_with([' ', '\t']) {
        return Err(refuse(Refused::bad_request("Folded Start Line")));
    }
    let start = parse_start_line(start_line)?;
    let rows = parse_rows(unfold(rows).into_owned(), limits).map_err(refuse)?;
    let content_length = rows.content_length;
    Ok(Head { content_length, message: build(&start, rows, bytes) })
}

/// A start line whose end is certain.
enum StartLine<'a> {
    Request(&'a str),
    Response(&'a str),
    UnknownVersion,
}

/// Tells requests from responses and from what is not SIP at all.
fn parse_start_line(line: &str) -> Result<StartLine<'_>, ParseFailure> {
    let is_version = |text: &str| text.get(..4).is_some_and(|it| it.eq_ignore_ascii_case("SIP/"));
    if is_version(line) {
        return Ok(StartLine::Response(line));
    }
    let trimmed = line.trim_end_matches(' ');
    let version_start = trimmed.bytes().rposition(|byte| byte == b' ').map_or(0, |space| space + 1);
    let version = trimmed.get(version_start..).unwrap_or_default();
    // RFC 3261 s.7.1: the version is compared without case.
    if version.eq_ignore_ascii_case("SIP/2.0") {
        return Ok(StartLine::Request(line));
    }
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = version.get(4..).filter(|_| is_version(version));
    let number = number.and_then(|number| number.split_once('.'));
    if number.is_some_and(|(major, minor)| is_digits(major) && is_digits(minor)) {
        return Ok(StartLine::UnknownVersion);
    }
    // Whoever sends this does not speak SIP, and is not answered in it.
    Err(ParseFailure::closing(StatusCode::BAD_REQUEST, "Malformed Start Line", b""))
}

fn build(start: &StartLine<'_>, rows: Rows, bytes: &[u8]) -> Result<Message, ParseFailure> {
    let refuse = |status: StatusCode| ParseFailure::new(status, status.reason_phrase(), bytes);
    let malformed = |reason| ParseFailure::new(StatusCode::BAD_REQUEST, reason, bytes);
    match start {
        StartLine::UnknownVersion => Err(refuse(StatusCode::VERSION_NOT_SUPPORTED)),
        StartLine::Request(line) => {
            if line.len() > START_LINE_BYTES_MAX {
                return Err(refuse(StatusCode::REQUEST_URI_TOO_LONG));
            }
            let (method, uri) =
                parse_request_line(line).ok_or_else(|| malformed("Malformed Request Line"))?;
            let addressing =
                parse_addressing(&rows).map_err(|error| ParseFailure::of_header(error, bytes))?;
            let request = Request::parsed(method, uri, addressing, rows.headers);
            Ok(Message::Request(Box::new(request)))
        }
        StartLine::Response(line) => {
            let (status, reason) =
                parse_status_line(line).ok_or_else(|| malformed("Malformed Status Line"))?;
            let addressing =
                parse_addressing(&rows).map_err(|error| ParseFailure::of_header(error, bytes))?;
            let response = Response::parsed(status, reason, addressing, rows.headers);
            Ok(Message::Response(Box::new(response)))
        }
    }
}

fn parse_request_line(line: &str) -> Option<(Method, Uri)> {
    // RFC 3261 s.7.1: single spaces, and no other whitespace, between the three elements.
    let (method, rest) = split_at_byte(line, b' ')?;
    let (uri, version) = split_at_byte(rest, b' ')?;
    if version.contains(' ') {
        return None;
    }
    Some((Method::parse(method).ok()?, Uri::parse(uri).ok()?))
}

fn parse_status_line(line: &str) -> Option<(StatusCode, CompactString)> {
    let (version, rest) = split_at_byte(line, b' ')?;
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        return None;
    }
    // An empty reason phrase is legal; its space is missing in messages of some elements.
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let status = StatusCode::parse(code).ok()?;
    (!reason.bytes().any(is_control) && line.len() <= START_LINE_BYTES_MAX)
        .then(|| (status, CompactString::new(reason)))
}

/// Reads the header fields without which a message belongs to nothing.
fn parse_addressing(rows: &Rows) -> Result<Addressing, HeaderError> {
    if let Some(name) = rows.repeated {
        return Err(HeaderError::repeated(name));
    }
    let headers = &rows.headers;
    let address = |name| {
        let value = headers.first(name).ok_or(HeaderError::missing(name))?;
        NameAddr::parse(value).map_err(|error| HeaderError::malformed(name, error))
    };
    let (via, via_count) = parse_vias(headers)?;
    Ok(Addressing {
        via,
        via_count,
        from: address(HeaderName::From)?,
        to: address(HeaderName::To)?,
        call_id: headers.required::<CallId>()?,
        cseq: headers.required::<CSeq>()?,
    })
}

/// Reads every Via value, and returns the topmost one and their number.
fn parse_vias(headers: &Headers) -> Result<(Via, usize), HeaderError> {
    let malformed = |error| HeaderError::malformed(Via::NAME, error);
    let mut topmost = None;
    let mut count = 0;
    for row in headers.rows(Via::NAME) {
        let mut scanner = Scanner::new(row);
        loop {
            if topmost.is_none() {
                topmost = Some(Via::scan(&mut scanner).map_err(malformed)?);
            } else {
                Via::skip(&mut scanner).map_err(malformed)?;
            }
            count += 1;
            if count > LIST_VALUES_MAX {
                return Err(malformed(Malformed("too many values")));
            }
            if !scanner.eat(b',') {
                break;
            }
        }
        scanner.finish().map_err(malformed)?;
    }
    topmost.map(|via| (via, count)).ok_or(HeaderError::missing(Via::NAME))
}
