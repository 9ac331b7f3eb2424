//! Our stanzas on a bidirectional stream that the peer opened (XEP-0288).

use std::time::Instant;

use bytes::Bytes;

use crate::stream::admission::Admission;
use crate::stream::close::CloseCause;
use crate::stream::confirming::Confirmation;
use crate::stream::dialback::DomainPair;
use crate::stream::initiating::SendError;
use crate::stream::outbox::Unconfirmed;
use crate::stream::receiving::{Context, Open, ReceivingEvent, ReceivingStream, State};
use crate::stream::timer::Timer;
use crate::stream::wire::FirstLevel;
use crate::xml::Element;

impl ReceivingStream {
    /// Whether the stream carries our stanzas too, between the authenticated pairs.
    pub const fn is_bidirectional(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.peer.bidi.is_some())
    }

    /// Sends a stanza between an authenticated pair, on a bidirectional stream.
    ///
    /// `bytes` are what [`write_stanza`](crate::xml::write_stanza) made. The stanza is named by
    /// `token` when it is confirmed, or taken out as unconfirmed. Several owners may share the
    /// stream, and each one bounds what it has on it.
    ///
    /// # Errors
    ///
    /// The stream has ended, or does not carry stanzas of the pair; the stanza was not taken.
    pub fn send_stanza(
        &mut self,
        pair: &DomainPair,
        token: u64,
        bytes: &Bytes,
        admission: &Admission,
        now: Instant,
    ) -> Result<(), SendError> {
        self.now = now;
        let State::Open(open) = &mut self.state else { return Err(SendError::Ended) };
        // XEP-0288 s.2.2: only where the peer has proven its domain, and while policy allows it.
        let proof = open.intake.pairs.get(pair).filter(|_| open.peer.bidi.is_some());
        let terms = admission.terms(&pair.local, &pair.remote).filter(|terms| terms.bidi());
        let carries = proof.zip(terms).is_some_and(|(proof, terms)| terms.accepts(*proof));
        if !carries {
            return Err(SendError::NotCarried);
        }
        let limits = open.peer.bidi.unwrap_or_default();
        if !limits.takes(bytes.len()) {
            return Err(SendError::TooLarge);
        }
        if open.carried.as_ref() != Some(pair) {
            open.carried = Some(pair.clone());
        }
        self.wire.send_written(bytes);
        self.outbox.send(token);
        self.wire.set_timer(Timer::Inactivity, self.wire.limits.inactivity_max, now);
        self.wire.timers.set_if_stopped(Timer::KeepAlive, now + self.wire.limits.keep_alive);
        Ok(())
    }

    /// Takes the id of an iq of type result or error that the peer sent, on whichever stream.
    ///
    /// Returns whether it answers a ping of ours, which confirms what was sent before it.
    pub fn handle_barrier_answer(&mut self, id: &str, now: Instant) -> bool {
        self.now = now;
        let confirmed = self.outbox.handle_barrier_answer(id, &mut self.wire);
        let answered = confirmed.is_some();
        let tokens = confirmed.into_iter().flatten();
        self.events.extend(tokens.map(|token| ReceivingEvent::Delivered { token }));
        answered
    }

    /// Leaves a silent peer alone until the stream is idle.
    pub const fn forgo_keep_alive(&mut self) {
        self.wire.limits.keep_alive = self.wire.limits.inactivity_max;
    }

    /// Takes that the owner reads nothing of the peer at present, so that its silence says nothing.
    pub fn handle_reading_paused(&mut self, now: Instant) {
        self.wire.excuse_silence(now);
    }

    /// Takes out the stanzas that were not confirmed, in order.
    ///
    /// For an ended stream: what may have reached the peer, and what has not.
    pub fn take_unconfirmed(&mut self) -> Vec<Unconfirmed> {
        self.outbox.take_unconfirmed()
    }

    /// The peer is alive: it is probed no earlier than after another silence.
    pub(super) fn keep_alive(&mut self, now: Instant) {
        if self.wire.timers.is_running(Timer::KeepAlive) {
            self.wire.set_timer(Timer::KeepAlive, self.wire.limits.keep_alive, now);
        }
    }

    /// Asks the peer to confirm what was sent, once at a time.
    pub(super) fn request_confirmation(&mut self) {
        if let State::Open(open) = &self.state
            && self.outbox.wants_request()
            && let Some(pair) = &open.carried
        {
            let confirmation = open.confirmation();
            self.outbox.request(confirmation, pair, &mut self.wire, self.now);
        }
    }
}

impl Open {
    fn confirmation(&self) -> Confirmation {
        match self.intake.received.is_enabled() {
            true => Confirmation::Acknowledgements,
            false => Confirmation::Barriers,
        }
    }
}

impl Context<'_> {
    /// Asks a peer that is silent, or that left stanzas unacknowledged.
    pub(super) fn probe(&mut self, open: Open, timer: Timer) -> State {
        if timer == Timer::KeepAlive {
            self.wire.set_timer(timer, self.wire.limits.keep_alive, self.now);
        }
        if let Some(pair) = &open.carried
            && !self.outbox.is_requested()
        {
            self.outbox.request(open.confirmation(), pair, self.wire, self.now);
        }
        State::Open(open)
    }

    /// Takes an `<a/>` of a peer that uses stream management.
    pub(super) fn handle_acknowledgement(
        &mut self,
        element: &Element,
        is_open: bool,
    ) -> Result<(), CloseCause> {
        let confirmed =
            self.outbox.handle_acknowledgement(element, is_open, self.wire, self.now)?;
        self.events.extend(confirmed.into_iter().map(|token| ReceivingEvent::Delivered { token }));
        Ok(())
    }

    /// Takes what the peer of a stream that is about to end, and uses stream management, still
    /// says: what it confirms counts.
    pub(super) fn handle_late_acknowledgement(&mut self, state: State, element: &Element) -> State {
        if FirstLevel::of(element) != FirstLevel::Management || element.local() != "a" {
            return state;
        }
        match self.handle_acknowledgement(element, false) {
            Ok(()) => state,
            Err(cause) => self.fail(state, cause),
        }
    }
}
