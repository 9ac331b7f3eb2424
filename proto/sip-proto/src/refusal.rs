//! A request refused: the answer, and what it tells the peer to change.

use crate::error::{Fault, HeaderError};
use crate::header::{Allow, HeaderName, MinExpires};
use crate::message::{OutgoingResponse, Request};
use crate::status::StatusCode;

/// The refusal of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("request refused with {status}: {reason_phrase}")]
pub struct Refusal {
    /// The status code of the answer.
    pub status: StatusCode,
    /// The reason phrase of the answer.
    pub reason_phrase: String,
    hint: Hint,
}

/// The header field of the answer that says what would have been accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    None,
    Allow(Allow),
    Unsupported(Vec<String>),
    Accept(&'static [&'static str]),
    AcceptEncoding,
    AllowEvents(&'static [&'static str]),
    MinExpires(u32),
}

impl Refusal {
    /// Makes a refusal with the usual reason phrase.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self::with_reason(status, status.reason_phrase())
    }

    /// Makes a refusal with a reason phrase of its own.
    #[must_use]
    pub fn with_reason(status: StatusCode, reason: &str) -> Self {
        Self { status, reason_phrase: reason.to_owned(), hint: Hint::None }
    }

    /// Makes the refusal of content of other media types than those that are understood, which
    /// the answer lists (RFC 3261 s.21.4.13).
    #[must_use]
    pub fn unsupported_media_type(understood: &'static [&'static str]) -> Self {
        Self::hinting(StatusCode::UNSUPPORTED_MEDIA_TYPE, Hint::Accept(understood))
    }

    pub(crate) fn bad_request(reason: &str) -> Self {
        Self::with_reason(StatusCode::BAD_REQUEST, reason)
    }

    pub(crate) fn hinting(status: StatusCode, hint: Hint) -> Self {
        Self { hint, ..Self::new(status) }
    }

    /// Says whose fault it is: 403 is ours to decide, 500 and 503 are our state or our limits,
    /// and anything else the peer can change.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self.status {
            StatusCode::FORBIDDEN => Fault::Policy,
            StatusCode::SERVER_INTERNAL_ERROR | StatusCode::SERVICE_UNAVAILABLE => Fault::Local,
            _ => Fault::Peer,
        }
    }

    /// Returns the answer.
    #[must_use]
    pub fn response(&self, request: &Request, to_tag: &str) -> OutgoingResponse {
        let mut response = OutgoingResponse::to(request, self.status, Some(to_tag))
            .with_reason_phrase(&self.reason_phrase);
        let headers = response.headers_mut();
        match &self.hint {
            Hint::None => {}
            Hint::Allow(methods) => headers.push(methods),
            Hint::Unsupported(tags) => {
                let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
                headers.push_tokens(HeaderName::Unsupported, &tags);
            }
            Hint::Accept(names) => headers.push_text(HeaderName::Accept, &names.join(", ")),
            Hint::AcceptEncoding => headers.push_text(HeaderName::AcceptEncoding, "identity"),
            Hint::AllowEvents(packages) => headers.push_tokens(HeaderName::AllowEvents, packages),
            Hint::MinExpires(seconds) => headers.push(&MinExpires(*seconds)),
        }
        response
    }
}

impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Self {
        Self::bad_request(&error.reason_phrase())
    }
}
