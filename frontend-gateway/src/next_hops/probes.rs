//! Whether servers are there: connections opened, OPTIONS sent, answers awaited.

use std::collections::BTreeSet;
use std::time::Duration;

use sip_proto::Method;
use sip_proto::header::{Accept, MediaType, NameAddr};
use sip_proto::message::{OutgoingRequest, RequestParts};
use sip_proto::transaction::{Flow, FlowId, Transport};
use sip_proto::uri::Uri;

use super::pool::{Link, PoolServerId, Probe, State};
use super::tries::Outcome;
use super::{NextHopEffect, NextHops, Purpose};
use crate::clock::Now;
use crate::policy::next_hop::Trust;

/// How long a server may take to be connected to and to answer OPTIONS.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// The wait before a connection that ended is opened again.
const REOPEN_WAIT: Duration = Duration::from_millis(500);

/// A connection that has lived for so long was none that its server closes at once.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

impl NextHops {
    /// Probes the servers whose time has come, and gives up those that have not answered.
    pub(super) fn probe_due(&mut self, now: Now) {
        for id in self.pool.probes.take_due(now.instant) {
            match self.pool.get_mut(id).map(|server| (server.probe, server.link)) {
                Some((Probe::Waiting, _)) => self.begin_probe(id, now),
                // There was no room for OPTIONS, which says nothing of the server.
                Some((Probe::Connecting, Link::Open(_))) => self.begin_probe(id, now),
                Some((Probe::Connecting, _)) => {
                    self.lose(id, "cannot be connected to in time", now);
                }
                Some((Probe::Asked(_), _)) => self.lose(id, "does not answer OPTIONS", now),
                None => {}
            }
        }
    }

    fn begin_probe(&mut self, id: PoolServerId, now: Now) {
        let Some(server) = self.pool.get_mut(id) else { return };
        server.probe = Probe::Connecting;
        let link = server.link;
        self.pool.probes.set(&id, Some(now.instant + PROBE_MAX));
        match link {
            Link::Open(flow) => self.ask_for_life(id, flow, now),
            Link::Opening(_) => {}
            Link::None => self.connect(id),
        }
    }

    /// Opens a connection to a server.
    pub(super) fn connect(&mut self, id: PoolServerId) {
        let Some(target) = self.pool.target(id) else { return };
        self.last_own_flow += 1;
        let flow = FlowId(self.last_own_flow);
        self.pool.set_link(id, Link::Opening(flow));
        self.effects.push_back(NextHopEffect::Connect(flow, target));
    }

    /// Takes the connection to a server, which must prove to be one.
    pub(super) fn server_opened(&mut self, id: PoolServerId, flow: FlowId, now: Now) {
        let Some(server) = self.pool.get_mut(id) else { return };
        let (name, is_awaited) = (server.next_hop.clone(), server.probe == Probe::Connecting);
        let (Some(terms), Some(open)) = (self.pool.terms(&name), self.flows.get(&flow)) else {
            return;
        };
        if !terms.is_at(open.ends.peer.ip(), &open.names) {
            let cause = match &terms.trust {
                Trust::Certificate(name) => {
                    format!("shows a certificate that does not prove {name}")
                }
                Trust::Addresses(_) => "is at another address".to_owned(),
            };
            return self.lose(id, &cause, now);
        }
        let peer = open.ends.peer;
        self.pool.set_link(id, Link::Open(flow));
        if let Some(server) = self.pool.get_mut(id) {
            server.peer = Some(peer);
            server.link_since = Some(now.instant);
        }
        if is_awaited {
            self.ask_for_life(id, flow, now);
        }
        self.send_waiting(id, flow, now);
    }

    /// Takes the end of the connection to a server, or the failure to open it.
    pub(super) fn server_closed(&mut self, id: PoolServerId, was_open: bool, now: Now) {
        let Some(server) = self.pool.get_mut(id) else { return };
        let answered_before = server.probe == Probe::Waiting && server.state == State::InService;
        let settled_at = server.link_since.map(|since| since + SETTLED_AFTER);
        let was_settled = settled_at.is_some_and(|at| at <= now.instant);
        if !(was_open && answered_before && was_settled) {
            let cause = if was_open { "closes its connection" } else { "cannot be connected to" };
            return self.lose(id, cause, now);
        }
        // Servers close idle connections; and they may have been started anew.
        self.pool.mark_stale(id);
        self.pool.set_link(id, Link::None);
        self.pool.probes.set(&id, Some(now.instant + REOPEN_WAIT));
        self.fail_waiting(id, now);
    }

    /// Takes a server out of service, until a probe is answered.
    fn lose(&mut self, id: PoolServerId, cause: &str, now: Now) {
        let Some(server) = self.pool.get_mut(id) else { return };
        let was_probed = std::mem::replace(&mut server.probe, Probe::Waiting) != Probe::Waiting;
        let is_known = matches!(server.state, State::OutOfService(_));
        server.link_since = Some(now.instant);
        let (next_hop, address) = (server.next_hop.clone(), server.address.to_string());
        let flow = server.flow();
        self.pool.set_link(id, Link::None);
        if was_probed || !is_known {
            // A request that found it lost once more does not put the next probe off.
            let again_at = now.instant + self.pool.probe_interval(id);
            self.pool.probes.set(&id, Some(again_at));
        }
        if self.pool.set_state(id, State::OutOfService(cause.to_owned())) {
            tracing::warn!(%next_hop, server = address, cause, "a server is out of service");
        }
        if let Some(flow) = flow {
            self.close(flow);
        }
        self.fail_waiting(id, now);
    }

    fn ask_for_life(&mut self, id: PoolServerId, flow: FlowId, now: Now) {
        let Some(target) = self.pool.target(id) else { return };
        let mut uri = Uri::sip(None, target.host);
        uri.set_port(Some(target.port));
        let transport = match target.transport {
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        };
        uri.set_parameter("transport", transport);
        let own = NameAddr::new(Uri::sip(None, self.settings.host.clone()));
        let mut request = OutgoingRequest::new(RequestParts {
            method: Method::Options,
            uri: &uri,
            from: &own.with_tag(&self.ids.tag()),
            to: &NameAddr::new(uri.clone()),
            call_id: &self.ids.call_id(),
            sequence_number: 1,
        });
        request.headers_mut().push(&Accept(vec![MediaType::from_static("application/sdp")]));
        let flow = Flow { id: flow, transport: target.transport };
        // Without room another probe follows when this one's time is over.
        let Ok(client) = self.layer.send_request(&request, flow, now.instant) else { return };
        self.purposes.insert(client, Purpose::Probe(id));
        if let Some(server) = self.pool.get_mut(id) {
            server.probe = Probe::Asked(client);
        }
    }

    /// Takes what came of OPTIONS; the loss of the flow is dealt with where it is told.
    pub(super) fn probed(&mut self, id: PoolServerId, outcome: Outcome<'_>, now: Now) {
        let Outcome::Response(response) = outcome else { return };
        // RFC 3261 s.11: any answer but these shows that it takes requests.
        if matches!(response.status.code(), 408 | 503) {
            return self.lose(id, "answers OPTIONS with an error", now);
        }
        let again_at = now.instant + self.pool.probe_interval(id);
        let Some(server) = self.pool.get_mut(id) else { return };
        server.probe = Probe::Waiting;
        let (next_hop, address) = (server.next_hop.clone(), server.address.to_string());
        self.pool.probes.set(&id, Some(again_at));
        let is_new = self.pool.set_state(id, State::InService);
        if is_new {
            tracing::info!(%next_hop, server = address, "a server is in service");
        }
        let is_restarted = self.pool.take_stale(&next_hop, now.instant);
        if is_restarted {
            self.effects.push_back(NextHopEffect::Restarted(next_hop.clone()));
        }
        // Not whenever a server shows that it is there: the device of such a user may be what does
        // not answer.
        if is_new || is_restarted {
            let reachable = self.unreached.extract_if(.., |_, of| *of == next_hop);
            let reachable: BTreeSet<_> = reachable.map(|(user, _)| user).collect();
            if !reachable.is_empty() {
                self.effects.push_back(NextHopEffect::Reachable(reachable));
            }
        }
    }
}
