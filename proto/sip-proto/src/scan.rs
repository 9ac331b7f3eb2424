//! Reads one unfolded header field value from left to right by the RFC 3261 s.25.1 grammar.

use std::borrow::Cow;

use crate::byte_set::{ByteSet, TOKEN};
use crate::error::Malformed;
use crate::limits::COMMENT_DEPTH_MAX;

/// A cursor over text in which every delimiter is ASCII.
#[derive(Clone, Copy)]
pub(crate) struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    pub(crate) fn rest(&self) -> &'a str {
        self.rest
    }

    pub(crate) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    pub(crate) fn skip_lws(&mut self) {
        while let Some(b' ' | b'\t') = self.peek() {
            self.advance(1);
        }
    }

    /// Takes `delimiter` with the whitespace around it; false when something else stands there.
    pub(crate) fn eat(&mut self, delimiter: u8) -> bool {
        self.skip_lws();
        let found = self.eat_exactly(delimiter);
        if found {
            self.skip_lws();
        }
        found
    }

    /// Takes `delimiter` without the whitespace around it.
    pub(crate) fn eat_exactly(&mut self, delimiter: u8) -> bool {
        let found = self.peek() == Some(delimiter);
        if found {
            self.advance(1);
        }
        found
    }

    pub(crate) fn expect(&mut self, delimiter: u8, problem: &'static str) -> Result<(), Malformed> {
        if self.eat(delimiter) { Ok(()) } else { Err(Malformed(problem)) }
    }

    /// Requires that nothing but whitespace is left.
    pub(crate) fn finish(mut self) -> Result<(), Malformed> {
        self.skip_lws();
        if self.is_done() { Ok(()) } else { Err(Malformed("text after the value")) }
    }

    pub(crate) fn take_while(&mut self, accepts: impl Fn(u8) -> bool) -> &'a str {
        let length = length_while(self.rest, accepts);
        self.advance(length)
    }

    pub(crate) fn take_all_of(&mut self, set: &ByteSet) -> &'a str {
        self.take_while(|byte| set.contains(byte))
    }

    pub(crate) fn token(&mut self) -> Result<&'a str, Malformed> {
        let token = self.take_all_of(&TOKEN);
        if token.is_empty() { Err(Malformed("a token is missing")) } else { Ok(token) }
    }

    /// Takes a quoted string and returns it with its quotes and escapes.
    pub(crate) fn quoted(&mut self) -> Result<&'a str, Malformed> {
        let inner = self.rest.strip_prefix('"').ok_or(Malformed("a quoted string is missing"))?;
        let mut escaped = false;
        for (index, byte) in inner.bytes().enumerate() {
            match byte {
                // RFC 3261 s.25.1: quoted-pair covers ASCII only.
                _ if escaped && !byte.is_ascii() => {
                    return Err(Malformed("a backslash escapes a non-ASCII character"));
                }
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return Ok(self.advance(index + 2)),
                _ => {}
            }
        }
        Err(Malformed("a quoted string is not closed"))
    }

    /// Skips a parenthesised comment, which may nest.
    pub(crate) fn skip_comment(&mut self) -> Result<(), Malformed> {
        let mut depth = 0;
        let mut escaped = false;
        for (index, byte) in self.rest.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'(' if depth < COMMENT_DEPTH_MAX => depth += 1,
                b')' if depth > 1 => depth -= 1,
                b')' if depth == 1 => {
                    self.advance(index + 1);
                    return Ok(());
                }
                _ if depth == 0 => break,
                b'(' => break,
                _ => {}
            }
        }
        Err(Malformed("a comment is not closed"))
    }

    fn advance(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }
}

/// Returns how many bytes text begins with that are accepted. A loop of its own, which counts
/// nothing, since reading a message is little else.
pub(crate) fn length_while(text: &str, accepts: impl Fn(u8) -> bool) -> usize {
    let mut left = text.as_bytes().iter();
    while left.as_slice().first().is_some_and(|byte| accepts(*byte)) {
        left.next();
    }
    text.len() - left.len()
}

/// Splits text at the first `delimiter`. The texts are short, so that a plain loop is faster than a
/// search that is prepared for long ones.
pub(crate) fn split_at_byte(text: &str, delimiter: u8) -> Option<(&str, &str)> {
    let (before, rest) = text.split_at_checked(length_while(text, |byte| byte != delimiter))?;
    rest.split_at_checked(1).map(|(_, after)| (before, after))
}

/// Returns text without the spaces and tabs that end it.
pub(crate) fn trim_lws_end(text: &str) -> &str {
    let mut kept = text;
    while let Some(b' ' | b'\t') = kept.as_bytes().last() {
        kept = kept.get(..kept.len() - 1).unwrap_or_default();
    }
    kept
}

/// Says whether text is one token.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && TOKEN.contains_all(text)
}

/// Says whether a byte is a control character other than HTAB.
pub(crate) fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// Says whether text has control characters other than HTAB. It is read to its end in any case,
/// many bytes at a time, which takes a fraction of the time of a search that stops at the first.
pub(crate) fn has_controls(text: &str) -> bool {
    text.bytes().fold(false, |found, byte| found | is_control(byte))
}

/// Removes the quotes and escapes of a quoted string; other text is returned as it is.
pub(crate) fn unquote(raw: &str) -> Cow<'_, str> {
    let Some(inner) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(raw);
    };
    if !inner.bytes().any(|byte| byte == b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        let literal = if character == '\\' { characters.next() } else { Some(character) };
        text.extend(literal);
    }
    Cow::Owned(text)
}

/// Appends text as a quoted string; control characters are left out.
pub(crate) fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    if text.bytes().all(|byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~')) {
        out.push_str(text);
        out.push('"');
        return;
    }
    for character in text.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

/// Appends a decimal number.
pub(crate) fn push_number(out: &mut String, number: u64) {
    let mut digits = [b'0'; 20];
    let mut left = number;
    let mut start = digits.len();
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (left % 10) as u8;
        left /= 10;
        start -= 1;
        if left == 0 {
            break;
        }
    }
    let digits = digits.get(start..).unwrap_or_default();
    out.push_str(std::str::from_utf8(digits).unwrap_or_default());
}

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hexadecimal(&mut text, bytes);
    text
}

/// Appends bytes as lower-case hexadecimal digits.
pub(crate) fn push_hexadecimal(out: &mut String, bytes: &[u8]) {
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' - 10 + half };
    for byte in bytes {
        out.push(char::from(digit(byte >> 4)));
        out.push(char::from(digit(byte & 0xf)));
    }
}

/// What a run of digits says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decimal {
    /// A number that 32 bits can hold.
    Fits(u32),
    /// Digits only, but more than 32 bits can hold.
    Overlarge,
}

/// Reads `1*DIGIT` without sign, space or wrap-around.
pub(crate) fn decimal(text: &str) -> Result<Decimal, Malformed> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed("not a decimal number"));
    }
    Ok(text.parse().map_or(Decimal::Overlarge, Decimal::Fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_string_ends_at_the_first_quote_that_is_not_escaped() {
        let mut scanner = Scanner::new(r#""a \" b\\" rest"#);
        assert_eq!(scanner.quoted(), Ok(r#""a \" b\\""#));
        assert_eq!(scanner.rest(), " rest");
        assert!(Scanner::new(r#""a \""#).quoted().is_err());
        assert!(Scanner::new("a\"b\"").quoted().is_err());
        assert!(Scanner::new("\"\\é\"").quoted().is_err());
    }

    #[test]
    fn unquote_undoes_push_quoted() {
        for text in ["", "plain", "a \"b\" c", "back\\slash", "Žluťoučký"] {
            let mut quoted = String::new();
            push_quoted(&mut quoted, text);
            assert_eq!(unquote(&quoted), text);
        }
    }

    #[test]
    fn quoting_leaves_out_line_ends_and_nul() {
        let mut quoted = String::new();
        push_quoted(&mut quoted, "a\r\nb\0c\u{85}");
        assert_eq!(quoted, "\"abc\"");
    }

    #[test]
    fn comments_nest_up_to_the_limit() {
        let mut scanner = Scanner::new("(a (b \\) ) c) rest");
        assert_eq!(scanner.skip_comment(), Ok(()));
        assert_eq!(scanner.rest(), " rest");
        let deep = "(".repeat(COMMENT_DEPTH_MAX) + &")".repeat(COMMENT_DEPTH_MAX);
        assert!(Scanner::new(&deep).skip_comment().is_ok());
        assert!(Scanner::new(&format!("({deep})")).skip_comment().is_err());
        assert!(Scanner::new("(a").skip_comment().is_err());
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 7, 10, 65_535, u64::from(u32::MAX), u64::MAX] {
            let mut out = String::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }

    #[test]
    fn decimal_refuses_signs_and_never_wraps() {
        assert_eq!(decimal("0009"), Ok(Decimal::Fits(9)));
        assert_eq!(decimal("4294967295"), Ok(Decimal::Fits(u32::MAX)));
        assert_eq!(decimal("4294967296"), Ok(Decimal::Overlarge));
        assert_eq!(decimal(&"9".repeat(100)), Ok(Decimal::Overlarge));
        for bad in ["", "-1", "+1", "0x10", "5 5", "１"] {
            assert!(decimal(bad).is_err(), "{bad}");
        }
    }
}
