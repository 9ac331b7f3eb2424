//! What a scanner finds of TLS on both ports of the edge.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use tests::appliance::{EDGE, Setup};
use tests::namespace::{Place, in_namespace};
use tests::test_ca::TestCa;

use super::xmpp_receiving::STARTTLS;

/// What a server of the partner's begins with.
const HEADER: &[u8] = b"<stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' from='fabrikam.example' \
    to='contoso.example' version='1.0'>";

/// The domain that the scanner asks for.
const DOMAIN: &str = "contoso.example";

/// Where the scanner finds the port for STARTTLS, with STARTTLS done.
const BEYOND_STARTTLS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// Does STARTTLS with the edge for each connection that is accepted, and then hands bytes on.
///
/// sslscan's own way ends its request with a line break, which the edge refuses.
// RFC 6120 s.5.3.3: no white space between the request and the first byte of TLS.
fn do_starttls_first() {
    let listener = TcpListener::bind((BEYOND_STARTTLS, 5269)).expect("the address is our own");
    thread::spawn(move || {
        while let Ok((scanner, _)) = listener.accept() {
            // Either side may end the connection at any time.
            thread::spawn(move || hand_on(&scanner, &connect_beyond_starttls()?));
        }
    });
}

fn connect_beyond_starttls() -> io::Result<TcpStream> {
    let mut edge = TcpStream::connect((EDGE, 5269))?;
    edge.write_all(HEADER)?;
    edge.write_all(STARTTLS)?;
    let mut said = Vec::new();
    let mut byte = [0];
    while !said.ends_with(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>") {
        edge.read_exact(&mut byte)?;
        said.extend_from_slice(&byte);
    }
    Ok(edge)
}

fn hand_on(scanner: &TcpStream, edge: &TcpStream) -> io::Result<()> {
    thread::scope(|scope| {
        let pass = |mut from: &TcpStream, mut to: &TcpStream| {
            let _ = io::copy(&mut from, &mut to);
            to.shutdown(Shutdown::Write)
        };
        scope.spawn(move || pass(scanner, edge));
        pass(edge, scanner)
    })
}

/// What sslscan writes of one port: a line for each finding.
fn scan(place: &Place, address: Ipv4Addr, port: u16) -> Vec<String> {
    let file = place.directory().join(format!("scan-{port}.xml"));
    let mut command = Command::new("/usr/bin/sslscan");
    command.arg(format!("--sni-name={DOMAIN}"));
    command.arg(format!("--xml={}", file.display())).arg(format!("{address}:{port}"));
    let output = command.output().expect("sslscan is installed");
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(file).expect("sslscan wrote it");
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// The findings of a kind, with some of their attributes.
fn of<'a>(findings: &'a [String], kind: &str, names: &[&str]) -> Vec<Vec<&'a str>> {
    let begin = format!("<{kind} ");
    let found = findings.iter().filter(|line| line.starts_with(&begin));
    found.map(|line| names.iter().map(|name| attribute(line, name)).collect()).collect()
}

fn attribute<'a>(line: &'a str, name: &str) -> &'a str {
    let value = line.split(&format!(" {name}=\"")).nth(1);
    value.and_then(|value| value.split('"').next()).unwrap_or_else(|| panic!("{name} in {line}"))
}

/// Asserts that nothing is found but TLS 1.2 and 1.3 with forward secrecy and AEAD.
fn assert_strong(findings: &[String]) {
    let protocols = of(findings, "protocol", &["type", "version", "enabled"]);
    let enabled: Vec<_> = protocols.iter().filter(|it| it[2] == "1").map(|it| it[1]).collect();
    assert_eq!((enabled, protocols.len()), (vec!["1.2", "1.3"], 6), "{findings:#?}");

    let ciphers = of(findings, "cipher", &["sslversion", "bits", "cipher", "strength"]);
    for cipher in &ciphers {
        let &[version, bits, name, strength] = cipher.as_slice() else { unreachable!("four") };
        let is_named = match version {
            "TLSv1.3" => name.starts_with("TLS_"),
            "TLSv1.2" => name.starts_with("ECDHE-"),
            _ => false,
        };
        let is_aead = name.contains("GCM") || name.contains("POLY1305");
        let is_long = bits.parse::<u32>().is_ok_and(|bits| bits >= 128);
        let is_strong = ["strong", "acceptable"].contains(&strength);
        assert!(is_named && is_aead && is_long && is_strong, "{cipher:?}");
    }
    for version in ["TLSv1.2", "TLSv1.3"] {
        assert!(ciphers.iter().any(|cipher| cipher[0] == version), "{version}: {findings:#?}");
    }
    for group in of(findings, "group", &["name", "bits"]) {
        assert!(group[1].parse::<u32>().is_ok_and(|bits| bits >= 128), "{group:?}");
    }
    assert_eq!(of(findings, "renegotiation", &["supported"]), [["0"]], "{findings:#?}");
    let heartbleed = of(findings, "heartbleed", &["vulnerable"]);
    assert!(!heartbleed.is_empty() && heartbleed.iter().all(|it| it == &["0"]), "{findings:#?}");
    // Debian's OpenSSL cannot compress, and then sslscan does not look for it.
    assert!(of(findings, "compression", &["supported"]).iter().all(|it| it == &["0"]));
}

#[test]
fn both_ports_speak_only_what_is_strong() {
    in_namespace("hostile::tls_scan::both_ports_speak_only_what_is_strong", |place| {
        let ca = TestCa::new(place.directory(), "ca");
        let setup = Setup { has_direct_tls: true, ..Setup::default() };
        let _appliance = setup.start(place, &ca);
        do_starttls_first();
        assert_strong(&scan(place, BEYOND_STARTTLS, 5269));
        assert_strong(&scan(place, EDGE, 5270));
    });
}
