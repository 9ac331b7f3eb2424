//! What the owner allows: which domains are ours, who may federate with them, and how.

use std::collections::{BTreeMap, BTreeSet};

use crate::jid::Domain;
use crate::stream::dialback::DialbackSecrets;

/// A snapshot of what the owner allows, handed to the machines by reference on each call.
///
/// An empty admission allows nothing.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// The domains that are served here.
    pub local_domains: BTreeSet<Domain>,
    /// The domains that may federate with them, and on what terms.
    pub partners: BTreeMap<Domain, StreamTerms>,
    /// The secrets of our dialback keys.
    pub dialback_secrets: DialbackSecrets,
}

impl Admission {
    /// Whether the domain is served here.
    pub fn serves(&self, domain: &Domain) -> bool {
        self.local_domains.contains(domain)
    }

    /// The terms between a domain of ours and another, or `None` where they may not federate.
    pub fn terms(&self, local: &Domain, remote: &Domain) -> Option<StreamTerms> {
        if !self.serves(local) || self.serves(remote) {
            return None;
        }
        self.partners.get(remote).copied()
    }

    /// The domain that speaks where the peer named none of ours (RFC 6120 s.4.9.1.3).
    pub(crate) fn default_domain(&self) -> Option<&Domain> {
        self.local_domains.first()
    }
}

/// How two domains authenticate each other's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamTerms {
    /// Whether SASL EXTERNAL is used.
    pub sasl: SaslTerms,
    /// Whether Server Dialback is used.
    pub dialback: bool,
    /// Whether one stream may carry the stanzas of both directions (XEP-0288).
    pub bidi: bool,
}

/// Whether SASL EXTERNAL is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslTerms {
    /// Nothing else counts.
    Required,
    /// It is preferred; dialback counts too where it is allowed.
    Optional,
    /// It is neither offered nor used.
    NotSupported,
}

impl StreamTerms {
    /// Whether SASL EXTERNAL may authenticate a stream.
    pub fn accepts_external(self) -> bool {
        self.sasl != SaslTerms::NotSupported
    }

    /// Whether dialback may authenticate a stream.
    ///
    /// Where SASL is required, dialback is not used although it may be switched on.
    pub fn accepts_dialback(self) -> bool {
        self.dialback && self.sasl != SaslTerms::Required
    }

    /// What a certificate that names the peer's domain counts as on a stream that we opened, where
    /// no SASL of the peer takes place: EXTERNAL, which asks for nothing else, or else the
    /// certificate in place of a dialback key (XEP-0344).
    pub fn certificate_proof(self) -> Option<Proof> {
        [Proof::External, Proof::Certificate].into_iter().find(|proof| self.accepts(*proof))
    }

    /// Whether a stream that was authenticated in this way may be used.
    pub fn accepts(self, proof: Proof) -> bool {
        match proof {
            Proof::External => self.accepts_external(),
            Proof::Certificate | Proof::Dialback => self.accepts_dialback(),
        }
    }
}

/// How a domain pair of a stream was authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// SASL EXTERNAL (XEP-0178).
    External,
    /// A dialback request that the TLS certificate answers (XEP-0344).
    Certificate,
    /// A dialback key that the authoritative server verified (XEP-0220).
    Dialback,
}

impl Proof {
    /// The word for logs and metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Certificate => "certificate",
            Self::Dialback => "dialback",
        }
    }
}

/// The certificate that the peer showed in TLS, verified by the owner.
pub trait PeerCertificate: Send {
    /// Whether the certificate is trusted and names the domain (RFC 6120 s.13.7.2).
    ///
    /// The name is compared as a whole: no suffix, no address of the host that was connected to.
    /// It is asked each time that something rests on it, so that an expiry is not missed.
    fn proves(&self, domain: &Domain) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    #[test]
    fn only_a_listed_partner_of_a_served_domain_is_admitted() {
        let terms = StreamTerms { sasl: SaslTerms::Optional, dialback: true, bidi: true };
        let mut admission = Admission::default();
        assert_eq!(admission.terms(&domain("gw.example"), &domain("peer.example")), None);

        admission.local_domains.extend([domain("gw.example"), domain("b.example")]);
        admission.partners.insert(domain("peer.example"), terms);
        admission.partners.insert(domain("b.example"), terms);

        assert_eq!(admission.terms(&domain("gw.example"), &domain("peer.example")), Some(terms));
        assert_eq!(admission.terms(&domain("gw.example"), &domain("a.peer.example")), None);
        assert_eq!(admission.terms(&domain("other.example"), &domain("peer.example")), None);
        assert_eq!(admission.terms(&domain("gw.example"), &domain("b.example")), None);
    }

    #[test]
    fn dialback_is_dead_where_sasl_is_required() {
        let terms = |sasl| StreamTerms { sasl, dialback: true, bidi: true };

        assert!(!terms(SaslTerms::Required).accepts(Proof::Dialback));
        assert!(!terms(SaslTerms::Required).accepts(Proof::Certificate));
        assert!(terms(SaslTerms::Optional).accepts(Proof::Dialback));
        assert!(!terms(SaslTerms::NotSupported).accepts(Proof::External));
        assert!(terms(SaslTerms::NotSupported).accepts(Proof::Certificate));
        let counts_as = |sasl| terms(sasl).certificate_proof();
        assert_eq!(counts_as(SaslTerms::Required), Some(Proof::External));
        assert_eq!(counts_as(SaslTerms::NotSupported), Some(Proof::Certificate));
    }
}
