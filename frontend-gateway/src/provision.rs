//! What the host's own file provides for a policy, and what a policy lacks of it.

use std::collections::BTreeSet;

use crate::policy::next_hop::Trust;
use crate::policy::{Policy, ServedBy};

/// Which ways to the inside there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provision {
    /// The embedded home is reached by its users: `[home]`.
    pub home: bool,
    /// Next hops reach us by TCP: `[inside] listen`.
    pub tcp: bool,
    /// Next hops reach us by TLS: `[inside] listen_tls`.
    pub tls: bool,
}

impl Provision {
    /// Returns a line for everything that a policy asks for and that is not provided.
    pub fn lacks(self, policy: &Policy) -> Vec<String> {
        let mut lines = BTreeSet::new();
        for (domain, served_by) in &policy.local_domains {
            if *served_by == ServedBy::Home && !self.home {
                lines.insert(format!("{domain} is served by the home, and there is no [home]"));
            }
        }
        for (name, next_hop) in &policy.next_hops {
            let (transport, key, is_there) = match next_hop.trust {
                Trust::Addresses(_) => ("tcp", "listen", self.tcp),
                Trust::Certificate(_) => ("tls", "listen_tls", self.tls),
            };
            if !is_there {
                lines.insert(format!(
                    "next hop {name} has transport \"{transport}\", and [inside] has no `{key}`"
                ));
            }
        }
        lines.into_iter().collect()
    }
}
