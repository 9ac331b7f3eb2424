//! Which chains are trusted: authorities, usages, bounds, and why a chain is not.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext, anchor_from_trusted_cert,
};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::details::day;
use super::identity::{IdentityError, certificates};
use super::revocation::RevocationLists;

/// The longest chain that is looked at, in certificates and in bytes.
const CHAIN_CERTIFICATES_MAX: usize = 8;
const CHAIN_BYTES_MAX: usize = 32 * 1024;

/// The longest RSA key whose signatures are checked: the time that takes grows with its square.
const RSA_BITS_MAX: usize = 8192;

/// The most subject alternative names that are looked at; hosting providers use many.
pub(super) const NAMES_MAX: usize = 256;

// id-kp-serverAuth, id-kp-clientAuth and anyExtendedKeyUsage: RFC 5280 s.4.2.1.12.
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0];

/// The certificate authorities that peers are checked against, and what these have revoked.
#[derive(Clone, Debug, Default)]
pub struct TrustAnchors {
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    revocations: Option<Arc<RevocationLists>>,
}

impl TrustAnchors {
    /// Adds the certificates of a PEM file.
    pub fn add_file(&mut self, path: &Path) -> Result<(), IdentityError> {
        for certificate in certificates("CA certificates", path)? {
            self.add(&certificate).map_err(|error| IdentityError::Unreadable {
                what: "CA certificates",
                path: path.into(),
                reason: error.to_string(),
            })?;
        }
        Ok(())
    }

    /// Adds an authority by its certificate.
    ///
    /// # Errors
    /// Fails when it is none.
    pub fn add(&mut self, certificate: &CertificateDer<'_>) -> Result<(), NoAuthority> {
        let anchor = anchor_from_trusted_cert(certificate)
            .map_err(|error| NoAuthority(error.to_string()))?;
        self.anchors.push(anchor.to_owned());
        Ok(())
    }

    /// Adds the authorities that the operating system trusts; returns how many there were.
    pub fn add_system(&mut self) -> usize {
        let before = self.anchors.len();
        // One odd certificate in the system's store must not take the others away.
        let found = rustls_native_certs::load_native_certs().certs;
        let anchors = found.iter().filter_map(|der| anchor_from_trusted_cert(der).ok());
        self.anchors.extend(anchors.map(|anchor| anchor.to_owned()));
        self.anchors.len() - before
    }

    /// Refuses what is on these lists, as they are whenever a chain is looked at.
    pub fn with_revocations(self, lists: Arc<RevocationLists>) -> Self {
        Self { revocations: Some(lists), ..self }
    }

    /// Returns whether there is no authority.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        usage: impl ExtendedKeyUsageValidator,
        now: UnixTime,
    ) -> Result<(), Untrusted> {
        self.verify_below(&self.anchors, chain, usage, now)
    }

    /// Checks a chain against other authorities, and against what is revoked here.
    pub(super) fn verify_below(
        &self,
        anchors: &[TrustAnchor<'_>],
        chain: &[CertificateDer<'_>],
        usage: impl ExtendedKeyUsageValidator,
        now: UnixTime,
    ) -> Result<(), Untrusted> {
        let (leaf, intermediates) = chain.split_first().ok_or(Untrusted::NoCertificate)?;
        check_bounds(chain)?;
        let algorithms = super::provider().signature_verification_algorithms.all;
        let leaf = EndEntityCert::try_from(leaf)?;
        let lists = self.revocations.as_ref().map(|lists| lists.current());
        let lists = lists.as_ref().map(|lists| lists.borrowed()).unwrap_or_default();
        let must_know = self.revocations.as_ref().is_some_and(|lists| lists.must_know());
        let revocation = super::revocation::options(&lists, must_know);
        leaf.verify_for_usage(algorithms, anchors, intermediates, now, usage, revocation, None)?;
        Ok(())
    }
}

/// A certificate that cannot stand for an authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no certificate of an authority: {0}")]
pub struct NoAuthority(String);

/// Why a chain is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// The peer showed none.
    #[error("no certificate was presented")]
    NoCertificate,
    /// More than is looked at.
    #[error(
        "the chain is longer than {CHAIN_CERTIFICATES_MAX} certificates or {CHAIN_BYTES_MAX} bytes"
    )]
    ChainTooLong,
    /// An RSA key of so many bits, of the peer or of an authority in between.
    #[error("an RSA key of {0} bits is longer than {RSA_BITS_MAX}")]
    KeyTooLong(usize),
    /// So many subject alternative names.
    #[error("{0} subject alternative names are more than {NAMES_MAX}")]
    TooManyNames(usize),
    /// No path to an authority that we know.
    #[error("the certificate was not accepted: UnknownIssuer")]
    UnknownIssuer,
    /// Its validity ended on that day, in UTC.
    #[error("the certificate was not accepted: it expired on {0}")]
    Expired(String),
    /// Its validity begins on that day, in UTC.
    #[error("the certificate was not accepted: it is not valid before {0}")]
    NotYetValid(String),
    /// It is for these usages, none of which is right here.
    #[error("the certificate was not accepted: it is for {0} only")]
    WrongUsage(String),
    /// Its authority, or the one above, has withdrawn it.
    #[error("the certificate was not accepted: it is revoked")]
    Revoked,
    /// Whether it is withdrawn must be known, and no list says it.
    #[error("the certificate was not accepted: no list says whether it is revoked")]
    RevocationUnknown,
    /// Its key is none of those that the partner was said to have.
    #[error("the certificate was not accepted: its key is none of those that are pinned")]
    KeyNotPinned,
    /// Malformed, or a bad signature.
    #[error("the certificate was not accepted: {0}")]
    Invalid(String),
}

impl Untrusted {
    /// The word for metric labels.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NoCertificate => "none",
            Self::ChainTooLong => "chain-too-long",
            Self::KeyTooLong(_) => "key-too-long",
            Self::TooManyNames(_) => "too-many-names",
            Self::UnknownIssuer => "unknown-issuer",
            Self::Expired(_) => "expired",
            Self::NotYetValid(_) => "not-yet-valid",
            Self::WrongUsage(_) => "wrong-usage",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation-unknown",
            Self::KeyNotPinned => "key-not-pinned",
            Self::Invalid(_) => "invalid",
        }
    }

    /// Returns why a handshake of ours refused the peer's certificate, if that is why it failed.
    pub fn of_handshake(error: &std::io::Error) -> Option<&Self> {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) = error
        else {
            return None;
        };
        other.0.downcast_ref()
    }

    /// Whether other authorities might accept the chain.
    pub(super) const fn is_about_issuer(&self) -> bool {
        matches!(self, Self::UnknownIssuer | Self::Invalid(_))
    }
}

impl From<webpki::Error> for Untrusted {
    fn from(error: webpki::Error) -> Self {
        match error {
            webpki::Error::UnknownIssuer => Self::UnknownIssuer,
            webpki::Error::CertExpired { not_after, .. } => Self::Expired(day(not_after)),
            webpki::Error::CertNotValidYet { not_before, .. } => Self::NotYetValid(day(not_before)),
            webpki::Error::RequiredEkuNotFoundContext(usages) => {
                let present: Vec<_> = usages.present.iter().map(|oid| usage(oid)).collect();
                Self::WrongUsage(present.join(", "))
            }
            webpki::Error::CertRevoked => Self::Revoked,
            webpki::Error::UnknownRevocationStatus => Self::RevocationUnknown,
            error => Self::Invalid(error.to_string()),
        }
    }
}

fn usage(oid: &[usize]) -> String {
    match oid {
        [1, 3, 6, 1, 5, 5, 7, 3, 1] => "serverAuth".to_owned(),
        [1, 3, 6, 1, 5, 5, 7, 3, 2] => "clientAuth".to_owned(),
        [1, 3, 6, 1, 5, 5, 7, 3, 3] => "codeSigning".to_owned(),
        [1, 3, 6, 1, 5, 5, 7, 3, 4] => "emailProtection".to_owned(),
        other => other.iter().map(ToString::to_string).collect::<Vec<_>>().join("."),
    }
}

/// Whose certificate one is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A server's; in the federation that of both sides.
    Server,
    /// A client's.
    Client,
}

impl Purpose {
    /// Returns who may show it, in a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Server => "servers",
            Self::Client => "clients",
        }
    }
}

impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let (oid, required) = match self {
            Self::Server => (SERVER_AUTH, KeyUsage::server_auth()),
            Self::Client => (CLIENT_AUTH, KeyUsage::client_auth()),
        };
        let mut present = Vec::new();
        for usage in usages {
            let usage = usage?;
            if [oid, ANY_USAGE].map(KeyPurposeId::new).contains(&usage) {
                return Ok(());
            }
            present.push(usage.to_decoded_oid());
        }
        if present.is_empty() {
            return Ok(());
        }
        let context = RequiredEkuNotFoundContext { required, present };
        Err(webpki::Error::RequiredEkuNotFoundContext(context))
    }
}

/// Refuses what would take too much time or memory to look at.
fn check_bounds(chain: &[CertificateDer<'_>]) -> Result<(), Untrusted> {
    let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
    if chain.len() > CHAIN_CERTIFICATES_MAX || bytes > CHAIN_BYTES_MAX {
        return Err(Untrusted::ChainTooLong);
    }
    chain.iter().try_for_each(check_key)?;
    let leaf = chain.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
    let Some((_, leaf)) = leaf else { return Ok(()) };
    // One that is there twice is malformed, which webpki says.
    let names = leaf.subject_alternative_name().ok().flatten();
    match names.map_or(0, |names| names.value.general_names.len()) {
        count if count > NAMES_MAX => Err(Untrusted::TooManyNames(count)),
        _ => Ok(()),
    }
}

/// Refuses a key with which a signature would take too long to check.
pub(super) fn check_key(certificate: &CertificateDer<'_>) -> Result<(), Untrusted> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Ok(()) };
    let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else { return Ok(()) };
    let zeroes = key.modulus.iter().take_while(|byte| **byte == 0).count();
    let significant = &key.modulus[zeroes..];
    let unused = significant.first().map_or(0, |byte| byte.leading_zeros() as usize);
    match significant.len() * 8 - unused {
        bits if bits > RSA_BITS_MAX => Err(Untrusted::KeyTooLong(bits)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
