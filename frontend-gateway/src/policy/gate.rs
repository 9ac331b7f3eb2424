//! The gates between a local user and a contact, in the order in which they are passed.

use std::fmt;

use xmpp_proto::jid::{Domain, Jid};

use super::traffic::TrafficRule;
use super::{Direction, Policy, Question, Standing, Subject};

/// One rule of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The local user's domain is ours and something serves it.
    LocalDomain,
    /// The contact's domain belongs to a partner.
    Partner,
    /// The partner's direction and kinds let it cross, and no exception denies it.
    Traffic,
    /// The user's external access policy allows federation.
    FederationAccess,
    /// The user's external access policy allows XMPP partners.
    XmppAccess,
    /// The user did not deny the contact.
    ContactDecision,
    /// The partner's type lets the contact do this.
    PartnerType,
}

/// The verdict of one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The gate.
    pub gate: Gate,
    /// Passed, or why not.
    pub result: Result<(), Refusal>,
}

/// A refusal: which rule, which value, and who must change what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The domain is not served here.
    NotLocal {
        /// The domain.
        domain: Domain,
    },
    /// No partner has the domain.
    NoPartner {
        /// The domain.
        domain: Domain,
    },
    /// It may not cross between us and the partner.
    NotCarried {
        /// The contact's domain.
        domain: Domain,
        /// What it is.
        subject: Subject,
        /// The rule against it.
        rule: TrafficRule,
    },
    /// The access policy forbids federation.
    NoFederationAccess {
        /// The local user.
        user: Jid,
        /// The policy that counts, in words.
        scope: String,
    },
    /// The access policy forbids XMPP partners.
    NoXmppAccess {
        /// The local user.
        user: Jid,
        /// The policy that counts, in words.
        scope: String,
    },
    /// The user denied the contact.
    Denied {
        /// The local user.
        user: Jid,
        /// The contact.
        contact: Jid,
    },
    /// The partner is public-unverified and the user has not added the contact.
    NotAContact {
        /// The local user.
        user: Jid,
        /// The contact.
        contact: Jid,
    },
}

impl Gate {
    /// All gates, in order.
    pub const ALL: [Self; 7] = [
        Self::LocalDomain,
        Self::Partner,
        Self::Traffic,
        Self::FederationAccess,
        Self::XmppAccess,
        Self::ContactDecision,
        Self::PartnerType,
    ];

    /// Returns the name by which `explain`, logs and metrics call the gate.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LocalDomain => "local-domain",
            Self::Partner => "partner",
            Self::Traffic => "traffic",
            Self::FederationAccess => "federation-access",
            Self::XmppAccess => "xmpp-access",
            Self::ContactDecision => "contact-decision",
            Self::PartnerType => "partner-type",
        }
    }

    pub(super) fn check(self, policy: &Policy, question: &Question<'_>) -> Result<(), Refusal> {
        let (user, contact) = (question.user, question.contact);
        match self {
            Self::LocalDomain if policy.served_by(user.domain()).is_none() => {
                Err(Refusal::NotLocal { domain: user.domain().clone() })
            }
            Self::Partner if policy.partner(contact.domain()).is_none() => {
                Err(Refusal::NoPartner { domain: contact.domain().clone() })
            }
            Self::Traffic if let Some(rule) = traffic_rule(policy, question) => {
                let (domain, subject) = (contact.domain().clone(), question.subject);
                Err(Refusal::NotCarried { domain, subject, rule })
            }
            Self::FederationAccess if !policy.access.nearest(user).0.federation => {
                let scope = policy.access.nearest(user).1.to_string();
                Err(Refusal::NoFederationAccess { user: user.clone(), scope })
            }
            Self::XmppAccess if !policy.access.nearest(user).0.xmpp => {
                let scope = policy.access.nearest(user).1.to_string();
                Err(Refusal::NoXmppAccess { user: user.clone(), scope })
            }
            Self::ContactDecision if denies(question) => {
                Err(Refusal::Denied { user: user.clone(), contact: contact.clone() })
            }
            Self::PartnerType if must_be_a_contact(policy, question) => {
                Err(Refusal::NotAContact { user: user.clone(), contact: contact.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Says what the gate looked at and found in order.
    pub fn finding(self, policy: &Policy, question: &Question<'_>) -> String {
        let (user, contact) = (question.user, question.contact);
        match self {
            Self::LocalDomain => match policy.served_by(user.domain()) {
                Some(served_by) => format!("{} is served by {served_by}", user.domain()),
                None => String::new(),
            },
            Self::Partner => match policy.partner(contact.domain()) {
                Some(partner) => {
                    format!("{} belongs to partner {}", contact.domain(), partner.domain)
                }
                None => String::new(),
            },
            Self::Traffic => match policy.partner(contact.domain()) {
                Some(partner) => format!("direction {}, no exception", partner.ways),
                None => String::new(),
            },
            Self::FederationAccess => {
                format!("{} allows federation", policy.access.nearest(user).1)
            }
            Self::XmppAccess => format!("{} allows XMPP partners", policy.access.nearest(user).1),
            Self::ContactDecision => match question.standing {
                Standing::Allowed => format!("{user} has {contact} as a contact or allowed it"),
                Standing::Unknown | Standing::Denied => {
                    format!("{user} has taken no decision about {contact}")
                }
            },
            Self::PartnerType => match policy.partner(contact.domain()) {
                Some(partner) => {
                    format!("partner type {} lets this pass", partner.partner_type.word())
                }
                None => String::new(),
            },
        }
    }
}

fn traffic_rule(policy: &Policy, question: &Question<'_>) -> Option<TrafficRule> {
    let domain = question.contact.domain();
    let partner = policy.partner(domain)?;
    policy.traffic_rule(partner, domain, question.subject, question.direction)
}

// A user who denied a contact may still write to it.
fn denies(question: &Question<'_>) -> bool {
    question.direction == Direction::X2s && question.standing == Standing::Denied
}

// lync.md 1.4: a contact of an unverified partner cannot communicate at all until the user has
// added it. Its request to see presence passes where it waits at the home for the user's decision;
// whether another server would ask the user is not known.
fn must_be_a_contact(policy: &Policy, question: &Question<'_>) -> bool {
    let partner = policy.partner(question.contact.domain());
    let asks_first =
        question.subject == Subject::Presence && policy.is_home(question.user.domain());
    partner.is_some_and(|partner| !partner.partner_type.is_approved_at_once())
        && question.direction == Direction::X2s
        && !asks_first
        && question.standing != Standing::Allowed
}

impl Refusal {
    /// Returns the gate that refused.
    pub const fn gate(&self) -> Gate {
        match self {
            Self::NotLocal { .. } => Gate::LocalDomain,
            Self::NoPartner { .. } => Gate::Partner,
            Self::NotCarried { .. } => Gate::Traffic,
            Self::NoFederationAccess { .. } => Gate::FederationAccess,
            Self::NoXmppAccess { .. } => Gate::XmppAccess,
            Self::Denied { .. } => Gate::ContactDecision,
            Self::NotAContact { .. } => Gate::PartnerType,
        }
    }
}

/// The text goes to the sender, so it names the rule and not what only an administrator may know.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLocal { domain } => write!(f, "{domain} is not served here"),
            Self::NoPartner { domain } => write!(f, "{domain} is not a federation partner"),
            Self::NotCarried { domain, subject, .. } => {
                write!(f, "no {} goes this way between {domain} and here", subject.word())
            }
            Self::NoFederationAccess { user, .. } => {
                write!(f, "{user} may not communicate with other organisations")
            }
            Self::NoXmppAccess { user, .. } => {
                write!(f, "{user} may not communicate with XMPP partners")
            }
            Self::Denied { user, .. } => write!(f, "{user} does not accept this contact"),
            Self::NotAContact { user, .. } => {
                write!(
                    f,
                    "{user} must add this contact before it can send messages or see presence"
                )
            }
        }
    }
}

impl Refusal {
    /// Says what an administrator must change, for `explain` and the log; `shown` says how users
    /// appear there.
    pub fn remedy<T: fmt::Display>(&self, shown: impl Fn(&Jid) -> T) -> String {
        match self {
            Self::NotLocal { domain } => {
                format!("add a [[local_domain]] for {domain}, or correct the address")
            }
            Self::NoPartner { domain } => {
                format!(
                    "add an [[xmpp_partner]] with domain {domain}, or list it in additional_domains"
                )
            }
            Self::NotCarried { rule, .. } => rule.to_string(),
            Self::NoFederationAccess { scope, .. } => {
                format!("set federation_access = true in {scope}, or grant the user another policy")
            }
            Self::NoXmppAccess { scope, .. } => {
                format!("set xmpp_access = true in {scope}, or grant the user another policy")
            }
            Self::Denied { user, contact } => {
                format!("frontend-gateway user allow {} {}", shown(user), shown(contact))
            }
            Self::NotAContact { user, contact } => {
                let (user, contact) = (shown(user), shown(contact));
                format!(
                    "{user} subscribes to {contact}, \
                     or: frontend-gateway user allow {user} {contact}"
                )
            }
        }
    }
}
