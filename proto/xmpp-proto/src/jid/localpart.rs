//! The localpart (RFC 7622 s.3.3): the profile UsernameCaseMapped of RFC 8265.

use std::borrow::Cow;

use jid::{NodePart, ResourcePart};

use crate::jid::{JidError, UNPREPARED_BYTES_MAX, bounded};

/// Prepares a localpart.
pub(super) fn prepare(text: &str) -> Result<Cow<'_, str>, JidError> {
    let malformed = JidError::Localpart;
    if text.len() > UNPREPARED_BYTES_MAX {
        return Err(malformed);
    }
    let prepared = if text.is_ascii() {
        if !text.bytes().all(is_allowed) {
            return Err(malformed);
        }
        match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(text.to_ascii_lowercase()),
            false => Cow::Borrowed(text),
        }
    } else {
        Cow::Owned(prepare_unicode(text).ok_or(malformed)?)
    };
    // XEP-0106 s.4.1: an escaped space neither begins nor ends a localpart.
    if let [b'\\', b'2', b'0', ..] | [.., b'\\', b'2', b'0'] = prepared.as_bytes() {
        return Err(malformed);
    }
    bounded(prepared, malformed)
}

/// RFC 7622 s.3.3.1: what a localpart may hold of ASCII.
const fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@')
}

/// RFC 8265 s.3.3: width mapping, the IdentifierClass, case mapping, normalization, direction.
fn prepare_unicode(text: &str) -> Option<String> {
    let mut mapped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            character if character.is_ascii() => mapped.push(character),
            '\u{FF01}'..='\u{FFEE}' => mapped.push_str(&compatibility_form(character)?),
            character if is_symbol(character) => return None,
            character => {
                // RFC 8264 s.9.17: no character with a compatibility equivalent.
                let mut itself = [0; 4];
                if compatibility_form(character)? != *character.encode_utf8(&mut itself) {
                    return None;
                }
                mapped.push(character);
            }
        }
    }
    let lower: String = mapped.chars().flat_map(char::to_lowercase).collect();
    // Nodeprep prohibits at least what the profile does, and checks the direction; what it would
    // fold further, such as U+00DF, stays.
    NodePart::new(&lower).ok()?;
    // Without compatibility characters this is Normalization Form C.
    let normalized = ResourcePart::new(&lower).ok()?.into_owned().into_inner();
    (normalized.bytes().all(|byte| !byte.is_ascii() || is_allowed(byte))).then_some(normalized)
}

/// Normalization Form KC of one character, which resourceprep applies.
fn compatibility_form(character: char) -> Option<String> {
    let mut itself = [0; 4];
    let form = ResourcePart::new(character.encode_utf8(&mut itself)).ok()?;
    Some(form.into_owned().into_inner())
}

/// RFC 8264 s.4.2.3: symbols and punctuation are no part of an identifier.
///
/// The blocks that hold nothing else; letters and digits in them are identifiers all the same.
fn is_symbol(character: char) -> bool {
    let in_block = matches!(character,
        '\u{A1}'..='\u{BF}' | '\u{D7}' | '\u{F7}' | '\u{2000}'..='\u{2BFF}'
        | '\u{2E00}'..='\u{2E7F}' | '\u{3000}'..='\u{303F}' | '\u{1F000}'..='\u{1FAFF}');
    in_block && !character.is_alphanumeric()
}
