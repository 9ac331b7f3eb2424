//! Writes that wait for the store, and what follows once they are on the disk.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::store::Write;

/// How long decisions are held back after a commit that failed.
pub const RETRY_WAIT: Duration = Duration::from_secs(1);

/// The most decisions that are held back while the store fails; a further one that nothing
/// follows is given up.
pub const HELD_DECISIONS_MAX: usize = 100_000;

/// Groups the writes of one round of the gateway into one commit.
///
/// An offer is written once or not at all: when its commit fails, what follows the failure deals
/// with it. A decision says what already is: when its commit fails, it is tried again, and
/// decisions that were taken later wait behind it, so that the last one about a thing wins.
/// `S` is a step of the owner.
#[derive(Debug)]
pub struct Commits<S> {
    last_id: u64,
    offers: Vec<Offer<S>>,
    decisions: Vec<Decision<S>>,
    waiting: BTreeMap<u64, Waiting<S>>,
    /// The commit that has decisions and is not answered.
    deciding: Option<u64>,
    held_until: Option<Instant>,
}

#[derive(Debug)]
struct Offer<S> {
    write: Write,
    on_success: S,
    on_failure: S,
}

#[derive(Debug)]
struct Decision<S> {
    write: Write,
    step: Option<S>,
}

/// What follows the answer to a commit; the writes of its offers came first.
#[derive(Debug)]
struct Waiting<S> {
    offers: Vec<(S, S)>,
    decisions: Vec<Option<S>>,
}

impl<S> Default for Commits<S> {
    fn default() -> Self {
        Self {
            last_id: 0,
            offers: Vec::new(),
            decisions: Vec::new(),
            waiting: BTreeMap::new(),
            deciding: None,
            held_until: None,
        }
    }
}

impl<S> Commits<S> {
    /// Adds a decision that nothing follows.
    pub fn write(&mut self, write: Write) {
        if self.decisions.len() >= HELD_DECISIONS_MAX {
            metrics::counter!("gateway_decisions_given_up_total").increment(1);
            return;
        }
        self.decisions.push(Decision { write, step: None });
    }

    /// Adds a decision with what follows once it is on the disk, which may be after several
    /// attempts.
    pub fn write_and(&mut self, write: Write, step: S) {
        self.decisions.push(Decision { write, step: Some(step) });
    }

    /// Adds an offer with what follows its success and its failure.
    pub fn write_then(&mut self, write: Write, on_success: S, on_failure: S) {
        self.offers.push(Offer { write, on_success, on_failure });
    }

    /// Takes the commit of this round, if there is anything to write.
    pub fn take(&mut self) -> Option<(u64, Vec<Write>)> {
        let may_decide = self.deciding.is_none() && self.held_until.is_none();
        let mut decisions = Vec::new();
        if may_decide {
            std::mem::swap(&mut decisions, &mut self.decisions);
        }
        if self.offers.is_empty() && decisions.is_empty() {
            return None;
        }
        self.last_id += 1;
        if !decisions.is_empty() {
            self.deciding = Some(self.last_id);
        }
        let mut writes = Vec::with_capacity(self.offers.len() + decisions.len());
        let mut waiting = Waiting { offers: Vec::new(), decisions: Vec::new() };
        for offer in self.offers.drain(..) {
            writes.push(offer.write);
            waiting.offers.push((offer.on_success, offer.on_failure));
        }
        for decision in decisions {
            writes.push(decision.write);
            waiting.decisions.push(decision.step);
        }
        self.waiting.insert(self.last_id, waiting);
        Some((self.last_id, writes))
    }

    /// Returns the steps that follow a commit that succeeded.
    pub fn succeed(&mut self, id: u64) -> Vec<S> {
        let Some(waiting) = self.answered(id) else { return Vec::new() };
        let offers = waiting.offers.into_iter().map(|(on_success, _)| on_success);
        offers.chain(waiting.decisions.into_iter().flatten()).collect()
    }

    /// Returns the steps that follow a commit that failed with these writes.
    pub fn fail(&mut self, id: u64, writes: Vec<Write>, now: Instant) -> Vec<S> {
        let Some(waiting) = self.answered(id) else { return Vec::new() };
        let writes = writes.into_iter().skip(waiting.offers.len());
        let decided = writes.zip(waiting.decisions);
        let mut decisions: Vec<_> = decided.map(|(write, step)| Decision { write, step }).collect();
        if !decisions.is_empty() {
            decisions.append(&mut self.decisions);
            self.decisions = decisions;
            self.held_until = Some(now + RETRY_WAIT);
        }
        waiting.offers.into_iter().map(|(_, on_failure)| on_failure).collect()
    }

    /// Returns when [`Commits::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.held_until
    }

    /// Lets decisions be tried again that were held back.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.held_until = self.held_until.filter(|until| *until > now);
    }

    fn answered(&mut self, id: u64) -> Option<Waiting<S>> {
        if self.deciding == Some(id) {
            self.deciding = None;
        }
        self.waiting.remove(&id)
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
    fn an_offer_follows_the_outcome_of_its_own_commit_and_is_not_tried_again() {
        let mut commits = Commits::default();
        assert_eq!(commits.take(), None);
        commits.write_then(drop_message(1), "stored 1", "lost 1");
        let (first, _) = commits.take().unwrap();
        commits.write_then(drop_message(2), "stored 2", "lost 2");
        let (second, writes) = commits.take().unwrap();
        assert_eq!(commits.fail(second, writes, Instant::now()), ["lost 2"]);
        assert_eq!(commits.succeed(first), ["stored 1"]);
        assert_eq!(commits.succeed(first), Vec::<&str>::new());
        assert_eq!((commits.take(), commits.poll_timeout()), (None, None));
    }

    #[test]
    fn a_decision_is_tried_again_until_it_is_on_the_disk_and_then_followed() {
        let start = Instant::now();
        let mut commits = Commits::default();
        commits.write_and(drop_message(1), "decided");
        commits.write_then(drop_message(2), "stored", "lost");
        let (id, writes) = commits.take().unwrap();
        assert_eq!(commits.fail(id, writes, start), ["lost"]);
        assert_eq!(commits.take(), None, "not at once");
        assert_eq!(commits.poll_timeout(), Some(start + RETRY_WAIT));
        commits.handle_timeout(start + RETRY_WAIT);
        let (id, writes) = commits.take().unwrap();
        assert_eq!(writes, [drop_message(1)]);
        assert_eq!(commits.succeed(id), ["decided"]);
        assert_eq!((commits.take(), commits.poll_timeout()), (None, None));
    }

    #[test]
    fn a_later_decision_never_overtakes_an_earlier_one_and_an_offer_does() {
        let start = Instant::now();
        let mut commits = Commits::default();
        commits.write_and(drop_message(1), "1");
        let (first, writes) = commits.take().unwrap();
        commits.write_and(drop_message(2), "2");
        assert_eq!(commits.take(), None, "the first may still fail");
        commits.write_then(drop_message(3), "3", "lost");
        let (offer, offered) = commits.take().unwrap();
        assert_eq!(offered, [drop_message(3)]);
        assert_eq!(commits.succeed(offer), ["3"]);
        assert!(commits.fail(first, writes, start).is_empty());
        commits.write_and(drop_message(4), "4");
        assert_eq!(commits.take(), None);
        commits.handle_timeout(start + RETRY_WAIT);
        let (id, writes) = commits.take().unwrap();
        assert_eq!(writes, [1, 2, 4].map(drop_message));
        assert_eq!(commits.succeed(id), ["1", "2", "4"]);
    }
}
