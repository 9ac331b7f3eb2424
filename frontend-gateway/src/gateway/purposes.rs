//! What the gateway waits for: outcomes of stanzas, answers to requests, commits of the store.

use sip_proto::dialog::DialogId;
use sip_proto::usage::subscription::SubscribeId;

use super::watch::Watch;
use super::x2s_debts::Told;
use crate::links::EdgeId;

/// What a stanza that we sent is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Purpose {
    /// It brings a message of a SIP user, by the number in the journal.
    Message(u64),
    /// It brings a message back to its sender, by the number in the journal.
    Bounce(u64),
    /// It asks a contact whether a SIP user may see its presence.
    Subscribe(Watch),
    /// It asks for the state of a contact.
    Probe(Watch),
    /// It tells an XMPP watcher what is, and is told anew if it cannot be brought.
    Told(Watch, Told),
    /// It says what is, once.
    State,
}

/// What a request that we sent is for.
#[derive(Clone, Debug)]
pub(super) enum RequestPurpose {
    Message(u64),
    Subscribe(Watch, SubscribeId),
    Notify(DialogId),
    /// It tells that a message failed, by its number in the journal.
    Notice(u64),
}

/// What follows a commit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A message of a partner is ours.
    AcceptedX2s(u64),
    /// A message of a SIP user is ours.
    AcceptedS2x(u64),
    /// A message could not be written, and is not ours.
    NotAccepted(u64),
    /// A message is to go back to its sender.
    SendBounce(u64),
    /// An envelope is settled: what it asked for is on the disk.
    Settle(EdgeId, u64),
}
