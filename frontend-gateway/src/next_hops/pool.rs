//! The servers of all next hops: which are in service, on which flow, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_proto::header::RetryAfter;
use sip_proto::message::FinalResponse;
use sip_proto::transaction::{ClientId, FlowId, Transport};
use sip_proto::uri::Host;

use super::Target;
use crate::deadlines::Deadlines;
use crate::policy::Policy;
use crate::policy::next_hop::{NextHop, ServerAddress, Trust};

/// The longest that a server is passed over because it said so.
const BUSY_MAX: Duration = Duration::from_secs(60);

/// The wait before a server is connected to again that could not be reached.
const RECONNECT_WAIT: Duration = Duration::from_secs(1);

/// The wait before the subscriptions with a next hop are begun anew once more.
const RESTART_WAIT: Duration = Duration::from_secs(60);

/// Requests that one server has and has not answered. All servers share the transactions.
const OPEN_TRIES_MAX: usize = 20_000;

/// The number of a server; never given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PoolServerId(u64);

/// All servers.
#[derive(Debug, Default)]
pub(super) struct Pool {
    next_hops: BTreeMap<Arc<str>, Member>,
    servers: BTreeMap<PoolServerId, Server>,
    by_flow: BTreeMap<FlowId, PoolServerId>,
    last: u64,
    /// When each server is probed, or its probe has failed.
    pub(super) probes: Deadlines<PoolServerId>,
}

/// A next hop.
#[derive(Debug)]
struct Member {
    terms: NextHop,
    servers: Vec<PoolServerId>,
    /// A server that was in service has been lost since the subscriptions were last begun anew.
    is_stale: bool,
    restarted_at: Option<Instant>,
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) next_hop: Arc<str>,
    pub(super) address: ServerAddress,
    pub(super) state: State,
    pub(super) link: Link,
    pub(super) probe: Probe,
    /// Where it was last connected to.
    pub(super) peer: Option<SocketAddr>,
    /// When the connection was opened, or could not be.
    pub(super) link_since: Option<Instant>,
    /// Requests that it has and has not answered.
    open_tries: usize,
    /// It asked not to be asked before (RFC 3261 s.21.5.4).
    busy_until: Option<Instant>,
}

/// What is known of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing yet.
    Untried,
    /// It answers.
    InService,
    /// It does not, for this reason.
    OutOfService(String),
}

/// Our connection with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    None,
    Opening(FlowId),
    Open(FlowId),
}

/// The question for a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// It is asked when the time has come.
    Waiting,
    /// It is asked when the connection stands.
    Connecting,
    /// It was asked.
    Asked(ClientId),
}

impl Server {
    pub(super) fn flow(&self) -> Option<FlowId> {
        match self.link {
            Link::None => None,
            Link::Opening(flow) | Link::Open(flow) => Some(flow),
        }
    }

    /// Says whether this is the server at a place that a URI names.
    fn is_at(&self, (host, port): (&Host, u16)) -> bool {
        let connected = self.peer.map(|peer| (Host::from(peer.ip()), peer.port()));
        (&self.address.host, self.address.port) == (host, port)
            || connected.is_some_and(|(own, own_port)| (&own, own_port) == (host, port))
    }

    /// The lower, the better it is to ask this one.
    fn rank(&self, now: Instant) -> u8 {
        match self.state {
            State::InService if self.busy_until.is_none_or(|until| until <= now) => 0,
            State::Untried => 1,
            State::InService => 2,
            State::OutOfService(_) => 3,
        }
    }
}

impl Pool {
    /// Takes a policy: servers that it still names as they were stay as they are. Returns the
    /// others, each with its flow.
    pub(super) fn set_policy(
        &mut self,
        policy: &Policy,
        now: Instant,
    ) -> Vec<(PoolServerId, Option<FlowId>)> {
        let mut old = std::mem::take(&mut self.next_hops);
        for (name, terms) in &policy.next_hops {
            let before = old.remove(name);
            let (mut is_stale, mut restarted_at, mut kept) = (false, None, Vec::new());
            if let Some(before) = before {
                (is_stale, restarted_at) = (before.is_stale, before.restarted_at);
                if before.terms.trust == terms.trust {
                    kept = before.servers;
                } else {
                    is_stale = true;
                }
            }
            let servers: Vec<_> =
                terms.servers.iter().map(|it| self.place(name, it, &kept, now)).collect();
            is_stale |= kept.iter().any(|id| !servers.contains(id));
            let member = Member { terms: terms.clone(), servers, is_stale, restarted_at };
            self.next_hops.insert(Arc::clone(name), member);
            self.show_in_service(name);
        }
        old.keys().for_each(|name| show_in_service(name, 0));
        let named: BTreeSet<_> =
            self.next_hops.values().flat_map(|it| &it.servers).copied().collect();
        let lost: Vec<_> = self.servers.keys().filter(|id| !named.contains(id)).copied().collect();
        lost.into_iter().map(|id| (id, self.remove(id))).collect()
    }

    fn place(
        &mut self,
        next_hop: &Arc<str>,
        address: &ServerAddress,
        kept: &[PoolServerId],
        now: Instant,
    ) -> PoolServerId {
        for id in kept {
            if let Some(server) = self.servers.get_mut(id)
                && (&server.address.host, server.address.port) == (&address.host, address.port)
            {
                server.address = address.clone();
                if server.probe == Probe::Waiting {
                    // The policy may say how often anew.
                    self.probes.set(id, Some(now));
                }
                return *id;
            }
        }
        self.last += 1;
        let id = PoolServerId(self.last);
        let server = Server {
            next_hop: Arc::clone(next_hop),
            address: address.clone(),
            state: State::Untried,
            link: Link::None,
            probe: Probe::Waiting,
            peer: None,
            link_since: None,
            open_tries: 0,
            busy_until: None,
        };
        self.servers.insert(id, server);
        self.probes.set(&id, Some(now));
        id
    }

    fn remove(&mut self, id: PoolServerId) -> Option<FlowId> {
        self.probes.set(&id, None);
        let flow = self.servers.remove(&id)?.flow()?;
        self.by_flow.remove(&flow);
        Some(flow)
    }

    /// Returns the link to a server, unless it was found not to be there just now, or has more
    /// requests than it answers.
    pub(super) fn usable_link(&self, id: PoolServerId, now: Instant) -> Option<Link> {
        let server = self.servers.get(&id)?;
        let is_lost = server.link == Link::None
            && matches!(server.state, State::OutOfService(_))
            && server.link_since.is_some_and(|since| now < since + RECONNECT_WAIT);
        (!is_lost && server.open_tries < OPEN_TRIES_MAX).then_some(server.link)
    }

    /// Notes that a server was sent a request.
    pub(super) fn note_sent(&mut self, id: PoolServerId) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.open_tries += 1;
        }
    }

    /// Notes that a request has ended that a server was sent.
    pub(super) fn note_ended(&mut self, id: PoolServerId) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.open_tries = server.open_tries.saturating_sub(1);
        }
    }

    pub(super) fn get_mut(&mut self, id: PoolServerId) -> Option<&mut Server> {
        self.servers.get_mut(&id)
    }

    /// Returns what a next hop must show, and how often its servers are probed.
    pub(super) fn terms(&self, name: &str) -> Option<&NextHop> {
        self.next_hops.get(name).map(|it| &it.terms)
    }

    /// Says whether a connection is one with any next hop; see [`NextHop::is_at`].
    pub(super) fn knows(&self, address: IpAddr, names: &[String]) -> bool {
        self.next_hops.values().any(|member| member.terms.is_at(address, names))
    }

    /// Returns how often a server is probed.
    pub(super) fn probe_interval(&self, id: PoolServerId) -> Duration {
        let terms = self.servers.get(&id).and_then(|server| self.terms(&server.next_hop));
        Duration::from_secs(terms.map_or(60, |terms| terms.probe_interval_s))
    }

    /// Returns where a server is.
    pub(super) fn target(&self, id: PoolServerId) -> Option<Target> {
        let server = self.servers.get(&id)?;
        let transport = match self.terms(&server.next_hop)?.trust {
            Trust::Addresses(_) => Transport::Tcp,
            Trust::Certificate(_) => Transport::Tls,
        };
        let ServerAddress { host, port, .. } = &server.address;
        Some(Target { host: host.clone(), port: *port, transport })
    }

    /// Returns the server that a flow of ours leads to.
    pub(super) fn server_on(&self, flow: FlowId) -> Option<PoolServerId> {
        self.by_flow.get(&flow).copied()
    }

    /// Notes the flow to a server, or that there is none.
    pub(super) fn set_link(&mut self, id: PoolServerId, link: Link) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        if let Some(old) = server.flow() {
            self.by_flow.remove(&old);
        }
        server.link = link;
        if let Some(flow) = server.flow() {
            self.by_flow.insert(flow, id);
        }
    }

    /// Notes whether a server answers; returns whether that is new.
    pub(super) fn set_state(&mut self, id: PoolServerId, state: State) -> bool {
        let Some(server) = self.servers.get_mut(&id) else { return false };
        let is_new = server.state != state;
        let was_in_service = server.state == State::InService;
        server.state = state;
        let next_hop = Arc::clone(&server.next_hop);
        if let Some(member) = self.next_hops.get_mut(&next_hop) {
            member.is_stale |= was_in_service && is_new;
        }
        self.show_in_service(&next_hop);
        is_new
    }

    fn show_in_service(&self, name: &str) {
        let ids = self.next_hops.get(name).map(|it| it.servers.as_slice()).unwrap_or_default();
        let servers = ids.iter().filter_map(|id| self.servers.get(id));
        show_in_service(name, servers.filter(|it| it.state == State::InService).count());
    }

    /// Takes a 503 of a server: it is passed over for the time that it names.
    pub(super) fn note_busy(
        &mut self,
        id: PoolServerId,
        response: FinalResponse<'_>,
        now: Instant,
    ) {
        let named = response.headers.typed::<RetryAfter>().ok().flatten();
        if let (Some(RetryAfter(seconds)), Some(server)) = (named, self.servers.get_mut(&id)) {
            let wait = Duration::from_secs(seconds.into()).min(BUSY_MAX);
            server.busy_until = Some(now + wait);
        }
    }

    /// Notes that a server may have forgotten what it knew.
    pub(super) fn mark_stale(&mut self, id: PoolServerId) {
        let name = self.servers.get(&id).map(|server| &server.next_hop);
        if let Some(member) = name.and_then(|name| self.next_hops.get_mut(name)) {
            member.is_stale = true;
        }
    }

    /// Says once whether a server of this next hop may have forgotten what it knew; not too often,
    /// since all that are told begin anew.
    pub(super) fn take_stale(&mut self, name: &str, now: Instant) -> bool {
        let Some(member) = self.next_hops.get_mut(name) else { return false };
        let is_early = member.restarted_at.is_some_and(|at| now < at + RESTART_WAIT);
        if !member.is_stale || is_early {
            return false;
        }
        member.is_stale = false;
        member.restarted_at = Some(now);
        true
    }

    /// Returns the server of a next hop at a place that a URI names.
    pub(super) fn server_at(&self, name: &str, place: (&Host, u16)) -> Option<PoolServerId> {
        let is_there = |id: &PoolServerId| self.servers.get(id).is_some_and(|it| it.is_at(place));
        self.next_hops.get(name)?.servers.iter().copied().find(is_there)
    }

    /// Returns the servers of a next hop in the order in which they are asked. `draw` gives a
    /// random number below another; the server at `preferred` comes first if it is in service.
    pub(super) fn in_order(
        &self,
        name: &str,
        preferred: Option<(&Host, u16)>,
        now: Instant,
        mut draw: impl FnMut(u64) -> u64,
    ) -> Vec<PoolServerId> {
        let Some(member) = self.next_hops.get(name) else { return Vec::new() };
        let mut classes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for id in &member.servers {
            let Some(server) = self.servers.get(id) else { continue };
            let rank = server.rank(now);
            let is_other = rank > 1 || !preferred.is_some_and(|place| server.is_at(place));
            let class = (is_other, rank, server.address.priority);
            classes.entry(class).or_default().push((*id, u64::from(server.address.weight)));
        }
        classes.into_values().flat_map(|class| weighted(class, &mut draw)).collect()
    }

    /// Says whether a server of a next hop is in service, and how each of them is.
    pub(super) fn describe(&self, name: &str) -> (bool, String) {
        let ids = self.next_hops.get(name).map(|it| it.servers.as_slice()).unwrap_or_default();
        let servers: Vec<&Server> = ids.iter().filter_map(|id| self.servers.get(id)).collect();
        let lines = servers.iter().map(|server| {
            let state = match &server.state {
                State::Untried => "not reached yet",
                State::InService => "in service",
                State::OutOfService(cause) => cause,
            };
            format!("{} {state}", server.address)
        });
        let text = lines.collect::<Vec<_>>().join(", ");
        (servers.iter().any(|server| server.state == State::InService), text)
    }

    /// Returns when a probe is due, or has failed.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.probes.next()
    }
}

fn show_in_service(name: &str, count: usize) {
    let labels = [("next_hop", name.to_owned())];
    metrics::gauge!("gateway_next_hop_servers_in_service", &labels).set(count as f64);
}

/// Returns servers of one priority in an order in which each comes first as often as its share of
/// the weights is (RFC 2782). Those without weight come as they stand.
fn weighted(
    mut servers: Vec<(PoolServerId, u64)>,
    draw: &mut impl FnMut(u64) -> u64,
) -> Vec<PoolServerId> {
    let mut order = Vec::new();
    // RFC 2782: those of weight 0 stand first, so that they are seldom selected.
    servers.sort_by_key(|(_, weight)| *weight != 0);
    while !servers.is_empty() {
        let total: u64 = servers.iter().map(|(_, weight)| weight).sum();
        let point = draw(total + 1);
        let mut running = 0;
        let chosen = servers.iter().position(|(_, weight)| {
            running += weight;
            running >= point
        });
        order.push(servers.remove(chosen.unwrap_or_default()).0);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::{PoolServerId, weighted};

    #[test]
    fn servers_of_one_priority_take_turns_by_their_weights() {
        let servers: Vec<_> = [0, 1, 3].into_iter().map(|it| (PoolServerId(it), it)).collect();
        let mut first = [0; 4];
        for point in 0..=4 {
            let order = weighted(servers.clone(), &mut |_| point);
            assert_eq!(order.len(), 3);
            first[usize::try_from(order[0].0).unwrap()] += 1;
        }
        assert_eq!(first, [1, 1, 0, 3]);
        let equal: Vec<_> = (5..8).map(|it| (PoolServerId(it), 0)).collect();
        assert_eq!(weighted(equal, &mut |below| below - 1), [5, 6, 7].map(PoolServerId));
    }
}
