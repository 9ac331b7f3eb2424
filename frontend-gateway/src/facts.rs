//! What is looked up while something is decided: the policy, and what users decided.

use xmpp_proto::jid::Jid;
use xmpp_proto::stream::DomainPair;

use crate::contacts::Contacts;
use crate::policy::{Direction, Permit, Policy, Question, Refusal, Subject};

/// The facts of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The policy in force.
    pub policy: &'a Policy,
    /// What users decided about contacts.
    pub contacts: &'a Contacts,
}

impl<'a> Facts<'a> {
    /// Asks whether something may cross between a local user and a contact (bare addresses).
    ///
    /// # Errors
    /// Fails with the rule that refuses it.
    pub fn decide(
        self,
        user: &Jid,
        contact: &Jid,
        direction: Direction,
        subject: Subject,
    ) -> Result<Permit<'a>, Refusal> {
        let standing = self.contacts.standing(user, contact);
        self.policy.decide(&Question { user, contact, direction, subject, standing })
    }

    /// Returns how many stanzas of a pair may wait at an edge; none where the first domain is not
    /// ours or the second not a partner's.
    pub fn stanzas_max(self, pair: &DomainPair) -> Option<u32> {
        self.policy.served_by(&pair.local)?;
        self.policy.partner(&pair.remote).map(|partner| partner.queue.items_max)
    }
}
