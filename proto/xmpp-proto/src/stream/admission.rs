//! What the owner allows: which domains are ours, who may federate with them, and how.

use std::collections::{BTreeMap, BTreeSet};

use crate::jid::Domain;
use crate::stream::dialback::DialbackSecrets;
use crate::stream::terms::{Method, StreamTerms};

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

    /// Whether a stream to a domain of ours may go on without TLS; from any partner, where the peer
    /// has not said who it is.
    pub(crate) fn lets_dialback_in_clear(&self, local: &Domain, remote: Option<&Domain>) -> bool {
        let allows = |terms: StreamTerms| terms.allows(Method::DialbackInClear);
        match remote {
            Some(remote) => self.terms(local, remote).is_some_and(allows),
            None => self.serves(local) && self.partners.values().copied().any(allows),
        }
    }

    /// The domain that speaks where the peer named none of ours (RFC 6120 s.4.9.1.3).
    pub(crate) fn default_domain(&self) -> Option<&Domain> {
        self.local_domains.first()
    }
}

/// How a domain pair of a stream was authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// SASL EXTERNAL (XEP-0178).
    External,
    /// A dialback request that the TLS certificate answers (XEP-0344).
    Certificate,
    /// A dialback key that the authoritative server verified (XEP-0220), on a stream with TLS.
    Dialback,
    /// The same on a stream without TLS.
    DialbackInClear,
}

impl Proof {
    /// The word for logs and metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Certificate => "certificate",
            Self::Dialback => "dialback",
            Self::DialbackInClear => "dialback_in_clear",
        }
    }

    /// The method of the negotiation matrix that it is an outcome of.
    pub const fn method(self) -> Method {
        match self {
            Self::External => Method::ExternalOverTls,
            Self::Certificate | Self::Dialback => Method::DialbackOverTls,
            Self::DialbackInClear => Method::DialbackInClear,
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
    use crate::stream::terms::{SaslTerms, TlsTerms};

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    #[test]
    fn only_a_listed_partner_of_a_served_domain_is_admitted() {
        let terms = StreamTerms::new(TlsTerms::Required, SaslTerms::Optional, true).unwrap();
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
}
