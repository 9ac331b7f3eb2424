//! The stanzas of one stream that no front end has settled: how many there may be, what goes to the
//! hub of each, and what their outcomes let the stream acknowledge.

use std::collections::VecDeque;

use link::wire::{Bounced, StreamFacts};
use sha2::{Digest, Sha256};
use xmpp_proto::ns;
use xmpp_proto::stanza::Stanza;
use xmpp_proto::stanza::error::{StanzaCondition, StanzaError};
use xmpp_proto::stream::{DomainPair, Proof, ReceivedStanza};
use xmpp_proto::xml::{Element, write_document};

use super::report::wire_proof;
use crate::hub::{Inbound, Settling};

/// Stanzas of one stream that may be unsettled, and their bytes; beyond that its socket is not
/// read.
const UNSETTLED_MAX: usize = link::CREDIT_INITIAL as usize;
const UNSETTLED_BYTES_MAX: usize = 1024 * 1024;

/// The unsettled stanzas of a stream, in the order in which they came.
pub(super) struct Unsettled {
    /// Our number of the stream.
    stream: u64,
    pending: VecDeque<Pending>,
    bytes: usize,
    first_index: u64,
}

/// A stanza that a front end has been offered, or will be.
struct Pending {
    settled: bool,
    /// The stanza without its content, for an error in answer.
    envelope: Element,
    pair: DomainPair,
    bytes: usize,
}

/// A stanza that has come.
pub(super) struct Arrived {
    /// What goes to the hub.
    pub(super) inbound: Box<Inbound>,
    /// The id of an iq that may answer a ping of ours: server to server, result or error.
    pub(super) barrier_answer: Option<String>,
}

/// What the outcome of a stanza leads to.
#[derive(Default)]
pub(super) struct Progress {
    /// How many more stanzas, from the first unacknowledged one, are settled.
    pub(super) acknowledged: u64,
    /// An error for the sender, and between whom it goes.
    pub(super) reply: Option<(DomainPair, Element)>,
}

impl Unsettled {
    pub(super) fn new(stream: u64) -> Self {
        Self { stream, pending: VecDeque::new(), bytes: 0, first_index: 0 }
    }

    /// Says whether more stanzas may come before some are settled.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < UNSETTLED_MAX && self.bytes < UNSETTLED_BYTES_MAX
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes a stanza of a pair that the peer has proven in this way.
    pub(super) fn take(&mut self, received: ReceivedStanza, proof: Option<Proof>) -> Arrived {
        let pair = pair_of(&received);
        let correlation_id = crate::correlation_id();
        metrics::counter!("edge_xmpp_stanzas_received_total").increment(1);
        tracing::debug!(
            correlation_id, stream = self.stream, from = %host::log::identity(received.from.as_str()),
            to = %host::log::identity(received.to.as_str()), kind = received.element.local(),
            "a stanza from a partner"
        );
        let inbound = Inbound {
            stanza: write_document(&received.element),
            facts: StreamFacts {
                stream_id: self.stream.to_string(),
                proof: wire_proof(proof).into(),
                language: received.stream_language.as_deref().unwrap_or_default().to_owned(),
            },
            correlation_id,
            conversation: conversation(&received),
            settling: Settling { stream: self.stream, index: self.next_index() },
            pair: pair.clone(),
        };
        let barrier_answer = barrier_answer(&received);
        self.push(received.element, pair, inbound.stanza.len());
        Arrived { inbound: Box::new(inbound), barrier_answer }
    }

    /// Takes a stanza that cannot be delivered: the error goes to its sender at once.
    pub(super) fn bounce(&mut self, reply: Element) -> Progress {
        let Some(pair) = pair_of_reply(&reply) else { return Progress::default() };
        let index = self.next_index();
        self.push(reply.clone(), pair.clone(), 0);
        Progress { reply: Some((pair, reply)), ..self.settle(index, Ok(())) }
    }

    /// Marks a stanza as settled; those before the first unsettled one are acknowledged.
    pub(super) fn settle(&mut self, index: u64, outcome: Result<(), Bounced>) -> Progress {
        let offset = index.checked_sub(self.first_index).and_then(|it| usize::try_from(it).ok());
        let Some(pending) = offset.and_then(|offset| self.pending.get_mut(offset)) else {
            return Progress::default();
        };
        pending.settled = true;
        let reply = outcome.err().and_then(|bounced| {
            let condition = StanzaCondition::of_name(&bounced.condition)
                .unwrap_or(StanzaCondition::UndefinedCondition);
            let error = StanzaError::new(condition).with_text(bounced.text);
            let stanza = Stanza::of(&pending.envelope)?;
            Some((pending.pair.clone(), error.reply_to(&stanza, &pending.pair.local)?))
        });
        let mut acknowledged = 0;
        while let Some(settled) = self.pending.pop_front_if(|pending| pending.settled) {
            self.bytes -= settled.bytes;
            acknowledged += 1;
        }
        self.first_index += acknowledged;
        Progress { acknowledged, reply }
    }

    fn next_index(&self) -> u64 {
        self.first_index + self.pending.len() as u64
    }

    fn push(&mut self, stanza: Element, pair: DomainPair, bytes: usize) {
        self.bytes += bytes;
        let envelope = without_content(stanza);
        self.pending.push_back(Pending { settled: false, envelope, pair, bytes });
    }
}

/// Returns between whom a stanza goes.
pub(super) fn pair_of(received: &ReceivedStanza) -> DomainPair {
    DomainPair { local: received.to.domain().clone(), remote: received.from.domain().clone() }
}

/// Returns the number of a conversation: the same for both directions and all resources.
fn conversation(received: &ReceivedStanza) -> u64 {
    let mut ends = [received.from.bare(), received.to.bare()];
    ends.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    let [first, second] = &ends;
    let mut hash = Sha256::new();
    hash.update(first.as_str());
    hash.update("\0");
    hash.update(second.as_str());
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Returns the id of an iq that may answer a ping of ours: server to server, result or error.
fn barrier_answer(received: &ReceivedStanza) -> Option<String> {
    let element = &received.element;
    let is_answer = element.is(ns::SERVER, "iq")
        && matches!(element.attribute("type"), Some("result" | "error"))
        && received.from.localpart().is_none()
        && received.to.localpart().is_none();
    element.attribute("id").filter(|_| is_answer).map(str::to_owned)
}

/// Returns between whom a reply of ours goes.
fn pair_of_reply(reply: &Element) -> Option<DomainPair> {
    let stanza = Stanza::of(reply)?;
    let (from, to) = (stanza.from().ok()??, stanza.to().ok()??);
    Some(DomainPair { local: from.domain().clone(), remote: to.domain().clone() })
}

/// Reduces a stanza to what an error in answer to it needs.
fn without_content(mut stanza: Element) -> Element {
    stanza.reduce_to_attributes(&["from", "to", "id", "type"]);
    stanza
}
