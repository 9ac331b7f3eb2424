//! What a partner asks its driver to do, and what the driver did of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use link::wire::{Bounced, StreamReport};
use xmpp_proto::locate::Target;
use xmpp_proto::stream::{DomainPair, ReceivedStanza, Verdict};
use xmpp_proto::xml::Element;

use crate::xmpp::attempt::{AttemptRecord, TriedAddress};
use crate::xmpp::failure::Phase;

/// What the driver is to do, or to pass on.
#[derive(Debug)]
pub enum PartnerEffect {
    /// Find the partner's servers; answer with
    /// [`Partner::handle_located`](super::Partner::handle_located).
    Locate,
    /// Connect to a server, until then; answer with [`Partner::handle_connected`](super::Partner::handle_connected),
    /// [`Partner::handle_connected_by_tls`](super::Partner::handle_connected_by_tls) or
    /// [`Partner::handle_connect_failed`](super::Partner::handle_connect_failed).
    Connect(Target, Instant),
    /// TLS begins, with us as the client, once all is written.
    StartTls,
    /// The connection is to be closed, once all is written.
    Disconnect,
    /// A stanza goes on a stream that the partner opened; answer with
    /// [`Partner::handle_carried`](super::Partner::handle_carried).
    Carry {
        /// The stream, as it was offered.
        stream: u64,
        /// What the answer calls the stanza.
        token: u64,
        /// The stanza as it goes on a stream.
        bytes: Bytes,
    },
    /// Our stream has brought a stanza of the partner; answer, in order, with
    /// [`Partner::acknowledge`](super::Partner::acknowledge).
    Received(Box<ReceivedStanza>),
    /// Our stream has brought a stanza that cannot be delivered, and this error goes back; it is
    /// acknowledged like one that can.
    Bounce(Element),
    /// A stanza has its outcome.
    Outcome([u8; 16], Result<(), Bounced>),
    /// A dialback key has its verdict; whoever asked for this request learns it.
    Verdict(DomainPair, String, Verdict),
    /// The front ends may have so many stanzas unsettled.
    Grant(u32),
    /// Something happened to the stream.
    Report(StreamReport),
    /// An attempt to open a stream is over.
    Attempted(Box<AttemptRecord>),
}

/// What was done to connect to a server, before a stream began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// The addresses, in the order in which they were begun with.
    pub addresses: Vec<TriedAddress>,
    /// How long each phase took that was begun.
    pub phases: Vec<(Phase, Duration)>,
}

/// Where a partner's servers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located {
    /// The servers, the best first.
    pub targets: Vec<Target>,
    /// Whether policy named them, and not DNS.
    pub by_policy: bool,
}
