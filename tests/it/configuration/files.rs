//! Files that a configuration names and that are missing, unreadable or not what they must be.

use std::fs;

use tests::namespace::in_namespace;
use tests::test_ca::{Leaf, TestCa};

use super::ground::{Document, Ended, Ground};

/// The exit code of a file that cannot be used.
const INPUT: Option<i32> = Some(66);

/// Asserts that `check` and `run` say the same one thing, which names the file and the fault.
fn assert_refused(ground: &Ground<'_>, document: Document, file: &str, fault: &str) {
    let checked: Ended = ground.check(document);
    assert_eq!(checked.code, INPUT, "{checked:?}");
    let [line] = checked.lines.as_slice() else { panic!("one message: {checked:?}") };
    assert!(line.contains(&ground.path(file)) && line.contains(fault), "{fault}: {line}");
    assert_eq!(ground.run(document), checked);
}

#[test]
fn a_certificate_or_key_that_cannot_be_used_is_named() {
    let test = "configuration::files::a_certificate_or_key_that_cannot_be_used_is_named";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        for (document, name) in [
            (Document::Edge, "edge"),
            (Document::Edge, "edge-link"),
            (Document::Frontend, "home"),
            (Document::Frontend, "frontend-link"),
        ] {
            let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
            let [pem_path, key_path] = [&certificate, &key].map(|it| ground.directory().join(it));
            let [pem, own_key] = [&pem_path, &key_path].map(|it| fs::read(it).expect("written"));

            fs::remove_file(&pem_path).expect("it is there");
            assert_refused(&ground, document, &certificate, "cannot read a certificate");
            // Unreadable for everybody, root as well.
            fs::create_dir(&pem_path).expect("the name is free");
            assert_refused(&ground, document, &certificate, "cannot read a certificate");
            fs::remove_dir(&pem_path).expect("it is empty");
            fs::write(&pem_path, "no PEM").expect("it can be written");
            assert_refused(&ground, document, &certificate, "cannot read a certificate");
            fs::write(&pem_path, &pem).expect("it can be written");

            fs::write(&key_path, &pem).expect("it can be written");
            assert_refused(&ground, document, &key, "cannot read a private key");
            TestCa::new(ground.directory(), "other").issue(&Leaf::server("x.example"), "stranger");
            let strange = ground.directory().join("stranger.key");
            fs::copy(strange, &key_path).expect("it can be written");
            assert_refused(&ground, document, &key, "does not go with the certificate");
            fs::remove_file(&key_path).expect("it is there");
            assert_refused(&ground, document, &key, "cannot read a private key");
            fs::write(&key_path, &own_key).expect("it can be written");
        }
        assert_eq!(ground.check(Document::Edge).code, Some(0));
        assert_eq!(ground.check(Document::Frontend).code, Some(0));
    });
}

#[test]
fn every_file_that_cannot_be_used_is_named_at_once() {
    let test = "configuration::files::every_file_that_cannot_be_used_is_named_at_once";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        for file in ["edge.key", "edge-link.pem", "home.pem", "frontend-link.key", "ca.pem"] {
            ground.write_file(file, b"no PEM");
        }
        ground.break_with(Document::Policy, &[("\"federated\"", "\"friend\"")]);
        for (document, files) in [
            (Document::Edge, ["edge.key", "edge-link.pem", "ca.pem"].as_slice()),
            (Document::Frontend, &["frontend-link.key", "ca.pem", "home.pem", "policy.toml"]),
        ] {
            let checked = ground.check(document);
            assert_eq!(checked.code, INPUT, "{checked:?}");
            assert_eq!(checked.lines.len(), files.len(), "{checked:#?}");
            for (line, file) in checked.lines.iter().zip(files) {
                assert!(line.contains(&ground.path(file)), "{file}: {line}");
            }
        }
    });
}

#[test]
fn a_certificate_of_another_role_is_refused() {
    let test = "configuration::files::a_certificate_of_another_role_is_refused";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        let changes = [
            ("certificate = \"DIR/edge-link.pem\"", "certificate = \"DIR/frontend-link.pem\""),
            ("key = \"DIR/edge-link.key\"", "key = \"DIR/frontend-link.key\""),
        ];
        ground.break_with(Document::Edge, &changes);
        let fault = "gives no edge role: no URI name spiffe://isthmus/edge/<name>";
        assert_refused(&ground, Document::Edge, "frontend-link.pem", fault);
        let changes = changes.map(|(edge, frontend)| (frontend, edge));
        ground.break_with(Document::Frontend, &changes);
        let fault = "gives no front-end role: no URI name spiffe://isthmus/frontend/<name>";
        assert_refused(&ground, Document::Frontend, "edge-link.pem", fault);
    });
}

#[test]
fn an_authority_or_document_that_cannot_be_read_is_named() {
    let test = "configuration::files::an_authority_or_document_that_cannot_be_read_is_named";
    in_namespace(test, |place| {
        let ground = Ground::new(place);
        let authority = ground.directory().join("ca.pem");
        let pem = fs::read(&authority).expect("it was written");
        for broken in [None, Some("no PEM")] {
            match broken {
                None => fs::remove_file(&authority).expect("it is there"),
                Some(text) => fs::write(&authority, text).expect("it can be written"),
            }
            for document in [Document::Edge, Document::Frontend] {
                assert_refused(&ground, document, "ca.pem", "cannot read CA certificates");
            }
        }
        fs::write(&authority, pem).expect("it can be written");

        let no_text = ground.write_file("policy.toml", b"\xff\xfe");
        assert_refused(&ground, Document::Frontend, "policy.toml", "cannot read");
        fs::remove_file(no_text).expect("it is there");
        assert_refused(&ground, Document::Frontend, "policy.toml", "cannot read");
        for (document, file) in
            [(Document::Edge, "edge.toml"), (Document::Frontend, "frontend.toml")]
        {
            fs::remove_file(ground.directory().join(file)).expect("it is there");
            assert_refused(&ground, document, file, "cannot read");
        }
    });
}
