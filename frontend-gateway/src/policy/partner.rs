//! An XMPP partner: its domains, what its users may do, how its servers authenticate.

use xmpp_proto::jid::Domain;

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

/// How far a feature of stream negotiation is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiation {
    /// Nothing goes without it.
    Required,
    /// Used where the peer can.
    Optional,
    /// Never used.
    NotSupported,
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
    /// SASL EXTERNAL.
    pub sasl: Negotiation,
    /// Server dialback over TLS.
    pub dialback: bool,
    /// Whether silence on a stream is followed by a check that the peer lives.
    pub keep_alive: bool,
    /// Connections with this partner.
    pub connections_max: u32,
    /// Host to connect to in place of the SRV lookup.
    pub proxy_fqdn: Option<String>,
    /// Whether its servers may have addresses of special-purpose ranges.
    pub allow_private_addresses: bool,
    /// What may wait for a stream.
    pub queue: QueueLimits,
}

impl XmppPartner {
    /// Returns all domains of the partner.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        std::iter::once(&self.domain).chain(&self.additional_domains)
    }
}
