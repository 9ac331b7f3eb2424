//! Messages: what was received, typed as far as every message is, and what is to be sent.

mod final_response;
mod outgoing;
mod request;
mod response;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

pub use self::final_response::FinalResponse;
pub use self::outgoing::{OutgoingRequest, OutgoingResponse, RequestParts};
pub use self::request::Request;
pub use self::response::Response;
use crate::header::{CSeq, CallId, NameAddr, Via};

/// A message that was received.
#[derive(Clone, Debug)]
pub enum Message {
    /// A request.
    Request(Box<Request>),
    /// A response.
    Response(Box<Response>),
}

/// A body, of which logs show the length alone.
#[derive(Clone, Default)]
struct Body(Bytes);

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes", self.0.len())
    }
}

/// The header fields that every message has, read once while it is parsed.
#[derive(Clone, Debug)]
pub(crate) struct Addressing {
    pub(crate) via: Via,
    pub(crate) via_count: usize,
    pub(crate) from: NameAddr,
    pub(crate) to: NameAddr,
    pub(crate) call_id: CallId,
    pub(crate) cseq: CSeq,
}

impl Message {
    /// Returns the message as bytes: parsed, unfolded and written again, so that nothing crosses
    /// that was not read.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Request(request) => request.to_bytes(),
            Self::Response(response) => response.to_bytes(),
        }
    }

    pub(crate) fn set_body(&mut self, body: Bytes) {
        match self {
            Self::Request(request) => request.set_body(body),
            Self::Response(response) => response.set_body(body),
        }
    }
}
