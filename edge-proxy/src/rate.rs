//! Token buckets, without IO: so much in a second, and a burst that was saved up before.

use std::time::{Duration, Instant};

/// How much may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In how long one burst comes together.
    burst_in: Duration,
    /// The most at once, at least one.
    burst: u64,
}

impl Rate {
    /// So many in `time`, and as many at once; zero counts as one.
    pub const fn new(count: u64, time: Duration) -> Self {
        Self { burst_in: time, burst: if count == 0 { 1 } else { count } }
    }

    /// Returns how long it takes until so many have come together.
    fn time_for(self, count: u64) -> Duration {
        let nanos = self.burst_in.as_nanos() * u128::from(count) / u128::from(self.burst);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// One bucket; the default is full.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenBucket {
    /// When it is full again.
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// Spends so many if there are as many; says whether.
    pub fn try_spend(&mut self, rate: Rate, count: u64, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + rate.time_for(count);
        let is_there = full_at <= now + rate.burst_in;
        if is_there {
            self.full_at = Some(full_at);
        }
        is_there
    }

    /// Spends so many although there may be fewer; what is missing is a debt.
    pub fn spend(&mut self, rate: Rate, count: u64, now: Instant) {
        self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + rate.time_for(count));
    }

    /// Puts back one that was spent.
    pub fn put_back(&mut self, rate: Rate) {
        self.full_at = self.full_at.and_then(|at| at.checked_sub(rate.time_for(1)));
    }

    /// Returns when the debt is paid; none if there is none.
    pub fn solvent_at(&self, rate: Rate, now: Instant) -> Option<Instant> {
        let solvent_at = self.full_at?.checked_sub(rate.burst_in)?;
        (solvent_at > now).then_some(solvent_at)
    }

    /// Returns whether nothing of a burst is missing.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWENTY_A_MINUTE: Rate = Rate::new(20, Duration::from_secs(60));

    #[test]
    fn a_burst_passes_at_once_and_then_one_after_the_other() {
        let (mut bucket, start) = (TokenBucket::default(), Instant::now());
        let mut passed_by = |seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            (0..100).filter(|_| bucket.try_spend(TWENTY_A_MINUTE, 1, now)).count()
        };
        let passed = [0, 2, 3, 9, 10_000].map(&mut passed_by);
        assert_eq!(passed, [20, 0, 1, 2, 20]);
    }

    #[test]
    fn a_debt_is_paid_in_the_time_that_it_takes() {
        let rate = Rate::new(2_000, Duration::from_secs(2));
        let (mut bucket, start) = (TokenBucket::default(), Instant::now());
        bucket.spend(rate, 2_000, start);
        assert_eq!(bucket.solvent_at(rate, start), None, "the burst is no debt");
        bucket.spend(rate, 5_000, start);
        let paid = start + Duration::from_secs(5);
        assert_eq!(bucket.solvent_at(rate, start), Some(paid));
        assert_eq!(bucket.solvent_at(rate, paid), None);
        assert!(!bucket.try_spend(rate, 1, paid));
        assert!(!bucket.is_full(paid) && bucket.is_full(paid + Duration::from_secs(2)));
    }

    #[test]
    fn what_is_put_back_can_be_spent_again() {
        let (mut bucket, now) = (TokenBucket::default(), Instant::now());
        for _ in 0..100 {
            assert!(bucket.try_spend(TWENTY_A_MINUTE, 1, now));
            bucket.put_back(TWENTY_A_MINUTE);
        }
        assert!(bucket.is_full(now));
    }
}
