//! What a partner asks its driver to do, and how the driver fails at it.

use link::wire::{Bounced, StreamReport};
use xmpp_proto::stanza::error::StanzaCondition;
use xmpp_proto::stream::{DomainPair, Verdict};

/// What the driver is to do, or to pass on.
#[derive(Debug)]
pub enum PartnerEffect {
    /// Look the partner up and connect; answer with [`Partner::handle_connected`](super::Partner::handle_connected),
    /// [`Partner::handle_connected_by_tls`](super::Partner::handle_connected_by_tls) or
    /// [`Partner::handle_connect_failed`](super::Partner::handle_connect_failed).
    Connect,
    /// TLS begins, with us as the client, once all is written.
    StartTls,
    /// The connection is to be closed, once all is written.
    Disconnect,
    /// A stanza has its outcome.
    Outcome([u8; 16], Result<(), Bounced>),
    /// A dialback key has its verdict; whoever asked for this request learns it.
    Verdict(DomainPair, String, Verdict),
    /// The front ends may have so many stanzas unsettled.
    Grant(u32),
    /// Something happened to the stream.
    Report(StreamReport),
}

/// Why no connection could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// The domain has no XMPP service, or may not be reached; trying again soon is no use.
    Final(StanzaCondition, String),
    /// It may work later.
    Transient(String),
}
