//! One partner's domain as we reach it, without IO: what waits, the stream, and the next attempt.
//!
//! ```text
//!        something waits          connected             ready
//! Idle ------------------> Connecting -----> Negotiating -----> Open
//!   ^                      ^  |  failed          |  failed       |  |
//!   |                      |  v                  v               |  |
//!   |   another server     +--+---- Attempt -----+               |  |
//!   |   nothing waits         v  no other server                 |  |
//!   +--------------------- BackingOff                            |  |
//!   ^                         | ^      ended, something waits    |  |
//!   |                         | +--------------------------------+  |
//!   |                         | time is up, something waits         |
//!   |                         +------> Connecting                   |
//!   |   ended, nothing waits                                        |
//!   +---------------------------------------------------------------+
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use link::wire::StreamReport;
use link::wire::stream_report::Direction;
use xmpp_proto::stanza::error::StanzaCondition;
use xmpp_proto::stream::{
    CloseCause, CloseReason, Confirmation, Disconnect, DomainPair, InitiatingEvent,
    InitiatingStream, Method, PeerCertificate, Proof, StreamCondition, StreamTerms, Verdict,
    VerifyRequest,
};

use super::attempt::ClosedBy;
use super::failure::{Failure, Phase};
use super::queue::{Queue, Queued, Ticket};
use super::report::{self, StreamTls};
use crate::admission::{Admitted, QueueLimits};

mod attempt;
mod back_off;
mod connecting;
mod delivery;
mod effect;
mod ways;

use attempt::{Attempt, Left};
use back_off::BackOff;
use delivery::queue_limits;
pub use effect::{Located, PartnerEffect, Tried};
pub use ways::Carried;
use ways::Way;

/// The pause before a key that is to be verified makes us connect again, whatever the wait: who
/// connects to us in a partner's name must not make us knock at its door all the time.
const KNOCK_PAUSE: Duration = Duration::from_secs(1);

/// Keys that may wait for a stream.
const VERIFICATIONS_MAX: usize = 256;

/// One partner's domain as we reach it from one domain of ours.
pub struct Partner {
    pair: DomainPair,
    limits: Option<QueueLimits>,
    terms: Option<StreamTerms>,
    /// Whether the server that is connected to offered TLS a moment ago, and refused to begin it.
    forgoes_tls: bool,
    queue: Queue,
    state: State,
    last_token: u64,
    tickets: BTreeMap<u64, Queued>,
    ways: Vec<Way>,
    unconfirmed_bytes: usize,
    /// Keys to verify that no stream has an answer to yet.
    verifications: Vec<VerifyRequest>,
    /// The attempt to open a stream, from its beginning until there is one.
    attempt: Option<Attempt>,
    /// The servers that the last attempt left for the next.
    left: Left,
    /// How long one server may take.
    establishment_max: Duration,
    back_off: BackOff,
    last_failure: Option<Failure>,
    /// How many streams have been established so far.
    established: u64,
    /// What the open stream rests on.
    proof: Option<Proof>,
    farewell: Option<Bytes>,
    effects: VecDeque<PartnerEffect>,
}

enum State {
    Idle,
    Connecting,
    Negotiating(InitiatingStream),
    Open(InitiatingStream),
    BackingOff {
        since: Instant,
        until: Instant,
        /// What senders are told until then, where waiting for the next attempt is no use.
        refusal: Option<Failure>,
    },
}

impl Partner {
    /// Makes a partner that nothing was sent to.
    ///
    /// `draw` draws a number from zero to the one given, both included.
    pub fn new(pair: DomainPair, admitted: &Admitted, draw: fn(u32) -> u32) -> Self {
        let mut partner = Self {
            limits: queue_limits(&pair, admitted),
            terms: admitted.streams.terms(&pair.local, &pair.remote),
            forgoes_tls: false,
            proof: None,
            pair,
            queue: Queue::default(),
            state: State::Idle,
            last_token: 0,
            tickets: BTreeMap::new(),
            ways: Vec::new(),
            unconfirmed_bytes: 0,
            verifications: Vec::new(),
            attempt: None,
            left: Left::default(),
            establishment_max: admitted.limits.establishment_max,
            back_off: BackOff::new(draw),
            last_failure: None,
            established: 0,
            farewell: None,
            effects: VecDeque::new(),
        };
        partner.grant();
        partner
    }

    /// Takes another admission; a partner that it leaves out gets no more stanzas.
    pub fn handle_admission(&mut self, admitted: &Admitted, now: Instant) {
        self.terms = admitted.streams.terms(&self.pair.local, &self.pair.remote);
        let before = std::mem::replace(&mut self.limits, queue_limits(&self.pair, admitted));
        if before != self.limits {
            self.grant();
        }
        self.establishment_max = admitted.limits.establishment_max;
        self.left = Left::default();
        self.leave_bidirectional_streams(admitted, now);
        match (&self.state, self.limits) {
            (_, None) => {
                let text = format!("{} is no longer a federation partner", self.pair.remote);
                self.bounce_all(StanzaCondition::Forbidden, &text);
                self.end(Some(StreamCondition::PolicyViolation), now);
            }
            // What failed under the terms before may work under these.
            (State::BackingOff { .. }, Some(_)) => {
                self.back_off.reset();
                self.state = State::Idle;
                self.proceed(now);
            }
            _ => self.reset_if_not_accepted(now),
        }
    }

    /// Ends a stream whose authentication the terms do not accept any more; the peer may come back,
    /// authenticated as they ask (RFC 6120 s.4.9.3.16).
    fn reset_if_not_accepted(&mut self, now: Instant) {
        let (Some(proof), Some(terms)) = (self.proof, self.terms) else { return };
        if !terms.accepts(proof) || (self.is_bidirectional() && !terms.bidi()) {
            self.end(Some(StreamCondition::Reset), now);
        }
    }

    /// Takes a stanza for the partner, as it goes on a stream.
    pub fn send(&mut self, ticket: Ticket, bytes: Bytes, now: Instant) {
        let Some(limits) = self.limits else {
            let text = format!("{} is not a federation partner", self.pair.remote);
            return self.bounce(ticket, StanzaCondition::Forbidden, text, false);
        };
        if let State::BackingOff { refusal: Some(failure), .. } = &self.state
            && self.usable_way().is_none()
        {
            let (condition, text) = (failure.condition(), failure.sentence(&self.pair.remote));
            return self.bounce(ticket, condition, text, false);
        }
        if let Err(refused) = self.queue.push(Queued { ticket, bytes, since: now }, limits) {
            let text = format!("too many messages wait for {}", self.pair.remote);
            return self.bounce(refused.ticket, StanzaCondition::ResourceConstraint, text, false);
        }
        self.proceed(now);
    }

    /// Takes a key that the partner's server is to verify.
    pub fn verify(&mut self, request: VerifyRequest, now: Instant) {
        let over_full = self.verifications.len() >= VERIFICATIONS_MAX;
        match &mut self.state {
            _ if over_full => self.answer(request, StanzaCondition::ResourceConstraint),
            State::BackingOff { since, .. }
                if now < *since + KNOCK_PAUSE
                    && let Some(failure) = &self.last_failure =>
            {
                let condition = failure.condition();
                self.answer(request, condition);
            }
            State::Negotiating(stream) | State::Open(stream) => {
                self.verifications.push(request.clone());
                stream.request_verification(request, now);
                self.drain_events(now);
            }
            State::Idle | State::Connecting | State::BackingOff { .. } => {
                self.verifications.push(request);
                self.connect(now);
            }
        }
    }

    /// Takes bytes of the peer.
    pub fn handle_bytes(&mut self, bytes: &[u8], admitted: &Admitted, now: Instant) {
        if let Some(stream) = self.stream() {
            stream.handle_bytes(bytes, &admitted.streams, now);
            self.drain_events(now);
        }
    }

    /// Takes the outcome of a TLS handshake that succeeded.
    pub fn handle_tls(&mut self, peer: &dyn PeerCertificate, admitted: &Admitted, now: Instant) {
        self.enter(Phase::Authentication, now);
        if let Some(stream) = self.stream() {
            stream.handle_tls(peer, &admitted.streams, now);
            self.drain_events(now);
        }
    }

    /// Takes the loss of the connection.
    pub fn handle_disconnect(&mut self, disconnect: Disconnect, now: Instant) {
        if let Some(stream) = self.stream() {
            stream.handle_disconnect(disconnect);
            self.drain_events(now);
        }
    }

    /// Takes the id of an iq that answers something we sent; returns whether it was a ping of
    /// this stream.
    pub fn handle_barrier_answer(&mut self, id: &str, now: Instant) -> bool {
        let answered = self.stream().is_some_and(|stream| stream.handle_barrier_answer(id, now));
        self.drain_events(now);
        answered
    }

    /// Does what the time asks for.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(stream) = self.stream() {
            stream.handle_timeout(now);
            self.drain_events(now);
        }
        while let Some(expired) = self.limits.and_then(|it| self.queue.pop_expired(it, now)) {
            let (condition, text) = self.why_it_waited();
            self.bounce(expired.ticket, condition, text, false);
        }
        match self.state {
            State::BackingOff { until, .. } if until <= now => {
                self.state = State::Idle;
                self.proceed(now);
            }
            _ => {}
        }
    }

    /// Closes the stream; what waits stays.
    pub fn close(&mut self, now: Instant) {
        self.end(None, now);
    }

    fn end(&mut self, condition: Option<StreamCondition>, now: Instant) {
        if let Some(stream) = self.stream() {
            stream.close(condition, now);
            self.drain_events(now);
        }
    }

    /// Returns whether something is on its way that an outcome may soon come of.
    pub fn is_busy(&self) -> bool {
        let nothing_waits = self.queue.is_empty() && self.tickets.is_empty();
        let is_still =
            nothing_waits || matches!(self.state, State::Idle | State::BackingOff { .. });
        !is_still || self.way_in_use().is_some()
    }

    /// Returns whether there is a stream, open or becoming so.
    pub const fn has_stream(&self) -> bool {
        matches!(self.state, State::Negotiating(_) | State::Open(_))
    }

    /// Returns when [`Partner::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let state = match &self.state {
            State::Negotiating(stream) | State::Open(stream) => stream.poll_timeout(),
            State::BackingOff { until, .. } => Some(*until),
            State::Idle | State::Connecting => None,
        };
        let queue = self.limits.and_then(|limits| self.queue.poll_timeout(limits));
        [state, queue].into_iter().flatten().min()
    }

    /// Returns bytes for the peer.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        let farewell = self.farewell.take();
        farewell.or_else(|| self.stream().and_then(InitiatingStream::poll_transmit))
    }

    /// Returns the next effect.
    pub fn poll_effect(&mut self) -> Option<PartnerEffect> {
        self.effects.pop_front()
    }

    fn stream(&mut self) -> Option<&mut InitiatingStream> {
        match &mut self.state {
            State::Negotiating(stream) | State::Open(stream) => Some(stream),
            State::Idle | State::Connecting | State::BackingOff { .. } => None,
        }
    }

    fn drain_events(&mut self, now: Instant) {
        while let Some(event) = self.stream().and_then(InitiatingStream::poll_event) {
            match event {
                InitiatingEvent::StartTls => {
                    self.enter(Phase::Tls, now);
                    self.effects.push_back(PartnerEffect::StartTls);
                }
                InitiatingEvent::Ready { peer_proven, proof, confirmation } => {
                    self.handle_ready(peer_proven, confirmation, proof, now);
                    self.reset_if_not_accepted(now);
                }
                InitiatingEvent::Delivered { token } => {
                    if let Some(queued) = self.take_ticket(token) {
                        self.finish(queued.ticket, Ok(()));
                    }
                }
                InitiatingEvent::TooLarge { token } => {
                    if let Some(queued) = self.take_ticket(token) {
                        self.bounce_too_large(queued.ticket);
                    }
                }
                InitiatingEvent::Verdict { pair, stream_id, verdict } => {
                    self.handle_verdict(pair, stream_id, verdict);
                }
                InitiatingEvent::Stanza(stanza) => {
                    self.effects.push_back(PartnerEffect::Received(stanza));
                }
                InitiatingEvent::Bounce(reply) => {
                    self.effects.push_back(PartnerEffect::Bounce(reply));
                }
                InitiatingEvent::Closed(reason) => self.handle_closed(&reason, now),
            }
        }
        if !self.queue.is_empty() {
            self.proceed(now);
        }
    }

    fn handle_verdict(&mut self, pair: DomainPair, stream_id: String, verdict: Verdict) {
        let ended = matches!(&self.state, State::Negotiating(stream) if stream.has_ended());
        // The next server may know; if there is none, the end of the attempt answers.
        if ended && matches!(verdict, Verdict::Error(StanzaCondition::RemoteServerTimeout)) {
            return;
        }
        let is_answered = |it: &VerifyRequest| it.pair == pair && it.stream_id == stream_id;
        self.verifications.retain(|request| !is_answered(request));
        self.effects.push_back(PartnerEffect::Verdict(pair, stream_id, verdict));
    }

    fn handle_ready(
        &mut self,
        peer_proven: bool,
        confirmation: Confirmation,
        proof: Proof,
        now: Instant,
    ) {
        let remote = &self.pair.remote;
        let label = proof.label();
        let bidirectional = self.is_bidirectional();
        tracing::info!(
            partner = %remote, proof = label, ?confirmation, bidirectional,
            "a stream to the partner is open"
        );
        // Who is there at all without TLS, the record of such streams tells.
        if !peer_proven && proof != Proof::DialbackInClear {
            metrics::counter!("edge_xmpp_peers_unproven_total").increment(1);
            tracing::warn!(partner = %remote, "peer unproven: its certificate does not verify");
        }
        self.back_off.reset();
        self.last_failure = None;
        if let Some(attempt) = self.attempt.take() {
            let record = Box::new(attempt.succeed(proof, now));
            self.effects.push_back(PartnerEffect::Attempted(record));
        }
        if let State::Negotiating(stream) = std::mem::replace(&mut self.state, State::Idle) {
            self.state = State::Open(stream);
        }
        self.established += 1;
        self.proof = Some(proof);
        let (pair, number) = (&self.pair, self.established);
        // Which TLS it has, the driver knows.
        let tls = StreamTls::default();
        let report = report::established(pair, Direction::Outbound, number, proof, tls);
        self.effects.push_back(PartnerEffect::Report(StreamReport { bidirectional, ..report }));
    }

    fn handle_closed(&mut self, reason: &CloseReason, now: Instant) {
        let state = std::mem::replace(&mut self.state, State::Idle);
        let (was_open, mut stream) = match state {
            State::Open(stream) => (true, stream),
            State::Negotiating(stream) => (false, stream),
            other => {
                self.state = other;
                return;
            }
        };
        self.effects.push_back(PartnerEffect::Disconnect);
        self.proof = None;
        let text = reason.to_string();
        tracing::info!(partner = %self.pair.remote, reason = text, was_open, "a stream to the partner ended");
        metrics::counter!("edge_xmpp_outbound_closed_total", "cause" => reason.cause.label())
            .increment(1);
        if !matches!(reason.cause, CloseCause::ConnectionLost | CloseCause::TlsFailed) {
            self.farewell = stream.poll_transmit();
        }
        let left = stream.take_unconfirmed().into_iter();
        let left = left.filter_map(|it| Some((self.tickets.remove(&it.token)?, it.written)));
        let left = left.collect();
        self.take_back(left, &text);
        if was_open {
            let report = report::closed(&self.pair, Direction::Outbound, self.established, text);
            self.effects.push_back(PartnerEffect::Report(report));
            // A peer that opens streams only to end them must not keep us connecting.
            if !self.queue.is_empty() {
                self.wait(None, now);
            }
            return;
        }
        if let Some(attempt) = &mut self.attempt {
            let failure = Failure::of_close(attempt.phase(), &reason.cause);
            // The same server again, without TLS. A handshake that fails never leads there.
            let in_clear = |terms: StreamTerms| terms.allows(Method::DialbackInClear);
            self.forgoes_tls =
                reason.cause == CloseCause::TlsRefused && self.terms.is_some_and(in_clear);
            if self.forgoes_tls {
                attempt.put_back_target();
            }
            attempt.fail(failure, Some(ClosedBy::of(reason)), now);
        }
        self.try_next(now);
    }
}

#[cfg(test)]
mod tests;
