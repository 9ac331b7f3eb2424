//! What is looked up while something is decided: the policy, and what users decided.

use xmpp_proto::jid::Jid;

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
}
