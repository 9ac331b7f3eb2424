//! How the peer is asked to confirm our stanzas, and what becomes of its answers.

use std::time::Instant;

use crate::ns;
use crate::stream::close::CloseCause;
use crate::stream::dialback::DomainPair;
use crate::stream::outbox::{Outbox, TooHigh};
use crate::stream::stream_management::{self, read_handled};
use crate::stream::timer::Timer;
use crate::stream::wire::Wire;
use crate::xml::Element;

/// How the peer confirms what it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Acknowledgements of stream management (XEP-0198).
    Acknowledgements,
    /// The answers to pings that we send in between (XEP-0199), which come on whichever stream the
    /// peer sends its stanzas on: hand them to `handle_barrier_answer`.
    Barriers,
}

impl Outbox {
    /// Asks the peer to confirm what was sent so far, once at a time; a ping goes between `pair`.
    pub(super) fn request(
        &mut self,
        confirmation: Confirmation,
        pair: &DomainPair,
        wire: &mut Wire,
        now: Instant,
    ) {
        match confirmation {
            Confirmation::Acknowledgements => {
                self.request_acknowledgement();
                wire.send(&stream_management::element("r"));
            }
            Confirmation::Barriers => {
                let id = wire.identifiers.next();
                let ping = Element::new(ns::SERVER, "iq")
                    .with_attribute("type", "get")
                    .with_attribute("from", pair.local.as_str())
                    .with_attribute("to", pair.remote.as_str())
                    .with_attribute("id", &id)
                    .with_child(Element::new(ns::PING, "ping"));
                self.request_barrier(id);
                wire.send(&ping);
            }
        }
        wire.timers.stop(Timer::Request);
        wire.timers.set_if_stopped(Timer::DeadPeer, now + wire.limits.dead_peer_max);
    }

    /// Takes an `<a/>`: the tokens of the stanzas that it confirms. While the stream `is_open` the
    /// peer is asked again about the others, after a while.
    pub(super) fn handle_acknowledgement(
        &mut self,
        element: &Element,
        is_open: bool,
        wire: &mut Wire,
        now: Instant,
    ) -> Result<Vec<u64>, CloseCause> {
        let handled = read_handled(element).ok_or(CloseCause::AcknowledgementMalformed)?;
        let confirmed = self
            .acknowledge(handled)
            .map_err(|TooHigh { sent }| CloseCause::AcknowledgementTooHigh { handled, sent })?;
        // A peer that answers and confirms nothing is as dead as one that does not answer.
        if !self.is_requested() && (!confirmed.is_empty() || !self.is_left_over()) {
            wire.timers.stop(Timer::DeadPeer);
        }
        if self.is_left_over() && is_open {
            let at = now + wire.limits.acknowledgement_repeat;
            wire.timers.set_if_stopped(Timer::Request, at);
        } else {
            wire.timers.stop(Timer::Request);
        }
        Ok(confirmed)
    }

    /// Takes the id of an iq of type result or error: the tokens of the stanzas that it confirms,
    /// if it answers a ping of ours.
    pub(super) fn handle_barrier_answer(&mut self, id: &str, wire: &mut Wire) -> Option<Vec<u64>> {
        let confirmed = self.answer_barrier(id)?;
        wire.timers.stop(Timer::DeadPeer);
        Some(confirmed)
    }
}
