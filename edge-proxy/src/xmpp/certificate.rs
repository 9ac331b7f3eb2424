//! What a peer's certificate proves of each partner: by our authorities, and by the partner's own.

use std::cell::Cell;
use std::sync::Arc;

use host::tls::{PeerIdentity, TrustAnchors, Untrusted};
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;
use xmpp_proto::jid::Domain;
use xmpp_proto::stream::PeerCertificate;

use super::attempt::{NAMES_MAX, TlsFacts};
use crate::admission::Admitted;

/// The certificate of a peer.
///
/// What one partner is trusted by says nothing of another partner's domain.
#[derive(Clone)]
pub(super) struct Certificate {
    /// Shared by all who hold the certificate, since a chain may be long.
    peer: Arc<PeerIdentity>,
    trust: Arc<TrustAnchors>,
    admitted: watch::Receiver<Arc<Admitted>>,
    /// Whether a refusal was told, which is asked for several times in a stream.
    is_told: Cell<bool>,
}

impl Certificate {
    /// Examines the chain of a finished handshake.
    pub(super) fn examine(
        chain: &[CertificateDer<'_>],
        trust: &Arc<TrustAnchors>,
        admitted: &watch::Receiver<Arc<Admitted>>,
    ) -> Self {
        Self {
            peer: Arc::new(PeerIdentity::examine(chain, trust, UnixTime::now())),
            trust: Arc::clone(trust),
            admitted: admitted.clone(),
            is_told: Cell::new(false),
        }
    }

    /// Says what the peer showed in TLS, and what it proves of a domain.
    pub(super) fn facts(&self, domain: &Domain, version: Option<u16>) -> TlsFacts {
        TlsFacts {
            version,
            names: self.peer.presented_names(NAMES_MAX),
            trust: self.trust_for(domain).map_err(|reason| reason.to_string()),
            is_named: self.peer.names(domain),
        }
    }

    fn trust_for(&self, domain: &Domain) -> Result<(), Untrusted> {
        let admitted = Arc::clone(&self.admitted.borrow());
        match admitted.partner(domain) {
            Some(partner) => self.peer.trust_as(&partner.trust, &self.trust, UnixTime::now()),
            None => self.peer.trust().map_err(Clone::clone),
        }
    }
}

impl PeerCertificate for Certificate {
    fn proves(&self, domain: &Domain) -> bool {
        let refusal = match self.trust_for(domain) {
            // Whoever shows none claims nothing by it.
            Err(Untrusted::NoCertificate) => return false,
            Err(reason) => Some((reason.label(), reason.to_string())),
            Ok(()) if self.peer.names(domain) => None,
            Ok(()) => Some(("wrong-name", format!("the certificate does not name {domain}"))),
        };
        let Some((label, reason)) = refusal else { return true };
        if !self.is_told.replace(true) {
            count_refusal(label);
            tracing::info!(partner = %domain, reason, "a peer's certificate is refused");
        }
        false
    }
}

/// Counts and records a certificate that a handshake refused, if that is why it failed.
pub(crate) fn tell_handshake(error: &std::io::Error) {
    if let Some(reason) = Untrusted::of_handshake(error) {
        count_refusal(reason.label());
        tracing::info!(%reason, "a peer's certificate is refused");
    }
}

fn count_refusal(label: &'static str) {
    metrics::counter!("edge_xmpp_certificates_refused_total", "reason" => label).increment(1);
}
