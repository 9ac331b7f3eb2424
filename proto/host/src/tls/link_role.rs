//! TLS of the link: both ends show a certificate of the private authority with the right role.

use std::sync::Arc;

use link::role::Role;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme, version,
};
use webpki::KeyUsage;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::identity::Identity;
use super::trust::{TrustAnchors, Untrusted};
use super::{ProofOfKeyOnly, SetupError, provider};

/// Why a certificate does not open the link.
#[derive(Debug, thiserror::Error)]
enum RoleError {
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error("the certificate gives no {0} role: no URI name spiffe://isthmus/{0}/<name>")]
    NoRole(Role),
    #[error("the certificate gives the {0} role and another one: nobody stands at both ends")]
    SeveralRoles(Role),
}

/// Makes the edge's configuration: only front ends get through the handshake.
pub fn link_server_config(
    identity: &Identity,
    anchors: TrustAnchors,
) -> Result<ServerConfig, SetupError> {
    let verifier = RoleVerifier::new(Role::Frontend, anchors);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(identity.resolver());
    super::without_resumption(&mut config);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Makes the front end's configuration: only edges get through the handshake.
pub fn link_client_config(
    identity: &Identity,
    anchors: TrustAnchors,
) -> Result<ClientConfig, SetupError> {
    let verifier = RoleVerifier::new(Role::Edge, anchors);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(identity.resolver());
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Returns the name that the certificate of a finished handshake gives its holder in `role`; none
/// where it gives the other role as well.
pub fn peer_name(chain: Option<&[CertificateDer<'_>]>, role: Role) -> Option<String> {
    role_name(chain, role).ok()
}

fn role_name(chain: Option<&[CertificateDer<'_>]>, role: Role) -> Result<String, RoleError> {
    let name = name_in(chain, role).ok_or(RoleError::NoRole(role))?;
    let other = match role {
        Role::Edge => Role::Frontend,
        Role::Frontend => Role::Edge,
    };
    match name_in(chain, other) {
        None => Ok(name),
        Some(_) => Err(RoleError::SeveralRoles(role)),
    }
}

fn name_in(chain: Option<&[CertificateDer<'_>]>, role: Role) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(chain?.first()?).ok()?;
    let san = certificate.subject_alternative_name().ok()??;
    san.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => role.name_in(uri).map(str::to_owned),
        _ => None,
    })
}

#[derive(Debug)]
struct RoleVerifier {
    role: Role,
    anchors: TrustAnchors,
    key: ProofOfKeyOnly,
}

impl RoleVerifier {
    fn new(role: Role, anchors: TrustAnchors) -> Self {
        Self { role, anchors, key: ProofOfKeyOnly { provider: provider() } }
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let refuse = |error: RoleError| CertificateError::Other(OtherError(Arc::new(error))).into();
        let chain: Vec<_> = [end_entity].into_iter().chain(intermediates).cloned().collect();
        self.anchors.verify(&chain, usage, now).map_err(|error| refuse(error.into()))?;
        role_name(Some(&chain), self.role).map(drop).map_err(refuse)
    }
}

impl ServerCertVerifier for RoleVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, KeyUsage::server_auth(), now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls12_signature(&self.key, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls13_signature(&self.key, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(&self.key)
    }
}

impl ClientCertVerifier for RoleVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, KeyUsage::client_auth(), now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls12_signature(&self.key, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls13_signature(&self.key, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(&self.key)
    }
}

#[cfg(test)]
mod tests;
