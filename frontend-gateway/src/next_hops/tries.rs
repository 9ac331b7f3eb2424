//! Requests of the gateway: tried on one server after the other until one answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_proto::header::{RecordRoute, Route};
use sip_proto::message::{FinalResponse, OutgoingRequest, OutgoingResponse, Request};
use sip_proto::transaction::{Flow, FlowId, Transport};
use sip_proto::uri::{Host, Uri};
use sip_proto::{Method, Refusal, StatusCode};
use xmpp_proto::jid::Jid;

use super::pool::{Link, PoolServerId};
use super::{NextHopEffect, NextHops, Purpose};
use crate::address::s2x_address;
use crate::clock::Now;
use crate::deadlines::Deadlines;
use crate::exchange::ExchangeId;
use crate::facts::Facts;
use crate::forward;

/// How long a server may take to answer before the next one is tried as well. The transaction of
/// the gateway lasts for 32 s.
const TRY_MAX: Duration = Duration::from_secs(5);

/// How long a NOTIFY may stay unanswered. Without an answer its subscription would end, which its
/// watcher may come back to.
const NOTIFY_MAX: Duration = Duration::from_secs(10);

/// What came of a request to a server.
#[derive(Clone, Copy)]
pub(super) enum Outcome<'a> {
    /// Its final response.
    Response(FinalResponse<'a>),
    /// None, in time or before the flow was lost.
    Unanswered,
    /// It could not be sent.
    Unsent,
}

/// The requests of the gateway that have no answer.
#[derive(Debug, Default)]
pub(super) struct Tries {
    all: BTreeMap<ExchangeId, Trying>,
    /// Requests that wait for the connection to a server.
    waiting: BTreeMap<PoolServerId, Vec<ExchangeId>>,
    /// When the next server is tried as well, or the last one is given up.
    deadlines: Deadlines<ExchangeId>,
}

#[derive(Debug)]
struct Trying {
    received: Request,
    onward: OutgoingRequest,
    next_hop: Arc<str>,
    untried: VecDeque<PoolServerId>,
    /// Servers that have not answered.
    under_way: usize,
    was_sent: bool,
    /// What a server answered that cannot take it now.
    busy: Option<OutgoingResponse>,
    give_up_at: Option<Instant>,
}

impl Tries {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }
}

impl NextHops {
    /// Takes a request of the gateway, which is answered once by [`NextHopEffect::Answer`] or
    /// [`NextHopEffect::Unanswered`].
    pub fn handle_gateway_request(
        &mut self,
        id: ExchangeId,
        request: &Request,
        facts: Facts<'_>,
        now: Now,
    ) {
        match self.begin(id, request, facts, now) {
            Ok(()) => self.try_next(id, now),
            Err(refusal) => {
                let response = refusal.response(request, &self.ids.tag());
                self.effects.push_back(NextHopEffect::Answer(id, response));
            }
        }
        self.drain(now);
    }

    fn begin(
        &mut self,
        id: ExchangeId,
        request: &Request,
        facts: Facts<'_>,
        now: Now,
    ) -> Result<(), Refusal> {
        let user = s2x_address(request.to().uri()).ok();
        let next_hop = user.as_ref().and_then(|user| facts.policy.next_hop(user.domain()));
        let next_hop = next_hop.ok_or(Refusal::new(StatusCode::NOT_FOUND))?;
        let routes = forward::routes_beyond(request, |host| *host == self.settings.host);
        let first_hop = routes.first().map_or(request.uri(), |route| route.uri());
        let (preferred, ids) = (place_of(first_hop), &mut self.ids);
        let draw = |below| {
            ids.tag().bytes().fold(0u64, |sum, it| sum.wrapping_mul(31).wrapping_add(it.into()))
                % below
        };
        let preferred = preferred.as_ref().map(|(host, port)| (host, *port));
        let untried = self.pool.in_order(&next_hop.name, preferred, now.instant, draw);
        let mut onward = forward::request(request, request.uri())?;
        if !routes.is_empty() {
            onward.headers_mut().push(&Route(routes));
        }
        let is_notify = *request.method() == Method::Notify;
        let trying = Trying {
            received: request.clone(),
            onward,
            next_hop: Arc::clone(&next_hop.name),
            untried: untried.into(),
            under_way: 0,
            was_sent: false,
            busy: None,
            give_up_at: is_notify.then(|| now.instant + NOTIFY_MAX),
        };
        self.tries.all.insert(id, trying);
        Ok(())
    }

    /// Tries a request on the next server, or ends it when none is left and none may still answer.
    fn try_next(&mut self, id: ExchangeId, now: Now) {
        loop {
            let Some(trying) = self.tries.all.get_mut(&id) else { return };
            let Some(server) = trying.untried.pop_front() else { break };
            let Some(link) = self.pool.get_mut(server).map(|server| server.link) else { continue };
            trying.under_way += 1;
            match link {
                Link::Open(flow) => self.send_try(id, server, flow, now),
                Link::Opening(_) => self.tries.waiting.entry(server).or_default().push(id),
                Link::None => {
                    self.tries.waiting.entry(server).or_default().push(id);
                    self.connect(server);
                }
            }
            break;
        }
        let Some(trying) = self.tries.all.get(&id) else { return };
        if trying.under_way == 0 && trying.untried.is_empty() {
            return self.end_untaken(id);
        }
        let next = (!trying.untried.is_empty()).then(|| now.instant + TRY_MAX);
        let deadline = [next, trying.give_up_at].into_iter().flatten().min();
        self.tries.deadlines.set(&id, deadline);
    }

    fn send_try(&mut self, id: ExchangeId, server: PoolServerId, flow: FlowId, now: Now) {
        let transport = self.flows.get(&flow).map_or(Transport::Tcp, |flow| flow.transport);
        let own_route = self.own_route(transport);
        let Some(trying) = self.tries.all.get_mut(&id) else { return };
        let mut request = trying.onward.clone();
        // RFC 6665 s.4.3: the requests of the dialog come back to us, whichever of the two begins it.
        if let (Method::Subscribe | Method::Notify, Some(own_route)) = (request.method(), own_route)
        {
            request.headers_mut().push(&RecordRoute(vec![own_route]));
        }
        match self.layer.send_request(&request, Flow { id: flow, transport }, now.instant) {
            Ok(client) => {
                trying.was_sent = true;
                self.purposes.insert(client, Purpose::Try(id, server));
            }
            Err(error) => {
                tracing::error!(%error, "a SIP request could not be sent to a next hop");
                self.tried(id, server, Outcome::Unsent, now);
            }
        }
    }

    /// Sends what has waited for the connection to a server.
    pub(super) fn send_waiting(&mut self, server: PoolServerId, flow: FlowId, now: Now) {
        for id in self.tries.waiting.remove(&server).unwrap_or_default() {
            self.send_try(id, server, flow, now);
        }
    }

    /// Goes on with what has waited for a connection that there will not be.
    pub(super) fn fail_waiting(&mut self, server: PoolServerId, now: Now) {
        for id in self.tries.waiting.remove(&server).unwrap_or_default() {
            self.tried(id, server, Outcome::Unsent, now);
        }
    }

    /// Takes what came of a request on one server; what comes later of another is of no use.
    pub(super) fn tried(
        &mut self,
        id: ExchangeId,
        server: PoolServerId,
        outcome: Outcome<'_>,
        now: Now,
    ) {
        let Some(trying) = self.tries.all.get_mut(&id) else { return };
        trying.under_way = trying.under_way.saturating_sub(1);
        match outcome {
            // RFC 3263 s.4.3: the next server may be able to.
            Outcome::Response(response) if response.status == StatusCode::SERVICE_UNAVAILABLE => {
                trying.busy = Some(forward::response(&trying.received, response));
                self.pool.note_busy(server, response, now.instant);
            }
            Outcome::Response(response) => {
                let answer = forward::response(&trying.received, response);
                self.end(id);
                return self.effects.push_back(NextHopEffect::Answer(id, answer));
            }
            Outcome::Unanswered | Outcome::Unsent => {}
        }
        if !trying.untried.is_empty() {
            let labels = [("next_hop", trying.next_hop.to_string())];
            metrics::counter!("gateway_next_hop_failovers_total", &labels).increment(1);
        }
        self.try_next(id, now);
    }

    /// Tries the next server beside one that does not answer; gives up a NOTIFY.
    pub(super) fn handle_try_timeouts(&mut self, now: Now) {
        for id in self.tries.deadlines.take_due(now.instant) {
            let Some(trying) = self.tries.all.get(&id) else { continue };
            match trying.give_up_at {
                Some(at) if at <= now.instant => self.end_untaken(id),
                Some(_) | None => self.try_next(id, now),
            }
        }
    }

    /// Ends a request that no server has taken.
    fn end_untaken(&mut self, id: ExchangeId) {
        let Some(trying) = self.end(id) else { return };
        let Trying { received, next_hop, was_sent, busy, .. } = trying;
        let is_notify = *received.method() == Method::Notify;
        if is_notify && let Some(watcher) = user_of(received.to().uri()) {
            self.unreached.insert(watcher, next_hop);
        }
        let effect = match busy {
            Some(response) => NextHopEffect::Answer(id, response),
            None if was_sent && !is_notify => NextHopEffect::Unanswered(id),
            // This keeps a subscription: its watcher may come back.
            None => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let response = OutgoingResponse::to(&received, status, Some(&self.ids.tag()))
                    .with_reason_phrase("Next Hop Not Reachable");
                NextHopEffect::Answer(id, response)
            }
        };
        self.effects.push_back(effect);
    }

    fn end(&mut self, id: ExchangeId) -> Option<Trying> {
        self.tries.deadlines.set(&id, None);
        self.tries.all.remove(&id)
    }
}

fn user_of(uri: &Uri) -> Option<Jid> {
    s2x_address(uri).ok().map(|user| user.bare())
}

/// Returns the host and port that a URI leads to.
fn place_of(uri: &Uri) -> Option<(Host, u16)> {
    let is_tls =
        uri.parameter("transport").ok().flatten().is_some_and(|it| it.eq_ignore_ascii_case("tls"));
    Some((uri.host()?.clone(), uri.port().unwrap_or(if is_tls { 5061 } else { 5060 })))
}
