//! Deadlines, and waiting for what has no event of its own.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// How long [`until`] lets pass between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// The moment at which a test stops waiting; several waits may share one.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    allowed: Duration,
    at: Instant,
}

impl Deadline {
    /// A deadline this many seconds from the call.
    pub fn after_s(seconds: u64) -> Self {
        let allowed = Duration::from_secs(seconds);
        Self { allowed, at: Instant::now() + allowed }
    }

    /// The time that is left, zero once the deadline has passed.
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whether the deadline has passed.
    pub fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }
}

/// Shows the time that was allowed, for messages of failure.
impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.allowed.as_secs())
    }
}

/// Looks again and again until `look` finds what is awaited, which it returns.
///
/// While it does not, `look` says in its `Err` what there is instead.
///
/// # Panics
///
/// When the deadline passes, with what was awaited and what there was instead.
pub fn until<T>(
    awaited: &str,
    deadline: Deadline,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    loop {
        let instead = match look() {
            Ok(found) => return found,
            Err(instead) => instead,
        };
        assert!(
            !deadline.has_passed(),
            "awaited within {deadline}: {awaited}\nthere was instead: {instead}"
        );
        thread::park_timeout(LOOK_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_what_is_found_as_soon_as_it_is_there() {
        let mut looks = 0;
        let found = until("the third look", Deadline::after_s(5), || {
            looks += 1;
            if looks == 3 { Ok("it") } else { Err("nothing".to_owned()) }
        });
        assert_eq!((found, looks), ("it", 3));
    }

    #[test]
    #[should_panic(expected = "awaited within 0 s: a message\nthere was instead: silence")]
    fn says_what_was_awaited_and_what_there_was_instead() {
        until::<()>("a message", Deadline::after_s(0), || Err("silence".to_owned()));
    }
}
