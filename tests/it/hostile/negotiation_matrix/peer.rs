//! The peer of the matrix: it connects by one method, or offers some of them.

use std::net::{SocketAddrV4, TcpListener};
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use tests::account::Account;
use tests::appliance::{Appliance, EDGE, Setup};
use tests::dns::{Dns, Records};
use tests::namespace::Place;
use tests::sip_user::{SipUser, Transport};
use tests::test_ca::{Leaf, TestCa};
use tests::wait::{Deadline, until};

use super::Method::{self, External, TcpDialback, TlsDialback};
use crate::hostile::wire::{Wire, client_config, server_config};
use crate::hostile::xmpp_answers::words;
use crate::hostile::xmpp_initiating::{HOSTILE, PROCEED};
use crate::hostile::xmpp_receiving::{AUTH, STARTTLS};

const ROMEO: Account<'static> =
    Account { user: "romeo", domain: "gw.example", password: "romeo-secret" };

/// What a peer offers us.
#[derive(Clone, Copy, Debug)]
pub(super) enum Offer {
    /// STARTTLS, and EXTERNAL and dialback behind it.
    Everything,
    /// STARTTLS, and dialback behind it.
    NoExternal,
    /// Dialback, without TLS.
    NoTls,
}

/// The appliance, a user inside, and the peer that is every partner's server.
pub(super) struct Matrix {
    pub(super) appliance: Appliance,
    pub(super) romeo: SipUser,
    listener: TcpListener,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    _dns: Dns,
}

impl Matrix {
    /// Starts everything under the policy; these domains are the peer's.
    pub(super) fn start(place: &Place, policy: &str, domains: &[String]) -> Self {
        let ca = TestCa::new(place.directory(), "ca");
        let mut records = Records::new().xmpp_server("gw.example", EDGE);
        let mut leaf = Leaf::server("peer.example");
        for domain in domains {
            records = records.xmpp_server(domain, HOSTILE);
            leaf = leaf.dns(domain);
        }
        let dns = Dns::start(place, &records);
        let setup = Setup { domain: "gw.example", policy, ..Setup::default() };
        let appliance = setup.start(place, &ca);
        appliance.add_user(&ROMEO);
        let mut romeo = SipUser::start(place, &ROMEO);
        romeo.connect(appliance.sip(), Transport::Tcp);
        assert_eq!(romeo.register(3600).status, 200);
        let identity = ca.issue(&leaf, "peer");
        let listener = TcpListener::bind(SocketAddrV4::new(HOSTILE, 5269));
        Self {
            appliance,
            romeo,
            listener: listener.expect("the address is the test's own"),
            client: client_config(ca.certificate(), Some(&identity)),
            server: server_config(&identity),
            _dns: dns,
        }
    }

    /// Takes the edge's next connection, and reads its header.
    fn accept(&self, what: &str) -> Wire {
        self.listener.set_nonblocking(true).expect("a socket has options");
        let (socket, _) =
            until(&format!("a connection, for {what}"), Deadline::after_s(20), || {
                self.listener.accept().map_err(|error| error.to_string())
            });
        socket.set_nonblocking(false).expect("a socket has options");
        let mut wire = Wire::new(socket);
        hear(&mut wire, 1);
        wire
    }

    /// Answers the edge, which verifies a key of the domain without TLS.
    fn verify_key_of(&self, domain: &str) -> Wire {
        let mut wire = self.accept(domain);
        wire.send(&[&response(domain), NO_TLS]);
        assert_eq!(hear(&mut wire, 3), ["header", "result", "verify"], "{domain}");
        let said = String::from_utf8(wire.take_received()).expect("the edge says UTF-8");
        let (_, question) = said.split_once("<db:verify ").expect("it was heard");
        let id = question.split(" id='").nth(1).and_then(|rest| rest.split('\'').next());
        let id = id.expect("a question has an id");
        let answer = format!("<db:verify from='{domain}' to='gw.example' id='{id}' type='valid'/>");
        wire.send(&[answer.as_bytes()]);
        wire
    }

    /// Sends a message on an open stream, and waits for it inside.
    pub(super) fn say_to_romeo(&mut self, wire: &mut Wire, domain: &str, text: &str) {
        let message = format!(
            "<message from='juliet@{domain}/r' to='romeo@gw.example'><body>{text}</body></message>"
        );
        wire.send(&[message.as_bytes()]);
        self.romeo.expect_text(text, Deadline::after_s(20));
    }
}

const FINAL: &str = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>\
    <sm xmlns='urn:xmpp:sm:3'/></stream:features>";
const NO_TLS: &[u8] = b"<stream:features><dialback xmlns='urn:xmpp:features:dialback'>\
    <errors/></dialback><sm xmlns='urn:xmpp:sm:3'/></stream:features>";
const TLS: &[u8] = b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\
    <dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>\
    <sm xmlns='urn:xmpp:sm:3'/></stream:features>";

/// Reads until so many words were heard, or the other side ends.
fn hear(wire: &mut Wire, count: usize) -> Vec<String> {
    words(wire.read_until(|bytes| words(bytes).len() >= count))
}

fn header(domain: &str) -> Vec<u8> {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
         xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
         from='{domain}' to='gw.example' version='1.0'>"
    )
    .into_bytes()
}

fn response(domain: &str) -> Vec<u8> {
    let mut header = header(domain);
    header.truncate(header.len() - 1);
    header.extend_from_slice(b" id='i1'>");
    header
}

fn key(domain: &str) -> Vec<u8> {
    format!("<db:result from='{domain}' to='gw.example'>key</db:result>").into_bytes()
}

/// Connects and asks for TLS; the words where that is refused.
fn begin_tls(matrix: &Matrix, domain: &str) -> Result<Wire, Vec<String>> {
    let mut wire = Wire::connect(SocketAddrV4::new(EDGE, 5269));
    wire.send(&[&header(domain), STARTTLS]);
    let said = hear(&mut wire, 3);
    match said.last().map(String::as_str) {
        Some("proceed") => Ok(wire.connect_tls(Arc::clone(&matrix.client), "gw.example")),
        _ => Err(words(wire.read_to_end().expect("the edge closes the connection"))),
    }
}

/// The peer connects to us by one method; the stream, or what it was told instead.
pub(super) fn call(matrix: &mut Matrix, domain: &str, method: Method) -> Result<Wire, Vec<String>> {
    let (mut wire, proof) = match method {
        External => (begin_tls(matrix, domain)?, AUTH.to_vec()),
        TlsDialback => (begin_tls(matrix, domain)?, key(domain)),
        TcpDialback => (Wire::connect(SocketAddrV4::new(EDGE, 5269)), key(domain)),
    };
    wire.send(&[&header(domain)]);
    hear(&mut wire, 2);
    let insists_on_tls = String::from_utf8_lossy(wire.read_until(|_| true)).contains("<required/>");
    wire.send(&[&proof]);
    if method == TcpDialback && !insists_on_tls {
        // The answer comes once the edge has asked on a connection of its own.
        drop(matrix.verify_key_of(domain));
    }
    let said = hear(&mut wire, 3);
    if !matches!(said.last().map(String::as_str), Some("success" | "result valid")) {
        return Err(match method {
            TcpDialback => words(wire.read_to_end().expect("the edge closes the connection")),
            External | TlsDialback => said,
        });
    }
    if method == External {
        wire.take_received();
        wire.send(&[&header(domain)]);
        assert_eq!(hear(&mut wire, 2)[0], "header");
    }
    Ok(wire)
}

/// Answers the edge's connection to the domain, as far as it goes; the method that it chose, or
/// what it said at last.
pub(super) fn answer(
    matrix: &Matrix,
    domain: &str,
    offer: Offer,
) -> Result<(Wire, Method), Vec<String>> {
    let mut wire = matrix.accept(domain);
    let in_clear = if matches!(offer, Offer::NoTls) { NO_TLS } else { TLS };
    wire.send(&[&response(domain), in_clear]);
    let mut said = hear(&mut wire, 2);
    let mut has_tls = false;
    if said.last().is_some_and(|word| word == "starttls") {
        has_tls = true;
        wire.send(&[PROCEED]);
        wire = wire.accept_tls(Arc::clone(&matrix.server));
        let mechanisms = match offer {
            Offer::Everything => {
                "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
                <mechanism>EXTERNAL</mechanism></mechanisms>"
            }
            Offer::NoExternal | Offer::NoTls => "",
        };
        hear(&mut wire, 1);
        let features = format!("<stream:features>{mechanisms}{FINAL}");
        wire.send(&[&response(domain), features.as_bytes()]);
        said = hear(&mut wire, 2);
    }
    match (said.last().map(String::as_str), has_tls) {
        (Some("auth"), true) => {
            wire.take_received();
            wire.send(&[b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"]);
            hear(&mut wire, 1);
            wire.send(&[&response(domain), format!("<stream:features>{FINAL}").as_bytes()]);
            Ok((wire, External))
        }
        (Some("result"), has_tls) => {
            let valid = format!("<db:result from='{domain}' to='gw.example' type='valid'/>");
            wire.send(&[valid.as_bytes()]);
            Ok((wire, if has_tls { TlsDialback } else { TcpDialback }))
        }
        _ => Err(words(wire.read_to_end().expect("the edge closes the connection"))),
    }
}

/// Takes the message and acknowledges it.
pub(super) fn take_message(wire: &mut Wire, text: &str) {
    let has = |wire: &mut Wire, word: &str| {
        let said = words(wire.read_until(|bytes| words(bytes).iter().any(|it| it == word)));
        assert!(said.iter().any(|it| it == word), "{text}: {said:?}");
    };
    has(wire, "enable");
    wire.send(&[b"<enabled xmlns='urn:xmpp:sm:3'/>"]);
    has(wire, "r");
    let said = String::from_utf8_lossy(wire.read_until(|_| true)).into_owned();
    assert!(said.contains(text), "{said}");
    wire.send(&[b"<a xmlns='urn:xmpp:sm:3' h='1'/>"]);
}
