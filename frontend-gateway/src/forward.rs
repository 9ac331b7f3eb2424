//! Requests and responses that are carried between the inside and the gateway, built anew.

use sip_proto::header::{HeaderName, MaxForwards, NameAddr, RecordRoute, Route};
use sip_proto::message::{FinalResponse, OutgoingRequest, OutgoingResponse, Request, RequestParts};
use sip_proto::transaction::Transport;
use sip_proto::uri::{Host, Uri};
use sip_proto::{Headers, Refusal, StatusCode};

/// The user part by which we know our own Record-Route again.
const ROUTE_USER: &str = "isthmus";

/// What a response, or a request, of one side does not tell the other.
///
/// Via and Route are each hop's own. Credentials are for the registrar alone. The mandatory header
/// fields and the body's are written with the message.
const NOT_CARRIED: [HeaderName; 15] = [
    HeaderName::Via,
    HeaderName::Route,
    HeaderName::RecordRoute,
    HeaderName::MaxForwards,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::ContentType,
    HeaderName::ContentLength,
    HeaderName::Authorization,
    HeaderName::ProxyAuthorization,
    HeaderName::WwwAuthenticate,
    HeaderName::ProxyAuthenticate,
    HeaderName::Other,
];

/// Makes the request that carries another one on to `uri`.
///
/// # Errors
/// Fails with 483 when the request has passed too many hops, 400 when it cannot be read.
pub fn request(received: &Request, uri: &Uri) -> Result<OutgoingRequest, Refusal> {
    let hops_left = received.max_forwards()?;
    let hops_left = hops_left.0.checked_sub(1).ok_or(Refusal::new(StatusCode::TOO_MANY_HOPS))?;
    let mut request = OutgoingRequest::new(RequestParts {
        method: received.method().clone(),
        uri,
        from: received.from(),
        to: received.to(),
        call_id: received.call_id(),
        sequence_number: received.cseq().number,
    });
    request.set_max_forwards(MaxForwards(hops_left));
    carry(received.headers(), request.headers_mut());
    if let Some(media_type) = received.content_type()? {
        request.set_body(&media_type, received.body().clone());
    }
    Ok(request)
}

/// Makes the response that carries another one back.
pub fn response(request: &Request, received: FinalResponse<'_>) -> OutgoingResponse {
    let to = received.headers.first(HeaderName::To).and_then(|it| NameAddr::parse(it).ok());
    let to_tag = to.as_ref().and_then(NameAddr::tag);
    let mut response = OutgoingResponse::to(request, received.status, to_tag)
        .with_reason_phrase(received.reason_phrase);
    if let Ok(Some(recorded)) = received.headers.typed::<RecordRoute>() {
        response.headers_mut().push(&recorded);
    }
    carry(received.headers, response.headers_mut());
    response
}

fn carry(from: &Headers, to: &mut Headers) {
    for row in from.iter().filter(|row| !NOT_CARRIED.contains(&row.name)) {
        to.push_text(row.name, row.value);
    }
}

/// Returns the Record-Route by which we stay on the path of a dialog.
pub fn own_route(host: impl Into<Host>, port: u16, transport: Transport) -> NameAddr {
    let mut hop = contact(Some(ROUTE_USER), host, port, transport).uri().clone();
    hop.set_parameter("lr", "");
    NameAddr::new(hop)
}

/// Returns the address of a user at one of our own addresses.
pub fn contact(
    user: Option<&str>,
    host: impl Into<Host>,
    port: u16,
    transport: Transport,
) -> NameAddr {
    let mut uri = Uri::sip(user, host.into());
    uri.set_port(Some(port));
    let transport = match transport {
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
    };
    uri.set_parameter("transport", transport);
    NameAddr::new(uri)
}

/// Returns the hops that a request is to pass after ourselves; `is_own` knows our names.
pub fn routes_beyond(request: &Request, is_own: impl Fn(&Host) -> bool) -> Vec<NameAddr> {
    let Ok(Some(Route(hops))) = request.headers().typed::<Route>() else { return Vec::new() };
    let is_ours = |hop: &NameAddr| {
        let uri = hop.uri();
        uri.user() == Some(ROUTE_USER) || uri.host().is_some_and(&is_own)
    };
    hops.into_iter().filter(|hop| !is_ours(hop)).collect()
}
