//! An XMPP partner: its domains, what its users may do, how its servers authenticate.

use std::fmt;

use bytes::Bytes;
use host::tls::KeyPin;
use sha2::{Digest, Sha256};
use xmpp_proto::jid::Domain;
use xmpp_proto::stream::StreamTerms;

use super::Subject;
use super::profile::Profile;
use super::traffic::Ways;

/// What a partner's users may do (`lync.md` 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartnerType {
    /// May add local users and see their presence and notes without asking, and send to all.
    Federated,
    /// As federated, but never sees notes.
    PublicVerified,
    /// May do nothing until the local user has added the contact; never sees notes.
    PublicUnverified,
}

impl PartnerType {
    /// Returns whether status notes of local users go to the partner.
    pub const fn sees_notes(self) -> bool {
        matches!(self, Self::Federated)
    }

    /// Returns whether a contact is approved without the local user.
    pub const fn is_approved_at_once(self) -> bool {
        !matches!(self, Self::PublicUnverified)
    }

    /// Returns the word of the policy document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Federated => "federated",
            Self::PublicVerified => "public-verified",
            Self::PublicUnverified => "public-unverified",
        }
    }
}

/// Bounds of the queue of stanzas that wait for a stream to a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Stanzas.
    pub items_max: u32,
    /// Bytes of stanzas.
    pub bytes_max: u64,
    /// Age of the oldest stanza, in seconds.
    pub age_s_max: u64,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { items_max: 2_000, bytes_max: 8 * 1024 * 1024, age_s_max: 60 }
    }
}

/// What a partner may send to one edge, on all of its streams together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartnerRate {
    /// Stanzas in a second; twice as many at once.
    pub stanzas_per_s: u32,
    /// Bytes in a second; twice as many at once.
    pub bytes_per_s: u64,
}

impl Default for PartnerRate {
    /// More than the people of a large partner write, and a small part of what one edge carries:
    /// what comes faster waits in the partner's server and is not lost.
    fn default() -> Self {
        Self { stanzas_per_s: 200, bytes_per_s: 1024 * 1024 }
    }
}

/// A server of a partner that is connected to in place of those that DNS names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// A host name or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether the connection begins with TLS.
    pub direct_tls: bool,
    /// The lower is tried first.
    pub priority: u16,
    /// The share of the tries among routes of the same priority.
    pub weight: u16,
}

impl Route {
    /// The port of XMPP between servers.
    pub const DEFAULT_PORT: u16 = 5269;
    /// Routes that a partner may have, as many as are tried in one go.
    pub const COUNT_MAX: usize = xmpp_proto::locate::TARGETS_MAX;
}

/// An authority of one partner's certificates.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// Whom its certificate is about.
    pub subject: String,
    /// Its certificate.
    pub der: Bytes,
}

/// Tells two of them apart in the words of a planned change.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.subject, KeyPin(Sha256::digest(&self.der).into()))
    }
}

/// A partner's record, after New-CsXmppAllowedPartner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XmppPartner {
    /// The primary domain.
    pub domain: Domain,
    /// Further domains of the partner, each named: nothing follows from a suffix.
    pub additional_domains: Vec<Domain>,
    /// For people.
    pub description: String,
    /// What its users may do.
    pub partner_type: PartnerType,
    /// What kind of server it has.
    pub profile: Profile,
    /// How streams are secured, and how its servers authenticate.
    pub terms: StreamTerms,
    /// Which way something may go.
    pub ways: Ways,
    /// What may go.
    pub kinds: Vec<Subject>,
    /// Whether silence on a stream is followed by a check that the peer lives.
    pub keep_alive: bool,
    /// Whether one stream may carry the stanzas of both directions (XEP-0288).
    pub bidi: bool,
    /// Connections with this partner.
    pub connections_max: u32,
    /// Where its servers are; DNS is asked for them only if there is none.
    pub routes: Vec<Route>,
    /// Whether its servers may have addresses of special-purpose ranges.
    pub allow_private_addresses: bool,
    /// Whether they may have the ports of other services.
    pub allow_any_port: bool,
    /// What may wait for a stream.
    pub queue: QueueLimits,
    /// What it may send.
    pub rate: PartnerRate,
    /// Authorities of its certificates, besides those of the edges.
    pub trust: Vec<Authority>,
    /// The keys of its certificates; none: any key will do.
    pub pinned_keys: Vec<KeyPin>,
}

impl XmppPartner {
    /// Returns all domains of the partner.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        std::iter::once(&self.domain).chain(&self.additional_domains)
    }
}
