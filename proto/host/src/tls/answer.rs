//! What an authority gave back for a request: put in order, and checked before it is used.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::{CertificateDer, UnixTime};
use xmpp_proto::jid::Domain;

use super::details::Details;
use super::identity::OwnKey;
use super::peer::PeerIdentity;
use super::trust::{Purpose, TrustAnchors, Untrusted};

/// RFC 7468 s.2: characters of a line.
const PEM_LINE_CHARACTERS: usize = 64;

/// A chain that belongs to a key of ours and may be shown to peers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// What the leaf says.
    pub details: Details,
    /// Whether the certificates came in another order, or with some that do not belong to it.
    pub was_rearranged: bool,
    /// Whether no authority that we know stands above the chain.
    pub has_unknown_issuer: bool,
    leaf: PeerIdentity,
}

/// Why an answer cannot be used. The operator must ask the authority for another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// No certificate is about the key.
    #[error("none of its certificates belongs to the key")]
    OtherKey,
    /// Its validity is over.
    #[error("it has expired, on {0}")]
    Expired(String),
    /// Its validity has not begun.
    #[error("it is not valid before {0}")]
    NotYetValid(String),
    /// It may be shown by others, or by nobody on a connection.
    #[error("it is not for {}: its usages are {usages}", purpose.word())]
    WrongUsage {
        /// Who is to show it.
        purpose: Purpose,
        /// What it is for.
        usages: String,
    },
    /// A domain that it must name.
    #[error("it does not name {0}")]
    DomainMissing(Domain),
    /// Peers would not accept the chain.
    #[error(transparent)]
    Untrusted(Untrusted),
}

impl Answer {
    /// Arranges what came and checks it: it belongs to `key`, is valid `now`, for `purpose`, names
    /// each of `domains`, and peers that trust `anchors` would accept it.
    ///
    /// # Errors
    /// Gives every misfit at once.
    pub fn examine(
        came: &[CertificateDer<'static>],
        key: &OwnKey,
        domains: &[Domain],
        purpose: Purpose,
        anchors: &TrustAnchors,
        now: UnixTime,
    ) -> Result<Self, Vec<Misfit>> {
        let chain = arrange(came, key).ok_or_else(|| vec![Misfit::OtherKey])?;
        let details =
            chain.first().and_then(Details::read).ok_or_else(|| vec![Misfit::OtherKey])?;
        let (first_day, last_day) = details.validity();
        let mut misfits = Vec::new();
        if details.is_expired(now) {
            misfits.push(Misfit::Expired(last_day));
        }
        if details.is_not_yet_valid(now) {
            misfits.push(Misfit::NotYetValid(first_day));
        }
        if !details.is_for(purpose) {
            misfits.push(Misfit::WrongUsage { purpose, usages: details.usages.join(", ") });
        }
        let leaf = PeerIdentity::examine_as(purpose, &chain, anchors, now);
        let trust = leaf.trust().err().cloned();
        let has_unknown_issuer = trust == Some(Untrusted::UnknownIssuer);
        if let Some(untrusted) = trust.filter(|_| misfits.is_empty() && !has_unknown_issuer) {
            misfits.push(Misfit::Untrusted(untrusted));
        }
        let missing = domains.iter().filter(|domain| !leaf.names(domain));
        misfits.extend(missing.cloned().map(Misfit::DomainMissing));
        if !misfits.is_empty() {
            return Err(misfits);
        }
        let was_rearranged = chain != came;
        Ok(Self { chain, details, was_rearranged, has_unknown_issuer, leaf })
    }

    /// Writes the chain, and nothing else of what came.
    pub fn pem(&self) -> String {
        pem(&self.chain)
    }

    /// Returns whether the leaf names the domain.
    pub fn names(&self, domain: &Domain) -> bool {
        self.leaf.names(domain)
    }
}

/// Writes certificates.
pub(super) fn pem(chain: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for certificate in chain {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for (index, character) in BASE64.encode(certificate).chars().enumerate() {
            if index > 0 && index % PEM_LINE_CHARACTERS == 0 {
                text.push('\n');
            }
            text.push(character);
        }
        text.push_str("\n-----END CERTIFICATE-----\n");
    }
    text
}

/// Puts the certificate of the key first, and each issuer after what it issued, as peers want it;
/// what does not belong to the chain stays out.
fn arrange(came: &[CertificateDer<'static>], key: &OwnKey) -> Option<Vec<CertificateDer<'static>>> {
    let mut left: Vec<_> = came.iter().filter_map(|it| Some((it, Details::read(it)?))).collect();
    let mut next = left.iter().position(|(certificate, _)| key.fits(certificate));
    let mut chain = Vec::new();
    while let Some(at) = next {
        let (certificate, details) = left.swap_remove(at);
        chain.push(certificate.clone());
        let is_top = details.is_issued_by(&details);
        next = left.iter().position(|(_, other)| !is_top && details.is_issued_by(other));
    }
    (!chain.is_empty()).then_some(chain)
}

#[cfg(test)]
mod tests;
