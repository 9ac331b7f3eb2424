//! Hostile peers that connect to us: before TLS, and after it.

use std::net::SocketAddrV4;
use std::sync::Arc;

use rustls::ClientConfig;
use tests::appliance::EDGE;
use tests::namespace::in_namespace;
use tests::process::Mark;
use tests::test_ca::Leaf;
use tests::wait::Deadline;

use super::corpus::{Peer, XmppRow, xmpp_rows};
use super::delivery::Delivery;
use super::estate::{Estate, PEER};
use super::wire::{Wire, client_config};
use super::xmpp_answers::words;

pub(super) const HEADER: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' from='peer.example' to='gw.example' \
    version='1.0'>";
pub(super) const STARTTLS: &[u8] = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
pub(super) const AUTH: &[u8] =
    b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";

/// How the peers of the corpus do TLS.
pub(super) struct Configs {
    anonymous: Arc<ClientConfig>,
    certified: Arc<ClientConfig>,
}

impl Configs {
    pub(super) fn new(estate: &Estate) -> Self {
        let identity = estate.ca.issue(&Leaf::server("peer.example"), "hostile");
        let authority = estate.ca.certificate();
        Self {
            anonymous: client_config(authority, None),
            certified: client_config(authority, Some(&identity)),
        }
    }

    pub(super) fn of(&self, peer: Peer) -> Arc<ClientConfig> {
        match peer {
            Peer::Anonymous => Arc::clone(&self.anonymous),
            Peer::Certified | Peer::Authenticated => Arc::clone(&self.certified),
        }
    }
}

#[test]
fn whatever_comes_before_tls_is_answered_and_harms_nobody() {
    let test = "hostile::xmpp_receiving::whatever_comes_before_tls_is_answered_and_harms_nobody";
    in_namespace(test, |place| {
        let mut estate = Estate::start(place, PEER);
        estate.exchange_texts();
        let before = estate.look();
        estate.talk_during(|| {
            for row in xmpp_rows("pre-tls") {
                for delivery in Delivery::all(row.number) {
                    assert_answer(&row, delivery, connect());
                }
            }
        });
        estate.assert_unharmed_since(&before);
        estate.exchange_texts();
    });
}

#[test]
fn whatever_comes_after_tls_is_answered_and_harms_nobody() {
    let test = "hostile::xmpp_receiving::whatever_comes_after_tls_is_answered_and_harms_nobody";
    in_namespace(test, |place| {
        let mut estate = Estate::start(place, PEER);
        estate.exchange_texts();
        let configs = Configs::new(&estate);
        let (before, asked_before) = (estate.look(), estate.dns.mark());
        estate.talk_during(|| {
            for row in xmpp_rows("post-tls") {
                for delivery in Delivery::all(row.number) {
                    let wire = begin_tls(connect(), configs.of(row.peer));
                    let is_authenticated = row.peer == Peer::Authenticated;
                    let wire = if is_authenticated { authenticate(wire) } else { wire };
                    assert_answer(&row, delivery, wire);
                }
            }
        });
        estate.assert_unharmed_since(&before);
        assert_only_the_victim_was_asked(&mut estate, asked_before);
        estate.exchange_texts();
    });
}

/// Keys of other domains were in the files: only a domain that policy admits is looked for.
fn assert_only_the_victim_was_asked(estate: &mut Estate, since: Mark) {
    let mut asked = estate.dns.questions_about(since, "example");
    asked.retain(|question| !question.contains("peer.example"));
    assert!(asked.iter().any(|question| question.contains("_xmpp-server._tcp.victim.example")));
    asked.retain(|question| !question.contains("victim.example"));
    assert_eq!(asked, [""; 0]);
    let refused = "An imposter is claiming to be victim.example?";
    estate.victim.process().wait_for_line(refused, Deadline::after_s(10));
}

pub(super) fn connect() -> Wire {
    Wire::connect(SocketAddrV4::new(EDGE, 5269))
}

pub(super) fn begin_tls(mut wire: Wire, config: Arc<ClientConfig>) -> Wire {
    wire.send(&[HEADER, STARTTLS]);
    let said = wire.read_until(|bytes| words(bytes).len() >= 3);
    assert_eq!(words(said), ["header", "features starttls", "proceed"]);
    wire.connect_tls(config, "gw.example")
}

pub(super) fn authenticate(mut wire: Wire) -> Wire {
    wire.send(&[HEADER, AUTH]);
    wire.read_until(|bytes| words(bytes).len() >= 3);
    let said = wire.take_received();
    assert_eq!(words(&said), ["header", "features external", "success"]);
    wire
}

/// Sends the file and compares our answer with that of the index.
pub(super) fn assert_answer(row: &XmppRow, delivery: Delivery, mut wire: Wire) {
    wire.send(&delivery.pieces(&row.input));
    // The answer to a key takes as long as its authority does.
    wire.read_until(|bytes| words(bytes).len() >= row.answer.len());
    wire.finish();
    let said = wire.read_to_end();
    let said = said.unwrap_or_else(|| panic!("{} {delivery}: it stays connected", row.file));
    assert_eq!(words(said), row.answer, "{} {delivery}", row.file);
}
