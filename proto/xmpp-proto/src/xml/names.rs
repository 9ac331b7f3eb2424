//! The characters and names of XML 1.0 (fifth edition) and Namespaces in XML 1.0.

use std::borrow::Cow;

/// The first byte of U+FFFE and U+FFFF, and of 4094 others.
const NON_CHARACTER_LEAD: u8 = 0xEF;

/// Bytes of a text that are looked at side by side.
const PIECE_BYTES: usize = 128;

/// Whether `byte` is white space (XML s.2.3, production S).
pub(crate) const fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether `character` may stand in a document (XML s.2.2, production Char).
pub(crate) const fn is_xml_character(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => true,
        '\0'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => false,
        _ => true,
    }
}

/// Whether every character of `text` may stand in a document.
pub(crate) fn is_xml_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Without an early end within a piece, so that its bytes are looked at side by side.
    let has_unusual = |piece: &[u8]| piece.iter().fold(false, |has, &byte| has | is_unusual(byte));
    if !bytes.chunks(PIECE_BYTES).any(has_unusual) {
        return true;
    }
    // U+FFFE and U+FFFF are EF BF BE and EF BF BF.
    let is_no_character = |at| matches!(bytes.get(at..at + 3), Some([0xEF, 0xBF, 0xBE | 0xBF]));
    !bytes
        .iter()
        .enumerate()
        .any(|(at, &byte)| is_unusual(byte) && (byte != NON_CHARACTER_LEAD || is_no_character(at)))
}

/// Whether `byte` is a control character, or may begin a code point that is no character.
const fn is_unusual(byte: u8) -> bool {
    (byte < 0x20 && !is_white_space(byte)) || byte == NON_CHARACTER_LEAD
}

/// `text` with U+FFFD in the place of each character that XML 1.0 cannot carry.
pub(crate) fn carried(text: &str) -> Cow<'_, str> {
    if is_xml_text(text) {
        return Cow::Borrowed(text);
    }
    let replaced = |character| {
        if is_xml_character(character) { character } else { char::REPLACEMENT_CHARACTER }
    };
    Cow::Owned(text.chars().map(replaced).collect())
}

/// One of the NCNames that most stanzas are made of.
fn known(name: &str) -> Option<&'static str> {
    macro_rules! one_of {
        ($($known:literal)*) => {
            match name {
                $($known => Some($known),)*
                _ => None,
            }
        };
    }
    one_of! {
        "message" "presence" "iq" "body" "subject" "thread" "error" "text" "show" "status" "priority"
        "from" "to" "id" "type" "lang" "xmlns" "by" "stamp" "h"
        "active" "composing" "paused" "inactive" "gone"
        "request" "received" "delay" "origin-id" "stanza-id" "markable" "displayed" "store"
        "c" "hash" "node" "ver" "x" "query" "ping" "r" "a" "result" "verify" "html" "p"
    }
}

/// A name to keep, without a copy where it is known.
pub(crate) fn kept(name: &str) -> Cow<'static, str> {
    known(name).map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed)
}

/// Whether `name` is an NCName (Namespaces in XML s.3).
pub(crate) fn is_ncname(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let mut characters = name.chars();
    known(name).is_some()
        || characters.next().is_some_and(is_ncname_start)
            && (name.bytes().all(plain) || characters.all(is_ncname_character))
}

/// A qualified name taken apart: its prefix, if it has one, and its local part.
///
/// `None` where `name` is not a QName (Namespaces in XML s.4).
pub(crate) fn split_qname(name: &str) -> Option<(Option<&str>, &str)> {
    if known(name).is_some() {
        return Some((None, name));
    }
    match name.bytes().position(|byte| byte == b':') {
        None => is_ncname(name).then_some((None, name)),
        Some(colon) => {
            let (prefix, local) = (name.get(..colon)?, name.get(colon + 1..)?);
            (is_ncname(prefix) && is_ncname(local)).then_some((Some(prefix), local))
        }
    }
}

/// Production NameStartChar (XML s.2.3) without the colon.
///
/// U+FDF0 to U+FFFD are left out: parsers disagree about them, and a name that a partner's parser
/// refuses would end the stream that we write it to.
const fn is_ncname_start(character: char) -> bool {
    matches!(character,
        'A'..='Z' | '_' | 'a'..='z'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}'
        | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}'
        | '\u{2070}'..='\u{218F}' | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}'
        | '\u{F900}'..='\u{FDCF}' | '\u{10000}'..='\u{EFFFF}')
}

const fn is_ncname_character(character: char) -> bool {
    is_ncname_start(character)
        || matches!(character,
            '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_non_characters_are_not_text() {
        for text in ["\0", "a\u{1}", "\u{B}", "\u{1B}[31m", "a\u{FFFE}", "\u{FFFF}"] {
            assert!(!is_xml_text(text), "{text:?}");
        }
        for text in ["", "\t\r\n", "\u{7F}\u{85}\u{2028}", "\u{FFFD}\u{FDD0}", "\u{10FFFF}"] {
            assert!(is_xml_text(text), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_carried_is_replaced() {
        assert_eq!(carried("a\0b\u{FFFF}c"), "a\u{FFFD}b\u{FFFD}c");
        assert!(matches!(carried("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn texts_are_looked_at_to_their_end() {
        for length in [0, 1, PIECE_BYTES - 2, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES] {
            let text = "\u{FFFD}".repeat(2) + &"a".repeat(length);
            assert!(is_xml_text(&text));
            assert!(!is_xml_text(&(text.clone() + "\u{1F}")), "{length}");
            assert!(!is_xml_text(&(text + "\u{FFFE}")), "{length}");
        }
    }

    #[test]
    fn qualified_names_have_at_most_one_colon_and_two_names() {
        assert_eq!(split_qname("stream:stream"), Some((Some("stream"), "stream")));
        assert_eq!(split_qname("body"), Some((None, "body")));
        for name in ["", ":a", "a:", "a:b:c", "1m", "m!", "m\0", "a\u{A0}", "a:1", "-a"] {
            assert_eq!(split_qname(name), None, "{name:?}");
        }
    }
}
