//! Presence documents (RFC 3863) with the RPID activities (RFC 4480) that we understand.

mod activity;
mod read;
mod tuple_id;
mod write;

pub use activity::{Activity, Availability};
pub use read::{PidfError, parse};
pub use tuple_id::{resource_of_tuple_id, tuple_id_of_resource};
pub use write::write;

/// The media type of a presence document.
pub const MEDIA_TYPE: &str = "application/pidf+xml";

/// The largest document that is read, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// The most tuples of a document that are looked at.
pub const TUPLES_MAX: usize = 64;

const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
const DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
/// The namespace of RPID before it was an RFC: Microsoft and old linphone still write it.
const RPID_DRAFT: &str = "urn:ietf:params:xml:ns:pidf:status:rpid-status";
const MICROSOFT_STATE: &str = "http://schemas.microsoft.com/2006/09/sip/state";
const JABBER_CLIENT: &str = "jabber:client";

/// The whole state of one presentity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// The presentity, a pres or sip URI.
    pub entity: String,
    /// One for each device or resource.
    pub tuples: Vec<Tuple>,
    /// What the person does, whatever the device.
    pub activity: Option<Activity>,
    /// Notes about the person, and about the presentity as a whole.
    pub notes: Vec<Note>,
}

/// The state of one device or resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuple {
    /// The identifier, unique in the document.
    pub id: String,
    /// Open or closed; absent in documents of some devices.
    pub basic: Option<Basic>,
    /// The XMPP show (RFC 8048 s.6.2), where the document carries it.
    pub show: Option<Show>,
    /// What the person does with this device.
    pub activity: Option<Activity>,
    /// The contact URI.
    pub contact: Option<String>,
    /// From 0 to 1.
    pub priority: Option<f32>,
    /// Notes about the tuple.
    pub notes: Vec<Note>,
}

/// Whether messages can be received (RFC 3863 s.4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basic {
    /// They can.
    Open,
    /// They cannot.
    Closed,
}

/// A text for people, with its language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The language tag, if there is one.
    pub language: Option<String>,
    /// The text.
    pub text: String,
}

/// The availability of an XMPP resource (RFC 6121 s.4.7.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Wants to chat.
    Chat,
    /// Away for a short time.
    Away,
    /// Away for a long time.
    ExtendedAway,
    /// Does not want to be disturbed.
    DoNotDisturb,
}

impl Show {
    /// Reads the word of an XMPP stanza; an unknown one means nothing.
    pub fn from_word(word: &str) -> Option<Self> {
        match word.trim() {
            "chat" => Some(Self::Chat),
            "away" => Some(Self::Away),
            "xa" => Some(Self::ExtendedAway),
            "dnd" => Some(Self::DoNotDisturb),
            _ => None,
        }
    }

    /// Returns the word of an XMPP stanza.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Away => "away",
            Self::ExtendedAway => "xa",
            Self::DoNotDisturb => "dnd",
        }
    }
}

#[cfg(test)]
mod tests;
