//! Messages for users who are away: how many, how large, until when. The store has the contents.

use std::collections::BTreeMap;

use xmpp_proto::jid::Jid;

use crate::clock::Now;
use crate::store::record::{HomeMessage, MessageSize};

/// What the message store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Messages of one user; 0 switches the store off.
    pub per_user_max: usize,
    /// Bytes of all messages.
    pub bytes_max: u64,
    /// How long a message is kept, in milliseconds.
    pub keep_ms: u64,
}

impl Default for MessageLimits {
    fn default() -> Self {
        let keep_ms = 14 * 24 * 60 * 60 * 1000;
        Self { per_user_max: 1_000, bytes_max: 256 * 1024 * 1024, keep_ms }
    }
}

/// Why a message is not kept; the sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// The store is switched off.
    #[error("the user is away, and messages are not kept")]
    Off,
    /// The user has too many messages already.
    #[error("the user is away, and the message store for the user is full")]
    UserFull,
    /// All users together have too many bytes.
    #[error("the user is away, and the message store is full")]
    Full,
}

/// The index of the kept messages.
#[derive(Debug)]
pub struct MessageStore {
    limits: MessageLimits,
    last_id: u64,
    sizes: BTreeMap<u64, MessageSize>,
    expired: BTreeMap<u64, MessageSize>,
    counts: BTreeMap<String, usize>,
    bytes: u64,
}

impl MessageStore {
    /// Restores the index.
    pub fn restore(limits: MessageLimits, sizes: Vec<MessageSize>) -> Self {
        let mut store = Self {
            limits,
            last_id: 0,
            sizes: BTreeMap::new(),
            expired: BTreeMap::new(),
            counts: BTreeMap::new(),
            bytes: 0,
        };
        for size in sizes {
            store.last_id = store.last_id.max(size.id);
            store.insert(size);
        }
        store
    }

    /// Makes room for a message; the owner writes the record that is returned.
    ///
    /// # Errors
    /// Fails when there is no room.
    pub fn keep(
        &mut self,
        user: &Jid,
        request: Vec<u8>,
        now: Now,
    ) -> Result<HomeMessage, KeepError> {
        let aor = user.to_string();
        let bytes = request.len() as u64;
        self.room_for(user, bytes)?;
        self.last_id += 1;
        let (id, expires_ms) = (self.last_id, now.unix_ms + self.limits.keep_ms);
        self.insert(MessageSize { id, aor: aor.clone(), expires_ms, bytes });
        Ok(HomeMessage { id, aor, received_ms: now.unix_ms, expires_ms, request })
    }

    /// Says whether there is room for a message of so many bytes.
    ///
    /// # Errors
    /// Fails when there is none.
    pub fn room_for(&self, user: &Jid, bytes: u64) -> Result<(), KeepError> {
        if self.limits.per_user_max == 0 {
            return Err(KeepError::Off);
        }
        let count = self.counts.get(&user.to_string()).copied().unwrap_or_default();
        if count >= self.limits.per_user_max {
            return Err(KeepError::UserFull);
        }
        // A store that is full to the last byte has no room for the smallest message either.
        if self.bytes + bytes.max(1) > self.limits.bytes_max {
            return Err(KeepError::Full);
        }
        Ok(())
    }

    /// Gives up the room of a message; returns whether there was one.
    pub fn forget(&mut self, id: u64) -> bool {
        let Some(size) = self.sizes.remove(&id).or_else(|| self.expired.remove(&id)) else {
            return false;
        };
        self.bytes -= size.bytes;
        if let Some(count) = self.counts.get_mut(&size.aor) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&size.aor);
            }
        }
        true
    }

    /// Returns whether a message is kept that has no outcome.
    pub fn has(&self, id: u64) -> bool {
        self.sizes.contains_key(&id) || self.expired.contains_key(&id)
    }

    /// Returns whether messages are kept for a user.
    pub fn has_for(&self, user: &Jid) -> bool {
        self.counts.contains_key(&user.to_string())
    }

    /// Forgets all messages of a user.
    pub fn remove_user(&mut self, user: &Jid) {
        let aor = user.to_string();
        let all = self.sizes.values().chain(self.expired.values());
        let ids: Vec<u64> = all.filter(|size| size.aor == aor).map(|size| size.id).collect();
        for id in ids {
            self.forget(id);
        }
    }

    /// Takes out an expired message, whose room stays in use until it is forgotten; returns the
    /// user that it was for.
    pub fn take_expired(&mut self, now: Now) -> Option<Jid> {
        // Messages are numbered in the order in which they came, and all are kept equally long.
        let (id, size) = self.sizes.first_key_value()?;
        if size.expires_ms > now.unix_ms {
            return None;
        }
        let id = *id;
        let size = self.sizes.remove(&id)?;
        let user = Jid::parse(&size.aor).ok();
        self.expired.insert(id, size);
        user
    }

    /// Returns when the next message expires, in milliseconds of Unix time.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.sizes.values().next().map(|size| size.expires_ms)
    }

    fn insert(&mut self, size: MessageSize) {
        self.bytes += size.bytes;
        *self.counts.entry(size.aor.clone()).or_default() += 1;
        self.sizes.insert(size.id, size);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use xmpp_proto::jid::Jid;

    use super::{KeepError, MessageLimits, MessageStore};
    use crate::clock::Now;

    const LIMITS: MessageLimits = MessageLimits { per_user_max: 2, bytes_max: 30, keep_ms: 100 };

    fn now(unix_ms: u64) -> Now {
        Now { instant: Instant::now(), unix_ms }
    }

    #[test]
    fn each_limit_has_its_own_refusal_and_room_comes_back() {
        let romeo = Jid::parse("romeo@contoso.example").unwrap();
        let paris = Jid::parse("paris@contoso.example").unwrap();
        let mut store = MessageStore::restore(LIMITS, Vec::new());
        let first = store.keep(&romeo, vec![0; 10], now(0)).unwrap();
        store.keep(&romeo, vec![0; 10], now(0)).unwrap();
        assert_eq!(store.keep(&romeo, vec![0; 1], now(0)), Err(KeepError::UserFull));
        assert_eq!(store.keep(&paris, vec![0; 11], now(0)), Err(KeepError::Full));
        assert!(store.forget(first.id));
        assert!(!store.forget(first.id));
        assert!(store.keep(&paris, vec![0; 20], now(0)).is_ok());

        let off = MessageLimits { per_user_max: 0, ..LIMITS };
        let mut store = MessageStore::restore(off, Vec::new());
        assert_eq!(store.keep(&romeo, Vec::new(), now(0)), Err(KeepError::Off));
    }

    #[test]
    fn a_message_expires_at_its_age() {
        let romeo = Jid::parse("romeo@contoso.example").unwrap();
        let mut store = MessageStore::restore(LIMITS, Vec::new());
        let kept = store.keep(&romeo, vec![1], now(50)).unwrap();
        assert_eq!(store.next_expiry_ms(), Some(150));
        assert_eq!(store.take_expired(now(149)), None);
        assert_eq!(store.take_expired(now(150)), Some(romeo.clone()));
        assert_eq!(store.take_expired(now(150)), None);
        assert!(store.has_for(&romeo), "until it is forgotten");
        assert!(store.forget(kept.id));
        assert!(!store.has_for(&romeo));
    }
}
