//! What local users decided about contacts: allowed, denied, or nothing.

use std::collections::BTreeMap;

use xmpp_proto::jid::Jid;

use crate::policy::Standing;
use crate::store::Write;
use crate::store::record::ContactDecision;

/// The most decisions of one user.
pub const DECISIONS_PER_USER_MAX: usize = 10_000;

/// A user has taken as many decisions as are kept for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the user has taken {DECISIONS_PER_USER_MAX} decisions, the most that are kept")]
pub struct TooManyDecisions;

/// All decisions, by user and contact (bare addresses).
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    allowed: BTreeMap<Jid, BTreeMap<Jid, bool>>,
}

impl Contacts {
    /// Restores the decisions that the store holds; a record that cannot be read is left out.
    pub fn restore(records: Vec<ContactDecision>) -> Self {
        let mut contacts = Self::default();
        for record in records {
            if let (Ok(user), Ok(contact)) = (Jid::parse(&record.user), Jid::parse(&record.contact))
            {
                contacts.allowed.entry(user).or_default().insert(contact, record.allowed);
            }
        }
        contacts
    }

    /// Returns what a user decided about a contact.
    pub fn standing(&self, user: &Jid, contact: &Jid) -> Standing {
        match self.allowed.get(user).and_then(|contacts| contacts.get(contact)) {
            Some(true) => Standing::Allowed,
            Some(false) => Standing::Denied,
            None => Standing::Unknown,
        }
    }

    /// Returns the write that keeps a decision, or none when it is taken already. It counts once
    /// [`Contacts::insert`] has taken it.
    ///
    /// # Errors
    /// Fails when the user has taken too many.
    pub fn write(
        &self,
        user: &Jid,
        contact: &Jid,
        allowed: bool,
    ) -> Result<Option<Write>, TooManyDecisions> {
        let contacts = self.allowed.get(user);
        let known = contacts.and_then(|contacts| contacts.get(contact));
        if known == Some(&allowed) {
            return Ok(None);
        }
        if known.is_none() && contacts.is_some_and(|all| all.len() >= DECISIONS_PER_USER_MAX) {
            return Err(TooManyDecisions);
        }
        Ok(Some(Write::PutContact(ContactDecision {
            user: user.to_string(),
            contact: contact.to_string(),
            allowed,
        })))
    }

    /// Takes a decision.
    pub fn insert(&mut self, user: &Jid, contact: &Jid, allowed: bool) {
        self.allowed.entry(user.clone()).or_default().insert(contact.clone(), allowed);
    }

    /// Takes a decision; returns the write that keeps it, or none when nothing changes or the
    /// user has taken too many.
    pub fn decide(&mut self, user: &Jid, contact: &Jid, allowed: bool) -> Option<Write> {
        let write = self.write(user, contact, allowed).ok()??;
        self.insert(user, contact, allowed);
        Some(write)
    }

    /// Forgets a user.
    pub fn remove_user(&mut self, user: &Jid) {
        self.allowed.remove(user);
    }
}

#[cfg(test)]
mod tests {
    use xmpp_proto::jid::Jid;

    use super::Contacts;
    use crate::policy::Standing;
    use crate::store::Write;

    #[test]
    fn a_decision_is_kept_and_can_be_changed_and_restored() {
        let user = Jid::parse("romeo@contoso.example").unwrap();
        let contact = Jid::parse("juliet@fabrikam.example").unwrap();
        let mut contacts = Contacts::default();
        assert_eq!(contacts.standing(&user, &contact), Standing::Unknown);
        assert!(contacts.decide(&user, &contact, false).is_some());
        assert_eq!(contacts.standing(&user, &contact), Standing::Denied);
        assert_eq!(contacts.decide(&user, &contact, false), None, "nothing to write");
        let Some(Write::PutContact(record)) = contacts.decide(&user, &contact, true) else {
            panic!("a change is written")
        };
        let restored = Contacts::restore(vec![record]);
        assert_eq!(restored.standing(&user, &contact), Standing::Allowed);
        assert_eq!(restored.standing(&contact, &user), Standing::Unknown);
    }
}
