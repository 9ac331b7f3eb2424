//! Identifiers that no peer can guess (RFC 6120 s.4.7.3).

use std::fmt::Write;

use hmac::digest::Key;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// 128 bits, in hexadecimal digits twice as many.
const IDENTIFIER_BYTES: usize = 16;

/// Makes identifiers out of one random seed: stream IDs, and the ids of our own requests.
pub(crate) struct Identifiers {
    keyed: Hmac<Sha256>,
    made: u64,
}

impl Identifiers {
    /// `seed` must be random and used for one stream only.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let mut key = Key::<Hmac<Sha256>>::default();
        for (byte, seed_byte) in key.iter_mut().zip(seed) {
            *byte = seed_byte;
        }
        Self { keyed: Hmac::new(&key), made: 0 }
    }

    /// An identifier that was not made before.
    pub(crate) fn next(&mut self) -> String {
        self.made += 1;
        let mut keyed = self.keyed.clone();
        keyed.update(&self.made.to_be_bytes());
        let bytes = keyed.finalize().into_bytes();
        hex(bytes.iter().take(IDENTIFIER_BYTES))
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> String {
    bytes.into_iter().fold(String::new(), |mut digits, byte| {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn identifiers_are_128_bits_and_never_repeat() {
        let mut identifiers = Identifiers::new([7; 32]);
        let made: BTreeSet<String> = (0..10_000).map(|_| identifiers.next()).collect();

        assert_eq!(made.len(), 10_000);
        assert!(made.iter().all(|identifier| identifier.len() == 32));
    }

    #[test]
    fn another_seed_makes_other_identifiers() {
        assert_ne!(Identifiers::new([1; 32]).next(), Identifiers::new([2; 32]).next());
    }
}
