//! The links to all edges, without IO: which edge gets which stanza, what is unsettled, what waits.

mod edge;
mod load;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use link::batch::Frame;
use link::sequence::SequenceError;
use link::wire::{
    self, Accepted, Bounced, Envelope, FromEdge, FromFrontend, Hello, Settlement, StreamReport,
    settlement,
};
use xmpp_proto::jid::{Domain, JidError};
use xmpp_proto::stream::DomainPair;

use edge::Edge;
pub use load::{EdgeLoad, Load};

/// How long a stanza waits for a link, unless its purpose decides.
pub const LINK_WAIT_MAX: Duration = Duration::from_secs(60);

/// The most stanzas that wait for a link or for credit, over all pairs.
pub const WAITING_MAX: usize = 100_000;

/// The most stanzas of one pair among them, so that one dead partner leaves room for the others.
pub const WAITING_OF_PAIR_MAX: usize = 20_000;

/// How much longer than a stanza may wait at an edge, by policy, the edge may take to settle it: the
/// partner's confirmation is awaited, and the stream's end.
pub const SETTLE_MAX: Duration = Duration::from_secs(5 * 60);

/// The longest id of a ping that an edge makes, in bytes.
const PING_ID_BYTES_MAX: usize = 64;

/// Our number of one attachment to one edge; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeId(pub u64);

/// A stanza for a partner. `P` says what it is to its sender, who learns its outcome.
#[derive(Clone, Debug)]
pub struct Outbound<P> {
    /// Unique for ever; the same when the stanza is offered again.
    pub id: [u8; 16],
    /// Between whom it goes.
    pub pair: DomainPair,
    /// The stanza as a document.
    pub stanza: Bytes,
    /// The same in the log of both hosts.
    pub correlation_id: String,
    /// Whether its sender waits for its outcome.
    pub is_awaited: bool,
    /// What it is to its sender.
    pub purpose: P,
}

/// What an edge has told.
#[derive(Debug)]
pub enum LinkEvent<P> {
    /// A stanza came from a partner; it must be settled with [`Links::settle`].
    Envelope {
        /// The edge that it came through.
        edge: EdgeId,
        /// What the edge says of it. The front end does not trust it.
        envelope: Envelope,
    },
    /// A stanza of ours has its outcome.
    Settled {
        /// What it is to its sender.
        purpose: P,
        /// Delivered, or why not.
        outcome: Result<(), Bounced>,
    },
    /// An edge has said hello.
    Introduced {
        /// The edge.
        edge: EdgeId,
        /// The random bytes that it drew when it started.
        instance: Bytes,
    },
    /// Something happened to a stream.
    Report {
        /// The edge that has the stream.
        edge: EdgeId,
        /// What it says. The front end does not trust it.
        report: StreamReport,
    },
    /// An attempt to open a stream is over.
    Attempt {
        /// The edge.
        edge: EdgeId,
        /// What it says. The front end does not trust it.
        attempt: wire::Attempt,
    },
    /// An edge gave credit for a pair of domains that the policy does not name.
    UnknownCredit {
        /// The edge.
        edge: EdgeId,
    },
}

/// An edge that breaks the rules of the link; the link ends, nothing else is disturbed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkViolation {
    /// The first frame has no hello, or a later one has.
    #[error("a hello that is missing or out of place")]
    Hello,
    /// The edge speaks another version.
    #[error("contract version {0} is not {version}", version = link::VERSION)]
    Version(u32),
    /// The name is not that of the certificate.
    #[error("the edge calls itself {0:?}, its certificate does not")]
    Name(String),
    /// The instance has another length.
    #[error("an instance of {0} bytes")]
    Instance(usize),
    /// A correlation id cannot be recorded.
    #[error("a correlation id that is too long or not printable")]
    CorrelationId,
    /// The numbering rules are broken.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// A settlement says nothing.
    #[error("a settlement without an outcome")]
    NoOutcome,
    /// More envelopes than the credit allows.
    #[error("more unsettled envelopes of a pair than it has credit for")]
    Credit,
    /// A domain is none.
    #[error("a malformed domain: {0}")]
    Domain(#[from] JidError),
}

/// All links of this front end.
#[derive(Debug)]
pub struct Links<P> {
    hello: Hello,
    admission: Option<wire::Admission>,
    /// How long a stanza may wait for a partner's domain at an edge.
    waits_max: BTreeMap<Domain, Duration>,
    edges: BTreeMap<EdgeId, Edge<P>>,
    waiting: BTreeMap<DomainPair, VecDeque<Waiting<P>>>,
    waiting_count: usize,
}

#[derive(Debug)]
struct Waiting<P> {
    outbound: Outbound<P>,
    since: Instant,
}

/// A stanza that has waited too long.
#[derive(Debug)]
pub struct Expired<P> {
    /// What it is to its sender.
    pub purpose: P,
    /// The edge that has it and does not settle it, if one has it.
    pub held_by: Option<EdgeId>,
}

impl<P> Links<P> {
    /// Makes the links of a front end that introduces itself with `hello`.
    pub fn new(hello: Hello) -> Self {
        Self {
            hello,
            admission: None,
            waits_max: BTreeMap::new(),
            edges: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_count: 0,
        }
    }

    /// Returns how many edges are attached.
    pub fn attached(&self) -> usize {
        self.edges.values().filter(|edge| edge.said_hello).count()
    }

    /// Takes an attachment to the edge that the certificate calls `name`.
    pub fn attach(&mut self, id: EdgeId, name: String) {
        let frame = FromFrontend {
            hello: Some(self.hello.clone()),
            admission: self.admission.clone(),
            ..FromFrontend::default()
        };
        let edge = Edge::new(name, frame);
        self.edges.insert(id, edge);
    }

    /// Takes the loss of an attachment; what it left unsettled goes to another one.
    pub fn detach(&mut self, id: EdgeId, now: Instant) {
        let Some(mut edge) = self.edges.remove(&id) else { return };
        let mut left: Vec<_> = edge.unsettled.drain().collect();
        // In front of what has waited longer for a link, so that the order is kept.
        while let Some(outbound) = left.pop() {
            let queue = self.waiting.entry(outbound.pair.clone()).or_default();
            queue.push_front(Waiting { outbound, since: now });
            self.waiting_count += 1;
        }
        self.send_waiting(now);
    }

    /// Replaces what the edges may admit.
    pub fn push_admission(&mut self, admission: wire::Admission) {
        for edge in self.edges.values_mut() {
            edge.frame.admission = Some(admission.clone());
        }
        let partners = admission.partners.iter();
        let of_partner = |partner: &wire::Partner| {
            let wait_max = Duration::from_millis(partner.queue_age_ms_max);
            let domains = partner.domains.iter().filter_map(|domain| Domain::parse(domain).ok());
            domains.map(|domain| (domain, wait_max)).collect::<Vec<_>>()
        };
        self.waits_max = partners.flat_map(of_partner).collect();
        self.admission = Some(admission);
    }

    /// Sends a stanza as soon as an edge can take it.
    ///
    /// # Errors
    /// Gives the stanza back when too many wait already.
    #[expect(clippy::result_large_err, reason = "the stanza itself, given back")]
    pub fn send(&mut self, outbound: Outbound<P>, now: Instant) -> Result<(), Outbound<P>> {
        let before = self.waiting.get(&outbound.pair).map_or(0, VecDeque::len);
        let outbound = if before > 0 {
            outbound
        } else {
            match self.give(outbound, now) {
                Ok(()) => return Ok(()),
                Err(outbound) => outbound,
            }
        };
        if self.waiting_count >= WAITING_MAX || before >= WAITING_OF_PAIR_MAX {
            return Err(outbound);
        }
        let queue = self.waiting.entry(outbound.pair.clone()).or_default();
        queue.push_back(Waiting { outbound, since: now });
        self.waiting_count += 1;
        Ok(())
    }

    /// Takes back the first stanza between two domains that `which` picks and no edge has.
    pub fn take_back(
        &mut self,
        pair: &DomainPair,
        which: impl Fn(&P) -> bool,
    ) -> Option<Outbound<P>> {
        let queue = self.waiting.get_mut(pair)?;
        let at = queue.iter().position(|it| which(&it.outbound.purpose))?;
        let taken = queue.remove(at)?;
        if queue.is_empty() {
            self.waiting.remove(pair);
        }
        self.waiting_count -= 1;
        Some(taken.outbound)
    }

    /// Takes a frame of an edge. `credit_max` says how many envelopes of a pair policy lets wait at
    /// an edge; none of a pair that it does not name.
    ///
    /// # Errors
    /// Fails when the edge breaks a rule; the owner then ends the link and calls
    /// [`Links::detach`]. What the frame said before the violation stands.
    pub fn handle_frame(
        &mut self,
        id: EdgeId,
        frame: FromEdge,
        credit_max: impl Fn(&DomainPair) -> Option<u32>,
        now: Instant,
        events: &mut Vec<LinkEvent<P>>,
    ) -> Result<(), LinkViolation> {
        let Some(edge) = self.edges.get_mut(&id) else { return Ok(()) };
        let introduced = edge.handle_hello(frame.hello)?;
        if introduced {
            events.push(LinkEvent::Introduced { edge: id, instance: edge.instance.clone() });
        }
        for credit in frame.credits {
            let pair = domain_pair(&credit.local_domain, &credit.remote_domain)?;
            // Memory follows the policy, whatever an edge grants.
            match credit_max(&pair) {
                Some(most) => {
                    let granted = credit.envelopes_max.min(most);
                    edge.outbound.entry(pair).or_default().credit = granted;
                }
                None => events.push(LinkEvent::UnknownCredit { edge: id }),
            }
        }
        for settlement in frame.settlements {
            events.push(edge.handle_settlement(settlement)?);
        }
        for envelope in frame.envelopes {
            edge.handle_envelope(&envelope)?;
            events.push(LinkEvent::Envelope { edge: id, envelope });
        }
        let reports = frame.stream_reports.into_iter();
        events.extend(reports.map(|report| LinkEvent::Report { edge: id, report }));
        let attempts = frame.attempts.into_iter();
        events.extend(attempts.map(|attempt| LinkEvent::Attempt { edge: id, attempt }));
        if introduced || self.waiting_count > 0 {
            self.send_waiting(now);
        }
        Ok(())
    }

    /// Settles an envelope of an edge; one of a lost link needs no settlement.
    pub fn settle(&mut self, edge: EdgeId, sequence: u64, outcome: Result<(), Bounced>) {
        let Some(edge) = self.edges.get_mut(&edge) else { return };
        let Some(pair) = edge.inbound.remove(&sequence) else { return };
        if let Some(outstanding) = edge.inbound_outstanding.get_mut(&pair) {
            *outstanding = outstanding.saturating_sub(1);
            if *outstanding == 0 {
                edge.inbound_outstanding.remove(&pair);
            }
        }
        let outcome = match outcome {
            Ok(()) => settlement::Outcome::Accepted(Accepted {}),
            Err(bounced) => settlement::Outcome::Bounced(bounced),
        };
        edge.frame.settlements.push(Settlement { sequence, outcome: Some(outcome) });
    }

    /// Passes on the answer to a ping that another edge asks for.
    pub fn pass_barrier_answer(&mut self, ping_id: &str) {
        if ping_id.len() > PING_ID_BYTES_MAX {
            // No edge asked so: ids of ours are shorter, and a peer's would fill the frames.
            return;
        }
        for edge in self.edges.values_mut() {
            edge.frame.barrier_answers.push(wire::BarrierAnswer { id: ping_id.to_owned() });
        }
    }

    /// Takes the next frame that is to be sent.
    pub fn poll_frame(&mut self) -> Option<(EdgeId, FromFrontend)> {
        let waiting = |edge: &Edge<P>| edge.frame != FromFrontend::default();
        let (id, edge) = self.edges.iter_mut().find(|(_, edge)| waiting(edge))?;
        Some((*id, edge.frame.take_batch()))
    }

    /// Takes the stanzas that have waited too long, for an edge or at one. An edge that settles one
    /// of those later breaks a rule.
    pub fn take_expired(&mut self, now: Instant) -> Vec<Expired<P>> {
        let mut expired = Vec::new();
        self.waiting.retain(|_, queue| {
            while queue.front().is_some_and(|first| first.since + LINK_WAIT_MAX <= now) {
                let waiting = queue.pop_front();
                expired.extend(
                    waiting.map(|it| Expired { purpose: it.outbound.purpose, held_by: None }),
                );
            }
            !queue.is_empty()
        });
        self.waiting_count -= expired.len();
        for (id, edge) in &mut self.edges {
            let overdue = edge.take_overdue(now).into_iter();
            expired.extend(overdue.map(|it| Expired { purpose: it.purpose, held_by: Some(*id) }));
        }
        expired
    }

    /// Returns when [`Links::take_expired`] has something to take.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let oldest = self.waiting.values().filter_map(VecDeque::front).map(|first| first.since);
        let waiting = oldest.min().map(|since| since + LINK_WAIT_MAX);
        let given = self.edges.values().filter_map(|edge| edge.dues.next());
        waiting.into_iter().chain(given).min()
    }

    fn send_waiting(&mut self, now: Instant) {
        for pair in self.waiting.keys().cloned().collect::<Vec<_>>() {
            let Some(mut queue) = self.waiting.remove(&pair) else { continue };
            while let Some(Waiting { outbound, since }) = queue.pop_front() {
                match self.give(outbound, now) {
                    Ok(()) => self.waiting_count -= 1,
                    Err(outbound) => {
                        queue.push_front(Waiting { outbound, since });
                        break;
                    }
                }
            }
            if !queue.is_empty() {
                self.waiting.insert(pair, queue);
            }
        }
    }

    /// Gives a stanza to the edge that is the first choice for its pair, if there is credit.
    #[expect(clippy::result_large_err, reason = "the stanza itself, given back")]
    fn give(&mut self, outbound: Outbound<P>, now: Instant) -> Result<(), Outbound<P>> {
        let wait_max = self.waits_max.get(&outbound.pair.remote).copied().unwrap_or_default();
        let introduced = self.edges.values_mut().filter(|edge| edge.said_hello);
        let first_choice = introduced.max_by_key(|edge| edge.weigh(&outbound.pair));
        match first_choice {
            Some(edge) => edge.give(outbound, now + wait_max + SETTLE_MAX),
            None => Err(outbound),
        }
    }
}

pub(crate) fn domain_pair(local: &str, remote: &str) -> Result<DomainPair, JidError> {
    Ok(DomainPair { local: Domain::parse(local)?, remote: Domain::parse(remote)? })
}

#[cfg(test)]
mod tests;
