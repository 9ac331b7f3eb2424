//! What outlives the process: the records, the writes, and what is loaded at the start.
//!
//! The gateway decides and asks for [`Write`]s; a writer thread applies them in groups, each
//! group in one transaction that is on the disk before it is confirmed.

pub mod record;
pub mod sqlite;
pub mod writer;

mod schema;

use record::{
    Authorisation, Binding, ContactDecision, DialbackSecretRecord, DialogRecord, HomeMessage,
    JournalRecord, MessageSize, Outcome, PolicyVersion, Publication, SettledRecord, User,
};

/// A change of the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Takes responsibility for a message.
    Accept(JournalRecord),
    /// Decides that a message goes back to its sender; the notice is not out yet.
    Bounce {
        /// The message.
        id: u64,
        /// The defined condition and the text of the notice.
        reason: record::BounceReason,
    },
    /// Records the one outcome of a message and forgets its content.
    Settle {
        /// The message.
        id: u64,
        /// How it ended.
        outcome: Outcome,
        /// When, in milliseconds of Unix time.
        at_ms: u64,
    },
    /// Keeps a message for a home user who is away.
    KeepMessage(HomeMessage),
    /// Removes a kept message.
    DropMessage {
        /// The message.
        id: u64,
    },
    /// Adds or replaces a home user.
    PutUser(User),
    /// Removes a home user with all that is kept for it.
    RemoveUser {
        /// The address-of-record, `user@domain`.
        address: String,
    },
    /// Adds or replaces what a user decided about a contact.
    PutContact(ContactDecision),
    /// Adds or replaces a binding of the registrar.
    PutBinding(Binding),
    /// Removes a binding.
    RemoveBinding {
        /// The address-of-record.
        aor: String,
        /// The contact URI.
        contact: String,
    },
    /// Adds or replaces a publication.
    PutPublication(Publication),
    /// Removes a publication.
    RemovePublication {
        /// The entity tag.
        tag: String,
    },
    /// Adds or replaces a presence authorisation.
    PutAuthorisation(Authorisation),
    /// Removes a presence authorisation.
    RemoveAuthorisation {
        /// Whose presence is seen.
        presentity: String,
        /// Who sees it.
        watcher: String,
    },
    /// Adds or replaces a subscription dialog.
    PutDialog(DialogRecord),
    /// Removes a subscription dialog.
    RemoveDialog {
        /// The key of the record.
        key: String,
    },
    /// Adds a version of the policy document.
    PutPolicy(PolicyVersion),
    /// Adds a secret of dialback keys.
    PutDialbackSecret(DialbackSecretRecord),
    /// Removes a secret of dialback keys.
    RemoveDialbackSecret {
        /// The secret.
        secret: Vec<u8>,
    },
    /// Forgets outcomes that were settled before a time, in milliseconds of Unix time.
    ForgetSettled {
        /// The time.
        before_ms: u64,
    },
}

/// What the gateway starts from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The secret of this installation, which never changes and never leaves the process.
    pub installation_secret: Vec<u8>,
    /// The secrets that dialback keys are made from.
    pub dialback_secrets: Vec<DialbackSecretRecord>,
    /// The highest journal number ever used.
    pub journal_last: u64,
    /// Messages without an outcome, oldest first.
    pub open: Vec<JournalRecord>,
    /// Messages settled so recently that a repetition may still come, oldest first.
    pub settled: Vec<SettledRecord>,
    /// The newest version of the policy document.
    pub policy: Option<PolicyVersion>,
    /// Home users.
    pub users: Vec<User>,
    /// What they decided about contacts.
    pub contacts: Vec<ContactDecision>,
    /// Bindings of the registrar.
    pub bindings: Vec<Binding>,
    /// Publications.
    pub publications: Vec<Publication>,
    /// Presence authorisations.
    pub authorisations: Vec<Authorisation>,
    /// Subscription dialogs.
    pub dialogs: Vec<DialogRecord>,
    /// Messages kept for users who are away: how many, how large, until when.
    pub messages: Vec<MessageSize>,
}

/// Why the store failed. The fault is always ours; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store open.
    #[error("the store {0} is in use by another process")]
    InUse(String),
    /// The directory or the file cannot be used.
    #[error("cannot open the store {path}: {reason}")]
    Open {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// There is no room on the disk; it may come back.
    #[error("the disk of the store is full")]
    Full,
    /// Any other failure of the database.
    #[error("the store failed: {0}")]
    Database(String),
    /// The store was written by a later version of this program.
    #[error("the store has schema version {found}; this program knows up to {known}")]
    TooNew {
        /// What the file says.
        found: i64,
        /// What this program knows.
        known: i64,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Database(error.to_string()),
        }
    }
}
