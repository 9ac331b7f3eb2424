//! What waits for the partner: handed to the stream, confirmed, taken back, given back.

use std::time::Instant;

use link::wire::Bounced;
use xmpp_proto::stanza::error::StanzaCondition;
use xmpp_proto::stream::{DomainPair, SendError};

use super::attempt::Attempt;
use super::{Partner, PartnerEffect, State};
use crate::admission::{Admitted, QueueLimits};
use crate::xmpp::queue::{Queued, Ticket};

impl Partner {
    /// Sends what waits, or sees to it that there will be a stream.
    pub(super) fn proceed(&mut self, now: Instant) {
        if let Some(way) = self.usable_way() {
            return self.proceed_on(way);
        }
        match &mut self.state {
            State::Open(stream) => {
                let bytes_max = self.limits.map_or(0, |limits| limits.bytes_max);
                let mut too_large = Vec::new();
                while let Some(queued) = self.queue.pop() {
                    let bytes = self.unconfirmed_bytes + queued.bytes.len();
                    // A peer that confirms nothing must not hold more than may wait for it.
                    if bytes > bytes_max && !self.tickets.is_empty() {
                        self.queue.put_back(queued);
                        break;
                    }
                    let token = self.last_token + 1;
                    match stream.send_stanza(token, queued.bytes.clone(), now) {
                        Ok(()) => {
                            self.last_token = token;
                            self.unconfirmed_bytes = bytes;
                            // The bytes are the stream's now; the ticket is kept for the outcome.
                            self.tickets.insert(token, queued);
                        }
                        Err(SendError::TooLarge) => too_large.push(queued),
                        Err(SendError::QueueFull | SendError::Ended | SendError::NotCarried) => {
                            self.queue.put_back(queued);
                            break;
                        }
                    }
                }
                for queued in too_large {
                    self.bounce_too_large(queued.ticket);
                }
            }
            State::Idle if !self.queue.is_empty() => self.connect(now),
            State::Idle | State::Connecting | State::Negotiating(_) | State::BackingOff { .. } => {}
        }
    }

    /// Gives a stanza back that the peer has announced not to take (XEP-0478 s.4).
    pub(super) fn bounce_too_large(&mut self, ticket: Ticket) {
        let text = format!("the server of {} takes no message of this size", self.pair.remote);
        self.bounce(ticket, StanzaCondition::PolicyViolation, text, false);
    }

    /// Takes out a stanza that the stream has done with.
    pub(super) fn take_ticket(&mut self, token: u64) -> Option<Queued> {
        let queued = self.tickets.remove(&token)?;
        self.unconfirmed_bytes -= queued.bytes.len();
        Some(queued)
    }

    /// Takes back what the stream had not confirmed: what was not written waits again; what was
    /// may have arrived, and is not sent twice.
    pub(super) fn take_back(&mut self, left: Vec<(Queued, bool)>, reason: &str) {
        for (queued, written) in left.into_iter().rev() {
            self.unconfirmed_bytes -= queued.bytes.len();
            if written {
                let condition = StanzaCondition::RemoteServerTimeout;
                let text = format!("{} may not have got the message: {reason}", self.pair.remote);
                self.bounce(queued.ticket, condition, text, true);
            } else {
                self.queue.put_back(queued);
            }
        }
    }

    pub(super) fn bounce_all(&mut self, condition: StanzaCondition, text: &str) {
        while let Some(queued) = self.queue.pop() {
            self.bounce(queued.ticket, condition, text.to_owned(), false);
        }
    }

    pub(super) fn bounce(
        &mut self,
        ticket: Ticket,
        condition: StanzaCondition,
        text: String,
        possibly_delivered: bool,
    ) {
        let condition = condition.name().to_owned();
        self.finish(ticket, Err(Bounced { condition, text, possibly_delivered }));
    }

    pub(super) fn finish(&mut self, ticket: Ticket, outcome: Result<(), Bounced>) {
        match ticket {
            Ticket::Hub(id) => self.effects.push_back(PartnerEffect::Outcome(id, outcome)),
            Ticket::Nobody => {}
        }
    }

    /// Returns what a sender is told whose stanza has waited too long.
    pub(super) fn why_it_waited(&self) -> (StanzaCondition, String) {
        let remote = &self.pair.remote;
        let attempt = self.attempt.as_ref();
        let failed = attempt.and_then(Attempt::telling).or(self.last_failure.as_ref()).cloned();
        match failed.or_else(|| attempt.map(Attempt::too_long)) {
            Some(failure) => (failure.condition(), failure.sentence(remote)),
            None => {
                let text = format!("{remote} did not take the message in time");
                (StanzaCondition::RemoteServerTimeout, text)
            }
        }
    }

    /// Returns how many stanzas have no outcome yet, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        let stanzas = self.queue.len() + self.tickets.len();
        (stanzas, self.queue.bytes() + self.unconfirmed_bytes)
    }

    /// Lets front ends hand over as much as may wait here.
    pub(super) fn grant(&mut self) {
        let Some(limits) = self.limits else { return };
        let items_max = u32::try_from(limits.items_max).unwrap_or(u32::MAX);
        self.effects.push_back(PartnerEffect::Grant(items_max));
    }
}

pub(super) fn queue_limits(pair: &DomainPair, admitted: &Admitted) -> Option<QueueLimits> {
    admitted.streams.terms(&pair.local, &pair.remote)?;
    admitted.partner(&pair.remote).map(|partner| partner.queue)
}
