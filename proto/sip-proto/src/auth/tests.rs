//! Tests of digest authentication: published examples, both roles against each other, refusals.

use super::*;
use crate::header::{HeaderName, TypedHeader};
use crate::headers::Headers;
use crate::uri::Uri;

const NOW: u64 = 1_700_000_000;

fn written<H: TypedHeader>(value: &H) -> String {
    let mut out = String::new();
    value.write(&mut out);
    out
}

fn ha1(algorithm: Algorithm) -> Ha1 {
    Ha1::compute(algorithm, "juliet", "example.com", "r0m30 \"x\"")
}

fn credentials(challenge: &Challenge, ha1: &Ha1, nonce_count: u32) -> Credentials {
    challenge.answer(&Answer {
        user_name: "juliet",
        ha1,
        method: &Method::Register,
        uri: &Uri::parse("sip:example.com").unwrap(),
        client_nonce: "abc",
        nonce_count,
    })
}

#[test]
fn the_examples_of_rfc_7616_verify() {
    for (algorithm, response) in [
        (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let text = format!(
            "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
             uri=\"/dir/index.html\", algorithm={}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
             cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
             response=\"{response}\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
            algorithm.as_str(),
        );
        let credentials = Credentials::parse(&text).unwrap();
        let ha1 = Ha1::compute(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
        let get = Method::parse("GET").unwrap();
        assert!(credentials.prove_knowledge(&ha1, &get));
        assert!(!credentials.prove_knowledge(&ha1, &Method::Options));
        assert_eq!(Credentials::parse(&written(&credentials)), Ok(credentials));
    }
}

#[test]
fn the_example_of_rfc_2069_without_quality_of_protection_verifies() {
    let text = "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
        nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", \
        response=\"1949323746fe6a43ef61f9606e7febea\"";
    let credentials = Credentials::parse(text).unwrap();
    let ha1 = Ha1::compute(Algorithm::Md5, "Mufasa", "testrealm@host.com", "CircleOfLife");
    assert!(credentials.prove_knowledge(&ha1, &Method::parse("GET").unwrap()));
}

#[test]
fn both_roles_agree_for_every_algorithm() {
    let mut server = Authenticator::new([1; 32], AuthenticatorLimits::default());
    let offered = [Algorithm::Sha256, Algorithm::Md5];
    let mut response = Headers::default();
    for challenge in server.challenge("example.com", &offered, false, NOW) {
        response.push(&challenge);
    }
    let challenges: Vec<Challenge> = response.readable_rows().collect();
    assert_eq!(challenges.iter().map(Challenge::algorithm).collect::<Vec<_>>(), offered);
    for (count, challenge) in (1..).zip(&challenges) {
        let ha1 = ha1(challenge.algorithm());
        let credentials = Credentials::parse(&written(&credentials(challenge, &ha1, count)));
        let credentials = credentials.unwrap();
        assert_eq!((credentials.user_name(), credentials.realm()), ("juliet", "example.com"));
        let verdict = server.verify(&credentials, &ha1, &Method::Register, NOW);
        assert_eq!(verdict, Verdict::Accepted);
        let replay = server.verify(&credentials, &ha1, &Method::Register, NOW);
        assert_eq!(replay, Verdict::Stale);
    }
}

#[test]
fn wrong_passwords_methods_and_algorithms_are_refused() {
    let mut server = Authenticator::new([1; 32], AuthenticatorLimits::default());
    let challenge = server.challenge("example.com", &[Algorithm::Sha256], false, NOW).remove(0);
    let good = credentials(&challenge, &ha1(Algorithm::Sha256), 1);
    let wrong = Ha1::compute(Algorithm::Sha256, "juliet", "example.com", "other");
    let mut verify = |credentials: &Credentials, ha1: &Ha1, method| {
        server.verify(credentials, ha1, &method, NOW)
    };
    assert_eq!(verify(&good, &wrong, Method::Register), Verdict::Refused);
    assert_eq!(verify(&good, &ha1(Algorithm::Sha256), Method::Message), Verdict::Refused);
    assert_eq!(verify(&good, &ha1(Algorithm::Md5), Method::Register), Verdict::Refused);
    let empty = Credentials { response: String::new(), ..good.clone() };
    assert_eq!(verify(&empty, &ha1(Algorithm::Sha256), Method::Register), Verdict::Refused);
    assert_eq!(verify(&good, &ha1(Algorithm::Sha256), Method::Register), Verdict::Accepted);
}

#[test]
fn an_old_nonce_is_stale_only_for_one_who_knows_the_password() {
    let mut server = Authenticator::new([1; 32], AuthenticatorLimits::default());
    let challenge = server.challenge("example.com", &[Algorithm::Md5], false, NOW).remove(0);
    let ha1 = ha1(Algorithm::Md5);
    let good = credentials(&challenge, &ha1, 1);
    assert_eq!(server.verify(&good, &ha1, &Method::Register, NOW + 300), Verdict::Stale);
    let wrong = Ha1::compute(Algorithm::Md5, "juliet", "example.com", "other");
    assert_eq!(server.verify(&good, &wrong, &Method::Register, NOW + 300), Verdict::Refused);
    let again = server.challenge("example.com", &[Algorithm::Md5], true, NOW + 300).remove(0);
    assert!(Challenge::parse(&written(&again)).unwrap().is_stale());
}

#[test]
fn challenges_of_others_are_read_as_far_as_they_can_be_answered() {
    let legacy = Challenge::parse("digest realm=\"a\", nonce=\"b\", opaque=\"c\"").unwrap();
    let answer = credentials(&legacy, &ha1(Algorithm::Md5), 1);
    assert_eq!((answer.nonce_count(), answer.opaque.as_deref()), (None, Some("c")));
    for bad in [
        "Basic realm=\"a\"",
        "NoOneKnowsThisScheme opaque-data=here",
        "Digest realm=\"a\", nonce=\"b\", algorithm=SHA-512-256",
        "Digest realm=\"a\", nonce=\"b\", qop=\"auth-int\"",
        "Digest realm=\"a\"",
        "Digest realm=\"a\", realm=\"b\", nonce=\"c\"",
        "Digest realm=\"a\" nonce=\"b\"",
        "Digest",
    ] {
        assert!(Challenge::parse(bad).is_err(), "{bad}");
    }
    let mut headers = Headers::default();
    headers.push_text(HeaderName::WwwAuthenticate, "Basic realm=\"a\"");
    headers.push(&legacy);
    assert_eq!(headers.readable_rows::<Challenge>().count(), 1);
}

#[test]
fn malformed_counts_and_other_protections_are_refused() {
    let text = |rest: &str| {
        format!("Digest username=\"a\",realm=\"b\",nonce=\"c\",uri=\"d\",response=\"e\"{rest}")
    };
    assert!(Credentials::parse(&text("")).is_ok());
    assert!(Credentials::parse(&text(",qop=\"auth\",nc=0000000A,cnonce=\"x\"")).is_ok());
    for bad in [
        ",qop=auth",
        ",qop=auth,nc=1,cnonce=\"x\"",
        ",qop=auth,nc=+0000001,cnonce=\"x\"",
        ",qop=auth,nc=00000001",
        ",qop=auth-int,nc=00000001,cnonce=\"x\"",
        ",algorithm=MD5-sess",
    ] {
        assert!(Credentials::parse(&text(bad)).is_err(), "{bad}");
    }
}

#[test]
fn hashes_are_stored_and_never_shown() {
    let ha1 = ha1(Algorithm::Sha256);
    let stored = Ha1::from_hexadecimal(ha1.algorithm(), &ha1.as_hexadecimal().to_uppercase());
    assert_eq!(stored.as_ref(), Ok(&ha1));
    assert!(Ha1::from_hexadecimal(Algorithm::Md5, ha1.as_hexadecimal()).is_err());
    assert!(Ha1::from_hexadecimal(Algorithm::Md5, &"x".repeat(32)).is_err());
    assert!(!format!("{ha1:?}").contains(ha1.as_hexadecimal()));
}
