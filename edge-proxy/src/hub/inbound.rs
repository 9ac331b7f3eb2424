//! Stanzas from partners that no front end has settled yet, in the order in which they came.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use link::sequence::{SequenceError, Unsettled};
use link::wire::{Envelope, StreamFacts};
use sha2::{Digest, Sha256};
use xmpp_proto::stream::DomainPair;

use super::FrontendId;

/// A stanza from a partner.
#[derive(Debug)]
pub struct Inbound {
    /// Between whom it goes.
    pub pair: DomainPair,
    /// The stanza as a document, written by us.
    pub stanza: Bytes,
    /// What the edge established about the stream.
    pub facts: StreamFacts,
    /// The same in the log of both hosts.
    pub correlation_id: String,
    /// What the stanza belongs to: stanzas of one conversation go to one front end.
    pub conversation: u64,
    /// Whom to tell the outcome.
    pub settling: Settling,
}

/// Whom to tell the outcome of a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settling {
    /// Our number of the stream.
    pub stream: u64,
    /// The stanza's number on the stream.
    pub index: u64,
}

#[derive(Debug)]
struct Waiting {
    serial: u64,
    inbound: Inbound,
}

/// All stanzas from partners that are unsettled.
///
/// Their number is bounded by the streams, which read no further while theirs are unsettled.
#[derive(Debug)]
pub(super) struct Inbounds {
    instance: Bytes,
    last_serial: u64,
    waiting: BTreeMap<DomainPair, VecDeque<Waiting>>,
    offered: BTreeMap<FrontendId, Offered>,
}

#[derive(Debug, Default)]
struct Offered {
    unsettled: Unsettled<Waiting>,
    outstanding: BTreeMap<DomainPair, u32>,
    credits: BTreeMap<DomainPair, u32>,
}

impl Inbounds {
    pub(super) fn new(instance: Bytes) -> Self {
        Self { instance, last_serial: 0, waiting: BTreeMap::new(), offered: BTreeMap::new() }
    }

    pub(super) fn push(&mut self, inbound: Inbound) {
        self.last_serial += 1;
        let waiting = Waiting { serial: self.last_serial, inbound };
        self.waiting.entry(waiting.inbound.pair.clone()).or_default().push_back(waiting);
    }

    pub(super) fn attach(&mut self, frontend: FrontendId) {
        self.offered.insert(frontend, Offered::default());
    }

    /// Takes back what was offered to a front end, into the order in which it came.
    pub(super) fn detach(&mut self, frontend: FrontendId) {
        let Some(mut offered) = self.offered.remove(&frontend) else { return };
        for waiting in offered.unsettled.drain() {
            let queue = self.waiting.entry(waiting.inbound.pair.clone()).or_default();
            let at = queue.partition_point(|other| other.serial < waiting.serial);
            queue.insert(at, waiting);
        }
    }

    pub(super) fn limit(&mut self, frontend: FrontendId, pair: DomainPair, credit: u32) {
        if let Some(offered) = self.offered.get_mut(&frontend) {
            offered.credits.insert(pair, credit);
        }
    }

    pub(super) fn settle(
        &mut self,
        frontend: FrontendId,
        sequence: u64,
    ) -> Result<Inbound, SequenceError> {
        let missing = SequenceError::NotOutstanding { sequence };
        let offered = self.offered.get_mut(&frontend).ok_or(missing)?;
        let settled = offered.unsettled.settle(sequence)?.inbound;
        if let Some(outstanding) = offered.outstanding.get_mut(&settled.pair) {
            *outstanding = outstanding.saturating_sub(1);
        }
        Ok(settled)
    }

    /// Offers what waits to the front ends that have credit for it: one stanza of each pair in
    /// turn, so that who has many waiting does not go before all others.
    pub(super) fn offer(
        &mut self,
        names: &BTreeMap<FrontendId, &str>,
    ) -> Vec<(FrontendId, Envelope)> {
        let mut envelopes = Vec::new();
        let mut turns: Vec<(&DomainPair, &mut VecDeque<Waiting>)> =
            self.waiting.iter_mut().collect();
        while !turns.is_empty() {
            turns.retain_mut(|(pair, queue)| {
                let Some(first) = queue.front() else { return false };
                let Some(to) = owner(first.inbound.conversation, names) else { return false };
                let Some(offered) = self.offered.get_mut(&to) else { return false };
                if !offered.has_credit(pair) {
                    return false;
                }
                let Some(first) = queue.pop_front() else { return false };
                envelopes.push((to, offered.push(&self.instance, first)));
                true
            });
        }
        self.waiting.retain(|_, queue| !queue.is_empty());
        envelopes
    }

    /// Gives up everything.
    pub(super) fn drain(&mut self) -> Vec<Settling> {
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        waiting.map(|waiting| waiting.inbound.settling).collect()
    }
}

impl Offered {
    fn has_credit(&self, pair: &DomainPair) -> bool {
        let credit = self.credits.get(pair).copied().unwrap_or(link::CREDIT_INITIAL);
        self.outstanding.get(pair).is_none_or(|outstanding| *outstanding < credit)
    }

    fn push(&mut self, instance: &Bytes, waiting: Waiting) -> Envelope {
        *self.outstanding.entry(waiting.inbound.pair.clone()).or_default() += 1;
        let inbound = &waiting.inbound;
        let mut envelope = Envelope {
            sequence: 0,
            id: envelope_id(instance, waiting.serial),
            local_domain: inbound.pair.local.as_str().to_owned(),
            remote_domain: inbound.pair.remote.as_str().to_owned(),
            stanza: inbound.stanza.clone(),
            correlation_id: inbound.correlation_id.clone(),
            facts: Some(inbound.facts.clone()),
        };
        envelope.sequence = self.unsettled.push(waiting);
        envelope
    }
}

/// Returns the front end that owns a conversation: the first of an order that is the
/// conversation's own, so that the loss of one front end moves only what it owned.
fn owner(conversation: u64, names: &BTreeMap<FrontendId, &str>) -> Option<FrontendId> {
    if names.len() == 1 {
        return names.keys().next().copied();
    }
    let weight = |name: &str| -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(name);
        hash.update(conversation.to_be_bytes());
        hash.finalize().into()
    };
    names.iter().max_by_key(|(_, name)| weight(name)).map(|(id, _)| *id)
}

/// Returns an id that no other envelope of any edge has: eight random bytes of this process and
/// the serial number.
fn envelope_id(instance: &Bytes, serial: u64) -> Bytes {
    let mut id = Vec::with_capacity(16);
    id.extend(instance.iter().copied().chain(std::iter::repeat(0)).take(8));
    id.extend_from_slice(&serial.to_be_bytes());
    id.into()
}
