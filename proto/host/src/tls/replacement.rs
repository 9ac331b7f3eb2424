//! Puts a new certificate and key in the place of those in use, so that whoever reads the two
//! files, at any moment, finds a certificate with its key.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::IdentityFiles;

/// What a file may be read by where none stood before: its owner and the group of the process.
const MODE: u32 = 0o640;

/// A file that cannot be written, or read for being kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}", path = path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

impl IdentityFiles {
    /// Returns where a key waits for its certificate, beside the key in use.
    pub fn pending_key(&self) -> PathBuf {
        beside(&self.key, "pending")
    }

    /// Returns where the certificate and the key that were in use are kept.
    pub fn old(&self) -> Self {
        Self { certificate: beside(&self.certificate, "old"), key: beside(&self.key, "old") }
    }

    /// Puts a chain (leaf first, in PEM) into the place of that in use, for the key in use.
    ///
    /// # Errors
    /// Fails when a file cannot be written; what is in use still goes together.
    pub fn replace_certificate(&self, chain: &str) -> Result<(), WriteError> {
        keep(&self.certificate)?;
        replace(&self.certificate, chain)
    }

    /// Puts a chain (leaf first, in PEM) and its key, which waits, into the place of those in use.
    ///
    /// # Errors
    /// Fails when a file cannot be written; what is in use still goes together.
    pub fn replace_both(&self, chain: &str) -> Result<(), WriteError> {
        self.steps(chain)?.into_iter().try_for_each(|step| step())
    }

    /// The steps of a replacement. After each the certificate in place has its key in place,
    /// because the file of keys holds both while the certificate changes.
    fn steps<'a>(&'a self, chain: &'a str) -> Result<[Step<'a>; 5], WriteError> {
        let pending = self.pending_key();
        let new = fs::read_to_string(&pending).map_err(failed(&pending))?;
        let both = match fs::read_to_string(&self.key) {
            Ok(old) => format!("{new}{old}"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => new.clone(),
            Err(error) => return Err(failed(&self.key)(error)),
        };
        Ok([
            Box::new(|| keep(&self.certificate).and_then(|()| keep(&self.key))),
            Box::new(move || replace(&self.key, &both)),
            Box::new(|| replace(&self.certificate, chain)),
            Box::new(move || replace(&self.key, &new)),
            Box::new(move || fs::remove_file(&pending).map_err(failed(&pending))),
        ])
    }
}

type Step<'a> = Box<dyn Fn() -> Result<(), WriteError> + 'a>;

/// Writes a file that must not be there yet, which its owner alone may read.
///
/// # Errors
/// Fails when it is there, or cannot be written.
pub fn write_new(path: &Path, text: &str) -> Result<(), WriteError> {
    create(path, text).map_err(failed(path))
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Replaces a file at once and whole; the new one may be read by whoever might read the old one.
fn replace(path: &Path, text: &str) -> Result<(), WriteError> {
    // A link stays one.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let new = beside(path, "new");
    remove(&new)?;
    create(&new, text).map_err(failed(&new))?;
    let in_place = fs::metadata(path).ok();
    let placed = give(&new, in_place.as_ref()).and_then(|()| fs::rename(&new, path));
    placed.and_then(|()| sync_directory(path)).map_err(failed(path))
}

fn give(new: &Path, in_place: Option<&Metadata>) -> io::Result<()> {
    if let Some(old) = in_place {
        let own = fs::metadata(new)?;
        if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
            chown(new, Some(old.uid()), Some(old.gid()))?;
        }
    }
    let mode = in_place.map_or(MODE, |old| old.mode() & 0o7777);
    fs::set_permissions(new, Permissions::from_mode(mode))
}

// The names must be on the disk in the order in which they were changed.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Keeps what is in place under another name; the file itself stays where it is.
fn keep(path: &Path) -> Result<(), WriteError> {
    let old = beside(path, "old");
    let Ok(in_place) = fs::canonicalize(path) else { return Ok(()) };
    remove(&old)?;
    fs::hard_link(in_place, &old).map_err(failed(&old))
}

fn remove(path: &Path) -> Result<(), WriteError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    |source| WriteError { path, source }
}

#[cfg(test)]
mod tests;
