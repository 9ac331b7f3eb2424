//! Handshakes of the link in memory: which certificates open it, and which side refuses the rest.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};
use rustls::{ClientConnection, Connection, ServerConnection};
use tempfile::TempDir;

use super::*;

const BOTH: &[ExtendedKeyUsagePurpose] =
    &[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];

/// What a handshake came to.
#[derive(Debug)]
enum Outcome {
    /// It opens; these are the names that each side gave the other: the edge's, the front end's.
    Opens(Option<String>, Option<String>),
    EdgeRefuses(String),
    FrontendRefuses(String),
}

/// A private authority, with its certificate in a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: PathBuf,
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = directory.path().join("ca.pem");
        std::fs::write(&certificate, parameters.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(parameters, key), certificate, directory }
    }

    fn issue(&self, uri: &str) -> Identity {
        self.issue_with(&[uri], BOTH, 2049)
    }

    fn issue_with(
        &self,
        uris: &[&str],
        usages: &[ExtendedKeyUsagePurpose],
        last_year: i32,
    ) -> Identity {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        let name = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        parameters.subject_alt_names = uris.iter().map(name).collect();
        parameters.extended_key_usages = usages.to_vec();
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let [pem, key_file] = ["leaf.pem", "leaf.key"].map(|it| self.directory.path().join(it));
        std::fs::write(&pem, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        Identity::load(&pem, &key_file).unwrap()
    }

    fn edge(&self) -> Identity {
        self.issue("spiffe://isthmus/edge/edge1")
    }

    fn frontend(&self) -> Identity {
        self.issue("spiffe://isthmus/frontend/fe1")
    }
}

fn anchors(file: &Path) -> TrustAnchors {
    TrustAnchors::load(&[file.to_owned()]).unwrap()
}

/// A handshake between these two, who both trust `authority`.
fn shake(edge: &Identity, frontend: &Identity, authority: &Authority) -> Outcome {
    let server = link_server_config(edge, anchors(&authority.certificate)).unwrap();
    let client = link_client_config(frontend, anchors(&authority.certificate)).unwrap();
    carry(server, client)
}

fn carry(server: ServerConfig, client: ClientConfig) -> Outcome {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut frontend = Connection::from(ClientConnection::new(Arc::new(client), name).unwrap());
    let mut edge = Connection::from(ServerConnection::new(Arc::new(server)).unwrap());
    while frontend.wants_write() || edge.wants_write() {
        if let Err(error) = pass(&mut frontend, &mut edge) {
            return Outcome::EdgeRefuses(format!("{error:?}"));
        }
        if let Err(error) = pass(&mut edge, &mut frontend) {
            return Outcome::FrontendRefuses(format!("{error:?}"));
        }
    }
    assert!(!frontend.is_handshaking() && !edge.is_handshaking());
    Outcome::Opens(
        peer_name(frontend.peer_certificates(), Role::Edge),
        peer_name(edge.peer_certificates(), Role::Frontend),
    )
}

fn pass(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

fn assert_edge_refuses(outcome: Outcome, reason: &str) {
    let Outcome::EdgeRefuses(said) = outcome else { panic!("{outcome:?}") };
    assert!(said.contains(reason), "{said}");
}

fn assert_frontend_refuses(outcome: Outcome, reason: &str) {
    let Outcome::FrontendRefuses(said) = outcome else { panic!("{outcome:?}") };
    assert!(said.contains(reason), "{said}");
}

#[test]
fn an_edge_and_a_front_end_of_one_authority_learn_each_others_names() {
    let ours = Authority::new();
    let outcome = shake(&ours.edge(), &ours.frontend(), &ours);
    let Outcome::Opens(edge, frontend) = outcome else { panic!("{outcome:?}") };
    assert_eq!((edge.as_deref(), frontend.as_deref()), (Some("edge1"), Some("fe1")));
}

#[test]
fn neither_side_can_pose_as_the_other() {
    let ours = Authority::new();
    let posing_as_frontend = shake(&ours.edge(), &ours.edge(), &ours);
    assert_edge_refuses(posing_as_frontend, "NoRole(Frontend)");
    let posing_as_edge = shake(&ours.frontend(), &ours.frontend(), &ours);
    assert_frontend_refuses(posing_as_edge, "NoRole(Edge)");
    let of_neither = ours.issue("spiffe://elsewhere/frontend/fe1");
    assert_edge_refuses(shake(&ours.edge(), &of_neither, &ours), "NoRole(Frontend)");
}

#[test]
fn a_certificate_of_both_roles_opens_neither_end() {
    let ours = Authority::new();
    let roles = ["spiffe://isthmus/edge/both", "spiffe://isthmus/frontend/both"];
    let both = ours.issue_with(&roles, BOTH, 2049);
    assert_frontend_refuses(shake(&both, &ours.frontend(), &ours), "SeveralRoles(Edge)");
    assert_edge_refuses(shake(&ours.edge(), &both, &ours), "SeveralRoles(Frontend)");
    assert_eq!(both.name_in(Role::Edge), None, "it is not configured either");
}

#[test]
fn a_right_role_of_another_authority_opens_nothing() {
    let (ours, other) = (Authority::new(), Authority::new());
    assert_edge_refuses(shake(&ours.edge(), &other.frontend(), &ours), "Untrusted");
    assert_frontend_refuses(shake(&other.edge(), &ours.frontend(), &ours), "Untrusted");
}

#[test]
fn a_certificate_that_has_expired_or_is_for_another_usage_opens_nothing() {
    let ours = Authority::new();
    let expired = ours.issue_with(&["spiffe://isthmus/frontend/fe1"], BOTH, 2021);
    assert_edge_refuses(shake(&ours.edge(), &expired, &ours), "Expired");
    let server_only = [ExtendedKeyUsagePurpose::ServerAuth];
    let no_client = ours.issue_with(&["spiffe://isthmus/frontend/fe1"], &server_only, 2049);
    assert_edge_refuses(shake(&ours.edge(), &no_client, &ours), "Untrusted");
    let client_only = [ExtendedKeyUsagePurpose::ClientAuth];
    let no_server = ours.issue_with(&["spiffe://isthmus/edge/edge1"], &client_only, 2049);
    assert_frontend_refuses(shake(&no_server, &ours.frontend(), &ours), "Untrusted");
}

#[test]
fn a_front_end_without_a_certificate_is_refused() {
    let ours = Authority::new();
    let server = link_server_config(&ours.edge(), anchors(&ours.certificate)).unwrap();
    let verifier = RoleVerifier::new(Role::Edge, anchors(&ours.certificate));
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    assert_edge_refuses(carry(server, client), "NoCertificatesPresented");
}
