//! What may cross between the gateway and a partner: kinds, directions, and exceptions to them.

use std::fmt;

use xmpp_proto::jid::Domain;

use super::{Direction, Policy, Subject, XmppPartner};

/// The directions of a rule, as the gateway sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// From the partner and to it.
    Both,
    /// From the partner only.
    Incoming,
    /// To the partner only.
    Outgoing,
}

impl Ways {
    /// All with their words of the policy document.
    pub const WORDS: [(&'static str, Self); 3] =
        [("both", Self::Both), ("incoming", Self::Incoming), ("outgoing", Self::Outgoing)];

    const fn hold(self, direction: Direction) -> bool {
        match self {
            Self::Both => true,
            Self::Incoming => matches!(direction, Direction::X2s),
            Self::Outgoing => matches!(direction, Direction::S2x),
        }
    }
}

impl fmt::Display for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, ways)| ways == self).map_or("", |(word, _)| word);
        f.write_str(word)
    }
}

/// A domain, or a domain with all its subdomains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainPattern {
    /// The domain.
    pub domain: Domain,
    /// Whether its subdomains are meant too: written `*.domain`.
    pub subdomains: bool,
}

impl DomainPattern {
    fn matches(&self, domain: &Domain) -> bool {
        let below = || domain.as_str().strip_suffix(self.domain.as_str());
        *domain == self.domain
            || (self.subdomains && below().is_some_and(|labels| labels.ends_with('.')))
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wildcard = if self.subdomains { "*." } else { "" };
        write!(f, "{wildcard}{}", self.domain)
    }
}

/// An `[[xmpp_exception]]`: takes away what partners may, and never adds to it (`cisco.md` 2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XmppException {
    /// Whom it concerns.
    pub domains: DomainPattern,
    /// What is denied.
    pub ways: Ways,
}

/// The rule that keeps something from crossing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrafficRule {
    /// The partner's `kinds` leave it out.
    Kinds {
        /// The partner.
        partner: Domain,
    },
    /// The partner's `direction` is another.
    Direction {
        /// The partner.
        partner: Domain,
        /// Its direction.
        ways: Ways,
    },
    /// An exception denies it.
    Exception(DomainPattern),
}

/// Says what an administrator must change.
impl fmt::Display for TrafficRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kinds { partner } => write!(f, "add it to `kinds` of partner {partner}"),
            Self::Direction { partner, ways } => {
                write!(f, "`direction` of partner {partner} is \"{ways}\": change it")
            }
            Self::Exception(domains) => {
                write!(f, "remove or narrow the [[xmpp_exception]] for \"{domains}\"")
            }
        }
    }
}

/// The directions in which something goes once it is let: presence is asked for one way and told
/// the other.
const fn directions(subject: Subject, direction: Direction) -> &'static [Direction] {
    match (subject, direction) {
        (Subject::Presence, _) => &[Direction::X2s, Direction::S2x],
        (Subject::Message, Direction::X2s) => &[Direction::X2s],
        (Subject::Message, Direction::S2x) => &[Direction::S2x],
    }
}

impl Policy {
    /// Returns the rule against something that is to cross between us and a partner's domain.
    pub(super) fn traffic_rule(
        &self,
        partner: &XmppPartner,
        domain: &Domain,
        subject: Subject,
        direction: Direction,
    ) -> Option<TrafficRule> {
        let needed = directions(subject, direction);
        if !partner.kinds.contains(&subject) {
            return Some(TrafficRule::Kinds { partner: partner.domain.clone() });
        }
        if !needed.iter().all(|direction| partner.ways.hold(*direction)) {
            let (partner, ways) = (partner.domain.clone(), partner.ways);
            return Some(TrafficRule::Direction { partner, ways });
        }
        let denies = |exception: &&XmppException| {
            exception.domains.matches(domain)
                && needed.iter().any(|direction| exception.ways.hold(*direction))
        };
        let exception = self.exceptions.iter().find(denies)?;
        Some(TrafficRule::Exception(exception.domains.clone()))
    }
}
