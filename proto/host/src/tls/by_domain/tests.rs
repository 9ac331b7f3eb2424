//! Handshakes in memory: which of several identities is shown, on both sides, before and after a
//! reload.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rcgen::{ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use tempfile::TempDir;

use super::ByDomain;
use crate::tls::testing::{Authority, params};
use crate::tls::{
    FederationFiles, Identity, IdentityFiles, Purpose, federation_client_config,
    federation_server_configs,
};

/// Writes a certificate with this name and its key; what was there is replaced.
fn write(directory: &Path, file: &str, name: &str, purpose: Purpose) -> IdentityFiles {
    let key = KeyPair::generate().unwrap();
    let mut params = params(&[name]);
    if purpose == Purpose::Client {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    }
    let der = Authority::new("ca").sign_key(&params, &key);
    let files = IdentityFiles {
        certificate: directory.join(format!("{file}.pem")),
        key: directory.join(format!("{file}.key")),
    };
    std::fs::write(&files.certificate, crate::tls::answer::pem(&[der])).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

fn load(directory: &Path, name: &str) -> Identity {
    let server = write(directory, name, name, Purpose::Server);
    FederationFiles { server, client: None }.load().unwrap()
}

/// Returns what each side of a handshake saw: the client of the server, the server of the client.
fn handshake(server: &ServerConfig, client: ClientConfig, sni: Option<&str>) -> [String; 2] {
    let mut client = client;
    client.enable_sni = sni.is_some();
    let name = ServerName::try_from(sni.unwrap_or("unknown.example").to_owned()).unwrap();
    let client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut client = Connection::Client(client);
    let server = ServerConnection::new(Arc::new(server.clone())).unwrap();
    let mut server = Connection::Server(server);
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    [&client, &server].map(|side| name_in(side.peer_certificates().unwrap()))
}

fn name_in(chain: &[CertificateDer<'_>]) -> String {
    crate::tls::Details::read(&chain[0]).unwrap().names.join(", ")
}

#[test]
fn the_identity_that_is_asked_for_is_shown_and_else_the_one_of_the_domain() {
    let directory = TempDir::new().unwrap();
    let [a, b, default] =
        ["a.example", "xn--bcher-kva.example", "d.example"].map(|it| load(directory.path(), it));
    let [of_a, of_b] = ["a.example", "bücher.example"].map(|it| it.parse().unwrap());
    let identities = ByDomain { default, others: BTreeMap::from([(of_a, a), (of_b, b)]) };
    let servers = federation_server_configs(&identities).unwrap();
    let client = || federation_client_config(&identities.default).unwrap();
    for (fallback, asked_for, shown) in [
        (None, None, "DNS d.example"),
        (None, Some("a.example"), "DNS a.example"),
        (None, Some("A.Example"), "DNS a.example"),
        (None, Some("xn--bcher-kva.example"), "DNS xn--bcher-kva.example"),
        (None, Some("unknown.example"), "DNS d.example"),
        (Some("a.example"), None, "DNS a.example"),
        (Some("a.example"), Some("unknown.example"), "DNS a.example"),
        (Some("bücher.example"), Some("a.example"), "DNS a.example"),
        (Some("unknown.example"), None, "DNS d.example"),
    ] {
        let domain = fallback.map(|domain| domain.parse().unwrap());
        let [seen, _] = handshake(servers.of(domain.as_ref()), client(), asked_for);
        assert_eq!(seen, shown, "{fallback:?} {asked_for:?}");
    }
}

#[test]
fn a_separate_client_certificate_is_shown_where_we_connect_and_replaced_with_the_other_or_not() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    let server = write(directory, "server", "s1.example", Purpose::Server);
    let client = write(directory, "client", "c1.example", Purpose::Client);
    let identity = FederationFiles { server, client: Some(client) }.load().unwrap();
    let servers = federation_server_configs(&identity.clone().into()).unwrap();
    let seen = || {
        let client = federation_client_config(&identity).unwrap();
        handshake(servers.of(None), client, None)
    };
    assert_eq!(seen(), ["DNS s1.example", "DNS c1.example"]);

    write(directory, "server", "s2.example", Purpose::Server);
    std::fs::write(directory.join("client.pem"), "garbage").unwrap();
    identity.reload().unwrap_err();
    assert_eq!(seen(), ["DNS s1.example", "DNS c1.example"], "both or none");

    write(directory, "client", "c2.example", Purpose::Client);
    identity.reload().unwrap();
    assert_eq!(seen(), ["DNS s2.example", "DNS c2.example"]);
}
