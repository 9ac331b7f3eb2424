//! Stream headers (RFC 6120 s.4.7): reading the peer's, writing ours.

use std::sync::Arc;

use thiserror::Error;

use crate::error::Fault;
use crate::jid::Domain;
use crate::ns;
use crate::stream::error::StreamCondition;
use crate::xml::{OpenTag, append_attribute};

/// RFC 5646 s.4.4.1: room for every language tag in use.
const LANGUAGE_BYTES_MAX: usize = 35;

/// What is wrong with a stream header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The root is not in the stream namespace (RFC 6120 s.4.8.1).
    #[error("the root element is not in the stream namespace")]
    StreamNamespace,
    /// The root is in the stream namespace but is no stream.
    #[error("the root element is not a stream")]
    Root,
    /// The content namespace is not `jabber:server` (RFC 6120 s.4.8.3).
    #[error("the content namespace is not that of servers")]
    ContentNamespace,
    /// The version is missing or below 1.0 (RFC 6120 s.4.7.5).
    #[error("the version is below 1.0")]
    Version,
    /// The `to` is missing or no domain (RFC 6120 s.4.7.2).
    #[error("the 'to' is missing or malformed")]
    To,
    /// The `to` is not served here.
    #[error("the 'to' is not served here")]
    HostUnknown,
    /// The `from` is missing on a protected stream, or no domain (RFC 6120 s.4.7.1).
    #[error("the 'from' is missing or malformed")]
    From,
    /// The `from` is an IP address, which no certificate can prove.
    #[error("the 'from' is an IP address")]
    FromAddress,
    /// The `from` is a domain of ours.
    #[error("the 'from' is a domain of ours")]
    FromOurs,
    /// The `from` is not what the peer has authenticated as (RFC 6120 s.6.4.6).
    #[error("the 'from' is not the authenticated domain")]
    FromChanged,
    /// The `to` is not what the peer has authenticated for.
    #[error("the 'to' is not that of the authentication")]
    ToChanged,
}

impl HeaderError {
    /// What the peer is told.
    pub const fn condition(self) -> StreamCondition {
        match self {
            Self::StreamNamespace | Self::ContentNamespace => StreamCondition::InvalidNamespace,
            Self::Root => StreamCondition::BadFormat,
            Self::Version => StreamCondition::UnsupportedVersion,
            Self::To | Self::From => StreamCondition::ImproperAddressing,
            Self::HostUnknown => StreamCondition::HostUnknown,
            Self::FromAddress => StreamCondition::PolicyViolation,
            Self::FromOurs | Self::FromChanged => StreamCondition::InvalidFrom,
            Self::ToChanged => StreamCondition::NotAuthorized,
        }
    }

    /// Whose fault the error is.
    pub const fn fault(self) -> Fault {
        match self {
            Self::FromAddress => Fault::Policy,
            _ => Fault::Peer,
        }
    }
}

/// A version of XMPP: major, then minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32);

impl Version {
    /// The version that we speak.
    pub(crate) const SUPPORTED: Self = Self(1, 0);

    /// RFC 6120 s.4.7.5: numbers, not text; a missing version is 0.9.
    fn read(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self(0, 9) };
        let number = |digits: &str| {
            let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            decimal.then(|| digits.parse().unwrap_or(u32::MAX))
        };
        let parts =
            text.split_once('.').and_then(|(major, minor)| number(major).zip(number(minor)));
        parts.map_or(Self(0, 0), |(major, minor)| Self(major, minor))
    }
}

/// What the peer's header says. Nothing in it is proven.
pub(crate) struct Header {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) id: Option<String>,
    pub(crate) language: Option<Arc<str>>,
    pub(crate) version: Version,
    /// XEP-0220 s.2.4.1: how a server that knows no feature for it says that it knows dialback.
    pub(crate) declares_dialback: bool,
}

/// An address of a header.
pub(crate) enum Address {
    Missing,
    Malformed,
    Domain(Domain),
}

impl Address {
    fn read(text: Option<&str>) -> Self {
        match text.map(Domain::parse) {
            None => Self::Missing,
            Some(Ok(domain)) => Self::Domain(domain),
            Some(Err(_)) => Self::Malformed,
        }
    }

    pub(crate) const fn domain(&self) -> Option<&Domain> {
        match self {
            Self::Domain(domain) => Some(domain),
            Self::Missing | Self::Malformed => None,
        }
    }
}

impl Header {
    /// Reads a header, and checks what does not depend on the direction of the stream.
    pub(crate) fn read(tag: &OpenTag) -> Result<Self, HeaderError> {
        let root = tag.element();
        if root.namespace() != ns::STREAM {
            return Err(HeaderError::StreamNamespace);
        }
        if root.local() != "stream" {
            return Err(HeaderError::Root);
        }
        // RFC 6120 s.4.8.2: the stream namespace as the default is the style in which each stanza
        // declares the content namespace itself.
        if !matches!(tag.default_namespace(), Some(ns::SERVER | ns::STREAM)) {
            return Err(HeaderError::ContentNamespace);
        }
        Ok(Self {
            from: Address::read(root.attribute("from")),
            to: Address::read(root.attribute("to")),
            id: root.attribute("id").filter(|id| !id.is_empty()).map(str::to_owned),
            language: root.lang().filter(|tag| is_language_tag(tag)).map(Arc::from),
            version: Version::read(root.attribute("version")),
            declares_dialback: tag.declares_prefix_of(ns::DIALBACK),
        })
    }
}

/// Whether the text looks like a language tag; a header field may be made of it.
fn is_language_tag(text: &str) -> bool {
    (1..=LANGUAGE_BYTES_MAX).contains(&text.len())
        && text.split('-').all(|subtag| {
            !subtag.is_empty() && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

/// A header of ours.
pub(crate) struct OwnHeader<'a> {
    pub(crate) from: Option<&'a Domain>,
    pub(crate) to: Option<&'a Domain>,
    /// Set by the receiving entity alone (RFC 6120 s.4.7.3).
    pub(crate) id: Option<&'a str>,
    /// RFC 6120 s.4.7.5: left out towards a peer that sends none.
    pub(crate) versioned: bool,
}

impl OwnHeader<'_> {
    /// Appends the XML declaration and the header.
    pub(crate) fn append(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(b"<?xml version='1.0'?><stream:stream");
        append_attribute(output, "xmlns", ns::SERVER);
        append_attribute(output, "xmlns:stream", ns::STREAM);
        append_attribute(output, "xmlns:db", ns::DIALBACK);
        append_attribute(output, "from", self.from.map_or("", Domain::as_str));
        if let Some(to) = self.to {
            append_attribute(output, "to", to.as_str());
        }
        if let Some(id) = self.id {
            append_attribute(output, "id", id);
        }
        if self.versioned {
            append_attribute(output, "version", "1.0");
        }
        // RFC 6120 s.4.7.4: the language of our words.
        append_attribute(output, "xml:lang", "en");
        output.push(b'>');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::xml::{Frame, Framer};

    fn read(attributes: &str) -> Result<Header, HeaderError> {
        let text = format!("<stream:stream {attributes}>");
        let mut framer = Framer::new(Limits::AFTER_AUTHENTICATION);
        match framer.next_frame(&mut text.as_bytes()).unwrap() {
            Some(Frame::Header(tag)) => Header::read(&tag),
            frame => panic!("{frame:?}"),
        }
    }

    fn server(attributes: &str) -> Header {
        let namespaces = "xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'";
        read(&format!("{namespaces} {attributes}")).unwrap()
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |attributes: &str| server(attributes).version;

        assert_eq!(version(""), Version(0, 9));
        assert_eq!(version("version='01.00'"), Version::SUPPORTED);
        assert!(version("version='2.4'") < version("version='2.13'"));
        assert!(version("version='2.13'") < version("version='12.3'"));
        assert!(version("version='1.99999999999999999999'") > Version::SUPPORTED);
        for malformed in ["", "1", "1.", ".0", "1.0.0", "-1.0", "+1.0", " 1.0", "a"] {
            assert!(version(&format!("version='{malformed}'")) < Version::SUPPORTED, "{malformed}");
        }
    }

    #[test]
    fn a_language_is_read_only_if_it_is_a_tag() {
        let language = |attributes: &str| server(attributes).language;

        assert_eq!(language("xml:lang='de-CH'").as_deref(), Some("de-CH"));
        for no_tag in ["", "de_CH", "de--CH", "de&#13;&#10;X: y", &"a".repeat(36)] {
            assert_eq!(language(&format!("xml:lang='{no_tag}'")), None, "{no_tag}");
        }
    }

    #[test]
    fn the_namespaces_say_whether_it_is_a_stream_of_servers() {
        let streams = "xmlns:stream='http://etherx.jabber.org/streams'";
        let error = |attributes: &str| read(attributes).err();

        assert_eq!(error(&format!("xmlns='jabber:server' {streams}")), None);
        assert_eq!(error(&format!("xmlns='http://etherx.jabber.org/streams' {streams}")), None);
        for other in ["", "xmlns='jabber:client'", "xmlns='jabber:component:accept'"] {
            let error = error(&format!("{other} {streams}"));
            assert_eq!(error, Some(HeaderError::ContentNamespace), "{other}");
        }
        let wrong = error("xmlns='jabber:server' xmlns:stream='urn:x'");
        assert_eq!(wrong, Some(HeaderError::StreamNamespace));
    }
}
