//! The way to a stream: the partner's servers are found and tried, and the next attempt waits.

use std::time::Instant;

use xmpp_proto::limits::StreamLimits;
use xmpp_proto::stanza::error::StanzaCondition;
use xmpp_proto::stream::{InitiatingStream, PeerCertificate, Verdict, VerifyRequest};

use super::attempt::{Attempt, Fruitless};
use super::effect::{Located, PartnerEffect, Tried};
use super::{Partner, State};
use crate::admission::Admitted;
use crate::xmpp::attempt::TlsFacts;
use crate::xmpp::failure::{Failure, Phase};
use crate::xmpp::report;

impl Partner {
    /// Takes the partner's servers, the best first.
    pub fn handle_located(&mut self, located: Result<Located, Failure>, now: Instant) {
        match (located, &mut self.attempt) {
            (Ok(located), Some(attempt)) => {
                attempt.located(located, now);
                self.try_next(now);
            }
            (Err(failure), _) => self.handle_connect_failed(failure, now),
            (Ok(_), None) => {}
        }
    }

    /// Takes what was done to connect to a server; its outcome comes next.
    pub fn note_tried(&mut self, tried: Tried) {
        if let Some(attempt) = &mut self.attempt {
            attempt.note_tried(tried);
        }
    }

    /// Takes what a TLS handshake established, or why it failed; its outcome comes next.
    pub fn note_tls(&mut self, facts: Result<TlsFacts, String>) {
        if let Some(attempt) = &mut self.attempt {
            attempt.note_tls(facts);
        }
    }

    /// Takes a connection that was made, whose bytes go to the stream from here on.
    pub fn handle_connected(&mut self, seed: [u8; 32], admitted: &Admitted, now: Instant) {
        self.enter(Phase::Stream, now);
        let limits = self.stream_limits(admitted, now);
        let mut stream = InitiatingStream::new(self.pair.clone(), limits, seed, now);
        if std::mem::take(&mut self.forgoes_tls) {
            stream.forgo_tls();
        }
        self.begin(stream, now);
    }

    /// Takes a connection that began with TLS, whose bytes go to the stream from here on.
    pub fn handle_connected_by_tls(
        &mut self,
        peer: &dyn PeerCertificate,
        seed: [u8; 32],
        admitted: &Admitted,
        now: Instant,
    ) {
        self.enter(Phase::Authentication, now);
        let (pair, limits) = (self.pair.clone(), self.stream_limits(admitted, now));
        let stream = InitiatingStream::direct_tls(pair, peer, limits, seed, &admitted.streams, now);
        self.begin(stream, now);
    }

    fn stream_limits(&self, admitted: &Admitted, now: Instant) -> StreamLimits {
        let keep_alive = admitted.partner(&self.pair.remote).is_none_or(|it| it.keep_alive);
        let mut limits = admitted.limits;
        if !keep_alive {
            limits.keep_alive = limits.inactivity_max;
        }
        // The connection took a part of it.
        if let Some(attempt) = &self.attempt {
            limits.establishment_max = attempt.target_remaining(now);
        }
        limits
    }

    fn begin(&mut self, mut stream: InitiatingStream, now: Instant) {
        for request in &self.verifications {
            stream.request_verification(request.clone(), now);
        }
        self.state = State::Negotiating(stream);
        self.drain_events(now);
    }

    /// Takes the failure to find the partner's servers, or to connect to one.
    pub fn handle_connect_failed(&mut self, failure: Failure, now: Instant) {
        self.forgoes_tls = false;
        if let Some(attempt) = &mut self.attempt {
            attempt.fail(failure, None, now);
            self.try_next(now);
        }
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Instant) {
        if let Some(attempt) = &mut self.attempt {
            attempt.enter(phase, now);
        }
    }

    pub(super) fn connect(&mut self, now: Instant) {
        if !matches!(self.state, State::Idle | State::BackingOff { .. }) {
            return;
        }
        let left = std::mem::take(&mut self.left);
        let must_locate = left.targets.is_empty();
        self.attempt = Some(Attempt::begin(self.pair.clone(), left, self.establishment_max, now));
        self.state = State::Connecting;
        if must_locate {
            self.effects.push_back(PartnerEffect::Locate);
        } else {
            self.try_next(now);
        }
    }

    /// Goes on with the next server, or ends the attempt.
    pub(super) fn try_next(&mut self, now: Instant) {
        let next = self.attempt.as_mut().and_then(|attempt| attempt.next_target(now));
        if let Some((target, until)) = next {
            self.state = State::Connecting;
            return self.effects.push_back(PartnerEffect::Connect(target, until));
        }
        if let Some(attempt) = self.attempt.take() {
            self.give_up(attempt.give_up(), now);
        }
    }

    /// Tells everybody that no server was reached, and waits for the next attempt.
    fn give_up(&mut self, fruitless: Fruitless, now: Instant) {
        let Fruitless { record, failure, is_final, left } = fruitless;
        tracing::warn!(
            partner = %self.pair.remote, phase = failure.phase.label(), kind = failure.label(),
            failure = failure.detail, is_final, left = left.targets.len(), "the partner cannot be reached"
        );
        self.left = left;
        self.forgoes_tls = false;
        self.fail_verifications(failure.condition());
        let sentence = failure.sentence(&self.pair.remote);
        let report = report::failed(&self.pair, format!("{sentence}: {}", failure.detail));
        self.effects.push_back(PartnerEffect::Report(report));
        self.effects.push_back(PartnerEffect::Attempted(Box::new(record)));
        if is_final {
            self.bounce_all(failure.condition(), &sentence);
        }
        self.last_failure = Some(failure.clone());
        self.wait(is_final.then_some(failure), now);
    }

    pub(super) fn wait(&mut self, refusal: Option<Failure>, now: Instant) {
        self.state = State::BackingOff { since: now, until: now + self.back_off.next(), refusal };
    }

    fn fail_verifications(&mut self, condition: StanzaCondition) {
        for request in std::mem::take(&mut self.verifications) {
            self.answer(request, condition);
        }
    }

    /// Answers a key that cannot be verified.
    pub(super) fn answer(&mut self, request: VerifyRequest, condition: StanzaCondition) {
        let verdict = Verdict::Error(condition);
        let effect = PartnerEffect::Verdict(request.pair, request.stream_id, verdict);
        self.effects.push_back(effect);
    }
}
