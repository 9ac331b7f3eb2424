//! Sets of ASCII characters that the grammar names, tested by one shift.

/// A set of ASCII characters.
#[derive(Clone, Copy)]
pub(crate) struct ByteSet {
    /// The characters below `@`, a bit for each.
    low: u64,
    /// The others.
    high: u64,
}

const NONE: ByteSet = ByteSet { low: 0, high: 0 };

/// Letters and digits.
const ALPHANUM: ByteSet = NONE
    .with(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    .with(b"abcdefghijklmnopqrstuvwxyz")
    .with(b"0123456789");

/// RFC 3261 s.25.1: `token`.
pub(crate) const TOKEN: ByteSet = ALPHANUM.with(b"-.!%*_+`'~");

/// RFC 3261 s.25.1: `word`.
pub(crate) const WORD: ByteSet = TOKEN.with(b"()<>:\\\"/[]?{}");

/// RFC 3261 s.25.1: `token` or `host`, of which a parameter value is made.
pub(crate) const TOKEN_OR_HOST: ByteSet = TOKEN.with(b"[]:");

/// RFC 3261 s.25.1: `unreserved`.
pub(crate) const UNRESERVED: ByteSet = ALPHANUM.with(b"-_.!~*'()");

/// RFC 3261 s.25.1: `password` without its escapes.
pub(crate) const PASSWORD: ByteSet = UNRESERVED.with(b"&=+$,");

/// RFC 3261 s.25.1: `user` without its escapes.
pub(crate) const USER: ByteSet = PASSWORD.with(b";?/");

/// RFC 3261 s.25.1: `paramchar` without its escapes.
pub(crate) const URI_PARAMETER: ByteSet = UNRESERVED.with(b"[]/:&+$");

/// RFC 3261 s.25.1: `hname` and `hvalue` without their escapes.
pub(crate) const URI_HEADER: ByteSet = UNRESERVED.with(b"[]/?:+$");

/// RFC 3261 s.25.1: `reserved`.
pub(crate) const RESERVED: ByteSet = NONE.with(b";/?:@&=+$,");

/// What the label of a host name is made of. Underscores are outside of the grammar but common in
/// names of private networks; they delimit nothing, so that taking them is safe.
pub(crate) const LABEL: ByteSet = ALPHANUM.with(b"-_");

/// RFC 3261 s.25.1: `scheme`.
pub(crate) const SCHEME: ByteSet = ALPHANUM.with(b"+-.");

impl ByteSet {
    const fn with(mut self, characters: &[u8]) -> Self {
        let mut left = characters;
        while let Some((first, rest)) = left.split_first() {
            let bit = 1 << (*first & 0x3f);
            if *first & 0x40 == 0 {
                self.low |= bit;
            } else {
                self.high |= bit;
            }
            left = rest;
        }
        self
    }

    pub(crate) const fn contains(self, byte: u8) -> bool {
        let half = if byte & 0x40 == 0 { self.low } else { self.high };
        byte.is_ascii() && (half >> (byte & 0x3f)) & 1 == 1
    }

    /// Says whether text consists of characters of the set alone.
    pub(crate) fn contains_all(self, text: &str) -> bool {
        text.bytes().all(|byte| self.contains(byte))
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
