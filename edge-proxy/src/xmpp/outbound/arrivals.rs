//! The stanzas that bidirectional streams of ours bring (XEP-0288), until they are settled.

use std::time::Instant;

use link::wire::Bounced;
use tokio::sync::mpsc;
use xmpp_proto::stream::{Proof, ReceivedStanza, StreamTerms};
use xmpp_proto::xml::{Element, write_stanza};

use super::{Driver, PartnerCommand};
use crate::admission::Admitted;
use crate::hub::Inbound;
use crate::hub_driver::HubInput;
use crate::xmpp::inbound::InboundCommand;
use crate::xmpp::listener::{OutboundPlace, Registry};
use crate::xmpp::queue::Ticket;
use crate::xmpp::unsettled::{Arrived, Progress, Unsettled, pair_of};

/// The unsettled stanzas of the stream of one driver, and of those that it had before.
pub(super) struct Arrivals {
    registry: Registry,
    commands: mpsc::WeakUnboundedSender<PartnerCommand>,
    current: Option<Stream>,
    /// Their stanzas are settled soon, by the hub itself if no front end does.
    ended: Vec<Stream>,
}

struct Stream {
    place: OutboundPlace,
    unsettled: Unsettled,
}

impl Arrivals {
    /// No stanzas; their outcomes will go to `commands`.
    pub(super) fn new(
        registry: Registry,
        commands: mpsc::WeakUnboundedSender<PartnerCommand>,
    ) -> Self {
        Self { registry, commands, current: None, ended: Vec::new() }
    }

    /// Says whether more stanzas may come before some are settled.
    pub(super) fn has_room(&self) -> bool {
        self.current.as_ref().is_none_or(|stream| stream.unsettled.has_room())
    }

    /// Says whether all is settled.
    pub(super) fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.current.as_ref().is_none_or(|it| it.unsettled.is_empty())
    }

    /// Takes a stanza of a partner that has proven its domain in this way.
    pub(super) fn take(&mut self, received: ReceivedStanza, proof: Option<Proof>) -> Arrived {
        self.unsettled().take(received, proof)
    }

    /// Takes a stanza that cannot be delivered, and the error that goes back.
    pub(super) fn bounce(&mut self, reply: Element) -> Progress {
        self.unsettled().bounce(reply)
    }

    /// Takes an outcome. What it lets the stream acknowledge counts for the present one alone.
    pub(super) fn settle(
        &mut self,
        stream: u64,
        index: u64,
        outcome: Result<(), Bounced>,
    ) -> Progress {
        let is_named = |it: &&mut Stream| it.place.number() == stream;
        if let Some(current) = self.current.as_mut().filter(is_named) {
            return current.unsettled.settle(index, outcome);
        }
        let ended = self.ended.iter_mut().find(|it| it.place.number() == stream);
        let progress = ended.map(|ended| ended.unsettled.settle(index, outcome));
        self.ended.retain(|stream| !stream.unsettled.is_empty());
        Progress { acknowledged: 0, ..progress.unwrap_or_default() }
    }

    /// Takes the end of the stream.
    pub(super) fn end_stream(&mut self) {
        let left = self.current.take().filter(|stream| !stream.unsettled.is_empty());
        self.ended.extend(left);
    }

    fn unsettled(&mut self) -> &mut Unsettled {
        let (registry, commands) = (&self.registry, &self.commands);
        let stream = self.current.get_or_insert_with(|| {
            let place = registry.register_outbound(commands.clone());
            Stream { unsettled: Unsettled::new(place.number()), place }
        });
        &mut stream.unsettled
    }
}

impl Driver {
    /// Settles an iq that answers a ping of ours, on whichever stream that was sent; another one
    /// goes to the front end.
    pub(super) async fn handle_barrier_answer(
        &mut self,
        id: String,
        stanza: Option<Box<Inbound>>,
        now: Instant,
    ) {
        let answered = self.partner.handle_barrier_answer(&id, now);
        let way = self.partner.way_in_use().and_then(|stream| self.ways.get(&stream));
        let stanza = match (stanza, way) {
            (Some(inbound), _) if answered => {
                return self.registry.settled(inbound.settling, Ok(()));
            }
            (stanza, Some(way)) if !answered => {
                let Err(unsent) = way.send(InboundCommand::BarrierAnswer(id, stanza)) else {
                    return;
                };
                // The stream has ended in the meantime.
                match unsent.0 {
                    InboundCommand::BarrierAnswer(_, stanza) => stanza,
                    _ => None,
                }
            }
            (stanza, _) => stanza,
        };
        if let Some(inbound) = stanza {
            // The hub is gone only while the process ends.
            let _ = self.hub.send(HubInput::Stanza(*inbound)).await;
        }
    }

    /// Takes a stanza that our stream has brought.
    pub(super) async fn handle_received(&mut self, received: ReceivedStanza, admitted: &Admitted) {
        self.pace.count_stanza(Instant::now());
        let pair = pair_of(&received);
        // No SASL of the peer takes place on our stream: its certificate has proven its domain.
        let terms = admitted.streams.terms(&pair.local, &pair.remote);
        let proof = terms.and_then(StreamTerms::certificate_proof);
        let Arrived { inbound, barrier_answer } = self.arrivals.take(received, proof);
        match barrier_answer {
            Some(id) => self.handle_barrier_answer(id, Some(inbound), Instant::now()).await,
            None => drop(self.hub.send(HubInput::Stanza(*inbound)).await),
        }
    }

    /// Acknowledges what is settled; an error goes to the sender.
    pub(super) fn handle_settlement(&mut self, progress: Progress, now: Instant) {
        if let Some((_, reply)) = progress.reply {
            metrics::counter!("edge_xmpp_errors_sent_total").increment(1);
            self.partner.send(Ticket::Nobody, write_stanza(&reply), now);
        }
        self.partner.acknowledge(progress.acknowledged, now);
    }
}
