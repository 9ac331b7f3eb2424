//! External SIP servers that serve local domains in the home's place. Without IO.
//!
//! Each server has one connection of ours, on which it is asked for a sign of life, and any number
//! of its own. A request of the gateway is tried on one server after the other until one answers
//! (`tries`); what a server sends for a partner's user goes to the gateway (`requests`). Who a
//! server is stands in the policy, and is compared with what its connection shows for every
//! request.

mod pool;
mod probes;
mod requests;
#[cfg(test)]
mod tests;
mod tries;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_proto::frame::Frame;
use sip_proto::header::SentBy;
use sip_proto::message::{Message, OutgoingResponse, Request};
use sip_proto::parse::ParseFailure;
use sip_proto::transaction::{
    ClientId, FlowId, ServerId, TransactionEvent, TransactionLayer, Transmit, Transport,
};
use sip_proto::uri::Host;
use sip_proto::{IdSource, StatusCode};
use xmpp_proto::jid::Jid;

use crate::clock::Now;
use crate::deadlines::Deadlines;
use crate::exchange::{ExchangeId, Exchanges};
use crate::facts::Facts;
use crate::framing::Framing;
use crate::home::Ends;
use crate::policy::Policy;
use pool::{Pool, PoolServerId};
use tries::{Outcome, Tries};

/// The first number of flows that servers open. Above it, and below those of the home's own, are
/// none but the flows of next hops.
pub const FLOWS: u64 = 1 << 62;

/// The first number of flows to servers.
const OWN_FLOWS: u64 = FLOWS | 1 << 61;

/// How long a connection may stand whose other end is no server of ours. It is told so if it sends
/// a request; one that sends nothing may not keep the place of another.
const STRANGER_MAX: Duration = Duration::from_secs(10);

/// Says whether a flow is one with a next hop.
pub fn owns(flow: FlowId) -> bool {
    flow.0 >> 62 == FLOWS >> 62
}

/// What the owner is to do.
#[derive(Debug)]
pub enum NextHopEffect {
    /// Bytes go to a server.
    Transmit(Transmit),
    /// A flow is to be closed once all is written.
    Close(FlowId),
    /// A flow is to be opened; answer with [`NextHops::handle_opened`] or
    /// [`NextHops::handle_closed`].
    Connect(FlowId, Target),
    /// A request goes to the gateway; answer with [`NextHops::handle_gateway_response`].
    Ask(ExchangeId, Request),
    /// A request of the gateway has its final response.
    Answer(ExchangeId, OutgoingResponse),
    /// A request of the gateway was sent and not answered: it is unknown whether it arrived.
    Unanswered(ExchangeId),
    /// Users may be reached again whom a NOTIFY of the gateway could not be brought.
    Reachable(BTreeSet<Jid>),
    /// The servers of this next hop may have forgotten their subscriptions.
    Restarted(Arc<str>),
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name or address.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// What it is spoken to by.
    pub transport: Transport,
}

/// What the operator chose.
#[derive(Clone, Debug)]
pub struct NextHopSettings {
    /// How we call ourselves to the servers, and where they reach us.
    pub host: Host,
    /// The port for TCP; none when it is not listened on.
    pub tcp_port: Option<u16>,
    /// The port for TLS; none when it is not listened on.
    pub tls_port: Option<u16>,
}

/// A connection with what its other end showed.
#[derive(Debug)]
struct OpenFlow {
    ends: Ends,
    transport: Transport,
    /// The names that its certificate proves.
    names: Vec<String>,
}

/// What a request that was sent to a server is for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    /// It tries a request of the gateway.
    Try(ExchangeId, PoolServerId),
    /// It asks for a sign of life.
    Probe(PoolServerId),
}

/// The next hops.
pub struct NextHops {
    settings: NextHopSettings,
    layer: TransactionLayer,
    ids: IdSource,
    flows: BTreeMap<FlowId, OpenFlow>,
    framing: Framing,
    /// When flows are closed whose other end is no server of ours.
    strangers: Deadlines<FlowId>,
    last_own_flow: u64,
    pool: Pool,
    tries: Tries,
    purposes: BTreeMap<ClientId, Purpose>,
    /// Requests of servers that the gateway has not answered.
    exchanges: Exchanges<(ServerId, Box<Request>)>,
    /// Users whom a NOTIFY could not be brought, with the next hop that serves them.
    unreached: BTreeMap<Jid, Arc<str>>,
    effects: VecDeque<NextHopEffect>,
}

impl NextHops {
    /// Makes the next hops of a policy. The seed is random and used only once.
    pub fn new(settings: NextHopSettings, policy: &Policy, seed: [u8; 32], now: Now) -> Self {
        let mut ids = IdSource::new(seed);
        let port = settings.tcp_port.or(settings.tls_port);
        let sent_by = SentBy { host: settings.host.clone(), port };
        let mut next_hops = Self {
            layer: requests::transaction_layer(sent_by, ids.fork()),
            ids,
            flows: BTreeMap::new(),
            framing: Framing::default(),
            strangers: Deadlines::default(),
            last_own_flow: OWN_FLOWS,
            pool: Pool::default(),
            tries: Tries::default(),
            purposes: BTreeMap::new(),
            exchanges: Exchanges::default(),
            unreached: BTreeMap::new(),
            effects: VecDeque::new(),
            settings,
        };
        next_hops.set_policy(policy, now);
        next_hops
    }

    /// Takes the policy that is in force from now on.
    pub fn set_policy(&mut self, policy: &Policy, now: Now) {
        for (server, flow) in self.pool.set_policy(policy, now.instant) {
            if let Some(flow) = flow {
                self.close(flow);
            }
            self.fail_waiting(server, now);
        }
        self.unreached.retain(|_, next_hop| policy.next_hops.contains_key(next_hop));
        self.probe_due(now);
        self.drain(now);
    }

    /// Takes a flow that a server opened, or that we asked for; `names` are those that the
    /// certificate of the other end proves.
    pub fn handle_opened(
        &mut self,
        id: FlowId,
        transport: Transport,
        ends: Ends,
        names: Vec<String>,
        now: Now,
    ) {
        let server = self.pool.server_on(id);
        if server.is_none() && id.0 >= OWN_FLOWS {
            // It was given up while it was being opened.
            return self.effects.push_back(NextHopEffect::Close(id));
        }
        if server.is_none() && !self.pool.knows(ends.peer.ip(), &names) {
            self.strangers.set(&id, Some(now.instant + STRANGER_MAX));
        }
        self.flows.insert(id, OpenFlow { ends, transport, names });
        self.framing.open(id);
        if let Some(server) = server {
            self.server_opened(server, id, now);
        }
        self.drain(now);
    }

    /// Takes the end of a flow, or the failure to open one.
    pub fn handle_closed(&mut self, id: FlowId, now: Now) {
        let was_open = self.forget(id);
        if let Some(server) = self.pool.server_on(id) {
            self.server_closed(server, was_open, now);
        }
        self.drain(now);
    }

    /// Takes bytes of a flow.
    pub fn handle_bytes(&mut self, id: FlowId, bytes: &[u8], facts: Facts<'_>, now: Now) {
        self.framing.handle_bytes(id, bytes);
        while let Some(frame) = self.framing.poll_frame(id) {
            match frame {
                // RFC 5626 s.4.4.1: a ping of two line ends is answered with one.
                Frame::Ping => self.transmit(id, Bytes::from_static(b"\r\n")),
                Frame::Message(Message::Response(response)) => {
                    self.layer.handle_response(response, id);
                }
                Frame::Message(Message::Request(mut request)) => {
                    if let Some(flow) = self.flows.get(&id) {
                        request.record_source(flow.ends.peer);
                    }
                    self.handle_request(id, &request, facts, now);
                }
                Frame::Failure(failure) => self.handle_failure(id, &failure),
            }
            // What it caused goes out before the next message is looked at.
            self.drain(now);
        }
        self.framing.watch_for_stall(id, now.instant);
    }

    /// Does what the time asks for.
    pub fn handle_timeout(&mut self, now: Now) {
        self.layer.handle_timeout(now.instant);
        for (id, failure) in self.framing.take_stalled(now.instant) {
            match failure {
                Some(failure) => self.handle_failure(id, &failure),
                None => self.end_flow(id),
            }
        }
        for id in self.strangers.take_due(now.instant) {
            self.end_flow(id);
        }
        while let Some((server, request)) = self.exchanges.take_expired(now.instant) {
            self.respond_status(server, &request, StatusCode::SERVICE_UNAVAILABLE, now);
        }
        self.handle_try_timeouts(now);
        self.probe_due(now);
        self.drain(now);
    }

    /// Returns when [`NextHops::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let all = [
            self.layer.poll_timeout(),
            self.framing.poll_timeout(),
            self.strangers.next(),
            self.exchanges.poll_timeout(),
            self.tries.poll_timeout(),
            self.pool.poll_timeout(),
        ];
        all.into_iter().flatten().min()
    }

    /// Returns the next effect.
    pub fn poll_effect(&mut self) -> Option<NextHopEffect> {
        self.effects.pop_front()
    }

    /// Says whether a server of a next hop is in service, and how each of them is.
    pub fn describe(&self, name: &str) -> (bool, String) {
        self.pool.describe(name)
    }

    fn handle_failure(&mut self, id: FlowId, failure: &ParseFailure) {
        let (status, reason) = (failure.status.code(), &failure.reason_phrase);
        requests::count_refused(failure.status);
        tracing::info!(flow = id.0, status, reason, "a SIP message of a next hop was refused");
        if let Some(response) = failure.response(&self.ids.tag()) {
            self.transmit(id, response.to_bytes());
        }
        if failure.close {
            self.end_flow(id);
        }
    }

    /// Has a flow closed, of which nothing more is read.
    fn end_flow(&mut self, id: FlowId) {
        self.framing.close(id);
        self.effects.push_back(NextHopEffect::Close(id));
    }

    /// Closes a flow of ours, on which nothing more is awaited.
    fn close(&mut self, id: FlowId) {
        self.effects.push_back(NextHopEffect::Close(id));
        self.forget(id);
    }

    /// Forgets a flow: what was sent on it fails. Returns whether it was open.
    fn forget(&mut self, id: FlowId) -> bool {
        self.framing.close(id);
        self.strangers.set(&id, None);
        self.layer.handle_flow_closed(id);
        self.flows.remove(&id).is_some()
    }

    fn transmit(&mut self, flow: FlowId, bytes: Bytes) {
        self.effects.push_back(NextHopEffect::Transmit(Transmit { flow, bytes }));
    }

    fn drain(&mut self, now: Now) {
        loop {
            while let Some(transmit) = self.layer.poll_transmit() {
                self.effects.push_back(NextHopEffect::Transmit(transmit));
            }
            let Some(event) = self.layer.poll_event() else { return };
            let (client, outcome) = match &event {
                TransactionEvent::Response(client, response) => {
                    (client, Outcome::Response((&**response).into()))
                }
                TransactionEvent::Timeout(client) | TransactionEvent::FlowClosed(client) => {
                    (client, Outcome::Unanswered)
                }
            };
            match self.purposes.remove(client) {
                Some(Purpose::Try(id, server)) => self.tried(id, server, outcome, now),
                Some(Purpose::Probe(server)) => self.probed(server, outcome, now),
                None => {}
            }
        }
    }
}
