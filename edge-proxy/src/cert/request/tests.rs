//! Requests: which names are asked for, in which order and in which form.

use rcgen::{CertificateSigningRequestParams, KeyPair, SanType};

use host::tls::Purpose;

use super::{Names, Wish, der, parameters};
use crate::config::CertificateNames;

fn wish(has_sip: bool, has_srv_ids: bool) -> Wish {
    let parse = |names: &[&str]| names.iter().map(|it| it.parse().unwrap()).collect();
    let names = CertificateNames {
        domains: parse(&["contoso.example", "bücher.example"]),
        host_names: parse(&["edge.contoso.example"]),
    };
    let more: Vec<_> = parse(&["conference.contoso.example", "Contoso.example"]);
    let names = Names::new(&names, &more, has_sip);
    Wish { names, is_rsa: false, has_srv_ids, purpose: Purpose::Server }
}

#[test]
fn hosts_come_first_then_each_domain_with_its_sip_name_and_each_once() {
    let with_sip = [
        "edge.contoso.example",
        "sip.contoso.example",
        "contoso.example",
        "sip.xn--bcher-kva.example",
        "xn--bcher-kva.example",
        "conference.contoso.example",
    ];
    assert_eq!(wish(true, false).names.dns, with_sip);
    let without: Vec<_> = with_sip.into_iter().filter(|it| !it.starts_with("sip.")).collect();
    assert_eq!(wish(false, false).names.dns, without);
}

#[test]
fn a_request_carries_its_names_and_the_usage_of_a_server() {
    let wish = wish(true, false);
    let key = KeyPair::generate().unwrap();
    let request = parameters(&wish).unwrap().serialize_request(&key).unwrap();
    let read = CertificateSigningRequestParams::from_der(request.der()).unwrap();
    let expected = wish.names.dns.iter();
    let expected: Vec<SanType> =
        expected.map(|it| SanType::DnsName(it.as_str().try_into().unwrap())).collect();
    assert_eq!(read.params.subject_alt_names, expected);
    assert_eq!(read.params.extended_key_usages, [rcgen::ExtendedKeyUsagePurpose::ServerAuth]);
    let name = read.params.distinguished_name.get(&rcgen::DnType::CommonName).unwrap();
    assert_eq!(*name, rcgen::DnValue::Utf8String("edge.contoso.example".into()));
}

#[test]
fn lengths_of_der_take_as_many_bytes_as_they_need() {
    let begin = |length: usize| der(0x30, &vec![7; length]);
    for (length, head) in [
        (0, vec![0x30, 0]),
        (127, vec![0x30, 127]),
        (128, vec![0x30, 0x81, 128]),
        (300, vec![0x30, 0x82, 1, 44]),
    ] {
        let element = begin(length);
        assert_eq!((&element[..head.len()], element.len()), (head.as_slice(), head.len() + length));
    }
}
