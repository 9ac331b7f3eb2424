//! Sets of ASCII characters that the grammar names, tested by one look into a table.

use crate::scan::length_while;

/// A set of ASCII characters.
pub(crate) struct ByteSet {
    members: [bool; 256],
}

const NONE: ByteSet = ByteSet { members: [false; 256] };

/// Letters and digits.
const ALPHANUM: ByteSet = NONE
    .with(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    .with(b"abcdefghijklmnopqrstuvwxyz")
    .with(b"0123456789");

/// RFC 3261 s.25.1: `token`.
pub(crate) static TOKEN: ByteSet = ALPHANUM.with(b"-.!%*_+`'~");

/// RFC 3261 s.25.1: `word`.
pub(crate) static WORD: ByteSet = TOKEN.with(b"()<>:\\\"/[]?{}");

/// RFC 3261 s.25.1: `token` or `host`, of which a parameter value is made.
pub(crate) static TOKEN_OR_HOST: ByteSet = TOKEN.with(b"[]:");

/// RFC 3261 s.25.1: `unreserved`.
pub(crate) static UNRESERVED: ByteSet = ALPHANUM.with(b"-_.!~*'()");

/// RFC 3261 s.25.1: `password` without its escapes.
pub(crate) static PASSWORD: ByteSet = UNRESERVED.with(b"&=+$,");

/// RFC 3261 s.25.1: `user` without its escapes.
pub(crate) static USER: ByteSet = PASSWORD.with(b";?/");

/// RFC 3261 s.25.1: `paramchar` without its escapes.
pub(crate) static URI_PARAMETER: ByteSet = UNRESERVED.with(b"[]/:&+$");

/// RFC 3261 s.25.1: `hname` and `hvalue` without their escapes.
pub(crate) static URI_HEADER: ByteSet = UNRESERVED.with(b"[]/?:+$");

/// RFC 3261 s.25.1: `reserved`.
pub(crate) static RESERVED: ByteSet = NONE.with(b";/?:@&=+$,");

/// What the label of a host name is made of. Underscores are outside of the grammar but common in
/// names of private networks; they delimit nothing, so that taking them is safe.
pub(crate) static LABEL: ByteSet = ALPHANUM.with(b"-_");

/// RFC 3261 s.25.1: `scheme`.
pub(crate) static SCHEME: ByteSet = ALPHANUM.with(b"+-.");

#[expect(clippy::indexing_slicing, reason = "the table has an entry for every byte")]
impl ByteSet {
    const fn with(&self, characters: &[u8]) -> Self {
        let mut members = self.members;
        let mut left = characters;
        while let Some((first, rest)) = left.split_first() {
            members[*first as usize] = true;
            left = rest;
        }
        Self { members }
    }

    pub(crate) const fn contains(&self, byte: u8) -> bool {
        self.members[byte as usize]
    }

    /// Says whether text consists of characters of the set alone.
    pub(crate) fn contains_all(&self, text: &str) -> bool {
        length_while(text, |byte| self.contains(byte)) == text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_it_was_made_of_and_nothing_else() {
        let expected = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
        for byte in 0..=255 {
            assert_eq!(TOKEN.contains(byte), expected(byte), "{byte}");
        }
        assert!(
            TOKEN.contains_all("a-B") && !TOKEN.contains_all("a b") && !TOKEN.contains_all("é")
        );
    }
}
