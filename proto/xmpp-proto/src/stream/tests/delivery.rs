//! What becomes of stanzas that we send: acknowledgements, barriers, queues, dead peers.

use bytes::Bytes;

use super::initiating::Peer;
use super::*;

impl Peer {
    fn send(&mut self, token: u64) {
        let stanza = write_stanza(&message("m@a.example", "u@b.example", "hi"));
        self.stream.send_stanza(token, stanza, self.now).unwrap();
    }

    fn delivered(&mut self) -> Vec<u64> {
        let tokens = self.events().into_iter().filter_map(|event| match event {
            InitiatingEvent::Delivered { token } => Some(token),
            _ => None,
        });
        tokens.collect()
    }

    fn acknowledge(&mut self, handled: u32) -> String {
        self.say(&format!("<a xmlns='urn:xmpp:sm:3' h='{handled}'/>"))
    }
}

/// The id of the ping in some bytes.
fn ping_id(heard: &str) -> &str {
    let (_, rest) =
        heard.split_once("<iq type='get' from='a.example' to='b.example' id='").unwrap();
    let (id, rest) = rest.split_once('\'').unwrap();
    assert!(rest.starts_with("><ping xmlns='urn:xmpp:ping'/></iq>"));
    id
}

#[test]
fn one_request_covers_a_batch_and_the_next_waits_for_its_answer() {
    let mut peer = Peer::ready(Confirmation::Acknowledgements);
    peer.send(1);
    peer.send(2);
    let heard = peer.hear();
    assert_eq!(heard.matches("<message").count(), 2);
    assert!(heard.ends_with("<r xmlns='urn:xmpp:sm:3'/>"), "{heard}");
    assert_eq!(heard.matches("<r ").count(), 1);
    peer.send(3);
    assert_eq!(peer.hear().matches("<r ").count(), 0);

    let heard = peer.acknowledge(2);
    assert_eq!(heard, "<r xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(peer.delivered(), [1, 2]);
}

#[test]
fn a_peer_that_has_not_handled_all_is_asked_again_after_a_while_and_not_before() {
    let limits = StreamLimits::default();
    let mut peer = Peer::ready(Confirmation::Acknowledgements);
    peer.send(1);
    peer.hear();
    assert_eq!(peer.acknowledge(0), "");
    assert_eq!(peer.pass(limits.acknowledgement_repeat), "<r xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(peer.acknowledge(1), "");
    assert_eq!(peer.delivered(), [1]);
    assert_eq!(peer.pass(limits.acknowledgement_repeat), "");
}

#[test]
fn an_acknowledgement_that_cannot_be_ends_the_stream() {
    let mut peer = Peer::ready(Confirmation::Acknowledgements);
    peer.send(1);
    peer.hear();
    let heard = peer.acknowledge(2);
    assert!(heard.contains("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='2' send-count='1'/>"));
    let cause = CloseCause::AcknowledgementTooHigh { handled: 2, sent: 1 };
    assert_eq!(peer.end(), cause);

    let mut peer = Peer::ready(Confirmation::Acknowledgements);
    assert!(peer.say("<a xmlns='urn:xmpp:sm:3'/>").contains("<bad-format "));
}

#[test]
fn a_peer_may_ask_us_although_it_sends_no_stanza() {
    let mut peer = Peer::ready(Confirmation::Acknowledgements);

    assert_eq!(peer.say("<r xmlns='urn:xmpp:sm:3'/>"), "<a xmlns='urn:xmpp:sm:3' h='0'/>");
}

#[test]
fn a_ping_follows_a_batch_and_its_answer_confirms_it() {
    let mut peer = Peer::ready(Confirmation::Barriers);
    peer.send(1);
    peer.send(2);
    let heard = peer.hear();
    let id = ping_id(&heard).to_owned();
    assert!(heard.ends_with("</iq>"));
    peer.send(3);
    assert!(!peer.hear().contains("<iq"), "one ping at a time");

    assert!(!peer.stream.handle_barrier_answer("other", peer.now));
    assert!(peer.stream.handle_barrier_answer(&id, peer.now));
    assert_eq!(peer.delivered(), [1, 2]);
    assert!(!peer.stream.handle_barrier_answer(&id, peer.now));

    let next = peer.hear();
    assert_ne!(ping_id(&next), id);
    assert!(peer.stream.handle_barrier_answer(ping_id(&next), peer.now));
    assert_eq!(peer.delivered(), [3]);
}

#[test]
fn a_peer_that_does_not_confirm_is_dead() {
    let limits = StreamLimits::default();
    for confirmation in [Confirmation::Acknowledgements, Confirmation::Barriers] {
        let mut peer = Peer::ready(confirmation);
        peer.send(1);
        peer.hear();
        assert_eq!(peer.stream.poll_timeout(), Some(peer.now + limits.dead_peer_max));
        let heard = peer.pass(limits.dead_peer_max);

        assert!(heard.contains("<connection-timeout "), "{heard}");
        assert_eq!(peer.end(), CloseCause::DeadPeer);
        let unconfirmed = peer.stream.take_unconfirmed();
        assert_eq!(unconfirmed, [Unconfirmed { token: 1, written: true }]);
    }
}

#[test]
fn a_peer_that_answers_and_confirms_nothing_is_dead_as_well() {
    let limits = StreamLimits::default();
    let mut peer = Peer::ready(Confirmation::Acknowledgements);
    peer.send(1);
    peer.hear();
    let (start, end) = (peer.now, peer.now + limits.dead_peer_max);
    while peer.stream.poll_timeout().is_some_and(|due| due < end) {
        peer.acknowledge(0);
        peer.pass(limits.acknowledgement_repeat);
        assert!(peer.now <= start + limits.dead_peer_max);
    }
    peer.pass(end.saturating_duration_since(peer.now));
    assert_eq!(peer.end(), CloseCause::DeadPeer);
    assert_eq!(peer.stream.take_unconfirmed(), [Unconfirmed { token: 1, written: true }]);
}

#[test]
fn a_silent_peer_is_probed_and_an_answer_is_enough() {
    let limits = StreamLimits::default();
    let mut peer = Peer::ready(Confirmation::Acknowledgements);
    assert_eq!(peer.pass(limits.keep_alive), "<r xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(peer.acknowledge(0), "");
    assert_eq!(peer.pass(limits.dead_peer_max), "");

    let mut peer = Peer::ready(Confirmation::Barriers);
    let heard = peer.pass(limits.keep_alive);
    assert!(peer.stream.handle_barrier_answer(ping_id(&heard), peer.now));
    assert_eq!(peer.pass(limits.dead_peer_max), "");

    let mut peer = Peer::ready(Confirmation::Barriers);
    peer.pass(limits.keep_alive);
    peer.pass(limits.dead_peer_max);
    assert_eq!(peer.end(), CloseCause::DeadPeer);
}

#[test]
fn a_peer_that_says_something_is_not_probed() {
    let limits = StreamLimits::default();
    let mut peer = Peer::ready(Confirmation::Acknowledgements);
    peer.pass(limits.keep_alive / 2);
    peer.say(" ");

    assert_eq!(peer.pass(limits.keep_alive / 2), "");
}

#[test]
fn a_stream_without_stanzas_is_closed() {
    let limits = StreamLimits::default();
    let mut peer = Peer::ready(Confirmation::Acknowledgements);
    peer.pass(limits.keep_alive);
    peer.acknowledge(0);
    let heard = peer.pass(limits.inactivity_max - limits.keep_alive);

    assert!(heard.ends_with("</stream:stream>"), "{heard}");
    let refused = peer.stream.send_stanza(1, Bytes::new(), peer.now);
    assert_eq!(refused, Err(SendError::Ended));
    peer.say("</stream:stream>");
    assert_eq!(peer.end(), CloseCause::Idle);
}

#[test]
fn the_queue_has_an_end() {
    let limits = StreamLimits::default();
    let mut peer = Peer::ready(Confirmation::Acknowledgements);
    for token in 0..limits.unconfirmed_stanzas_max as u64 {
        peer.send(token);
        peer.hear();
    }
    let stanza = Bytes::from_static(b"<presence/>");
    let full = peer.stream.send_stanza(0, stanza.clone(), peer.now);
    assert_eq!(full, Err(SendError::QueueFull));
    peer.acknowledge(1);
    assert_eq!(peer.stream.send_stanza(0, stanza, peer.now), Ok(()));
}

#[test]
fn bytes_that_wait_have_an_end_before_and_after_the_stream_is_ready() {
    let limits = StreamLimits::default();
    let half = Bytes::from(vec![b' '; limits.queued_bytes_max / 2]);
    let pair = domain_pair("a.example", "b.example");
    let now = origin();
    let mut early = InitiatingStream::new(pair, limits, [1; 32], now);
    while early.poll_transmit().is_some() {}
    let mut ready = Peer::ready(Confirmation::Acknowledgements);
    for stream in [&mut early, &mut ready.stream] {
        assert_eq!(stream.send_stanza(1, half.clone(), now), Ok(()));
        assert_eq!(stream.send_stanza(2, half.clone(), now), Ok(()));
        let one = Bytes::from_static(b" ");
        assert_eq!(stream.send_stanza(3, one, now), Err(SendError::QueueFull));
    }
}

#[test]
fn what_never_left_us_is_told_apart_from_what_may_have_arrived() {
    let mut peer = Peer::ready(Confirmation::Acknowledgements);
    peer.send(1);
    peer.send(2);
    peer.hear();
    peer.acknowledge(1);
    peer.send(3);
    peer.stream.handle_disconnect(Disconnect::Lost);

    let expected = [(2, true), (3, false)].map(|(token, written)| Unconfirmed { token, written });
    assert_eq!(peer.stream.take_unconfirmed(), expected);
    assert_eq!(peer.stream.take_unconfirmed(), []);
}
