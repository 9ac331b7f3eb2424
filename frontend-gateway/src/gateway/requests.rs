//! SIP requests that come from the inside: checked, judged, and given to whoever they are for.

use sip_proto::header::{Expires, HeaderName};
use sip_proto::inspect::{Capabilities, MethodRules, inspect};
use sip_proto::message::{OutgoingResponse, Request};
use sip_proto::uri::Scheme;
use sip_proto::usage::subscription::unknown_subscription;
use sip_proto::{Method, Refusal, StatusCode};
use xmpp_proto::jid::Jid;

use super::Gateway;
use super::stanzas::record_refusal;
use crate::address::{AddressError, s2x_address};
use crate::clock::Now;
use crate::denial::Denial;
use crate::exchange::ExchangeId;
use crate::facts::Facts;
use crate::notice;
use crate::pidf;
use crate::policy::{Direction, Gate, Subject};
use crate::translate::message::TEXT_TYPES;

/// The methods that a gateway answers.
pub(super) const ALLOWED: &str = "MESSAGE, SUBSCRIBE, NOTIFY, OPTIONS";

const CAPABILITIES: Capabilities = Capabilities {
    methods: &[
        MethodRules { method: Method::Message, understood: TEXT_TYPES, generated: &[] },
        MethodRules { method: Method::Subscribe, understood: &[], generated: &[pidf::MEDIA_TYPE] },
        MethodRules { method: Method::Notify, understood: &[pidf::MEDIA_TYPE], generated: &[] },
        MethodRules { method: Method::Options, understood: &[], generated: &[] },
    ],
    schemes: &[Scheme::Sip, Scheme::Sips, Scheme::Im, Scheme::Pres],
    extensions: &[],
};

/// A request that waits for its answer.
pub(super) struct Asked<'a> {
    pub(super) exchange: ExchangeId,
    pub(super) facts: Facts<'a>,
    pub(super) now: Now,
}

impl Gateway {
    pub(super) fn take_request(
        &mut self,
        exchange: ExchangeId,
        request: &Request,
        facts: Facts<'_>,
        now: Now,
    ) {
        let asked = Asked { exchange, facts, now };
        if let Err(denial) = self.answer(&asked, request) {
            self.deny(exchange, request, &denial);
        }
    }

    pub(super) fn deny(&mut self, exchange: ExchangeId, request: &Request, denial: &Denial) {
        let (method, status) = (request.method(), denial.status().code());
        metrics::counter!("gateway_requests_refused_total", "status" => status.to_string())
            .increment(1);
        tracing::debug!(%method, status, reason = denial.reason(), "a SIP request was refused");
        let response = denial.response(request, &self.ids.tag(), &self.settings.sent_by.host);
        self.respond(exchange, response);
    }

    /// Answers a request, or sees to it that it will be answered.
    fn answer(&mut self, asked: &Asked<'_>, request: &Request) -> Result<(), Denial> {
        inspect(request, &CAPABILITIES)?;
        if *request.method() == Method::Options {
            return self.answer_options(asked, request);
        }
        // A NOTIFY goes to the Contact of our SUBSCRIBE; its addresses are those of the dialog.
        if *request.method() == Method::Notify {
            return self.answer_notify(asked, request);
        }
        let (from, to) = addresses(request)?;
        if request.is_in_dialog() {
            if *request.method() != Method::Subscribe {
                return Err(unknown_subscription().into());
            }
            // A policy that has changed since the subscription began holds from its refresh on.
            let ends = matches!(request.headers().typed::<Expires>()?, Some(Expires(0)));
            if !ends {
                permit(&from, &to, Subject::Presence, asked.facts)?;
            }
            return self.answer_resubscribe(asked, request, &from);
        }
        // RFC 3261 s.20.22: what would cross over has no hop left.
        if request.max_forwards()?.0 == 0 {
            return Err(Refusal::new(StatusCode::TOO_MANY_HOPS).into());
        }
        let subject = match request.method() {
            Method::Subscribe => Subject::Presence,
            _ => Subject::Message,
        };
        permit(&from, &to, subject, asked.facts)?;
        match request.method() {
            Method::Subscribe => self.answer_subscribe(asked, request, &from, &to),
            _ if notice::is_notice(request) => self.accept_notice(asked, request, &from, &to),
            _ => self.accept_s2x(asked, request, &from, &to),
        }
    }

    fn answer_options(&mut self, asked: &Asked<'_>, request: &Request) -> Result<(), Denial> {
        let tag = self.ids.tag();
        let mut response = OutgoingResponse::to(request, StatusCode::OK, Some(&tag));
        response.headers_mut().push_text(HeaderName::Allow, ALLOWED);
        self.respond(asked.exchange, response);
        Ok(())
    }
}

/// Returns sender and recipient of a request (RFC 7247 s.6).
fn addresses(request: &Request) -> Result<(Jid, Jid), Denial> {
    // RFC 7247 s.8: also when only To is a SIPS address.
    let sips = |uri: &sip_proto::uri::Uri| *uri.scheme() == Scheme::Sips;
    if [request.uri(), request.to().uri(), request.from().uri()].into_iter().any(sips) {
        return Err(Denial::Sips);
    }
    let from = s2x_address(request.from().uri()).map_err(|error| denial(&error))?;
    let to = s2x_address(request.uri()).map_err(|error| denial(&error))?;
    if from.localpart().is_none() || to.localpart().is_none() {
        return Err(Refusal::new(StatusCode::NOT_FOUND).into());
    }
    Ok((from, to))
}

fn denial(error: &AddressError) -> Denial {
    match error {
        AddressError::Sips => Denial::Sips,
        AddressError::Scheme(_) => Refusal::new(StatusCode::UNSUPPORTED_URI_SCHEME).into(),
        AddressError::Undecodable | AddressError::NotAJid(_) | AddressError::NotAUri => {
            Denial::new(StatusCode::NOT_FOUND, &error.to_string())
        }
    }
}

fn permit(from: &Jid, to: &Jid, subject: Subject, facts: Facts<'_>) -> Result<(), Denial> {
    let permit = facts.decide(&from.bare(), &to.bare(), Direction::S2x, subject);
    permit.map(drop).map_err(|refusal| {
        record_refusal(&refusal, "", "s2x");
        let status = match refusal.gate() {
            Gate::Partner => StatusCode::NOT_FOUND,
            _ => StatusCode::FORBIDDEN,
        };
        Denial::new(status, &refusal.to_string())
    })
}
