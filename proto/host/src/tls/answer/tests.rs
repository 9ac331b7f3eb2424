//! Answers of authorities: which are taken, in which order, and every reason why others are not.

use std::slice::from_ref;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use tempfile::TempDir;
use xmpp_proto::jid::Domain;

use super::{Answer, Misfit};
use crate::tls::{OwnKey, Purpose, TrustAnchors, Untrusted};

/// A root, an issuer below it, and a key that waits for its certificate.
struct Ground {
    root: CertificateDer<'static>,
    between: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    anchors: TrustAnchors,
    pair: KeyPair,
    key: OwnKey,
}

fn authority(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
}

impl Ground {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let (root_key, between_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = authority("root").self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(authority("root"), root_key);
        let between = authority("between").signed_by(&between_key, &root_issuer).unwrap();
        let file = directory.path().join("root.pem");
        std::fs::write(&file, root.pem()).unwrap();
        let anchors = TrustAnchors::load(&[file]).unwrap();
        let pair = KeyPair::generate().unwrap();
        let file = directory.path().join("key");
        std::fs::write(&file, pair.serialize_pem()).unwrap();
        let key = OwnKey::load(&file).unwrap().remove(0);
        let issuer = Issuer::new(authority("between"), between_key);
        let (root, between) = (root.der().clone(), between.der().clone());
        Self { root, between, issuer, anchors, pair, key }
    }

    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let names = ["contoso.example", "*.litware.example"].map(str::to_owned);
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, "leaf");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut parameters);
        parameters.signed_by(&self.pair, &self.issuer).unwrap().der().clone()
    }

    fn examine(&self, came: &[&CertificateDer<'static>]) -> Result<Answer, Vec<Misfit>> {
        let came: Vec<_> = came.iter().map(|it| (*it).clone()).collect();
        let domains = [domain("contoso.example")];
        Answer::examine(&came, &self.key, &domains, Purpose::Server, &self.anchors, UnixTime::now())
    }
}

fn domain(name: &str) -> Domain {
    name.parse().unwrap()
}

#[test]
fn a_chain_in_any_order_is_put_leaf_first_without_what_does_not_belong() {
    let ground = Ground::new();
    let leaf = ground.leaf(|_| ());
    let stranger = authority("stranger").self_signed(&KeyPair::generate().unwrap()).unwrap();
    let stranger = stranger.der().clone();
    let right = [&leaf, &ground.between].map(Clone::clone);
    let answer = ground.examine(&[&leaf, &ground.between]).unwrap();
    assert_eq!((answer.chain.as_slice(), answer.was_rearranged), (right.as_slice(), false));
    let orders = [[&ground.between, &leaf, &stranger], [&stranger, &ground.between, &leaf]];
    for came in orders {
        let answer = ground.examine(&came).unwrap();
        assert_eq!((answer.chain.as_slice(), answer.was_rearranged), (right.as_slice(), true));
        assert!(!answer.has_unknown_issuer);
    }
    let whole = ground.examine(&[&ground.root, &ground.between, &leaf]).unwrap();
    assert_eq!(whole.chain, [leaf, ground.between, ground.root]);
}

#[test]
fn what_is_written_is_the_chain_again() {
    let ground = Ground::new();
    let answer = ground.examine(&[&ground.leaf(|_| ()), &ground.between]).unwrap();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("chain.pem");
    std::fs::write(&file, answer.pem()).unwrap();
    assert_eq!(crate::tls::Details::certificates(&file).unwrap(), answer.chain);
    assert!(answer.pem().lines().all(|line| !line.is_empty() && line.len() <= 64));
}

#[test]
fn every_misfit_of_a_certificate_is_said() {
    let ground = Ground::new();
    let misfits = |change: &dyn Fn(&mut CertificateParams)| {
        ground.examine(&[&ground.leaf(change), &ground.between]).unwrap_err()
    };
    let expired = Misfit::Expired("2021-01-01".into());
    let early = Misfit::NotYetValid("4000-01-01".into());
    let client = Misfit::WrongUsage { purpose: Purpose::Server, usages: "clientAuth".into() };
    let client_only = vec![ExtendedKeyUsagePurpose::ClientAuth];
    assert_eq!(misfits(&|it| it.not_after = date_time_ymd(2021, 1, 1)), from_ref(&expired));
    assert_eq!(misfits(&|it| it.not_before = date_time_ymd(4000, 1, 1)), [early]);
    assert_eq!(misfits(&|it| it.extended_key_usages.clone_from(&client_only)), from_ref(&client));
    let missing = Misfit::DomainMissing(domain("contoso.example"));
    assert_eq!(misfits(&|it| it.subject_alt_names.clear()), from_ref(&missing));
    let everything = |it: &mut CertificateParams| {
        it.not_after = date_time_ymd(2021, 1, 1);
        it.extended_key_usages.clone_from(&client_only);
        it.subject_alt_names.clear();
    };
    assert_eq!(misfits(&everything), [expired, client, missing]);
}

#[test]
fn a_certificate_of_another_key_is_refused_and_so_is_one_of_an_authority() {
    let ground = Ground::new();
    let other = Ground::new().leaf(|_| ());
    assert_eq!(ground.examine(&[&other, &ground.between]).unwrap_err(), [Misfit::OtherKey]);
    assert_eq!(ground.examine(&[&ground.between]).unwrap_err(), [Misfit::OtherKey]);
    let authority = ground.leaf(|it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let misfits = ground.examine(&[&authority, &ground.between]).unwrap_err();
    assert!(matches!(misfits[..], [Misfit::Untrusted(Untrusted::Invalid(_))]), "{misfits:?}");
}

#[test]
fn an_unknown_issuer_is_told_and_refuses_nothing() {
    let ground = Ground::new();
    let leaf = ground.leaf(|_| ());
    let answer = ground.examine(&[&leaf]).unwrap();
    assert!(answer.has_unknown_issuer && !answer.was_rearranged);
    assert!(answer.names(&domain("a.litware.example")));
    assert!(!answer.names(&domain("litware.example")));
}

#[test]
fn usages_for_both_roles_or_none_are_taken() {
    let ground = Ground::new();
    let both = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    for usages in [both, Vec::new()] {
        let leaf = ground.leaf(|it| it.extended_key_usages = usages);
        assert!(ground.examine(&[&leaf, &ground.between]).is_ok());
    }
}
