//! How many events of one edge are recorded: many at once, fewer for long, whatever it sends.

use std::time::{Duration, Instant};

/// Events that are recorded at once: all partners of a large policy come and go.
const BURST: u32 = 2_000;

/// The time in which one more may be recorded.
const INTERVAL: Duration = Duration::from_millis(10);

/// What must be left before events are recorded again after some were left out: one record says
/// that they are, and not one for every few of them.
const RESUMED_AT: u32 = 100;

/// What is done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// It is recorded.
    Full,
    /// It is the first that is left out, which is to be recorded in its stead.
    FirstLeftOut,
    /// It is counted, and no more.
    LeftOut,
}

/// The events of one edge.
#[derive(Debug)]
pub(super) struct RecordBudget {
    left: u32,
    refilled: Instant,
    is_leaving_out: bool,
}

impl RecordBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST, refilled: now, is_leaving_out: false }
    }

    /// Says what is done with one more event.
    pub(super) fn take(&mut self, now: Instant) -> Recording {
        let passed = now.saturating_duration_since(self.refilled).as_nanos() / INTERVAL.as_nanos();
        let passed = u32::try_from(passed).unwrap_or(BURST).min(BURST);
        if passed > 0 {
            self.left = (self.left + passed).min(BURST);
            self.refilled = now;
        }
        let needed = if self.is_leaving_out { RESUMED_AT } else { 1 };
        if self.left >= needed {
            self.left -= 1;
            self.is_leaving_out = false;
            return Recording::Full;
        }
        match std::mem::replace(&mut self.is_leaving_out, true) {
            true => Recording::LeftOut,
            false => Recording::FirstLeftOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{BURST, INTERVAL, RESUMED_AT, RecordBudget, Recording};

    #[test]
    fn a_flood_is_recorded_up_to_the_burst_and_again_as_time_passes() {
        let begin = Instant::now();
        let mut budget = RecordBudget::new(begin);
        for _ in 0..BURST {
            assert_eq!(budget.take(begin), Recording::Full);
        }
        assert_eq!(budget.take(begin), Recording::FirstLeftOut);
        assert_eq!(budget.take(begin), Recording::LeftOut);
        assert_eq!(budget.take(begin + INTERVAL * (RESUMED_AT - 1)), Recording::LeftOut);
        let later = begin + INTERVAL * RESUMED_AT;
        for _ in 0..RESUMED_AT {
            assert_eq!(budget.take(later), Recording::Full);
        }
        assert_eq!(budget.take(later), Recording::FirstLeftOut);
        assert_eq!(budget.take(begin), Recording::LeftOut, "a clock that is behind gives nothing");
    }
}
