//! A stream that is ready: confirmations of our stanzas, and on a bidirectional one the stanzas of
//! the peer.

use std::time::Instant;

use crate::stream::admission::Admission;
use crate::stream::close::CloseCause;
use crate::stream::confirming::Confirmation;
use crate::stream::initiating::{InitiatingEvent, InitiatingStream, State};
use crate::stream::intake::Taken;
use crate::stream::timer::Timer;
use crate::xml::Element;

impl InitiatingStream {
    /// Whether the peer sends us its stanzas on this stream too (XEP-0288).
    pub fn is_bidirectional(&self) -> bool {
        !self.intake.pairs.is_empty()
    }

    /// Takes responsibility for the next `count` stanzas of the peer, in the order of their events.
    ///
    /// Where stream management is in use the peer is told, at the latest after
    /// [`StreamLimits::acknowledgement_delay`](crate::limits::StreamLimits::acknowledgement_delay).
    pub fn acknowledge(&mut self, count: u64, now: Instant) {
        self.now = now;
        match self.state {
            State::AwaitEnabled(_) | State::Open(_) => {
                self.intake.acknowledge(count, &mut self.wire, now);
            }
            State::Draining(_) => {
                self.intake.acknowledge(count, &mut self.wire, now);
                if !self.intake.owes_acknowledgements() {
                    self.end();
                }
            }
            _ => {}
        }
    }

    /// Takes that the owner reads nothing of the peer at present, so that its silence says nothing.
    pub fn handle_reading_paused(&mut self, now: Instant) {
        self.wire.excuse_silence(now);
    }

    /// Hands out a stanza of the peer, where it may send one.
    pub(super) fn handle_stanza(&mut self, element: Element, admission: &Admission) {
        match self.state {
            // XEP-0198 s.4: what goes unacknowledged stays with the peer.
            State::Draining(_) => return,
            State::Ending(_) if self.intake.received.is_enabled() => return,
            // RFC 6120 s.4.5: unless it was agreed otherwise, stanzas flow from us to the peer.
            _ if !self.is_bidirectional() => return self.fail(CloseCause::StanzaNotAuthorized),
            _ => {}
        }
        if matches!(self.state, State::Open(_)) {
            let wait = self.wire.limits.inactivity_max;
            self.wire.set_timer(Timer::Inactivity, wait, self.now);
        }
        match self.intake.take(element, admission) {
            Ok(Taken::Stanza(stanza)) => self.events.push_back(InitiatingEvent::Stanza(stanza)),
            Ok(Taken::Bounce(reply)) => self.events.push_back(InitiatingEvent::Bounce(reply)),
            Err(cause) => self.fail(cause),
        }
    }

    /// Stream management on a stream that is ready.
    pub(super) fn handle_management(&mut self, element: &Element) {
        match element.local() {
            "a" => self.handle_acknowledgement(element),
            "r" if matches!(self.state, State::Open(Confirmation::Acknowledgements)) => {
                self.intake.answer(&mut self.wire);
            }
            _ => {}
        }
    }

    fn handle_acknowledgement(&mut self, element: &Element) {
        if matches!(self.state, State::Open(Confirmation::Barriers)) {
            return;
        }
        let is_open = matches!(self.state, State::Open(_));
        let (wire, now) = (&mut self.wire, self.now);
        match self.outbox.handle_acknowledgement(element, is_open, wire, now) {
            Ok(confirmed) => self.delivered(confirmed),
            Err(cause) => self.fail(cause),
        }
    }

    pub(super) fn delivered(&mut self, tokens: Vec<u64>) {
        self.events.extend(tokens.into_iter().map(|token| InitiatingEvent::Delivered { token }));
    }

    /// Whether nobody waits for anything.
    pub(super) fn is_idle(&self) -> bool {
        self.outbox.unconfirmed() == 0
            && self.verifications.len() == 0
            && !self.intake.owes_acknowledgements()
    }

    /// Ends our stream, once the acknowledgements that the peer waits for can be given.
    pub(super) fn leave(&mut self, cause: CloseCause) {
        if self.intake.owes_acknowledgements() {
            self.wire.timers.stop_all();
            self.wire.set_timer(Timer::Close, self.wire.limits.close_max, self.now);
            self.state = State::Draining(cause);
        } else {
            self.begin_to_end(cause);
        }
    }

    /// Ends a stream that drains; unless the peer has ended its own, it is waited for.
    pub(super) fn end(&mut self) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Draining(CloseCause::PeerClosed) => {
                self.intake.report(&mut self.wire);
                self.refuse(CloseCause::PeerClosed);
            }
            State::Draining(cause) => self.begin_to_end(cause),
            state => self.state = state,
        }
    }

    /// Ends our stream and waits for the peer to end its own (RFC 6120 s.4.4).
    pub(super) fn begin_to_end(&mut self, cause: CloseCause) {
        self.intake.report(&mut self.wire);
        let reason = self.wire.send_close(cause);
        self.state = State::Ending(reason);
        self.wire.set_timer(Timer::Close, self.wire.limits.close_max, self.now);
    }
}
