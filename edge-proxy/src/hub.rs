//! What stands between the streams and the front ends, without IO.
//!
//! Stanzas from partners wait here until a front end settles them; stanzas from front ends are
//! remembered here until they have an outcome, and for a while after, so that one that is
//! offered again (by the same front end on another link, or after its restart) is not sent twice.

mod attempts;
mod deliveries;
mod inbound;
mod open_streams;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use link::attempts::Attempts;
use link::batch::Frame;
use link::sequence::{Received, SequenceError};
use link::wire::{
    Admission, Bounced, Credit, Envelope, FromEdge, FromFrontend, Hello, Settlement, StreamReport,
    settlement,
};
use xmpp_proto::jid::{Domain, JidError};
use xmpp_proto::stream::DomainPair;

use deliveries::{Deliveries, Offer};
use inbound::Inbounds;
pub use inbound::{Inbound, Settling};
use open_streams::OpenStreams;

/// How long what is unsettled is kept once the last front end is gone.
pub const DETACHED_ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How long streams are kept once the last front end is gone.
pub const DETACHED_STREAM_WAIT: Duration = Duration::from_secs(60);

/// Our number of one attachment of one front end; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrontendId(pub u64);

/// What the driver is to do.
#[derive(Debug)]
pub enum HubEffect {
    /// A stanza of a stream has its outcome.
    Settled(Settling, Result<(), Bounced>),
    /// A stanza goes to a partner; its outcome comes back by [`Hub::handle_outcome`].
    Dispatch(Dispatch),
    /// What may be admitted has changed.
    Admit(Admission),
    /// The first front end has attached, or the last one is gone.
    Attached(bool),
    /// No front end has come back: the streams are to be closed.
    CloseStreams,
    /// A ping that this edge had sent was answered on a stream to another edge.
    BarrierAnswered(String),
    /// The front end has attached anew: its earlier link is to end.
    Replaced(FrontendId),
}

/// A stanza for a partner.
#[derive(Debug)]
pub struct Dispatch {
    /// Unique for ever.
    pub id: [u8; 16],
    /// Between whom it goes.
    pub pair: DomainPair,
    /// The stanza as a document.
    pub stanza: Bytes,
    /// The same in the log of both hosts.
    pub correlation_id: String,
}

/// A front end that breaks the rules of the link; the link ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkViolation {
    /// The first frame has no hello, or a later one has.
    #[error("a hello that is missing or out of place")]
    Hello,
    /// The front end speaks another version.
    #[error("contract version {0} is not {version}", version = link::VERSION)]
    Version(u32),
    /// The name is not that of the certificate.
    #[error("the front end calls itself {0:?}, its certificate does not")]
    Name(String),
    /// The numbering rules are broken.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// A settlement says nothing.
    #[error("a settlement without an outcome")]
    NoOutcome,
    /// An envelope has an id that is not 16 bytes long.
    #[error("an envelope id of {0} bytes")]
    Id(usize),
    /// A domain is none.
    #[error("a malformed domain: {0}")]
    Domain(#[from] JidError),
}

#[derive(Debug)]
struct Frontend {
    name: String,
    said_hello: bool,
    received: Received,
    frame: FromEdge,
}

/// The hub of one edge.
#[derive(Debug)]
pub struct Hub {
    hello: Hello,
    frontends: BTreeMap<FrontendId, Frontend>,
    inbounds: Inbounds,
    deliveries: Deliveries,
    open_streams: OpenStreams,
    attempts: Attempts,
    telling: attempts::Telling,
    credits: BTreeMap<DomainPair, u32>,
    admission_version: Option<u64>,
    detachment: Detachment,
    effects: VecDeque<HubEffect>,
    must_offer: bool,
}

/// ```text
///            attach                          10 s                60 s
/// Attached <-------- JustDetached(since) ----------> Answered ----------> Closed
///     |  detach            ^                            | attach             | attach
///     +--------------------+         Attached <---------+--------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
enum Detachment {
    Attached,
    JustDetached(Instant),
    Answered(Instant),
    Closed,
}

impl Hub {
    /// Makes the hub of an edge that introduces itself with `hello`; nobody is attached.
    pub fn new(hello: Hello) -> Self {
        Self {
            inbounds: Inbounds::new(hello.instance.clone()),
            hello,
            frontends: BTreeMap::new(),
            deliveries: Deliveries::default(),
            open_streams: OpenStreams::default(),
            attempts: Attempts::default(),
            telling: attempts::Telling::default(),
            credits: BTreeMap::new(),
            admission_version: None,
            detachment: Detachment::Closed,
            effects: VecDeque::new(),
            must_offer: false,
        }
    }

    /// Takes an attachment of the front end that the certificate calls `name`.
    pub fn attach(&mut self, id: FrontendId, name: String, now: Instant) {
        let credits = self.credits.iter().map(|(pair, credit)| wire_credit(pair, *credit));
        let frame = FromEdge {
            hello: Some(self.hello.clone()),
            credits: credits.collect(),
            stream_reports: self.open_streams.reports(now),
            attempts: self.attempts.reports(now),
            ..FromEdge::default()
        };
        let received = Received::default();
        self.frontends.insert(id, Frontend { name, said_hello: false, received, frame });
    }

    /// Takes the loss of an attachment; what it left unsettled goes to another one.
    pub fn detach(&mut self, id: FrontendId, now: Instant) {
        if self.frontends.remove(&id).is_none() {
            return;
        }
        self.inbounds.detach(id);
        self.deliveries.detach(id);
        self.must_offer = true;
        let nobody = !self.frontends.values().any(|frontend| frontend.said_hello);
        if nobody {
            // The next one may have an earlier policy, and no other contradicts it.
            self.admission_version = None;
        }
        if nobody && self.detachment == Detachment::Attached {
            self.detachment = Detachment::JustDetached(now);
            self.effects.push_back(HubEffect::Attached(false));
        }
    }

    /// Takes a frame of a front end.
    ///
    /// # Errors
    /// Fails when the front end breaks a rule; the driver then ends the link and calls
    /// [`Hub::detach`]. What the frame said before the violation stands.
    pub fn handle_frame(
        &mut self,
        id: FrontendId,
        frame: FromFrontend,
        now: Instant,
    ) -> Result<(), LinkViolation> {
        let Some(frontend) = self.frontends.get_mut(&id) else { return Ok(()) };
        let introduced = frontend.handle_hello(frame.hello)?;
        if introduced {
            tracing::info!(frontend = frontend.name, "a front end has attached");
            self.replace_earlier(id);
        }
        if let Some(admission) = frame.admission {
            self.admit(admission);
        }
        for settled in frame.settlements {
            let outcome = outcome(settled.outcome)?;
            let inbound = self.inbounds.settle(id, settled.sequence)?;
            if let Err(bounced) = &outcome {
                let Inbound { pair, correlation_id, .. } = &inbound;
                let condition = &bounced.condition;
                tracing::info!(correlation_id, partner = %pair.remote, condition, "a stanza was refused");
            }
            self.effects.push_back(HubEffect::Settled(inbound.settling, outcome));
        }
        for credit in frame.credits {
            let pair = domain_pair(&credit.local_domain, &credit.remote_domain)?;
            self.inbounds.limit(id, pair, credit.envelopes_max);
        }
        for envelope in frame.envelopes {
            self.handle_envelope(id, envelope, now)?;
        }
        let answers = frame.barrier_answers.into_iter();
        self.effects.extend(answers.map(|answer| HubEffect::BarrierAnswered(answer.id)));
        if introduced {
            self.inbounds.attach(id);
            if self.detachment != Detachment::Attached {
                self.detachment = Detachment::Attached;
                self.effects.push_back(HubEffect::Attached(true));
            }
        }
        self.must_offer = true;
        Ok(())
    }

    /// Takes a stanza from an authenticated stream.
    pub fn handle_stanza(&mut self, inbound: Inbound) {
        self.inbounds.push(inbound);
        self.must_offer = true;
    }

    /// Takes the outcome of a dispatched stanza.
    pub fn handle_outcome(&mut self, id: [u8; 16], outcome: Result<(), Bounced>, now: Instant) {
        let Some(progress) = self.deliveries.finish(id, outcome.clone(), now) else { return };
        if let Err(Bounced { condition, text, .. }) = &outcome {
            let correlation_id = progress.correlation_id;
            tracing::info!(correlation_id, condition, reason = text, "a stanza was not delivered");
        }
        if let Some((frontend, sequence)) = progress.offered_by {
            self.settle(frontend, sequence, outcome);
        }
    }

    /// Changes how many stanzas of a pair the front ends may have unsettled here.
    pub fn grant(&mut self, pair: DomainPair, credit: u32) {
        for frontend in self.frontends.values_mut() {
            frontend.frame.credits.push(wire_credit(&pair, credit));
        }
        self.credits.insert(pair, credit);
    }

    /// Tells the front ends what happened to a stream.
    pub fn report(&mut self, report: &StreamReport, now: Instant) {
        self.open_streams.handle_report(report, now);
        for frontend in self.frontends.values_mut() {
            frontend.frame.stream_reports.push(report.clone());
        }
    }

    /// Does what the time asks for.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.deliveries.forget_old(now);
        match self.detachment {
            Detachment::JustDetached(since) if since + DETACHED_ANSWER_WAIT <= now => {
                self.detachment = Detachment::Answered(since);
                let bounced = Bounced {
                    condition: "remote-server-timeout".into(),
                    text: "The gateway cannot be reached; try again later".into(),
                    possibly_delivered: true,
                };
                let left = self.inbounds.drain().into_iter();
                self.effects.extend(left.map(|it| HubEffect::Settled(it, Err(bounced.clone()))));
            }
            Detachment::Answered(since) if since + DETACHED_STREAM_WAIT <= now => {
                self.detachment = Detachment::Closed;
                self.effects.push_back(HubEffect::CloseStreams);
            }
            _ => {}
        }
    }

    /// Returns when [`Hub::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let detachment = match self.detachment {
            Detachment::JustDetached(since) => Some(since + DETACHED_ANSWER_WAIT),
            Detachment::Answered(since) => Some(since + DETACHED_STREAM_WAIT),
            Detachment::Attached | Detachment::Closed => None,
        };
        [detachment, self.deliveries.poll_timeout()].into_iter().flatten().min()
    }

    /// Takes the next effect.
    pub fn poll_effect(&mut self) -> Option<HubEffect> {
        self.effects.pop_front()
    }

    /// Takes the next frame that is to be sent.
    ///
    /// Called once for all that happened since the last time, so that frames are full.
    pub fn poll_frame(&mut self) -> Option<(FrontendId, FromEdge)> {
        if std::mem::take(&mut self.must_offer) {
            self.offer_inbound();
        }
        let waiting = |frontend: &Frontend| frontend.frame != FromEdge::default();
        let (id, frontend) = self.frontends.iter_mut().find(|(_, frontend)| waiting(frontend))?;
        Some((*id, frontend.frame.take_batch()))
    }

    /// Ends the earlier attachments of a front end that has introduced itself on another one: it
    /// settles nothing there any more, and what it left must not come behind what is newer. One
    /// without a hello stays: by another of our addresses, it learns there who we are and goes.
    fn replace_earlier(&mut self, id: FrontendId) {
        let Some(newcomer) = self.frontends.get(&id) else { return };
        let of_newcomer = |(_, it): &(_, &Frontend)| it.said_hello && it.name == newcomer.name;
        let earlier = self.frontends.range(..id).filter(of_newcomer);
        let earlier: Vec<FrontendId> = earlier.map(|(other, _)| *other).collect();
        for other in earlier {
            self.frontends.remove(&other);
            self.inbounds.detach(other);
            self.deliveries.detach(other);
            self.effects.push_back(HubEffect::Replaced(other));
        }
        let alone = !self.frontends.iter().any(|(other, it)| *other != id && it.said_hello);
        if alone {
            self.admission_version = None;
        }
    }

    // Front ends of one pool share a policy; the one that has seen a later version wins.
    fn admit(&mut self, admission: Admission) {
        match self.admission_version {
            Some(in_force) if in_force > admission.version => {
                let version = admission.version;
                tracing::warn!(version, in_force, "a front end's earlier policy was ignored");
            }
            _ => {
                self.admission_version = Some(admission.version);
                self.effects.push_back(HubEffect::Admit(admission));
            }
        }
    }

    fn handle_envelope(
        &mut self,
        from: FrontendId,
        envelope: Envelope,
        now: Instant,
    ) -> Result<(), LinkViolation> {
        let Some(frontend) = self.frontends.get_mut(&from) else { return Ok(()) };
        frontend.received.accept(envelope.sequence)?;
        let length = envelope.id.len();
        let id = <[u8; 16]>::try_from(&envelope.id[..]).map_err(|_| LinkViolation::Id(length))?;
        let pair = domain_pair(&envelope.local_domain, &envelope.remote_domain)?;
        let by = (from, envelope.sequence);
        match self.deliveries.offer(id, by, &envelope.correlation_id, now) {
            Offer::Fresh => {
                let Envelope { stanza, correlation_id, .. } = envelope;
                let dispatch = Dispatch { id, pair, stanza, correlation_id };
                self.effects.push_back(HubEffect::Dispatch(dispatch));
            }
            Offer::InProgress => {}
            Offer::Finished(outcome) => self.settle(from, envelope.sequence, outcome),
        }
        Ok(())
    }

    fn settle(&mut self, to: FrontendId, sequence: u64, outcome: Result<(), Bounced>) {
        let Some(frontend) = self.frontends.get_mut(&to) else { return };
        let outcome = match outcome {
            Ok(()) => settlement::Outcome::Accepted(link::wire::Accepted {}),
            Err(bounced) => settlement::Outcome::Bounced(bounced),
        };
        frontend.frame.settlements.push(Settlement { sequence, outcome: Some(outcome) });
    }

    fn offer_inbound(&mut self) {
        let names: BTreeMap<FrontendId, &str> = self
            .frontends
            .iter()
            .filter(|(_, frontend)| frontend.said_hello)
            .map(|(id, frontend)| (*id, frontend.name.as_str()))
            .collect();
        for (to, envelope) in self.inbounds.offer(&names) {
            if let Some(frontend) = self.frontends.get_mut(&to) {
                frontend.frame.envelopes.push(envelope);
            }
        }
    }
}

impl Frontend {
    /// Returns whether the front end introduced itself with this frame.
    fn handle_hello(&mut self, hello: Option<Hello>) -> Result<bool, LinkViolation> {
        match (self.said_hello, hello) {
            (true, None) => Ok(false),
            (false, Some(hello)) => {
                if hello.version != link::VERSION {
                    return Err(LinkViolation::Version(hello.version));
                }
                if hello.name != self.name {
                    return Err(LinkViolation::Name(hello.name));
                }
                self.said_hello = true;
                Ok(true)
            }
            _ => Err(LinkViolation::Hello),
        }
    }
}

fn outcome(outcome: Option<settlement::Outcome>) -> Result<Result<(), Bounced>, LinkViolation> {
    match outcome {
        Some(settlement::Outcome::Accepted(_)) => Ok(Ok(())),
        Some(settlement::Outcome::Bounced(bounced)) => Ok(Err(bounced)),
        None => Err(LinkViolation::NoOutcome),
    }
}

fn wire_credit(pair: &DomainPair, envelopes_max: u32) -> Credit {
    Credit {
        local_domain: pair.local.as_str().to_owned(),
        remote_domain: pair.remote.as_str().to_owned(),
        envelopes_max,
    }
}

fn domain_pair(local: &str, remote: &str) -> Result<DomainPair, JidError> {
    Ok(DomainPair { local: Domain::parse(local)?, remote: Domain::parse(remote)? })
}

#[cfg(test)]
mod tests;
