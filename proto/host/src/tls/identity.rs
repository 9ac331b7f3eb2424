//! Our own certificate and key, from PEM files, replaceable while connections live.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use link::role::Role;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// A certificate or key that cannot be used. The operator must change a file.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or holds no such PEM block.
    #[error("cannot read {what} from {path}: {reason}", path = path.display())]
    Unreadable {
        /// "a certificate", "a private key" or "CA certificates".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// The key is of a kind that cannot sign, or is not the certificate's.
    #[error("the key in {key} does not go with the certificate in {certificate}: {reason}",
        key = key.display(), certificate = certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the library said.
        reason: String,
    },
}

/// The chain and key that we present.
#[derive(Clone, Debug)]
pub struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    resolver: Arc<Resolver>,
}

impl Identity {
    /// Reads the chain (leaf first) and the key from PEM files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let current = ArcSwap::new(read(certificate, key)?);
        let resolver = Arc::new(Resolver { current });
        Ok(Self { certificate: certificate.into(), key: key.into(), resolver })
    }

    /// Reads the files again; on an error the identity in use stays.
    pub fn reload(&self) -> Result<(), IdentityError> {
        self.resolver.current.store(read(&self.certificate, &self.key)?);
        Ok(())
    }

    /// Returns the name that the certificate gives its holder in a role of the link.
    pub fn name_in(&self, role: Role) -> Option<String> {
        super::peer_name(Some(&self.resolver.current.load().cert), role)
    }

    pub(super) fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
    }
}

#[derive(Debug)]
pub(super) struct Resolver {
    current: ArcSwap<CertifiedKey>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Reads all certificates of a PEM file; at least one.
pub(super) fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let unreadable = |reason: String| IdentityError::Unreadable { what, path: path.into(), reason };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(error.to_string()))?;
    if chain.is_empty() {
        return Err(unreadable("the file holds no PEM block of this kind".into()));
    }
    Ok(chain)
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, IdentityError> {
    let chain = certificates("a certificate", certificate)?;
    let private_key =
        PrivateKeyDer::from_pem_file(key).map_err(|error| IdentityError::Unreadable {
            what: "a private key",
            path: key.into(),
            reason: error.to_string(),
        })?;
    CertifiedKey::from_der(chain, private_key, &super::provider()).map(Arc::new).map_err(|error| {
        IdentityError::Mismatch {
            certificate: certificate.into(),
            key: key.into(),
            reason: error.to_string(),
        }
    })
}
