//! Two right configurations to break, and how a program ended.

use std::fs;
use std::path::{Path, PathBuf};

use tests::appliance::{launch, launch_with_descriptors, run_command};
use tests::namespace::Place;
use tests::process::{Mark, Process};
use tests::test_ca::{Leaf, TestCa};
use tests::wait::Deadline;

/// A configuration of the edge; `DIR` stands for the test's directory.
const EDGE: &str = r#"[xmpp]
listen = ["127.0.0.3:5269"]
certificate = "DIR/edge.pem"
key = "DIR/edge.key"
trust = ["DIR/ca.pem"]
system_trust = false
[link]
listen = "127.0.0.3:23456"
certificate = "DIR/edge-link.pem"
key = "DIR/edge-link.key"
trust = ["DIR/ca.pem"]
[internal]
listen = "127.0.0.3:9090"
[resolver]
name_servers = ["127.0.0.53:53"]
lookup_ms_max = 1000
[log]
level = "error"
"#;

/// A configuration of the front end.
const FRONTEND: &str = r#"[link]
edges = ["127.0.0.3:23456"]
certificate = "DIR/frontend-link.pem"
key = "DIR/frontend-link.key"
trust = ["DIR/ca.pem"]
[home]
name = "sip.contoso.example"
listen = ["127.0.0.4:5060"]
listen_tls = ["127.0.0.4:5061"]
certificate = "DIR/home.pem"
key = "DIR/home.key"
connections_max = 100
[store]
file = "DIR/store.sqlite"
[policy]
file = "DIR/policy.toml"
[admin]
socket = "DIR/admin.socket"
[internal]
listen = "127.0.0.4:9090"
[log]
level = "error"
"#;

/// A policy.
const POLICY: &str = r#"[[local_domain]]
domain = "contoso.example"
[[xmpp_partner]]
domain = "fabrikam.example"
partner_type = "federated"
[[external_access_policy]]
scope = "global"
federation_access = true
xmpp_access = true
"#;

/// One of the files that are read as configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Edge,
    Frontend,
    Policy,
}

impl Document {
    fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Frontend => "frontend",
            Self::Policy => "policy",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Edge => EDGE,
            Self::Frontend => FRONTEND,
            Self::Policy => POLICY,
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Edge => "edge-proxy",
            Self::Frontend | Self::Policy => "frontend-gateway",
        }
    }

    /// The configuration of the program that reads this document.
    fn of_program(self) -> &'static str {
        if self == Self::Edge { "edge" } else { "frontend" }
    }
}

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) lines: Vec<String>,
}

/// The files of both programs, right until one is broken.
pub(super) struct Ground<'a> {
    place: &'a Place,
}

impl<'a> Ground<'a> {
    /// Writes all files.
    pub(super) fn new(place: &'a Place) -> Self {
        let ca = TestCa::new(place.directory(), "ca");
        ca.issue(&Leaf::server("contoso.example"), "edge");
        ca.issue(&Leaf::server("contoso.example"), "home");
        ca.issue(&Leaf::link("edge", "edge1"), "edge-link");
        ca.issue(&Leaf::link("frontend", "frontend1"), "frontend-link");
        let ground = Self { place };
        for document in [Document::Edge, Document::Frontend, Document::Policy] {
            ground.mend(document);
        }
        ground
    }

    pub(super) fn directory(&self) -> &Path {
        self.place.directory()
    }

    /// The path of a file, as messages name it.
    pub(super) fn path(&self, file: &str) -> String {
        self.directory().join(file).to_str().expect("the test's directory is UTF-8").to_owned()
    }

    /// Writes the document as it should be.
    pub(super) fn mend(&self, document: Document) {
        self.write(document, document.text());
    }

    /// Writes the document with each text of a pair replaced by the other.
    pub(super) fn break_with(&self, document: Document, changes: &[(&str, &str)]) {
        let mut text = document.text().to_owned();
        for (from, to) in changes {
            assert_eq!(text.matches(from).count(), 1, "{from:?} stands in {document:?} once");
            text = text.replace(from, to);
        }
        self.write(document, &text);
    }

    /// Overwrites any other file.
    pub(super) fn write_file(&self, file: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory().join(file);
        fs::write(&path, bytes).expect("the test's directory can be written");
        path
    }

    /// Lets the program that reads the document check it.
    pub(super) fn check(&self, document: Document) -> Ended {
        self.command(document, &["check"])
    }

    /// Lets the program of the document do something that ends by itself.
    pub(super) fn command(&self, document: Document, arguments: &[&str]) -> Ended {
        let (program, file) = (document.program(), document.of_program());
        let output = run_command(program, file, self.directory(), arguments, "");
        let said = [output.stdout, output.stderr].concat();
        let lines = String::from_utf8_lossy(&said).lines().map(str::to_owned).collect();
        Ended { code: output.status.code(), lines }
    }

    /// Starts the program of the document, which is to end by itself.
    pub(super) fn run(&self, document: Document) -> Ended {
        ended(launch(document.program(), document.of_program(), self.directory()))
    }

    /// The same with only so many descriptors.
    pub(super) fn run_with_descriptors(&self, document: Document, descriptors_max: u32) -> Ended {
        let (program, name) = (document.program(), document.of_program());
        ended(launch_with_descriptors(program, name, self.directory(), descriptors_max))
    }

    fn write(&self, document: Document, text: &str) {
        let directory = self.directory().to_str().expect("the test's directory is UTF-8");
        let text = text.replace("DIR", directory);
        self.place.write(&format!("{}.toml", document.name()), &text);
    }
}

/// Waits for the end of a program.
fn ended(mut process: Process) -> Ended {
    let status = process.wait_for_exit(Deadline::after_s(20));
    Ended { code: status.code(), lines: process.lines_with(Mark::START, "") }
}
