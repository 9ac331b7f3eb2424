//! Tells front ends of attempts to open streams: all that are remembered, and then each new one.

use std::time::Instant;

use link::wire::stream_report::Direction;
use link::wire::{Attempt, Proof};

use super::Hub;

/// Failed attempts of peers that front ends are told of within a second: anybody can make them.
const TOLD_MAX: u32 = 50;

/// How many failed attempts of peers were told lately.
#[derive(Debug, Default)]
pub(super) struct Telling {
    since: Option<Instant>,
    told: u32,
}

impl Telling {
    /// Says whether one more may be told, and counts it.
    fn may_tell(&mut self, now: Instant) -> bool {
        let is_over = |since: Instant| now.saturating_duration_since(since).as_secs() >= 1;
        if self.since.is_none_or(is_over) {
            *self = Self { since: Some(now), told: 0 };
        }
        self.told = self.told.saturating_add(1);
        self.told <= TOLD_MAX
    }
}

impl Hub {
    /// Keeps an attempt and tells the front ends of it; those of peers that fail in great numbers
    /// are kept, and told only to front ends that attach later.
    pub fn remember(&mut self, attempt: Attempt, is_partners: bool, now: Instant) {
        let is_ours = attempt.direction() == Direction::Outbound;
        let succeeded = attempt.proof() != Proof::None;
        if is_ours || succeeded || self.telling.may_tell(now) {
            for frontend in self.frontends.values_mut() {
                frontend.frame.attempts.push(attempt.clone());
            }
        } else {
            metrics::counter!("edge_xmpp_attempts_not_told_total").increment(1);
        }
        self.attempts.insert(attempt, is_partners, now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use link::wire::{FromFrontend, Hello};

    use super::*;
    use crate::hub::FrontendId;

    fn hello(name: &str) -> Hello {
        let instance = Bytes::from_static(b"0123456789abcdef");
        Hello { version: link::VERSION, name: name.into(), instance }
    }

    fn attach(hub: &mut Hub, number: u64, name: &str, now: Instant) {
        let (id, hello) = (FrontendId(number), Some(hello(name)));
        hub.attach(id, name.into(), now);
        hub.handle_frame(id, FromFrontend { hello, ..FromFrontend::default() }, now).unwrap();
    }

    fn attempt(direction: Direction, failure: &str) -> Attempt {
        Attempt {
            remote_domain: "fabrikam.example".into(),
            direction: direction.into(),
            failure: failure.into(),
            ..Attempt::default()
        }
    }

    /// Takes what front ends are told: failure and age.
    fn told(hub: &mut Hub) -> Vec<(String, u64)> {
        let frames = std::iter::from_fn(|| hub.poll_frame());
        let attempts = frames.flat_map(|(_, frame)| frame.attempts);
        attempts.map(|it| (it.failure, it.age_ms)).collect()
    }

    #[test]
    fn a_front_end_learns_what_was_before_and_then_what_happens() {
        let (mut hub, begin) = (Hub::new(hello("edge")), Instant::now());
        hub.remember(attempt(Direction::Outbound, "one"), true, begin);
        let two = attempt(Direction::Inbound, "two");
        hub.remember(two, true, begin + Duration::from_secs(1));
        attach(&mut hub, 1, "fe", begin + Duration::from_secs(5));
        assert_eq!(told(&mut hub), [("one".to_owned(), 5_000), ("two".to_owned(), 4_000)]);
        let three = attempt(Direction::Inbound, "three");
        hub.remember(three, false, begin + Duration::from_secs(6));
        assert_eq!(told(&mut hub), [("three".to_owned(), 0)]);
    }

    #[test]
    fn peers_who_fail_again_and_again_do_not_fill_the_link_nor_hide_what_we_do() {
        let (mut hub, begin) = (Hub::new(hello("edge")), Instant::now());
        attach(&mut hub, 1, "fe", begin);
        for _ in 0..10 * TOLD_MAX {
            hub.remember(attempt(Direction::Inbound, "flood"), false, begin);
        }
        hub.remember(attempt(Direction::Outbound, "ours"), true, begin);
        let success = Attempt { proof: Proof::Dialback.into(), ..attempt(Direction::Inbound, "") };
        hub.remember(success, true, begin);
        let first = told(&mut hub);
        assert_eq!(first.len() as u32, TOLD_MAX + 2);
        assert_eq!(first[TOLD_MAX as usize].0, "ours");
        hub.remember(attempt(Direction::Inbound, "later"), false, begin + Duration::from_secs(1));
        assert_eq!(told(&mut hub).len(), 1);
        attach(&mut hub, 2, "other", begin + Duration::from_secs(2));
        assert_eq!(told(&mut hub).len(), link::attempts::STRANGERS_MAX + 2, "all that is kept");
    }
}
