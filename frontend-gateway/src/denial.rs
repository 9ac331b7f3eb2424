//! A request that is not done: the answer, with the header fields that belong to it.

use sip_proto::auth::Challenge;
use sip_proto::header::{Warning, WarningValue};
use sip_proto::message::{OutgoingResponse, Request};
use sip_proto::uri::Host;
use sip_proto::{HeaderError, Refusal, StatusCode};

/// Why a request is not done, and what its sender is told.
#[derive(Debug)]
pub enum Denial {
    /// It is refused.
    Refused(Refusal),
    /// Its sender must prove who it is.
    Challenged(Vec<Challenge>),
    /// It asks for TLS on every hop, which cannot be kept across the gateway (RFC 7247 s.8).
    Sips,
}

impl Denial {
    /// Makes a denial with a reason phrase.
    pub fn new(status: StatusCode, reason: &str) -> Self {
        Self::Refused(Refusal::with_reason(status, reason))
    }

    /// Returns the status code of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal.status,
            Self::Challenged(_) => StatusCode::UNAUTHORIZED,
            Self::Sips => StatusCode::TEMPORARILY_UNAVAILABLE,
        }
    }

    /// Returns what the answer says, for a person.
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused(refusal) => &refusal.reason_phrase,
            Self::Challenged(_) => "authentication is needed",
            Self::Sips => "SIPS Not Allowed",
        }
    }

    /// Returns the answer. `agent` is how we call ourselves.
    pub fn response(&self, request: &Request, to_tag: &str, agent: &Host) -> OutgoingResponse {
        match self {
            Self::Refused(refusal) => refusal.response(request, to_tag),
            Self::Challenged(challenges) => {
                let mut response = OutgoingResponse::to(request, self.status(), Some(to_tag));
                for challenge in challenges {
                    response.headers_mut().push(challenge);
                }
                response
            }
            Self::Sips => {
                let mut response = OutgoingResponse::to(request, self.status(), Some(to_tag));
                // RFC 5630 s.5.1.2: the warning that tells the reason.
                let warning = WarningValue::new(380, agent, "SIPS Not Allowed");
                response.headers_mut().push(&Warning(vec![warning]));
                response
            }
        }
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<HeaderError> for Denial {
    fn from(error: HeaderError) -> Self {
        Self::Refused(error.into())
    }
}
