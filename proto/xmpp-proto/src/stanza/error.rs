//! Stanza errors (RFC 6120 s.8.3): the conditions, and the reply that carries one.

use std::borrow::Cow;
use std::fmt;

use crate::jid::{Domain, Jid};
use crate::ns;
use crate::stanza::Stanza;
use crate::xml::Element;

/// What the sender may do about an error (RFC 6120 s.8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorType {
    /// Retry after providing credentials.
    Auth,
    /// Do not retry.
    Cancel,
    /// Go on: the condition was a warning.
    Continue,
    /// Retry after changing the data sent.
    Modify,
    /// Retry after waiting.
    Wait,
}

impl ErrorType {
    /// The value of the attribute `type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cancel => "cancel",
            Self::Continue => "continue",
            Self::Modify => "modify",
            Self::Wait => "wait",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        [Self::Auth, Self::Cancel, Self::Continue, Self::Modify, Self::Wait]
            .into_iter()
            .find(|error_type| error_type.name() == name)
    }
}

/// A defined condition of a stanza error (RFC 6120 s.8.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StanzaCondition {
    /// The sender sent what is not well understood.
    BadRequest,
    /// The address or name is taken.
    Conflict,
    /// The feature exists, but not here.
    FeatureNotImplemented,
    /// The sender lacks the permission.
    Forbidden,
    /// The recipient has left this address.
    Gone,
    /// The server failed by its own fault.
    InternalServerError,
    /// The address or item does not exist.
    ItemNotFound,
    /// An address breaks the rules of RFC 7622.
    JidMalformed,
    /// The content does not meet the criteria of the recipient.
    NotAcceptable,
    /// Nobody may do this.
    NotAllowed,
    /// The sender must authenticate first.
    NotAuthorized,
    /// A policy of the server refuses it.
    PolicyViolation,
    /// The recipient is away for a while.
    RecipientUnavailable,
    /// Another address takes this for a while.
    Redirect,
    /// The sender must register first.
    RegistrationRequired,
    /// The server of the recipient does not exist or cannot be found.
    RemoteServerNotFound,
    /// The server of the recipient exists but did not answer in time.
    RemoteServerTimeout,
    /// The server is busy or full.
    ResourceConstraint,
    /// The service is not provided.
    ServiceUnavailable,
    /// The sender must subscribe first.
    SubscriptionRequired,
    /// None of the other conditions.
    UndefinedCondition,
    /// The request came out of order.
    UnexpectedRequest,
}

/// Each condition with its element and the type that RFC 6120 s.8.3.3 gives it first.
const CONDITIONS: [(StanzaCondition, &str, ErrorType); 22] = [
    (StanzaCondition::BadRequest, "bad-request", ErrorType::Modify),
    (StanzaCondition::Conflict, "conflict", ErrorType::Cancel),
    (StanzaCondition::FeatureNotImplemented, "feature-not-implemented", ErrorType::Cancel),
    (StanzaCondition::Forbidden, "forbidden", ErrorType::Auth),
    (StanzaCondition::Gone, "gone", ErrorType::Cancel),
    (StanzaCondition::InternalServerError, "internal-server-error", ErrorType::Cancel),
    (StanzaCondition::ItemNotFound, "item-not-found", ErrorType::Cancel),
    (StanzaCondition::JidMalformed, "jid-malformed", ErrorType::Modify),
    (StanzaCondition::NotAcceptable, "not-acceptable", ErrorType::Modify),
    (StanzaCondition::NotAllowed, "not-allowed", ErrorType::Cancel),
    (StanzaCondition::NotAuthorized, "not-authorized", ErrorType::Auth),
    (StanzaCondition::PolicyViolation, "policy-violation", ErrorType::Modify),
    (StanzaCondition::RecipientUnavailable, "recipient-unavailable", ErrorType::Wait),
    (StanzaCondition::Redirect, "redirect", ErrorType::Modify),
    (StanzaCondition::RegistrationRequired, "registration-required", ErrorType::Auth),
    (StanzaCondition::RemoteServerNotFound, "remote-server-not-found", ErrorType::Cancel),
    (StanzaCondition::RemoteServerTimeout, "remote-server-timeout", ErrorType::Wait),
    (StanzaCondition::ResourceConstraint, "resource-constraint", ErrorType::Wait),
    (StanzaCondition::ServiceUnavailable, "service-unavailable", ErrorType::Cancel),
    (StanzaCondition::SubscriptionRequired, "subscription-required", ErrorType::Auth),
    (StanzaCondition::UndefinedCondition, "undefined-condition", ErrorType::Cancel),
    (StanzaCondition::UnexpectedRequest, "unexpected-request", ErrorType::Wait),
];

impl StanzaCondition {
    /// The name of the element.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The error type that goes with the condition unless there is a reason for another.
    pub fn default_type(self) -> ErrorType {
        self.row().2
    }

    /// The condition of an element name, if RFC 6120 defines it.
    pub fn of_name(name: &str) -> Option<Self> {
        CONDITIONS.iter().find(|(_, known, _)| *known == name).map(|(condition, ..)| *condition)
    }

    /// The element of the condition.
    pub fn element(self) -> Element {
        Element::new(ns::STANZA_ERRORS, self.name())
    }

    fn row(self) -> (Self, &'static str, ErrorType) {
        let undefined = (self, "undefined-condition", ErrorType::Cancel);
        CONDITIONS.into_iter().find(|(condition, ..)| *condition == self).unwrap_or(undefined)
    }
}

impl fmt::Display for StanzaCondition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The content of an `<error/>`.
#[derive(Clone, PartialEq, Eq)]
pub struct StanzaError {
    /// What went wrong.
    pub condition: StanzaCondition,
    /// What the sender may do about it.
    pub error_type: ErrorType,
    /// Words for a person, in English when they are ours.
    pub text: Option<String>,
    /// The URI to go to instead, with `gone` and `redirect` (RFC 6120 s.8.3.3.5 and s.8.3.3.14).
    pub address: Option<String>,
}

impl StanzaError {
    /// An error of the condition's default type, without words.
    pub fn new(condition: StanzaCondition) -> Self {
        Self { condition, error_type: condition.default_type(), text: None, address: None }
    }

    /// Adds words in English.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Reads the `<error/>` of an element of type `error`.
    ///
    /// What is missing or unknown counts as undefined-condition, to be cancelled
    /// (RFC 6120 s.8.3.2).
    pub fn read(failed: &Element) -> Self {
        let error = failed.child(ns::SERVER, "error");
        let conditions = error.into_iter().flat_map(Element::children);
        let (condition, address) = conditions
            .filter(|child| child.namespace() == ns::STANZA_ERRORS)
            .find_map(|child| Some((StanzaCondition::of_name(child.local())?, child.text())))
            .unwrap_or((StanzaCondition::UndefinedCondition, Cow::Borrowed("")));
        let address = Some(address.trim().to_owned()).filter(|address| !address.is_empty());
        let error_type = error
            .and_then(|error| error.attribute("type"))
            .and_then(ErrorType::of_name)
            .unwrap_or(condition.default_type());
        let text = error
            .and_then(|error| error.child(ns::STANZA_ERRORS, "text"))
            .map(|text| text.text().into_owned());
        Self { condition, error_type, text, address }
    }

    /// The `<error/>` element.
    pub fn element(&self) -> Element {
        let error = Element::new(ns::SERVER, "error")
            .with_attribute("type", self.error_type.name())
            .with_child(self.condition.element().with_text(self.address.as_deref().unwrap_or("")));
        match &self.text {
            Some(text) => error.with_child(
                Element::new(ns::STANZA_ERRORS, "text").with_lang("en").with_text(text),
            ),
            None => error,
        }
    }

    /// The stanza that reports the error to the sender of `stanza`.
    ///
    /// RFC 6120 s.8.3.1: the kind and the id are kept, the addresses are swapped. Nothing of the
    /// content goes back, and no address that is not a JID: a reply in the place of such a
    /// recipient comes from `local`. `None` where no reply may be sent, or where the stanza does
    /// not say to whom.
    pub fn reply_to(&self, stanza: &Stanza<'_>, local: &Domain) -> Option<Element> {
        if !stanza.may_be_answered_by_error() {
            return None;
        }
        let to = stanza.from().ok()??;
        let from = stanza.to().ok().flatten().unwrap_or_else(|| Jid::from(local.clone()));
        let reply = Element::new(ns::SERVER, stanza.kind().name())
            .with_attribute("type", "error")
            .with_attribute("from", from.as_str())
            .with_attribute("to", to.as_str());
        let reply = match stanza.id() {
            Some(id) => reply.with_attribute("id", id),
            None => reply,
        };
        Some(reply.with_child(self.element()))
    }
}

impl fmt::Debug for StanzaError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StanzaError({}, {})", self.condition, self.error_type.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::write_stanza;

    fn reply(stanza: &Element, error: &StanzaError) -> Option<String> {
        let local = Domain::parse("gw.example").unwrap();
        let reply = error.reply_to(&Stanza::of(stanza).unwrap(), &local)?;
        Some(String::from_utf8(write_stanza(&reply).to_vec()).unwrap())
    }

    fn message() -> Element {
        Element::new(ns::SERVER, "message")
            .with_attribute("from", "M@peer.example/r")
            .with_attribute("to", "u@gw.example")
            .with_attribute("id", "m'1")
            .with_child(Element::new(ns::SERVER, "body").with_text("secret"))
    }

    #[test]
    fn a_reply_swaps_the_addresses_and_keeps_kind_and_id() {
        let error = StanzaError::new(StanzaCondition::ItemNotFound).with_text("no <such> user");

        assert_eq!(
            reply(&message(), &error).unwrap(),
            "<message type='error' from='u@gw.example' to='m@peer.example/r' id='m&apos;1'>\
             <error type='cancel'>\
             <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>\
             no &lt;such&gt; user</text></error></message>"
        );
    }

    #[test]
    fn an_address_that_is_no_jid_does_not_come_back() {
        let error = StanzaError::new(StanzaCondition::JidMalformed);
        let misaddressed = message().with_attribute("to", "a b@gw.example");
        let anonymous = message().with_attribute("from", "@peer.example");
        let nameless = {
            let mut message = message();
            message.remove_attribute("from");
            message
        };

        assert!(reply(&misaddressed, &error).unwrap().contains(" from='gw.example' "));
        assert_eq!(reply(&anonymous, &error), None);
        assert_eq!(reply(&nameless, &error), None);
    }

    #[test]
    fn errors_and_results_get_no_reply() {
        let error = StanzaError::new(StanzaCondition::BadRequest);
        let failed = message().with_attribute("type", "error");
        let result = Element::new(ns::SERVER, "iq")
            .with_attribute("from", "peer.example")
            .with_attribute("type", "result");

        assert_eq!(reply(&failed, &error), None);
        assert_eq!(reply(&result, &error), None);
    }

    #[test]
    fn an_error_is_read_back_as_it_was_written() {
        for (condition, name, error_type) in CONDITIONS {
            let error = StanzaError::new(condition).with_text("words");
            let failed = message().with_attribute("type", "error").with_child(error.element());

            assert_eq!((condition.name(), condition.default_type()), (name, error_type));
            assert_eq!(StanzaError::read(&failed), error);
        }
    }

    #[test]
    fn a_new_address_stands_in_the_condition() {
        let address = Some("xmpp:new@peer.example".to_owned());
        let error = StanzaError { address, ..StanzaError::new(StanzaCondition::Gone) };
        let failed = message().with_child(error.element());

        assert_eq!(StanzaError::read(&failed), error);
        assert!(reply(&message(), &error).unwrap().contains(">xmpp:new@peer.example</gone>"));
    }

    #[test]
    fn an_error_that_says_nothing_known_is_undefined() {
        let unknown = StanzaError::new(StanzaCondition::UndefinedCondition);
        let strange = Element::new(ns::SERVER, "error")
            .with_attribute("type", "panic")
            .with_child(Element::new(ns::STANZA_ERRORS, "payment-required"));

        assert_eq!(StanzaError::read(&message()), unknown);
        assert_eq!(StanzaError::read(&message().with_child(strange)), unknown);
    }
}
