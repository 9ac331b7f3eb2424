//! Requests that come to the home: who sent them, what they want, and who does it.

use sip_proto::header::{Expires, HeaderName, SentBy};
use sip_proto::inspect::{Capabilities, MethodRules, inspect};
use sip_proto::message::{FinalResponse, OutgoingResponse, Request};
use sip_proto::transaction::{Arrival, FlowId, TransactionLayer, TransactionLimits};
use sip_proto::uri::{Host, Scheme, Uri};
use sip_proto::{IdSource, Method, Refusal, StatusCode, registrar};
use xmpp_proto::jid::{Domain, Jid};

use super::accounts::Authentication;
use super::{Answer, Asker, GATEWAY, Home, HomeEffect, Purpose};
use crate::address::{AddressError, s2x_address};
use crate::clock::Now;
use crate::denial::Denial;
use crate::facts::Facts;
use crate::forward;
use crate::pidf;

/// The most server transactions of all devices together, and client transactions of the home.
const TRANSACTIONS_MAX: usize = 100_000;

/// The most server transactions of a flow on which nobody has registered. All that it can have
/// open without proof are refused INVITEs whose ACK does not come.
const UNREGISTERED_TRANSACTIONS_MAX: usize = 64;

/// The most server transactions of a flow on which users have registered; a SIP server may send
/// for all its users on one.
const REGISTERED_TRANSACTIONS_MAX: usize = 1_000;

const TEXT_TYPES: &[&str] =
    &["text/plain", "text/html", "multipart/mixed", "multipart/alternative", "message/cpim"];

/// What the home supports.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    methods: &[
        MethodRules { method: Method::Register, understood: &[], generated: &[] },
        MethodRules { method: Method::Message, understood: TEXT_TYPES, generated: &[] },
        MethodRules { method: Method::Subscribe, understood: &[], generated: &[pidf::MEDIA_TYPE] },
        MethodRules { method: Method::Notify, understood: &[pidf::MEDIA_TYPE], generated: &[] },
        MethodRules { method: Method::Publish, understood: &[pidf::MEDIA_TYPE], generated: &[] },
        MethodRules { method: Method::Options, understood: &[], generated: &[] },
        // Every session is refused, but with the reason that fits.
        MethodRules {
            method: Method::Invite,
            understood: &["application/sdp"],
            generated: &["application/sdp"],
        },
    ],
    schemes: &[Scheme::Sip, Scheme::Sips],
    extensions: &[],
};

/// A request that waits for its answer.
pub(super) struct Asked<'a> {
    pub(super) asker: Asker,
    pub(super) flow: FlowId,
    pub(super) facts: Facts<'a>,
    pub(super) now: Now,
}

/// Makes the transaction layer with the limits of the home.
pub(super) fn transaction_layer(sent_by: SentBy, ids: IdSource) -> TransactionLayer {
    let limits = TransactionLimits {
        client_transactions_max: TRANSACTIONS_MAX,
        server_transactions_max: TRANSACTIONS_MAX,
        flow_server_transactions_max: UNREGISTERED_TRANSACTIONS_MAX,
    };
    TransactionLayer::new(sent_by, ids, limits)
}

impl Home {
    pub(super) fn handle_request(
        &mut self,
        flow: FlowId,
        request: &Request,
        facts: Facts<'_>,
        now: Now,
    ) {
        match self.layer.handle_request(request, flow, now.instant) {
            Arrival::Fresh(server) => {
                let asker = Asker::Device(server);
                self.take_request(&Asked { asker, flow, facts, now }, request);
            }
            Arrival::Absorbed => {}
            Arrival::Overloaded => {
                let tag = self.ids.tag();
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let response = OutgoingResponse::to(request, status, Some(&tag));
                self.transmit(flow, response.to_bytes());
            }
        }
    }

    pub(super) fn take_request(&mut self, asked: &Asked<'_>, request: &Request) {
        if let Err(denial) = self.answer(asked, request) {
            self.deny(asked.asker, request, &denial, asked.now);
        }
    }

    pub(super) fn deny(&mut self, asker: Asker, request: &Request, denial: &Denial, now: Now) {
        let status = denial.status().code();
        metrics::counter!("gateway_home_refused_total", "status" => status.to_string())
            .increment(1);
        let method = request.method();
        tracing::debug!(%method, status, reason = denial.reason(), "a SIP request was refused");
        let host = &self.settings.sent_by.host;
        let response = denial.response(request, &self.ids.tag(), host);
        self.respond(asker, response, now);
    }

    /// Answers a request, or sees to it that it will be answered.
    fn answer(&mut self, asked: &Asked<'_>, request: &Request) -> Result<(), Denial> {
        inspect(request, &CAPABILITIES)?;
        match request.method() {
            Method::Options => self.answer_options(asked, request),
            Method::Register => self.answer_register(asked, request),
            Method::Invite => Err(Refusal::new(StatusCode::NOT_ACCEPTABLE_HERE).into()),
            _ if asked.flow == GATEWAY => self.answer_gateway(asked, request),
            _ => self.answer_user(asked, request),
        }
    }

    fn answer_options(&mut self, asked: &Asked<'_>, request: &Request) -> Result<(), Denial> {
        let mut response = OutgoingResponse::to(request, StatusCode::OK, Some(&self.ids.tag()));
        response.headers_mut().push(&CAPABILITIES.allow());
        response.headers_mut().push_text(HeaderName::Accept, &TEXT_TYPES.join(", "));
        self.respond(asked.asker, response, asked.now);
        Ok(())
    }

    fn answer_register(&mut self, asked: &Asked<'_>, request: &Request) -> Result<(), Denial> {
        let address = request.to().uri();
        let user = match user_of(address) {
            Ok(user) => user,
            // Challenged like a user that does not exist, and refused like one.
            Err(denial) => impossible_user(address).ok_or(denial)?,
        };
        let registrar = s2x_address(request.uri()).ok();
        let served = registrar.is_none_or(|it| asked.facts.policy.is_home(it.domain()));
        if !asked.facts.policy.is_home(user.domain()) || !served {
            return Err(Denial::new(StatusCode::NOT_FOUND, "Domain Not Served Here"));
        }
        // Registering on behalf of another user is not offered.
        self.prove(asked, request, &user)?;
        let limits = registrar::RegistrarLimits::default();
        let (bindings, writes) =
            self.location.register(&user, request, asked.flow, &limits, asked.now)?;
        if asked.flow != GATEWAY {
            self.layer.limit_flow(asked.flow, REGISTERED_TRANSACTIONS_MAX);
        }
        writes.into_iter().for_each(|write| self.commits.write(write));
        let seconds = asked.now.unix_ms / 1000;
        let response = registrar::response(request, &bindings, seconds, &self.ids.tag());
        self.respond(asked.asker, response, asked.now);
        let online = !bindings.is_empty();
        tracing::info!(user = %host::log::identity(user.as_str()), online, "a user has registered");
        self.agent.set_online(&user, online);
        if online {
            if self.unreached.remove(&user) {
                self.agent.renew(&user);
                self.effects.push_back(HomeEffect::Reachable(user.clone()));
            }
            self.collect_messages(&user);
        }
        self.send_notifies(asked.now);
        Ok(())
    }

    /// Answers a request that the gateway sends to one of our users.
    fn answer_gateway(&mut self, asked: &Asked<'_>, request: &Request) -> Result<(), Denial> {
        match request.method() {
            Method::Message => {
                let user = self.recipient(asked, request)?;
                self.deliver(asked, request, &user)
            }
            Method::Subscribe if request.is_in_dialog() => self.answer_resubscribe(asked, request),
            Method::Subscribe => {
                let watcher = user_of(request.from().uri())?;
                self.answer_subscribe(asked, request, &watcher)
            }
            Method::Notify => self.pass_notify(asked, request),
            _ => Err(Refusal::new(StatusCode::FORBIDDEN).into()),
        }
    }

    /// Answers a request of a device.
    fn answer_user(&mut self, asked: &Asked<'_>, request: &Request) -> Result<(), Denial> {
        let sender = user_of(request.from().uri())?;
        if !asked.facts.policy.is_home(sender.domain()) {
            return Err(Denial::new(StatusCode::FORBIDDEN, "Sender Is Not A User Here"));
        }
        if !self.location.has_registered(&sender, asked.flow) {
            self.prove(asked, request, &sender)?;
        }
        if !forward::routes_beyond(request, |host| self.is_own(asked, host)).is_empty() {
            return Err(Denial::new(StatusCode::FORBIDDEN, "Route Not Followed"));
        }
        match request.method() {
            Method::Message if self.is_local(asked, request) => {
                let user = self.recipient(asked, request)?;
                self.deliver(asked, request, &user)
            }
            Method::Publish => self.answer_publish(asked, request, &sender),
            Method::Subscribe if request.is_in_dialog() => self.answer_resubscribe(asked, request),
            Method::Subscribe if self.is_local(asked, request) => {
                self.answer_subscribe(asked, request, &sender)
            }
            Method::Message | Method::Subscribe => self.pass_to_gateway(asked, request),
            _ => Err(sip_proto::usage::subscription::unknown_subscription().into()),
        }
    }

    /// Makes sure that a request is from the user it says.
    fn prove(&mut self, asked: &Asked<'_>, request: &Request, user: &Jid) -> Result<(), Denial> {
        match self.accounts.authenticate(request, user, asked.now) {
            Authentication::Proven => Ok(()),
            Authentication::Refused => {
                metrics::counter!("gateway_home_authentication_failures_total").increment(1);
                tracing::warn!(user = %host::log::identity(user.as_str()), "wrong credentials");
                Err(Denial::new(StatusCode::FORBIDDEN, "Wrong Credentials"))
            }
            Authentication::Challenge(challenges) => Err(Denial::Challenged(challenges)),
        }
    }

    /// Says whether a host is the home: its name, one of its addresses, a domain that it serves.
    fn is_own(&self, asked: &Asked<'_>, host: &Host) -> bool {
        let local = self.flows.get(&asked.flow).copied().flatten().map(|ends| ends.local);
        let domain = host.name().and_then(|name| Domain::parse(name).ok());
        *host == self.settings.sent_by.host
            || host.address().is_some_and(|it| local.is_some_and(|local| local.ip() == it))
            || domain.is_some_and(|it| asked.facts.policy.is_home(&it))
    }

    fn is_local(&self, asked: &Asked<'_>, request: &Request) -> bool {
        let address = s2x_address(request.uri());
        address.is_ok_and(|it| asked.facts.policy.is_home(it.domain()))
    }

    /// Returns the user of ours that a request is for.
    pub(super) fn recipient(&self, asked: &Asked<'_>, request: &Request) -> Result<Jid, Denial> {
        let user = user_of(request.uri())?;
        if !asked.facts.policy.is_home(user.domain()) || !self.accounts.has(&user) {
            return Err(Refusal::new(StatusCode::NOT_FOUND).into());
        }
        Ok(user)
    }

    /// Carries a request of a user on to the gateway, which answers it.
    pub(super) fn pass_to_gateway(
        &mut self,
        asked: &Asked<'_>,
        request: &Request,
    ) -> Result<(), Denial> {
        let mut onward = request.clone();
        onward.remove_credentials();
        let ends = self.flows.get(&asked.flow).copied().flatten();
        let transport = self.location.transport(asked.flow);
        if let (Method::Subscribe, Some(ends), Some(transport)) =
            (request.method(), ends, transport)
        {
            onward.record_route(forward::own_route(ends.local.ip(), ends.local.port(), transport));
            if !self.subscribed_on.has_room(request, asked.flow, asked.now.instant) {
                return Err(Denial::new(StatusCode::FORBIDDEN, "Too Many Subscriptions"));
            }
        }
        let purpose = Purpose::Relay(asked.asker, asked.flow, Box::new(request.clone()));
        let id = self.exchanges.begin(purpose, asked.now.instant);
        self.effects.push_back(HomeEffect::Ask(id, onward));
        Ok(())
    }

    /// Notes on which flow a subscription is that the gateway has accepted.
    pub(super) fn note_subscription(
        &mut self,
        request: &Request,
        flow: FlowId,
        response: FinalResponse<'_>,
        now: Now,
    ) {
        let accepted = response.status.is_success() && *request.method() == Method::Subscribe;
        if accepted && self.flows.contains_key(&flow) {
            // RFC 6665 s.3.1.1: the answer says how long; none is like a poll.
            let expires = response.headers.typed::<Expires>();
            let seconds = expires.ok().flatten().map_or(0, |Expires(seconds)| seconds);
            self.subscribed_on.insert(request, flow, seconds, now.instant);
        }
    }

    pub(super) fn finish_relay(
        &mut self,
        asker: Asker,
        request: &Request,
        answer: &Answer<'_>,
        now: Now,
    ) {
        match answer {
            Answer::Response(response) => {
                self.respond(asker, forward::response(request, *response), now);
            }
            Answer::Lost | Answer::Timeout if *request.method() == Method::Notify => {
                self.finish_lost_notify(asker, request, answer, now);
            }
            Answer::Lost | Answer::Timeout => self.respond_unreachable(asker, request, now),
        }
    }

    pub(super) fn respond_unreachable(&mut self, asker: Asker, request: &Request, now: Now) {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        self.respond_status(asker, request, status, "Not Reachable", now);
    }
}

/// Returns the domain of an address that no user can have, such as one with a NUL.
fn impossible_user(uri: &Uri) -> Option<Jid> {
    match s2x_address(uri) {
        Err(AddressError::NotAJid(_) | AddressError::Undecodable) => {
            uri.host()?.name().and_then(|name| Domain::parse(name).ok()).map(Jid::from)
        }
        _ => None,
    }
}

/// Returns the address of the user that a URI names.
pub(super) fn user_of(uri: &Uri) -> Result<Jid, Denial> {
    match s2x_address(uri) {
        Ok(jid) if jid.localpart().is_some() => Ok(jid.bare()),
        Err(AddressError::Sips) => Err(Denial::Sips),
        Err(AddressError::Scheme(_)) => {
            Err(Refusal::new(StatusCode::UNSUPPORTED_URI_SCHEME).into())
        }
        Ok(_) | Err(_) => Err(Refusal::new(StatusCode::NOT_FOUND).into()),
    }
}
