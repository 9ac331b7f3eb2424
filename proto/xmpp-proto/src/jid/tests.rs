//! The examples of RFC 7622, the limits, and the promises of the canonical form.

use proptest::prelude::*;

use super::*;

fn prepared(text: &str) -> String {
    Jid::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}")).to_string()
}

fn domain(text: &str) -> String {
    Domain::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}")).to_string()
}

#[test]
fn the_legal_jids_of_rfc_7622_are_read() {
    for (text, localpart, domain, resourcepart) in [
        ("juliet@example.com", Some("juliet"), "example.com", None),
        ("juliet@example.com/foo", Some("juliet"), "example.com", Some("foo")),
        ("juliet@example.com/foo bar", Some("juliet"), "example.com", Some("foo bar")),
        ("juliet@example.com/foo@bar", Some("juliet"), "example.com", Some("foo@bar")),
        ("foo\\20bar@example.com", Some("foo\\20bar"), "example.com", None),
        ("fussball@example.com", Some("fussball"), "example.com", None),
        ("fu\u{DF}ball@example.com", Some("fu\u{DF}ball"), "example.com", None),
        ("\u{3C0}@example.com", Some("\u{3C0}"), "example.com", None),
        ("\u{3A3}@example.com/foo", Some("\u{3C3}"), "example.com", Some("foo")),
        ("\u{3C3}@example.com/foo", Some("\u{3C3}"), "example.com", Some("foo")),
        ("\u{3C2}@example.com/foo", Some("\u{3C2}"), "example.com", Some("foo")),
        ("king@example.com/\u{265A}", Some("king"), "example.com", Some("\u{265A}")),
        ("example.com", None, "example.com", None),
        ("example.com/foobar", None, "example.com", Some("foobar")),
        ("a.example.com/b@example.net", None, "a.example.com", Some("b@example.net")),
    ] {
        let jid = Jid::parse(text).unwrap();
        assert_eq!(jid.localpart(), localpart, "{text}");
        assert_eq!(jid.domain().as_str(), domain, "{text}");
        assert_eq!(jid.resourcepart(), resourcepart, "{text}");
    }
}

#[test]
fn the_illegal_strings_of_rfc_7622_are_refused() {
    for (text, error) in [
        ("\"juliet\"@example.com", JidError::Localpart),
        ("foo bar@example.com", JidError::Localpart),
        ("juliet@example.com/ foo", JidError::Resourcepart),
        ("@example.com/", JidError::Localpart),
        ("henry\u{2163}@example.com", JidError::Localpart),
        ("\u{265A}@example.com", JidError::Localpart),
        ("juliet@", JidError::Domainpart),
        ("/foobar", JidError::Domainpart),
    ] {
        assert_eq!(Jid::parse(text), Err(error), "{text}");
    }
}

#[test]
fn a_localpart_keeps_to_its_alphabet() {
    for text in ["a\"b", "a&b", "a'b", "a:b", "a<b", "a>b", "a b", "a\tb", "a\0b", "", "a\u{7F}b"] {
        assert_eq!(Jid::parse(&format!("{text}@gw.example")), Err(JidError::Localpart), "{text:?}");
    }
    for text in
        ["a\u{202E}b", "a\u{FF0F}b", "a\u{FF20}b", "\u{FB01}", "a\u{AD}b", "\u{A0}", "\u{1F600}"]
    {
        assert_eq!(Jid::parse(&format!("{text}@gw.example")), Err(JidError::Localpart), "{text:?}");
    }
    assert_eq!(Jid::parse("a@b@gw.example"), Err(JidError::Domainpart));
    assert_eq!(Jid::parse("@"), Err(JidError::Domainpart));
}

#[test]
fn an_escaped_space_neither_begins_nor_ends_a_localpart() {
    for text in ["\\20a@gw.example", "a\\20@gw.example", "\\20@gw.example"] {
        assert_eq!(Jid::parse(text), Err(JidError::Localpart), "{text}");
    }
    assert_eq!(prepared("bob\\00x@gw.example"), "bob\\00x@gw.example");
    assert_eq!(prepared("bob%00x@gw.example"), "bob%00x@gw.example");
}

#[test]
fn case_and_width_of_a_localpart_are_mapped() {
    assert_eq!(prepared("Juliet.O@gw.example"), "juliet.o@gw.example");
    assert_eq!(prepared("\u{FF2A}\u{C9}@gw.example"), "j\u{E9}@gw.example");
    assert_eq!(prepared("e\u{301}@gw.example"), "\u{E9}@gw.example");
}

#[test]
fn a_resourcepart_is_opaque_but_has_no_controls() {
    for text in ["a\u{85}b", "a\r\nRoute: x", "\0", "", "\u{202E}", "\u{FFFF}", "\u{E000}"] {
        assert_eq!(
            Jid::parse(&format!("u@gw.example/{text}")),
            Err(JidError::Resourcepart),
            "{text:?}"
        );
    }
    for text in
        ["a/b@c", "Ab\u{DF}\u{2460}", "\u{1F468}\u{200D}\u{1F469}", "\u{5D9}\u{5D5} x", "'/><a b='"]
    {
        assert_eq!(Jid::parse(&format!("u@gw.example/{text}")).unwrap().resourcepart(), Some(text));
    }
    assert_eq!(prepared("u@gw.example/a\u{3000}b"), "u@gw.example/a b");
}

#[test]
fn each_part_has_at_most_1023_octets() {
    let longest = "a".repeat(1023);
    assert!(Jid::parse(&format!("{longest}@gw.example/{longest}")).is_ok());
    assert_eq!(Jid::parse(&format!("{longest}a@gw.example")), Err(JidError::Localpart));
    assert_eq!(Jid::parse(&format!("u@gw.example/{longest}a")), Err(JidError::Resourcepart));
    assert_eq!(
        Jid::parse(&format!("{}@gw.example", "\u{E9}".repeat(1023))),
        Err(JidError::Localpart)
    );

    let labels = |count: usize| vec!["a".repeat(31); count].join(".");
    assert_eq!(domain(&labels(32)).len(), 1023);
    assert_eq!(Domain::parse(&labels(33)), Err(JidError::Domainpart));
    assert_eq!(Domain::parse(&"a".repeat(64)), Err(JidError::Domainpart));
}

#[test]
fn one_domain_has_one_form() {
    for text in [
        "peer.example",
        "PEER.Example",
        "peer.example.",
        "\u{FF50}eer.example",
        "peer\u{3002}example",
    ] {
        assert_eq!(domain(text), "peer.example", "{text:?}");
    }
    for text in [
        "b\u{FC}cher.example",
        "xn--bcher-kva.example",
        "B\u{DC}CHER.example.",
        "XN--BCHER-KVA.EXAMPLE",
    ] {
        assert_eq!(domain(text), "b\u{FC}cher.example", "{text:?}");
    }
    assert_eq!(Domain::parse("b\u{FC}cher.example").unwrap().to_ascii(), "xn--bcher-kva.example");
    assert_ne!(domain("fa\u{DF}.example"), domain("fass.example"));
    assert_ne!(domain("p\u{435}er.example"), domain("peer.example"));
}

#[test]
fn what_is_no_domain_is_refused() {
    for text in [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a..",
        "a b",
        "a/b",
        "a@b",
        "a_b.example",
        "-a.example",
        "a-.example",
        "xn--example-.org",
        "xn--a",
        "a\0b",
        "[::1",
        "::1",
        "[1.2.3.4]",
        "a:5269",
        "\u{2028}",
        "%61",
    ] {
        assert_eq!(Domain::parse(text), Err(JidError::Domainpart), "{text:?}");
    }
}

#[test]
fn ip_addresses_are_domains_that_know_it() {
    for (text, form) in
        [("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]"), ("[2001:DB8:0::1]", "[2001:db8::1]")]
    {
        let domain = Domain::parse(text).unwrap();
        assert_eq!(domain.as_str(), form);
        assert!(domain.is_ip_literal());
        assert_eq!(domain.to_ascii(), form);
    }
    assert!(!Domain::parse("1.2.3.4.example").unwrap().is_ip_literal());
}

#[test]
fn the_bare_jid_has_no_resourcepart() {
    let jid = Jid::parse("Juliet@Capulet.example/Balcony").unwrap();

    assert_eq!(jid.to_string(), "juliet@capulet.example/Balcony");
    assert_eq!(jid.bare().to_string(), "juliet@capulet.example");
    assert_eq!(Jid::from(jid.domain().clone()).to_string(), "capulet.example");
}

#[test]
fn parts_that_share_a_text_are_as_if_they_stood_alone() {
    let jid = Jid::parse("juliet@capulet.example/balcony").unwrap();
    let domain = Jid::from(jid.domain().clone());

    assert_eq!(jid.bare(), Jid::parse("juliet@capulet.example").unwrap());
    assert_eq!((jid.bare().localpart(), jid.bare().resourcepart()), (Some("juliet"), None));
    assert_eq!(*jid.domain(), Domain::parse("capulet.example").unwrap());
    assert_eq!(domain, Jid::parse("capulet.example").unwrap());
    assert_eq!((domain.localpart(), domain.resourcepart()), (None, None));
    assert_eq!(Jid::from(domain.domain().clone()).bare(), domain);
}

#[test]
fn addresses_are_sorted_by_their_parts() {
    let sorted = [
        "a.example",
        "a.example/r",
        "m@a.example",
        "m@a.example/a",
        "n@a.example",
        "a@b.example",
        "a-b@b.example",
    ];
    let mut jids = sorted.map(|text| Jid::parse(text).unwrap());
    jids.reverse();
    jids.sort();

    assert_eq!(jids.map(|jid| jid.to_string()), sorted);
}

/// Letters of several cases, widths and directions, and what sets the parts of a JID apart.
const MIXED_SCRIPTS: &str = "[a-zA-Z\u{E9}\u{C9}\u{DF}\u{130}\u{3A3}\u{FF21}\u{5D0}\u{1E9E}\
    \\\\ 20@/.\u{3002}\u{301}-]{1,12}";
const MIXED_NAMES: &str = "[a-zA-Z\u{E9}\u{C9}\u{DF}.\u{FF21}0-9-]{1,20}";

/// Failing cases are not kept in files beside the sources.
fn without_files(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(without_files(2000))]

    #[test]
    fn preparing_twice_changes_nothing(text in MIXED_SCRIPTS) {
        if let Ok(jid) = Jid::parse(&text) {
            prop_assert_eq!(Jid::parse(&jid.to_string()), Ok(jid));
        }
    }

    #[test]
    fn any_text_is_prepared_or_refused_and_stays_so(text in "\\PC{0,12}") {
        if let Ok(jid) = Jid::parse(&text) {
            prop_assert_eq!(Jid::parse(&jid.to_string()), Ok(jid));
        }
    }

    #[test]
    fn a_domain_and_its_ascii_form_are_one(text in MIXED_NAMES) {
        if let Ok(domain) = Domain::parse(&text) {
            prop_assert_eq!(Domain::parse(&domain.to_ascii()), Ok(domain));
        }
    }
}
