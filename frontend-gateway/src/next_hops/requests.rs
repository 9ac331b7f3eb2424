//! Requests that servers send: whose they are, and what becomes of them.

use sip_proto::header::{HeaderName, NameAddr, SentBy};
use sip_proto::inspect::{Capabilities, MethodRules, inspect};
use sip_proto::message::{OutgoingResponse, Request};
use sip_proto::transaction::{
    Arrival, FlowId, ServerId, TransactionLayer, TransactionLimits, Transport,
};
use sip_proto::uri::Scheme;
use sip_proto::{IdSource, Method, Refusal, StatusCode};

use super::{NextHopEffect, NextHops, OpenFlow};
use crate::address::s2x_address;
use crate::clock::Now;
use crate::denial::Denial;
use crate::exchange::ExchangeId;
use crate::facts::Facts;
use crate::forward;
use crate::pidf;
use crate::translate::message::TEXT_TYPES;

/// The most transactions of each kind.
const TRANSACTIONS_MAX: usize = 100_000;

/// The most server transactions of one flow; a server sends for all its users on one.
const FLOW_TRANSACTIONS_MAX: usize = 10_000;

const CAPABILITIES: Capabilities = Capabilities {
    methods: &[
        MethodRules { method: Method::Message, understood: TEXT_TYPES, generated: &[] },
        MethodRules { method: Method::Subscribe, understood: &[], generated: &[pidf::MEDIA_TYPE] },
        MethodRules { method: Method::Notify, understood: &[pidf::MEDIA_TYPE], generated: &[] },
        MethodRules { method: Method::Options, understood: &[], generated: &[] },
        // Every session is refused, but with the reason that fits.
        MethodRules {
            method: Method::Invite,
            understood: &["application/sdp"],
            generated: &["application/sdp"],
        },
    ],
    schemes: &[Scheme::Sip, Scheme::Sips, Scheme::Im, Scheme::Pres],
    extensions: &[],
};

/// Makes the transaction layer with the limits of next hops.
pub(super) fn transaction_layer(sent_by: SentBy, ids: IdSource) -> TransactionLayer {
    let limits = TransactionLimits {
        client_transactions_max: TRANSACTIONS_MAX,
        server_transactions_max: TRANSACTIONS_MAX,
        flow_server_transactions_max: FLOW_TRANSACTIONS_MAX,
    };
    TransactionLayer::new(sent_by, ids, limits)
}

/// Counts a request that was refused.
pub(super) fn count_refused(status: StatusCode) {
    let labels = [("status", status.code().to_string())];
    metrics::counter!("gateway_next_hop_refused_total", &labels).increment(1);
}

impl NextHops {
    pub(super) fn handle_request(
        &mut self,
        flow: FlowId,
        request: &Request,
        facts: Facts<'_>,
        now: Now,
    ) {
        match self.layer.handle_request(request, flow, now.instant) {
            Arrival::Fresh(server) if self.is_next_hop(flow) => {
                if let Err(denial) = self.answer(flow, server, request, facts, now) {
                    self.deny(server, request, &denial, now);
                }
            }
            Arrival::Fresh(server) => {
                let denial = Denial::new(StatusCode::FORBIDDEN, "Not A Next Hop Here");
                self.deny(server, request, &denial, now);
                // It is told before it is closed.
                self.drain(now);
                self.end_flow(flow);
            }
            Arrival::Absorbed => {}
            Arrival::Overloaded => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                count_refused(status);
                let response = OutgoingResponse::to(request, status, Some(&self.ids.tag()));
                self.transmit(flow, response.to_bytes());
            }
        }
    }

    /// Takes the final response of the gateway to a request of a server.
    pub fn handle_gateway_response(
        &mut self,
        id: ExchangeId,
        response: &OutgoingResponse,
        now: Now,
    ) {
        if let Some((server, _)) = self.exchanges.end(id) {
            self.respond(server, response, now);
        }
        self.drain(now);
    }

    /// Says whether a flow is one with any next hop.
    fn is_next_hop(&self, flow: FlowId) -> bool {
        let Some(OpenFlow { ends, names, .. }) = self.flows.get(&flow) else { return false };
        let is_one = self.pool.knows(ends.peer.ip(), names);
        if !is_one {
            tracing::warn!(peer = %ends.peer, ?names, "a request of nobody's next hop");
        }
        is_one
    }

    fn answer(
        &mut self,
        flow: FlowId,
        server: ServerId,
        request: &Request,
        facts: Facts<'_>,
        now: Now,
    ) -> Result<(), Denial> {
        let Some(open) = self.flows.get(&flow) else { return Ok(()) };
        let (address, names) = (open.ends.peer.ip(), &open.names);
        inspect(request, &CAPABILITIES)?;
        if *request.method() == Method::Options {
            return self.answer_options(server, request, now);
        }
        // The gateway does not know who serves whom: nobody speaks for the users of another.
        let sender = s2x_address(request.from().uri()).ok();
        let next_hop = sender.as_ref().and_then(|it| facts.policy.next_hop(it.domain()));
        if !next_hop.is_some_and(|next_hop| next_hop.is_at(address, names)) {
            return Err(Denial::new(StatusCode::FORBIDDEN, "Sender Is Not A User There"));
        }
        if *request.method() == Method::Invite {
            return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE_HERE).into());
        }
        if !forward::routes_beyond(request, |host| *host == self.settings.host).is_empty() {
            return Err(Denial::new(StatusCode::FORBIDDEN, "Route Not Followed"));
        }
        let mut onward = request.clone();
        onward.remove_credentials();
        let own_route = self.own_route(open.transport);
        if let (Method::Subscribe, Some(own_route)) = (request.method(), own_route) {
            onward.record_route(own_route);
        }
        let id = self.exchanges.begin((server, Box::new(request.clone())), now.instant);
        self.effects.push_back(NextHopEffect::Ask(id, onward));
        Ok(())
    }

    /// Returns the Record-Route by which servers send the requests of a dialog to us.
    pub(super) fn own_route(&self, transport: Transport) -> Option<NameAddr> {
        let port = match transport {
            Transport::Tcp => self.settings.tcp_port,
            Transport::Tls => self.settings.tls_port,
        };
        Some(forward::own_route(self.settings.host.clone(), port?, transport))
    }

    fn answer_options(
        &mut self,
        server: ServerId,
        request: &Request,
        now: Now,
    ) -> Result<(), Denial> {
        let mut response = OutgoingResponse::to(request, StatusCode::OK, Some(&self.ids.tag()));
        response.headers_mut().push(&CAPABILITIES.allow());
        response.headers_mut().push_text(HeaderName::Accept, &TEXT_TYPES.join(", "));
        self.respond(server, &response, now);
        Ok(())
    }

    fn deny(&mut self, server: ServerId, request: &Request, denial: &Denial, now: Now) {
        let status = denial.status();
        count_refused(status);
        let (method, status, reason) = (request.method(), status.code(), denial.reason());
        tracing::info!(%method, status, reason, "a SIP request of a next hop was refused");
        let response = denial.response(request, &self.ids.tag(), &self.settings.host);
        self.respond(server, &response, now);
    }

    pub(super) fn respond_status(
        &mut self,
        server: ServerId,
        request: &Request,
        status: StatusCode,
        now: Now,
    ) {
        let response = OutgoingResponse::to(request, status, Some(&self.ids.tag()));
        self.respond(server, &response, now);
    }

    fn respond(&mut self, server: ServerId, response: &OutgoingResponse, now: Now) {
        // The server may be gone; nobody waits for the answer then.
        let _ = self.layer.respond(server, response, now.instant);
    }
}
