//! Decides who may reach whom. Default deny; every refusal names its rule.
//!
//! [`Policy::decide`] and [`Policy::explain`] walk the same gates in the same order; the first
//! stops at the first refusal, the second shows the verdict of every gate that it reaches.

pub mod access;
pub mod change;
pub mod document;
pub mod gate;
pub mod next_hop;
mod next_hop_document;
pub mod partner;
mod partner_document;
mod partner_trust;
pub mod profile;
mod route_document;
pub mod traffic;
mod traffic_document;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use xmpp_proto::jid::{Domain, Jid};

pub use access::AccessPolicies;
pub use gate::{Gate, Refusal, Verdict};
pub use next_hop::NextHop;
pub use partner::{PartnerType, XmppPartner};
pub use traffic::XmppException;

/// Who serves the users of a local domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServedBy {
    /// The embedded registrar, presence agent and message store.
    Home,
    /// The next hop of this name.
    NextHop(Arc<str>),
}

impl fmt::Display for ServedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home => f.write_str("the embedded home"),
            Self::NextHop(name) => write!(f, "next hop {name}"),
        }
    }
}

/// The settings that all partners share: `[xmpp_gateway]`, after Set-CsXmppGatewayConfiguration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Connections with all partners together.
    pub connections_max: u32,
    /// Connections with one partner, where its record does not say otherwise.
    pub partner_connections_max: u32,
    /// Silence after which a peer is asked for a sign of life, in seconds.
    pub keep_alive_s: u64,
    /// Time for a stream to be established, in seconds.
    pub establishment_s_max: u64,
    /// Time after which an idle stream is closed, in seconds.
    pub inactivity_s_max: u64,
    /// How long a subscription is refreshed after its watcher last showed itself, in seconds.
    pub subscription_refresh_s: u64,
    /// Whether a partner who asks is told which version runs here.
    pub shows_software_version: bool,
    /// How long the secret of dialback keys is used before another one follows.
    pub dialback_rotation: Duration,
}

/// One version of the policy document, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Who serves each local domain.
    pub local_domains: BTreeMap<Domain, ServedBy>,
    /// The external SIP servers that local domains name, by what they call them.
    pub next_hops: BTreeMap<Arc<str>, NextHop>,
    /// The partners in the order of the document.
    pub partners: Vec<XmppPartner>,
    /// What partners may not, whatever their records say.
    pub exceptions: Vec<XmppException>,
    /// What users may do with the outside.
    pub access: AccessPolicies,
    /// What all partners share.
    pub gateway: GatewaySettings,
}

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From an XMPP partner to a local SIP user.
    X2s,
    /// From a local SIP user to an XMPP partner.
    S2x,
}

/// What is asked to cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A pager-mode message.
    Message,
    /// A request to see presence, or anything that follows from it.
    Presence,
}

impl Subject {
    /// All with their words of the policy document.
    pub const WORDS: [(&'static str, Self); 2] =
        [("message", Self::Message), ("presence", Self::Presence)];

    /// Returns the word of the policy document.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Presence => "presence",
        }
    }
}

/// A question to the policy: may `subject` go in `direction` between these two?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The local user.
    pub user: &'a Jid,
    /// The partner's user.
    pub contact: &'a Jid,
    /// Which way it goes.
    pub direction: Direction,
    /// What it is.
    pub subject: Subject,
    /// What the local user decided about the contact.
    pub standing: Standing,
}

/// What a local user decided about a contact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    #[default]
    Unknown,
    /// On the contact list, or allowed by `user allow`.
    Allowed,
    /// Denied by `user deny`.
    Denied,
}

/// The proof that every gate was passed, with what later steps need of it.
#[derive(Clone, Copy, Debug)]
pub struct Permit<'p> {
    /// The partner that the contact belongs to.
    pub partner: &'p XmppPartner,
    /// Who serves the local user.
    pub served_by: &'p ServedBy,
}

impl Policy {
    /// Decides a question.
    pub fn decide(&self, question: &Question<'_>) -> Result<Permit<'_>, Refusal> {
        for gate in Gate::ALL {
            gate.check(self, question)?;
        }
        let served_by = self.served_by(question.user.domain());
        let partner = self.partner(question.contact.domain());
        match (served_by, partner) {
            (Some(served_by), Some(partner)) => Ok(Permit { partner, served_by }),
            // The first two gates refuse these.
            _ => Err(Refusal::NotLocal { domain: question.user.domain().clone() }),
        }
    }

    /// Returns the verdict of each gate, up to and including the first refusal.
    pub fn explain(&self, question: &Question<'_>) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for gate in Gate::ALL {
            let result = gate.check(self, question);
            let refused = result.is_err();
            verdicts.push(Verdict { gate, result });
            if refused {
                break;
            }
        }
        verdicts
    }

    /// Returns who serves a domain, if it is local.
    pub fn served_by(&self, domain: &Domain) -> Option<&ServedBy> {
        self.local_domains.get(domain)
    }

    /// Says whether the embedded home serves a domain.
    pub fn is_home(&self, domain: &Domain) -> bool {
        self.served_by(domain) == Some(&ServedBy::Home)
    }

    /// Returns the next hop that serves a domain, if one does.
    pub fn next_hop(&self, domain: &Domain) -> Option<&NextHop> {
        match self.served_by(domain)? {
            ServedBy::Home => None,
            ServedBy::NextHop(name) => self.next_hops.get(name),
        }
    }

    /// Returns the partner that a domain belongs to. Domains match exactly, never by suffix.
    pub fn partner(&self, domain: &Domain) -> Option<&XmppPartner> {
        self.partners.iter().find(|partner| partner.domains().any(|own| own == domain))
    }
}

#[cfg(test)]
mod tests;
