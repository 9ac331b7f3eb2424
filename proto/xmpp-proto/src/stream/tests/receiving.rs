//! The receiving machine against words of a peer.

use super::*;
use crate::stanza::error::StanzaCondition;

pub(super) const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
pub(super) const AUTH: &str =
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
pub(super) const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3'/>";
pub(super) const MESSAGE: &str =
    "<message from='m@a.example/r' to='u@b.example'><body>hi</body></message>";
const REQUEST: &str = "<db:result from='a.example' to='b.example'>key</db:result>";

/// A receiving machine of b.example, and the peer a.example.
pub(super) struct Peer {
    pub(super) stream: ReceivingStream,
    pub(super) admission: Admission,
    pub(super) now: Instant,
}

impl Peer {
    pub(super) fn connect() -> Self {
        let now = origin();
        Self {
            stream: ReceivingStream::new(StreamLimits::default(), [9; 32], now),
            admission: admission(&["b.example", "c.example"], "a.example", OPTIONAL, "secret"),
            now,
        }
    }

    /// Behind TLS and the header, with a certificate of these names.
    pub(super) fn secured(names: &'static [&'static str]) -> Self {
        let mut peer = Self::connect();
        peer.say(HEADER);
        peer.say(STARTTLS);
        peer.stream.handle_tls(Box::new(Names(names)), peer.now);
        peer.say(HEADER);
        peer
    }

    /// Behind EXTERNAL.
    fn authenticated() -> Self {
        let mut peer = Self::secured(&["a.example"]);
        peer.say(AUTH);
        peer.say(HEADER);
        peer.events();
        peer
    }

    /// Behind a dialback key that was verified.
    fn verified() -> Self {
        let mut peer = Self::secured(&[]);
        peer.say(REQUEST);
        peer.verdict("a.example", Verdict::Valid);
        peer.events();
        peer
    }

    /// Says something, and hears the answer.
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

    pub(super) fn events(&mut self) -> Vec<ReceivingEvent> {
        std::iter::from_fn(|| self.stream.poll_event()).collect()
    }

    fn requests(&mut self) -> Vec<VerifyRequest> {
        let requests = self.events().into_iter().filter_map(|event| match event {
            ReceivingEvent::VerifyDialback(request) => Some(request),
            _ => None,
        });
        requests.collect()
    }

    /// Answers the one open question about a key of `remote`.
    fn verdict(&mut self, remote: &str, verdict: Verdict) -> String {
        let request = self.requests().pop().unwrap();
        assert_eq!(request.pair.remote, domain(remote));
        let (pair, id) = (request.pair, request.stream_id);
        self.stream.handle_verdict(&pair, &id, verdict, &self.admission, self.now);
        self.hear()
    }

    fn admit(&mut self, admission: Admission) -> String {
        self.admission = admission;
        self.stream.handle_admission(&self.admission, self.now);
        self.hear()
    }

    pub(super) fn pass(&mut self, time: Duration) -> String {
        self.now += time;
        self.stream.handle_timeout(&self.admission, self.now);
        self.hear()
    }

    pub(super) fn end(&mut self) -> CloseCause {
        let end = self.events().into_iter().find_map(|event| match event {
            ReceivingEvent::Closed(reason) => Some(reason.cause),
            _ => None,
        });
        end.expect("the stream is over")
    }

    pub(super) fn stanzas(&mut self) -> Vec<ReceivedStanza> {
        let stanzas = self.events().into_iter().filter_map(|event| match event {
            ReceivingEvent::Stanza(stanza) => Some(*stanza),
            _ => None,
        });
        stanzas.collect()
    }
}

#[test]
fn the_response_header_is_complete_and_tls_the_only_way_on() {
    let heard = Peer::connect().say(HEADER);
    let (header, features) = heard.split_once("<stream:features>").unwrap();

    for attribute in [
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' ",
        " xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' ",
        " from='b.example' to='a.example' id='",
        " version='1.0' xml:lang='en'>",
    ] {
        assert!(header.contains(attribute), "{header}");
    }
    assert_eq!(
        features,
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
    );
}

#[test]
fn a_peer_that_names_none_of_our_domains_hears_one_of_them() {
    let heard = Peer::connect().say("<?xml version='1.0'?><!DOCTYPE x>");

    assert!(heard.contains(" from='b.example' id='"), "{heard}");
    assert!(heard.contains("<restricted-xml "), "{heard}");
    assert!(heard.ends_with("</stream:error></stream:stream>"), "{heard}");
}

#[test]
fn a_peer_without_a_version_hears_none() {
    let heard = Peer::connect().say(&HEADER.replace("version='1.0'", ""));
    let (header, error) = heard.split_once("<stream:error>").unwrap();

    assert!(!header.contains(" version='1.0' "), "{header}");
    assert!(error.contains("<unsupported-version "), "{error}");
}

#[test]
fn external_is_offered_exactly_when_the_certificate_proves_the_domain() {
    let offers = |names, terms| {
        let mut peer = Peer::connect();
        peer.admission.partners.insert(domain("a.example"), terms);
        peer.say(HEADER);
        peer.say(STARTTLS);
        peer.stream.handle_tls(Box::new(Names(names)), peer.now);
        let heard = peer.say(HEADER);
        (heard.contains("EXTERNAL"), heard.contains("<dialback "), heard.contains("<starttls"))
    };

    assert_eq!(offers(&["a.example"], OPTIONAL), (true, true, false));
    assert_eq!(offers(&["x.a.example"], OPTIONAL), (false, true, false));
    assert_eq!(offers(&["a.example"], SASL_ONLY), (true, false, false));
    assert_eq!(offers(&["a.example"], DIALBACK_ONLY), (false, true, false));
    assert_eq!(offers(&[], SASL_ONLY), (false, false, false));
}

#[test]
fn a_domain_that_is_not_admitted_is_refused_behind_tls() {
    let mut peer = Peer::connect();
    peer.admission.partners.clear();
    assert!(peer.say(HEADER).contains("<starttls"), "before TLS nothing is known of the peer");
    peer.say(STARTTLS);
    peer.stream.handle_tls(Box::new(Names(&["a.example"])), peer.now);

    assert!(peer.say(HEADER).contains("<policy-violation "));
    assert_eq!(peer.end(), CloseCause::NotAdmitted);
}

#[test]
fn tls_begins_for_the_domain_that_was_asked_for() {
    let mut peer = Peer::connect();
    peer.say(&HEADER.replace("to='b.example'", "to='C.example.'"));
    assert_eq!(peer.say(STARTTLS), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");

    assert_eq!(peer.stream.tls_domain(), Some(&domain("c.example")));
    assert!(matches!(peer.events()[..], [ReceivingEvent::StartTls]));
}

#[test]
fn what_was_learnt_before_tls_is_forgotten() {
    let mut peer = Peer::connect();
    peer.say(&HEADER.replace("a.example", "x.example"));
    peer.say(STARTTLS);
    peer.stream.handle_tls(Box::new(Names(&["a.example"])), peer.now);

    let heard = peer.say(HEADER);
    assert!(heard.contains(" to='a.example' "), "{heard}");
    assert!(heard.contains("EXTERNAL"), "{heard}");
}

#[test]
fn the_header_behind_sasl_must_be_that_of_the_authentication() {
    for (header, condition) in [
        (HEADER.replace("from='a.example'", "from='v.example'"), "<invalid-from "),
        (HEADER.replace("to='b.example'", "to='c.example'"), "<not-authorized "),
        (HEADER.replace("from='a.example'", ""), "<improper-addressing "),
    ] {
        let mut peer = Peer::secured(&["a.example", "v.example"]);
        assert!(peer.say(AUTH).contains("<success "));
        assert!(peer.say(&header).contains(condition), "{condition}");
    }
}

#[test]
fn features_behind_sasl_offer_acknowledgements() {
    let mut peer = Peer::secured(&["a.example"]);
    peer.say(AUTH);

    let heard = peer.say(HEADER);
    assert!(heard.contains("<sm xmlns='urn:xmpp:sm:3'/>"), "{heard}");
    assert!(!heard.contains("EXTERNAL") && !heard.contains("<starttls"), "{heard}");
}

#[test]
fn a_stanza_comes_with_its_addresses_prepared_and_the_language_of_the_stream() {
    let mut peer = Peer::authenticated();
    peer.say("<message from='M@A.Example/R' to='U@B.example.' xml:lang='fr'/>");

    let stanza = peer.stanzas().pop().unwrap();
    assert_eq!(stanza.element.attribute("from"), Some("m@a.example/R"));
    assert_eq!(stanza.element.attribute("to"), Some("u@b.example"));
    assert_eq!(stanza.from.to_string(), "m@a.example/R");
    assert_eq!(stanza.to.to_string(), "u@b.example");
    assert_eq!(stanza.element.lang(), Some("fr"));
    assert_eq!(stanza.stream_language.as_deref(), Some("de"));
}

#[test]
fn a_malformed_recipient_is_reported_by_a_domain_of_ours() {
    let mut peer = Peer::authenticated();
    peer.say("<message from='m@a.example' to='a b@b.example' id='1'><body>x</body></message>");

    let [ReceivingEvent::Bounce(reply)] = &peer.events()[..] else {
        panic!("a bounce is due");
    };
    assert_eq!(reply.attribute("from"), Some("b.example"));
    assert_eq!(reply.attribute("to"), Some("m@a.example"));
    assert_eq!(reply.attribute("id"), Some("1"));
}

#[test]
fn an_error_to_a_malformed_recipient_is_not_answered_by_an_error() {
    let mut peer = Peer::authenticated();
    let heard = peer.say("<message type='error' from='m@a.example' to='a b@b.example'/>");

    assert!(heard.contains("<improper-addressing "), "{heard}");
    assert_eq!(peer.end(), CloseCause::StanzaAddressing);
}

#[test]
fn a_policy_that_changes_stops_the_next_stanza() {
    let mut external = Peer::authenticated();
    external.admission.partners.insert(domain("a.example"), DIALBACK_ONLY);
    assert!(external.say(MESSAGE).contains("<policy-violation "));
    assert_eq!(external.end(), CloseCause::NotAdmitted);

    let mut dialback = Peer::verified();
    dialback.admission.partners.clear();
    assert!(dialback.say(MESSAGE).contains("<policy-violation "));
    assert_eq!(dialback.end(), CloseCause::NotAdmitted);
}

#[test]
fn a_policy_that_leaves_a_stream_no_pair_ends_it_at_once() {
    let mut external = Peer::authenticated();
    let unchanged = external.admission.clone();
    assert_eq!(external.admit(unchanged), "");
    let mut dialback_only = external.admission.clone();
    dialback_only.partners.insert(domain("a.example"), DIALBACK_ONLY);
    assert!(external.admit(dialback_only).contains("<reset "));
    external.say("</stream:stream>");
    assert_eq!(external.end(), CloseCause::Requested(Some(StreamCondition::Reset)));

    let mut without_us = Peer::verified();
    without_us.admission.local_domains.clear();
    let admission = without_us.admission.clone();
    assert!(without_us.admit(admission).contains("<policy-violation "));
}

#[test]
fn a_key_is_verified_before_a_stanza_is_taken() {
    let mut peer = Peer::secured(&[]);
    assert_eq!(peer.say(REQUEST), "");
    assert!(peer.say(MESSAGE).contains("<not-authorized "));

    let mut peer = Peer::secured(&[]);
    peer.say(REQUEST);
    assert_eq!(
        peer.verdict("a.example", Verdict::Valid),
        "<db:result from='b.example' to='a.example' type='valid'/>"
    );
    peer.say(MESSAGE);
    assert_eq!(peer.stanzas().len(), 1);
}

#[test]
fn one_question_is_asked_about_one_pair_at_a_time() {
    let mut peer = Peer::connect();
    peer.say(HEADER);
    peer.say(STARTTLS);
    peer.stream.handle_tls(Box::new(Names(&[])), peer.now);
    let header = peer.say(HEADER);
    peer.say(REQUEST);
    peer.say(REQUEST);

    let requests = peer.requests();
    assert_eq!(requests.len(), 1);
    assert!(header.contains(&format!(" id='{}' ", requests[0].stream_id)), "{header}");
    assert_eq!(requests[0].pair, domain_pair("b.example", "a.example"));
    assert_eq!(requests[0].key, "key");
}

#[test]
fn questions_are_bounded() {
    let mut peer = Peer::verified();
    let limit = StreamLimits::default().verifications_max;
    for index in 0..=limit {
        peer.admission.partners.insert(domain(&format!("d{index}.example")), OPTIONAL);
    }
    let request =
        |index| format!("<db:result from='d{index}.example' to='b.example'>key</db:result>");
    for index in 0..limit {
        assert_eq!(peer.say(&request(index)), "");
    }

    assert!(peer.say(&request(limit)).contains("<resource-constraint "));
    assert_eq!(peer.requests().len(), limit);
    peer.say(MESSAGE);
    assert_eq!(peer.stanzas().len(), 1, "verified pairs go on meanwhile");
}

#[test]
fn a_verdict_that_nothing_waits_for_is_dropped() {
    let mut peer = Peer::secured(&[]);
    peer.say(REQUEST);
    let request = peer.requests().pop().unwrap();
    for (pair, id) in [
        (domain_pair("c.example", "a.example"), request.stream_id.as_str()),
        (domain_pair("b.example", "v.example"), request.stream_id.as_str()),
        (request.pair.clone(), "another"),
    ] {
        peer.stream.handle_verdict(&pair, id, Verdict::Valid, &peer.admission, peer.now);
    }

    assert_eq!(peer.hear(), "");
    assert!(peer.say(MESSAGE).contains("<not-authorized "));
}

#[test]
fn a_verdict_of_an_earlier_life_of_the_stream_is_dropped() {
    let mut peer = Peer::secured(&["a.example"]);
    peer.admission.partners.insert(domain("v.example"), OPTIONAL);
    peer.say("<db:result from='v.example' to='b.example'>key</db:result>");
    let request = peer.requests().pop().unwrap();
    peer.say(AUTH);
    peer.say(HEADER);
    let (pair, id) = (&request.pair, &request.stream_id);
    peer.stream.handle_verdict(pair, id, Verdict::Valid, &peer.admission, peer.now);

    assert_eq!(peer.hear(), "");
    assert!(peer.say(&MESSAGE.replace("a.example", "v.example")).contains("<invalid-from "));
}

#[test]
fn an_error_leaves_the_stream_open_for_another_try() {
    use crate::stanza::error::StanzaCondition;

    let mut peer = Peer::secured(&[]);
    peer.say(REQUEST);
    let timeout = Verdict::Error(StanzaCondition::RemoteServerTimeout);
    let heard = peer.verdict("a.example", timeout);
    assert!(heard.contains("type='error'") && heard.contains("<remote-server-timeout "), "{heard}");

    peer.say(REQUEST);
    assert!(peer.verdict("a.example", Verdict::Valid).contains("type='valid'"));
}

#[test]
fn a_verification_without_a_verdict_is_answered_in_time() {
    let mut peer = Peer::verified();
    peer.admission.partners.insert(domain("v.example"), OPTIONAL);
    peer.say("<db:result from='v.example' to='b.example'>key</db:result>");
    let heard = peer.pass(StreamLimits::default().dead_peer_max);

    assert!(heard.contains("to='v.example' type='error'"), "{heard}");
    assert!(heard.contains("<remote-server-timeout "), "{heard}");
}

#[test]
fn policy_that_changes_while_a_key_is_verified_is_heeded() {
    let mut peer = Peer::secured(&[]);
    peer.say(REQUEST);
    peer.admission.partners.clear();

    assert!(peer.verdict("a.example", Verdict::Valid).contains("<forbidden "));
    assert!(peer.say(MESSAGE).contains("<not-authorized "));
}

#[test]
fn where_policy_wants_sasl_no_key_is_looked_at() {
    let mut peer = Peer::secured(&["a.example"]);
    peer.admission.partners.insert(domain("a.example"), SASL_ONLY);

    assert!(peer.say(REQUEST).contains("<not-authorized "));
    assert_eq!(peer.requests(), []);
}

#[test]
fn a_certificate_proves_the_domain_that_it_names_and_no_other() {
    let mut peer = Peer::authenticated();
    for partner in ["v.example", "w.a.example"] {
        peer.admission.partners.insert(domain(partner), OPTIONAL);
        let request = format!("<db:result from='{partner}' to='b.example'>key</db:result>");
        assert_eq!(peer.say(&request), "", "{partner}");
        assert_eq!(peer.requests().len(), 1, "{partner}");
    }
}

#[test]
fn another_domain_of_ours_is_reached_after_its_own_dialback() {
    let mut peer = Peer::authenticated();
    let to_c = MESSAGE.replace("u@b.example", "u@c.example");
    let heard = peer.say("<db:result from='a.example' to='c.example'>key</db:result>");
    assert_eq!(heard, "<db:result from='c.example' to='a.example' type='valid'/>");
    peer.say(&to_c);
    assert_eq!(peer.stanzas().len(), 1);
}

#[test]
fn our_keys_are_confirmed_to_anybody_behind_tls() {
    let (asking, ours) = (domain("a.example"), domain("b.example"));
    let mut peer = Peer::secured(&[]);
    let key = peer.admission.dialback_secrets.key(&asking, &ours, "their-id").unwrap();
    let verify = |to: &str, id: &str, key: &str| {
        format!("<db:verify from='a.example' to='{to}' id='{id}'>\n {key}\n</db:verify>")
    };

    assert_eq!(
        peer.say(&verify("b.example", "their-id", &key)),
        "<db:verify from='b.example' to='a.example' id='their-id' type='valid'/>"
    );
    assert!(peer.say(&verify("b.example", "other-id", &key)).contains("type='invalid'"));
    assert!(peer.say(&verify("c.example", "their-id", &key)).contains("type='invalid'"));
    assert!(peer.say(&verify("x.example", "their-id", &key)).contains("<item-not-found "));
}

#[test]
fn dialback_before_tls_is_against_policy() {
    let mut peer = Peer::connect();
    peer.say(HEADER);

    let heard = peer.say(REQUEST);
    assert!(heard.contains("type='error'") && heard.contains("<policy-violation "), "{heard}");
    assert_eq!(peer.requests(), []);
}

#[test]
fn answers_on_the_wrong_stream_authorise_nothing() {
    for answer in [
        "<db:result from='a.example' to='b.example' type='valid'/>",
        "<db:verify from='a.example' to='b.example' id='1' type='valid'/>",
        "<db:result from='a.example' to='b.example' type='perhaps'/>",
    ] {
        let mut peer = Peer::secured(&[]);
        assert_eq!(peer.say(answer), "", "{answer}");
        assert!(peer.say(MESSAGE).contains("<not-authorized "), "{answer}");
    }
}

#[test]
fn acknowledgements_count_what_the_owner_has_answered_for() {
    let mut peer = Peer::authenticated();
    assert_eq!(peer.say(ENABLE), "<enabled xmlns='urn:xmpp:sm:3'/>");
    peer.say(MESSAGE);
    peer.say("<message from='m@a.example' to='@b.example'/>");
    let ask = "<r xmlns='urn:xmpp:sm:3'/>";
    assert_eq!(peer.say(ask), "<a xmlns='urn:xmpp:sm:3' h='0'/>");

    // A bounce counts like a stanza, and who has asked hears of the last one at once.
    peer.stream.acknowledge(1, peer.now);
    assert_eq!(peer.hear(), "");
    peer.stream.acknowledge(1, peer.now);
    assert_eq!(peer.hear(), "<a xmlns='urn:xmpp:sm:3' h='2'/>");
}

#[test]
fn acknowledgements_are_sent_unasked_in_batches_or_after_a_while() {
    let limits = StreamLimits::default();
    let mut peer = Peer::authenticated();
    peer.say(ENABLE);
    let batch = u64::from(limits.acknowledgement_batch_max);
    for _ in 0..=batch {
        peer.say(MESSAGE);
    }
    (1..batch).for_each(|_| peer.stream.acknowledge(1, peer.now));
    assert_eq!(peer.hear(), "");
    peer.stream.acknowledge(1, peer.now);
    assert_eq!(peer.hear(), format!("<a xmlns='urn:xmpp:sm:3' h='{batch}'/>"));

    peer.stream.acknowledge(1, peer.now);
    assert_eq!(peer.stream.poll_timeout(), Some(peer.now + limits.acknowledgement_delay));
    let last = batch + 1;
    let heard = peer.pass(limits.acknowledgement_delay);
    assert_eq!(heard, format!("<a xmlns='urn:xmpp:sm:3' h='{last}'/>"));
}

#[test]
fn what_was_acknowledged_is_told_before_any_end() {
    for (words, answer) in [
        ("<message/>", "<stream:error>"),
        ("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<stream:error>"),
        ("<db:result from='far.example'>key</db:result>", "<stream:error>"),
        ("<stream:error/>", "</stream:stream>"),
        ("text", "<stream:error>"),
    ] {
        let mut peer = Peer::authenticated();
        peer.say(ENABLE);
        peer.say(MESSAGE);
        peer.stream.acknowledge(1, peer.now);
        let heard = peer.say(words);
        let end = heard.strip_prefix("<a xmlns='urn:xmpp:sm:3' h='1'/>");
        assert!(end.is_some_and(|end| end.starts_with(answer)), "{words}: {heard}");
    }

    let mut peer = Peer::authenticated();
    peer.say(ENABLE);
    peer.say(MESSAGE);
    peer.stream.acknowledge(1, peer.now);
    peer.stream.close(Some(StreamCondition::Reset), &peer.admission, peer.now);
    assert!(peer.hear().starts_with("<a xmlns='urn:xmpp:sm:3' h='1'/><stream:error>"));
}

#[test]
fn a_peer_that_leaves_is_told_in_time_what_was_acknowledged() {
    let mut peer = Peer::authenticated();
    peer.say(ENABLE);
    peer.say(MESSAGE);
    peer.say(MESSAGE);
    assert_eq!(peer.say("</stream:stream>"), "");
    peer.stream.acknowledge(1, peer.now);
    let heard = peer.pass(StreamLimits::default().close_max);

    assert_eq!(heard, "<a xmlns='urn:xmpp:sm:3' h='1'/></stream:stream>");
    assert_eq!(peer.end(), CloseCause::PeerClosed);
}

#[test]
fn what_was_handed_out_can_be_acknowledged_before_we_leave() {
    let mut peer = Peer::authenticated();
    peer.say(ENABLE);
    peer.say(MESSAGE);
    peer.stream.close(None, &peer.admission, peer.now);
    assert_eq!(peer.hear(), "");
    peer.events();
    peer.say(MESSAGE);
    assert!(peer.stanzas().is_empty(), "the peer will send it again");

    peer.stream.acknowledge(1, peer.now);
    assert_eq!(peer.hear(), "<a xmlns='urn:xmpp:sm:3' h='1'/></stream:stream>");
    peer.say("</stream:stream>");
    assert_eq!(peer.end(), CloseCause::Requested(None));
}

#[test]
fn acknowledgements_may_be_asked_for_after_dialback_too() {
    assert!(Peer::verified().say(ENABLE).contains("<enabled "));
}

#[test]
fn stream_management_is_enabled_once_and_never_resumed() {
    let mut peer = Peer::authenticated();
    let heard = peer.say("<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>");
    assert!(heard.contains("<failed ") && heard.contains("<feature-not-implemented "), "{heard}");

    assert_eq!(
        peer.say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>"),
        "<enabled xmlns='urn:xmpp:sm:3'/>"
    );
    assert!(peer.say(ENABLE).contains("<policy-violation "));
}

#[test]
fn an_acknowledgement_of_nothing_is_fine_and_of_more_is_not() {
    let mut peer = Peer::authenticated();
    assert_eq!(peer.say("<a xmlns='urn:xmpp:sm:3' h='7'/>"), "", "not enabled");
    peer.say(ENABLE);
    assert_eq!(peer.say("<a xmlns='urn:xmpp:sm:3' h='0'/>"), "");
    let heard = peer.say("<a xmlns='urn:xmpp:sm:3' h='1'/>");
    assert!(heard.contains(
        "<handled-count-too-high xmlns='urn:xmpp:sm:3' h='1' send-count='0'/></stream:error>"
    ));
}

#[test]
fn a_stream_that_stands_still_is_closed() {
    let limits = StreamLimits::default();
    let mut silent = Peer::connect();
    assert_eq!(silent.stream.poll_timeout(), Some(silent.now + limits.negotiation_max));
    assert!(silent.pass(limits.negotiation_max).contains("<policy-violation "));
    assert_eq!(silent.end(), CloseCause::NegotiationTimeout);

    let mut in_tls = Peer::connect();
    in_tls.say(HEADER);
    in_tls.say(STARTTLS);
    assert_eq!(in_tls.pass(limits.negotiation_max), "", "no XML where TLS is negotiated");
    assert_eq!(in_tls.end(), CloseCause::NegotiationTimeout);
}

#[test]
fn steps_that_lead_nowhere_do_not_put_off_the_end() {
    let limits = StreamLimits::default();
    let mut peer = Peer::secured(&[]);
    let mut elapsed = Duration::ZERO;
    let heard = loop {
        peer.say(REQUEST);
        let step = limits.negotiation_max / 2;
        elapsed += step;
        let heard = peer.pass(step);
        if !heard.is_empty() {
            break heard;
        }
        assert!(elapsed < limits.establishment_max);
    };

    assert_eq!(elapsed, limits.establishment_max);
    assert!(heard.contains("<policy-violation "), "{heard}");
    assert_eq!(peer.end(), CloseCause::EstablishmentTimeout);
}

#[test]
fn an_idle_stream_is_closed_and_white_space_does_not_keep_it() {
    let limits = StreamLimits::default();
    let mut peer = Peer::authenticated();
    peer.pass(limits.inactivity_max / 2);
    peer.say(" ");
    assert_eq!(peer.pass(limits.inactivity_max / 2), "</stream:stream>");
    assert_eq!(peer.say("</stream:stream>"), "");
    assert_eq!(peer.end(), CloseCause::Idle);
}

#[test]
fn a_stanza_keeps_a_stream() {
    let limits = StreamLimits::default();
    let mut peer = Peer::authenticated();
    peer.pass(limits.inactivity_max / 2);
    peer.say(MESSAGE);

    assert_eq!(peer.pass(limits.inactivity_max / 2), "");
}

#[test]
fn a_peer_that_does_not_end_its_stream_is_left() {
    let mut peer = Peer::authenticated();
    peer.stream.close(None, &peer.admission, peer.now);
    assert_eq!(peer.hear(), "</stream:stream>");
    peer.say(MESSAGE);
    assert_eq!(peer.stanzas().len(), 1, "it could not know, and has no other sign of delivery");

    peer.pass(StreamLimits::default().close_max);
    assert_eq!(peer.end(), CloseCause::Requested(None));
}

#[test]
fn nothing_is_read_or_said_after_the_end() {
    let mut peer = Peer::authenticated();
    peer.say("</stream:stream>");
    assert_eq!(peer.end(), CloseCause::PeerClosed);

    assert_eq!(peer.say(MESSAGE), "");
    peer.stream.handle_disconnect(Disconnect::Lost);
    peer.stream.close(Some(StreamCondition::Reset), &peer.admission, peer.now);
    assert!(peer.events().is_empty());
    assert_eq!(peer.stream.poll_timeout(), None);
}

#[test]
fn after_authentication_a_stanza_may_be_large() {
    let mut peer = Peer::authenticated();
    let large = MESSAGE.replace("hi", &"x".repeat(100_000));
    peer.say(&large);
    assert_eq!(peer.stanzas().len(), 1);

    let mut peer = Peer::verified();
    peer.say(&large);
    assert_eq!(peer.stanzas().len(), 1);
}

#[test]
fn a_peer_that_is_refused_is_known_by_what_it_said_and_how_its_key_fared() {
    let claim = |remote: &str, local: &str, key, has_asked| Claim {
        remote: Some(domain(remote)),
        local: Some(domain(local)),
        key,
        has_asked,
    };
    let mut peer = Peer::connect();
    assert_eq!(*peer.stream.claim(), Claim::default());
    peer.say(&HEADER.replace("b.example", "x.example"));
    assert_eq!(peer.end(), CloseCause::Header(HeaderError::HostUnknown));
    assert_eq!(*peer.stream.claim(), claim("a.example", "x.example", None, false));

    let mut peer = Peer::secured(&[]);
    peer.say("<db:verify from='a.example' to='b.example' id='1'>key</db:verify>");
    assert_eq!(*peer.stream.claim(), claim("a.example", "b.example", None, true));
    peer.say("<db:result from='v.example' to='c.example'>key</db:result>");
    let refused = Some(Verdict::Error(StanzaCondition::Forbidden));
    assert_eq!(*peer.stream.claim(), claim("v.example", "c.example", refused, true));
}
