//! Stanzas that wait for a stream to a partner: bounded in items, bytes and age.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::admission::QueueLimits;

/// A stanza that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// What its sender calls it.
    pub ticket: Ticket,
    /// The stanza as it goes on the stream.
    pub bytes: Bytes,
    /// When it was taken in.
    pub since: Instant,
}

/// Who learns the outcome of a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// The hub, by the stanza's id.
    Hub([u8; 16]),
    /// Nobody: an error that this edge sends itself.
    Nobody,
}

/// A queue, oldest first.
#[derive(Debug, Default)]
pub struct Queue {
    items: VecDeque<Queued>,
    bytes: usize,
}

impl Queue {
    /// Appends a stanza.
    ///
    /// # Errors
    /// Gives the stanza back when the queue is full.
    pub fn push(&mut self, queued: Queued, limits: QueueLimits) -> Result<(), Queued> {
        let full = self.items.len() >= limits.items_max
            || self.bytes + queued.bytes.len() > limits.bytes_max;
        if full {
            return Err(queued);
        }
        self.bytes += queued.bytes.len();
        self.items.push_back(queued);
        Ok(())
    }

    /// Puts back what was taken out, in front; it was within the limits before.
    pub fn put_back(&mut self, queued: Queued) {
        self.bytes += queued.bytes.len();
        self.items.push_front(queued);
    }

    /// Takes out the oldest stanza.
    pub fn pop(&mut self) -> Option<Queued> {
        let queued = self.items.pop_front()?;
        self.bytes -= queued.bytes.len();
        Some(queued)
    }

    /// Takes out the oldest stanza if it has waited too long.
    pub fn pop_expired(&mut self, limits: QueueLimits, now: Instant) -> Option<Queued> {
        let oldest = self.items.front()?;
        if oldest.since + limits.age_max > now { None } else { self.pop() }
    }

    /// Returns when the oldest stanza has waited too long.
    pub fn poll_timeout(&self, limits: QueueLimits) -> Option<Instant> {
        self.items.front().map(|oldest| oldest.since + limits.age_max)
    }

    /// Returns how many stanzas wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns their bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;

    use super::{Queue, Queued, Ticket};
    use crate::admission::QueueLimits;

    const LIMITS: QueueLimits =
        QueueLimits { items_max: 3, bytes_max: 10, age_max: Duration::from_secs(60) };

    fn queued(bytes: usize, since: Instant) -> Queued {
        Queued { ticket: Ticket::Nobody, bytes: Bytes::from(vec![b'x'; bytes]), since }
    }

    #[test]
    fn items_and_bytes_are_bounded_and_freed_again() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        assert!(queue.push(queued(9, now), LIMITS).is_ok());
        assert!(queue.push(queued(2, now), LIMITS).is_err());
        assert!(queue.push(queued(1, now), LIMITS).is_ok());
        assert!(queue.pop().is_some());
        for _ in 0..2 {
            assert!(queue.push(queued(4, now), LIMITS).is_ok());
        }
        assert!(queue.push(queued(0, now), LIMITS).is_err(), "a fourth item");
    }

    #[test]
    fn what_is_put_back_is_first_again() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(queued(1, now), LIMITS).unwrap();
        queue.push(queued(2, now), LIMITS).unwrap();
        let first = queue.pop().unwrap();
        queue.put_back(first);
        assert_eq!(queue.pop().unwrap().bytes.len(), 1);
    }

    #[test]
    fn a_stanza_expires_at_its_age() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        queue.push(queued(1, start), LIMITS).unwrap();
        let due = start + LIMITS.age_max;
        assert_eq!(queue.poll_timeout(LIMITS), Some(due));
        assert_eq!(queue.pop_expired(LIMITS, due - Duration::from_millis(1)), None);
        assert!(queue.pop_expired(LIMITS, due).is_some());
        assert!(queue.is_empty());
    }
}
