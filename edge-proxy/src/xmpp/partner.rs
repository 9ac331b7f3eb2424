//! One partner's domain as we reach it, without IO: what waits, the stream, and the next attempt.
//!
//! ```text
//!        something waits          connected             ready
//! Idle ------------------> Connecting -----> Negotiating -----> Open
//!   ^                         |  failed          |  ended        |  |
//!   |   nothing waits         v                  v               |  |
//!   +--------------------- BackingOff <----------+               |  |
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
use link::wire::Bounced;
use link::wire::stream_report::Direction;
use xmpp_proto::limits::StreamLimits;
use xmpp_proto::stanza::error::StanzaCondition;
use xmpp_proto::stream::{
    CloseCause, CloseReason, Confirmation, Disconnect, DomainPair, InitiatingEvent,
    InitiatingStream, PeerCertificate, Proof, SendError, StreamCondition, Verdict, VerifyRequest,
};

use super::queue::{Queue, Queued, Ticket};
use super::report::{self, StreamTls};
use crate::admission::{Admitted, QueueLimits};

mod effect;
mod refusal;

pub use effect::{ConnectFailure, PartnerEffect};
use refusal::Refusal;

/// The wait before the second attempt, which doubles up to the last.
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
const BACK_OFF_LAST: Duration = Duration::from_secs(60);

/// One partner's domain as we reach it from one domain of ours.
pub struct Partner {
    pair: DomainPair,
    limits: Option<QueueLimits>,
    queue: Queue,
    state: State,
    last_token: u64,
    tickets: BTreeMap<u64, Queued>,
    unconfirmed_bytes: usize,
    verifications: Vec<VerifyRequest>,
    failures: u32,
    last_failure: String,
    /// How many streams have been established so far.
    established: u64,
    /// How we were authenticated on the last of them.
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
        until: Instant,
        /// What senders are told until then, where waiting for the next attempt is no use.
        refusal: Option<Refusal>,
    },
}

impl Partner {
    /// Makes a partner that nothing was sent to.
    pub fn new(pair: DomainPair, admitted: &Admitted) -> Self {
        let mut partner = Self {
            limits: queue_limits(&pair, admitted),
            pair,
            queue: Queue::default(),
            state: State::Idle,
            last_token: 0,
            tickets: BTreeMap::new(),
            unconfirmed_bytes: 0,
            verifications: Vec::new(),
            failures: 0,
            last_failure: String::new(),
            established: 0,
            proof: None,
            farewell: None,
            effects: VecDeque::new(),
        };
        partner.grant();
        partner
    }

    /// Takes another admission; a partner that it leaves out gets no more stanzas.
    pub fn handle_admission(&mut self, admitted: &Admitted, now: Instant) {
        let before = std::mem::replace(&mut self.limits, queue_limits(&self.pair, admitted));
        if before != self.limits {
            self.grant();
        }
        match (&self.state, self.limits) {
            (_, None) => {
                let text = format!("{} is no longer a federation partner", self.pair.remote);
                self.bounce_all(StanzaCondition::Forbidden, &text);
                self.end(Some(StreamCondition::PolicyViolation), now);
            }
            // RFC 6120 s.4.9.3.16: the peer may come back, authenticated as these terms ask.
            (State::Open(_), Some(_)) if !self.accepts_proof(admitted) => {
                self.end(Some(StreamCondition::Reset), now);
            }
            // What failed under the terms before may work under these.
            (State::BackingOff { .. }, Some(_)) => {
                self.failures = 0;
                self.state = State::Idle;
                self.proceed(now);
            }
            _ => {}
        }
    }

    /// Takes a stanza for the partner, as it goes on a stream.
    pub fn send(&mut self, ticket: Ticket, bytes: Bytes, now: Instant) {
        let Some(limits) = self.limits else {
            let text = format!("{} is not a federation partner", self.pair.remote);
            return self.bounce(ticket, StanzaCondition::Forbidden, text, false);
        };
        if let State::BackingOff { refusal: Some(Refusal { condition, text }), .. } = &self.state {
            let (condition, text) = (*condition, text.clone());
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
        match &mut self.state {
            State::Negotiating(stream) | State::Open(stream) => {
                stream.request_verification(request, now);
                self.drain_events(now);
            }
            State::Idle | State::Connecting | State::BackingOff { .. } => {
                self.verifications.push(request);
                self.connect();
            }
        }
    }

    /// Takes a connection that was made, whose bytes go to the stream from here on.
    pub fn handle_connected(&mut self, seed: [u8; 32], admitted: &Admitted, now: Instant) {
        let limits = self.stream_limits(admitted);
        self.begin(InitiatingStream::new(self.pair.clone(), limits, seed, now), now);
    }

    /// Takes a connection that began with TLS, whose bytes go to the stream from here on.
    pub fn handle_connected_by_tls(
        &mut self,
        peer: &dyn PeerCertificate,
        seed: [u8; 32],
        admitted: &Admitted,
        now: Instant,
    ) {
        let (pair, limits) = (self.pair.clone(), self.stream_limits(admitted));
        let stream = InitiatingStream::direct_tls(pair, peer, limits, seed, &admitted.streams, now);
        self.begin(stream, now);
    }

    fn stream_limits(&self, admitted: &Admitted) -> StreamLimits {
        let keep_alive = admitted.partner(&self.pair.remote).is_none_or(|it| it.keep_alive);
        let mut limits = admitted.limits;
        if !keep_alive {
            limits.keep_alive = limits.inactivity_max;
        }
        limits
    }

    fn begin(&mut self, mut stream: InitiatingStream, now: Instant) {
        for request in self.verifications.drain(..) {
            stream.request_verification(request, now);
        }
        self.state = State::Negotiating(stream);
        self.drain_events(now);
    }

    /// Takes the failure of an attempt to connect.
    pub fn handle_connect_failed(&mut self, failure: ConnectFailure, now: Instant) {
        match failure {
            ConnectFailure::Final(condition, text) => {
                self.fail_verifications(condition);
                self.report_failure(text.clone());
                self.refuse(Refusal { condition, text }, now);
            }
            ConnectFailure::Transient(text) => {
                self.fail_verifications(StanzaCondition::RemoteServerTimeout);
                self.report_failure(text.clone());
                self.last_failure = text;
                self.back_off(None, now);
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
            let text = match self.last_failure.as_str() {
                "" => format!("{} did not take the message in time", self.pair.remote),
                failure => format!("{} could not be reached: {failure}", self.pair.remote),
            };
            let condition = StanzaCondition::RemoteServerTimeout;
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

    fn accepts_proof(&self, admitted: &Admitted) -> bool {
        let terms = admitted.streams.terms(&self.pair.local, &self.pair.remote);
        self.proof.is_none_or(|proof| terms.is_some_and(|terms| terms.accepts(proof)))
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
        !nothing_waits && !matches!(self.state, State::Idle | State::BackingOff { .. })
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

    /// Sends what waits, or sees to it that there will be a stream.
    fn proceed(&mut self, now: Instant) {
        match &mut self.state {
            State::Open(stream) => {
                let bytes_max = self.limits.map_or(0, |limits| limits.bytes_max);
                while let Some(queued) = self.queue.pop() {
                    let bytes = self.unconfirmed_bytes + queued.bytes.len();
                    // A peer that confirms nothing must not hold more than may wait for it.
                    if bytes > bytes_max && !self.tickets.is_empty() {
                        return self.queue.put_back(queued);
                    }
                    let token = self.last_token + 1;
                    match stream.send_stanza(token, queued.bytes.clone(), now) {
                        Ok(()) => {
                            self.last_token = token;
                            self.unconfirmed_bytes = bytes;
                            // The bytes are the stream's now; the ticket is kept for the outcome.
                            self.tickets.insert(token, queued);
                        }
                        Err(SendError::QueueFull | SendError::Ended) => {
                            return self.queue.put_back(queued);
                        }
                    }
                }
            }
            State::Idle if !self.queue.is_empty() => self.connect(),
            State::Idle | State::Connecting | State::Negotiating(_) | State::BackingOff { .. } => {}
        }
    }

    /// Takes out a stanza that the stream has done with.
    fn take_ticket(&mut self, token: u64) -> Option<Queued> {
        let queued = self.tickets.remove(&token)?;
        self.unconfirmed_bytes -= queued.bytes.len();
        Some(queued)
    }

    fn connect(&mut self) {
        if matches!(self.state, State::Idle | State::BackingOff { .. }) {
            self.state = State::Connecting;
            self.effects.push_back(PartnerEffect::Connect);
        }
    }

    fn drain_events(&mut self, now: Instant) {
        while let Some(event) = self.stream().and_then(InitiatingStream::poll_event) {
            match event {
                InitiatingEvent::StartTls => self.effects.push_back(PartnerEffect::StartTls),
                InitiatingEvent::Ready { peer_proven, proof, confirmation } => {
                    self.handle_ready(peer_proven, confirmation, proof);
                }
                InitiatingEvent::Delivered { token } => {
                    if let Some(queued) = self.take_ticket(token) {
                        self.finish(queued.ticket, Ok(()));
                    }
                }
                InitiatingEvent::Verdict { pair, stream_id, verdict } => {
                    self.effects.push_back(PartnerEffect::Verdict(pair, stream_id, verdict));
                }
                InitiatingEvent::Closed(reason) => self.handle_closed(&reason, now),
            }
        }
        if !self.queue.is_empty() {
            self.proceed(now);
        }
    }

    fn handle_ready(&mut self, peer_proven: bool, confirmation: Confirmation, proof: Proof) {
        let remote = &self.pair.remote;
        let label = proof.label();
        tracing::info!(partner = %remote, proof = label, ?confirmation, "a stream to the partner is open");
        if !peer_proven {
            metrics::counter!("edge_xmpp_peers_unproven_total").increment(1);
            tracing::warn!(partner = %remote, "peer unproven: its certificate does not verify");
        }
        self.failures = 0;
        self.last_failure.clear();
        if let State::Negotiating(stream) = std::mem::replace(&mut self.state, State::Idle) {
            self.state = State::Open(stream);
        }
        self.established += 1;
        self.proof = Some(proof);
        let (pair, number) = (&self.pair, self.established);
        // Which TLS it has, the driver knows.
        let tls = StreamTls::default();
        let report = report::established(pair, Direction::Outbound, number, proof, tls);
        self.effects.push_back(PartnerEffect::Report(report));
    }

    /// Lets front ends hand over as much as may wait here.
    fn grant(&mut self) {
        let Some(limits) = self.limits else { return };
        let items_max = u32::try_from(limits.items_max).unwrap_or(u32::MAX);
        self.effects.push_back(PartnerEffect::Grant(items_max));
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
        let text = reason.to_string();
        tracing::info!(partner = %self.pair.remote, reason = text, was_open, "a stream to the partner ended");
        metrics::counter!("edge_xmpp_outbound_closed_total", "cause" => reason.cause.label())
            .increment(1);
        if !matches!(reason.cause, CloseCause::ConnectionLost | CloseCause::TlsFailed) {
            self.farewell = stream.poll_transmit();
        }
        self.take_back(&mut stream, &text);
        if was_open {
            let report = report::closed(&self.pair, Direction::Outbound, self.established, text);
            self.effects.push_back(PartnerEffect::Report(report));
            // A peer that opens streams only to end them must not keep us connecting.
            if !self.queue.is_empty() {
                self.back_off(None, now);
            }
            return;
        }
        self.report_failure(text.clone());
        match Refusal::of(&reason.cause, &self.pair.remote, &text) {
            Some(refusal) => self.refuse(refusal, now),
            None => {
                self.last_failure = text;
                self.back_off(None, now);
            }
        }
    }

    /// Takes back what the stream had not confirmed: what was not written waits again; what was
    /// may have arrived, and is not sent twice.
    fn take_back(&mut self, stream: &mut InitiatingStream, reason: &str) {
        for unconfirmed in stream.take_unconfirmed().into_iter().rev() {
            let Some(queued) = self.take_ticket(unconfirmed.token) else { continue };
            if unconfirmed.written {
                let condition = StanzaCondition::RemoteServerTimeout;
                let text = format!("{} may not have got the message: {reason}", self.pair.remote);
                self.bounce(queued.ticket, condition, text, true);
            } else {
                self.queue.put_back(queued);
            }
        }
    }

    fn back_off(&mut self, refusal: Option<Refusal>, now: Instant) {
        let wait = BACK_OFF_FIRST * 2u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        self.state = State::BackingOff { until: now + wait.min(BACK_OFF_LAST), refusal };
    }

    /// Gives everything back that waits, and what comes until the next attempt.
    fn refuse(&mut self, refusal: Refusal, now: Instant) {
        self.bounce_all(refusal.condition, &refusal.text);
        self.back_off(Some(refusal), now);
    }

    fn bounce_all(&mut self, condition: StanzaCondition, text: &str) {
        while let Some(queued) = self.queue.pop() {
            self.bounce(queued.ticket, condition, text.to_owned(), false);
        }
    }

    fn bounce(
        &mut self,
        ticket: Ticket,
        condition: StanzaCondition,
        text: String,
        possibly_delivered: bool,
    ) {
        let condition = condition.name().to_owned();
        self.finish(ticket, Err(Bounced { condition, text, possibly_delivered }));
    }

    fn finish(&mut self, ticket: Ticket, outcome: Result<(), Bounced>) {
        match ticket {
            Ticket::Hub(id) => self.effects.push_back(PartnerEffect::Outcome(id, outcome)),
            Ticket::Nobody => {}
        }
    }

    fn fail_verifications(&mut self, condition: StanzaCondition) {
        for request in self.verifications.drain(..) {
            let verdict = Verdict::Error(condition);
            let effect = PartnerEffect::Verdict(request.pair, request.stream_id, verdict);
            self.effects.push_back(effect);
        }
    }

    fn report_failure(&mut self, reason: String) {
        self.effects.push_back(PartnerEffect::Report(report::failed(&self.pair, reason)));
    }
}

fn queue_limits(pair: &DomainPair, admitted: &Admitted) -> Option<QueueLimits> {
    admitted.streams.terms(&pair.local, &pair.remote)?;
    admitted.partner(&pair.remote).map(|partner| partner.queue)
}

#[cfg(test)]
mod tests;
