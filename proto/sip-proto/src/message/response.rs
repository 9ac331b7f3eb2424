//! A response that was received.

use bytes::Bytes;
use compact_str::CompactString;

use super::{Addressing, Body};
use crate::header::{CSeq, CallId, NameAddr, Via};
use crate::headers::Headers;
use crate::status::StatusCode;
use crate::write;

/// A response whose start line, Via, From, To, Call-ID and CSeq follow the grammar.
#[derive(Clone, Debug)]
pub struct Response {
    status: StatusCode,
    reason_phrase: CompactString,
    addressing: Addressing,
    headers: Headers,
    body: Body,
}

impl Response {
    pub(crate) fn parsed(
        status: StatusCode,
        reason_phrase: CompactString,
        addressing: Addressing,
        headers: Headers,
    ) -> Self {
        Self { status, reason_phrase, addressing, headers, body: Body::default() }
    }

    pub(crate) fn set_body(&mut self, body: Bytes) {
        self.body = Body(body);
    }

    /// Returns the status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the reason phrase, which may be empty and in any script.
    #[must_use]
    pub fn reason_phrase(&self) -> &str {
        &self.reason_phrase
    }

    /// Returns the topmost Via value.
    #[must_use]
    pub fn via(&self) -> &Via {
        &self.addressing.via
    }

    /// Returns the number of Via values. A UAC discards a response with more than one
    /// (RFC 3261 s.8.1.3.3).
    #[must_use]
    pub fn via_count(&self) -> usize {
        self.addressing.via_count
    }

    /// Returns From.
    #[must_use]
    pub fn from(&self) -> &NameAddr {
        &self.addressing.from
    }

    /// Returns To.
    #[must_use]
    pub fn to(&self) -> &NameAddr {
        &self.addressing.to
    }

    /// Returns Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &CallId {
        &self.addressing.call_id
    }

    /// Returns CSeq, whose method is that of the request.
    #[must_use]
    pub fn cseq(&self) -> &CSeq {
        &self.addressing.cseq
    }

    /// Returns all header fields except Content-Length.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body.0
    }

    /// Returns the response as bytes, parsed, unfolded and written again.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        write::response(self.status, &self.reason_phrase, &self.headers, &self.body.0)
    }
}
