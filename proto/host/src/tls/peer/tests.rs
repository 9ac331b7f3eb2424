//! The certificate shapes of a federation: which prove a domain, and which do not.

use rcgen::{
    ExtendedKeyUsagePurpose, KeyPair, OtherNameValue, PublicKeyData, SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use xmpp_proto::stream::PeerCertificate;

use super::{KeyPin, PartnerTrust, PeerIdentity, Untrusted};
use crate::tls::testing::{Authority, dns, params};

fn leaf(authority: &Authority, names: Vec<SanType>) -> CertificateDer<'static> {
    let mut params = params(&[]);
    params.subject_alt_names = names;
    params.distinguished_name.push(rcgen::DnType::CommonName, "cn.example");
    authority.sign(&params)
}

fn xmpp_addr(address: &str) -> SanType {
    let oid = vec![1, 3, 6, 1, 5, 5, 7, 8, 5];
    SanType::OtherName((oid, OtherNameValue::Utf8String(address.into())))
}

fn proves(names: Vec<SanType>, domain: &str) -> bool {
    let authority = Authority::new("ca");
    let leaf = leaf(&authority, names);
    let identity = PeerIdentity::examine(&[leaf], &authority.anchors(), UnixTime::now());
    identity.proves(&domain.parse().unwrap())
}

#[test]
fn a_dns_name_proves_its_domain_and_no_other() {
    assert!(proves(vec![dns("peer.example")], "peer.example"));
    assert!(proves(vec![dns("PEER.example")], "peer.example"));
    assert!(!proves(vec![dns("peer.example")], "evil.peer.example"));
    assert!(!proves(vec![dns("evilpeer.example")], "peer.example"));
    assert!(!proves(vec![dns("other.example")], "cn.example"), "the common name is never used");
}

#[test]
fn a_wildcard_stands_for_exactly_the_first_label() {
    let wildcard = || vec![dns("*.peer.example")];
    assert!(proves(wildcard(), "a.peer.example"));
    assert!(!proves(wildcard(), "peer.example"));
    assert!(!proves(wildcard(), "a.b.peer.example"));
    assert!(!proves(vec![dns("a*.peer.example")], "ab.peer.example"));
    assert!(!proves(vec![dns("*.example")], "example"));
}

#[test]
fn an_internationalised_domain_is_compared_as_a_labels() {
    assert!(proves(vec![dns("xn--mnchen-3ya.example")], "münchen.example"));
}

#[test]
fn an_xmpp_address_proves_a_domain_but_not_when_it_is_a_user() {
    assert!(proves(vec![xmpp_addr("peer.example")], "peer.example"));
    assert!(!proves(vec![xmpp_addr("user@peer.example")], "peer.example"));
}

/// An SRV-ID, which is an IA5String.
fn srv_id(name: &str) -> Vec<u8> {
    let element =
        |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
    let name = element(0xa0, &element(0x16, name.as_bytes()));
    let other_name = [element(0x06, &[0x2b, 6, 1, 5, 5, 7, 8, 7]), name].concat();
    element(0x30, &element(0xa0, &other_name))
}

// RFC 9525 s.6.5; RTLS-15.
#[test]
fn an_srv_id_proves_its_domain_for_servers_alone_and_without_wildcards() {
    let authority = Authority::new("ca");
    for (name, proven) in [
        ("_xmpp-server.peer.example", true),
        ("_XMPP-Server.PEER.example", true),
        ("_xmpp-client.peer.example", false),
        ("_xmpp-server.*.example", false),
        ("_xmpp-server.other.example", false),
        ("peer.example", false),
    ] {
        let mut params = params(&[]);
        let extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], srv_id(name));
        params.custom_extensions = vec![extension];
        let chain = [authority.sign(&params)];
        let identity = PeerIdentity::examine(&chain, &authority.anchors(), UnixTime::now());
        assert_eq!(identity.trust(), Ok(()), "{name}");
        assert_eq!(identity.proves(&"peer.example".parse().unwrap()), proven, "{name}");
    }
    assert!(!proves(vec![xmpp_addr("*.example")], "peer.example"));
}

#[test]
fn a_name_with_nul_proves_nothing() {
    assert!(!proves(vec![dns("peer.example\0.evil.example")], "peer.example"));
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

#[test]
fn a_sip_server_proves_its_sip_uris_or_else_its_dns_names_without_wildcards() {
    let domains = |names: Vec<SanType>, authority: &Authority, trusted: &Authority| {
        let leaf = leaf(authority, names);
        PeerIdentity::examine(&[leaf], &trusted.anchors(), UnixTime::now()).sip_domains()
    };
    let own = Authority::new("own");
    for (names, proven) in [
        (vec![dns("SIP1.example"), dns("*.example")], vec!["sip1.example"]),
        (vec![dns("sip1.example"), uri("sip:contoso.example")], vec!["contoso.example"]),
        (
            vec![uri("SIP:Contoso.example"), uri("sip:b.example")],
            vec!["contoso.example", "b.example"],
        ),
        (vec![uri("sip:romeo@contoso.example"), uri("https://c.example")], vec![]),
        (vec![uri("sip:*.example")], vec![]),
        (vec![], vec![]),
    ] {
        assert_eq!(domains(names.clone(), &own, &own), proven, "{names:?}");
        assert_eq!(domains(names, &own, &Authority::new("other")), [""; 0], "another authority's");
    }
}

fn pin_of(key: &KeyPair) -> KeyPin {
    KeyPin(Sha256::digest(key.subject_public_key_info()).into())
}

fn trust_as(
    chain: &[CertificateDer<'_>],
    anchors: &[&Authority],
    pins: &[KeyPin],
) -> Result<(), Untrusted> {
    let ours = Authority::new("ours").anchors();
    let identity = PeerIdentity::examine(chain, &ours, UnixTime::now());
    let certificates = anchors.iter().map(|it| &*it.certificate);
    let partner = PartnerTrust::new(certificates, pins.to_vec()).unwrap();
    identity.trust_as(&partner, &ours, UnixTime::now())
}

#[test]
fn an_authority_of_a_partner_counts_for_that_partner() {
    let (theirs, other) = (Authority::new("theirs"), Authority::new("other"));
    let chain = [leaf(&theirs, vec![dns("peer.example")])];
    assert_eq!(trust_as(&chain, &[&theirs], &[]), Ok(()));
    assert_eq!(trust_as(&chain, &[&other, &theirs], &[]), Ok(()));
    for anchors in [&[][..], &[&other]] {
        assert_eq!(trust_as(&chain, anchors, &[]), Err(Untrusted::UnknownIssuer));
    }
    assert_eq!(trust_as(&[], &[&theirs], &[]), Err(Untrusted::NoCertificate));
}

#[test]
fn a_pinned_key_needs_no_authority_and_no_other_key_will_do() {
    let key = KeyPair::generate().unwrap();
    let (right, wrong) = (pin_of(&key), pin_of(&KeyPair::generate().unwrap()));
    let theirs = Authority::new("theirs");
    let params = params(&["peer.example"]);
    let self_signed = [params.self_signed(&key).unwrap().der().clone()];
    let signed = [theirs.sign_key(&params, &key)];
    let not_pinned = Err(Untrusted::KeyNotPinned);
    assert_eq!(trust_as(&self_signed, &[], &[wrong, right]), Ok(()));
    assert_eq!(trust_as(&signed, &[], &[right]), Ok(()));
    assert_eq!(trust_as(&self_signed, &[], &[wrong]), not_pinned);
    assert_eq!(trust_as(&signed, &[&theirs], &[wrong]), not_pinned, "in spite of its authority");
    assert_eq!(trust_as(&[], &[], &[right]), Err(Untrusted::NoCertificate));
}

#[test]
fn a_self_signed_certificate_with_a_pinned_key_still_has_dates_usages_and_names() {
    let key = KeyPair::generate().unwrap();
    let chain = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let mut params = params(&["peer.example"]);
        change(&mut params);
        [params.self_signed(&key).unwrap().der().clone()]
    };
    // As `openssl req -x509` makes them.
    let authority = chain(&|params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    assert_eq!(trust_as(&authority, &[], &[pin_of(&key)]), Ok(()));
    let expired = chain(&|params| params.not_after = date_time_ymd(2021, 1, 2));
    let early = chain(&|params| params.not_before = date_time_ymd(2048, 1, 2));
    let client =
        chain(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    for (chain, reason) in [
        (expired, Untrusted::Expired("2021-01-02".into())),
        (early, Untrusted::NotYetValid("2048-01-02".into())),
        (client, Untrusted::WrongUsage("clientAuth".into())),
    ] {
        assert_eq!(trust_as(&chain, &[], &[pin_of(&key)]), Err(reason));
    }
    let ours = Authority::new("ours").anchors();
    let identity = PeerIdentity::examine(&chain(&|_| ()), &ours, UnixTime::now());
    assert!(identity.names(&"peer.example".parse().unwrap()));
    assert!(!identity.names(&"other.example".parse().unwrap()));
}

#[test]
fn the_names_that_a_peer_presents_are_told_whoever_issued_them_up_to_a_limit() {
    let names = vec![dns("*.Peer.example"), xmpp_addr("peer.example"), uri("sip:c.example")];
    let leaf = leaf(&Authority::new("theirs"), names);
    let ours = Authority::new("ours").anchors();
    let peer = PeerIdentity::examine(&[leaf], &ours, UnixTime::now());
    let all = ["*.peer.example", "xmpp:peer.example", "sip:c.example"];
    assert_eq!(peer.presented_names(9), all);
    assert_eq!(peer.presented_names(2), all[..2]);
}
