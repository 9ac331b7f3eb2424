//! Writes that wait for the store, and what follows once they are on the disk.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::store::Write;

/// How long writes are held back after a commit that failed.
pub const RETRY_WAIT: Duration = Duration::from_secs(1);

/// The most writes that are held back; what is beyond is given up.
pub const HELD_WRITES_MAX: usize = 100_000;

/// Groups the writes of one round of the gateway into one commit.
///
/// A write that something follows is forgotten when its commit fails: what follows the failure
/// deals with it. Any other write says what already is, and is tried again.
/// `S` is a step of the owner.
#[derive(Debug)]
pub struct Commits<S> {
    last_id: u64,
    writes: Vec<Write>,
    followers: Vec<Follower<S>>,
    waiting: BTreeMap<u64, Vec<Follower<S>>>,
    held: Vec<Write>,
    held_until: Option<Instant>,
}

#[derive(Debug)]
struct Follower<S> {
    write: usize,
    on_success: S,
    on_failure: S,
}

impl<S> Default for Commits<S> {
    fn default() -> Self {
        Self {
            last_id: 0,
            writes: Vec::new(),
            followers: Vec::new(),
            waiting: BTreeMap::new(),
            held: Vec::new(),
            held_until: None,
        }
    }
}

impl<S> Commits<S> {
    /// Adds a write that nothing waits for.
    pub fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// Adds a write with what follows its success and its failure.
    pub fn write_then(&mut self, write: Write, on_success: S, on_failure: S) {
        self.followers.push(Follower { write: self.writes.len(), on_success, on_failure });
        self.writes.push(write);
    }

    /// Takes the commit of this round, if there is anything to write.
    pub fn take(&mut self) -> Option<(u64, Vec<Write>)> {
        if self.writes.is_empty() {
            return None;
        }
        self.last_id += 1;
        self.waiting.insert(self.last_id, std::mem::take(&mut self.followers));
        Some((self.last_id, std::mem::take(&mut self.writes)))
    }

    /// Returns the steps that follow a commit that succeeded.
    pub fn succeed(&mut self, id: u64) -> Vec<S> {
        let followers = self.waiting.remove(&id).unwrap_or_default();
        followers.into_iter().map(|follower| follower.on_success).collect()
    }

    /// Returns the steps that follow a commit that failed with these writes.
    pub fn fail(&mut self, id: u64, writes: Vec<Write>, now: Instant) -> Vec<S> {
        let followers = self.waiting.remove(&id).unwrap_or_default();
        let mut awaited = followers.iter().map(|follower| follower.write).peekable();
        for (index, write) in writes.into_iter().enumerate() {
            if awaited.next_if_eq(&index).is_none() && self.held.len() < HELD_WRITES_MAX {
                self.held.push(write);
            }
        }
        self.held_until = Some(now + RETRY_WAIT);
        followers.into_iter().map(|follower| follower.on_failure).collect()
    }

    /// Returns when [`Commits::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.held_until
    }

    /// Tries again what was held back.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
            // In front: what was decided since then must win over what was held.
            let later = std::mem::replace(&mut self.writes, std::mem::take(&mut self.held));
            for follower in &mut self.followers {
                follower.write += self.writes.len();
            }
            self.writes.extend(later);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Commits, RETRY_WAIT};
    use crate::store::Write;

    fn drop_message(id: u64) -> Write {
        Write::DropMessage { id }
    }

    #[test]
    fn the_steps_of_a_commit_follow_its_own_outcome() {
        let mut commits = Commits::default();
        assert_eq!(commits.take(), None);
        commits.write_then(drop_message(1), "stored 1", "lost 1");
        let (first, _) = commits.take().unwrap();
        commits.write_then(drop_message(2), "stored 2", "lost 2");
        let (second, writes) = commits.take().unwrap();
        assert_eq!(commits.fail(second, writes, Instant::now()), ["lost 2"]);
        assert_eq!(commits.succeed(first), ["stored 1"]);
        assert_eq!(commits.succeed(first), Vec::<&str>::new());
    }

    #[test]
    fn a_failed_write_that_nothing_follows_is_tried_again_before_later_ones() {
        let start = Instant::now();
        let mut commits = Commits::default();
        commits.write(drop_message(1));
        commits.write_then(drop_message(2), "stored", "lost");
        commits.write(drop_message(3));
        let (id, writes) = commits.take().unwrap();
        commits.fail(id, writes, start);
        assert_eq!(commits.poll_timeout(), Some(start + RETRY_WAIT));

        commits.write_then(drop_message(4), "stored 4", "lost 4");
        commits.handle_timeout(start + RETRY_WAIT);
        let (id, writes) = commits.take().unwrap();
        assert_eq!(writes, [1, 3, 4].map(drop_message));
        assert_eq!(commits.poll_timeout(), None);
        assert_eq!(commits.fail(id, writes, start), ["lost 4"]);
        assert_eq!(commits.held, [1, 3].map(drop_message));
    }
}
