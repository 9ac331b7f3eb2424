//! Connections that begin with TLS (XEP-0368), in both roles.

use super::*;

const KEY: &str = "<db:result from='a.example' to='b.example'>key</db:result>";

/// A receiving machine of b.example, whose TLS is about to begin.
struct Peer {
    stream: ReceivingStream,
    admission: Admission,
    now: Instant,
}

impl Peer {
    fn connect() -> Self {
        let now = origin();
        let mut stream = ReceivingStream::direct_tls(StreamLimits::default(), [9; 32], now);
        assert!(matches!(stream.poll_event(), Some(ReceivingEvent::StartTls)));
        let admission = admission(&["b.example"], "a.example", OPTIONAL, "secret");
        Self { stream, admission, now }
    }

    fn secured(names: &'static [&'static str]) -> Self {
        let mut peer = Self::connect();
        peer.stream.handle_tls(Box::new(Names(names)), peer.now);
        peer
    }

    fn say(&mut self, words: &str) -> String {
        self.stream.handle_bytes(words.as_bytes(), &self.admission, self.now);
        self.hear()
    }

    fn hear(&mut self) -> String {
        let said = std::iter::from_fn(|| self.stream.poll_transmit());
        said.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
    }

    fn pass(&mut self, time: Duration) -> String {
        self.now += time;
        self.stream.handle_timeout(&self.admission, self.now);
        self.hear()
    }

    fn end(&mut self) -> CloseCause {
        let ends = std::iter::from_fn(|| self.stream.poll_event()).find_map(|event| match event {
            ReceivingEvent::Closed(reason) => Some(reason.cause),
            _ => None,
        });
        ends.expect("the stream is over")
    }
}

#[test]
fn a_peer_behind_direct_tls_is_offered_what_follows_starttls_and_no_starttls() {
    let mut certified = Peer::secured(&["a.example"]);
    let heard = certified.say(HEADER);
    assert!(heard.contains("<mechanism>EXTERNAL</mechanism>"), "{heard}");
    assert!(!heard.contains("starttls"), "{heard}");

    let mut unproven = Peer::secured(&[]);
    let heard = unproven.say(HEADER);
    assert!(heard.contains("urn:xmpp:features:dialback"), "{heard}");
    assert!(!heard.contains("EXTERNAL") && !heard.contains("starttls"), "{heard}");
    unproven.say(KEY);
    let event = unproven.stream.poll_event();
    assert!(matches!(event, Some(ReceivingEvent::VerifyDialback(_))), "{event:?}");
}

#[test]
fn nothing_is_said_or_read_in_the_clear() {
    let mut early = Peer::connect();
    assert_eq!(early.stream.tls_domain(), None);
    assert_eq!(early.hear(), "");
    assert_eq!(early.say(HEADER), "");
    assert_eq!(early.end(), CloseCause::PlaintextBeforeTls);
}

#[test]
fn a_handshake_that_stalls_is_ended_without_a_word() {
    let limits = StreamLimits::default();
    let mut silent = Peer::connect();
    assert_eq!(silent.stream.poll_timeout(), Some(silent.now + limits.negotiation_max));
    assert_eq!(silent.pass(limits.negotiation_max), "");
    assert_eq!(silent.end(), CloseCause::NegotiationTimeout);
}

#[test]
fn the_time_of_the_handshake_counts_towards_the_establishment() {
    let limits = StreamLimits::default();
    let mut peer = Peer::connect();
    let begun = peer.now;
    peer.now += limits.negotiation_max / 2;
    peer.stream.handle_tls(Box::new(Names(&[])), peer.now);
    peer.say(HEADER);
    while peer.now < begun + limits.establishment_max {
        assert_eq!(peer.stream.poll_timeout().map(|due| due > peer.now), Some(true));
        peer.say(KEY);
        peer.pass(limits.negotiation_max / 2);
    }
    assert_eq!(peer.end(), CloseCause::EstablishmentTimeout);
}

#[test]
fn a_stream_that_is_closed_before_its_tls_begins_none() {
    let now = origin();
    let admission = admission(&["b.example"], "a.example", OPTIONAL, "secret");
    let mut stream = ReceivingStream::direct_tls(StreamLimits::default(), [9; 32], now);
    stream.close(Some(StreamCondition::InternalServerError), &admission, now);

    assert!(stream.poll_transmit().is_none());
    assert!(matches!(stream.poll_event(), Some(ReceivingEvent::Closed(_))));
    assert!(stream.poll_event().is_none());
}

#[test]
fn what_an_unproven_peer_may_send_is_bounded() {
    let mut peer = Peer::secured(&[]);
    peer.say(HEADER);
    let most = StreamLimits::default().before_authentication.stanza_bytes_max;
    let heard = peer.say(&format!("<x>{}", "x".repeat(most)));
    assert!(heard.contains("<policy-violation "), "{heard}");
    assert!(matches!(peer.end(), CloseCause::Xml(_)));
}

#[test]
fn who_connects_with_tls_gives_an_unproven_peer_what_policy_allows() {
    let now = origin();
    for (terms, ends) in [(SASL_ONLY, true), (OPTIONAL, false)] {
        let admission = admission(&["a.example"], "b.example", terms, "secret");
        let pair = domain_pair("a.example", "b.example");
        let limits = StreamLimits::default();
        let mut stream =
            InitiatingStream::direct_tls(pair, &Names(&[]), limits, [5; 32], &admission, now);
        let event = stream.poll_event();
        let refused = matches!(&event, Some(InitiatingEvent::Closed(reason))
            if reason.cause == CloseCause::PeerUnproven);
        assert_eq!(refused, ends, "{event:?}");
        assert_eq!(stream.poll_transmit().is_none(), ends);
    }
}
