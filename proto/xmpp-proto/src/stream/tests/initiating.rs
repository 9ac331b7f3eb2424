//! The initiating machine against words of a peer.

use bytes::Bytes;

use super::*;
use crate::stanza::error::StanzaCondition;

pub(super) const RESPONSE: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
    from='b.example' to='a.example' id='their-id' version='1.0'>";
const STARTTLS: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>\
    <required/></starttls></stream:features>";
const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
pub(super) const EXTERNAL: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>EXTERNAL</mechanism></mechanisms></stream:features>";
pub(super) const NO_FEATURES: &str = "<stream:features/>";
pub(super) const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
pub(super) const VALID: &str = "<db:result from='b.example' to='a.example' type='valid'/>";

/// An initiating machine of a.example, and the peer b.example.
pub(super) struct Peer {
    pub(super) stream: InitiatingStream,
    pub(super) admission: Admission,
    pub(super) now: Instant,
}

impl Peer {
    pub(super) fn connect() -> Self {
        let now = origin();
        let pair = domain_pair("a.example", "b.example");
        Self {
            stream: InitiatingStream::new(pair, StreamLimits::default(), [9; 32], now),
            admission: admission(&["a.example"], "b.example", OPTIONAL, "secret"),
            now,
        }
    }

    /// Behind TLS, where the peer's header and these features come next.
    fn secured(names: &'static [&'static str], features: &str) -> Self {
        Self::connect().secure(names, features)
    }

    pub(super) fn secure(mut self, names: &'static [&'static str], features: &str) -> Self {
        self.say(RESPONSE);
        self.say(STARTTLS);
        self.say(PROCEED);
        self.stream.handle_tls(&Names(names), &self.admission, self.now);
        self.say(RESPONSE);
        self.hear();
        self.events();
        self.stream.handle_bytes(features.as_bytes(), &self.admission, self.now);
        self
    }

    /// Ready behind EXTERNAL, with or without acknowledgements.
    pub(super) fn ready(confirmation: Confirmation) -> Self {
        let mut peer = Self::secured(&["b.example"], EXTERNAL);
        peer.say(SUCCESS);
        peer.say(RESPONSE);
        match confirmation {
            Confirmation::Acknowledgements => {
                peer.say("<stream:features><sm xmlns='urn:xmpp:sm:3'/></stream:features>");
                peer.say("<enabled xmlns='urn:xmpp:sm:3'/>");
            }
            Confirmation::Barriers => {
                peer.say(NO_FEATURES);
            }
        }
        let is_ready = |event: &InitiatingEvent| match event {
            InitiatingEvent::Ready { confirmation: agreed, .. } => *agreed == confirmation,
            _ => false,
        };
        assert!(peer.events().iter().all(is_ready));
        peer
    }

    pub(super) fn say(&mut self, words: &str) -> String {
        self.stream.handle_bytes(words.as_bytes(), &self.admission, self.now);
        self.hear()
    }

    pub(super) fn hear(&mut self) -> String {
        let mut heard = String::new();
        while let Some(bytes) = self.stream.poll_transmit() {
            heard.push_str(str::from_utf8(&bytes).unwrap());
        }
        heard
    }

    pub(super) fn events(&mut self) -> Vec<InitiatingEvent> {
        std::iter::from_fn(|| self.stream.poll_event()).collect()
    }

    pub(super) fn end(&mut self) -> CloseCause {
        let end = self.events().into_iter().find_map(|event| match event {
            InitiatingEvent::Closed(reason) => Some(reason.cause),
            _ => None,
        });
        end.expect("the stream is over")
    }

    pub(super) fn pass(&mut self, time: Duration) -> String {
        self.now += time;
        self.stream.handle_timeout(self.now);
        self.hear()
    }

    fn verdicts(&mut self) -> Vec<(DomainPair, String, Verdict)> {
        let verdicts = self.events().into_iter().filter_map(|event| match event {
            InitiatingEvent::Verdict { pair, stream_id, verdict } => {
                Some((pair, stream_id, verdict))
            }
            _ => None,
        });
        verdicts.collect()
    }
}

fn question(remote: &str, stream_id: &str) -> VerifyRequest {
    VerifyRequest {
        pair: domain_pair("a.example", remote),
        stream_id: stream_id.to_owned(),
        key: "their-key".to_owned(),
    }
}

#[test]
fn our_header_names_both_domains_and_no_id() {
    let heard = Peer::connect().hear();

    assert!(heard.contains(" from='a.example' to='b.example' version='1.0' xml:lang='en'>"));
    assert!(!heard.contains(" id="));
}

#[test]
fn the_authorization_identity_is_spelled_out() {
    let heard = Peer::secured(&["b.example"], EXTERNAL).hear();

    // XEP-0178 s.3: base64 of a.example.
    assert_eq!(
        heard,
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>YS5leGFtcGxl</auth>"
    );
}

#[test]
fn the_key_is_made_for_the_stream_id_behind_tls() {
    let mut peer = Peer::secured(&[], NO_FEATURES);
    let (local, remote) = (domain("a.example"), domain("b.example"));
    let key = peer.admission.dialback_secrets.key(&remote, &local, "their-id").unwrap();

    assert_eq!(
        peer.hear(),
        format!("<db:result from='a.example' to='b.example'>{key}</db:result>")
    );
}

#[test]
fn dialback_needs_to_be_offered_in_one_of_its_two_ways() {
    let mut peer = Peer::connect();
    peer.say(RESPONSE);
    peer.say(STARTTLS);
    peer.say(PROCEED);
    peer.stream.handle_tls(&Names(&[]), &peer.admission, peer.now);
    peer.say(&RESPONSE.replace(" xmlns:db='jabber:server:dialback'", ""));
    peer.say(NO_FEATURES);

    assert_eq!(peer.end(), CloseCause::NothingOffered);
}

#[test]
fn the_answer_to_our_key_must_be_the_peers_and_come_on_this_stream() {
    let mut peer = Peer::secured(&[], NO_FEATURES);
    peer.hear();
    for other in [
        VALID.replace("b.example", "v.example"),
        VALID.replace("a.example", "x.example"),
        "<db:verify from='b.example' to='a.example' id='their-id' type='valid'/>".to_owned(),
        "<db:result from='b.example' to='a.example'>key</db:result>".to_owned(),
        "<db:result to='a.example' type='valid'/>".to_owned(),
    ] {
        assert_eq!(peer.say(&other), "", "{other}");
        assert!(peer.events().is_empty(), "{other}");
    }

    peer.say(VALID);
    assert!(matches!(
        peer.events()[..],
        [InitiatingEvent::Ready { peer_proven: false, proof: Proof::Dialback, .. }]
    ));
}

#[test]
fn a_refused_key_says_why() {
    let refused = |answer: &str| {
        let mut peer = Peer::secured(&[], NO_FEATURES);
        peer.say(answer);
        peer.end()
    };

    assert_eq!(refused(&VALID.replace("valid", "invalid")), CloseCause::DialbackInvalid);
    let error = "<db:result from='b.example' to='a.example' type='error'><error type='cancel'>\
        <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>";
    let condition = StanzaCondition::ItemNotFound;
    assert_eq!(refused(error), CloseCause::DialbackRefused(condition));
}

#[test]
fn a_key_needs_a_stream_id_and_a_secret() {
    let mut peer = Peer::secured(&[], "");
    peer.stream.handle_disconnect(Disconnect::Lost);
    assert_eq!(peer.end(), CloseCause::ConnectionLost);

    let mut peer = Peer::connect();
    peer.say(RESPONSE);
    peer.say(STARTTLS);
    peer.say(PROCEED);
    peer.stream.handle_tls(&Names(&[]), &peer.admission, peer.now);
    peer.say(&RESPONSE.replace(" id='their-id'", ""));
    peer.say(NO_FEATURES);
    assert_eq!(peer.end(), CloseCause::StreamIdMissing);

    let mut peer = Peer::secured(&[], "");
    peer.admission.dialback_secrets = DialbackSecrets::default();
    peer.say(NO_FEATURES);
    assert_eq!(peer.end(), CloseCause::DialbackSecretMissing);
}

#[test]
fn a_peer_of_an_older_version_is_refused() {
    let mut peer = Peer::connect();
    let heard = peer.say(&RESPONSE.replace("version='1.0'>", ">"));

    assert!(heard.contains("<unsupported-version "), "{heard}");
    assert_eq!(peer.end(), CloseCause::Header(HeaderError::Version));
}

#[test]
fn a_refusal_of_tls_is_the_end() {
    let mut peer = Peer::connect();
    peer.say(RESPONSE);
    peer.say(STARTTLS);
    peer.say("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");

    assert_eq!(peer.end(), CloseCause::TlsRefused);
}

#[test]
fn a_domain_that_is_not_admitted_is_left_behind_tls() {
    let mut peer = Peer::connect();
    peer.say(RESPONSE);
    peer.say(STARTTLS);
    peer.say(PROCEED);
    peer.admission.partners.clear();
    peer.stream.handle_tls(&Names(&["b.example"]), &peer.admission, peer.now);

    assert_eq!(peer.hear(), "");
    assert_eq!(peer.end(), CloseCause::NotAdmitted);
}

#[test]
fn nothing_may_come_back_on_our_stream() {
    for confirmation in [Confirmation::Acknowledgements, Confirmation::Barriers] {
        let mut peer = Peer::ready(confirmation);
        let heard = peer.say("<message from='b.example' to='a.example'/>");
        assert!(heard.contains("<not-authorized "), "{heard}");
        assert_eq!(peer.end(), CloseCause::StanzaNotAuthorized);
    }
}

#[test]
fn the_words_of_a_stream_error_are_kept_for_the_log() {
    let mut peer = Peer::ready(Confirmation::Barriers);
    let heard = peer.say(
        "<stream:error><host-gone xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>bye\u{1F44B}&#10;</text></stream:error>",
    );

    assert_eq!(heard, "</stream:stream>");
    assert_eq!(peer.end().to_string(), "the peer sent host-gone (\"bye\u{1F44B}\\n\")");
}

#[test]
fn a_question_waits_for_tls_and_not_for_our_own_authentication() {
    let mut peer = Peer::connect();
    peer.stream.request_verification(question("b.example", "s1"), peer.now);
    assert!(!peer.hear().contains("db:verify"));
    peer.say(RESPONSE);
    peer.say(STARTTLS);
    peer.say(PROCEED);
    peer.stream.handle_tls(&Names(&[]), &peer.admission, peer.now);
    assert!(!peer.say(RESPONSE).contains("db:verify"));
    let heard = peer.say(NO_FEATURES);

    let asked = "<db:verify from='a.example' to='b.example' id='s1'>their-key</db:verify>";
    assert!(heard.ends_with(asked), "{heard}");
    peer.say("<db:verify from='b.example' to='a.example' id='s1' type='valid'/>");
    let expected = (domain_pair("a.example", "b.example"), "s1".to_owned(), Verdict::Valid);
    assert_eq!(peer.verdicts(), [expected]);
}

#[test]
fn a_verdict_needs_a_question_of_the_same_domains_and_stream() {
    let mut peer = Peer::ready(Confirmation::Barriers);
    peer.stream.request_verification(question("b.example", "s1"), peer.now);
    peer.hear();
    for other in [
        "<db:verify from='b.example' to='a.example' id='s2' type='valid'/>",
        "<db:verify from='v.example' to='a.example' id='s1' type='valid'/>",
        "<db:verify from='b.example' to='x.example' id='s1' type='valid'/>",
        "<db:verify from='b.example' to='a.example' type='valid'/>",
        "<db:verify from='b.example' to='a.example' id='s1'>key</db:verify>",
        "<db:result from='b.example' to='a.example' id='s1' type='valid'/>",
    ] {
        peer.say(other);
        assert_eq!(peer.verdicts(), [], "{other}");
    }
    let answer = "<db:verify from='b.example' to='a.example' id='s1' type='invalid'/>";
    peer.say(answer);
    assert!(matches!(peer.verdicts()[..], [(.., Verdict::Invalid)]));
    peer.say(answer);
    assert_eq!(peer.verdicts(), [], "one question has one answer");
}

#[test]
fn a_verdict_before_its_question_was_sent_is_dropped() {
    let mut peer = Peer::connect();
    peer.stream.request_verification(question("b.example", "s1"), peer.now);
    peer.say(RESPONSE);
    peer.say("<db:verify from='b.example' to='a.example' id='s1' type='valid'/>");

    assert!(peer.verdicts().iter().all(|(.., verdict)| *verdict != Verdict::Valid));
}

#[test]
fn another_domain_is_not_the_authority() {
    let mut peer = Peer::ready(Confirmation::Barriers);
    peer.stream.request_verification(question("v.example", "s1"), peer.now);

    assert_eq!(peer.hear(), "");
    let refused = Verdict::Error(StanzaCondition::RemoteServerNotFound);
    assert!(matches!(peer.verdicts()[..], [(.., verdict)] if verdict == refused));
}

#[test]
fn every_question_has_a_verdict_whatever_becomes_of_the_stream() {
    let timeout = Verdict::Error(StanzaCondition::RemoteServerTimeout);
    let mut lost = Peer::connect();
    lost.stream.request_verification(question("b.example", "s1"), lost.now);
    lost.stream.handle_disconnect(Disconnect::TlsFailed);
    assert!(matches!(lost.verdicts()[..], [(.., verdict)] if verdict == timeout));

    let mut silent = Peer::ready(Confirmation::Barriers);
    silent.stream.request_verification(question("b.example", "s1"), silent.now);
    silent.pass(StreamLimits::default().dead_peer_max);
    assert!(matches!(silent.verdicts()[..], [(.., verdict)] if verdict == timeout));

    let mut busy = Peer::ready(Confirmation::Barriers);
    for index in 0..=StreamLimits::default().verifications_max {
        let id = format!("s{index}");
        busy.stream.request_verification(question("b.example", &id), busy.now);
    }
    let full = Verdict::Error(StanzaCondition::ResourceConstraint);
    assert!(matches!(busy.verdicts()[..], [(.., verdict)] if verdict == full));
}

#[test]
fn a_peer_that_is_not_proven_stays_within_the_small_limits() {
    let flood = "<x xmlns='urn:x'/>".repeat(40);
    let mut unproven = Peer::secured(&[], NO_FEATURES);
    assert!(unproven.say(&flood).contains("<policy-violation "));

    let mut proven = Peer::secured(&["b.example"], NO_FEATURES);
    proven.hear();
    assert_eq!(proven.say(&flood), "");
}

#[test]
fn a_negotiation_that_stands_still_is_given_up() {
    let limits = StreamLimits::default();
    let mut peer = Peer::connect();
    assert_eq!(peer.stream.poll_timeout(), Some(peer.now + limits.negotiation_max));
    assert!(peer.pass(limits.negotiation_max).contains("<policy-violation "));
    assert_eq!(peer.end(), CloseCause::NegotiationTimeout);

    let mut dialback = Peer::secured(&[], NO_FEATURES);
    dialback.hear();
    assert_eq!(dialback.pass(limits.negotiation_max), "", "the peer verifies our key");
    dialback.pass(limits.establishment_max);
    assert_eq!(dialback.end(), CloseCause::EstablishmentTimeout);
}

#[test]
fn what_the_peer_announces_not_to_take_is_not_sent() {
    const LIMITED: &str = "<stream:features><limits xmlns='urn:xmpp:stream-limits:0'>\
        <max-bytes>10000</max-bytes><idle-seconds>60</idle-seconds></limits></stream:features>";
    let mut peer = Peer::secured(&["b.example"], EXTERNAL);
    let sized = |bytes: usize, letter: u8| Bytes::from(vec![letter; bytes]);
    for (token, stanza) in [(1, sized(10_001, b'L')), (2, sized(10_000, b'm'))] {
        assert_eq!(peer.stream.send_stanza(token, stanza, peer.now), Ok(()));
    }
    peer.say(SUCCESS);
    peer.say(RESPONSE);
    let heard = peer.say(LIMITED);
    assert!(heard.contains("mmm") && !heard.contains("LLL"));
    let too_large =
        |event: &InitiatingEvent| matches!(event, InitiatingEvent::TooLarge { token: 1 });
    assert!(peer.events().iter().any(too_large));
    let sent = peer.stream.send_stanza(3, sized(10_001, b'L'), peer.now);
    assert_eq!(sent, Err(SendError::TooLarge));

    let unconfirmed = peer.stream.take_unconfirmed();
    assert_eq!(unconfirmed.iter().map(|it| it.token).collect::<Vec<_>>(), [2]);

    let mut idle = Peer::secured(&["b.example"], EXTERNAL);
    for words in [SUCCESS, RESPONSE, LIMITED] {
        idle.say(words);
    }
    assert!(idle.pass(Duration::from_secs(30)).contains("<ping "), "before the peer leaves");
}
