//! Certificate revocation lists, from files, replaceable while connections live.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateRevocationListDer, UnixTime};
use webpki::{
    CertRevocationList, OwnedCertRevocationList, RevocationOptions, RevocationOptionsBuilder,
    UnknownStatusPolicy,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::details::{day, printable};
use super::identity::IdentityError;

/// The largest file of lists, in bytes: the signature of a list, over all of it, is checked each time
/// that a peer shows a certificate of its authority, which is to stay below 20 ms.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What authorities have withdrawn, as their files say.
#[derive(Debug)]
pub struct RevocationLists {
    files: Vec<PathBuf>,
    must_know: bool,
    current: ArcSwap<Lists>,
}

/// The lists of all files at one moment.
#[derive(Debug)]
pub(super) struct Lists(Vec<(CertRevocationList<'static>, ListDetails)>);

/// What one list says of itself.
#[derive(Clone, Debug)]
pub struct ListDetails {
    /// Its file.
    pub file: PathBuf,
    /// Whose list it is: a distinguished name.
    pub issuer: String,
    /// How many certificates are on it.
    pub count: usize,
    next_update: UnixTime,
}

impl ListDetails {
    /// Returns whether its successor should be there (RFC 5280 s.5.1.2.5).
    pub fn is_expired(&self, now: UnixTime) -> bool {
        now >= self.next_update
    }

    /// Returns the day, in UTC, by which its successor comes, as `2026-01-31`.
    pub fn last_day(&self) -> String {
        day(self.next_update)
    }

    /// Returns when its successor comes, in seconds since 1970.
    pub fn next_update_s(&self) -> u64 {
        self.next_update.as_secs()
    }
}

impl RevocationLists {
    /// Reads the lists, in PEM or DER. With `must_know` a certificate is refused where no list
    /// says of it, and of each below the root, that it is not revoked.
    ///
    /// # Errors
    /// Fails when a file cannot be read, or holds no list that can be used: one of version 2, that
    /// says when the next one comes, and is neither a delta nor indirect.
    pub fn load(files: &[PathBuf], must_know: bool) -> Result<Self, IdentityError> {
        let current = ArcSwap::from_pointee(Lists::read(files)?);
        Ok(Self { files: files.to_vec(), must_know, current })
    }

    /// Reads the files again; on an error the lists in use stay.
    pub fn reload(&self) -> Result<(), IdentityError> {
        self.current.store(Arc::new(Lists::read(&self.files)?));
        Ok(())
    }

    /// Returns what the lists in use say of themselves.
    pub fn details(&self) -> Vec<ListDetails> {
        self.current.load().0.iter().map(|(_, details)| details.clone()).collect()
    }

    pub(super) fn current(&self) -> Arc<Lists> {
        self.current.load_full()
    }

    pub(super) const fn must_know(&self) -> bool {
        self.must_know
    }
}

impl Lists {
    fn read(files: &[PathBuf]) -> Result<Self, IdentityError> {
        let mut lists = Vec::new();
        for file in files {
            let unreadable = |reason: String| IdentityError::Unreadable {
                what: "a revocation list",
                path: file.clone(),
                reason,
            };
            for der in read_file(file).map_err(unreadable)? {
                lists.push(read_list(file, &der).map_err(unreadable)?);
            }
        }
        // Of two lists of an authority the first one found counts.
        lists.sort_by_key(|(_, details)| std::cmp::Reverse(details.next_update));
        Ok(Self(lists))
    }

    pub(super) fn borrowed(&self) -> Vec<&CertRevocationList<'static>> {
        self.0.iter().map(|(list, _)| list).collect()
    }
}

/// Returns how a chain is checked against the lists; not at all where there are none.
///
/// An expired list still counts: what it revokes stays revoked, and an authority that is late must
/// not cut off everybody.
pub(super) fn options<'a>(
    lists: &'a [&'a CertRevocationList<'a>],
    must_know: bool,
) -> Option<RevocationOptions<'a>> {
    let unknown = if must_know { UnknownStatusPolicy::Deny } else { UnknownStatusPolicy::Allow };
    let builder = RevocationOptionsBuilder::new(lists).ok()?;
    Some(builder.with_status_policy(unknown).build())
}

fn read_file(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    if read.map_err(|error| error.to_string())? as u64 > FILE_BYTES_MAX {
        return Err(format!("the file is larger than {FILE_BYTES_MAX} bytes"));
    }
    // DER begins with the tag of a SEQUENCE, which is no letter of PEM.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.into()]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match lists.map_err(|error| error.to_string())? {
        lists if lists.is_empty() => Err("the file holds no PEM block of this kind".to_owned()),
        lists => Ok(lists),
    }
}

fn read_list(
    file: &Path,
    der: &[u8],
) -> Result<(CertRevocationList<'static>, ListDetails), String> {
    let owned = OwnedCertRevocationList::from_der(der).map_err(|error| error.to_string())?;
    let (_, said) = CertificateRevocationList::from_der(der).map_err(|error| error.to_string())?;
    let next_update = said.next_update().map(|time| time.timestamp()).unwrap_or_default();
    let next_update = std::time::Duration::from_secs(next_update.try_into().unwrap_or_default());
    let details = ListDetails {
        file: file.into(),
        issuer: printable(&said.issuer().to_string()),
        count: said.iter_revoked_certificates().count(),
        next_update: UnixTime::since_unix_epoch(next_update),
    };
    Ok((owned.into(), details))
}

#[cfg(test)]
mod tests;
