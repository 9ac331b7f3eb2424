//! Bidirectional streams (XEP-0288): ours, which bring stanzas of the partner, and those that it
//! opened, which carry our stanzas as long as we have no stream of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use xmpp_proto::stream::{StreamCondition, StreamTerms, Unconfirmed};

use super::{Partner, PartnerEffect, State};
use crate::admission::Admitted;
use crate::xmpp::queue::Queued;

/// What became of a stanza on a stream of the partner, or of the stream.
#[derive(Debug)]
pub enum Carried {
    /// The partner has confirmed the stanza of this token.
    Delivered(u64),
    /// The partner takes no stanza of the size of this token's (XEP-0478).
    TooLarge(u64),
    /// The stream took neither the stanza of this token nor a later one, and takes no more.
    Refused(u64),
    /// The stream is over; `reason` is for a person.
    Ended {
        /// Those that it took and that were not confirmed.
        unconfirmed: Vec<Unconfirmed>,
        /// Why it is over.
        reason: String,
    },
}

/// A stream of the partner.
pub(super) struct Way {
    /// The edge's number of the stream.
    stream: u64,
    /// What it has of us, by token.
    tickets: BTreeMap<u64, Queued>,
    /// Whether nothing more goes this way.
    is_shut: bool,
}

impl Partner {
    /// Takes a stream of the partner that carries our stanzas, until it is
    /// [ended](Carried::Ended).
    pub fn handle_offer(&mut self, stream: u64, now: Instant) {
        self.ways.push(Way { stream, tickets: BTreeMap::new(), is_shut: false });
        self.proceed(now);
    }

    /// Takes what became of a [`PartnerEffect::Carry`], or of the stream.
    pub fn handle_carried(&mut self, stream: u64, carried: Carried, now: Instant) {
        let Some(index) = self.ways.iter().position(|way| way.stream == stream) else { return };
        match carried {
            Carried::Delivered(token) => {
                if let Some(queued) = self.ways[index].tickets.remove(&token) {
                    self.unconfirmed_bytes -= queued.bytes.len();
                    self.finish(queued.ticket, Ok(()));
                }
            }
            Carried::TooLarge(token) => {
                if let Some(queued) = self.ways[index].tickets.remove(&token) {
                    self.unconfirmed_bytes -= queued.bytes.len();
                    self.bounce_too_large(queued.ticket);
                }
            }
            Carried::Refused(token) => {
                let way = &mut self.ways[index];
                way.is_shut = true;
                let refused = way.tickets.split_off(&token).into_values();
                self.take_back(refused.map(|queued| (queued, false)).collect(), "");
            }
            Carried::Ended { unconfirmed, reason } => {
                let way = self.ways.remove(index);
                // What the stream does not know of was on its way there, and was not written.
                let written = unconfirmed.iter().filter(|it| it.written).map(|it| it.token);
                let written: BTreeSet<u64> = written.collect();
                let left = way.tickets.into_iter();
                let left = left.map(|(token, queued)| (queued, written.contains(&token))).collect();
                self.take_back(left, &reason);
            }
        }
        self.proceed(now);
    }

    /// Returns the stream of the partner on which a ping of ours may be waiting for its answer.
    pub fn way_in_use(&self) -> Option<u64> {
        self.ways.iter().find(|way| !way.tickets.is_empty()).map(|way| way.stream)
    }

    /// Returns whether our stream brings stanzas of the partner too.
    pub fn is_bidirectional(&self) -> bool {
        match &self.state {
            State::Negotiating(stream) | State::Open(stream) => stream.is_bidirectional(),
            State::Idle | State::Connecting | State::BackingOff { .. } => false,
        }
    }

    /// Takes responsibility for the next `count` stanzas that our stream has brought.
    pub fn acknowledge(&mut self, count: u64, now: Instant) {
        if let Some(stream) = self.stream() {
            stream.acknowledge(count, now);
            self.drain_events(now);
        }
    }

    /// Takes that nothing of our stream is read at present.
    pub fn handle_reading_paused(&mut self, now: Instant) {
        if let Some(stream) = self.stream() {
            stream.handle_reading_paused(now);
        }
    }

    /// Ends what policy no longer lets be bidirectional: a stream of ours as a whole, and our
    /// direction of the partner's.
    pub(super) fn leave_bidirectional_streams(&mut self, admitted: &Admitted, now: Instant) {
        let terms = admitted.streams.terms(&self.pair.local, &self.pair.remote);
        if terms.is_some_and(StreamTerms::bidi) {
            return;
        }
        self.ways.iter_mut().for_each(|way| way.is_shut = true);
        // One with a domain that is no partner any more ends with a word about that.
        if terms.is_some() && self.is_bidirectional() {
            self.end(Some(StreamCondition::Reset), now);
        }
    }

    /// Returns which stream of the partner what waits goes on: the one that has something of us,
    /// which nothing overtakes, or else the newest, which the partner still had. A stream of our
    /// own is kept to, but nothing on it overtakes what is still on the other one.
    pub(super) fn usable_way(&self) -> Option<usize> {
        let own_is_open = matches!(self.state, State::Open(_));
        let in_use = |way: &Way| !way.is_shut && !way.tickets.is_empty();
        let newest = || self.ways.iter().rposition(|way| !way.is_shut && !own_is_open);
        self.ways.iter().position(in_use).or_else(newest)
    }

    /// Sends what waits on a stream of the partner.
    pub(super) fn proceed_on(&mut self, index: usize) {
        let (Some(limits), Some(way)) = (self.limits, self.ways.get_mut(index)) else { return };
        while way.tickets.len() < limits.items_max
            && let Some(queued) = self.queue.pop()
        {
            let bytes = self.unconfirmed_bytes + queued.bytes.len();
            // A peer that confirms nothing must not hold more than may wait for it.
            if bytes > limits.bytes_max && !way.tickets.is_empty() {
                return self.queue.put_back(queued);
            }
            self.last_token += 1;
            self.unconfirmed_bytes = bytes;
            let (stream, token) = (way.stream, self.last_token);
            let carry = PartnerEffect::Carry { stream, token, bytes: queued.bytes.clone() };
            self.effects.push_back(carry);
            way.tickets.insert(token, queued);
        }
    }
}
