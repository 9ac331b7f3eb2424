//! The record of one attempt to open a stream to a partner: what was tried, and what came of it.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use xmpp_proto::locate::Target;
use xmpp_proto::stream::{
    CloseCause, CloseReason, DomainPair, PeerStreamError, Proof, StreamCondition,
};

use super::failure::{Failure, Phase};

/// Names of a certificate that are kept.
pub const NAMES_MAX: usize = 16;

/// One attempt. Its size is bounded: a step for each of at most
/// [`TARGETS_MAX`](xmpp_proto::locate::TARGETS_MAX) servers and one for finding them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// When it began.
    pub started: Instant,
    /// From which domain of ours to which of the partner's.
    pub pair: DomainPair,
    /// What was done, in order; the last step is the one that succeeded, if one did.
    pub steps: Vec<Step>,
    /// How we proved our domain, if the attempt succeeded.
    pub proof: Option<Proof>,
    /// Servers that were left for the next attempt, because this one took too long or too many
    /// lookups.
    pub left_count: usize,
}

/// Finding the partner's servers, or trying one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The server; none where they were looked up.
    pub target: Option<Target>,
    /// Its addresses that were tried, in order, and what failed at each.
    pub addresses: Vec<TriedAddress>,
    /// How long each phase took that was begun.
    pub phases: Vec<(Phase, Duration)>,
    /// The TLS of the connection, if it came to that.
    pub tls: Option<TlsFacts>,
    /// Why it went no further; none if this server has the stream, or the servers were found.
    pub failure: Option<Failure>,
    /// Who ended the stream, where there was one that failed.
    pub closed: Option<ClosedBy>,
}

/// An address of a server that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriedAddress {
    /// The address.
    pub address: IpAddr,
    /// What failed; empty for one that worked, or was given up for another one that did.
    pub failure: String,
}

/// What a TLS handshake established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The ProtocolVersion, 0x0304 for TLS 1.3; none if it is not known.
    pub version: Option<u16>,
    /// Names in the peer's certificate, at most [`NAMES_MAX`].
    pub names: Vec<String>,
    /// Whether its chain is trusted, or why not, for a person.
    pub trust: Result<(), String>,
    /// Whether one of the names is the domain that was expected.
    pub is_named: bool,
}

/// Who ended a stream, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// We did, with a stream error or without.
    Us(Option<StreamCondition>),
    /// The peer did, with a stream error or without.
    Peer(Option<PeerStreamError>),
    /// The connection was lost, or TLS failed.
    Connection,
}

impl ClosedBy {
    /// Returns who ended a stream that ended for this reason.
    pub fn of(reason: &CloseReason) -> Self {
        match &reason.cause {
            CloseCause::PeerClosed => Self::Peer(None),
            CloseCause::PeerError(error) => Self::Peer(Some(error.clone())),
            CloseCause::ConnectionLost | CloseCause::TlsFailed => Self::Connection,
            _ => Self::Us(reason.told),
        }
    }
}

/// For the log: it holds no unescaped word of the peer.
impl fmt::Display for ClosedBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Us(None) => formatter.write_str("us"),
            Self::Us(Some(condition)) => write!(formatter, "us: {condition}"),
            Self::Peer(None) => formatter.write_str("the peer"),
            Self::Peer(Some(error)) => write!(formatter, "the peer: {}", error.condition),
            Self::Connection => formatter.write_str("the connection"),
        }
    }
}

impl Step {
    /// Writes the step to the log, and counts it if it failed.
    pub fn observe(&self, pair: &DomainPair) {
        let (host, port, direct_tls) = match &self.target {
            Some(target) => (target.host.as_str(), target.port, target.direct_tls),
            None => ("", 0, false),
        };
        let durations = Durations(&self.phases).to_string();
        let addresses = Addresses(&self.addresses).to_string();
        let partner = &pair.remote;
        let Some(failure) = &self.failure else {
            tracing::debug!(%partner, host, port, direct_tls, addresses, durations, "a step to the partner is done");
            return;
        };
        let (phase, kind, detail) = (failure.phase.label(), failure.label(), &failure.detail);
        metrics::counter!("edge_xmpp_connect_failures_total", "phase" => phase, "kind" => kind)
            .increment(1);
        let closed = self.closed.as_ref().map(ToString::to_string);
        let (names, trust) = match &self.tls {
            Some(tls) => (tls.names.join(" "), tls.trust.clone().err()),
            None => (String::new(), None),
        };
        tracing::info!(
            %partner, host, port, direct_tls, addresses, durations, phase, kind, detail, closed,
            names, trust, "a server was not reached"
        );
    }
}

struct Durations<'a>(&'a [(Phase, Duration)]);

impl fmt::Display for Durations<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (phase, duration)) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(formatter, "{space}{}={}ms", phase.label(), duration.as_millis())?;
        }
        Ok(())
    }
}

struct Addresses<'a>(&'a [TriedAddress]);

impl fmt::Display for Addresses<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, TriedAddress { address, failure }) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            let failure = if failure.is_empty() { "" } else { &format!(" ({failure})") };
            write!(formatter, "{comma}{address}{failure}")?;
        }
        Ok(())
    }
}
