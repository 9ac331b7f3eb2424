//! A request that was received.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::{Addressing, Body};
use crate::error::HeaderError;
use crate::header::{
    CSeq, CallId, HeaderName, MaxForwards, MediaType, NameAddr, RecordRoute, TypedHeader, Via,
};
use crate::headers::Headers;
use crate::method::Method;
use crate::scan::Scanner;
use crate::uri::Uri;
use crate::write;

/// A request whose start line, Via, From, To, Call-ID and CSeq follow the grammar.
///
/// Other header fields are read when they are asked for; `inspect` checks those that any UAS
/// depends on. A clone shares everything.
#[derive(Clone, Debug)]
pub struct Request {
    head: Arc<Head>,
    body: Body,
}

#[derive(Clone, Debug)]
struct Head {
    method: Method,
    uri: Uri,
    addressing: Addressing,
    headers: Headers,
}

impl Request {
    pub(crate) fn parsed(
        method: Method,
        uri: Uri,
        addressing: Addressing,
        headers: Headers,
    ) -> Self {
        let head = Arc::new(Head { method, uri, addressing, headers });
        Self { head, body: Body::default() }
    }

    pub(crate) fn set_body(&mut self, body: Bytes) {
        self.body = Body(body);
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// Returns the Request-URI.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.head.uri
    }

    /// Returns the topmost Via value.
    #[must_use]
    pub fn via(&self) -> &Via {
        &self.head.addressing.via
    }

    /// Returns From.
    #[must_use]
    pub fn from(&self) -> &NameAddr {
        &self.head.addressing.from
    }

    /// Returns To.
    #[must_use]
    pub fn to(&self) -> &NameAddr {
        &self.head.addressing.to
    }

    /// Returns Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &CallId {
        &self.head.addressing.call_id
    }

    /// Returns CSeq. Its method can differ from that of the request, which `inspect` refuses.
    #[must_use]
    pub fn cseq(&self) -> &CSeq {
        &self.head.addressing.cseq
    }

    /// Returns all header fields except Content-Length.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.head.headers
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body.0
    }

    /// Returns Max-Forwards, 70 when it is absent (RFC 3261 s.16.6).
    ///
    /// # Errors
    /// Fails when the value is malformed.
    pub fn max_forwards(&self) -> Result<MaxForwards, HeaderError> {
        Ok(self.head.headers.typed()?.unwrap_or_default())
    }

    /// Returns the media type of the body.
    ///
    /// # Errors
    /// Fails when the value is malformed.
    pub fn content_type(&self) -> Result<Option<MediaType>, HeaderError> {
        self.head.headers.typed()
    }

    /// Says whether the request belongs to a dialog or claims to.
    #[must_use]
    pub fn is_in_dialog(&self) -> bool {
        self.head.addressing.to.tag().is_some()
    }

    /// Records in the topmost Via where the request came from: `received`, and `rport` when the
    /// sender asks for it (RFC 3261 s.18.2.1, RFC 3581 s.4). Responses copy it.
    pub fn record_source(&mut self, source: SocketAddr) {
        let head = Arc::make_mut(&mut self.head);
        let via = &mut head.addressing.via;
        via.record_source(source);
        let mut others = Scanner::new(head.headers.first(HeaderName::Via).unwrap_or_default());
        // Only with others are there some to find behind it.
        let has_others =
            head.addressing.via_count > 1 && Via::skip(&mut others).is_ok() && !others.is_done();
        let others = if has_others { others.rest().to_owned() } else { String::new() };
        head.headers.replace_first(HeaderName::Via, |out| {
            via.write(out);
            out.push_str(&others);
        });
    }

    /// Removes what proves the sender to this element, which is no other one's business.
    pub fn remove_credentials(&mut self) {
        let names = [HeaderName::Authorization, HeaderName::ProxyAuthorization];
        if names.iter().any(|name| self.head.headers.has(*name)) {
            let head = Arc::make_mut(&mut self.head);
            names.into_iter().for_each(|name| head.headers.remove(name));
        }
    }

    /// Puts a proxy on the path of the dialog that the request begins (RFC 3261 s.16.6 step 4).
    pub fn record_route(&mut self, hop: NameAddr) {
        Arc::make_mut(&mut self.head).headers.push_first(&RecordRoute(vec![hop]));
    }

    /// Returns the request as bytes, parsed, unfolded and written again.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        write::request(&self.head.method, &self.head.uri, None, &self.head.headers, &self.body.0)
    }
}
