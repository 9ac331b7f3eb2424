//! Partners with odd certificates: which prove a domain, in both directions, and what is said of
//! the others.

use std::fs;
use std::net::{SocketAddrV4, TcpListener};
use std::path::Path;
use std::sync::Arc;

use host::tls::KeyPin;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tests::appliance::Setup;
use tests::namespace::{Place, in_namespace};
use tests::process::Mark;
use tests::sip_user::NewMessage;
use tests::test_ca::{Identity, Leaf, TestCa, Usage};
use tests::wait::{Deadline, until};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::estate::{Estate, JULIET_URI, PEER, POLICY};
use super::wire::{Wire, client_config, server_config};
use super::xmpp_answers::words;
use super::xmpp_initiating::{FEATURES, HOSTILE, PROCEED};
use super::xmpp_receiving::{HEADER, authenticate, begin_tls, connect};

const REFUSED: &str = "edge_xmpp_certificates_refused_total";

/// Presents a certificate in the name of a domain; tells whether the edge offers EXTERNAL for it.
fn is_proven(estate: &Estate, identity: &Identity, domain: &str) -> bool {
    let config = client_config(estate.ca.certificate(), Some(identity));
    let mut wire = begin_tls(connect(), config);
    let header = String::from_utf8_lossy(HEADER).replace("peer.example", domain);
    wire.send(&[header.as_bytes()]);
    let said = words(wire.read_until(|bytes| words(bytes).len() >= 2));
    match said.get(1).map(String::as_str) {
        Some("features external") | Some("features external dialback") => true,
        Some(features) if features.starts_with("features") => false,
        // Where dialback is no other way.
        Some("error policy-violation") => false,
        _ => panic!("{domain}: {said:?}"),
    }
}

/// How often certificates were refused, for a reason.
fn refusals(estate: &Estate, reason: &str) -> f64 {
    estate.appliance.edge_counter(REFUSED, &format!("reason=\"{reason}\""))
}

/// Asserts that a certificate does not prove the domain, and is counted and recorded as that.
fn assert_refused(estate: &mut Estate, identity: &Identity, domain: &str, reason: &str, why: &str) {
    let (mark, before) = (estate.appliance.edge().mark(), refusals(estate, reason));
    assert!(!is_proven(estate, identity, domain), "{reason}: {identity:?}");
    assert_eq!(refusals(estate, reason), before + 1.0, "{reason}");
    let edge = estate.appliance.edge();
    edge.wait_for_line_after(mark, why, Deadline::after_s(5));
}

#[test]
fn a_certificate_proves_a_domain_by_its_names_usages_dates_and_authority() {
    let test = "hostile::certificates::\
        a_certificate_proves_a_domain_by_its_names_usages_dates_and_authority";
    in_namespace(test, |place| {
        let mut estate = Estate::start(place, PEER);
        let before = estate.look();
        let leaf = || Leaf::server("peer.example");
        let named = |name: &str| Leaf::common_name("peer.example").dns(name);
        let right = [
            ("server", leaf()),
            ("both", leaf().usage(Usage::Both)),
            ("unsaid", leaf().usage(Usage::Unsaid)),
            ("any", leaf().usage(Usage::Any)),
        ];
        for (name, leaf) in right {
            let identity = estate.ca.issue(&leaf, name);
            assert!(is_proven(&estate, &identity, "peer.example"), "{name}");
        }
        let many = (0..299).fold(leaf(), |leaf, number| leaf.dns(&format!("n{number}.example")));
        let wrong = [
            ("client", leaf().usage(Usage::Client), "wrong-usage", "it is for clientAuth only"),
            ("code", leaf().usage(Usage::CodeSigning), "wrong-usage", "for codeSigning only"),
            ("expired", leaf().expired(), "expired", "it expired on 2021-01-0"),
            ("early", leaf().not_yet_valid(), "not-yet-valid", "it is not valid before"),
            ("cn", Leaf::common_name("peer.example"), "wrong-name", "not name peer.example"),
            ("other", Leaf::server("other.example"), "wrong-name", "not name peer.example"),
            ("all", named("*.example"), "wrong-name", "not name peer.example"),
            ("below", named("*.peer.example"), "wrong-name", "not name peer.example"),
            ("partial", named("p*.example"), "wrong-name", "not name peer.example"),
            ("many", many, "too-many-names", "300 subject alternative names"),
        ];
        for (name, leaf, reason, why) in wrong {
            let identity = estate.ca.issue(&leaf, name);
            assert_refused(&mut estate, &identity, "peer.example", reason, why);
        }
        let stranger = TestCa::new(&place.make_directory("stranger"), "stranger");
        let foreign = stranger.issue(&leaf(), "foreign");
        let own = leaf().self_signed(place.directory(), "own");
        for identity in [&foreign, &own] {
            let why = "UnknownIssuer";
            assert_refused(&mut estate, identity, "peer.example", "unknown-issuer", why);
        }
        let long = estate.ca.issue(&leaf(), "long-chain");
        let chain = fs::read_to_string(&long.certificate).expect("it was written").repeat(9);
        fs::write(&long.certificate, chain).expect("it can be written");
        let why = "the chain is longer than 8 certificates";
        assert_refused(&mut estate, &long, "peer.example", "chain-too-long", why);
        estate.assert_unharmed_since(&before);
        estate.exchange_texts();
    });
}

#[test]
fn an_rsa_key_that_takes_too_long_ends_the_handshake() {
    let test = "hostile::certificates::an_rsa_key_that_takes_too_long_ends_the_handshake";
    in_namespace(test, |place| {
        let mut estate = Estate::start(place, PEER);
        let leaf = Leaf::server("peer.example");
        let identity = estate.ca.issue_for_long_key(&leaf, 16_384, "long-key");
        let config = client_config(estate.ca.certificate(), Some(&identity));
        // With TLS 1.3 a client is done before the server has looked at what it shows.
        let mut wire = begin_tls(connect(), config);
        let said = wire.read_to_end().expect("the edge closes the connection");
        assert_eq!(said, b"");
        let why = "an RSA key of 16384 bits is longer than 8192";
        let edge = estate.appliance.edge();
        edge.wait_for_line_after(Mark::START, why, Deadline::after_s(5));
        assert_eq!(refusals(&estate, "key-too-long"), 1.0);
        estate.exchange_texts();
    });
}

#[test]
fn what_is_revoked_proves_nothing_from_the_next_reading_of_the_list_on() {
    let test = "hostile::certificates::\
        what_is_revoked_proves_nothing_from_the_next_reading_of_the_list_on";
    in_namespace(test, |place| {
        let list = place.directory().join("ca.crl");
        TestCa::new(&place.make_directory("stranger"), "stranger").revoke(&[7], &list);
        let xmpp_settings = format!("crl = [{list:?}]");
        let setup = Setup { policy: POLICY, xmpp_settings: &xmpp_settings, ..Setup::default() };
        let mut estate = Estate::start_setup(place, PEER, &setup);
        let leaf = Leaf::server("peer.example");
        let revoked = estate.ca.issue(&leaf.clone().serial(7), "revoked");
        let good = estate.ca.issue(&leaf.serial(8), "good");
        assert!(is_proven(&estate, &revoked, "peer.example"), "no list of its authority is there");
        let config = client_config(estate.ca.certificate(), Some(&revoked));
        let mut open = authenticate(begin_tls(connect(), config));

        estate.ca.revoke(&[7], &list);
        reload(&mut estate, "the revocation lists were read anew");
        assert_refused(&mut estate, &revoked, "peer.example", "revoked", "it is revoked");
        assert!(is_proven(&estate, &good, "peer.example"));

        fs::write(&list, "garbage").expect("it can be written");
        reload(&mut estate, "the revocation lists in use stay");
        let failures = "edge_revocation_list_reload_failures_total";
        assert_eq!(estate.appliance.edge_counter(failures, ""), 1.0);
        assert_refused(&mut estate, &revoked, "peer.example", "revoked", "it is revoked");
        open.send(&[b"</stream:stream>"]);
        let said = open.read_to_end().expect("the edge closes the stream");
        assert!(said.ends_with(b"</stream:stream>"), "the stream that stood went on");
        estate.exchange_texts();
    });
}

fn reload(estate: &mut Estate, record: &str) {
    let edge = estate.appliance.edge();
    let mark = edge.mark();
    edge.hang_up();
    edge.wait_for_line_after(mark, record, Deadline::after_s(10));
}

fn pin_of(identity: &Identity) -> KeyPin {
    let der = CertificateDer::from_pem_file(&identity.certificate).expect("it was written");
    let (_, certificate) = X509Certificate::from_der(&der).expect("it is a certificate");
    KeyPin(Sha256::digest(certificate.public_key().raw).into())
}

/// Two more partners: one with an authority of its own, one with a pinned key.
fn policy(authority: &Path, pin: KeyPin) -> String {
    format!(
        "{POLICY}\n[[xmpp_partner]]\ndomain = \"own.example\"\ntrust = [{authority:?}]\n\
         [[xmpp_partner]]\ndomain = \"pinned.example\"\npinned_keys = [\"{pin}\"]\n\
         dialback_negotiation = false\n"
    )
}

#[test]
fn an_authority_or_a_key_of_one_partner_serves_no_other() {
    let test = "hostile::certificates::an_authority_or_a_key_of_one_partner_serves_no_other";
    in_namespace(test, |place| {
        let theirs = TestCa::new(&place.make_directory("theirs"), "theirs");
        let pinned = Leaf::server("pinned.example").dns("peer.example").dns("own.example");
        let [key, other_key] =
            ["pinned", "unpinned"].map(|file| pinned.self_signed(place.directory(), file));
        let policy = policy(theirs.certificate(), pin_of(&key));
        let mut estate = Estate::start_with(place, PEER, &policy);
        let all = ["own.example", "pinned.example", "peer.example", "victim.example"];
        let leaf = all.into_iter().fold(Leaf::common_name("all"), Leaf::dns);
        let of_theirs = theirs.issue(&leaf, "all");
        let of_ours = estate.ca.issue(&leaf, "ours");

        assert!(is_proven(&estate, &of_theirs, "own.example"));
        assert!(is_proven(&estate, &of_ours, "own.example"), "ours still counts");
        assert!(is_proven(&estate, &key, "pinned.example"));
        let unknown = ("unknown-issuer", "UnknownIssuer");
        let unpinned = ("key-not-pinned", "none of those that are pinned");
        for (identity, domain, (reason, why)) in [
            (&of_theirs, "peer.example", unknown),
            (&of_theirs, "victim.example", unknown),
            (&key, "peer.example", unknown),
            (&key, "own.example", unknown),
            (&other_key, "pinned.example", unpinned),
            (&of_theirs, "pinned.example", unpinned),
            (&of_ours, "pinned.example", unpinned),
        ] {
            assert_refused(&mut estate, identity, domain, reason, why);
        }
        // What a partner is trusted by follows the policy at once.
        apply(place, &mut estate, &POLICY.replace("victim.example", "own.example"));
        assert_refused(&mut estate, &of_theirs, "own.example", unknown.0, unknown.1);
        estate.exchange_texts();
    });
}

fn apply(place: &Place, estate: &mut Estate, policy: &str) {
    let mark = estate.appliance.edge().mark();
    let path = place.write("changed.toml", policy);
    let path = path.to_str().expect("the test's directory is UTF-8");
    let output = estate.appliance.command(&["apply", path], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let edge = estate.appliance.edge();
    edge.wait_for_line_after(mark, "a policy is in force", Deadline::after_s(10));
}

#[test]
fn a_server_that_we_connect_to_proves_its_domain_by_the_same_rules() {
    let test = "hostile::certificates::\
        a_server_that_we_connect_to_proves_its_domain_by_the_same_rules";
    in_namespace(test, |place| {
        let domain = "domain = \"peer.example\"";
        let terms = "sasl_negotiation = \"required\"\nqueue = { age_s_max = 10 }";
        let policy = POLICY.replace(domain, &format!("{domain}\n{terms}"));
        let mut estate = Estate::start_with(place, HOSTILE, &policy);
        let listener = TcpListener::bind(SocketAddrV4::new(HOSTILE, 5269));
        let listener = listener.expect("the address is the test's own");
        let leaf = |usage| Leaf::server("peer.example").usage(usage);
        let cases = [
            ("client", leaf(Usage::Client), Some("wrong-usage")),
            ("code", leaf(Usage::CodeSigning), Some("wrong-usage")),
            ("expired", leaf(Usage::Server).expired(), Some("expired")),
            ("cn", Leaf::common_name("peer.example"), Some("wrong-name")),
            ("target", Leaf::server("xmpp.peer.example"), Some("wrong-name")),
            ("server", leaf(Usage::Server), None),
            ("unsaid", leaf(Usage::Unsaid), None),
            ("any", leaf(Usage::Any), None),
        ];
        for ((name, leaf, refused), age) in cases.into_iter().zip(11..) {
            // What failed is tried again at once when the policy changes.
            let age = format!("age_s_max = {age}");
            apply(place, &mut estate, &policy.replace("age_s_max = 10", &age));
            let identity = estate.ca.issue(&leaf, name);
            let before = refused.map(|reason| refusals(&estate, reason));
            let message =
                NewMessage { to: JULIET_URI, body: name.as_bytes(), ..NewMessage::default() };
            let begun = estate.romeo.begin_send(&message);
            let opened = opens_stream(&listener, &identity, place);
            assert_eq!(opened, refused.is_none(), "{name}");
            if let (Some(before), Some(reason)) = (before, refused) {
                assert_eq!(refusals(&estate, reason), before + 1.0, "{name}");
            }
            estate.romeo.finish(begun, Deadline::after_s(30));
        }
    });
}

/// Insists on clientAuth, as servers do that know no federation.
fn insisting(estate: &Estate, identity: &Identity) -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(estate.ca.certificate());
    roots.add(authority.expect("it was written")).expect("it is an authority");
    let verifier = WebPkiClientVerifier::builder(roots.into()).build();
    let builder = ServerConfig::builder();
    let builder = builder.with_client_cert_verifier(verifier.expect("there is an authority"));
    let ServerConfig { cert_resolver, .. } = (*server_config(identity)).clone();
    Arc::new(builder.with_cert_resolver(cert_resolver))
}

#[test]
fn a_partner_that_insists_on_client_auth_is_shown_the_client_certificate() {
    let test = "hostile::certificates::\
        a_partner_that_insists_on_client_auth_is_shown_the_client_certificate";
    in_namespace(test, |place| {
        let file = |name: &str| place.directory().join(name);
        let (certificate, key) = (file("client.pem"), file("client.key"));
        // The authority begins with the estate.
        Leaf::server("gw.example").usage(Usage::Both).self_signed(place.directory(), "client");
        let xmpp_settings = format!("client_certificate = {certificate:?}\nclient_key = {key:?}");
        let setup = Setup { policy: POLICY, xmpp_settings: &xmpp_settings, ..Setup::default() };
        let mut estate = Estate::start_setup(place, HOSTILE, &setup);
        let both = Leaf::server("gw.example").usage(Usage::Both);
        estate.ca.issue(&both, "client");
        reload(&mut estate, "a certificate was read anew");
        let listener = TcpListener::bind(SocketAddrV4::new(HOSTILE, 5269));
        let listener = listener.expect("the address is the test's own");
        let identity = estate.ca.issue(&Leaf::server("peer.example"), "insisting");
        let begun = estate.romeo.begin_send(&NewMessage {
            to: JULIET_URI,
            body: b"to one who insists",
            ..NewMessage::default()
        });
        let tls = insisting(&estate, &identity);
        let (shown, opened) = take_stream(&listener, tls, place);
        assert!(opened);
        let in_file = CertificateDer::from_pem_file(&certificate).expect("it was written");
        assert_eq!(shown, Some(in_file));
        estate.romeo.finish(begun, Deadline::after_s(90));
    });
}

/// Takes the edge's next connection up to TLS; tells whether it opens a stream behind it.
fn opens_stream(listener: &TcpListener, identity: &Identity, place: &Place) -> bool {
    take_stream(listener, server_config(identity), place).1
}

/// The same with any TLS; gives the certificate that the edge shows.
fn take_stream(
    listener: &TcpListener,
    tls: Arc<ServerConfig>,
    place: &Place,
) -> (Option<CertificateDer<'static>>, bool) {
    listener.set_nonblocking(true).expect("a socket has options");
    let what = format!("a connection, in {}", place.directory().display());
    let (socket, _) = until(&what, Deadline::after_s(30), || {
        listener.accept().map_err(|error| error.to_string())
    });
    socket.set_nonblocking(false).expect("a socket has options");
    let mut wire = Wire::new(socket);
    wire.read_until(|bytes| !words(bytes).is_empty());
    wire.send(&[FEATURES]);
    wire.read_until(|bytes| words(bytes).len() >= 2);
    wire.send(&[PROCEED]);
    let mut wire = wire.accept_tls(tls);
    let opened = !words(wire.read_until(|bytes| !words(bytes).is_empty())).is_empty();
    (wire.peer_certificate(), opened)
}
