//! The commands that look after the edge's certificate: what they make, take, refuse and show.

use std::fs;
use std::process::Command;

use tests::namespace::{Place, in_namespace};
use tests::test_ca::{Leaf, TestCa, Usage};

use super::ground::{Document, Ended, Ground};

const NAMES: (&str, &str) = (
    "system_trust = false",
    "system_trust = false\ndomains = [\"contoso.example\"]\nhost_names = [\"edge.contoso.example\"]",
);
/// Exit codes: a file cannot be read, cannot be written, is refused; the configuration is wrong.
const INPUT: Option<i32> = Some(66);
const OUTPUT: Option<i32> = Some(73);
const REFUSED: Option<i32> = Some(77);
const CONFIGURATION: Option<i32> = Some(78);
const RIGHT: Option<i32> = Some(0);

/// An edge whose configuration names its domain, and an authority that answers requests.
struct Desk<'a> {
    ground: Ground<'a>,
    ca: TestCa,
}

impl<'a> Desk<'a> {
    fn new(place: &'a Place) -> Self {
        let ground = Ground::new(place);
        ground.break_with(Document::Edge, &[NAMES]);
        // In the place of the one that issued what is in use, which stays trusted by nobody.
        let ca = TestCa::new(place.directory(), "ca");
        ca.issue(&Leaf::server("contoso.example").dns("edge.contoso.example"), "edge");
        ca.issue(&Leaf::link("edge", "edge1"), "edge-link");
        Self { ground, ca }
    }

    fn cert(&self, arguments: &[&str]) -> Ended {
        self.ground.command(Document::Edge, &[&["cert"], arguments].concat())
    }

    /// Asks for a certificate; gives the request.
    fn request(&self, options: &[&str]) -> String {
        let ended = self.cert(&[&["request"], options].concat());
        assert_eq!(ended.code, RIGHT, "{ended:?}");
        let end = ended.lines.iter().position(|line| line == "-----END CERTIFICATE REQUEST-----");
        let end = end.unwrap_or_else(|| panic!("a request: {ended:?}"));
        ended.lines[..=end].join("\n")
    }

    /// Installs what came.
    fn install(&self, answer: &str) -> Ended {
        let file = self.ground.write_file("answer.pem", answer.as_bytes());
        self.cert(&["install", file.to_str().expect("the test's directory is UTF-8")])
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.ground.directory().join(file)).ok()
    }

    /// The files that the edge uses, and the key that waits.
    fn files(&self) -> [Option<String>; 3] {
        ["edge.pem", "edge.key", "edge.key.pending"].map(|file| self.read(file))
    }

    /// What openssl reads in a request, whose signature is right.
    fn text_of(&self, request: &str) -> String {
        let file = self.ground.write_file("request.pem", request.as_bytes());
        let output = Command::new("openssl")
            .args(["req", "-verify", "-noout", "-text", "-in"])
            .arg(file)
            .output()
            .expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn assert_said(ended: &Ended, code: Option<i32>, words: &[&str]) {
    assert_eq!(ended.code, code, "{ended:#?}");
    for word in words {
        assert!(ended.lines.iter().any(|line| line.contains(word)), "{word}: {ended:#?}");
    }
}

#[test]
fn a_request_names_what_is_configured_and_touches_nothing_in_use() {
    let test = "configuration::certificates::\
        a_request_names_what_is_configured_and_touches_nothing_in_use";
    in_namespace(test, |place| {
        let desk = Desk::new(place);
        let [certificate, key, none] = desk.files();
        assert_eq!(none, None);
        let text = desk.text_of(&desk.request(&["--name", "conference.contoso.example"]));
        let names = "DNS:edge.contoso.example, DNS:sip.contoso.example, DNS:contoso.example, \
                     DNS:conference.contoso.example\n";
        assert!(text.contains(names), "{text}");
        assert!(text.contains("Subject: CN = edge.contoso.example\n"), "{text}");
        assert!(text.contains("TLS Web Server Authentication\n"), "{text}");
        assert!(text.contains("NIST CURVE: P-256"), "{text}");
        let [certificate_after, key_after, pending] = desk.files();
        assert_eq!((certificate_after, key_after), (certificate, key));

        // The authority may be at work on the first one.
        let text = desk.text_of(&desk.request(&["--no-sip", "--srv-id"]));
        assert_eq!(desk.files()[2], pending);
        let names = "DNS:edge.contoso.example, DNS:contoso.example, \
                     othername: SRVName::_xmpp-server.contoso.example\n";
        assert!(text.contains(names), "{text}");
        assert_said(&desk.cert(&["request", "--rsa"]), REFUSED, &["is no RSA key"]);

        fs::remove_file(desk.ground.directory().join("edge.key.pending")).expect("it is there");
        let out = desk.ground.path("new.csr");
        assert_said(&desk.cert(&["request", "--rsa", "--out", &out]), RIGHT, &["a new key"]);
        let text = desk.text_of(&desk.read("new.csr").expect("it was written"));
        assert!(text.contains("Public-Key: (3072 bit)"), "{text}");
        assert_said(&desk.cert(&["request", "--out", &out]), OUTPUT, &[&out, "exists"]);
        assert_said(&desk.cert(&["request", "--name", "localhost"]), Some(64), &["two labels"]);
    });
}

#[test]
fn an_answer_that_fits_is_put_into_place_once_and_renewed() {
    let test = "configuration::certificates::\
        an_answer_that_fits_is_put_into_place_once_and_renewed";
    in_namespace(test, |place| {
        let desk = Desk::new(place);
        let [old_certificate, old_key, _] = desk.files();
        let request = desk.request(&[]);
        let pending = desk.files()[2].clone();
        let answer = desk.ca.sign(&request, &Leaf::requested());
        let root = fs::read_to_string(desk.ca.certificate()).expect("it was written");
        let installed = desk.install(&format!("{root}{answer}"));
        assert_said(
            &installed,
            RIGHT,
            &["put in order", "edge.pem: valid until 2049-12-31", "reload"],
        );
        assert!(!installed.lines.iter().any(|line| line.starts_with("warning")), "{installed:?}");
        let chain = format!("{answer}{root}").replace("\r\n", "\n");
        assert_eq!(desk.files(), [Some(chain.clone()), pending.clone(), None]);
        assert_eq!(
            ["edge.pem.old", "edge.key.old"].map(|it| desk.read(it)),
            [old_certificate, old_key]
        );
        assert_said(&desk.ground.check(Document::Edge), RIGHT, &["no errors"]);

        assert_said(&desk.install(&chain), RIGHT, &["is in use already"]);
        let renewed = desk.ca.sign(&request, &Leaf::server("contoso.example"));
        let said = desk.install(&renewed);
        assert_said(&said, RIGHT, &["warning: it does not name edge.contoso.example"]);
        let renewed = renewed.replace("\r\n", "\n");
        assert_eq!(desk.files(), [Some(renewed), pending, None]);
        assert_eq!(desk.read("edge.pem.old"), Some(chain));
        assert_said(&desk.ground.check(Document::Edge), RIGHT, &["no errors"]);
    });
}

#[test]
fn an_answer_that_does_not_fit_is_refused_with_its_reason_and_changes_nothing() {
    let test = "configuration::certificates::\
        an_answer_that_does_not_fit_is_refused_with_its_reason_and_changes_nothing";
    in_namespace(test, |place| {
        let desk = Desk::new(place);
        let request = desk.request(&[]);
        let before = desk.files();
        let sign = |leaf: &Leaf| desk.ca.sign(&request, leaf);
        let requested = Leaf::requested();
        let other = desk.ca.issue(&Leaf::server("contoso.example"), "other").certificate;
        let cases = [
            (sign(&requested.clone().expired()), REFUSED, "it has expired, on 2021-01-0"),
            (sign(&requested.clone().usage(Usage::Client)), REFUSED, "usages are clientAuth"),
            (sign(&Leaf::server("a.example")), REFUSED, "does not name contoso.example"),
            (fs::read_to_string(other).expect("it was written"), REFUSED, "belongs to the key"),
            ("garbage".to_owned(), INPUT, "answer.pem"),
            (request.clone(), INPUT, "no PEM block of this kind"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
                REFUSED,
                "belongs to the key",
            ),
        ];
        for (answer, code, reason) in &cases {
            assert_said(&desk.install(answer), *code, &[reason]);
            assert_eq!(desk.files(), before, "{reason}");
        }
        assert_said(&desk.cert(&["install", "missing.pem"]), INPUT, &["missing.pem"]);

        let stranger = TestCa::new(&place.make_directory("stranger"), "stranger");
        let untrusted = stranger.sign(&request, &requested);
        assert_said(&desk.install(&untrusted), RIGHT, &["no authority that this edge trusts"]);
        assert_eq!(desk.read("edge.pem"), Some(untrusted.replace("\r\n", "\n")));
    });
}

#[test]
fn what_cannot_be_written_or_is_not_configured_is_said_and_nothing_changes() {
    let test = "configuration::certificates::\
        what_cannot_be_written_or_is_not_configured_is_said_and_nothing_changes";
    in_namespace(test, |place| {
        let desk = Desk::new(place);
        let answer = desk.ca.sign(&desk.request(&[]), &Leaf::requested());
        let locked = place.make_directory("locked");
        for file in ["edge.pem", "edge.key", "edge.key.pending"] {
            let from = desk.ground.directory().join(file);
            fs::copy(from, locked.join(file)).expect("the test's directory can be written");
        }
        let paths = [
            NAMES,
            ("DIR/edge.pem", "DIR/locked/edge.pem"),
            ("DIR/edge.key", "DIR/locked/edge.key"),
        ];
        desk.ground.break_with(Document::Edge, &paths);
        let mount = |options: &[&str]| {
            let status = Command::new("mount").args(options).arg(&locked).status();
            assert!(status.is_ok_and(|status| status.success()), "{options:?}");
        };
        mount(&["--bind", locked.to_str().expect("the test's directory is UTF-8")]);
        mount(&["-o", "remount,bind,ro"]);
        assert_said(&desk.install(&answer), OUTPUT, &["cannot write", "locked/edge.pem.old"]);
        mount(&["-o", "remount,bind,rw"]);
        fs::remove_file(locked.join("edge.key.pending")).expect("it is there");
        mount(&["-o", "remount,bind,ro"]);
        assert_said(&desk.cert(&["request"]), OUTPUT, &["cannot write", "edge.key.pending"]);
        let in_use = |file: &str| fs::read_to_string(locked.join(file)).ok();
        assert_eq!(
            [in_use("edge.pem"), in_use("edge.key")],
            [desk.read("edge.pem"), desk.read("edge.key")]
        );
        assert!(Command::new("umount").arg(&locked).status().is_ok_and(|it| it.success()));

        desk.ground.mend(Document::Edge);
        assert_said(&desk.cert(&["request"]), CONFIGURATION, &["`xmpp.domains` is empty"]);
        assert_said(&desk.install(&answer), CONFIGURATION, &["`xmpp.domains` is empty"]);
        desk.ground.break_with(Document::Edge, &[NAMES, ("DIR/edge.key", "DIR/edge.pem")]);
        assert_said(&desk.cert(&["request"]), CONFIGURATION, &["are one file"]);
        let address = (NAMES.0, "system_trust = false\ndomains = [\"192.0.2.1\"]");
        desk.ground.break_with(Document::Edge, &[address]);
        assert_said(&desk.cert(&["show"]), CONFIGURATION, &["which no authority certifies"]);
    });
}

#[test]
fn each_certificate_of_the_configuration_can_be_asked_for_and_installed() {
    let test = "configuration::certificates::\
        each_certificate_of_the_configuration_can_be_asked_for_and_installed";
    in_namespace(test, |place| {
        let desk = Desk::new(place);
        let server = desk.ca.issue(&Leaf::server("second.example"), "second");
        let client = Leaf::server("second.example").usage(Usage::Client);
        desk.ca.issue(&client, "second-client");
        let list = desk.ground.path("ca.crl");
        let settings = format!(
            "{}\ncrl = [\"{list}\"]\n[[xmpp.identity]]\ndomains = [\"second.example\"]\n\
             certificate = \"DIR/second.pem\"\nkey = \"DIR/second.key\"\n\
             client_certificate = \"DIR/second-client.pem\"\n\
             client_key = \"DIR/second-client.key\"",
            NAMES.1
        );
        desk.ca.revoke(&[], list.as_ref());
        desk.ground.break_with(Document::Edge, &[(NAMES.0, &settings)]);
        assert_said(&desk.ground.check(Document::Edge), RIGHT, &["no errors"]);

        let which = ["--identity", "second.example"];
        let text = desk.text_of(&desk.request(&which));
        assert!(text.contains("DNS:sip.second.example, DNS:second.example\n"), "{text}");
        let asked = ["--identity", "second.example", "--client"];
        let request = desk.request(&asked);
        assert!(desk.text_of(&request).contains("Authentication, TLS Web Client Authentication\n"));
        let file = desk.ground.write_file("client.pem", desk.ca.sign(&request, &client).as_bytes());
        let file = file.to_str().expect("the test's directory is UTF-8");
        let wrong = desk.cert(&["install", file, "--identity", "second.example"]);
        assert_said(&wrong, REFUSED, &["belongs to the key"]);
        let said = desk.cert(&[&["install", file], asked.as_slice()].concat());
        assert_said(&said, RIGHT, &["second-client.pem: valid until"]);
        for (options, place) in [
            (vec!["--client"], "`client_certificate` in [xmpp]"),
            (vec!["--identity", "a.example"], "[[xmpp.identity]] with the domain a.example"),
        ] {
            let said = desk.cert(&[vec!["request"], options].concat());
            assert_said(&said, CONFIGURATION, &[place]);
        }
        let all = ["xmpp: ", "second.example client: ", "xmpp.crl: ", "revoked  0 certificates"];
        assert_said(&desk.cert(&["show"]), RIGHT, &all);

        desk.ca.issue(&client, "second");
        let problem = "xmpp.identity second.example: the certificate is not for servers";
        assert_said(&desk.cert(&["show"]), REFUSED, &[problem]);
        desk.ca.issue(&Leaf::server("second.example").serial(5), "second");
        desk.ca.revoke(&[5], list.as_ref());
        let problem =
            "xmpp.identity second.example: the certificate was not accepted: it is revoked";
        assert_said(&desk.cert(&["show"]), REFUSED, &[problem]);
        fs::write(&list, "garbage").expect("it can be written");
        assert_said(&desk.cert(&["show"]), INPUT, &["cannot read a revocation list"]);
        assert_said(&desk.ground.check(Document::Edge), INPUT, &["ca.crl"]);
        assert!(server.key.exists());
    });
}

#[test]
fn the_front_ends_certificates_are_shown_with_what_they_lack() {
    let test = "configuration::certificates::\
        the_front_ends_certificates_are_shown_with_what_they_lack";
    in_namespace(test, |place| {
        let desk = Desk::new(place);
        desk.ca.issue(&Leaf::link("frontend", "fe1"), "frontend-link");
        desk.ca.issue(&Leaf::server("contoso.example"), "home");
        let show = || desk.ground.command(Document::Frontend, &["cert", "show"]);
        let shown = [
            "link: ",
            "role     spiffe://isthmus/frontend/fe1",
            "chain    1 certificates, below an authority that is trusted",
            "link.trust: ",
            "subject  CN=ca, until 2049-12-31",
            "home: ",
            "names    DNS contoso.example",
        ];
        assert_said(&show(), RIGHT, &shown);
        for (leaf, file, problem) in [
            (Leaf::link("edge", "e1"), "frontend-link", "link: it gives no frontend role"),
            (
                Leaf::link("frontend", "fe1").usage(Usage::Server),
                "frontend-link",
                "link: the certificate is not for clients: its usages are serverAuth",
            ),
            (
                Leaf::link("frontend", "fe1").days_left(3),
                "frontend-link",
                "link: the certificate expires on",
            ),
        ] {
            desk.ca.issue(&leaf, file);
            assert_said(&show(), REFUSED, &[problem]);
            desk.ca.issue(&Leaf::link("frontend", "fe1"), file);
        }
        desk.ca.issue(&Leaf::server("contoso.example").expired(), "home");
        assert_said(&show(), REFUSED, &["home: the certificate has expired, on 2021-01-0"]);
        desk.ground.write_file("home.pem", b"garbage");
        assert_said(&show(), INPUT, &["cannot read a certificate"]);
    });
}

#[test]
fn what_is_missing_or_ends_soon_is_shown() {
    let test = "configuration::certificates::what_is_missing_or_ends_soon_is_shown";
    in_namespace(test, |place| {
        let desk = Desk::new(place);
        let shown = [
            "xmpp: ",
            "subject  CN=contoso.example",
            "valid    from 2020-01-01 to 2049-12-31, ",
            "usages   serverAuth",
            "names    DNS contoso.example, DNS edge.contoso.example",
            "chain    1 certificates, below an authority that is trusted",
            "link: ",
            "role     spiffe://isthmus/edge/edge1",
        ];
        assert_said(&desk.cert(&["show"]), RIGHT, &shown);
        desk.request(&[]);
        assert_said(&desk.cert(&["show"]), RIGHT, &["edge.key.pending waits"]);

        let server = Leaf::server("contoso.example");
        let link = Leaf::link("edge", "edge1");
        let cases = [
            (
                Leaf::server("a.example"),
                "edge",
                "xmpp: the certificate does not name contoso.example",
            ),
            (server.clone().days_left(13), "edge", "xmpp: the certificate expires on "),
            (server.clone().expired(), "edge", "xmpp: the certificate has expired, on 2021-01-0"),
            (
                server.clone().usage(Usage::Client),
                "edge",
                "xmpp: the certificate is not for servers",
            ),
            (link.clone().days_left(3), "edge-link", "link: the certificate expires on "),
            (server.clone(), "edge-link", "link: it gives no edge role"),
        ];
        for (leaf, file, problem) in &cases {
            desk.ca.issue(leaf, file);
            let ended = desk.cert(&["show"]);
            assert_said(&ended, REFUSED, &[problem]);
            let problems = ended.lines.iter().filter(|line| {
                line.starts_with("xmpp: the ")
                    || line.starts_with("link: the ")
                    || line.starts_with("link: it ")
            });
            assert_eq!(problems.count(), 1, "{ended:#?}");
            desk.ca.issue(if *file == "edge" { &server } else { &link }, file);
        }
        desk.ca.issue(&server.clone().days_left(14), "edge");
        assert_said(&desk.cert(&["show"]), RIGHT, &["14 days left"]);

        let stranger = TestCa::new(&place.make_directory("stranger"), "stranger");
        let foreign = stranger.issue(&server, "foreign");
        for (from, to) in [(foreign.certificate, "edge.pem"), (foreign.key, "edge.key")] {
            fs::copy(from, desk.ground.directory().join(to)).expect("it can be written");
        }
        assert_said(&desk.cert(&["show"]), REFUSED, &["CN=stranger at the top of the chain is no"]);
        desk.ca.issue(&Leaf::server("a.example"), "other");
        fs::copy(desk.ground.path("other.key"), desk.ground.path("edge.key")).expect("it is there");
        assert_said(&desk.cert(&["show"]), INPUT, &["edge.key does not go with", "CN=stranger"]);
        desk.ground.write_file("edge.pem", b"garbage");
        assert_said(&desk.cert(&["show"]), INPUT, &["cannot read a certificate", "link: "]);
    });
}
