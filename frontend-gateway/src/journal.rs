//! What we are responsible for: every accepted message until its one outcome, and for a while
//! after, so that its repetition is recognised.
//!
//! ```text
//!            accept                 settle(Delivered)
//! (nothing) --------> Accepted -----------------------> Delivered
//!                        |  bounce              settle(Bounced)
//!                        +-------> Bouncing ----------> Bounced
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::clock::Now;
use crate::store::Write;
use crate::store::record::{BounceReason, JournalRecord, Outcome, SettledRecord};

/// How long a settled message is kept in mind, in milliseconds.
pub const REPETITION_MS_MAX: u64 = 10 * 60 * 1000;

/// How many settled messages are kept in mind.
pub const REPETITIONS_MAX: usize = 100_000;

/// What marks a repetition of a message by its sender.
pub type Origin = [u8; 16];

/// What is known of a message that arrives.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It was never seen.
    Unknown,
    /// It is ours and has no outcome yet.
    Open(u64),
    /// It has its outcome.
    Settled(u64, Outcome),
}

/// The journal in memory; the store follows it by the writes that each change returns.
#[derive(Debug, Default)]
pub struct Journal {
    last_id: u64,
    open: BTreeMap<u64, JournalRecord>,
    /// Number, origin and time of the settled, the oldest first.
    settled: VecDeque<(u64, Origin, u64)>,
    origins: HashMap<Origin, u64>,
    outcomes: HashMap<u64, Outcome>,
}

impl Journal {
    /// Restores the journal from what the store holds.
    pub fn restore(last_id: u64, open: Vec<JournalRecord>, settled: Vec<SettledRecord>) -> Self {
        let mut journal = Self { last_id, ..Self::default() };
        for record in settled {
            journal.origins.insert(record.origin, record.id);
            journal.remember(record);
        }
        for record in open {
            journal.origins.insert(record.origin, record.id);
            journal.open.insert(record.id, record);
        }
        journal
    }

    /// Returns what is known of a message.
    pub fn standing(&self, origin: &Origin) -> Standing {
        match self.origins.get(origin) {
            None => Standing::Unknown,
            Some(id) => match self.outcomes.get(id) {
                Some(outcome) => Standing::Settled(*id, outcome.clone()),
                None => Standing::Open(*id),
            },
        }
    }

    /// Takes responsibility for a message, as soon as the write is on the disk.
    ///
    /// The number of the record is given here.
    pub fn accept(&mut self, mut record: JournalRecord) -> (u64, Write) {
        self.last_id += 1;
        record.id = self.last_id;
        self.origins.insert(record.origin, record.id);
        self.open.insert(record.id, record.clone());
        (record.id, Write::Accept(record))
    }

    /// Takes back an acceptance whose write failed: the message was never ours.
    pub fn disown(&mut self, id: u64) {
        if let Some(record) = self.open.remove(&id) {
            self.origins.remove(&record.origin);
        }
    }

    /// Returns the number that the next message will have.
    pub fn next_id(&self) -> u64 {
        self.last_id + 1
    }

    /// Returns a message without an outcome.
    pub fn open(&self, id: u64) -> Option<&JournalRecord> {
        self.open.get(&id)
    }

    /// Returns all messages without an outcome, oldest first.
    pub fn all_open(&self) -> impl Iterator<Item = &JournalRecord> {
        self.open.values()
    }

    /// Returns how many messages have no outcome.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Decides that a message goes back to its sender.
    pub fn bounce(&mut self, id: u64, reason: BounceReason) -> Option<Write> {
        let record = self.open.get_mut(&id).filter(|record| record.bounce.is_none())?;
        record.bounce = Some(reason.clone());
        Some(Write::Bounce { id, reason })
    }

    /// Records the outcome of a message; a second outcome is none.
    pub fn settle(&mut self, id: u64, outcome: Outcome, now: Now) -> Option<Write> {
        let record = self.open.remove(&id)?;
        let settled_ms = now.unix_ms;
        let settled = SettledRecord { id, origin: record.origin, settled_ms, outcome };
        let write = Write::Settle { id, outcome: settled.outcome.clone(), at_ms: settled_ms };
        self.forget_old(now);
        self.remember(settled);
        Some(write)
    }

    /// Corrects a delivery that an error of the recipient's server contradicts afterwards.
    pub fn correct(&mut self, id: u64, reason: BounceReason, now: Now) -> Option<Write> {
        let outcome =
            self.outcomes.get_mut(&id).filter(|outcome| **outcome == Outcome::Delivered)?;
        *outcome = Outcome::Bounced(reason);
        Some(Write::Settle { id, outcome: outcome.clone(), at_ms: now.unix_ms })
    }

    fn remember(&mut self, record: SettledRecord) {
        self.settled.push_back((record.id, record.origin, record.settled_ms));
        self.outcomes.insert(record.id, record.outcome);
    }

    fn forget_old(&mut self, now: Now) {
        let too_old =
            |(_, _, settled_ms): &(_, _, u64)| settled_ms + REPETITION_MS_MAX < now.unix_ms;
        while self.settled.len() >= REPETITIONS_MAX || self.settled.front().is_some_and(too_old) {
            let Some((id, origin, _)) = self.settled.pop_front() else { return };
            self.outcomes.remove(&id);
            self.origins.remove(&origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Journal, REPETITION_MS_MAX, Standing};
    use crate::clock::Now;
    use crate::store::Write;
    use crate::store::record::{BounceReason, Direction, JournalRecord, Outcome, SettledRecord};

    fn at(unix_ms: u64) -> Now {
        Now { instant: Instant::now(), unix_ms }
    }

    fn record(origin: u8) -> JournalRecord {
        JournalRecord {
            id: 0,
            direction: Direction::X2s,
            origin: [origin; 16],
            correlation_id: String::new(),
            accepted_ms: 1,
            stanza: bytes::Bytes::new(),
            bounce: None,
        }
    }

    fn reason() -> BounceReason {
        BounceReason { condition: "gone".into(), ..BounceReason::default() }
    }

    #[test]
    fn a_message_has_exactly_one_outcome() {
        let mut journal = Journal::default();
        let (id, _) = journal.accept(record(1));
        assert_eq!(journal.standing(&[1; 16]), Standing::Open(id));
        assert!(journal.settle(id, Outcome::Delivered, at(5)).is_some());
        assert_eq!(journal.settle(id, Outcome::Bounced(reason()), at(6)), None);
        assert_eq!(journal.bounce(id, reason()), None);
        assert_eq!(journal.standing(&[1; 16]), Standing::Settled(id, Outcome::Delivered));
    }

    #[test]
    fn a_message_goes_back_once() {
        let mut journal = Journal::default();
        let (id, _) = journal.accept(record(1));
        assert_eq!(journal.bounce(id, reason()), Some(Write::Bounce { id, reason: reason() }));
        assert_eq!(journal.bounce(id, reason()), None);
    }

    #[test]
    fn what_was_never_written_was_never_ours() {
        let mut journal = Journal::default();
        let (id, _) = journal.accept(record(1));
        journal.disown(id);
        assert_eq!(journal.standing(&[1; 16]), Standing::Unknown);
        let (next, _) = journal.accept(record(1));
        assert!(next > id, "numbers are never used again");
    }

    #[test]
    fn a_restored_journal_knows_what_the_old_one_knew() {
        let settled =
            SettledRecord { id: 7, origin: [7; 16], settled_ms: 1, outcome: Outcome::Delivered };
        let open = JournalRecord { id: 8, ..record(8) };
        let mut journal = Journal::restore(8, vec![open], vec![settled]);
        assert_eq!(journal.standing(&[7; 16]), Standing::Settled(7, Outcome::Delivered));
        assert_eq!(journal.standing(&[8; 16]), Standing::Open(8));
        assert_eq!(journal.accept(record(9)).0, 9);
    }

    #[test]
    fn settled_messages_are_forgotten_in_time() {
        let mut journal = Journal::default();
        for (origin, time) in [(1, 0), (2, REPETITION_MS_MAX), (3, REPETITION_MS_MAX + 1)] {
            let (id, _) = journal.accept(record(origin));
            journal.settle(id, Outcome::Delivered, at(time));
        }
        assert_eq!(journal.standing(&[1; 16]), Standing::Unknown);
        assert!(matches!(journal.standing(&[2; 16]), Standing::Settled(2, _)));
        assert_eq!((journal.origins.len(), journal.outcomes.len()), (2, 2));
    }
}
