//! Percent encoding of the parts of a URI (RFC 3261 s.19.1.2 and s.25.1).

use std::borrow::Cow;

use compact_str::CompactString;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::byte_set::{ByteSet, RESERVED};
use crate::error::Malformed;

/// `unreserved` less the letters and digits.
const MARKS_ONLY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// What is escaped in a user part: all but `unreserved` and `user-unreserved`.
const USER: &AsciiSet = &MARKS_ONLY
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'$')
    .remove(b',')
    .remove(b';')
    .remove(b'?')
    .remove(b'/');

/// What is escaped in a URI parameter: all but `paramchar`.
const PARAMETER: &AsciiSet = &MARKS_ONLY
    .remove(b'[')
    .remove(b']')
    .remove(b'/')
    .remove(b':')
    .remove(b'&')
    .remove(b'+')
    .remove(b'$');

/// Encodes text as a user part.
pub(crate) fn encode_user(text: &str) -> CompactString {
    utf8_percent_encode(text, USER).collect()
}

/// Encodes text as the value of a URI parameter.
pub(crate) fn encode_parameter(text: &str) -> String {
    utf8_percent_encode(text, PARAMETER).to_string()
}

/// Decodes every `%HH` exactly once.
pub(crate) fn decode(text: &str) -> Result<Cow<'_, str>, Malformed> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    check_escapes(text)?;
    percent_decode_str(text).decode_utf8().map_err(|_| Malformed("escaped octets are not UTF-8"))
}

/// Requires two hexadecimal digits after every `%`.
pub(super) fn check_escapes(text: &str) -> Result<(), Malformed> {
    for after in text.split('%').skip(1) {
        if !after
            .as_bytes()
            .first_chunk::<2>()
            .is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
        {
            return Err(Malformed("a percent sign is not followed by two hexadecimal digits"));
        }
    }
    Ok(())
}

/// Requires that text consists of accepted characters and valid escapes.
pub(super) fn check_part(
    text: &str,
    accepted: &ByteSet,
    problem: &'static str,
) -> Result<(), Malformed> {
    if accepted.contains_all(text) {
        return Ok(());
    }
    if text.bytes().all(|byte| byte == b'%' || accepted.contains(byte)) {
        check_escapes(text)
    } else {
        Err(Malformed(problem))
    }
}

/// One octet of a part with the difference that RFC 3261 s.19.1.4 makes: an escaped reserved
/// character is not the same as the bare one; every other escape is.
pub(super) fn comparable(text: &str) -> impl Iterator<Item = (bool, u8)> {
    let mut bytes = text.bytes();
    std::iter::from_fn(move || {
        let byte = bytes.next()?;
        if byte != b'%' {
            return Some((false, byte));
        }
        let octet = hexadecimal(bytes.next()?)? << 4 | hexadecimal(bytes.next()?)?;
        Some((RESERVED.contains(octet), octet))
    })
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_exactly_once() {
        assert_eq!(decode("v%61lue%25%34%31").unwrap(), "value%41");
        assert_eq!(decode("null-%00-null").unwrap(), "null-\0-null");
    }

    #[test]
    fn refuses_broken_escapes_and_octets_that_are_not_utf8() {
        for bad in ["%", "a%4", "%zz", "%C3%28", "%ff"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let text: String = (0..=0x2ff).filter_map(char::from_u32).collect();
        assert_eq!(decode(&encode_user(&text)).unwrap(), text);
        assert_eq!(decode(&encode_parameter(&text)).unwrap(), text);
    }

    #[test]
    fn encodes_what_the_grammar_of_each_part_does_not_allow() {
        assert_eq!(encode_user("a#b%c[d]^e`f{g|h}"), "a%23b%25c%5Bd%5D%5Ee%60f%7Bg%7Ch%7D");
        assert_eq!(encode_user("(a),b;c=?$+!~*.-_"), "(a),b;c=?$+!~*.-_");
        assert_eq!(encode_parameter("a;b=c?d>e"), "a%3Bb%3Dc%3Fd%3Ee");
        assert_eq!(encode_parameter("a bü"), "a%20b%C3%BC");
    }
}
