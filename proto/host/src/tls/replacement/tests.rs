//! Replacements of a certificate and its key: what is in place after each step, and who may read it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::write_new;
use crate::tls::IdentityFiles;

struct Ground {
    directory: TempDir,
    files: IdentityFiles,
}

fn make() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(["contoso.example".to_owned()]).unwrap();
    (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

impl Ground {
    /// A directory with nothing in it.
    fn empty() -> Self {
        let directory = TempDir::new().unwrap();
        let path = |name| directory.path().join(name);
        let files = IdentityFiles { certificate: path("xmpp.pem"), key: path("xmpp.key") };
        Self { directory, files }
    }

    /// A pair in use.
    fn new() -> Self {
        let ground = Self::empty();
        let (certificate, key) = make();
        fs::write(&ground.files.certificate, certificate).unwrap();
        fs::write(&ground.files.key, key).unwrap();
        ground
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|it| name(it).into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn after_each_step_the_certificate_in_place_has_its_key() {
    let ground = Ground::new();
    let old = fs::read_to_string(&ground.files.certificate).unwrap();
    let (certificate, key) = make();
    write_new(&ground.files.pending_key(), &key).unwrap();
    for step in ground.files.steps(&certificate).unwrap() {
        step().unwrap();
        ground.files.load().unwrap();
    }
    assert_eq!(fs::read_to_string(&ground.files.certificate).unwrap(), certificate);
    assert_eq!(fs::read_to_string(&ground.files.key).unwrap(), key);
    ground.files.old().load().unwrap();
    assert_eq!(fs::read_to_string(ground.files.old().certificate).unwrap(), old);
    assert_eq!(ground.names(), ["xmpp.key", "xmpp.key.old", "xmpp.pem", "xmpp.pem.old"]);
}

#[test]
fn a_replacement_that_was_cut_off_anywhere_can_be_repeated() {
    for steps_done in 0..5 {
        let ground = Ground::new();
        let (certificate, key) = make();
        write_new(&ground.files.pending_key(), &key).unwrap();
        for step in &ground.files.steps(&certificate).unwrap()[..steps_done] {
            step().unwrap();
        }
        // Of the step that was cut off, a half.
        fs::write(ground.directory.path().join("xmpp.key.new"), "half").unwrap();
        ground.files.replace_both(&certificate).unwrap();
        ground.files.load().unwrap();
        assert_eq!(fs::read_to_string(&ground.files.key).unwrap(), key);
        assert_eq!(ground.names(), ["xmpp.key", "xmpp.key.old", "xmpp.pem", "xmpp.pem.old"]);
    }
}

#[test]
fn the_first_pair_goes_where_none_was() {
    let ground = Ground::empty();
    let (certificate, key) = make();
    write_new(&ground.files.pending_key(), &key).unwrap();
    ground.files.replace_both(&certificate).unwrap();
    ground.files.load().unwrap();
    assert_eq!(ground.names(), ["xmpp.key", "xmpp.pem"]);
    assert_eq!((mode(&ground.files.key), mode(&ground.files.certificate)), (0o640, 0o640));
}

#[test]
fn whoever_might_read_the_old_files_may_read_the_new_ones_and_nobody_else() {
    let ground = Ground::new();
    fs::set_permissions(&ground.files.key, Permissions::from_mode(0o440)).unwrap();
    fs::set_permissions(&ground.files.certificate, Permissions::from_mode(0o644)).unwrap();
    let (certificate, key) = make();
    write_new(&ground.files.pending_key(), &key).unwrap();
    assert_eq!(mode(&ground.files.pending_key()), 0o600);
    ground.files.replace_both(&certificate).unwrap();
    assert_eq!((mode(&ground.files.key), mode(&ground.files.certificate)), (0o440, 0o644));
}

#[test]
fn a_file_that_is_there_is_never_written_over_by_a_new_one() {
    let ground = Ground::new();
    let in_use = fs::read_to_string(&ground.files.key).unwrap();
    let error = write_new(&ground.files.key, "another").unwrap_err().to_string();
    assert!(error.contains("xmpp.key") && error.contains("exists"), "{error}");
    assert_eq!(fs::read_to_string(&ground.files.key).unwrap(), in_use);
}

#[test]
fn a_link_stays_one_and_its_file_is_replaced() {
    let ground = Ground::new();
    let kept = ground.directory.path().join("kept.pem");
    fs::rename(&ground.files.certificate, &kept).unwrap();
    std::os::unix::fs::symlink(&kept, &ground.files.certificate).unwrap();
    let (certificate, key) = make();
    write_new(&ground.files.pending_key(), &key).unwrap();
    ground.files.replace_both(&certificate).unwrap();
    assert!(ground.files.certificate.is_symlink());
    assert_eq!(fs::read_to_string(&kept).unwrap(), certificate);
    ground.files.load().unwrap();
    ground.files.old().load().unwrap();
}
