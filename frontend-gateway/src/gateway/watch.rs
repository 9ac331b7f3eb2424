//! Whose presence is seen, and by whom: the key of every subscription and its authorisation.

use xmpp_proto::jid::Jid;

use super::stanzas::Arrived;
use crate::store::Write;
use crate::store::record::{Authorisation, AuthorisationState, Direction};

/// Whose presence is seen, and by whom; both bare.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Watch {
    pub(super) presentity: Jid,
    pub(super) watcher: Jid,
}

impl Watch {
    /// Returns the watch of the XMPP user who sent a stanza.
    pub(super) fn of_watcher(arrived: &Arrived<'_>) -> Self {
        Self { presentity: arrived.to.bare(), watcher: arrived.from.bare() }
    }

    /// Returns the watch on the XMPP user who sent a stanza.
    pub(super) fn of_presentity(arrived: &Arrived<'_>) -> Self {
        Self { presentity: arrived.from.bare(), watcher: arrived.to.bare() }
    }

    /// Reads the watch of a record.
    pub(super) fn of_record(record: &Authorisation) -> Option<Self> {
        let presentity = Jid::parse(&record.presentity).ok()?;
        Some(Self { presentity, watcher: Jid::parse(&record.watcher).ok()? })
    }

    /// Returns the write that keeps the authorisation.
    pub(super) fn record(
        &self,
        direction: Direction,
        state: AuthorisationState,
        seen_ms: u64,
    ) -> Write {
        Write::PutAuthorisation(Authorisation {
            direction,
            presentity: self.presentity.to_string(),
            watcher: self.watcher.to_string(),
            state,
            seen_ms,
        })
    }

    /// Returns the write that forgets the authorisation.
    pub(super) fn removal(&self) -> Write {
        Write::RemoveAuthorisation {
            presentity: self.presentity.to_string(),
            watcher: self.watcher.to_string(),
        }
    }
}
