//! Stanzas: the three kinds of first-level elements that carry something to somebody.

pub mod error;

use std::fmt;

use crate::jid::{Jid, JidError};
use crate::ns;
use crate::xml::Element;

/// The kind of a stanza (RFC 6120 s.8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StanzaKind {
    /// `<message/>`: pushed to its recipient.
    Message,
    /// `<presence/>`: published.
    Presence,
    /// `<iq/>`: a request or its answer.
    Iq,
}

impl StanzaKind {
    /// The name of the element.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Presence => "presence",
            Self::Iq => "iq",
        }
    }

    /// The kind of a local name in the content namespace.
    fn of_name(name: &str) -> Option<Self> {
        match name {
            "message" => Some(Self::Message),
            "presence" => Some(Self::Presence),
            "iq" => Some(Self::Iq),
            _ => None,
        }
    }
}

impl fmt::Display for StanzaKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A view of an element that is a stanza.
#[derive(Clone, Copy, Debug)]
pub struct Stanza<'a> {
    kind: StanzaKind,
    element: &'a Element,
}

impl<'a> Stanza<'a> {
    /// The view, if the element is a stanza in the namespace `jabber:server`.
    pub fn of(element: &'a Element) -> Option<Self> {
        if element.namespace() != ns::SERVER {
            return None;
        }
        StanzaKind::of_name(element.local()).map(|kind| Self { kind, element })
    }

    /// The kind.
    pub const fn kind(&self) -> StanzaKind {
        self.kind
    }

    /// The element.
    pub const fn element(&self) -> &'a Element {
        self.element
    }

    /// The attribute `type` as it was sent (RFC 6120 s.8.1.4).
    pub fn stanza_type(&self) -> Option<&'a str> {
        self.element.attribute("type")
    }

    /// The attribute `id` (RFC 6120 s.8.1.3).
    pub fn id(&self) -> Option<&'a str> {
        self.element.attribute("id")
    }

    /// `xml:lang` of the stanza itself; without it the language of the stream holds
    /// (RFC 6120 s.8.1.5).
    pub fn lang(&self) -> Option<&'a str> {
        self.element.lang()
    }

    /// The sender, if the stanza names one.
    ///
    /// # Errors
    ///
    /// The attribute is no JID.
    pub fn from(&self) -> Result<Option<Jid>, JidError> {
        self.element.attribute("from").map(Jid::parse).transpose()
    }

    /// The recipient, if the stanza names one.
    ///
    /// # Errors
    ///
    /// The attribute is no JID.
    pub fn to(&self) -> Result<Option<Jid>, JidError> {
        self.element.attribute("to").map(Jid::parse).transpose()
    }

    /// Whether an error may be sent in answer.
    ///
    /// RFC 6120 s.8.3.1: never in answer to an error; s.8.2.3: nor to the result of an iq.
    pub fn may_be_answered_by_error(&self) -> bool {
        !matches!(
            (self.kind, self.stanza_type()),
            (_, Some("error")) | (StanzaKind::Iq, Some("result"))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_content_namespace_makes_a_stanza() {
        for name in ["message", "presence", "iq"] {
            let stanza = Element::new(ns::SERVER, name);
            assert_eq!(Stanza::of(&stanza).unwrap().kind().name(), name);
            assert!(Stanza::of(&Element::new(ns::CLIENT, name)).is_none());
        }
        assert!(Stanza::of(&Element::new(ns::SERVER, "pubsub")).is_none());
    }

    #[test]
    fn an_error_or_a_result_is_never_answered_by_an_error() {
        let answerable = |name, stanza_type| {
            let element = Element::new(ns::SERVER, name).with_attribute("type", stanza_type);
            Stanza::of(&element).unwrap().may_be_answered_by_error()
        };

        assert!(!answerable("message", "error"));
        assert!(!answerable("presence", "error"));
        assert!(!answerable("iq", "error"));
        assert!(!answerable("iq", "result"));
        assert!(answerable("iq", "get"));
        assert!(answerable("message", "result"));
    }

    #[test]
    fn addresses_are_prepared_when_they_are_read() {
        let element = Element::new(ns::SERVER, "message")
            .with_attribute("from", "M@Peer.Example/R")
            .with_attribute("to", "@gw.example");
        let stanza = Stanza::of(&element).unwrap();

        assert_eq!(stanza.from().unwrap().unwrap().to_string(), "m@peer.example/R");
        assert_eq!(stanza.to(), Err(JidError::Localpart));
    }
}
