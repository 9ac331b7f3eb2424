//! Requests of the gateway: tried on one server after the other until one answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_proto::header::{RecordRoute, Route};
use sip_proto::message::{FinalResponse, OutgoingRequest, OutgoingResponse, Request};
use sip_proto::transaction::{Flow, FlowId, TIMER_F, Transport};
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

/// How long a NOTIFY may stay unanswered, and not as long as its transaction. Without an answer its subscription would end, which its
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
    /// A server has got it and not answered.
    is_unknown: bool,
    /// The first refusal, while another server may still take it.
    refusal: Option<OutgoingResponse>,
    give_up_at: Instant,
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
        let mut untried = self.pool.in_order(&next_hop.name, preferred, now.instant, draw);
        let is_notify = *request.method() == Method::Notify;
        // RFC 3261 s.12.2.1.1: another server would send it on to the one that is on the route, or
        // does not know the dialog and ends it.
        let on_route = preferred.filter(|_| is_notify && !routes.is_empty());
        let holder = on_route.and_then(|place| self.pool.server_at(&next_hop.name, place));
        untried.retain(|id| holder.is_none_or(|holder| *id == holder));
        let mut onward = forward::request(request, request.uri())?;
        if !routes.is_empty() {
            onward.headers_mut().push(&Route(routes));
        }
        let trying = Trying {
            received: request.clone(),
            onward,
            next_hop: Arc::clone(&next_hop.name),
            untried: untried.into(),
            under_way: 0,
            is_unknown: false,
            refusal: None,
            give_up_at: now.instant + if is_notify { NOTIFY_MAX } else { TIMER_F },
        };
        self.tries.all.insert(id, trying);
        Ok(())
    }

    /// Tries a request on the next server, or ends it when none is left and none may still answer.
    fn try_next(&mut self, id: ExchangeId, now: Now) {
        loop {
            let Some(trying) = self.tries.all.get_mut(&id) else { return };
            let Some(server) = trying.untried.pop_front() else { break };
            let Some(link) = self.pool.usable_link(server, now.instant) else { continue };
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
        let deadline = next.into_iter().chain([trying.give_up_at]).min();
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
                self.pool.note_sent(server);
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
        if !matches!(outcome, Outcome::Unsent) {
            self.pool.note_ended(server);
        }
        let Some(trying) = self.tries.all.get_mut(&id) else { return };
        trying.under_way = trying.under_way.saturating_sub(1);
        match outcome {
            // RFC 3263 s.4.3: the next server may be able to.
            Outcome::Response(response) if response.status == StatusCode::SERVICE_UNAVAILABLE => {
                let refusal = forward::response(&trying.received, response);
                trying.refusal.get_or_insert(refusal);
                self.pool.note_busy(server, response, now.instant);
            }
            // A server that was asked before may still be bringing it to the user.
            Outcome::Response(response)
                if !response.status.is_success() && trying.under_way > 0 =>
            {
                trying.refusal = Some(forward::response(&trying.received, response));
                return;
            }
            Outcome::Response(response) if response.status.is_success() || !trying.is_unknown => {
                let answer = forward::response(&trying.received, response);
                self.end(id);
                return self.effects.push_back(NextHopEffect::Answer(id, answer));
            }
            // It may have arrived by way of the server that did not answer.
            Outcome::Response(_) => return self.end_untaken(id),
            Outcome::Unanswered => trying.is_unknown = true,
            Outcome::Unsent => {}
        }
        if !trying.untried.is_empty() {
            let labels = [("next_hop", trying.next_hop.to_string())];
            metrics::counter!("gateway_next_hop_failovers_total", &labels).increment(1);
        }
        self.try_next(id, now);
    }

    /// Tries the next server beside one that does not answer; gives up what has had its time.
    pub(super) fn handle_try_timeouts(&mut self, now: Now) {
        for id in self.tries.deadlines.take_due(now.instant) {
            let Some(trying) = self.tries.all.get(&id) else { continue };
            match trying.give_up_at <= now.instant {
                true => self.end_untaken(id),
                false => self.try_next(id, now),
            }
        }
    }

    /// Ends a request that no server has taken.
    fn end_untaken(&mut self, id: ExchangeId) {
        let Some(trying) = self.end(id) else { return };
        let Trying { received, next_hop, under_way, is_unknown, refusal, .. } = trying;
        let is_notify = *received.method() == Method::Notify;
        let is_unknown = is_unknown || under_way > 0;
        if is_notify && let Some(watcher) = user_of(received.to().uri()) {
            self.unreached.insert(watcher, next_hop);
        }
        let effect = match refusal {
            Some(response) if !is_unknown => NextHopEffect::Answer(id, response),
            _ if is_unknown && !is_notify => NextHopEffect::Unanswered(id),
            // This keeps a subscription: its watcher may come back.
            Some(_) | None => {
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
