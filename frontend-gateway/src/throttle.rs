//! How often one watcher is told of changes: at once, then not again for a while.

use std::time::{Duration, Instant};

/// RFC 3856 s.6.10: not more than one notification in five seconds.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// The changes that one watcher has not been told of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throttle {
    open_at: Option<Instant>,
    changed: bool,
}

impl Throttle {
    /// Notes a change.
    pub fn change(&mut self) {
        self.changed = true;
    }

    /// Says whether there is a change that the watcher may be told of, and counts it as told.
    pub fn take(&mut self, now: Instant) -> bool {
        if !self.changed || self.open_at.is_some_and(|open_at| now < open_at) {
            return false;
        }
        self.told(now);
        true
    }

    /// Notes that the watcher was told everything.
    pub fn told(&mut self, now: Instant) {
        self.changed = false;
        self.open_at = Some(now + INTERVAL);
    }

    /// Returns when [`Throttle::take`] will say yes; none also when it would at once.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.open_at.filter(|_| self.changed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{INTERVAL, Throttle};

    #[test]
    fn changes_in_quick_succession_are_told_once_at_the_end_of_the_interval() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        throttle.change();
        assert!(throttle.take(start));
        for step in 1..20 {
            throttle.change();
            assert!(!throttle.take(start + Duration::from_millis(100 * step)));
        }
        assert_eq!(throttle.poll_timeout(), Some(start + INTERVAL));
        assert!(throttle.take(start + INTERVAL));
        assert!(!throttle.take(start + INTERVAL * 3), "nothing has changed since");
    }
}
