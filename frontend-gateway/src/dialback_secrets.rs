//! The secrets of dialback keys (XEP-0185), and how one follows another while edges learn of it.
//!
//! Which of them counts follows from when each was made, so that a restart changes nothing:
//!
//! ```text
//! made ---- LEAD ----> makes keys ---- ROTATION ----> the next one makes keys ---- OVERLAP ----> gone
//! |<------------------------------- its keys are good ------------------------------->|
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::clock::{Now, milliseconds};
use crate::store::Write;
use crate::store::record::DialbackSecretRecord;

/// How long a secret is known before keys are made with it: any edge answers for the key of any
/// other, so that all of them must have it.
const LEAD: Duration = Duration::from_secs(60);

/// How long keys of a secret are good after the next one makes them: longer than the
/// establishment of a stream may take.
const OVERLAP: Duration = Duration::from_secs(15 * 60);

/// The secrets, oldest first.
#[derive(Debug)]
pub struct DialbackSecrets {
    kept: Vec<DialbackSecretRecord>,
    seed: [u8; 32],
    drawn: u64,
}

impl DialbackSecrets {
    /// Restores the secrets. `seed` is random and used only once.
    pub fn restore(mut kept: Vec<DialbackSecretRecord>, seed: [u8; 32]) -> Self {
        kept.sort_by_key(|it| it.made_ms);
        Self { kept, seed, drawn: 0 }
    }

    /// Makes the next secret and forgets old ones where it is time to; returns what is to be
    /// stored.
    pub fn advance(&mut self, rotation: Duration, now: Now) -> Vec<Write> {
        let mut writes = Vec::new();
        let is_due = |newest: &DialbackSecretRecord| due_ms(newest, rotation) <= now.unix_ms;
        if self.kept.last().is_none_or(is_due) {
            let record = DialbackSecretRecord { secret: self.draw(), made_ms: now.unix_ms };
            writes.push(Write::PutDialbackSecret(record.clone()));
            self.kept.push(record);
        }
        while let [oldest, next, ..] = &self.kept[..]
            && end_ms(next) <= now.unix_ms
        {
            writes.push(Write::RemoveDialbackSecret { secret: oldest.secret.clone() });
            self.kept.remove(0);
        }
        writes
    }

    /// Returns all secrets whose keys are good; keys are made with the first.
    pub fn in_force(&self, now: Now) -> Vec<Bytes> {
        // The first one has nothing to follow, and counts at once.
        let counts = |it: &&DialbackSecretRecord| lead_end_ms(it) <= now.unix_ms;
        let current = self.kept.iter().rev().find(counts).or(self.kept.first());
        let others = self.kept.iter().filter(|it| Some(*it) != current);
        let in_order = current.into_iter().chain(others);
        in_order.map(|it| Bytes::copy_from_slice(&it.secret)).collect()
    }

    /// Returns when [`DialbackSecrets::in_force`] or what is kept changes next.
    pub fn poll_timeout(&self, rotation: Duration, now: Now) -> Option<Instant> {
        let newest = self.kept.last()?;
        let ends = self.kept.iter().skip(1).flat_map(|it| [lead_end_ms(it), end_ms(it)]);
        let next = ends.chain([due_ms(newest, rotation)]).filter(|at| *at > now.unix_ms).min()?;
        Some(now.instant_of(next))
    }

    fn draw(&mut self) -> Vec<u8> {
        self.drawn += 1;
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(self.drawn.to_be_bytes());
        hash.finalize().to_vec()
    }
}

/// Returns when keys are made with a secret.
fn lead_end_ms(record: &DialbackSecretRecord) -> u64 {
    record.made_ms.saturating_add(milliseconds(LEAD))
}

/// Returns when the one before a secret is gone.
fn end_ms(record: &DialbackSecretRecord) -> u64 {
    lead_end_ms(record).saturating_add(milliseconds(OVERLAP))
}

/// Returns when the one after a secret is made.
fn due_ms(record: &DialbackSecretRecord, rotation: Duration) -> u64 {
    record.made_ms.saturating_add(milliseconds(rotation))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::{DialbackSecrets, LEAD, OVERLAP};
    use crate::store::Write;
    use crate::store::record::DialbackSecretRecord;
    use crate::testing::Clock;

    const ROTATION: Duration = Duration::from_secs(24 * 60 * 60);

    struct Rig {
        clock: Clock,
        secrets: DialbackSecrets,
        stored: Vec<DialbackSecretRecord>,
    }

    impl Rig {
        fn new() -> Self {
            let secrets = DialbackSecrets::restore(Vec::new(), [1; 32]);
            let mut rig = Self { clock: Clock::new(), secrets, stored: Vec::new() };
            rig.advance();
            rig
        }

        fn advance(&mut self) {
            for write in self.secrets.advance(ROTATION, self.clock.now) {
                match write {
                    Write::PutDialbackSecret(record) => self.stored.push(record),
                    Write::RemoveDialbackSecret { secret } => {
                        self.stored.retain(|it| it.secret != secret);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }

        /// Lets the time pass until something changes.
        fn until_next(&mut self) -> Duration {
            let before = self.clock.now.instant;
            let next = self.secrets.poll_timeout(ROTATION, self.clock.now).unwrap();
            self.clock.set(next);
            self.advance();
            next - before
        }

        fn in_force(&self) -> Vec<Bytes> {
            self.secrets.in_force(self.clock.now)
        }

        fn restart(&mut self) {
            self.secrets = DialbackSecrets::restore(self.stored.clone(), [2; 32]);
            self.advance();
        }
    }

    #[test]
    fn a_secret_is_known_before_it_makes_keys_and_good_after_the_next_one_does() {
        let mut rig = Rig::new();
        let [first] = &rig.in_force()[..] else { panic!("one at first") };
        let first = first.clone();

        assert_eq!(rig.until_next(), ROTATION);
        let [before, second] = &rig.in_force()[..] else { panic!("the next one is known") };
        assert_eq!(*before, first, "keys are made with the first");
        let second = second.clone();
        assert_ne!(first, second);

        assert_eq!(rig.until_next(), LEAD);
        assert_eq!(rig.in_force(), [second.clone(), first]);
        assert_eq!(rig.until_next(), OVERLAP);
        assert_eq!(rig.in_force(), [second]);
        assert_eq!(rig.stored.len(), 1);
    }

    #[test]
    fn a_restart_changes_nothing_at_any_step() {
        let mut rig = Rig::new();
        for _ in 0..12 {
            let before = rig.in_force();
            rig.restart();
            assert_eq!(rig.in_force(), before);
            rig.until_next();
        }
    }

    #[test]
    fn a_secret_that_was_due_while_nothing_ran_is_made_at_the_start() {
        let mut rig = Rig::new();
        rig.clock.set(rig.clock.now.instant + 3 * ROTATION);
        rig.restart();
        assert_eq!(rig.in_force().len(), 2);
        assert_eq!(rig.stored.len(), 2);
    }
}
