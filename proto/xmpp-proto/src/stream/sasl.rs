//! SASL (RFC 6120 s.6) with the one mechanism EXTERNAL (XEP-0178).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::jid::Domain;
use crate::ns;
use crate::xml::Element;

/// A SASL error (RFC 6120 s.6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SaslCondition {
    /// The initiating entity gave up.
    Aborted,
    /// The account is disabled.
    AccountDisabled,
    /// The credentials are too old.
    CredentialsExpired,
    /// TLS must come first.
    EncryptionRequired,
    /// The data is not base64.
    IncorrectEncoding,
    /// The authorization identity is malformed or not allowed.
    InvalidAuthzid,
    /// The mechanism is missing or unknown.
    InvalidMechanism,
    /// The request breaks the syntax.
    MalformedRequest,
    /// The mechanism is too weak.
    MechanismTooWeak,
    /// The credentials are not good, or something unknown happened.
    NotAuthorized,
    /// The receiving entity has a passing problem.
    TemporaryAuthFailure,
}

const CONDITIONS: [(SaslCondition, &str); 11] = [
    (SaslCondition::Aborted, "aborted"),
    (SaslCondition::AccountDisabled, "account-disabled"),
    (SaslCondition::CredentialsExpired, "credentials-expired"),
    (SaslCondition::EncryptionRequired, "encryption-required"),
    (SaslCondition::IncorrectEncoding, "incorrect-encoding"),
    (SaslCondition::InvalidAuthzid, "invalid-authzid"),
    (SaslCondition::InvalidMechanism, "invalid-mechanism"),
    (SaslCondition::MalformedRequest, "malformed-request"),
    (SaslCondition::MechanismTooWeak, "mechanism-too-weak"),
    (SaslCondition::NotAuthorized, "not-authorized"),
    (SaslCondition::TemporaryAuthFailure, "temporary-auth-failure"),
];

impl SaslCondition {
    /// The name of the element.
    pub fn name(self) -> &'static str {
        let row = CONDITIONS.iter().find(|(condition, _)| *condition == self);
        row.map_or("not-authorized", |(_, name)| name)
    }

    /// The `<failure/>` of the condition.
    pub(crate) fn failure(self) -> Element {
        Element::new(ns::SASL, "failure").with_child(Element::new(ns::SASL, self.name()))
    }

    /// Reads a `<failure/>`.
    ///
    /// RFC 6120 s.6.5: an unknown condition is not-authorized.
    pub(crate) fn read(failure: &Element) -> Self {
        let named = |child: &Element| {
            CONDITIONS.iter().find(|(_, name)| child.is(ns::SASL, name)).map(|row| row.0)
        };
        failure.children().find_map(named).unwrap_or(Self::NotAuthorized)
    }
}

impl fmt::Display for SaslCondition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The `<auth/>` with which we authenticate as `local`.
pub(crate) fn external_request(local: &Domain) -> Element {
    // XEP-0178 s.3: older servers want the authorization identity spelled out.
    Element::new(ns::SASL, "auth")
        .with_attribute("mechanism", "EXTERNAL")
        .with_text(STANDARD.encode(local.as_str()))
}

/// The receiving side of the negotiation.
///
/// ```text
///            auth without data / challenge
/// Idle ------------------------------------> Challenged
///   ^   auth with data / success, failure        |
///   |                                            | response / success, failure
///   +--------------------------------------------+ abort / failure, auth / anew
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaslServer {
    /// No handshake is under way.
    Idle,
    /// An empty challenge asks for the authorization identity.
    Challenged,
}

/// What the receiving side answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaslStep {
    Challenge,
    Failure(SaslCondition),
    Success,
    /// The element is not one that an initiating entity sends.
    Unsupported,
}

impl SaslServer {
    /// Handles an element of the SASL namespace.
    ///
    /// `provable` is the domain of the stream header if the peer's certificate proves it and
    /// policy lets that count.
    pub(crate) fn handle(self, element: &Element, provable: Option<&Domain>) -> (Self, SaslStep) {
        let failed = |condition| (Self::Idle, SaslStep::Failure(condition));
        match (self, element.local()) {
            (_, "auth") => {
                if element.attribute("mechanism") != Some("EXTERNAL") {
                    return failed(SaslCondition::InvalidMechanism);
                }
                if provable.is_none() {
                    return failed(SaslCondition::NotAuthorized);
                }
                // RFC 6120 s.6.4.2: a response that is there but empty is "=".
                if element.nodes().is_empty() {
                    return (Self::Challenged, SaslStep::Challenge);
                }
                (Self::Idle, authorize(element, provable))
            }
            (Self::Challenged, "response") => (Self::Idle, authorize(element, provable)),
            (Self::Idle, "response") => failed(SaslCondition::MalformedRequest),
            (_, "abort") => failed(SaslCondition::Aborted),
            _ => (self, SaslStep::Unsupported),
        }
    }
}

/// Compares the authorization identity with the domain that the certificate proves.
fn authorize(element: &Element, provable: Option<&Domain>) -> SaslStep {
    match (read_authorization_identity(element), provable) {
        (Err(condition), _) => SaslStep::Failure(condition),
        (Ok(_), None) => SaslStep::Failure(SaslCondition::NotAuthorized),
        // RFC 6120 s.6.3.8: without one, the identity is derived from the certificate.
        (Ok(None), Some(_)) => SaslStep::Success,
        // RFC 6120 s.6.4.6: the identity must be that of the protected header.
        (Ok(Some(domain)), Some(provable)) if domain == *provable => SaslStep::Success,
        (Ok(Some(_)), Some(_)) => SaslStep::Failure(SaslCondition::InvalidAuthzid),
    }
}

fn read_authorization_identity(element: &Element) -> Result<Option<Domain>, SaslCondition> {
    if element.children().next().is_some() {
        return Err(SaslCondition::MalformedRequest);
    }
    let text = element.text();
    if text.is_empty() || text == "=" {
        return Ok(None);
    }
    // RFC 6120 s.13.9.1: nothing but the alphabet, and right padding.
    let octets = STANDARD.decode(&*text).map_err(|_| SaslCondition::IncorrectEncoding)?;
    let identity = String::from_utf8(octets).map_err(|_| SaslCondition::MalformedRequest)?;
    // RFC 6120 s.6.3.8: between servers it is a domainpart and nothing else.
    Domain::parse(&identity).map(Some).map_err(|_| SaslCondition::InvalidAuthzid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(data: &str) -> Element {
        Element::new(ns::SASL, "auth").with_attribute("mechanism", "EXTERNAL").with_text(data)
    }

    fn step(element: &Element) -> SaslStep {
        let peer = Domain::parse("peer.example").unwrap();
        SaslServer::Idle.handle(element, Some(&peer)).1
    }

    #[test]
    fn the_identity_of_the_header_is_accepted_named_or_not() {
        let named = external_request(&Domain::parse("peer.example").unwrap());

        assert_eq!(step(&named), SaslStep::Success);
        assert_eq!(step(&auth(&STANDARD.encode("Peer.Example."))), SaslStep::Success);
        assert_eq!(step(&auth("=")), SaslStep::Success);
    }

    #[test]
    fn any_other_identity_is_invalid() {
        for identity in
            ["victim.example", "a.peer.example", "admin@peer.example", "peer.example\0.a", "", " "]
        {
            let expected = match identity {
                "" => SaslStep::Challenge,
                _ => SaslStep::Failure(SaslCondition::InvalidAuthzid),
            };
            assert_eq!(step(&auth(&STANDARD.encode(identity))), expected, "{identity:?}");
        }
    }

    #[test]
    fn base64_is_strict() {
        for data in
            ["BBBB=CCC", "cGVl\nci5leGFtcGxl", "cGVlcg", "cGVlcg=", "cGVlch==", "====", "a b="]
        {
            let failure = SaslStep::Failure(SaslCondition::IncorrectEncoding);
            assert_eq!(step(&auth(data)), failure, "{data:?}");
        }
        assert_eq!(step(&auth("/w==")), SaslStep::Failure(SaslCondition::MalformedRequest));
    }

    #[test]
    fn a_missing_response_is_asked_for() {
        let peer = Domain::parse("peer.example").unwrap();
        let (server, step) = SaslServer::Idle.handle(&auth(""), Some(&peer));
        assert_eq!((server, step), (SaslServer::Challenged, SaslStep::Challenge));

        for data in ["", "=", &STANDARD.encode("peer.example")] {
            let response = Element::new(ns::SASL, "response").with_text(data);
            assert_eq!(
                server.handle(&response, Some(&peer)),
                (SaslServer::Idle, SaslStep::Success)
            );
        }
        let response = Element::new(ns::SASL, "response").with_text("=");
        let lapsed = server.handle(&response, None).1;
        assert_eq!(lapsed, SaslStep::Failure(SaslCondition::NotAuthorized));
    }

    #[test]
    fn what_is_out_of_place_fails() {
        let element = |name| Element::new(ns::SASL, name);
        let plain = element("auth").with_attribute("mechanism", "PLAIN").with_text("AA==");
        let nested = auth("").with_child(element("response"));

        assert_eq!(step(&element("auth")), SaslStep::Failure(SaslCondition::InvalidMechanism));
        assert_eq!(step(&plain), SaslStep::Failure(SaslCondition::InvalidMechanism));
        assert_eq!(step(&nested), SaslStep::Failure(SaslCondition::MalformedRequest));
        assert_eq!(step(&element("response")), SaslStep::Failure(SaslCondition::MalformedRequest));
        assert_eq!(step(&element("abort")), SaslStep::Failure(SaslCondition::Aborted));
        assert_eq!(step(&element("success")), SaslStep::Unsupported);
        let unproven = SaslServer::Idle.handle(&auth("="), None).1;
        assert_eq!(unproven, SaslStep::Failure(SaslCondition::NotAuthorized));
    }

    #[test]
    fn failures_are_read_back_and_unknown_ones_are_not_authorized() {
        for (condition, name) in CONDITIONS {
            assert_eq!(condition.name(), name);
            assert_eq!(SaslCondition::read(&condition.failure()), condition);
        }
        let strange = Element::new(ns::SASL, "failure").with_child(Element::new(ns::SASL, "x"));
        assert_eq!(SaslCondition::read(&strange), SaslCondition::NotAuthorized);
    }
}
