//! How long to wait before the next attempt: longer each time, and not all edges at once.

use std::time::Duration;

/// The wait before the second attempt, which doubles up to the last.
const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(60);

/// The waits between attempts that fail.
pub(super) struct BackOff {
    failures: u32,
    /// Draws a number from zero to the one given, both included.
    draw: fn(u32) -> u32,
}

impl BackOff {
    pub(super) const fn new(draw: fn(u32) -> u32) -> Self {
        Self { failures: 0, draw }
    }

    /// Begins with the first wait again.
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Returns the next wait: at most twice the one before, and at least half of that.
    pub(super) fn next(&mut self) -> Duration {
        let most = LAST.min(FIRST * 2u32.saturating_pow(self.failures.min(16)));
        self.failures += 1;
        let half_ms = u32::try_from(most.as_millis() / 2).unwrap_or(u32::MAX);
        most - Duration::from_millis((self.draw)(half_ms).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draw_takes_up_to_half_of_a_wait_away() {
        let waits = |draw| {
            let mut back_off = BackOff::new(draw);
            let waits: Vec<u128> = (0..8).map(|_| back_off.next().as_millis()).collect();
            waits
        };
        assert_eq!(waits(|_| 0), [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(waits(|most| most), [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    }
}
