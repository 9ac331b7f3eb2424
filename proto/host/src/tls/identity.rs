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
use rustls::sign::{CertifiedKey, SigningKey};

use super::details::Details;
use super::files::{FederationFiles, IdentityFiles};

/// A certificate or key that cannot be used. The operator must change a file.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or holds no such PEM block.
    #[error("cannot read {what} from {path}: {reason}", path = path.display())]
    Unreadable {
        /// "a certificate", "a private key", "CA certificates" or "a revocation list".
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

/// The chain and key that we present; perhaps others where we connect.
#[derive(Clone, Debug)]
pub struct Identity {
    files: Arc<FederationFiles>,
    resolver: Arc<Resolver>,
}

impl Identity {
    /// Reads the chain (leaf first) and its key from PEM files; further keys are passed over.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let server = IdentityFiles { certificate: certificate.into(), key: key.into() };
        Self::of_files(FederationFiles { server, client: None })
    }

    /// Reads those for partners that connect, and those for partners that we connect to.
    pub(super) fn of_files(files: FederationFiles) -> Result<Self, IdentityError> {
        let current = ArcSwap::from_pointee(Shown::read(&files)?);
        Ok(Self { files: Arc::new(files), resolver: Arc::new(Resolver { current }) })
    }

    /// Reads the files again; on an error all that is in use stays.
    pub fn reload(&self) -> Result<(), IdentityError> {
        self.resolver.current.store(Arc::new(Shown::read(&self.files)?));
        Ok(())
    }

    /// Returns the name that the certificate gives its holder in a role of the link.
    pub fn name_in(&self, role: Role) -> Option<String> {
        super::peer_name(Some(&self.resolver.server().cert), role)
    }

    /// Returns each certificate's file, with what the leaf in use says.
    pub fn leaves(&self) -> Vec<(PathBuf, Details)> {
        let shown = self.resolver.current.load();
        let server = (&self.files.server, &shown.server);
        let client = self.files.client.as_ref().map(|files| (files, &shown.client));
        let leaf = |(files, pair): (&IdentityFiles, &Arc<CertifiedKey>)| {
            Some((files.certificate.clone(), Details::read(pair.cert.first()?)?))
        };
        [Some(server), client].into_iter().flatten().filter_map(leaf).collect()
    }

    pub(super) fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
    }
}

/// The pairs in use, replaced together.
#[derive(Debug)]
struct Shown {
    server: Arc<CertifiedKey>,
    client: Arc<CertifiedKey>,
}

impl Shown {
    fn read(files: &FederationFiles) -> Result<Self, IdentityError> {
        let pair = |files: &IdentityFiles| read(&files.certificate, &files.key);
        let server = pair(&files.server)?;
        let client = files.client.as_ref().map(pair).transpose()?;
        Ok(Self { client: client.unwrap_or_else(|| Arc::clone(&server)), server })
    }
}

#[derive(Debug)]
pub(super) struct Resolver {
    current: ArcSwap<Shown>,
}

impl Resolver {
    pub(super) fn server(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.load().server)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.server())
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().client))
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

/// A private key of ours, which may belong to a certificate.
#[derive(Clone, Debug)]
pub struct OwnKey(Arc<dyn SigningKey>);

impl OwnKey {
    /// Reads every private key of a PEM file; at least one.
    ///
    /// # Errors
    /// Fails when the file cannot be read, holds none, or one that cannot sign.
    pub fn load(path: &Path) -> Result<Vec<Self>, IdentityError> {
        let load = |key| super::provider().key_provider.load_private_key(key);
        private_keys(path)?
            .into_iter()
            .map(|key| load(key).map(Self).map_err(|error| unreadable_key(path, &error)))
            .collect()
    }

    /// Returns whether this is the key that the certificate is about.
    pub fn fits(&self, certificate: &CertificateDer<'_>) -> bool {
        let pair = vec![certificate.clone().into_owned()];
        CertifiedKey::new(pair, Arc::clone(&self.0)).keys_match().is_ok()
    }
}

fn unreadable_key(path: &Path, reason: &impl ToString) -> IdentityError {
    let (path, reason) = (path.into(), reason.to_string());
    IdentityError::Unreadable { what: "a private key", path, reason }
}

fn private_keys(path: &Path) -> Result<Vec<PrivateKeyDer<'static>>, IdentityError> {
    let keys: Vec<_> = PrivateKeyDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable_key(path, &error))?;
    if keys.is_empty() {
        return Err(unreadable_key(path, &"the file holds no PEM block of this kind"));
    }
    Ok(keys)
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, IdentityError> {
    match read_pair(certificate, key) {
        // Both may have been replaced between the two reads.
        Err(IdentityError::Mismatch { .. }) => read_pair(certificate, key),
        pair => pair,
    }
}

/// Reads the chain and, of the keys, the one that it belongs to: while a new pair is put into
/// place, the key's file holds that of the old one as well.
fn read_pair(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, IdentityError> {
    let chain = certificates("a certificate", certificate)?;
    let mut reason = String::new();
    for private_key in private_keys(key)? {
        match CertifiedKey::from_der(chain.clone(), private_key, &super::provider()) {
            Ok(pair) => return Ok(Arc::new(pair)),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(IdentityError::Mismatch { certificate: certificate.into(), key: key.into(), reason })
}
