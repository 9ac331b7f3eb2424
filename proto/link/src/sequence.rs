//! Numbers envelopes, keeps what is unsettled, and checks the peer's numbers.

use std::collections::BTreeMap;

/// A peer that breaks the numbering rules of the contract; the link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// An envelope did not carry the number after the one before it.
    #[error("envelope {received} came where {expected} was due")]
    OutOfOrder {
        /// The number that was due.
        expected: u64,
        /// The number that came.
        received: u64,
    },
    /// A settlement named an envelope that was never sent or is settled already.
    #[error("settlement of envelope {sequence}, which is not outstanding")]
    NotOutstanding {
        /// The number that was settled.
        sequence: u64,
    },
}

/// The envelopes of one direction of one link that wait for their settlement.
#[derive(Debug)]
pub struct Unsettled<T> {
    last: u64,
    // A map and not a queue: memory follows what is outstanding, however old the oldest is.
    entries: BTreeMap<u64, T>,
}

impl<T> Default for Unsettled<T> {
    fn default() -> Self {
        Self { last: 0, entries: BTreeMap::new() }
    }
}

impl<T> Unsettled<T> {
    /// Stores `entry` and returns the sequence to send it with.
    pub fn push(&mut self, entry: T) -> u64 {
        self.last += 1;
        self.entries.insert(self.last, entry);
        self.last
    }

    /// Returns how many envelopes are outstanding.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether nothing is outstanding.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes the envelope that the peer settled.
    pub fn settle(&mut self, sequence: u64) -> Result<T, SequenceError> {
        self.entries.remove(&sequence).ok_or(SequenceError::NotOutstanding { sequence })
    }

    /// Takes all that is outstanding, oldest first, in order to offer it again elsewhere.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.entries).into_values()
    }
}

/// Checks that the envelopes of the other side are numbered without a gap.
#[derive(Debug, Default)]
pub struct Received {
    last: u64,
}

impl Received {
    /// Accepts the next number or says what was due.
    pub fn accept(&mut self, sequence: u64) -> Result<(), SequenceError> {
        let expected = self.last + 1;
        if sequence != expected {
            return Err(SequenceError::OutOfOrder { expected, received: sequence });
        }
        self.last = sequence;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Received, SequenceError, Unsettled};

    #[test]
    fn settles_in_any_order_and_keeps_the_rest_in_order() {
        let mut unsettled = Unsettled::default();
        let sequences: Vec<u64> = ["a", "b", "c", "d"].map(|entry| unsettled.push(entry)).into();
        assert_eq!(sequences, [1, 2, 3, 4]);
        assert_eq!(unsettled.settle(2), Ok("b"));
        assert_eq!(unsettled.settle(1), Ok("a"));
        assert_eq!(unsettled.push("e"), 5);
        assert_eq!(unsettled.drain().collect::<Vec<_>>(), ["c", "d", "e"]);
        assert!(unsettled.is_empty());
        assert_eq!(unsettled.push("f"), 6, "numbers are never used again");
    }

    #[test]
    fn a_second_or_invented_settlement_is_an_error() {
        let mut unsettled = Unsettled::default();
        unsettled.push(());
        assert_eq!(unsettled.settle(1), Ok(()));
        for sequence in [0, 1, 2, u64::MAX] {
            assert_eq!(unsettled.settle(sequence), Err(SequenceError::NotOutstanding { sequence }));
        }
    }

    #[test]
    fn a_gap_or_a_repetition_is_an_error() {
        let mut received = Received::default();
        assert_eq!(received.accept(1), Ok(()));
        for sequence in [0, 1, 3] {
            assert_eq!(
                received.accept(sequence),
                Err(SequenceError::OutOfOrder { expected: 2, received: sequence })
            );
        }
        assert_eq!(received.accept(2), Ok(()));
    }
}
