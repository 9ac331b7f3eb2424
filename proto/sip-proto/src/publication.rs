//! The rules of an event state compositor over the publications of one resource (RFC 3903 s.6).

#[cfg(test)]
mod tests;

use crate::error::HeaderError;
use crate::header::{EntityTag, Event, Expires, HeaderName, IfMatch};
use crate::message::{OutgoingResponse, Request};
use crate::refusal::{Hint, Refusal};
use crate::registrar::bounded_interval;
use crate::status::StatusCode;

/// What an event state compositor accepts.
#[derive(Clone, Copy, Debug)]
pub struct PublicationRules {
    /// The event packages.
    pub packages: &'static [&'static str],
    /// Shortest publication, in seconds; at most 3600 has an effect.
    pub expires_seconds_min: u32,
    /// Publication without a wish, in seconds.
    pub expires_seconds_default: u32,
    /// Longest publication, in seconds.
    pub expires_seconds_max: u32,
    /// Publications of one resource and event package.
    pub publications_max: usize,
}

/// What a PUBLISH does to the stored state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicationChange {
    /// The body of the request is stored under the next entity-tag, in place of what the matched
    /// one names, if the request names one.
    Store,
    /// The state of the matched entity-tag is kept under the next one.
    Refresh,
    /// The state of the matched entity-tag is removed; without one nothing is stored.
    Remove,
}

/// An accepted PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// What happens to the state.
    pub change: PublicationChange,
    /// The entity-tag that the request names, which ceases to be valid.
    pub matched: Option<EntityTag>,
    /// The interval chosen, in seconds; 0 for a removal.
    pub expires_seconds: u32,
}

/// Decides about a PUBLISH for a resource of ours, whose body `inspect` has found understood.
///
/// `current` holds the entity-tags that are valid for this resource and event package.
///
/// # Errors
/// Fails with the answer; then nothing changes.
pub fn publish(
    request: &Request,
    current: &[EntityTag],
    rules: &PublicationRules,
) -> Result<Publication, Refusal> {
    let event = request.headers().typed::<Event>()?;
    if !event.is_some_and(|event| rules.packages.contains(&event.package())) {
        let hint = Hint::AllowEvents(rules.packages);
        return Err(Refusal::hinting(StatusCode::BAD_EVENT, hint));
    }
    let matched = request.headers().typed::<IfMatch>()?.map(|IfMatch(tag)| tag);
    if matched.as_ref().is_some_and(|tag| !current.contains(tag)) {
        return Err(Refusal::new(StatusCode::CONDITIONAL_REQUEST_FAILED));
    }
    let wanted = request.headers().typed::<Expires>()?.map(|Expires(seconds)| seconds);
    let expires_seconds = bounded_interval(
        wanted.unwrap_or(rules.expires_seconds_default),
        rules.expires_seconds_min,
        rules.expires_seconds_max,
    )?;
    let change = match (expires_seconds, request.body().is_empty()) {
        (0, _) => PublicationChange::Remove,
        (_, false) => PublicationChange::Store,
        (_, true) if matched.is_some() => PublicationChange::Refresh,
        // RFC 3903 s.6 step 5: without body and entity-tag there is nothing to publish.
        (_, true) => return Err(HeaderError::missing(HeaderName::SipIfMatch).into()),
    };
    let is_another = change == PublicationChange::Store && matched.is_none();
    if is_another && current.len() >= rules.publications_max {
        return Err(Refusal::with_reason(StatusCode::FORBIDDEN, "Too Many Publications"));
    }
    Ok(Publication { change, matched, expires_seconds })
}

/// Returns the 200 with the interval and the next entity-tag, which the owner draws for every
/// accepted PUBLISH and has never given to this resource before.
#[must_use]
pub fn response(
    request: &Request,
    publication: &Publication,
    entity_tag: &EntityTag,
    to_tag: &str,
) -> OutgoingResponse {
    let mut response = OutgoingResponse::to(request, StatusCode::OK, Some(to_tag));
    response.headers_mut().push(entity_tag);
    response.headers_mut().push(&Expires(publication.expires_seconds));
    response
}
