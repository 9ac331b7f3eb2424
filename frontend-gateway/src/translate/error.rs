//! Both error tables of RFC 7247 s.7, with their notes.

use percent_encoding::AsciiSet;
use sip_proto::StatusCode;
use sip_proto::uri::Uri;
use xmpp_proto::jid::Jid;
use xmpp_proto::stanza::error::{StanzaCondition, StanzaError};

use crate::address::{s2x_address, x2s_address};

/// The longest text that is carried over, in characters.
const TEXT_CHARACTERS_MAX: usize = 200;

/// What is percent-encoded in the path of an xmpp IRI (RFC 5122 s.2.2).
const ENCODED_IN_IRI: &AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'@')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_')
    .remove(b'/')
    .remove(b'~');

/// A final response other than 2xx, as far as an error decides it.
#[derive(Clone, Debug, PartialEq)]
pub struct SipFailure {
    /// The status code.
    pub status: StatusCode,
    /// Words for a person; empty for the usual ones.
    pub reason_phrase: String,
    /// Where to go instead, for 301 and 302.
    pub contact: Option<Uri>,
}

/// Returns the stanza error for a SIP failure (RFC 7247 Table 3).
///
/// `contact` is that of a 3xx response.
pub fn s2x_error(status: StatusCode, reason_phrase: &str, contact: Option<&Uri>) -> StanzaError {
    let address = contact
        .and_then(|uri| s2x_address(uri).ok())
        .map(|jid| format!("xmpp:{}", percent_encoded(&jid)));
    let condition = match (s2x_condition(status.code()), &address) {
        // Table 3 (1): 301 is `gone` with the new address; without one it cannot be.
        (StanzaCondition::Gone, None) if status.code() == 301 => StanzaCondition::Redirect,
        (condition, _) => condition,
    };
    let carries = status.code() != 410
        && matches!(condition, StanzaCondition::Gone | StanzaCondition::Redirect);
    let error = StanzaError::new(condition).with_text(text_of(status, reason_phrase));
    StanzaError { address: address.filter(|_| carries), ..error }
}

fn s2x_condition(code: u16) -> StanzaCondition {
    use StanzaCondition as C;
    match code {
        301 | 410 => C::Gone,
        380 | 406 | 415 | 416 | 421 | 482 | 483 | 488 | 505 | 606 => C::NotAcceptable,
        300..=399 => C::Redirect,
        401 => C::NotAuthorized,
        403 => C::Forbidden,
        404 | 481 | 484 | 485 | 604 => C::ItemNotFound,
        405 | 420 | 439 | 501 => C::FeatureNotImplemented,
        407 => C::RegistrationRequired,
        408 | 504 => C::RemoteServerTimeout,
        413 | 414 | 440 | 489 | 513 => C::PolicyViolation,
        423 => C::ResourceConstraint,
        430 | 480 | 486 | 487 => C::RecipientUnavailable,
        491 => C::UnexpectedRequest,
        502 => C::RemoteServerNotFound,
        500..=599 => C::InternalServerError,
        600..=699 => C::RecipientUnavailable,
        _ => C::BadRequest,
    }
}

fn text_of(status: StatusCode, reason_phrase: &str) -> String {
    match one_line(reason_phrase) {
        text if text.is_empty() => status.reason_phrase().to_owned(),
        text => text,
    }
}

/// Returns the SIP failure for a stanza error (RFC 7247 Table 2).
///
/// `to_full_jid` says whether the failed stanza went to a full JID: notes (1) and (2) tell the
/// failure of one resource from that of the whole user.
pub fn x2s_error(error: &StanzaError, to_full_jid: bool) -> SipFailure {
    let contact = error.address.as_deref().and_then(contact_of);
    let code = x2s_code(error.condition, to_full_jid, contact.is_some());
    let status = StatusCode::new(code).unwrap_or(StatusCode::SERVER_INTERNAL_ERROR);
    SipFailure {
        status,
        reason_phrase: error.text.as_deref().map(one_line).unwrap_or_default(),
        contact: contact.filter(|_| matches!(code, 301 | 302)),
    }
}

fn x2s_code(condition: StanzaCondition, to_full_jid: bool, has_contact: bool) -> u16 {
    use StanzaCondition as C;
    let by_jid = |full, bare| if to_full_jid { full } else { bare };
    match condition {
        C::BadRequest | C::Conflict | C::JidMalformed => 400,
        C::SubscriptionRequired | C::UndefinedCondition | C::UnexpectedRequest => 400,
        C::FeatureNotImplemented => by_jid(405, 501),
        C::Forbidden => by_jid(403, 603),
        C::Gone if has_contact => 301,
        C::Gone => 410,
        C::InternalServerError | C::ResourceConstraint => 500,
        C::ItemNotFound => by_jid(404, 604),
        C::NotAcceptable => by_jid(406, 606),
        // RFC 3261 s.21.4.2 and s.21.4.8: 401 and 407 without a challenge are illegal.
        C::NotAllowed | C::NotAuthorized | C::PolicyViolation | C::RegistrationRequired => 403,
        // Table 2 (5): 503 would take the whole server out of service.
        C::ServiceUnavailable => 403,
        C::RecipientUnavailable => by_jid(480, 600),
        C::Redirect if has_contact => 302,
        // A 302 without a place to go helps nobody.
        C::Redirect => 480,
        C::RemoteServerNotFound => 404,
        C::RemoteServerTimeout => 408,
    }
}

/// Reads the address of `gone` or `redirect`: an XMPP or SIP URI.
fn contact_of(address: &str) -> Option<Uri> {
    match address.strip_prefix("xmpp:") {
        Some(path) => {
            let path = path.split(['?', '#']).next().unwrap_or(path);
            let decoded = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
            x2s_address(&Jid::parse(&decoded).ok()?).ok()
        }
        None => Uri::parse(address).ok().filter(Uri::is_sip),
    }
}

fn percent_encoded(jid: &Jid) -> String {
    percent_encoding::utf8_percent_encode(&jid.to_string(), ENCODED_IN_IRI).to_string()
}

/// Folds text to one line without control characters, of bounded length.
pub fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c.is_whitespace());
    let joined = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match joined.char_indices().nth(TEXT_CHARACTERS_MAX) {
        Some((end, _)) => joined[..end].to_owned(),
        None => joined,
    }
}

#[cfg(test)]
mod tests;
