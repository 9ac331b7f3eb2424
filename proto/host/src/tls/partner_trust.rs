//! What one partner is trusted by besides our authorities: its own ones, and the keys it has.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::CertificateDer;

use super::trust::{NoAuthority, TrustAnchors};

/// The SHA-256 digest of a public key with its algorithm (SubjectPublicKeyInfo), as RFC 7469 s.2.4
/// has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPin(pub [u8; 32]);

/// Text that is no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not `sha256:` with 32 bytes in hexadecimal or base64")]
pub struct NoPin;

impl FromStr for KeyPin {
    type Err = NoPin;

    fn from_str(text: &str) -> Result<Self, NoPin> {
        let digest = text.strip_prefix("sha256:").ok_or(NoPin)?;
        let bytes = match hexadecimal(digest) {
            Some(bytes) => bytes,
            None => BASE64.decode(digest).map_err(|_| NoPin)?,
        };
        bytes.try_into().map(Self).map_err(|_| NoPin)
    }
}

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", BASE64.encode(self.0))
    }
}

/// Reads 64 digits, with or without colons between bytes; base64 of 32 bytes has 44 characters.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks_exact(2).map(pair).collect()
}

/// What one partner is trusted by besides our authorities; by default nothing.
///
/// With pins, the peer's key must be one of them, and needs no authority above it: the certificate
/// may be self-signed. Its names, dates and usage count all the same.
#[derive(Clone, Debug, Default)]
pub struct PartnerTrust {
    pub(super) anchors: TrustAnchors,
    pub(super) pins: Vec<KeyPin>,
}

impl PartnerTrust {
    /// Takes authorities by their certificates, and pins.
    ///
    /// # Errors
    /// Fails when one of the certificates is none.
    pub fn new<'a>(
        certificates: impl IntoIterator<Item = &'a [u8]>,
        pins: Vec<KeyPin>,
    ) -> Result<Self, NoAuthority> {
        let mut anchors = TrustAnchors::default();
        let mut certificates = certificates.into_iter().map(CertificateDer::from);
        certificates.try_for_each(|certificate| anchors.add(&certificate))?;
        Ok(Self { anchors, pins })
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyPin, NoPin};

    #[test]
    fn a_pin_is_read_in_hexadecimal_and_in_base64() {
        let pin = KeyPin([0xab; 32]);
        let base64 = "sha256:q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=";
        assert_eq!(base64.parse(), Ok(pin));
        assert_eq!(format!("sha256:{}", "aB".repeat(32)).parse(), Ok(pin));
        assert_eq!(format!("sha256:{}", ["ab"; 32].join(":")).parse(), Ok(pin));
        assert_eq!(pin.to_string(), base64);
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        for text in ["", "sha256:", "sha256:abcd", "sha1:q6urq6urq6urq6urq6urq6urq6s=", "q6ur"] {
            assert_eq!(text.parse::<KeyPin>(), Err(NoPin), "{text}");
        }
        assert_eq!(format!("sha256:{}", "+b".repeat(32)).parse::<KeyPin>(), Err(NoPin));
    }
}
