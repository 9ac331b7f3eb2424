//! Lists in files: both forms, what is none, and what stays when a new one cannot be read.

use std::fs;

use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use super::{CertificateRevocationListDer, RevocationLists};
use crate::tls::testing::Authority;

#[test]
fn lists_are_read_in_pem_and_der_and_say_until_when_they_are_good() {
    let directory = TempDir::new().unwrap();
    let [pem, der] = ["pem", "der"].map(|name| directory.path().join(name));
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    fs::write(&pem, one.list(&[1, 2], 2049) + &two.list(&[], 2021)).unwrap();
    let list = one.list(&[3], 2030);
    let list = CertificateRevocationListDer::from_pem_slice(list.as_bytes()).unwrap();
    fs::write(&der, &*list).unwrap();
    let lists = RevocationLists::load(&[pem.clone(), der.clone()], false).unwrap();
    let now = UnixTime::now();
    let said = lists.details();
    let said: Vec<_> = said
        .iter()
        .map(|it| (it.file.clone(), it.count, it.last_day(), it.is_expired(now)))
        .collect();
    assert_eq!(
        said,
        [
            (pem.clone(), 2, "2049-01-01".to_owned(), false),
            (der, 1, "2030-01-01".to_owned(), false),
            (pem, 0, "2021-01-01".to_owned(), true),
        ]
    );
}

#[test]
fn what_is_no_list_is_refused_and_leaves_the_one_in_use() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("ca.crl");
    let authority = Authority::new("ca");
    fs::write(&file, authority.list(&[1], 2049)).unwrap();
    let lists = RevocationLists::load(std::slice::from_ref(&file), false).unwrap();
    let certificate = authority.certificate.to_vec();
    for content in [b"garbage".to_vec(), Vec::new(), b"\x30\x03abc".to_vec(), certificate] {
        fs::write(&file, &content).unwrap();
        let error = lists.reload().unwrap_err().to_string();
        assert!(error.contains("a revocation list") && error.contains("ca.crl"), "{error}");
        assert_eq!(lists.details()[0].count, 1);
    }
    fs::write(&file, authority.list(&[1, 2, 3], 2049)).unwrap();
    lists.reload().unwrap();
    assert_eq!(lists.details()[0].count, 3);
}
