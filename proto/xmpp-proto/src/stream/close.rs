//! Why a stream ended: whose fault it was, and what the peer was told.

use std::fmt;

use crate::error::Fault;
use crate::stanza::error::StanzaCondition;
use crate::stream::error::{PeerStreamError, StreamCondition};
use crate::stream::header::HeaderError;
use crate::stream::sasl::SaslCondition;
use crate::xml::XmlError;

/// The end of a stream. `Display` is for the log and holds no unescaped word of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// What happened.
    pub cause: CloseCause,
    /// The stream error that was sent, if one was.
    pub told: Option<StreamCondition>,
}

/// What ended a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// The peer closed the stream.
    PeerClosed,
    /// The peer sent a stream error.
    PeerError(PeerStreamError),
    /// The connection ended although the stream had not.
    ConnectionLost,
    /// TLS could not be negotiated.
    TlsFailed,
    /// The owner closed the stream, with a stream error or without.
    Requested(Option<StreamCondition>),
    /// No stanza was sent for too long.
    Idle,
    /// XML that is not allowed.
    Xml(XmlError),
    /// A header that is not allowed.
    Header(HeaderError),
    /// Bytes in the clear behind the element that begins TLS.
    PlaintextBeforeTls,
    /// The two domains may not federate.
    NotAdmitted,
    /// Policy leaves no way in which the peer could authenticate.
    NoAuthentication,
    /// A stanza before authentication, or on a stream that carries none in its direction.
    StanzaNotAuthorized,
    /// A first-level element that has no place here.
    UnsupportedElement,
    /// A first-level element in the content namespace of another kind of stream.
    ForeignContent,
    /// More attempts to authenticate than allowed.
    SaslRetriesExceeded,
    /// A dialback element without usable addresses.
    DialbackAddressing,
    /// A dialback key that is forged.
    DialbackInvalid,
    /// A stanza without usable addresses.
    StanzaAddressing,
    /// A stanza from a domain that the peer has not proven.
    StanzaFrom,
    /// A stanza to a domain that the stream was not authenticated for.
    StanzaTo,
    /// An acknowledgement without a number.
    AcknowledgementMalformed,
    /// An acknowledgement of more stanzas than were sent.
    AcknowledgementTooHigh {
        /// The number acknowledged.
        handled: u32,
        /// The number sent.
        sent: u32,
    },
    /// Stream management was enabled a second time.
    EnabledTwice,
    /// The next step of the negotiation took too long.
    NegotiationTimeout,
    /// Authentication took too long.
    EstablishmentTimeout,
    /// The peer did not answer.
    DeadPeer,
    /// The peer offers no TLS, and policy lets no stream go without.
    TlsNotOffered,
    /// The peer wants TLS or has begun it, and policy does not let it be used.
    TlsNotSupported,
    /// A dialback key in the clear, where policy asks for TLS.
    DialbackInClear,
    /// The peer refused to begin TLS.
    TlsRefused,
    /// The certificate does not prove the peer's domain, and policy asks for that.
    PeerUnproven,
    /// The peer offers no way to authenticate that policy allows.
    NothingOffered,
    /// The peer refused our authentication.
    SaslFailed(SaslCondition),
    /// The peer did not verify our dialback key.
    DialbackRefused(StanzaCondition),
    /// The peer's header has no stream ID, which a dialback key needs.
    StreamIdMissing,
    /// We have no secret to make a dialback key with.
    DialbackSecretMissing,
}

impl CloseCause {
    /// Whose fault the end is; `None` where the stream ended as streams do.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::PeerClosed | Self::Requested(None) | Self::Idle => None,
            Self::Xml(error) => Some(error.fault()),
            Self::Header(error) => Some(error.fault()),
            Self::NotAdmitted
            | Self::NoAuthentication
            | Self::PeerUnproven
            | Self::NothingOffered
            | Self::TlsNotSupported
            | Self::DialbackInClear
            | Self::SaslRetriesExceeded => Some(Fault::Policy),
            Self::Requested(Some(_)) | Self::DialbackSecretMissing => Some(Fault::Local),
            _ => Some(Fault::Peer),
        }
    }

    /// The word for a metric label, one of a fixed set.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::PeerError(_) => "peer_error",
            Self::ConnectionLost => "connection_lost",
            Self::TlsFailed => "tls_failed",
            Self::Requested(_) => "requested",
            Self::Idle => "idle",
            Self::Xml(_) => "xml",
            Self::Header(_) => "header",
            Self::PlaintextBeforeTls => "plaintext_before_tls",
            Self::NotAdmitted => "not_admitted",
            Self::NoAuthentication => "no_authentication",
            Self::StanzaNotAuthorized => "stanza_not_authorized",
            Self::UnsupportedElement => "unsupported_element",
            Self::ForeignContent => "foreign_content",
            Self::SaslRetriesExceeded => "sasl_retries_exceeded",
            Self::DialbackAddressing => "dialback_addressing",
            Self::DialbackInvalid => "dialback_invalid",
            Self::StanzaAddressing => "stanza_addressing",
            Self::StanzaFrom => "stanza_from",
            Self::StanzaTo => "stanza_to",
            Self::AcknowledgementMalformed => "acknowledgement_malformed",
            Self::AcknowledgementTooHigh { .. } => "acknowledgement_too_high",
            Self::EnabledTwice => "enabled_twice",
            Self::NegotiationTimeout => "negotiation_timeout",
            Self::EstablishmentTimeout => "establishment_timeout",
            Self::DeadPeer => "dead_peer",
            Self::TlsNotOffered => "tls_not_offered",
            Self::TlsNotSupported => "tls_not_supported",
            Self::DialbackInClear => "dialback_in_clear",
            Self::TlsRefused => "tls_refused",
            Self::PeerUnproven => "peer_unproven",
            Self::NothingOffered => "nothing_offered",
            Self::SaslFailed(_) => "sasl_failed",
            Self::DialbackRefused(_) => "dialback_refused",
            Self::StreamIdMissing => "stream_id_missing",
            Self::DialbackSecretMissing => "dialback_secret_missing",
        }
    }

    /// The stream error that the peer is told, or `None` where it is owed none.
    pub(crate) fn condition(&self) -> Option<StreamCondition> {
        match self {
            Self::PeerClosed
            | Self::PeerError(_)
            | Self::ConnectionLost
            | Self::TlsFailed
            | Self::Idle
            | Self::PlaintextBeforeTls
            | Self::DialbackInvalid
            | Self::TlsRefused
            | Self::PeerUnproven
            | Self::NothingOffered
            | Self::SaslFailed(_)
            | Self::DialbackRefused(_)
            | Self::DialbackSecretMissing => None,
            Self::Requested(condition) => *condition,
            Self::Xml(error) => Some(StreamCondition::from(*error)),
            Self::Header(error) => Some(error.condition()),
            Self::NotAdmitted
            | Self::NoAuthentication
            | Self::SaslRetriesExceeded
            | Self::EnabledTwice
            | Self::NegotiationTimeout
            | Self::EstablishmentTimeout
            | Self::TlsNotOffered
            | Self::TlsNotSupported
            | Self::DialbackInClear => Some(StreamCondition::PolicyViolation),
            Self::StanzaNotAuthorized => Some(StreamCondition::NotAuthorized),
            Self::UnsupportedElement => Some(StreamCondition::UnsupportedStanzaType),
            Self::ForeignContent => Some(StreamCondition::InvalidNamespace),
            Self::DialbackAddressing | Self::StanzaAddressing => {
                Some(StreamCondition::ImproperAddressing)
            }
            Self::StanzaFrom => Some(StreamCondition::InvalidFrom),
            Self::StanzaTo => Some(StreamCondition::HostUnknown),
            Self::AcknowledgementMalformed | Self::StreamIdMissing => {
                Some(StreamCondition::BadFormat)
            }
            Self::AcknowledgementTooHigh { .. } => Some(StreamCondition::UndefinedCondition),
            Self::DeadPeer => Some(StreamCondition::ConnectionTimeout),
        }
    }
}

impl fmt::Display for CloseCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::PeerClosed => "the peer closed the stream",
            Self::PeerError(error) => return fmt_peer_error(error, formatter),
            Self::ConnectionLost => "the connection ended before the stream",
            Self::TlsFailed => "TLS could not be negotiated",
            Self::Requested(None) => "closed by us",
            Self::Requested(Some(condition)) => {
                return write!(formatter, "closed by us: {condition}");
            }
            Self::Idle => "no stanza was sent for too long",
            Self::Xml(error) => return write!(formatter, "{error}"),
            Self::Header(error) => return write!(formatter, "{error}"),
            Self::PlaintextBeforeTls => "bytes in the clear where TLS begins",
            Self::NotAdmitted => "the two domains may not federate",
            Self::NoAuthentication => {
                "the certificate does not prove the domain, and policy allows no dialback"
            }
            Self::StanzaNotAuthorized => "a stanza without authentication",
            Self::UnsupportedElement => "an unsupported first-level element",
            Self::ForeignContent => "an element of another content namespace",
            Self::SaslRetriesExceeded => "too many attempts to authenticate",
            Self::DialbackAddressing => "a dialback element without usable addresses",
            Self::DialbackInvalid => "the dialback key is forged",
            Self::StanzaAddressing => "a stanza without usable addresses",
            Self::StanzaFrom => "a stanza from a domain that was not proven",
            Self::StanzaTo => "a stanza to a domain that was not negotiated",
            Self::AcknowledgementMalformed => "an acknowledgement without a number",
            Self::AcknowledgementTooHigh { handled, sent } => {
                return write!(formatter, "{handled} stanzas acknowledged, but {sent} sent");
            }
            Self::EnabledTwice => "stream management was enabled twice",
            Self::NegotiationTimeout => "the negotiation stood still for too long",
            Self::EstablishmentTimeout => "authentication took too long",
            Self::DeadPeer => "the peer does not answer",
            Self::TlsNotOffered => "the peer offers no TLS",
            Self::TlsNotSupported => "the peer uses TLS, which policy does not support with it",
            Self::DialbackInClear => "dialback without TLS, which policy does not allow",
            Self::TlsRefused => "the peer refused to begin TLS",
            Self::PeerUnproven => "the certificate does not prove the peer's domain",
            Self::NothingOffered => "the peer offers no authentication that policy allows",
            Self::SaslFailed(condition) => {
                return write!(formatter, "the peer refused our certificate: {condition}");
            }
            Self::DialbackRefused(condition) => {
                return write!(formatter, "the peer did not verify our key: {condition}");
            }
            Self::StreamIdMissing => "the peer's header has no stream ID",
            Self::DialbackSecretMissing => "there is no dialback secret",
        })
    }
}

fn fmt_peer_error(error: &PeerStreamError, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(formatter, "the peer sent {}", error.condition)?;
    match &error.text {
        Some(text) => write!(formatter, " (\"{text}\")"),
        None => Ok(()),
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.cause)
    }
}
