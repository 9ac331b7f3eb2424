//! Accepts connections of partners' servers, within limits, and knows all streams that bring stanzas.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host::socket::Connection;
use link::wire::Bounced;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use xmpp_proto::jid::Domain;

use super::addresses::{AddressLimits, Addresses, Refusal};
use super::inbound::{InboundCommand, Surroundings, drive};
use super::network::Source;
use super::outbound::PartnerCommand;
use super::pace::Spent;
use crate::admission::Partner;
use crate::hub::Settling;

/// Connections that are taken while no policy says how many, to be told that it will pass.
const CONNECTIONS_MIN: usize = 50;

/// All streams that peers opened, and those of ours that bring stanzas. Clones share them.
#[derive(Clone, Default)]
pub struct Registry {
    // A lock, because streams, listeners and hub all look here; it is held for one look-up.
    streams: Arc<Mutex<Streams>>,
    count: Arc<watch::Sender<usize>>,
}

#[derive(Default)]
struct Streams {
    last_number: u64,
    senders: BTreeMap<u64, mpsc::UnboundedSender<InboundCommand>>,
    /// The streams of ours that bring stanzas too.
    outbound: BTreeMap<u64, mpsc::WeakUnboundedSender<PartnerCommand>>,
    addresses: Addresses,
    partners: BTreeMap<Domain, usize>,
    /// By the names of partners that ever were admitted.
    spent: BTreeMap<Domain, Spent>,
}

/// A stream's place in the registry; dropping it gives the place up.
pub struct Registration {
    registry: Registry,
    number: u64,
    address: IpAddr,
    /// Whom the connection counts for as an unproven one.
    source: Option<Source>,
    partner: Option<Domain>,
    sender: mpsc::UnboundedSender<InboundCommand>,
    commands: mpsc::UnboundedReceiver<InboundCommand>,
}

/// The place of a stream of ours in the registry; dropping it gives the place up.
pub struct OutboundPlace {
    registry: Registry,
    number: u64,
}

impl OutboundPlace {
    /// Returns the number of the stream.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for OutboundPlace {
    fn drop(&mut self) {
        self.registry.streams.lock().outbound.remove(&self.number);
    }
}

impl Registry {
    /// Makes an empty registry.
    pub fn new(limits: AddressLimits) -> Self {
        let addresses = Addresses::new(limits);
        let streams = Streams { addresses, ..Streams::default() };
        Self { streams: Arc::new(Mutex::new(streams)), ..Self::default() }
    }

    /// Tells a stream the outcome of a stanza; one that has ended does not hear it.
    pub fn settled(&self, settling: Settling, outcome: Result<(), Bounced>) {
        let Settling { stream, index } = settling;
        let streams = self.streams.lock();
        if let Some(sender) = streams.senders.get(&stream) {
            let _ = sender.send(InboundCommand::Settled(index, outcome));
        } else if let Some(sender) = streams.outbound_of(stream) {
            let _ = sender.send(PartnerCommand::Settled { stream, index, outcome });
        }
    }

    /// Gives a stream of ours that brings stanzas a number; their outcomes go to `commands`.
    pub fn register_outbound(
        &self,
        commands: mpsc::WeakUnboundedSender<PartnerCommand>,
    ) -> OutboundPlace {
        let mut streams = self.streams.lock();
        streams.last_number += 1;
        let number = streams.last_number;
        streams.outbound.insert(number, commands);
        OutboundPlace { registry: self.clone(), number }
    }

    /// Returns what a partner has sent of late.
    pub fn spent_by(&self, partner: &Domain) -> Spent {
        self.streams.lock().spent.entry(partner.clone()).or_default().clone()
    }

    /// Tells every stream to close.
    pub fn close_all(&self, condition: Option<xmpp_proto::stream::StreamCondition>) {
        for sender in self.streams.lock().senders.values() {
            let _ = sender.send(InboundCommand::Close(condition));
        }
    }

    /// Returns how many streams of peers there are.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until there is no stream of a peer.
    pub async fn all_ended(&self) {
        // The registry holds the sender itself.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    fn tell_count(&self, streams: &Streams) {
        let count = streams.senders.len();
        self.count.send_replace(count);
        metrics::gauge!("edge_xmpp_inbound_streams").set(count as f64);
    }

    fn register(&self, address: IpAddr, connections_max: usize) -> Result<Registration, Refusal> {
        let mut streams = self.streams.lock();
        if streams.senders.len() >= connections_max {
            let value = u32::try_from(connections_max).unwrap_or(u32::MAX);
            return Err(Refusal::new("connection_limit", value));
        }
        let source = streams.addresses.source(address);
        if let Some(source) = source {
            streams.addresses.admit(source, Instant::now())?;
        }
        streams.last_number += 1;
        let number = streams.last_number;
        let (sender, commands) = mpsc::unbounded_channel();
        streams.senders.insert(number, sender.clone());
        self.tell_count(&streams);
        let registry = self.clone();
        Ok(Registration { registry, number, address, source, partner: None, sender, commands })
    }
}

impl Registration {
    /// Returns the number of the stream.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns where the peer is.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns what sends commands to the stream.
    pub fn sender(&self) -> mpsc::UnboundedSender<InboundCommand> {
        self.sender.clone()
    }

    /// Returns when a TLS handshake may begin.
    ///
    /// # Errors
    /// Fails when there are too many, after it was told.
    pub fn begin_handshake(&self) -> Result<Instant, Refusal> {
        let mut streams = self.registry.streams.lock();
        let now = Instant::now();
        let begins_at = streams.addresses.begin_handshake(self.source, now);
        begins_at.inspect_err(|refusal| streams.addresses.tell(self.address, *refusal, now))
    }

    /// Says whether a record about the stream may be written: how many of its address were left out
    /// before; none where it is left out itself. Those of a partner are not.
    pub fn record(&self) -> Option<u64> {
        let Some(source) = self.source else { return Some(0) };
        self.registry.streams.lock().addresses.record(source, Instant::now())
    }

    /// Waits for the next command.
    pub async fn next_command(&mut self) -> InboundCommand {
        match self.commands.recv().await {
            Some(command) => command,
            // The stream holds a sender itself.
            None => std::future::pending().await,
        }
    }

    /// Returns the next command that waits, if one does.
    pub fn waiting_command(&mut self) -> Option<InboundCommand> {
        self.commands.try_recv().ok()
    }

    /// Counts the stream for the partner that it has proven to be of; returns whether the
    /// partner may have one more.
    pub fn count_for(&mut self, partner: &Partner) -> bool {
        let mut streams = self.registry.streams.lock();
        if let Some(source) = self.source.take() {
            streams.addresses.release(source, true);
        }
        if self.partner.is_some() {
            return true;
        }
        let count = streams.partners.entry(partner.name.clone()).or_default();
        if *count >= partner.connections_max {
            return false;
        }
        *count += 1;
        self.partner = Some(partner.name.clone());
        true
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut streams = self.registry.streams.lock();
        streams.senders.remove(&self.number);
        self.registry.tell_count(&streams);
        if let Some(source) = self.source {
            streams.addresses.release(source, false);
        }
        if let Some(count) = self.partner.as_ref().and_then(|name| streams.partners.get_mut(name)) {
            *count -= 1;
        }
    }
}

impl Streams {
    fn outbound_of(&self, number: u64) -> Option<mpsc::UnboundedSender<PartnerCommand>> {
        self.outbound.get(&number)?.upgrade()
    }
}

/// Accepts connections until `stop` is cancelled.
pub async fn listen(listener: TcpListener, around: Surroundings, stop: CancellationToken) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((socket, address)) => accept(socket, address.ip(), &around),
            Err(error) => {
                // Out of descriptors, or a connection that is gone already: the next may do.
                tracing::warn!(%error, "a peer's connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn accept(socket: TcpStream, address: IpAddr, around: &Surroundings) {
    // Nothing is admitted before the first front end; the stream says so to the peer.
    let connections_max = around.admitted.borrow().connections_max.max(CONNECTIONS_MIN);
    let registration = match around.registry.register(address, connections_max) {
        Ok(registration) => registration,
        Err(refusal) => {
            return around.registry.streams.lock().addresses.tell(address, refusal, Instant::now());
        }
    };
    match Connection::new(socket) {
        Ok(connection) => drop(tokio::spawn(drive(connection, registration, around.clone()))),
        Err(error) => tracing::debug!(%address, %error, "a connection was lost at once"),
    }
}
