//! One stream for both directions (XEP-0288): our machines against each other.

use bytes::Bytes;

use super::pair::{Network, take_matching};
use super::*;

mod hostile;

const ASK: &str = "<bidi xmlns='urn:xmpp:bidi'/>";
/// What our asking begins with, before the limits that we announce.
const OURS: &str = "<bidi xmlns='urn:xmpp:bidi'>";

/// A stanza from b, whose connection it is not, to a.
fn reply(body: &str) -> Bytes {
    write_stanza(&message("u@b.example", "m@a.example", body))
}

impl Network {
    /// Two servers that want bidirectional streams, with certificates, and one stream between them.
    fn bidi(terms: StreamTerms) -> Self {
        let mut network = Self::new(terms.with_bidi(true)).with_certificates();
        network.drive();
        network
    }

    /// Sends a stanza against the direction in which the stream was opened.
    fn send_back(&mut self, token: u64, body: &str) -> Result<(), SendError> {
        let (pair, now) = (domain_pair("b.example", "a.example"), self.now);
        self.a_to_b.receiving.send_stanza(&pair, token, &reply(body), &self.b, now)
    }

    /// The bodies that a got on its own connection, each one once.
    fn bodies_back(&mut self) -> Vec<String> {
        let stanzas = take_matching(&mut self.a_to_b.initiating_events, |event| {
            matches!(event, InitiatingEvent::Stanza(_))
        });
        let bodies = stanzas.iter().filter_map(|event| match event {
            InitiatingEvent::Stanza(stanza) => stanza.element.child(ns::SERVER, "body"),
            _ => None,
        });
        bodies.map(|body| body.text().into_owned()).collect()
    }

    fn delivered_back(&self) -> Vec<u64> {
        let tokens = self.a_to_b.receiving_events.iter().filter_map(|event| match event {
            ReceivingEvent::Delivered { token } => Some(*token),
            _ => None,
        });
        tokens.collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.a_to_b.initiating.handle_timeout(self.now);
        self.a_to_b.receiving.handle_timeout(&self.b, self.now);
        self.drive();
    }
}

#[test]
fn both_ways_are_acknowledged_on_one_stream_whatever_authenticates_it() {
    for terms in [OPTIONAL, SASL_ONLY, DIALBACK_ONLY] {
        for (direct_tls, chunk_bytes) in [(false, usize::MAX), (true, usize::MAX), (false, 1)] {
            let terms = terms.with_bidi(true);
            let mut network = Network { chunk_bytes, ..Network::new(terms).with_certificates() };
            if direct_tls {
                network = network.with_direct_tls();
            }
            network.drive();
            assert!(network.a_to_b.initiating.is_bidirectional());
            assert!(network.a_to_b.receiving.is_bidirectional());

            let forth = write_stanza(&message("m@a.example", "u@b.example", "forth"));
            network.a_to_b.initiating.send_stanza(7, forth, network.now).unwrap();
            network.send_back(8, "back").unwrap();
            network.drive();
            assert_eq!(network.a_to_b.bodies(), ["forth"]);
            assert_eq!(network.bodies_back(), ["back"]);

            confirm_all(&mut network);
            assert_eq!(network.a_to_b.delivered(), [7]);
            assert_eq!(network.delivered_back(), [8]);
            assert_eq!(network.a_to_b.receiving.take_unconfirmed(), []);
        }
    }
}

/// Each owner answers for the one stanza it got, and the pings that came are answered.
fn confirm_all(network: &mut Network) {
    network.a_to_b.initiating.acknowledge(1, network.now);
    network.a_to_b.receiving.acknowledge(1, network.now);
    network.pass(StreamLimits::default().acknowledgement_delay);
    let pings = network.a_to_b.wire.split("<iq type='get' ").skip(1);
    let ids: Vec<String> =
        pings.filter_map(|ping| Some(ping.split('\'').nth(5)?.to_owned())).collect();
    for id in ids {
        network.a_to_b.initiating.handle_barrier_answer(&id, network.now);
        network.a_to_b.receiving.handle_barrier_answer(&id, network.now);
    }
    network.drive();
}

#[test]
fn nothing_is_carried_back_unless_both_sides_agreed() {
    let (with, without) = (BIDI, OPTIONAL);
    for (a, b) in [(with, without), (without, with)] {
        let mut network = Network::new(with).with_certificates();
        network.a.partners.insert(domain("b.example"), a);
        network.b.partners.insert(domain("a.example"), b);
        network.drive();

        assert!(!network.a_to_b.wire.contains(OURS));
        assert!(!network.a_to_b.initiating.is_bidirectional());
        assert_eq!(network.send_back(1, "no"), Err(SendError::NotCarried));
        assert_eq!(network.a_to_b.ready().map(|(proven, ..)| proven), Some(true));
    }
}

#[test]
fn a_server_that_did_not_prove_itself_is_not_asked_to_send_stanzas() {
    let mut network = Network::new(BIDI);
    network.drive();

    assert_eq!(network.a_to_b.ready().map(|(proven, ..)| proven), Some(false));
    assert!(!network.a_to_b.wire.contains(OURS));
}

#[test]
fn the_stream_is_asked_for_before_authentication_and_only_behind_tls() {
    for terms in [SASL_ONLY, DIALBACK_ONLY] {
        let network = Network::bidi(terms);
        let (before, after) = network.a_to_b.wire.split_once(OURS).unwrap();
        assert!(before.contains("<proceed "));
        assert_eq!(before.matches("urn:xmpp:features:bidi").count(), 1, "not in the clear");
        assert!(!before.contains("<auth ") && !before.contains("<db:result "));
        assert!(!after.contains("urn:xmpp:features:bidi"), "too late for that");
    }
}

#[test]
fn policy_that_changes_ends_what_is_carried_back() {
    let mut network = Network::bidi(OPTIONAL);
    network.b.partners.insert(domain("a.example"), OPTIONAL);
    assert_eq!(network.send_back(1, "no"), Err(SendError::NotCarried));

    let mut network = Network::bidi(OPTIONAL);
    network.a.partners.clear();
    network.send_back(1, "crossing").unwrap();
    network.drive();
    assert_eq!(network.a_to_b.initiating_end().unwrap().cause, CloseCause::NotAdmitted);
    let unconfirmed = network.a_to_b.receiving.take_unconfirmed();
    assert_eq!(unconfirmed, [Unconfirmed { token: 1, written: true }]);
}

#[test]
fn only_pairs_that_the_peer_has_proven_are_carried() {
    let mut network = Network::bidi(OPTIONAL);
    network.b.partners.insert(domain("v.example"), BIDI);
    network.b.local_domains.insert(domain("c.example"));
    let (b, now) = (&network.b, network.now);
    for pair in [domain_pair("b.example", "v.example"), domain_pair("c.example", "a.example")] {
        let sent = network.a_to_b.receiving.send_stanza(&pair, 1, &reply("no"), b, now);
        assert_eq!(sent, Err(SendError::NotCarried), "{pair:?}");
    }
}

#[test]
fn stanzas_of_either_direction_keep_the_stream() {
    let limits = StreamLimits::default();
    let mut network = Network::bidi(OPTIONAL);
    let almost = limits.inactivity_max.checked_sub(Duration::from_secs(1)).unwrap();
    for token in 1..=3 {
        network.pass(almost);
        network.send_back(token, "back").unwrap();
        network.drive();
        network.a_to_b.initiating.acknowledge(1, network.now);
        network.pass(limits.acknowledgement_delay);
    }
    assert_eq!(network.delivered_back(), [1, 2, 3]);
    assert!(network.a_to_b.initiating_end().is_none());
    network.pass(limits.inactivity_max);
    assert_eq!(network.a_to_b.initiating_end().unwrap().cause, CloseCause::Idle);
}

#[test]
fn what_came_back_before_an_orderly_end_is_acknowledged_before_it() {
    let end = |network: &mut Network, peer_ends: bool| match peer_ends {
        true => network.a_to_b.receiving.close(None, &network.b, network.now),
        false => network.a_to_b.initiating.close(None, network.now),
    };
    for peer_ends in [true, false] {
        let mut network = Network::bidi(OPTIONAL);
        network.send_back(1, "last").unwrap();
        network.drive();
        end(&mut network, peer_ends);
        network.drive();
        assert!(network.a_to_b.initiating_end().is_none(), "the owner has not answered yet");

        network.a_to_b.initiating.acknowledge(1, network.now);
        network.drive();
        assert_eq!(network.delivered_back(), [1]);
        assert!(network.a_to_b.initiating_end().is_some());
        assert!(network.a_to_b.receiving_end().is_some());
        assert_eq!(network.a_to_b.wire.matches("</stream:stream>").count(), 2);
    }
}

#[test]
fn what_the_owner_never_answers_for_stays_with_the_peer() {
    let mut network = Network::bidi(OPTIONAL);
    network.send_back(1, "last").unwrap();
    network.drive();
    network.a_to_b.initiating.close(None, network.now);
    network.drive();
    network.pass(StreamLimits::default().close_max);

    assert!(network.a_to_b.initiating_end().is_some());
    assert_eq!(network.delivered_back(), [] as [u64; 0]);
    let unconfirmed = network.a_to_b.receiving.take_unconfirmed();
    assert_eq!(unconfirmed, [Unconfirmed { token: 1, written: true }]);
}
