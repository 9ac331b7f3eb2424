//! The certificate shapes of a federation: which prove a domain, and which do not.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    OtherNameValue, SanType,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use xmpp_proto::stream::PeerCertificate;

use super::{PeerIdentity, TrustAnchors, Untrusted, anchor_from_trusted_cert};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    anchors: TrustAnchors,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let anchor = anchor_from_trusted_cert(certificate.der()).unwrap().to_owned();
    Authority { issuer: Issuer::new(params, key), anchors: TrustAnchors { anchors: vec![anchor] } }
}

fn leaf(
    authority: &Authority,
    names: Vec<SanType>,
    usages: &[ExtendedKeyUsagePurpose],
) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = names;
    params.extended_key_usages = usages.to_vec();
    params.distinguished_name.push(rcgen::DnType::CommonName, "cn.example");
    let key = KeyPair::generate().unwrap();
    params.signed_by(&key, &authority.issuer).unwrap().der().clone()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn xmpp_addr(address: &str) -> SanType {
    let oid = vec![1, 3, 6, 1, 5, 5, 7, 8, 5];
    SanType::OtherName((oid, OtherNameValue::Utf8String(address.into())))
}

fn proves(names: Vec<SanType>, domain: &str) -> bool {
    let authority = authority();
    let leaf = leaf(&authority, names, &[ExtendedKeyUsagePurpose::ServerAuth]);
    let identity = PeerIdentity::examine(&[leaf], &authority.anchors, UnixTime::now());
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

#[test]
fn a_name_with_nul_proves_nothing() {
    assert!(!proves(vec![dns("peer.example\0.evil.example")], "peer.example"));
}

// RTLS-19: public authorities issue serverAuth only; clientAuth alone is no server's certificate.
#[test]
fn the_usage_must_allow_a_server() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let authority = authority();
    let cases: [(&[ExtendedKeyUsagePurpose], bool); 4] = [
        (&[ServerAuth], true),
        (&[ServerAuth, ClientAuth], true),
        (&[], true),
        (&[ClientAuth], false),
    ];
    for (usages, expected) in cases {
        let leaf = leaf(&authority, vec![dns("peer.example")], usages);
        let identity = PeerIdentity::examine(&[leaf], &authority.anchors, UnixTime::now());
        assert_eq!(identity.proves(&"peer.example".parse().unwrap()), expected, "{usages:?}");
    }
}

#[test]
fn another_authority_an_expired_certificate_and_none_at_all_are_not_trusted() {
    let (ours, other) = (authority(), authority());
    let leaf = leaf(&other, vec![dns("peer.example")], &[ExtendedKeyUsagePurpose::ServerAuth]);
    let now = UnixTime::now();
    let examine = |chain: &[CertificateDer<'_>], anchors: &TrustAnchors, now| {
        let identity = PeerIdentity::examine(chain, anchors, now);
        assert!(!identity.proves(&"peer.example".parse().unwrap()));
        identity.trust().unwrap_err().clone()
    };
    let chain = std::slice::from_ref(&leaf);
    assert!(matches!(examine(chain, &ours.anchors, now), Untrusted::Invalid(_)));
    let far = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1 << 40));
    assert!(matches!(examine(chain, &other.anchors, far), Untrusted::Invalid(_)));
    assert_eq!(examine(&[], &ours.anchors, now), Untrusted::NoCertificate);
    let long = vec![leaf; 9];
    assert_eq!(examine(&long, &other.anchors, now), Untrusted::ChainTooLong);
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

#[test]
fn a_sip_server_proves_its_sip_uris_or_else_its_dns_names_without_wildcards() {
    let domains = |names: Vec<SanType>, authority: &Authority, trusted: &Authority| {
        let leaf = leaf(authority, names, &[ExtendedKeyUsagePurpose::ServerAuth]);
        PeerIdentity::examine(&[leaf], &trusted.anchors, UnixTime::now()).sip_domains()
    };
    let own = authority();
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
        assert_eq!(domains(names, &own, &authority()), [""; 0], "another authority's");
    }
}

#[test]
fn the_names_that_a_peer_presents_are_told_whoever_issued_them_up_to_a_limit() {
    let names = vec![dns("*.Peer.example"), xmpp_addr("peer.example"), uri("sip:c.example")];
    let leaf = leaf(&authority(), names, &[ExtendedKeyUsagePurpose::ServerAuth]);
    let peer = PeerIdentity::examine(&[leaf], &authority().anchors, UnixTime::now());
    let all = ["*.peer.example", "xmpp:peer.example", "sip:c.example"];
    assert_eq!(peer.presented_names(9), all);
    assert_eq!(peer.presented_names(2), all[..2]);
}
