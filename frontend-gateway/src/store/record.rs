//! The rows of the store, as plain data.

use bytes::Bytes;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From XMPP to SIP.
    X2s,
    /// From SIP to XMPP.
    S2x,
}

/// A message that we are responsible for and that has no outcome yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRecord {
    /// Rises with each message.
    pub id: u64,
    /// Which way it goes.
    pub direction: Direction,
    /// The same for each repetition of the message by its sender.
    pub origin: [u8; 16],
    /// The same in the log of both hosts.
    pub correlation_id: String,
    /// When it was accepted, in milliseconds of Unix time.
    pub accepted_ms: u64,
    /// The stanza that came or that goes out, as a document.
    pub stanza: Bytes,
    /// Set once it goes back to its sender.
    pub bounce: Option<BounceReason>,
}

/// Why a message goes back to its sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BounceReason {
    /// A defined condition of RFC 6120 s.8.3.3.
    pub condition: String,
    /// For a person.
    pub text: String,
    /// Where the recipient is instead.
    pub address: Option<String>,
}

/// The one recorded end of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop took it.
    Delivered,
    /// Its sender was told why not.
    Bounced(BounceReason),
}

/// A message with an outcome, as far as its repetition must be recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledRecord {
    /// The number of the message.
    pub id: u64,
    /// What its repetition would carry.
    pub origin: [u8; 16],
    /// When it was settled, in milliseconds of Unix time.
    pub settled_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// A secret that dialback keys are made from.
#[derive(Clone, PartialEq, Eq)]
pub struct DialbackSecretRecord {
    /// The secret.
    pub secret: Vec<u8>,
    /// When it was made, in milliseconds of Unix time.
    pub made_ms: u64,
}

impl std::fmt::Debug for DialbackSecretRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DialbackSecretRecord")
            .field("made_ms", &self.made_ms)
            .finish_non_exhaustive()
    }
}

/// A home user.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The address-of-record, `user@domain`.
    pub address: String,
    /// HA1 of the digest with MD5, in hexadecimal.
    pub md5: Option<String>,
    /// HA1 of the digest with SHA-256, in hexadecimal.
    pub sha256: Option<String>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What a home user decided about a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactDecision {
    /// The home user, `user@domain`.
    pub user: String,
    /// The contact, a bare JID.
    pub contact: String,
    /// Allowed or denied.
    pub allowed: bool,
}

/// A binding of the registrar (RFC 3261 s.10.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The address-of-record, `user@domain`.
    pub aor: String,
    /// The contact URI as registered.
    pub contact: String,
    /// The Call-ID of the registration.
    pub call_id: String,
    /// The CSeq of the registration.
    pub cseq: u32,
    /// When it ends, in milliseconds of Unix time.
    pub expires_ms: u64,
}

/// A published presence document (RFC 3903).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The entity tag.
    pub tag: String,
    /// Whose presence it is, `user@domain`.
    pub presentity: String,
    /// When it ends, in milliseconds of Unix time.
    pub expires_ms: u64,
    /// The PIDF document.
    pub document: Vec<u8>,
}

/// How far a presence authorisation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorisationState {
    /// Asked for, not decided.
    Pending,
    /// Granted.
    Active,
}

/// The right of a watcher to see a presentity; the watcher's side decides the direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorisation {
    /// Which way the subscription went: [`Direction::X2s`] when the watcher is an XMPP user.
    pub direction: Direction,
    /// Whose presence is seen, a bare JID.
    pub presentity: String,
    /// Who sees it, a bare JID.
    pub watcher: String,
    /// Asked for or granted.
    pub state: AuthorisationState,
    /// When the watcher last showed itself, in milliseconds of Unix time.
    pub seen_ms: u64,
}

/// A subscription dialog in which we are the notifier (RFC 6665 s.4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogRecord {
    /// Call-ID, local tag and remote tag, joined.
    pub key: String,
    /// Who sees presence in it, a bare JID.
    pub watcher: String,
    /// Whose presence, a bare JID.
    pub presentity: String,
    /// When the subscription ends, in milliseconds of Unix time.
    pub expires_ms: u64,
    /// The dialog's fields, one per line, written and read by `dialog_record`.
    pub fields: String,
}

/// A version of the policy document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVersion {
    /// Rises with each version.
    pub version: u64,
    /// The document.
    pub text: String,
    /// When it was applied, in milliseconds of Unix time.
    pub applied_ms: u64,
}

/// A message kept for a home user who is away.
#[derive(Clone, PartialEq, Eq)]
pub struct HomeMessage {
    /// Rises with each message.
    pub id: u64,
    /// The address-of-record, `user@domain`.
    pub aor: String,
    /// When it came, in milliseconds of Unix time.
    pub received_ms: u64,
    /// When it is given up, in milliseconds of Unix time.
    pub expires_ms: u64,
    /// The MESSAGE request.
    pub request: Vec<u8>,
}

impl std::fmt::Debug for HomeMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HomeMessage").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a kept message takes, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSize {
    /// The number of the message.
    pub id: u64,
    /// The address-of-record, `user@domain`.
    pub aor: String,
    /// When it is given up, in milliseconds of Unix time.
    pub expires_ms: u64,
    /// Bytes of the request.
    pub bytes: u64,
}
