//! Every reason for which a chain is refused, and the bounds below which it is not.

use std::sync::Arc;

use rcgen::{
    CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, KeyPair, PKCS_RSA_SHA256,
    PublicKeyData, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, UnixTime};

use super::{Purpose, TrustAnchors, Untrusted};
use crate::tls::testing::{Authority, dns, lists, params};

fn verify(chain: &[CertificateDer<'_>], anchors: &TrustAnchors) -> Result<(), Untrusted> {
    anchors.verify(chain, Purpose::Server, UnixTime::now())
}

fn verdict(change: impl Fn(&mut CertificateParams)) -> Result<(), Untrusted> {
    let authority = Authority::new("ca");
    let mut params = params(&["peer.example"]);
    change(&mut params);
    verify(&[authority.sign(&params)], &authority.anchors())
}

// RTLS-19: public authorities issue serverAuth only; clientAuth alone is no server's certificate.
#[test]
fn the_usages_must_allow_a_server() {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, ServerAuth};
    let wrong = |usages: &str| Err(Untrusted::WrongUsage(usages.to_owned()));
    let cases: [(&[ExtendedKeyUsagePurpose], _); 8] = [
        (&[], Ok(())),
        (&[ServerAuth], Ok(())),
        (&[ServerAuth, ClientAuth], Ok(())),
        (&[Any], Ok(())),
        (&[ClientAuth, Any], Ok(())),
        (&[ClientAuth], wrong("clientAuth")),
        (&[CodeSigning], wrong("codeSigning")),
        (&[ClientAuth, CodeSigning], wrong("clientAuth, codeSigning")),
    ];
    for (usages, expected) in cases {
        let found = verdict(|params| params.extended_key_usages = usages.to_vec());
        assert_eq!(found, expected, "{usages:?}");
    }
}

#[test]
fn the_validity_counts_on_both_ends() {
    let expired = verdict(|params| params.not_after = date_time_ymd(2021, 3, 4));
    assert_eq!(expired, Err(Untrusted::Expired("2021-03-04".into())));
    let early = verdict(|params| params.not_before = date_time_ymd(2048, 12, 31));
    assert_eq!(early, Err(Untrusted::NotYetValid("2048-12-31".into())));
}

#[test]
fn another_authority_and_no_certificate_are_told_apart() {
    let leaf = Authority::new("other").sign(&params(&["peer.example"]));
    let ours = Authority::new("ours").anchors();
    assert_eq!(verify(&[leaf], &ours), Err(Untrusted::UnknownIssuer));
    assert_eq!(verify(&[], &ours), Err(Untrusted::NoCertificate));
}

#[test]
fn a_leaf_may_have_256_names_and_no_more() {
    let names = |count| (0..count).map(|it| dns(&format!("n{it}.example"))).collect();
    assert_eq!(verdict(|params| params.subject_alt_names = names(256)), Ok(()));
    let found = verdict(|params| params.subject_alt_names = names(257));
    assert_eq!(found, Err(Untrusted::TooManyNames(257)));
}

#[test]
fn a_chain_may_have_8_certificates_and_32_kib() {
    let authority = Authority::new("ca");
    let leaf = authority.sign(&params(&["peer.example"]));
    // What does not belong to the path is passed over, but counted.
    assert_eq!(verify(&vec![leaf.clone(); 8], &authority.anchors()), Ok(()));
    assert_eq!(verify(&vec![leaf; 9], &authority.anchors()), Err(Untrusted::ChainTooLong));
    let with_bytes = |count: usize| {
        let content = [vec![0x04, 0x82], vec![(count >> 8) as u8, count as u8], vec![0; count]];
        let extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 9], content.concat());
        verdict(|params| params.custom_extensions = vec![extension.clone()])
    };
    assert_eq!(with_bytes(32_000), Ok(()));
    assert_eq!(with_bytes(33_000), Err(Untrusted::ChainTooLong));
}

/// An RSA key of so many bits, which nobody has.
struct LongKey(Vec<u8>);

impl LongKey {
    fn new(bits: usize) -> Self {
        let element = |tag: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            [&[tag, 0x82], length.as_slice(), content].concat()
        };
        let modulus = [vec![0], vec![0xff; bits / 8]].concat();
        let numbers = [element(0x02, &modulus), element(0x02, &[1, 0, 1])].concat();
        Self(element(0x30, &numbers))
    }
}

impl PublicKeyData for LongKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

#[test]
fn an_rsa_key_may_have_8192_bits_wherever_it_is_in_the_chain() {
    let authority = Authority::new("ca");
    let with_bits = |bits| authority.sign_key(&params(&["peer.example"]), &LongKey::new(bits));
    let leaf = authority.sign_key(&params(&["peer.example"]), &KeyPair::generate().unwrap());
    assert_eq!(verify(&[with_bits(8192)], &authority.anchors()), Ok(()));
    for chain in [vec![with_bits(16_384)], vec![leaf, with_bits(16_384)]] {
        assert_eq!(verify(&chain, &authority.anchors()), Err(Untrusted::KeyTooLong(16_384)));
    }
}

#[test]
fn what_a_list_revokes_is_refused_and_unknown_status_only_where_it_must_be_known() {
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let leaf = |serial: u64| {
        let mut params = params(&["peer.example"]);
        params.serial_number = Some(SerialNumber::from(serial));
        authority.sign(&params)
    };
    let (revoked, good) = (leaf(7), leaf(8));
    let due = |year| authority.list(&[7], year);
    for (name, texts, must_know, of_revoked, of_good) in [
        ("in time", vec![due(2049)], false, Err(Untrusted::Revoked), Ok(())),
        ("out of date", vec![due(2021)], false, Err(Untrusted::Revoked), Ok(())),
        ("in time, must know", vec![due(2049)], true, Err(Untrusted::Revoked), Ok(())),
        ("another's", vec![other.list(&[7, 8], 2049)], false, Ok(()), Ok(())),
        (
            "another's, must know",
            vec![other.list(&[7], 2049)],
            true,
            Err(Untrusted::RevocationUnknown),
            Err(Untrusted::RevocationUnknown),
        ),
        (
            "the newer of two",
            vec![authority.list(&[], 2030), authority.list(&[7], 2040)],
            false,
            Err(Untrusted::Revoked),
            Ok(()),
        ),
    ] {
        let anchors = authority.anchors().with_revocations(Arc::new(lists(&texts, must_know)));
        let verdicts = [&revoked, &good].map(|leaf| verify(std::slice::from_ref(leaf), &anchors));
        assert_eq!(verdicts, [of_revoked, of_good], "{name}");
    }
}

#[test]
fn a_list_of_our_authority_that_it_did_not_sign_lets_nothing_through() {
    let (authority, impostor) = (Authority::new("ca"), Authority::new("ca"));
    let lists = lists(&[impostor.list(&[], 2049)], false);
    let anchors = authority.anchors().with_revocations(Arc::new(lists));
    let found = verify(&[authority.sign(&params(&["peer.example"]))], &anchors);
    assert!(matches!(found, Err(Untrusted::Invalid(_))), "{found:?}");
}
