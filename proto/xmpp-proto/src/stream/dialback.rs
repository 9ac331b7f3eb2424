//! Server Dialback (XEP-0220): keys, and the elements of the four steps.

use std::fmt;

use hmac::digest::Key;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::jid::Domain;
use crate::ns;
use crate::stanza::error::{StanzaCondition, StanzaError};
use crate::stream::identifier::hex;
use crate::xml::Element;

/// Octets of a key that is worth a question to its authoritative server.
pub(crate) const KEY_BYTES_MAX: usize = 1024;

/// One secret behind our dialback keys, shared by all that answer for our domains.
///
/// `Debug` does not show it.
#[derive(Clone)]
pub struct DialbackSecret {
    keyed: Hmac<Sha256>,
}

impl DialbackSecret {
    /// Takes the secret of the configuration, of any length.
    pub fn new(secret: &[u8]) -> Self {
        // XEP-0185 s.2: the HMAC key is the hash of the secret in hexadecimal digits, which fill
        // its block exactly.
        let digits = hex(&Sha256::digest(secret));
        let mut key = Key::<Hmac<Sha256>>::default();
        for (byte, digit) in key.iter_mut().zip(digits.bytes()) {
            *byte = digit;
        }
        Self { keyed: Hmac::new(&key) }
    }

    fn key(&self, receiving: &Domain, originating: &Domain, stream_id: &str) -> String {
        let mut keyed = self.keyed.clone();
        let parts = [receiving.as_str(), " ", originating.as_str(), " ", stream_id];
        for part in parts {
            keyed.update(part.as_bytes());
        }
        hex(&keyed.finalize().into_bytes())
    }
}

impl fmt::Debug for DialbackSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DialbackSecret")
    }
}

/// The secrets in use: keys are made with the current one; while secrets rotate, keys of the
/// previous one, or already of the next one, are good too.
///
/// Without a secret no key is made, and none is valid.
#[derive(Clone, Debug, Default)]
pub struct DialbackSecrets {
    /// The secret that keys are made with.
    pub current: Option<DialbackSecret>,
    /// The secret that keys were made with until a moment ago, or soon will be.
    pub previous: Option<DialbackSecret>,
}

impl DialbackSecrets {
    /// Makes the key that proves to `receiving` that `originating` is ours (XEP-0185 s.2).
    ///
    /// `stream_id` is that of the response header of `receiving`.
    pub fn key(&self, receiving: &Domain, originating: &Domain, stream_id: &str) -> Option<String> {
        Some(self.current.as_ref()?.key(receiving, originating, stream_id))
    }

    /// Whether the key is one of ours, found in a time that does not tell how wrong it is.
    pub fn is_valid(
        &self,
        key: &str,
        receiving: &Domain,
        originating: &Domain,
        stream_id: &str,
    ) -> bool {
        [&self.current, &self.previous].into_iter().flatten().any(|secret| {
            let expected = secret.key(receiving, originating, stream_id);
            expected.as_bytes().ct_eq(key.as_bytes()).into()
        })
    }
}

/// A domain of ours and a domain of the peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainPair {
    /// The domain of ours.
    pub local: Domain,
    /// The domain of the peer.
    pub remote: Domain,
}

/// A key of a peer, to be verified by the authoritative server of `pair.remote`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyRequest {
    /// The domain that the key was sent to, and the one that it is to prove.
    pub pair: DomainPair,
    /// The ID of the stream that the key came on.
    pub stream_id: String,
    /// The key.
    pub key: String,
}

/// What the verification of a key came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The key is of the domain.
    Valid,
    /// The key is forged.
    Invalid,
    /// The question could not be settled (XEP-0220 s.2.5).
    Error(StanzaCondition),
}

/// Which of the two dialback elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `<db:result/>`: asks to be authorised, and answers that.
    Result,
    /// `<db:verify/>`: asks whether a key is good, and answers that.
    Verify,
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Verify => "verify",
        }
    }
}

/// A dialback element with its addresses prepared.
pub(crate) struct DialbackElement {
    pub(crate) step: Step,
    pub(crate) from: Domain,
    pub(crate) to: Domain,
    pub(crate) id: Option<String>,
    pub(crate) content: Content,
}

/// What a dialback element says.
pub(crate) enum Content {
    Key(String),
    Verdict(Verdict),
    /// A type that XEP-0220 does not define.
    Unknown,
}

/// The address of a dialback element is missing or malformed.
pub(crate) struct AddressError;

impl DialbackElement {
    /// Reads a `<db:result/>` or `<db:verify/>`.
    pub(crate) fn read(element: &Element) -> Result<Self, AddressError> {
        let step = if element.local() == "result" { Step::Result } else { Step::Verify };
        let address = |name| element.attribute(name).and_then(|text| Domain::parse(text).ok());
        let (Some(from), Some(to)) = (address("from"), address("to")) else {
            return Err(AddressError);
        };
        let content = match element.attribute("type") {
            None => Content::Key(element.text().trim().to_owned()),
            Some("valid") => Content::Verdict(Verdict::Valid),
            Some("invalid") => Content::Verdict(Verdict::Invalid),
            Some("error") => Content::Verdict(Verdict::Error(StanzaError::read(element).condition)),
            Some(_) => Content::Unknown,
        };
        let id = element.attribute("id").map(str::to_owned);
        Ok(Self { step, from, to, id, content })
    }
}

/// The element that carries a key from `from` to `to`.
pub(crate) fn request(
    step: Step,
    from: &Domain,
    to: &Domain,
    id: Option<&str>,
    key: &str,
) -> Element {
    addressed(step, from, to, id).with_text(key)
}

/// The element that answers a request of `to`.
pub(crate) fn answer(
    step: Step,
    from: &Domain,
    to: &Domain,
    id: Option<&str>,
    verdict: Verdict,
) -> Element {
    let answer = addressed(step, from, to, id);
    match verdict {
        Verdict::Valid => answer.with_attribute("type", "valid"),
        Verdict::Invalid => answer.with_attribute("type", "invalid"),
        Verdict::Error(condition) => {
            answer.with_attribute("type", "error").with_child(StanzaError::new(condition).element())
        }
    }
}

fn addressed(step: Step, from: &Domain, to: &Domain, id: Option<&str>) -> Element {
    let element = Element::new(ns::DIALBACK, step.name())
        .with_attribute("from", from.as_str())
        .with_attribute("to", to.as_str());
    match id {
        Some(id) => element.with_attribute("id", id),
        None => element,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Secret, receiving server, originating server, stream ID, key, source.
    const TABLE: &str = include_str!("../../../../tests/vectors/dialback-keys.tsv");

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    fn secrets(current: &str, previous: Option<&str>) -> DialbackSecrets {
        let secret = |secret: &str| DialbackSecret::new(secret.as_bytes());
        DialbackSecrets { current: Some(secret(current)), previous: previous.map(secret) }
    }

    #[test]
    fn the_keys_of_xep_0185_and_xep_0220_are_made() {
        let mut rows = 0;
        for line in TABLE.lines().skip(1) {
            let columns: Vec<&str> = line.split('\t').collect();
            let [secret, receiving, originating, stream_id, key, _source] = columns[..] else {
                panic!("not a row: {line}")
            };
            let (receiving, originating) = (domain(receiving), domain(originating));
            let secrets = secrets(secret, None);

            assert_eq!(secrets.key(&receiving, &originating, stream_id).as_deref(), Some(key));
            assert!(secrets.is_valid(key, &receiving, &originating, stream_id));
            rows += 1;
        }
        assert_eq!(rows, 3);
    }

    #[test]
    fn a_key_is_good_for_its_domains_and_its_stream_alone() {
        let (a, b, c) = (domain("a.example"), domain("b.example"), domain("c.example"));
        let secrets = secrets("secret", None);
        let key = secrets.key(&a, &b, "1").unwrap();

        assert!(!secrets.is_valid(&key, &b, &a, "1"));
        assert!(!secrets.is_valid(&key, &a, &c, "1"));
        assert!(!secrets.is_valid(&key, &a, &b, "2"));
        assert!(!secrets.is_valid(&key.to_uppercase(), &a, &b, "1"));
        assert!(!secrets.is_valid("", &a, &b, "1"));
    }

    #[test]
    fn a_key_of_the_previous_secret_is_good_while_it_is_kept() {
        let (a, b) = (domain("a.example"), domain("b.example"));
        let key = secrets("old", None).key(&a, &b, "1").unwrap();

        assert!(secrets("fresh", Some("old")).is_valid(&key, &a, &b, "1"));
        assert!(!secrets("fresh", None).is_valid(&key, &a, &b, "1"));
    }

    #[test]
    fn without_a_secret_no_key_is_made_and_none_is_valid() {
        let (a, b) = (domain("a.example"), domain("b.example"));

        assert_eq!(DialbackSecrets::default().key(&a, &b, "1"), None);
        assert!(!DialbackSecrets::default().is_valid("", &a, &b, "1"));
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", DialbackSecret::new(b"hunter2")), "DialbackSecret");
    }
}
