//! Dialogs: what two user agents remember of each other (RFC 3261 s.12).

mod route_set;
#[cfg(test)]
mod tests;

pub use self::route_set::RouteSet;
use crate::error::{HeaderError, Malformed};
use crate::header::{CallId, Contact, HeaderName, NameAddr, RecordRoute, TypedHeader};
use crate::message::{OutgoingRequest, Request, RequestParts};
use crate::method::Method;
use crate::refusal::Refusal;
use crate::status::StatusCode;
use crate::uri::Uri;

/// What identifies a dialog at one of its ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DialogId {
    /// The Call-ID.
    pub call_id: String,
    /// The tag of this end.
    pub local_tag: String,
    /// The tag of the other end; empty for an RFC 2543 element.
    pub remote_tag: String,
}

impl DialogId {
    /// Returns the identifier of the dialog that a received request belongs to; its local tag is
    /// empty outside of a dialog.
    #[must_use]
    pub fn of_request(request: &Request) -> Self {
        Self {
            call_id: request.call_id().as_str().to_owned(),
            local_tag: request.to().tag().unwrap_or_default().to_owned(),
            remote_tag: request.from().tag().unwrap_or_default().to_owned(),
        }
    }
}

/// A dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    call_id: CallId,
    /// Our address with our tag.
    local: NameAddr,
    /// The address of the other end with its tag.
    remote: NameAddr,
    remote_target: Uri,
    route_set: RouteSet,
    local_sequence: u32,
    remote_sequence: Option<u32>,
}

/// A dialog as plain text and numbers, for a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogSnapshot {
    /// The Call-ID.
    pub call_id: String,
    /// Our From in this dialog, with tag.
    pub local: String,
    /// The To of the other end, with tag.
    pub remote: String,
    /// Where requests go.
    pub remote_target: String,
    /// The route set, first proxy first.
    pub route_set: Vec<String>,
    /// The CSeq number of the last request sent; 0 when none was.
    pub local_sequence: u32,
    /// The highest CSeq number received.
    pub remote_sequence: Option<u32>,
}

impl Dialog {
    /// Makes the dialog that a received request creates, to which `local_tag` is the tag of our
    /// responses (RFC 3261 s.12.1.1).
    ///
    /// # Errors
    /// Fails when Contact or Record-Route is missing or malformed, with 400.
    pub fn from_request(request: &Request, local_tag: &str) -> Result<Self, Refusal> {
        Ok(Self {
            call_id: request.call_id().clone(),
            local: request.to().without_parameters().with_tag(local_tag),
            remote: request.from().clone(),
            remote_target: contact_uri(request)?.ok_or(HeaderError::missing(Contact::NAME))?,
            route_set: RouteSet::of_uas(request.headers().typed::<RecordRoute>()?),
            local_sequence: 0,
            remote_sequence: Some(request.cseq().number),
        })
    }

    /// Makes the dialog that a NOTIFY creates at the subscriber, whose SUBSCRIBE had the CSeq
    /// number `local_sequence` (RFC 6665 s.4.4.1: target and route set come from the NOTIFY).
    ///
    /// # Errors
    /// Fails when Contact or Record-Route is missing or malformed, with 400.
    pub fn from_notify(
        notify: &Request,
        local: &NameAddr,
        local_sequence: u32,
    ) -> Result<Self, Refusal> {
        let tag = notify.to().tag().unwrap_or_default();
        let dialog = Self::from_request(notify, tag)?;
        Ok(Self { local: local.clone(), local_sequence, ..dialog })
    }

    /// Returns the identifier.
    #[must_use]
    pub fn id(&self) -> DialogId {
        DialogId {
            call_id: self.call_id.as_str().to_owned(),
            local_tag: self.local.tag().unwrap_or_default().to_owned(),
            remote_tag: self.remote.tag().unwrap_or_default().to_owned(),
        }
    }

    /// Says whether a received request belongs to the dialog.
    #[must_use]
    pub fn contains(&self, request: &Request) -> bool {
        self.call_id == *request.call_id()
            && self.local.tag() == request.to().tag()
            && self.remote.tag() == request.from().tag()
    }

    /// Returns the address of the other end.
    #[must_use]
    pub fn remote(&self) -> &NameAddr {
        &self.remote
    }

    /// Returns where requests go when the route set is empty.
    #[must_use]
    pub fn remote_target(&self) -> &Uri {
        &self.remote_target
    }

    /// Makes the next request of this end (RFC 3261 s.12.2.1.1).
    pub fn request(&mut self, method: Method) -> OutgoingRequest {
        // The number cannot wrap: one request a second takes 136 years.
        self.local_sequence = self.local_sequence.saturating_add(1);
        let (uri, route) = self.route_set.apply(&self.remote_target);
        let mut request = OutgoingRequest::new(RequestParts {
            method,
            uri: &uri,
            from: &self.local,
            to: &self.remote,
            call_id: &self.call_id,
            sequence_number: self.local_sequence,
        });
        if let Some(route) = route {
            request.headers_mut().push(&route);
        }
        request
    }

    /// Takes a request of the other end: its order, and its Contact when it is a target refresh
    /// request (RFC 3261 s.12.2.2).
    ///
    /// # Errors
    /// Fails with 481 for another dialog, 500 for a request that comes too late, 400 for a
    /// malformed Contact; then the dialog has not changed.
    pub fn handle_request(&mut self, request: &Request) -> Result<(), Refusal> {
        if !self.contains(request) {
            return Err(Refusal::new(StatusCode::DOES_NOT_EXIST));
        }
        let number = request.cseq().number;
        if self.remote_sequence.is_some_and(|highest| number < highest) {
            return Err(Refusal::with_reason(StatusCode::SERVER_INTERNAL_ERROR, "CSeq Too Low"));
        }
        // RFC 6665 s.3.1 and s.3.2: SUBSCRIBE and NOTIFY are target refresh requests.
        let refreshes_target = matches!(request.method(), Method::Subscribe | Method::Notify);
        if let Some(uri) = contact_uri(request)?.filter(|_| refreshes_target) {
            self.remote_target = uri;
        }
        self.remote_sequence = Some(number);
        Ok(())
    }

    /// Takes the Contact of a 2xx to a target refresh request (RFC 3261 s.12.2.1.2).
    pub(crate) fn refresh_target(&mut self, contact: Option<&Contact>) {
        let address = contact.and_then(Contact::only_address).map(NameAddr::uri);
        if let Some(uri) = address.filter(|uri| uri.is_sip()) {
            self.remote_target = uri.clone();
        }
    }

    /// Returns the dialog as plain data.
    #[must_use]
    pub fn snapshot(&self) -> DialogSnapshot {
        DialogSnapshot {
            call_id: self.call_id.as_str().to_owned(),
            local: self.local.to_wire(),
            remote: self.remote.to_wire(),
            remote_target: self.remote_target.to_wire(),
            route_set: self.route_set.to_text(),
            local_sequence: self.local_sequence,
            remote_sequence: self.remote_sequence,
        }
    }

    /// Makes a dialog from plain data.
    ///
    /// # Errors
    /// Fails when a text does not follow its grammar.
    pub fn restore(snapshot: &DialogSnapshot) -> Result<Self, Malformed> {
        Ok(Self {
            call_id: CallId::parse(&snapshot.call_id)?,
            local: NameAddr::parse(&snapshot.local)?,
            remote: NameAddr::parse(&snapshot.remote)?,
            remote_target: Uri::parse(&snapshot.remote_target)?,
            route_set: RouteSet::from_text(&snapshot.route_set)?,
            local_sequence: snapshot.local_sequence,
            remote_sequence: snapshot.remote_sequence,
        })
    }
}

/// Returns the one SIP URI of Contact, if there is a Contact.
fn contact_uri(request: &Request) -> Result<Option<Uri>, HeaderError> {
    let Some(contact) = request.headers().typed::<Contact>()? else {
        return Ok(None);
    };
    let address = contact.only_address().map(NameAddr::uri).filter(|uri| uri.is_sip());
    let problem = Malformed("not one SIP URI");
    address.cloned().map(Some).ok_or(HeaderError::malformed(HeaderName::Contact, problem))
}
