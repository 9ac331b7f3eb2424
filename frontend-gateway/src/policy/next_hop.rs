//! An external SIP server, or several alike, that serves local domains in the home's place.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use sip_proto::uri::Host;
use xmpp_proto::jid::Domain;

/// The largest MESSAGE on a path where a hop may be UDP, in bytes (RFC 3428 s.8).
const UNSAFE_BYTES_MAX: usize = 1_300;

/// A next hop: its servers share its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// What the local domains that it serves call it.
    pub name: Arc<str>,
    /// How its servers are reached, and recognised.
    pub trust: Trust,
    /// Its servers, at least one.
    pub servers: Vec<ServerAddress>,
    /// How often each server is asked for a sign of life, in seconds.
    pub probe_interval_s: u64,
    /// Whether every hop to its users is TCP or TLS.
    pub is_congestion_safe: bool,
}

/// What a connection must show to be one with a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// TCP: the address of the other end is one of these, or a server's.
    Addresses(Vec<IpAddr>),
    /// TLS: the certificate of the other end names this.
    Certificate(Domain),
}

/// One server of a next hop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerAddress {
    /// Servers with the lowest number are asked first (RFC 2782).
    pub priority: u16,
    /// The share of this one among those of the same priority (RFC 2782).
    pub weight: u16,
    /// Where it is.
    pub host: Host,
    /// Its port.
    pub port: u16,
}

impl NextHop {
    /// Returns the largest MESSAGE that is sent to it, in bytes; `safe_max` where no hop is UDP.
    pub fn message_bytes_max(&self, safe_max: usize) -> usize {
        if self.is_congestion_safe { safe_max } else { safe_max.min(UNSAFE_BYTES_MAX) }
    }

    /// Says whether a connection is one with this next hop: `address` is that of its other end,
    /// `names` are those that its certificate proves.
    pub fn is_at(&self, address: IpAddr, names: &[String]) -> bool {
        match &self.trust {
            Trust::Addresses(others) => {
                let mut servers = self.servers.iter().filter_map(|server| server.host.address());
                others.contains(&address) || servers.any(|server| server == address)
            }
            Trust::Certificate(name) => names.iter().any(|proven| *proven == *name.to_ascii()),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
