//! Two servers, each with our machines, over connections that lose nothing but time.

use super::*;

/// One connection: our initiating machine at one end, our receiving machine at the other.
pub(super) struct Connection {
    pub(super) initiating: InitiatingStream,
    pub(super) receiving: ReceivingStream,
    /// What the receiving server learns of the certificate of the initiating one.
    client_certificate: Names,
    /// What the initiating server learns of the certificate of the receiving one.
    server_certificate: Names,
    pub(super) initiating_events: Vec<InitiatingEvent>,
    pub(super) receiving_events: Vec<ReceivingEvent>,
    pub(super) wire: String,
}

/// Two servers and a connection in each direction.
pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) a: Admission,
    pub(super) b: Admission,
    pub(super) a_to_b: Connection,
    pub(super) b_to_a: Connection,
    /// Bytes that one read brings.
    pub(super) chunk_bytes: usize,
}

fn connection(local: &str, remote: &str, seed: u8, now: Instant) -> Connection {
    let limits = StreamLimits::default();
    Connection {
        initiating: InitiatingStream::new(domain_pair(local, remote), limits, [seed; 32], now),
        receiving: ReceivingStream::new(limits, [seed + 1; 32], now),
        client_certificate: Names(&[]),
        server_certificate: Names(&[]),
        initiating_events: Vec::new(),
        receiving_events: Vec::new(),
        wire: String::new(),
    }
}

impl Network {
    pub(super) fn new(terms: StreamTerms) -> Self {
        let now = origin();
        Self {
            now,
            a: admission(&["a.example"], "b.example", terms, "secret of a"),
            b: admission(&["b.example"], "a.example", terms, "secret of b"),
            a_to_b: connection("a.example", "b.example", 1, now),
            b_to_a: connection("b.example", "a.example", 3, now),
            chunk_bytes: usize::MAX,
        }
    }

    /// With certificates that prove each server to the other.
    pub(super) fn with_certificates(mut self) -> Self {
        for connection in [&mut self.a_to_b, &mut self.b_to_a] {
            connection.client_certificate = Names(&["a.example", "b.example"]);
            connection.server_certificate = Names(&["a.example", "b.example"]);
        }
        self
    }

    /// Lets everything happen that happens without time passing.
    pub(super) fn drive(&mut self) {
        loop {
            let (now, chunk) = (self.now, self.chunk_bytes);
            let moved = self.a_to_b.exchange(&self.a, &self.b, now, chunk)
                | self.b_to_a.exchange(&self.b, &self.a, now, chunk);
            if !(self.settle_dialback() | moved) {
                return;
            }
        }
    }

    /// Carries the questions about keys to the other connection, and the verdicts back.
    fn settle_dialback(&mut self) -> bool {
        let now = self.now;
        let forth = carry(&mut self.a_to_b, &mut self.b_to_a, &self.b, now);
        let back = carry(&mut self.b_to_a, &mut self.a_to_b, &self.a, now);
        forth | back
    }
}

/// `asked` received a key, and `asking` goes to its authoritative server.
fn carry(
    asked: &mut Connection,
    asking: &mut Connection,
    admission: &Admission,
    now: Instant,
) -> bool {
    let mut moved = false;
    for event in take_matching(&mut asked.receiving_events, |event| {
        matches!(event, ReceivingEvent::VerifyDialback(_))
    }) {
        if let ReceivingEvent::VerifyDialback(request) = event {
            asking.initiating.request_verification(request, now);
            moved = true;
        }
    }
    for event in take_matching(&mut asking.initiating_events, |event| {
        matches!(event, InitiatingEvent::Verdict { .. })
    }) {
        if let InitiatingEvent::Verdict { pair, stream_id, verdict } = event {
            asked.receiving.handle_verdict(&pair, &stream_id, verdict, admission, now);
            moved = true;
        }
    }
    moved
}

pub(super) fn take_matching<E>(events: &mut Vec<E>, matching: impl Fn(&E) -> bool) -> Vec<E> {
    let (taken, kept) = std::mem::take(events).into_iter().partition(matching);
    *events = kept;
    taken
}

impl Connection {
    /// Moves bytes both ways and does TLS; whether anything moved.
    pub(super) fn exchange(
        &mut self,
        initiating: &Admission,
        receiving: &Admission,
        now: Instant,
        chunk_bytes: usize,
    ) -> bool {
        let mut moved = false;
        while let Some(bytes) = self.initiating.poll_transmit() {
            self.wire.push_str(str::from_utf8(&bytes).unwrap());
            for chunk in bytes.chunks(chunk_bytes) {
                self.receiving.handle_bytes(chunk, receiving, now);
            }
            moved = true;
        }
        while let Some(bytes) = self.receiving.poll_transmit() {
            self.wire.push_str(str::from_utf8(&bytes).unwrap());
            for chunk in bytes.chunks(chunk_bytes) {
                self.initiating.handle_bytes(chunk, initiating, now);
            }
            moved = true;
        }
        self.initiating_events.extend(std::iter::from_fn(|| self.initiating.poll_event()));
        self.receiving_events.extend(std::iter::from_fn(|| self.receiving.poll_event()));
        let starts = |event: &InitiatingEvent| matches!(event, InitiatingEvent::StartTls);
        if !take_matching(&mut self.initiating_events, starts).is_empty() {
            let server = take_matching(&mut self.receiving_events, |event| {
                matches!(event, ReceivingEvent::StartTls)
            });
            assert_eq!(server.len(), 1, "both ends begin TLS together");
            self.receiving.handle_tls(Box::new(self.client_certificate.clone()), now);
            self.initiating.handle_tls(&self.server_certificate, initiating, now);
            moved = true;
        }
        moved
    }

    pub(super) fn ready(&self) -> Option<(bool, Proof, Confirmation)> {
        self.initiating_events.iter().find_map(|event| match event {
            InitiatingEvent::Ready { peer_proven, proof, confirmation } => {
                Some((*peer_proven, *proof, *confirmation))
            }
            _ => None,
        })
    }

    pub(super) fn authenticated(&self) -> Vec<(DomainPair, Proof)> {
        let pairs = self.receiving_events.iter().filter_map(|event| match event {
            ReceivingEvent::Authenticated { pair, proof } => Some((pair.clone(), *proof)),
            _ => None,
        });
        pairs.collect()
    }

    pub(super) fn initiating_end(&self) -> Option<&CloseReason> {
        self.initiating_events.iter().find_map(|event| match event {
            InitiatingEvent::Closed(reason) => Some(reason),
            _ => None,
        })
    }

    pub(super) fn receiving_end(&self) -> Option<&CloseReason> {
        self.receiving_events.iter().find_map(|event| match event {
            ReceivingEvent::Closed(reason) => Some(reason),
            _ => None,
        })
    }

    pub(super) fn bodies(&self) -> Vec<String> {
        let stanzas = self.receiving_events.iter().filter_map(|event| match event {
            ReceivingEvent::Stanza(stanza) => stanza.element.child(ns::SERVER, "body"),
            _ => None,
        });
        stanzas.map(|body| body.text().into_owned()).collect()
    }

    pub(super) fn delivered(&self) -> Vec<u64> {
        let tokens = self.initiating_events.iter().filter_map(|event| match event {
            InitiatingEvent::Delivered { token } => Some(*token),
            _ => None,
        });
        tokens.collect()
    }
}

fn send(network: &mut Network, token: u64, body: &str) {
    let stanza = write_stanza(&message("m@a.example", "u@b.example", body));
    network.a_to_b.initiating.send_stanza(token, stanza, network.now).unwrap();
}

#[test]
fn certificates_lead_to_external_and_acknowledgements() {
    for chunk_bytes in [usize::MAX, 1, 7] {
        let mut network = Network { chunk_bytes, ..Network::new(OPTIONAL).with_certificates() };
        network.drive();

        let ready = (true, Proof::External, Confirmation::Acknowledgements);
        assert_eq!(network.a_to_b.ready(), Some(ready));
        let pair = domain_pair("b.example", "a.example");
        assert_eq!(network.a_to_b.authenticated(), [(pair, Proof::External)]);
        assert!(!network.a_to_b.wire.contains("db:result"));
    }
}

#[test]
fn without_tls_dialback_opens_both_streams_where_the_terms_support_no_tls() {
    let terms = terms(TlsTerms::NotSupported, SaslTerms::NotSupported, true);
    let mut network = Network::new(terms);
    send(&mut network, 1, "one");
    network.drive();

    let ready = (false, Proof::DialbackInClear, Confirmation::Barriers);
    assert_eq!(network.a_to_b.ready(), Some(ready));
    let pair = domain_pair("b.example", "a.example");
    assert_eq!(network.a_to_b.authenticated(), [(pair, Proof::DialbackInClear)]);
    assert_eq!(network.a_to_b.bodies(), ["one"]);
    assert!(!network.a_to_b.wire.contains("starttls"));
}

#[test]
fn each_life_of_the_stream_has_a_stream_id_of_its_own() {
    let mut network = Network::new(OPTIONAL).with_certificates();
    network.drive();

    let ids: Vec<&str> =
        network.a_to_b.wire.split(" id='").skip(1).map(|rest| &rest[..32]).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}

#[test]
fn stanzas_wait_until_the_stream_is_ready_and_arrive_in_order() {
    let mut network = Network::new(OPTIONAL).with_certificates();
    send(&mut network, 1, "one");
    send(&mut network, 2, "two");
    network.drive();
    send(&mut network, 3, "three");
    network.drive();

    assert_eq!(network.a_to_b.bodies(), ["one", "two", "three"]);
    let before_ready = network.a_to_b.wire.split("<enabled").next().unwrap();
    assert!(!before_ready.contains("<message"), "{before_ready}");
}

#[test]
fn a_stanza_is_delivered_when_the_other_side_has_answered_for_it() {
    let mut network = Network::new(OPTIONAL).with_certificates();
    (1..=3).for_each(|token| send(&mut network, token, "hi"));
    network.drive();
    assert_eq!(network.a_to_b.delivered(), [] as [u64; 0]);

    network.a_to_b.receiving.acknowledge(2, network.now);
    network.drive();
    assert_eq!(network.a_to_b.delivered(), [] as [u64; 0]);

    network.now += StreamLimits::default().acknowledgement_delay;
    network.a_to_b.receiving.handle_timeout(&network.b, network.now);
    network.drive();
    assert_eq!(network.a_to_b.delivered(), [1, 2]);

    network.a_to_b.receiving.acknowledge(1, network.now);
    network.drive();
    assert_eq!(network.a_to_b.delivered(), [1, 2, 3]);
}

#[test]
fn without_certificates_dialback_works_in_all_its_roles_and_both_ways() {
    for chunk_bytes in [usize::MAX, 1] {
        let mut network = Network { chunk_bytes, ..Network::new(OPTIONAL) };
        send(&mut network, 1, "hi");
        network.drive();

        let ready = Some((false, Proof::Dialback, Confirmation::Barriers));
        assert_eq!((network.a_to_b.ready(), network.b_to_a.ready()), (ready, ready));
        let pair = domain_pair("b.example", "a.example");
        assert_eq!(network.a_to_b.authenticated(), [(pair, Proof::Dialback)]);
        assert_eq!(network.a_to_b.bodies(), ["hi"]);
        assert!(!network.a_to_b.wire.contains("mechanism"), "EXTERNAL is not offered in vain");
    }
}

#[test]
fn a_certificate_answers_a_key_without_a_question() {
    let mut network = Network::new(DIALBACK_ONLY).with_certificates();
    network.drive();

    let ready = (true, Proof::Dialback, Confirmation::Barriers);
    assert_eq!(network.a_to_b.ready(), Some(ready));
    let pair = domain_pair("b.example", "a.example");
    assert_eq!(network.a_to_b.authenticated(), [(pair, Proof::Certificate)]);
    assert!(!network.b_to_a.wire.contains("db:verify"));
}

#[test]
fn a_forged_key_ends_the_stream_and_nothing_is_delivered() {
    let mut network = Network::new(DIALBACK_ONLY);
    let forger = admission(&["a.example"], "b.example", DIALBACK_ONLY, "guessed");
    let rightful = std::mem::replace(&mut network.a, forger);
    send(&mut network, 1, "forged");
    // The connection of the forger brings its key; the question goes to the rightful server.
    let (now, chunk) = (network.now, usize::MAX);
    while network.a_to_b.exchange(&network.a, &network.b, now, chunk) {}
    network.a = rightful;
    network.drive();

    assert_eq!(network.a_to_b.bodies(), [] as [&str; 0]);
    assert_eq!(network.a_to_b.initiating_end().unwrap().cause, CloseCause::DialbackInvalid);
    assert_eq!(network.a_to_b.receiving_end().unwrap().cause, CloseCause::DialbackInvalid);
    let unconfirmed = network.a_to_b.initiating.take_unconfirmed();
    assert_eq!(unconfirmed, [Unconfirmed { token: 1, written: false }]);
}

#[test]
fn where_sasl_is_required_an_unproven_peer_gets_no_byte_behind_tls() {
    let mut network = Network::new(SASL_ONLY);
    network.drive();

    let reason = network.a_to_b.initiating_end().unwrap();
    assert_eq!((&reason.cause, reason.told), (&CloseCause::PeerUnproven, None));
    assert!(network.a_to_b.wire.ends_with("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"));
}

#[test]
fn where_sasl_is_required_a_client_without_a_certificate_is_told_so() {
    let mut network = Network::new(SASL_ONLY);
    network.a_to_b.server_certificate = Names(&["b.example"]);
    network.drive();

    let reason = network.a_to_b.receiving_end().unwrap();
    assert_eq!(reason.cause, CloseCause::NoAuthentication);
    assert_eq!(reason.told, Some(StreamCondition::PolicyViolation));
    let told = network.a_to_b.initiating_end().unwrap();
    assert!(matches!(
        &told.cause,
        CloseCause::PeerError(error) if error.condition == StreamCondition::PolicyViolation
    ));
    assert!(!network.a_to_b.wire.contains("db:result"));
}

#[test]
fn a_refused_certificate_falls_back_to_dialback_where_both_sides_allow_it() {
    let mut network = Network::new(OPTIONAL).with_certificates();
    // The certificate proves the domain when EXTERNAL is offered and no more when it is used.
    network.drive_until_external_is_offered();
    network.b.partners.insert(domain("a.example"), DIALBACK_ONLY);
    network.drive();

    assert!(network.a_to_b.wire.contains("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"));
    let (_, proof, _) = network.a_to_b.ready().unwrap();
    assert_eq!(proof, Proof::Dialback);
}

#[test]
fn a_refused_certificate_is_the_end_where_policy_wants_sasl() {
    let mut network = Network::new(OPTIONAL).with_certificates();
    network.a.partners.insert(domain("b.example"), SASL_ONLY);
    network.drive_until_external_is_offered();
    network.b.partners.insert(domain("a.example"), DIALBACK_ONLY);
    network.drive();

    let reason = network.a_to_b.initiating_end().unwrap();
    assert_eq!(reason.cause, CloseCause::SaslFailed(SaslCondition::NotAuthorized));
    assert!(!network.a_to_b.wire.contains("<db:result"));
}

impl Network {
    fn drive_until_external_is_offered(&mut self) {
        while !self.a_to_b.wire.contains("EXTERNAL</mechanism>") {
            assert!(self.a_to_b.exchange(&self.a, &self.b, self.now, usize::MAX));
        }
    }
}

impl Network {
    /// The connection from a to b, with certificates, anew and beginning with TLS.
    pub(super) fn with_direct_tls(mut self) -> Self {
        let certificate = Names(&["a.example", "b.example"]);
        let (now, limits) = (self.now, StreamLimits::default());
        let pair = domain_pair("a.example", "b.example");
        let (seed, a) = ([5; 32], &self.a);
        self.a_to_b.initiating =
            InitiatingStream::direct_tls(pair, &certificate, limits, seed, a, now);
        self.a_to_b.receiving = ReceivingStream::direct_tls(limits, [6; 32], now);
        let begun = self.a_to_b.receiving.poll_event();
        assert!(matches!(begun, Some(ReceivingEvent::StartTls)));
        self.a_to_b.receiving.handle_tls(Box::new(certificate), now);
        self
    }
}

#[test]
fn direct_tls_has_no_starttls() {
    let mut network = Network::new(OPTIONAL).with_certificates().with_direct_tls();
    network.drive();

    let ready = (true, Proof::External, Confirmation::Acknowledgements);
    assert_eq!(network.a_to_b.ready(), Some(ready));
    assert!(!network.a_to_b.wire.contains("starttls"));
}

#[test]
fn an_orderly_end_is_an_end_on_both_sides() {
    let mut network = Network::new(OPTIONAL).with_certificates();
    network.drive();
    network.a_to_b.initiating.close(None, network.now);
    network.drive();

    let initiating = network.a_to_b.initiating_end().unwrap();
    assert_eq!(initiating.cause, CloseCause::Requested(None));
    assert_eq!(initiating.cause.fault(), None);
    let receiving = network.a_to_b.receiving_end().unwrap();
    assert_eq!((&receiving.cause, receiving.told), (&CloseCause::PeerClosed, None));
    assert_eq!(network.a_to_b.wire.matches("</stream:stream>").count(), 2);
}

#[test]
fn what_was_sent_before_the_end_is_acknowledged_before_the_end() {
    let mut network = Network::new(OPTIONAL).with_certificates();
    network.drive();
    send(&mut network, 1, "last");
    network.a_to_b.initiating.close(None, network.now);
    network.drive();
    assert!(network.a_to_b.receiving_end().is_none(), "the owner has not answered yet");

    network.a_to_b.receiving.acknowledge(1, network.now);
    network.drive();

    assert_eq!(network.a_to_b.delivered(), [1]);
    assert!(network.a_to_b.receiving_end().is_some());
    assert_eq!(network.a_to_b.initiating.take_unconfirmed(), []);
}

#[test]
fn a_close_of_the_receiving_side_leaves_unacknowledged_stanzas_with_the_sender() {
    let mut network = Network::new(OPTIONAL).with_certificates();
    network.drive();
    send(&mut network, 1, "crossing");
    let condition = StreamCondition::SystemShutdown;
    network.a_to_b.receiving.close(None, &network.b, network.now);
    network.drive();

    assert_eq!(network.a_to_b.bodies(), [] as [&str; 0]);
    let unconfirmed = network.a_to_b.initiating.take_unconfirmed();
    assert_eq!(unconfirmed, [Unconfirmed { token: 1, written: true }]);

    let mut network = Network::new(OPTIONAL).with_certificates();
    network.drive();
    network.a_to_b.receiving.close(Some(condition), &network.b, network.now);
    network.drive();
    assert!(network.a_to_b.wire.contains("<system-shutdown "));
    assert_eq!(network.a_to_b.receiving_end().unwrap().told, Some(condition));
}
