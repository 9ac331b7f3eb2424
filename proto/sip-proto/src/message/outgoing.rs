//! Messages that are built here: a request before it has a Via, and a response.

use bytes::Bytes;
use compact_str::CompactString;

use super::{Addressing, Body, Request};
use crate::error::HeaderError;
use crate::header::{CSeq, CallId, HeaderName, MaxForwards, MediaType, NameAddr, TypedHeader, Via};
use crate::headers::Headers;
use crate::method::Method;
use crate::status::StatusCode;
use crate::uri::Uri;
use crate::write;

/// A request to be sent. The transaction that sends it adds the Via.
///
/// Content-Length is always that of the body.
#[derive(Clone, Debug)]
pub struct OutgoingRequest {
    method: Method,
    uri: Uri,
    headers: Headers,
    body: Body,
}

/// The parts of a request that RFC 3261 s.8.1.1 makes mandatory, less Via and Max-Forwards.
#[derive(Clone, Debug)]
pub struct RequestParts<'a> {
    /// The method, which also stands in CSeq.
    pub method: Method,
    /// The Request-URI; its header fields and method parameter are left out.
    pub uri: &'a Uri,
    /// From with our tag.
    pub from: &'a NameAddr,
    /// To; without tag outside of a dialog.
    pub to: &'a NameAddr,
    /// Call-ID.
    pub call_id: &'a CallId,
    /// The number of CSeq.
    pub sequence_number: u32,
}

impl OutgoingRequest {
    /// Makes a request with its mandatory header fields and Max-Forwards 70.
    #[must_use]
    pub fn new(parts: RequestParts<'_>) -> Self {
        let RequestParts { method, uri, from, to, call_id, sequence_number } = parts;
        let mut headers = Headers::with_room();
        headers.push(&MaxForwards::default());
        headers.push_address(HeaderName::From, from);
        headers.push_address(HeaderName::To, to);
        headers.push(call_id);
        headers.push(&CSeq { number: sequence_number, method: method.clone() });
        Self { method, uri: uri.to_request_uri(), headers, body: Body::default() }
    }

    /// Sets Max-Forwards, for a request that carries on one that was received.
    pub fn set_max_forwards(&mut self, value: MaxForwards) {
        self.headers.replace_first(HeaderName::MaxForwards, |out| value.write(out));
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the Request-URI.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the header fields.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Returns the header fields, to which others are added.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// Sets the body and its media type.
    pub fn set_body(&mut self, media_type: &MediaType, body: Bytes) {
        self.headers.remove(HeaderName::ContentType);
        self.headers.push(media_type);
        self.body = Body(body);
    }

    /// Returns the request as its receiver reads it, for one within the same process.
    ///
    /// # Errors
    /// Fails when the receiver would refuse it: an address was made of parts that are none.
    pub fn into_received(self, via: Via) -> Result<Request, HeaderError> {
        let Self { method, uri, mut headers, body } = self;
        headers.push_first(&via);
        let address = |name| {
            let value = headers.first(name).ok_or(HeaderError::missing(name))?;
            NameAddr::parse(value).map_err(|error| HeaderError::malformed(name, error))
        };
        let addressing = Addressing {
            via,
            via_count: 1,
            from: address(HeaderName::From)?,
            to: address(HeaderName::To)?,
            call_id: headers.required()?,
            cseq: headers.required()?,
        };
        let mut request = Request::parsed(method, uri, addressing, headers);
        request.set_body(body.0);
        Ok(request)
    }

    /// Returns the request as bytes with its Via.
    #[must_use]
    pub fn to_bytes(&self, via: &Via) -> Bytes {
        write::request(&self.method, &self.uri, Some(via), &self.headers, &self.body.0)
    }
}

/// A response to be sent. Content-Length is always that of the body.
#[derive(Clone, Debug)]
pub struct OutgoingResponse {
    status: StatusCode,
    reason_phrase: CompactString,
    headers: Headers,
    body: Body,
}

impl OutgoingResponse {
    /// Makes the response to a request with the usual reason phrase.
    ///
    /// Every Via, From, To, Call-ID and CSeq are copied as they were received; a To without tag
    /// gets `to_tag`, which only a 100 can do without (RFC 3261 s.8.2.6.2).
    #[must_use]
    pub fn to(request: &Request, status: StatusCode, to_tag: Option<&str>) -> Self {
        let to_tag = to_tag.filter(|_| request.to().tag().is_none());
        Self::copying(status, status.reason_phrase(), request.headers(), to_tag)
    }

    /// Sets the reason phrase. Control characters are left out.
    #[must_use]
    pub fn with_reason_phrase(mut self, reason_phrase: &str) -> Self {
        self.reason_phrase = reason_phrase.chars().filter(|it| !it.is_control()).collect();
        self
    }

    /// Makes the response to a request that could not be read; a To that cannot be read either
    /// gets no tag.
    pub(crate) fn echoing(
        status: StatusCode,
        reason_phrase: &str,
        echo: &Headers,
        to_tag: &str,
    ) -> Self {
        let to = echo.first(HeaderName::To).map(NameAddr::parse);
        let is_untagged = to.is_some_and(|to| to.is_ok_and(|address| address.tag().is_none()));
        Self::copying(status, reason_phrase, echo, is_untagged.then_some(to_tag))
    }

    fn copying(
        status: StatusCode,
        reason_phrase: &str,
        echo: &Headers,
        to_tag: Option<&str>,
    ) -> Self {
        let mut headers = Headers::with_room();
        headers.copy_rows(echo, HeaderName::Via);
        headers.copy_rows(echo, HeaderName::From);
        match (echo.first(HeaderName::To), to_tag) {
            (Some(to), Some(tag)) => headers.push_tagged(HeaderName::To, to, tag),
            _ => headers.copy_rows(echo, HeaderName::To),
        }
        headers.copy_rows(echo, HeaderName::CallId);
        headers.copy_rows(echo, HeaderName::CSeq);
        let reason_phrase = CompactString::new(reason_phrase);
        Self { status, reason_phrase, headers, body: Body::default() }
    }

    /// Returns the status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the reason phrase.
    #[must_use]
    pub fn reason_phrase(&self) -> &str {
        &self.reason_phrase
    }

    /// Returns the header fields.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Returns the header fields, to which others are added.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// Sets the body and its media type.
    pub fn set_body(&mut self, media_type: &MediaType, body: Bytes) {
        self.headers.remove(HeaderName::ContentType);
        self.headers.push(media_type);
        self.body = Body(body);
    }

    /// Returns the response as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        write::response(self.status, &self.reason_phrase, &self.headers, &self.body.0)
    }
}
