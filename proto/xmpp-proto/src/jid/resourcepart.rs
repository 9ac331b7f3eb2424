//! The resourcepart (RFC 7622 s.3.4): the profile OpaqueString of RFC 8265.
//!
//! It is kept as its own server wrote it but for its spaces. Normalization Form C is left to that
//! server: the resourcepart is opaque to us, and only octets that come back unchanged find their
//! way.

use std::borrow::Cow;

use crate::jid::{JidError, UNPREPARED_BYTES_MAX, bounded};

/// Prepares a resourcepart.
pub(super) fn prepare(text: &str) -> Result<Cow<'_, str>, JidError> {
    let malformed = JidError::Resourcepart;
    if text.len() > UNPREPARED_BYTES_MAX {
        return Err(malformed);
    }
    let prepared = if text.bytes().all(is_plain) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(prepare_unicode(text).ok_or(malformed)?)
    };
    // RFC 7622 s.3.5, example 18.
    if prepared.starts_with(' ') {
        return Err(malformed);
    }
    bounded(prepared, malformed)
}

/// What is allowed of ASCII, none of which preparation changes.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

fn prepare_unicode(text: &str) -> Option<String> {
    text.chars().map(|character| is_allowed(character).then(|| plain_space(character))).collect()
}

/// RFC 8265 s.4.2.2: every other space becomes U+0020.
const fn plain_space(character: char) -> char {
    match character {
        '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => {
            ' '
        }
        _ => character,
    }
}

/// RFC 8264 s.4.3: the FreeformClass, as far as its exclusions do not depend on a version of
/// Unicode.
///
/// Of the ignorable code points, the joiners and the variation selectors stay: names that people
/// choose in chat rooms hold emoji made with them.
const fn is_allowed(character: char) -> bool {
    !matches!(character,
        // Controls, line and paragraph separators.
        '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}' | '\u{2028}' | '\u{2029}'
        // Old Hangul Jamo.
        | '\u{1100}'..='\u{11FF}' | '\u{A960}'..='\u{A97C}' | '\u{D7B0}'..='\u{D7FB}'
        // Direction and format controls.
        | '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}'
        | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
        // Private use.
        | '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}'
        // Tags, and code points that are no characters.
        | '\u{E0000}'..='\u{E0FFF}' | '\u{FDD0}'..='\u{FDEF}')
        && character as u32 & 0xFFFE != 0xFFFE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn plain_text_is_what_preparation_makes_of_it(text in "[ -~]{0,24}|[\\x00-\\x7F]{0,3}") {
            let plain = text.bytes().all(is_plain).then(|| text.clone());
            prop_assert_eq!(plain, prepare_unicode(&text));
        }
    }
}
