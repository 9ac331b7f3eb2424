//! The two clocks of one instant: the monotonic one for waits, the wall clock for what is stored.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// An instant by both clocks.
///
/// Waits follow `instant` alone, so that a jump of the wall clock fires nothing.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The monotonic clock.
    pub instant: Instant,
    /// The wall clock, in milliseconds of Unix time.
    pub unix_ms: u64,
}

impl Now {
    /// Reads both clocks. Only drivers call this.
    pub fn read() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), unix_ms: milliseconds(since_epoch) }
    }

    /// Returns the instant at which the wall clock would show `unix_ms`, or now if that is past.
    pub fn instant_of(self, unix_ms: u64) -> Instant {
        self.instant + Duration::from_millis(unix_ms.saturating_sub(self.unix_ms))
    }
}

/// Returns a duration in whole milliseconds.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
