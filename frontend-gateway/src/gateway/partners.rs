//! What administrators are shown of partners: streams, attempts to open them, what waits.

use link::wire::Attempt;
use xmpp_proto::jid::Domain;

use super::Gateway;
use crate::clock::Now;
use crate::edges::Edges;
use crate::facts::Facts;
use crate::links::{EdgeId, Load};

impl Gateway {
    /// Takes what an edge says of an attempt; the domains are whatever a peer claims.
    pub(super) fn handle_attempt(
        &mut self,
        edge: EdgeId,
        mut attempt: Attempt,
        facts: Facts<'_>,
        now: Now,
    ) {
        let remote = Domain::parse(&attempt.remote_domain);
        let local = match attempt.local_domain.as_str() {
            "" => Ok(None),
            local => Domain::parse(local).map(Some),
        };
        let (Ok(remote), Ok(local)) = (remote, local) else {
            return self.distrust(edge, "an attempt to open a stream without domains", "", now);
        };
        let is_partners = facts.policy.partner(&remote).is_some();
        attempt.remote_domain = remote.as_str().to_owned();
        attempt.local_domain = local.map(|it| it.as_str().to_owned()).unwrap_or_default();
        self.edges.handle_attempt(edge, attempt, is_partners, now.instant);
    }

    /// Returns what the edges told.
    pub const fn edges(&self) -> &Edges {
        &self.edges
    }

    /// Returns what waits for the remote domains that `is_of` picks.
    pub fn load(&self, is_of: impl Fn(&Domain) -> bool) -> Load {
        self.links.load(is_of)
    }
}
