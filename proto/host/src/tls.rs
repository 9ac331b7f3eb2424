//! TLS for both hosts: identities from files, configurations, and what a peer's certificate proves.
//!
//! Who a peer is gets decided after the handshake, from the chain it presented ([`PeerIdentity`]),
//! because a federation peer that proves nothing may still go on by dialback. The link is the
//! exception: there a peer without the right role does not get through the handshake.

mod answer;
mod by_domain;
mod details;
mod files;
mod identity;
mod link_role;
mod partner_trust;
mod peer;
mod renewal;
mod replacement;
mod revocation;
#[cfg(test)]
mod testing;
mod trust;

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ResolvesServerCert;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme, version,
};

pub use answer::{Answer, Misfit};
pub use by_domain::ByDomain;
pub use details::Details;
pub use files::{FederationFiles, IdentityFiles};
pub use identity::{Identity, IdentityError, OwnKey};
pub use link_role::{link_client_config, link_server_config, peer_name};
pub use partner_trust::{KeyPin, NoPin, PartnerTrust};
pub use peer::PeerIdentity;
pub use renewal::Renewable;
pub use replacement::{WriteError, write_new};
pub use revocation::{ListDetails, RevocationLists};
pub use trust::{NoAuthority, Purpose, TrustAnchors, Untrusted};

/// Returns the one cryptographic provider of the process.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A configuration that the library refused; a broken invariant of ours.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS: {0}")]
pub struct SetupError(#[from] rustls::Error);

/// Makes the configuration for peers of the federation that connect to us.
///
/// A client certificate is asked for and any, or none, is let through; see [`PeerIdentity`].
/// There is no resumption: a resumed connection would carry a proof that nobody checked again.
pub fn federation_server_config(identity: &Identity) -> Result<ServerConfig, SetupError> {
    federation_server(identity.resolver())
}

/// Makes the same for several identities: the peer sees the one that it asks for in its
/// ClientHello (RFC 6066 s.3), or else the one of the domain that it named in the clear
/// (RFC 6120 s.5.4.3.1), whose configuration it is.
pub fn federation_server_configs(
    identities: &ByDomain<Identity>,
) -> Result<ByDomain<ServerConfig>, SetupError> {
    let by_name = by_domain::ByServerName::new(identities);
    identities.try_map(|identity| federation_server(Arc::new(by_name.or(identity))))
}

fn federation_server(shown: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, SetupError> {
    let provider = provider();
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_client_cert_verifier(Arc::new(ProofOfKeyOnly { provider }))
        .with_cert_resolver(shown);
    without_resumption(&mut config);
    Ok(config)
}

/// Makes the configuration for servers that authenticate themselves only: SIP over TLS for users.
pub fn plain_server_config(identity: &Identity) -> Result<ServerConfig, SetupError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(identity.resolver());
    without_resumption(&mut config);
    Ok(config)
}

/// Makes the configuration for connections to peers of the federation.
pub fn federation_client_config(identity: &Identity) -> Result<ClientConfig, SetupError> {
    let provider = provider();
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ProofOfKeyOnly { provider }))
        .with_client_cert_resolver(identity.resolver());
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// The protocol that a connection of XMPP servers negotiates where it begins with TLS
/// (XEP-0368).
const XMPP_SERVER: &[u8] = b"xmpp-server";

/// Makes the configuration for peers whose connections begin with TLS: those that offer other
/// protocols only are refused, those that offer none are let through.
pub fn direct_tls_server_config(mut federation: ServerConfig) -> ServerConfig {
    federation.alpn_protocols = vec![XMPP_SERVER.to_vec()];
    federation
}

/// Makes the configuration for connections to peers that begin with TLS.
pub fn direct_tls_client_config(mut federation: ClientConfig) -> ClientConfig {
    federation.alpn_protocols = vec![XMPP_SERVER.to_vec()];
    federation
}

fn without_resumption(config: &mut ServerConfig) {
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
}

/// A refusal within a handshake, which [`Untrusted::of_handshake`] finds again.
fn refuse(reason: Untrusted) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(reason))).into()
}

/// Checks that the peer holds the key of the certificate it shows, and that this check takes no
/// longer than it should; nothing more.
#[derive(Debug)]
struct ProofOfKeyOnly {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ProofOfKeyOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        trust::check_key(end_entity).map_err(refuse)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for ProofOfKeyOnly {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        trust::check_key(end_entity).map_err(refuse)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}
