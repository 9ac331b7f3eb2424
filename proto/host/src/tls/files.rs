//! Certificates, keys and authorities as configuration files name them.

use std::path::PathBuf;

use super::{Identity, IdentityError, TrustAnchors};
use crate::config::{Read, Table};

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    /// The chain, leaf first, in PEM.
    pub certificate: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

impl IdentityFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// Fails when a file cannot be read, or when the two do not go together.
    pub fn load(&self) -> Result<Identity, IdentityError> {
        Identity::load(&self.certificate, &self.key)
    }

    /// Reads the keys `certificate` and `key` of a table.
    pub fn read(table: &mut Table<'_, '_>) -> Read<Self> {
        let (certificate, key) = (table.required("certificate"), table.required("key"));
        Ok(Self { certificate: certificate?, key: key? })
    }
}

/// The files of what partners see: where they connect, and perhaps others where we connect.
///
/// Public authorities issue no more certificates for clients; partners who insist on one need
/// another, of another authority.
#[derive(Clone, Debug)]
pub struct FederationFiles {
    /// Shown to those who connect.
    pub server: IdentityFiles,
    /// Shown to those we connect to; without them, the same.
    pub client: Option<IdentityFiles>,
}

impl FederationFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// Fails when a file cannot be read, or when two do not go together.
    pub fn load(&self) -> Result<Identity, IdentityError> {
        Identity::of_files(self.clone())
    }
}

impl TrustAnchors {
    /// Reads the authorities of PEM files.
    ///
    /// # Errors
    /// Fails when a file cannot be read or holds none.
    pub fn load(files: &[PathBuf]) -> Result<Self, IdentityError> {
        let mut anchors = Self::default();
        files.iter().try_for_each(|file| anchors.add_file(file))?;
        Ok(anchors)
    }
}
