//! Stream errors (RFC 6120 s.4.9): each one ends the stream.

use std::fmt;

use crate::ns;
use crate::xml::{Element, XmlError};

/// Characters of a peer's words that are kept for the log.
const PEER_TEXT_CHARACTERS_MAX: usize = 200;

/// A defined condition of a stream error (RFC 6120 s.4.9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamCondition {
    /// The XML cannot be processed.
    BadFormat,
    /// A prefix is unsupported, or missing where it is needed.
    BadNamespacePrefix,
    /// Another stream stands against this one.
    Conflict,
    /// The peer did not answer data sent to it.
    ConnectionTimeout,
    /// The domain was served here once.
    HostGone,
    /// The domain is not served here.
    HostUnknown,
    /// An address is missing or malformed.
    ImproperAddressing,
    /// The server failed by its own fault.
    InternalServerError,
    /// The `from` is not what the peer proved.
    InvalidFrom,
    /// The stream or content namespace is not supported.
    InvalidNamespace,
    /// The XML is not valid by its schema.
    InvalidXml,
    /// The peer must authenticate first.
    NotAuthorized,
    /// The XML or its use of namespaces is not well-formed.
    NotWellFormed,
    /// A policy of the server refuses it.
    PolicyViolation,
    /// A server needed to authenticate the peer cannot be reached.
    RemoteConnectionFailed,
    /// The stream must be negotiated anew.
    Reset,
    /// The server is busy or full.
    ResourceConstraint,
    /// The XML uses a feature that XMPP forbids.
    RestrictedXml,
    /// Another host serves the domain.
    SeeOtherHost,
    /// The server shuts down.
    SystemShutdown,
    /// None of the other conditions.
    UndefinedCondition,
    /// The encoding is not UTF-8.
    UnsupportedEncoding,
    /// A mandatory feature is not supported.
    UnsupportedFeature,
    /// A first-level element is not supported.
    UnsupportedStanzaType,
    /// The version of XMPP is not supported.
    UnsupportedVersion,
}

const CONDITIONS: [(StreamCondition, &str); 25] = [
    (StreamCondition::BadFormat, "bad-format"),
    (StreamCondition::BadNamespacePrefix, "bad-namespace-prefix"),
    (StreamCondition::Conflict, "conflict"),
    (StreamCondition::ConnectionTimeout, "connection-timeout"),
    (StreamCondition::HostGone, "host-gone"),
    (StreamCondition::HostUnknown, "host-unknown"),
    (StreamCondition::ImproperAddressing, "improper-addressing"),
    (StreamCondition::InternalServerError, "internal-server-error"),
    (StreamCondition::InvalidFrom, "invalid-from"),
    (StreamCondition::InvalidNamespace, "invalid-namespace"),
    (StreamCondition::InvalidXml, "invalid-xml"),
    (StreamCondition::NotAuthorized, "not-authorized"),
    (StreamCondition::NotWellFormed, "not-well-formed"),
    (StreamCondition::PolicyViolation, "policy-violation"),
    (StreamCondition::RemoteConnectionFailed, "remote-connection-failed"),
    (StreamCondition::Reset, "reset"),
    (StreamCondition::ResourceConstraint, "resource-constraint"),
    (StreamCondition::RestrictedXml, "restricted-xml"),
    (StreamCondition::SeeOtherHost, "see-other-host"),
    (StreamCondition::SystemShutdown, "system-shutdown"),
    (StreamCondition::UndefinedCondition, "undefined-condition"),
    (StreamCondition::UnsupportedEncoding, "unsupported-encoding"),
    (StreamCondition::UnsupportedFeature, "unsupported-feature"),
    (StreamCondition::UnsupportedStanzaType, "unsupported-stanza-type"),
    (StreamCondition::UnsupportedVersion, "unsupported-version"),
];

impl StreamCondition {
    /// The name of the element.
    pub fn name(self) -> &'static str {
        let row = CONDITIONS.iter().find(|(condition, _)| *condition == self);
        row.map_or("undefined-condition", |(_, name)| name)
    }

    /// The condition of an element name.
    ///
    /// RFC 6120 s.4.9.2: an unknown condition is undefined-condition.
    fn of_name(name: &str) -> Self {
        match CONDITIONS.iter().find(|(_, known)| *known == name) {
            Some((condition, _)) => *condition,
            // RFC 6120 s.4.9.3.13: the name in RFC 3920.
            None if name == "xml-not-well-formed" => Self::NotWellFormed,
            None => Self::UndefinedCondition,
        }
    }

    /// The `<stream:error/>` of the condition, with words in English.
    pub(crate) fn error(self, text: &str) -> Element {
        Element::new(ns::STREAM, "error")
            .with_child(Element::new(ns::STREAM_ERRORS, self.name()))
            .with_child(Element::new(ns::STREAM_ERRORS, "text").with_lang("en").with_text(text))
    }
}

impl fmt::Display for StreamCondition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl From<XmlError> for StreamCondition {
    fn from(error: XmlError) -> Self {
        match error {
            XmlError::NotWellFormed(_) => Self::NotWellFormed,
            XmlError::Restricted(_) => Self::RestrictedXml,
            XmlError::UnsupportedEncoding => Self::UnsupportedEncoding,
            XmlError::TextBetweenStanzas => Self::BadFormat,
            XmlError::PrefixedStanza => Self::BadNamespacePrefix,
            XmlError::NestedStream => Self::UnsupportedStanzaType,
            XmlError::LimitExceeded(_) => Self::PolicyViolation,
        }
    }
}

/// A stream error that the peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStreamError {
    /// The condition.
    pub condition: StreamCondition,
    /// The words of the peer, escaped and shortened for the log.
    pub text: Option<String>,
}

impl PeerStreamError {
    /// Reads a `<stream:error/>`.
    pub(crate) fn read(error: &Element) -> Self {
        let defined = |child: &&Element| child.namespace() == ns::STREAM_ERRORS;
        let condition = error.children().filter(defined).find(|child| child.local() != "text");
        let condition = condition.map_or(StreamCondition::UndefinedCondition, |condition| {
            StreamCondition::of_name(condition.local())
        });
        let text = error.child(ns::STREAM_ERRORS, "text").map(|text| for_log(&text.text()));
        Self { condition, text }
    }
}

/// A peer's words without line ends, control characters and invisible marks, and not too many.
fn for_log(text: &str) -> String {
    text.chars().take(PEER_TEXT_CHARACTERS_MAX).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_is_read_back_by_its_name() {
        for (condition, name) in CONDITIONS {
            let error = PeerStreamError::read(&condition.error("words"));

            assert_eq!(condition.name(), name);
            assert_eq!(error, PeerStreamError { condition, text: Some("words".to_owned()) });
        }
    }

    #[test]
    fn an_unknown_condition_is_undefined() {
        let strange = Element::new(ns::STREAM, "error")
            .with_child(Element::new("urn:x", "conflict"))
            .with_child(Element::new(ns::STREAM_ERRORS, "coffee-empty"));

        assert_eq!(PeerStreamError::read(&strange).condition, StreamCondition::UndefinedCondition);
        let none = Element::new(ns::STREAM, "error");
        assert_eq!(PeerStreamError::read(&none).condition, StreamCondition::UndefinedCondition);
    }

    #[test]
    fn the_words_of_a_peer_cannot_forge_a_log_line() {
        let words = format!("a\r\nb\u{1B}[31m\u{202E}\"{}", "x".repeat(1000));
        let error = PeerStreamError::read(&StreamCondition::Conflict.error(&words));

        let text = error.text.unwrap();
        assert!(text.starts_with("a\\r\\nb"), "{text}");
        assert!(!text.contains(['\n', '\r', '\u{1B}', '\u{202E}']), "{text}");
        assert!(text.len() < 400);
    }
}
