//! Who the peer is: SASL EXTERNAL, and dialback in the roles of receiving and authoritative server.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;

use crate::ns;
use crate::stanza::error::StanzaCondition;
use crate::stream::admission::Proof;
use crate::stream::announced_limits::AnnouncedLimits;
use crate::stream::close::CloseCause;
use crate::stream::dialback::{
    Content, DialbackElement, DomainPair, KEY_BYTES_MAX, Step, Verdict, VerifyRequest, answer,
};
use crate::stream::receiving::{
    Claim, Context, InClear, Negotiating, Open, Peer, ReceivingEvent, State,
};
use crate::stream::sasl::SaslStep;
use crate::stream::terms::Method;
use crate::stream::timer::Timer;
use crate::stream::wire::FirstLevel;
use crate::xml::Element;

/// What a dialback request came to on the spot.
enum Outcome {
    /// The pair is authenticated.
    Valid(DomainPair, Proof),
    /// The key is not one.
    Invalid(DomainPair),
    /// Nothing that changes the stream.
    Settled,
    /// The key has come in the clear, against policy; the peer was told.
    NeedsTls,
    /// The element has no usable addresses.
    Misaddressed,
}

impl Context<'_> {
    /// Handles an element on a protected stream without an authenticated pair.
    pub(super) fn negotiate(&mut self, mut negotiating: Negotiating, element: &Element) -> State {
        match FirstLevel::of(element) {
            FirstLevel::Sasl => self.authenticate(negotiating, element),
            FirstLevel::Dialback => {
                let none = BTreeMap::new();
                let outcome = self.handle_dialback(&mut negotiating.peer, &none, element);
                match outcome {
                    Outcome::Valid(pair, proof) => {
                        self.answer_result(&pair, Verdict::Valid);
                        self.opened(negotiating.peer, pair, proof)
                    }
                    Outcome::Invalid(pair) => self.reject(State::Negotiating(negotiating), &pair),
                    Outcome::Settled | Outcome::NeedsTls => State::Negotiating(negotiating),
                    Outcome::Misaddressed => self.refuse(CloseCause::DialbackAddressing),
                }
            }
            FirstLevel::Management => {
                self.refuse_management(element);
                State::Negotiating(negotiating)
            }
            // XEP-0288 s.2.2: before authentication. Elsewhere it is ignored like anything that was
            // not offered there.
            FirstLevel::Bidi => {
                if negotiating.offers_bidi {
                    let limits = AnnouncedLimits::read(element);
                    let keep_alive = &mut self.wire.limits.keep_alive;
                    *keep_alive = limits.keep_alive(*keep_alive);
                    negotiating.peer.bidi = Some(limits);
                }
                State::Negotiating(negotiating)
            }
            first_level => {
                self.handle_unwelcome(State::Negotiating(negotiating), first_level, element)
            }
        }
    }

    /// Handles a dialback element on a stream without TLS that has no authenticated pair.
    pub(super) fn authenticate_in_clear(
        &mut self,
        mut in_clear: InClear,
        element: &Element,
    ) -> State {
        match self.handle_dialback(&mut in_clear.peer, &BTreeMap::new(), element) {
            Outcome::Valid(pair, proof) => {
                self.answer_result(&pair, Verdict::Valid);
                self.opened(in_clear.peer, pair, proof)
            }
            Outcome::Invalid(pair) => self.reject(State::InClear(in_clear), &pair),
            // Another pair of the stream is still to be answered.
            Outcome::NeedsTls if !in_clear.peer.verifications.is_empty() => {
                State::InClear(in_clear)
            }
            Outcome::NeedsTls => self.refuse(CloseCause::DialbackInClear),
            Outcome::Settled => State::InClear(in_clear),
            Outcome::Misaddressed => self.refuse(CloseCause::DialbackAddressing),
        }
    }

    /// Handles a dialback element on a stream that has authenticated pairs.
    pub(super) fn handle_further_dialback(&mut self, mut open: Open, element: &Element) -> State {
        match self.handle_dialback(&mut open.peer, &open.intake.pairs, element) {
            Outcome::Valid(pair, proof) => {
                self.add_pair(&mut open, pair, proof);
                State::Open(open)
            }
            Outcome::Invalid(pair) => self.reject(State::Open(open), &pair),
            Outcome::Settled | Outcome::NeedsTls => State::Open(open),
            Outcome::Misaddressed => self.fail(State::Open(open), CloseCause::DialbackAddressing),
        }
    }

    fn authenticate(&mut self, mut negotiating: Negotiating, element: &Element) -> State {
        let Negotiating { peer, pair, sasl, sasl_failures, .. } = &mut negotiating;
        if *sasl_failures > self.wire.limits.sasl_retries_max {
            return self.refuse(CloseCause::SaslRetriesExceeded);
        }
        let terms = self.admission.terms(&pair.local, &pair.remote);
        let provable = terms.is_some_and(|terms| terms.allows(Method::ExternalOverTls))
            && peer.proves(&pair.remote);
        let (next, step) = sasl.handle(element, provable.then_some(&pair.remote));
        *sasl = next;
        match step {
            SaslStep::Challenge => {
                self.wire.send(&Element::new(ns::SASL, "challenge"));
            }
            SaslStep::Failure(condition) => {
                *sasl_failures += 1;
                self.wire.send(&condition.failure());
            }
            SaslStep::Success => {
                // Nothing succeeds without a certificate.
                let Some(certificate) = negotiating.peer.certificate else {
                    return self.refuse(CloseCause::NoAuthentication);
                };
                self.wire.send(&Element::new(ns::SASL, "success"));
                let bidi = negotiating.peer.bidi;
                return self.restart_authenticated(negotiating.pair, certificate, bidi);
            }
            SaslStep::Unsupported => {
                return self.refuse(CloseCause::UnsupportedElement);
            }
        }
        self.wire.set_timer(Timer::Negotiation, self.wire.limits.negotiation_max, self.now);
        State::Negotiating(negotiating)
    }

    fn handle_dialback(
        &mut self,
        peer: &mut Peer,
        pairs: &BTreeMap<DomainPair, Proof>,
        element: &Element,
    ) -> Outcome {
        let Ok(request) = DialbackElement::read(element) else {
            return Outcome::Misaddressed;
        };
        match (request.step, &request.content) {
            (_, Content::Key(_)) if self.needs_tls(peer, &request) => {
                // XEP-0220 s.2.5: the condition where policy asks for TLS before dialback.
                let verdict = Verdict::Error(StanzaCondition::PolicyViolation);
                let (ours, theirs) = (&request.to, &request.from);
                let id = request.id.as_deref();
                self.wire.send(&answer(request.step, ours, theirs, id, verdict));
                Outcome::NeedsTls
            }
            (Step::Result, Content::Key(key)) => self.authorize(peer, pairs, &request, key),
            (Step::Verify, Content::Key(key)) => {
                self.verify(&request, key);
                Outcome::Settled
            }
            // XEP-0220 s.3.1: nothing was asked on this stream, so this answers nothing.
            (_, Content::Verdict(_) | Content::Unknown) => Outcome::Settled,
        }
    }

    /// Whether the key comes on a stream without TLS and is of domains that need it, to prove one
    /// of them or to be verified.
    fn needs_tls(&self, peer: &Peer, request: &DialbackElement) -> bool {
        peer.certificate.is_none()
            && !self.admission.lets_dialback_in_clear(&request.to, Some(&request.from))
    }

    /// XEP-0220 s.2.2.1: a domain wants to be authorised.
    fn authorize(
        &mut self,
        peer: &mut Peer,
        pairs: &BTreeMap<DomainPair, Proof>,
        request: &DialbackElement,
        key: &str,
    ) -> Outcome {
        let pair = DomainPair { local: request.to.clone(), remote: request.from.clone() };
        if let Some(condition) = self.refusal(peer, pairs, &pair) {
            self.answer_result(&pair, Verdict::Error(condition));
            return Outcome::Settled;
        }
        if let Some(proof) = pairs.get(&pair) {
            return Outcome::Valid(pair, *proof);
        }
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Outcome::Invalid(pair);
        }
        // XEP-0344: the certificate answers for exactly the domain that it names.
        if peer.proves(&pair.remote) {
            return Outcome::Valid(pair, Proof::Certificate);
        }
        // One question at a time about one pair: the answer settles a repeated request too.
        if let Entry::Vacant(vacant) = peer.verifications.entry(pair.clone()) {
            vacant.insert(self.now + self.wire.limits.dead_peer_max);
            let stream_id = peer.stream_id.clone();
            let request = VerifyRequest { pair, stream_id, key: key.to_owned() };
            self.events.push_back(ReceivingEvent::VerifyDialback(request));
        }
        self.time_verifications(peer);
        Outcome::Settled
    }

    /// Why no key of the pair is looked at, if none is (XEP-0220 s.2.5).
    fn refusal(
        &self,
        peer: &Peer,
        pairs: &BTreeMap<DomainPair, Proof>,
        pair: &DomainPair,
    ) -> Option<StanzaCondition> {
        if !self.admission.serves(&pair.local) {
            return Some(StanzaCondition::ItemNotFound);
        }
        let Some(terms) = self.admission.terms(&pair.local, &pair.remote) else {
            return Some(StanzaCondition::Forbidden);
        };
        if !terms.accepts(peer.dialback_proof()) {
            return Some(StanzaCondition::NotAuthorized);
        }
        let known = pairs.contains_key(pair) || peer.verifications.contains_key(pair);
        let full = peer.verifications.len() >= self.wire.limits.verifications_max
            || pairs.len() + peer.verifications.len() >= self.wire.limits.domain_pairs_max;
        (!known && full).then_some(StanzaCondition::ResourceConstraint)
    }

    /// XEP-0220 s.2.2.2: a server asks whether a key is ours.
    fn verify(&mut self, request: &DialbackElement, key: &str) {
        self.claim.has_asked = true;
        let (asking, ours) = (&request.from, &request.to);
        let verdict = match request.id.as_deref() {
            _ if !self.admission.serves(ours) => Verdict::Error(StanzaCondition::ItemNotFound),
            Some(id) if self.admission.dialback_secrets.is_valid(key, asking, ours, id) => {
                Verdict::Valid
            }
            _ => Verdict::Invalid,
        };
        self.wire.send(&answer(Step::Verify, ours, asking, request.id.as_deref(), verdict));
    }

    /// Takes the authoritative server's word for a key of this stream.
    pub(super) fn handle_verdict(
        &mut self,
        state: State,
        pair: &DomainPair,
        stream_id: &str,
        verdict: Verdict,
    ) -> State {
        let mut state = state;
        let Some(peer) = state.peer_mut() else { return state };
        // XEP-0220 s.2.1.2: dropped where nothing on this stream waits for it.
        if peer.stream_id != stream_id || peer.verifications.remove(pair).is_none() {
            return state;
        }
        let proof = peer.dialback_proof();
        self.time_verifications(peer);
        let verdict = match verdict {
            Verdict::Valid if self.is_refused_by_now(pair, proof) => {
                Verdict::Error(StanzaCondition::Forbidden)
            }
            verdict => verdict,
        };
        match (verdict, state) {
            (
                Verdict::Valid,
                State::Negotiating(Negotiating { peer, .. }) | State::InClear(InClear { peer, .. }),
            ) => {
                self.answer_result(pair, Verdict::Valid);
                self.opened(peer, pair.clone(), proof)
            }
            (Verdict::Valid, State::Open(mut open)) => {
                self.add_pair(&mut open, pair.clone(), proof);
                State::Open(open)
            }
            (Verdict::Invalid, state) => self.reject(state, pair),
            (verdict, state) => {
                self.answer_result(pair, verdict);
                self.resume_negotiation(&state);
                state
            }
        }
    }

    /// Whether policy has changed against the pair while its key was verified.
    fn is_refused_by_now(&self, pair: &DomainPair, proof: Proof) -> bool {
        let terms = self.admission.terms(&pair.local, &pair.remote);
        !terms.is_some_and(|terms| terms.accepts(proof))
    }

    fn add_pair(&mut self, open: &mut Open, pair: DomainPair, proof: Proof) {
        self.answer_result(&pair, Verdict::Valid);
        if open.intake.pairs.insert(pair.clone(), proof).is_none() {
            self.events.push_back(ReceivingEvent::Authenticated { pair, proof });
        }
    }

    /// XEP-0220 s.2.2.1: a forged key ends the stream, unless other pairs live on it.
    fn reject(&mut self, state: State, pair: &DomainPair) -> State {
        if matches!(state, State::Open(_)) {
            self.answer_result(pair, Verdict::Error(StanzaCondition::Forbidden));
            return state;
        }
        self.answer_result(pair, Verdict::Invalid);
        self.refuse(CloseCause::DialbackInvalid)
    }

    fn answer_result(&mut self, pair: &DomainPair, verdict: Verdict) {
        let (remote, local) = (Some(pair.remote.clone()), Some(pair.local.clone()));
        let has_asked = self.claim.has_asked;
        *self.claim = Claim { remote, local, key: Some(verdict), has_asked };
        self.wire.send(&answer(Step::Result, &pair.local, &pair.remote, None, verdict));
    }

    /// Answers keys whose verification took too long.
    pub(super) fn expire_verifications(&mut self, mut state: State) -> State {
        if let Some(peer) = state.peer_mut() {
            let expired: Vec<DomainPair> = peer
                .verifications
                .iter()
                .filter(|(_, deadline)| **deadline <= self.now)
                .map(|(pair, _)| pair.clone())
                .collect();
            for pair in &expired {
                peer.verifications.remove(pair);
                self.answer_result(pair, Verdict::Error(StanzaCondition::RemoteServerTimeout));
            }
            self.time_verifications(peer);
        }
        self.resume_negotiation(&state);
        state
    }

    /// While a key is verified the peer can only wait, so the negotiation does not stand still.
    fn time_verifications(&mut self, peer: &Peer) {
        let next: Option<&Instant> = peer.verifications.values().min();
        match next {
            Some(deadline) => {
                self.wire.timers.set(Timer::Verification, *deadline);
                self.wire.timers.stop(Timer::Negotiation);
            }
            None => self.wire.timers.stop(Timer::Verification),
        }
    }

    /// It is the peer's turn again.
    fn resume_negotiation(&mut self, state: &State) {
        if let State::Negotiating(Negotiating { peer, .. }) | State::InClear(InClear { peer, .. }) =
            state
            && peer.verifications.is_empty()
        {
            self.wire.set_timer(Timer::Negotiation, self.wire.limits.negotiation_max, self.now);
        }
    }
}
