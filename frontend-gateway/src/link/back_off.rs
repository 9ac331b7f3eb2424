//! How long to wait before an edge is dialled again, without IO.

use std::time::Duration;

/// The wait before the second attempt, which doubles up to the last.
const FIRST: Duration = Duration::from_millis(250);
const LAST: Duration = Duration::from_secs(30);

/// How long a link lives that worked. What it carried says less: an edge that breaks a rule, or
/// dies of what we send it, may have carried something before.
const WORKED_AFTER: Duration = Duration::from_secs(10);

/// The waits between the attempts at one address.
#[derive(Debug)]
pub(super) struct BackOff {
    next: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl BackOff {
    /// Returns the wait before the next attempt: half to all of the full one, as `random` says, so
    /// that front ends do not come back all at once.
    pub(super) fn next(&mut self, random: u8) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(LAST);
        full.mul_f64(1.0 - f64::from(random) / 512.0)
    }

    /// A link has lived for this long: when it worked, the waits begin anew.
    pub(super) fn lived(&mut self, lifetime: Duration) {
        if lifetime >= WORKED_AFTER {
            self.next = FIRST;
        }
    }

    /// Nothing will be better soon: the longest wait comes next.
    pub(super) fn skip_to_last(&mut self) {
        self.next = LAST;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BackOff, LAST, WORKED_AFTER};

    fn milliseconds(back_off: &mut BackOff, count: usize) -> Vec<u128> {
        (0..count).map(|_| back_off.next(0).as_millis()).collect()
    }

    #[test]
    fn the_waits_double_up_to_the_last() {
        let waits = milliseconds(&mut BackOff::default(), 9);
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    }

    #[test]
    fn a_link_that_worked_begins_the_waits_anew() {
        let mut back_off = BackOff::default();
        milliseconds(&mut back_off, 5);
        back_off.lived(WORKED_AFTER);
        assert_eq!(milliseconds(&mut back_off, 2), [250, 500]);
    }

    #[test]
    fn a_link_that_ended_soon_lets_the_waits_grow() {
        let mut back_off = BackOff::default();
        milliseconds(&mut back_off, 5);
        back_off.lived(WORKED_AFTER - Duration::from_millis(1));
        assert_eq!(milliseconds(&mut back_off, 2), [8_000, 16_000]);
    }

    #[test]
    fn the_longest_wait_can_be_taken_at_once_and_stays() {
        let mut back_off = BackOff::default();
        back_off.skip_to_last();
        assert_eq!(milliseconds(&mut back_off, 2), [30_000, 30_000]);
    }

    #[test]
    fn randomness_takes_up_to_half_of_a_wait_and_nothing_of_those_that_follow() {
        let mut back_off = BackOff::default();
        back_off.skip_to_last();
        let waits = [u8::MIN, 128, u8::MAX].map(|random| back_off.next(random));
        assert_eq!(waits[..2], [LAST, Duration::from_millis(22_500)]);
        assert!((LAST / 2..LAST.mul_f64(0.51)).contains(&waits[2]), "{:?}", waits[2]);
    }
}
