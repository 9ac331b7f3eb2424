//! The rows of a head: folding, names, values, and the characters that none of them may hold.

use std::borrow::Cow;

use memchr::memchr_iter;

use crate::header::HeaderName;
use crate::headers::{Headers, Row, Span};
use crate::limits::Limits;
use crate::scan::{Scanner, is_control, trim_lws_end};
use crate::status::StatusCode;

/// The rows of one head.
pub(super) struct Rows {
    pub(super) headers: Headers,
    /// The first header field that may stand once and stands again.
    pub(super) repeated: Option<HeaderName>,
    /// The Content-Length, which is not kept among the header fields.
    pub(super) content_length: Option<usize>,
}

/// Why the rows cannot be told apart with certainty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
}

impl Refused {
    pub(super) fn bad_request(reason: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason }
    }
}

/// Replaces every folding by one space (RFC 3261 s.7.3.1).
pub(super) fn unfold(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    // All text is looked at in one go, which takes a fraction of the time of one look at each line.
    let is_folding = |end: u8, next: u8| (end == b'\n') & ((next == b' ') | (next == b'\t'));
    let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
    if !pairs.fold(false, |found, (end, next)| found | is_folding(*end, *next)) {
        return Cow::Borrowed(text);
    }
    let mut unfolded = String::with_capacity(text.len());
    for (index, line) in text.split("\r\n").enumerate() {
        if line.starts_with([' ', '\t']) {
            unfolded.truncate(unfolded.trim_end_matches([' ', '\t']).len());
            unfolded.push(' ');
            unfolded.push_str(line.trim_start_matches([' ', '\t']));
        } else {
            unfolded.push_str(if index > 0 { "\r\n" } else { "" });
            unfolded.push_str(line);
        }
    }
    Cow::Owned(unfolded)
}

/// Splits one unfolded row into name and value.
pub(super) fn split_row(row: &str) -> Option<(&str, &str)> {
    let mut scanner = Scanner::new(row);
    let name = scanner.token().ok()?;
    // Only space and tab may stand before the colon: what another element takes for whitespace
    // there would hide a header field from one of the two.
    scanner.eat(b':').then(|| (name, trim_lws_end(scanner.rest())))
}

/// Reads unfolded rows, each with its CRLF.
pub(super) fn parse_rows(text: String, limits: &Limits) -> Result<Rows, Refused> {
    let has_controls = has_controls(&text);
    let mut rows = Vec::with_capacity(16);
    let mut lines = 0;
    let mut seen = 0;
    let mut repeated = None;
    let mut content_length = None;
    let mut start = 0;
    for end in memchr_iter(b'\r', text.as_bytes()) {
        let (Some(line), Some(b'\n')) = (text.get(start..end), text.as_bytes().get(end + 1)) else {
            return Err(Refused::bad_request("Bare Carriage Return"));
        };
        let line = trim_lws_end(line);
        let (spelling, value) =
            split_row(line).ok_or(Refused::bad_request("Malformed Header Field Name"))?;
        if has_controls {
            check_characters(value)?;
        }
        if lines == limits.header_fields_max {
            let status = StatusCode::MESSAGE_TOO_LARGE;
            return Err(Refused { status, reason: "Too Many Header Fields" });
        }
        let name = HeaderName::parse(spelling);
        if name == HeaderName::ContentLength {
            if content_length.replace(parse_content_length(value)?).is_some() {
                return Err(Refused::bad_request("Repeated Content-Length Header Field"));
            }
        } else {
            let value_end = start + line.len();
            rows.push(Row {
                name,
                spelling: Span::new(start, start + spelling.len()),
                value: Span::new(value_end - value.len(), value_end),
            });
        }
        if name.is_single() && seen & name.bit() != 0 {
            repeated = repeated.or(Some(name));
        }
        seen |= name.bit();
        lines += 1;
        start = end + 2;
    }
    if start != text.len() || memchr_iter(b'\n', text.as_bytes()).count() != lines {
        return Err(Refused::bad_request("Bare Line Feed"));
    }
    Ok(Rows { headers: Headers::of_rows(text, rows), repeated, content_length })
}

/// Says whether there are control characters other than tabs and line ends. All text is looked at
/// in one go, which takes a fraction of the time of one look at each value.
fn has_controls(text: &str) -> bool {
    let is_suspect = |byte: u8| is_control(byte) && byte != b'\r' && byte != b'\n';
    text.bytes().fold(false, |found, byte| found | is_suspect(byte))
}

/// Requires that every control character is escaped inside of a quoted string, the only place
/// where RFC 3261 s.25.1 has them.
fn check_characters(value: &str) -> Result<(), Refused> {
    let mut quoted = false;
    let mut escaped = false;
    for byte in value.bytes() {
        let is_escaped = std::mem::take(&mut escaped);
        match byte {
            // RFC 3261 s.25.1: quoted-pair excludes CR and LF.
            _ if is_control(byte) && (!is_escaped || matches!(byte, b'\r' | b'\n')) => {
                return Err(Refused::bad_request("Control Character In Header Field"));
            }
            b'\\' if quoted && !is_escaped => escaped = true,
            b'"' if !is_escaped => quoted = !quoted,
            _ => {}
        }
    }
    Ok(())
}

/// Reads digits; a number that does not fit is refused like anything else that is not a length.
fn parse_content_length(value: &str) -> Result<usize, Refused> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let length = if is_number { value.parse().ok() } else { None };
    length.ok_or(Refused::bad_request("Malformed Content-Length Header Field"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::byte_set::TOKEN;

    fn parse(text: &str) -> Result<Rows, Refused> {
        parse_rows(unfold(text).into_owned(), &Limits::default())
    }

    #[test]
    fn folded_rows_become_one_space() {
        let rows = parse("Subject: a  \r\n \t b\r\n\tc\r\nTo :\r\n x\r\n \r\nX-Y:z\r\n").unwrap();
        assert_eq!(rows.headers.first(HeaderName::Subject), Some("a b c"));
        assert_eq!(rows.headers.first(HeaderName::To), Some("x"));
        assert_eq!(rows.headers.first_other("x-y"), Some("z"));
    }

    #[test]
    fn only_space_and_tab_may_stand_before_the_colon() {
        for byte in 0..=255 {
            let mut row = b"Contact".to_vec();
            row.push(byte);
            row.extend_from_slice(b": <sip:a@b.example>\r\n");
            let outcome = std::str::from_utf8(&row).ok().and_then(|text| parse(text).ok());
            let first = outcome.as_ref().and_then(|rows| rows.headers.first(HeaderName::Contact));
            match byte {
                b' ' | b'\t' => assert_eq!(first, Some("<sip:a@b.example>")),
                b':' => assert_eq!(first, Some(": <sip:a@b.example>")),
                _ if TOKEN.contains(byte) => assert!(outcome.is_some() && first.is_none()),
                _ => assert!(outcome.is_none(), "byte {byte}"),
            }
        }
    }

    #[test]
    fn control_characters_stand_only_escaped_in_quotes() {
        for good in ["\"\\\0\\\u{7}\\\u{7f}\" <sip:a@b>", "a\tb", "\"\\\\\"", "\"\\\"\\\0\""] {
            assert!(parse(&format!("To: {good}\r\n")).is_ok(), "{good:?}");
        }
        for bad in
            ["a\0b", "\"\0\"", "\\\0", "\"\" \\\0", "\"\\\\\0\"", "\u{b}", "a\nb", "\"\\\n\""]
        {
            assert!(parse(&format!("To: {bad}\r\n")).is_err(), "{bad:?}");
        }
        assert!(parse("To: a\rb\r\n").is_err());
        for bad in ["To: a\r\r\n", "To: a\rxFrom: b\nc\r\n", "To: a\n\rFrom: b\r\n", "To: a\r\n\n"]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn content_length_is_digits_once() {
        let length = |text: &str| parse(text).map(|rows| rows.content_length);
        assert_eq!(length("Content-Length   : 0150\r\n"), Ok(Some(150)));
        assert_eq!(length("l:0\r\n"), Ok(Some(0)));
        assert_eq!(length("Subject: x\r\n"), Ok(None));
        for bad in [
            "",
            "-1",
            "-999",
            "+5",
            "0x10",
            "5 5",
            "5,5",
            "1e3",
            "１",
            "18446744073709551616",
            "9999999999999999999999",
        ] {
            assert!(length(&format!("Content-Length: {bad}\r\n")).is_err(), "{bad}");
        }
        assert!(length("l: 5\r\nContent-Length: 5\r\n").is_err());
    }

    #[test]
    fn rows_are_counted_while_they_are_read() {
        let limits = Limits { header_fields_max: 3, ..Limits::default() };
        let of = |count: usize| parse_rows("A: b\r\n".repeat(count), &limits);
        assert!(of(3).is_ok());
        assert_eq!(of(4).err().map(|refused| refused.status), Some(StatusCode::MESSAGE_TOO_LARGE));
    }

    #[test]
    fn lines_without_colon_or_name_are_refused() {
        for bad in ["Foobar roobar\r\n", ": x\r\n", "A B: x\r\n", "É: x\r\n", "A: b"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
