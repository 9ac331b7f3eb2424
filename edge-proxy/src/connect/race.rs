//! Which address of a server is tried when (RFC 8305), without IO.
//!
//! IPv6 and IPv4 take turns. Each attempt gets a head start over the next; the first that succeeds
//! ends the race, and the driver drops the others.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long the addresses of IPv6 are waited for when those of IPv4 are there (RFC 8305 s.3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// The head start of an attempt over the next one (RFC 8305 s.5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The most addresses of a server that are tried.
pub(super) const ADDRESSES_MAX: usize = 6;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V6,
    V4,
}

/// The race for one server.
#[derive(Debug)]
pub(super) struct Race {
    v6: Option<VecDeque<IpAddr>>,
    v4: Option<VecDeque<IpAddr>>,
    next_family: Family,
    begun: usize,
    running: usize,
    /// No attempt begins before that.
    not_before: Option<Instant>,
}

impl Race {
    /// Makes a race whose addresses are being looked up.
    pub(super) const fn new() -> Self {
        Self { v6: None, v4: None, next_family: Family::V6, begun: 0, running: 0, not_before: None }
    }

    /// Takes the addresses of a family; none if it has none, or the lookup failed.
    pub(super) fn handle_answer(&mut self, family: Family, addresses: &[IpAddr], now: Instant) {
        let addresses: VecDeque<IpAddr> = addresses.iter().copied().take(ADDRESSES_MAX).collect();
        match family {
            Family::V6 => {
                self.v6 = Some(addresses);
                // What the other family waited for is here.
                if self.begun == 0 {
                    self.not_before = None;
                }
            }
            Family::V4 => {
                let waits = self.v6.is_none() && !addresses.is_empty();
                self.v4 = Some(addresses);
                if waits {
                    self.not_before = Some(now + RESOLUTION_DELAY);
                }
            }
        }
    }

    /// Returns the address that is to be tried now, if one is.
    pub(super) fn poll_attempt(&mut self, now: Instant) -> Option<IpAddr> {
        if !self.has_next() || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let address = self.take_next()?;
        self.begun += 1;
        self.running += 1;
        self.not_before = Some(now + ATTEMPT_DELAY);
        Some(address)
    }

    /// Takes the failure of an attempt: the next one begins at once.
    pub(super) const fn handle_failure(&mut self) {
        self.running -= 1;
        self.not_before = None;
    }

    /// Takes the success of an attempt, while the driver drops the others. Should it fail after
    /// all, [`Race::handle_failure`] lets the race go on.
    pub(super) const fn handle_success(&mut self) {
        self.running = 1;
    }

    /// Returns when [`Race::poll_attempt`] has something, unless something happens before.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.has_next())
    }

    /// Returns whether nothing is left that could succeed.
    pub(super) fn is_over(&self) -> bool {
        let is_answered = self.v6.is_some() && self.v4.is_some();
        is_answered && self.running == 0 && !self.has_next()
    }

    fn has_next(&self) -> bool {
        let waits =
            |family: &Option<VecDeque<IpAddr>>| family.as_ref().is_some_and(|it| !it.is_empty());
        self.begun < ADDRESSES_MAX && (waits(&self.v6) || waits(&self.v4))
    }

    fn take_next(&mut self) -> Option<IpAddr> {
        let (v6, v4) = (&mut self.v6, &mut self.v4);
        let mut take = |family| match family {
            Family::V6 => v6.as_mut().and_then(VecDeque::pop_front),
            Family::V4 => v4.as_mut().and_then(VecDeque::pop_front),
        };
        let turn = self.next_family;
        let address = take(turn).or_else(|| take(turn.other()))?;
        self.next_family = if address.is_ipv6() { Family::V4 } else { Family::V6 };
        Some(address)
    }
}

impl Family {
    const fn other(self) -> Self {
        match self {
            Self::V6 => Self::V4,
            Self::V4 => Self::V6,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn v6(count: u16) -> Vec<IpAddr> {
        (1..=count).map(|it| Ipv6Addr::new(0x2a00, 0, 0, 0, 0, 0, 0, it).into()).collect()
    }

    fn v4(count: u8) -> Vec<IpAddr> {
        (1..=count).map(|it| Ipv4Addr::new(11, 0, 0, it).into()).collect()
    }

    /// Every attempt of a race in which nobody answers, and when it began.
    fn attempts(race: &mut Race, mut now: Instant) -> Vec<(IpAddr, Duration)> {
        let (start, mut attempts) = (now, Vec::new());
        loop {
            match (race.poll_attempt(now), race.poll_timeout()) {
                (Some(address), _) => attempts.push((address, now - start)),
                (None, Some(at)) => now = at,
                (None, None) => return attempts,
            }
        }
    }

    #[test]
    fn the_families_take_turns_and_each_attempt_has_a_head_start() {
        let (mut race, now) = (Race::new(), Instant::now());
        race.handle_answer(Family::V6, &v6(3), now);
        race.handle_answer(Family::V4, &v4(1), now);
        let (v6, v4) = (v6(3), v4(1));
        let expected = [v6[0], v4[0], v6[1], v6[2]];
        let expected: Vec<_> =
            expected.into_iter().zip([0, 250, 500, 750].map(|ms| ms * MS)).collect();
        assert_eq!(attempts(&mut race, now), expected);
        assert!(!race.is_over(), "they may still answer");
    }

    #[test]
    fn the_addresses_of_ipv4_wait_a_little_for_those_of_ipv6() {
        let (mut race, now) = (Race::new(), Instant::now());
        race.handle_answer(Family::V4, &v4(1), now);
        assert_eq!(race.poll_attempt(now + 49 * MS), None);
        assert_eq!(race.poll_timeout(), Some(now + 50 * MS));
        assert_eq!(race.poll_attempt(now + 50 * MS), Some(v4(1)[0]));

        let mut race = Race::new();
        race.handle_answer(Family::V4, &v4(1), now);
        race.handle_answer(Family::V6, &v6(1), now + MS);
        assert_eq!(race.poll_attempt(now + MS), Some(v6(1)[0]));
        assert_eq!(race.poll_attempt(now + 250 * MS), None);
        assert_eq!(race.poll_attempt(now + 251 * MS), Some(v4(1)[0]));

        let mut race = Race::new();
        race.handle_answer(Family::V4, &v4(1), now);
        race.handle_answer(Family::V6, &[], now + MS);
        assert_eq!(race.poll_attempt(now + MS), Some(v4(1)[0]), "there is nothing to wait for");
    }

    #[test]
    fn the_addresses_of_ipv6_wait_for_nothing() {
        let (mut race, now) = (Race::new(), Instant::now());
        race.handle_answer(Family::V6, &v6(1), now);
        assert_eq!(race.poll_attempt(now), Some(v6(1)[0]));
        race.handle_failure();
        assert!(!race.is_over(), "the other family may have an address");
        assert_eq!((race.poll_attempt(now), race.poll_timeout()), (None, None));
        race.handle_answer(Family::V4, &v4(1), now + 900 * MS);
        assert_eq!(race.poll_attempt(now + 900 * MS), Some(v4(1)[0]));
    }

    #[test]
    fn a_failure_brings_the_next_at_once_and_the_last_one_ends_the_race() {
        let (mut race, now) = (Race::new(), Instant::now());
        race.handle_answer(Family::V6, &v6(1), now);
        race.handle_answer(Family::V4, &v4(1), now);
        race.poll_attempt(now);
        assert_eq!(race.poll_attempt(now), None);
        race.handle_failure();
        assert_eq!(race.poll_attempt(now), Some(v4(1)[0]));
        assert!(!race.is_over());
        race.handle_failure();
        assert!(race.is_over());
    }

    #[test]
    fn a_success_that_fails_after_all_lets_the_race_go_on_with_what_was_not_begun() {
        let (mut race, now) = (Race::new(), Instant::now());
        race.handle_answer(Family::V6, &v6(2), now);
        race.handle_answer(Family::V4, &v4(1), now);
        race.poll_attempt(now);
        race.poll_attempt(now + ATTEMPT_DELAY);
        race.handle_success();
        race.handle_failure();
        assert_eq!(race.poll_attempt(now + ATTEMPT_DELAY), Some(v6(2)[1]));
        race.handle_failure();
        assert!(race.is_over());
    }

    #[test]
    fn no_more_addresses_are_tried_than_the_limit_and_both_families_are() {
        let (mut race, now) = (Race::new(), Instant::now());
        race.handle_answer(Family::V6, &v6(1000), now);
        race.handle_answer(Family::V4, &v4(200), now);
        let attempts = attempts(&mut race, now);
        assert_eq!(attempts.len(), ADDRESSES_MAX);
        assert_eq!(attempts.iter().filter(|(address, _)| address.is_ipv4()).count(), 3);
    }

    #[test]
    fn a_server_without_addresses_is_a_race_that_is_over() {
        let (mut race, now) = (Race::new(), Instant::now());
        race.handle_answer(Family::V4, &[], now);
        assert!(!race.is_over());
        race.handle_answer(Family::V6, &[], now);
        assert!(race.is_over());
        assert_eq!(race.poll_timeout(), None);
    }
}
