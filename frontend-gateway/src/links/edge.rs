//! One attached edge: what it said of itself, what it has, what is to be sent to it.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use link::sequence::{Received, SequenceError, Unsettled};
use link::wire::{Bounced, Envelope, FromFrontend, Hello, Settlement, settlement};
use sha2::{Digest, Sha256};
use xmpp_proto::stanza::error::StanzaCondition;
use xmpp_proto::stream::DomainPair;

use super::{LinkEvent, LinkViolation, Outbound, domain_pair};
use crate::deadlines::Deadlines;

/// The longest text of an outcome that an edge gives, in characters: senders are told it.
const TEXT_CHARACTERS_MAX: usize = 1_000;

/// The longest wrong name of an edge that is written down, in characters.
const NAME_CHARACTERS_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Edge<P> {
    pub(super) name: String,
    pub(super) instance: Bytes,
    pub(super) said_hello: bool,
    received: Received,
    pub(super) unsettled: Unsettled<Outbound<P>>,
    /// When stanzas must be settled whose senders wait for their outcomes.
    pub(super) dues: Deadlines<u64>,
    pub(super) outbound: BTreeMap<DomainPair, Outstanding>,
    pub(super) inbound: BTreeMap<u64, DomainPair>,
    pub(super) inbound_outstanding: BTreeMap<DomainPair, u32>,
    pub(super) frame: FromFrontend,
}

#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) count: u32,
    pub(super) credit: u32,
}

impl Default for Outstanding {
    fn default() -> Self {
        Self { count: 0, credit: link::CREDIT_INITIAL }
    }
}

impl<P> Edge<P> {
    /// Makes the edge that the certificate calls `name`, with the first frame for it.
    pub(super) fn new(name: String, frame: FromFrontend) -> Self {
        Self {
            name,
            instance: Bytes::new(),
            said_hello: false,
            received: Received::default(),
            unsettled: Unsettled::default(),
            dues: Deadlines::default(),
            outbound: BTreeMap::new(),
            inbound: BTreeMap::new(),
            inbound_outstanding: BTreeMap::new(),
            frame,
        }
    }

    /// Weighs the edge for a pair: each pair prefers the edges in an order of its own, in which the
    /// loss of one edge moves only the pairs that it had. Edges that share a name are told apart by
    /// their instances.
    pub(super) fn weigh(&self, pair: &DomainPair) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [&self.name, pair.local.as_str(), pair.remote.as_str()] {
            hash.update(part);
            hash.update([0]);
        }
        // At the end, since it alone may hold zeros.
        hash.update(&self.instance);
        hash.finalize().into()
    }

    /// Returns whether the edge introduced itself with this frame.
    pub(super) fn handle_hello(&mut self, hello: Option<Hello>) -> Result<bool, LinkViolation> {
        match (self.said_hello, hello) {
            (true, None) => Ok(false),
            (false, Some(hello)) => {
                if hello.version != link::VERSION {
                    return Err(LinkViolation::Version(hello.version));
                }
                if hello.name != self.name {
                    let name = hello.name.chars().take(NAME_CHARACTERS_MAX).collect();
                    return Err(LinkViolation::Name(name));
                }
                if hello.instance.len() != link::INSTANCE_BYTES {
                    return Err(LinkViolation::Instance(hello.instance.len()));
                }
                self.instance = hello.instance;
                self.said_hello = true;
                Ok(true)
            }
            _ => Err(LinkViolation::Hello),
        }
    }

    pub(super) fn handle_settlement(
        &mut self,
        settled: Settlement,
    ) -> Result<LinkEvent<P>, LinkViolation> {
        let outcome = match settled.outcome {
            Some(settlement::Outcome::Accepted(_)) => Ok(()),
            Some(settlement::Outcome::Bounced(bounced)) => Err(bounded(&bounced)),
            None => return Err(LinkViolation::NoOutcome),
        };
        let outbound = self.take(settled.sequence)?;
        Ok(LinkEvent::Settled { purpose: outbound.purpose, outcome })
    }

    /// Takes the stanzas that the edge should have settled.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<Outbound<P>> {
        let overdue = self.dues.take_due(now);
        overdue.into_iter().filter_map(|sequence| self.take(sequence).ok()).collect()
    }

    fn take(&mut self, sequence: u64) -> Result<Outbound<P>, SequenceError> {
        let outbound = self.unsettled.settle(sequence)?;
        self.dues.set(&sequence, None);
        if let Some(outstanding) = self.outbound.get_mut(&outbound.pair) {
            outstanding.count = outstanding.count.saturating_sub(1);
        }
        Ok(outbound)
    }

    pub(super) fn handle_envelope(&mut self, envelope: &Envelope) -> Result<(), LinkViolation> {
        self.received.accept(envelope.sequence)?;
        let id = envelope.correlation_id.as_bytes();
        if id.len() > link::CORRELATION_ID_BYTES_MAX || !id.iter().all(u8::is_ascii_graphic) {
            return Err(LinkViolation::CorrelationId);
        }
        let pair = domain_pair(&envelope.local_domain, &envelope.remote_domain)?;
        let outstanding = self.inbound_outstanding.entry(pair.clone()).or_default();
        if *outstanding >= link::CREDIT_INITIAL {
            return Err(LinkViolation::Credit);
        }
        *outstanding += 1;
        self.inbound.insert(envelope.sequence, pair);
        Ok(())
    }

    #[expect(clippy::result_large_err, reason = "the stanza itself, given back")]
    pub(super) fn give(&mut self, outbound: Outbound<P>, due: Instant) -> Result<(), Outbound<P>> {
        let outstanding = self.outbound.entry(outbound.pair.clone()).or_default();
        if outstanding.count >= outstanding.credit {
            return Err(outbound);
        }
        outstanding.count += 1;
        let mut envelope = Envelope {
            sequence: 0,
            id: Bytes::copy_from_slice(&outbound.id),
            local_domain: outbound.pair.local.as_str().to_owned(),
            remote_domain: outbound.pair.remote.as_str().to_owned(),
            stanza: outbound.stanza.clone(),
            correlation_id: outbound.correlation_id.clone(),
            facts: None,
        };
        let due = outbound.is_awaited.then_some(due);
        envelope.sequence = self.unsettled.push(outbound);
        self.dues.set(&envelope.sequence, due);
        self.frame.envelopes.push(envelope);
        Ok(())
    }
}

/// Reduces what an edge says of an outcome to what is kept, sent and shown.
fn bounded(bounced: &Bounced) -> Bounced {
    let condition = StanzaCondition::of_name(&bounced.condition)
        .unwrap_or(StanzaCondition::UndefinedCondition)
        .name()
        .to_owned();
    let text = bounced.text.chars().take(TEXT_CHARACTERS_MAX).collect();
    Bounced { condition, text, possibly_delivered: bounced.possibly_delivered }
}
