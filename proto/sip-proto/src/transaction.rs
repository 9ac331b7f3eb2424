//! The transaction layer of one owner: requests and responses matched, on reliable transports.
//!
//! TCP and TLS deliver each byte once or lose the connection, so that nothing is retransmitted and
//! a transaction lives from a request to its final response. Of INVITE the server side is there as
//! far as a refusal needs it: the ACK is absorbed.

mod client;
mod key;
mod server;
#[cfg(test)]
mod tests;
mod timer;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use self::client::ClientTransactions;
use self::key::ServerKey;
use self::server::ServerTransactions;
pub use self::timer::{ANSWER_WAIT, T1, TIMER_F, TIMER_H};
use crate::error::Fault;
use crate::header::{SentBy, Via};
use crate::ids::IdSource;
use crate::message::{OutgoingRequest, OutgoingResponse, Request, Response};
use crate::method::Method;
use crate::status::StatusCode;

/// The owner's number of a connection; never given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// A connection that requests are sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Which connection it is.
    pub id: FlowId,
    /// What the Via of its requests says.
    pub transport: Transport,
}

/// A reliable transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// A client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(u64);

/// A server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerId(u64);

/// How many transactions an owner has at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionLimits {
    /// Requests sent that wait for a final response.
    pub client_transactions_max: usize,
    /// Requests received that wait for an answer, and INVITEs that wait for an ACK.
    pub server_transactions_max: usize,
    /// Those of one flow, unless [`TransactionLayer::limit_flow`] says otherwise.
    pub flow_server_transactions_max: usize,
}

impl Default for TransactionLimits {
    fn default() -> Self {
        Self {
            client_transactions_max: 10_000,
            server_transactions_max: 10_000,
            flow_server_transactions_max: 10_000,
        }
    }
}

/// What a request is to its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A request to process and to answer with [`TransactionLayer::respond`].
    Fresh(ServerId),
    /// A repetition, an ACK or a CANCEL: the layer has done what there is to do.
    Absorbed,
    /// There is no room: the owner answers 503, once, without a transaction.
    Overloaded,
}

/// How a client transaction ended. Exactly one such event comes for every request sent.
#[derive(Clone, Debug)]
pub enum TransactionEvent {
    /// With a final response.
    Response(ClientId, Box<Response>),
    /// Without one, until Timer F fired. It is unknown whether the request was processed.
    Timeout(ClientId),
    /// With the loss of its flow. It is unknown whether the request was processed.
    FlowClosed(ClientId),
}

/// Bytes for a flow.
#[derive(Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The flow.
    pub flow: FlowId,
    /// One message.
    pub bytes: Bytes,
}

impl fmt::Debug for Transmit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Transmit({:?}, {} bytes)", self.flow, self.bytes.len())
    }
}

/// Why the layer does not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// Too many client transactions are open.
    #[error("too many client transactions")]
    Full,
    /// INVITE, ACK and CANCEL have client transactions of their own, which this layer lacks.
    #[error("not a non-INVITE request")]
    UnsupportedMethod,
    /// The server transaction has ended: answered already, too late, or its flow is lost.
    #[error("the server transaction has ended")]
    Gone,
    /// An INVITE can only be refused.
    #[error("an INVITE can only be refused")]
    InviteAccepted,
}

impl TransactionError {
    /// Says whose fault it is. The peer is told 503 when a request of its own fails by it.
    #[must_use]
    pub fn fault(self) -> Fault {
        Fault::Local
    }
}

/// The transactions of one owner.
///
/// Outputs are taken with [`TransactionLayer::poll_transmit`] and
/// [`TransactionLayer::poll_event`] after every call; their queues hold what one call caused.
pub struct TransactionLayer {
    sent_by: SentBy,
    limits: TransactionLimits,
    ids: IdSource,
    serial: u64,
    clients: ClientTransactions,
    servers: ServerTransactions,
    flow_limits: BTreeMap<FlowId, usize>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<TransactionEvent>,
}

impl TransactionLayer {
    /// Makes a layer whose requests carry `sent_by` in their Via.
    #[must_use]
    pub fn new(sent_by: SentBy, ids: IdSource, limits: TransactionLimits) -> Self {
        Self {
            sent_by,
            limits,
            ids,
            serial: 0,
            clients: ClientTransactions::default(),
            servers: ServerTransactions::default(),
            flow_limits: BTreeMap::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Gives a flow another limit of server transactions than [`TransactionLimits`] does, until it
    /// is closed.
    pub fn limit_flow(&mut self, flow: FlowId, server_transactions_max: usize) {
        self.flow_limits.insert(flow, server_transactions_max);
    }

    /// Sends a request in a client transaction of its own, with a Via and branch of its own.
    ///
    /// # Errors
    /// Fails when there is no room, and for INVITE, ACK and CANCEL.
    pub fn send_request(
        &mut self,
        request: &OutgoingRequest,
        flow: Flow,
        now: Instant,
    ) -> Result<ClientId, TransactionError> {
        if matches!(request.method(), Method::Invite | Method::Ack | Method::Cancel) {
            return Err(TransactionError::UnsupportedMethod);
        }
        if self.clients.len() >= self.limits.client_transactions_max {
            return Err(TransactionError::Full);
        }
        let id = ClientId(self.next_serial());
        let branch = self.ids.branch();
        let via = Via::new(flow.transport.as_str(), self.sent_by.clone(), &branch);
        self.transmits.push_back(Transmit { flow: flow.id, bytes: request.to_bytes(&via) });
        self.clients.start(id, &branch, request.method().clone(), flow.id, now + TIMER_F);
        Ok(id)
    }

    /// Takes a response that came on a flow. One that belongs to no transaction is dropped.
    pub fn handle_response(&mut self, response: Box<Response>, flow: FlowId) {
        if let Some(id) = self.clients.handle_response(&response, flow) {
            self.events.push_back(TransactionEvent::Response(id, response));
        }
    }

    /// Takes a request that came on a flow.
    pub fn handle_request(&mut self, request: &Request, flow: FlowId, now: Instant) -> Arrival {
        match request.method() {
            Method::Ack => {
                self.servers.acknowledge(&ServerKey::of_invite(request, flow));
                Arrival::Absorbed
            }
            Method::Cancel => {
                self.answer_cancel(request, flow);
                Arrival::Absorbed
            }
            _ => self.handle_answerable(request, flow, now),
        }
    }

    /// Answers a request; a final response ends its transaction, but for a refused INVITE, which
    /// waits for the ACK.
    ///
    /// # Errors
    /// Fails when the transaction has ended, and for a success of an INVITE.
    pub fn respond(
        &mut self,
        id: ServerId,
        response: &OutgoingResponse,
        now: Instant,
    ) -> Result<(), TransactionError> {
        let bytes = response.to_bytes();
        let flow = self.servers.respond(id, response, &bytes, now)?;
        self.transmits.push_back(Transmit { flow, bytes });
        Ok(())
    }

    /// Takes the loss of a flow: what was sent on it fails, what came on it is forgotten.
    pub fn handle_flow_closed(&mut self, flow: FlowId) {
        self.servers.drop_flow(flow);
        self.flow_limits.remove(&flow);
        self.events
            .extend(self.clients.take_of_flow(flow).into_iter().map(TransactionEvent::FlowClosed));
    }

    /// Fires the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.servers.handle_timeout(now);
        while let Some(id) = self.clients.take_expired(now) {
            self.events.push_back(TransactionEvent::Timeout(id));
        }
    }

    /// Returns when [`TransactionLayer::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.clients.next_deadline(), self.servers.next_deadline()].into_iter().flatten().min()
    }

    /// Returns the next bytes to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Returns the next end of a client transaction.
    pub fn poll_event(&mut self) -> Option<TransactionEvent> {
        self.events.pop_front()
    }

    fn handle_answerable(&mut self, request: &Request, flow: FlowId, now: Instant) -> Arrival {
        let key = ServerKey::of(request, flow);
        if let Some(id) = self.servers.find(&key) {
            // RFC 3261 s.17.2.1 and s.17.2.2: a repeated request gets the last response again.
            if let Some(bytes) = self.servers.last_response(id) {
                self.transmits.push_back(Transmit { flow, bytes });
            }
            return Arrival::Absorbed;
        }
        if !self.has_room_for(flow) {
            return Arrival::Overloaded;
        }
        let id = ServerId(self.next_serial());
        self.servers.start(id, key, flow, now);
        Arrival::Fresh(id)
    }

    fn has_room_for(&self, flow: FlowId) -> bool {
        let own = self.flow_limits.get(&flow);
        let of_flow_max = own.copied().unwrap_or(self.limits.flow_server_transactions_max);
        self.servers.of_flow(flow) < of_flow_max
            && self.servers.len() < self.limits.server_transactions_max
    }

    /// RFC 3261 s.9.2: a CANCEL that finds its transaction gets 200 and changes nothing, since
    /// every INVITE is refused at once; another one gets 481.
    fn answer_cancel(&mut self, cancel: &Request, flow: FlowId) {
        let status = match self.servers.find(&ServerKey::of_invite(cancel, flow)) {
            Some(_) => StatusCode::OK,
            None => StatusCode::DOES_NOT_EXIST,
        };
        let response = OutgoingResponse::to(cancel, status, Some(&self.ids.tag()));
        self.transmits.push_back(Transmit { flow, bytes: response.to_bytes() });
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

impl Transport {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}
