//! What every UAS checks before it looks at what a request wants (RFC 3261 s.8.2).

#[cfg(test)]
mod tests;

use crate::error::{HeaderError, Malformed};
use crate::header::{Accept, Allow, Contact, HeaderName, MediaType};
use crate::message::Request;
use crate::method::Method;
use crate::refusal::{Hint, Refusal};
use crate::status::StatusCode;
use crate::uri::{Scheme, Uri};

/// What a UAS supports.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// The methods, in the order in which Allow lists them.
    pub methods: &'static [MethodRules],
    /// The schemes that a Request-URI may have.
    pub schemes: &'static [Scheme],
    /// The option tags that Require may name.
    pub extensions: &'static [&'static str],
}

/// What a UAS supports of one method.
#[derive(Clone, Debug)]
pub struct MethodRules {
    /// The method.
    pub method: Method,
    /// The media types of bodies that are understood, as `type/subtype` in lower case.
    pub understood: &'static [&'static str],
    /// The media types of what is sent back, one of which the sender must accept; empty when
    /// nothing with a body is.
    pub generated: &'static [&'static str],
}

impl Capabilities {
    /// Returns the Allow that names every supported method.
    #[must_use]
    pub fn allow(&self) -> Allow {
        Allow(self.methods.iter().map(|rules| rules.method.clone()).collect())
    }
}

/// Checks a request in the order of RFC 3261 s.8.2: method, Request-URI, the header fields that
/// this engine depends on, extensions, content.
///
/// Left to the owner: whether it serves the domain and the user, authentication, what sips asks
/// for, Max-Forwards 0, and the rules of each method. ACK and CANCEL are not inspected: the
/// transaction layer consumes them.
///
/// # Errors
/// Fails with the answer that the request gets.
pub fn inspect(request: &Request, capabilities: &Capabilities) -> Result<(), Refusal> {
    let rules = check_method(request, capabilities)?;
    check_request_uri(request.uri(), capabilities)?;
    request.max_forwards()?;
    check_to(request)?;
    check_contact(request)?;
    check_extensions(request, capabilities)?;
    check_content(request, rules.understood)?;
    check_accept(request, rules.generated)
}

fn check_method<'a>(
    request: &Request,
    capabilities: &'a Capabilities,
) -> Result<&'a MethodRules, Refusal> {
    let allowed = || Hint::Allow(capabilities.allow());
    if !request.method().is_known() {
        // RFC 4475 s.3.1.2.18: 501 is preferred over the 400 for a CSeq of another method.
        return Err(Refusal::hinting(StatusCode::NOT_IMPLEMENTED, allowed()));
    }
    if request.cseq().method != *request.method() {
        return Err(Refusal::bad_request("CSeq Method Does Not Match"));
    }
    let rules = capabilities.methods.iter().find(|rules| rules.method == *request.method());
    rules.ok_or_else(|| Refusal::hinting(StatusCode::METHOD_NOT_ALLOWED, allowed()))
}

fn check_request_uri(uri: &Uri, capabilities: &Capabilities) -> Result<(), Refusal> {
    if !capabilities.schemes.contains(uri.scheme()) {
        return Err(Refusal::new(StatusCode::UNSUPPORTED_URI_SCHEME));
    }
    // RFC 3261 s.19.1.1: a Request-URI has no header fields; they never become ones of the request.
    if uri.headers().is_some() {
        return Err(Refusal::bad_request("Header Fields In Request-URI"));
    }
    Ok(())
}

fn check_to(request: &Request) -> Result<(), Refusal> {
    // RFC 4475 s.3.3.4: no address-of-record can be made of another scheme.
    if *request.method() == Method::Register && !request.to().uri().is_sip() {
        return Err(Refusal::bad_request("To Is Not A SIP URI"));
    }
    Ok(())
}

fn check_contact(request: &Request) -> Result<(), Refusal> {
    let contact = request.headers().typed::<Contact>()?;
    let malformed =
        |problem| Refusal::from(HeaderError::malformed(HeaderName::Contact, Malformed(problem)));
    match (request.method(), contact) {
        // RFC 3261 s.8.1.1.8: what creates a dialog has exactly one SIP or SIPS URI in Contact.
        (Method::Subscribe, None) => Err(HeaderError::missing(HeaderName::Contact).into()),
        (Method::Subscribe | Method::Invite | Method::Notify, Some(contact)) => {
            match contact.only_address() {
                Some(address) if address.uri().is_sip() => Ok(()),
                Some(_) => Err(malformed("not a SIP URI")),
                None => Err(malformed("not one address")),
            }
        }
        (Method::Register, _) | (_, None | Some(Contact::Addresses(_))) => Ok(()),
        (_, Some(Contact::Any)) => Err(malformed("a star outside of REGISTER")),
    }
}

fn check_extensions(request: &Request, capabilities: &Capabilities) -> Result<(), Refusal> {
    let required = request.headers().tokens(HeaderName::Require)?;
    let is_unsupported =
        |tag: &&str| !capabilities.extensions.iter().any(|known| known.eq_ignore_ascii_case(tag));
    let unsupported: Vec<String> =
        required.into_iter().filter(is_unsupported).map(str::to_owned).collect();
    if unsupported.is_empty() {
        return Ok(());
    }
    Err(Refusal::hinting(StatusCode::BAD_EXTENSION, Hint::Unsupported(unsupported)))
}

fn check_content(request: &Request, understood: &'static [&'static str]) -> Result<(), Refusal> {
    if request.body().is_empty() || is_content_optional(request) {
        return Ok(());
    }
    let unsupported = |hint| Err(Refusal::hinting(StatusCode::UNSUPPORTED_MEDIA_TYPE, hint));
    let encodings = request.headers().tokens(HeaderName::ContentEncoding)?;
    if encodings.iter().any(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return unsupported(Hint::AcceptEncoding);
    }
    // RFC 3261 s.20.15: Content-Type is there when the body is not empty.
    let media_type = request.headers().required::<MediaType>()?;
    if understood.contains(&media_type.name()) {
        Ok(())
    } else {
        unsupported(Hint::Accept(understood))
    }
}

/// RFC 3261 s.8.2.3: a body that may be ignored is no reason to refuse.
fn is_content_optional(request: &Request) -> bool {
    let disposition = request.headers().first(HeaderName::ContentDisposition).unwrap_or_default();
    disposition.split(';').skip(1).any(|parameter| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("handling")
                && value.trim().eq_ignore_ascii_case("optional")
        })
    })
}

fn check_accept(request: &Request, generated: &'static [&'static str]) -> Result<(), Refusal> {
    let Some(accept) = request.headers().typed::<Accept>()? else {
        return Ok(());
    };
    if generated.is_empty() || generated.iter().any(|name| accept.permits(name)) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::NOT_ACCEPTABLE))
}
