//! The last attempts to open streams, of each partner and in all, within bounds.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::wire::{Attempt, Proof};

/// The longest [`Attempt::details`], in bytes.
pub const DETAILS_BYTES_MAX: usize = 4096;

/// The longest [`Attempt::failure`], in bytes.
pub const FAILURE_BYTES_MAX: usize = 512;

/// Attempts that are kept of each partner's domain, direction and outcome: however many fail, the
/// last that succeeded are there.
pub const EACH_MAX: usize = 10;

/// Attempts that are kept of domains that are no partner's, all together.
pub const STRANGERS_MAX: usize = 200;

/// What all attempts take in memory, in bytes.
pub const BYTES_MAX: usize = 8 * 1024 * 1024;

/// What an attempt takes besides its texts, about, in bytes.
const FIXED_BYTES: usize = 256;

/// The attempts of one edge: the edge keeps its own, and a front end those of each edge.
#[derive(Debug, Default)]
pub struct Attempts {
    kept: BTreeMap<Shelf, VecDeque<Remembered>>,
    bytes: usize,
}

/// An attempt, and when it began.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// The attempt; its age is not kept up.
    pub attempt: Attempt,
    /// When it began.
    pub began: Instant,
}

/// What attempts are counted by.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shelf {
    Strangers,
    Partner { remote: String, direction: i32, succeeded: bool },
}

impl Attempts {
    /// Keeps an attempt, in place of the oldest where there are too many.
    ///
    /// `attempt` has a remote domain, whose length its owner has checked; its other texts are cut.
    /// `is_partners` says whether policy names that domain.
    pub fn insert(&mut self, mut attempt: Attempt, is_partners: bool, now: Instant) {
        cut(&mut attempt);
        let age = Duration::from_millis(attempt.age_ms);
        let began = now.checked_sub(age).unwrap_or(now);
        let (shelf, most) = match is_partners {
            true => (Shelf::of(&attempt), EACH_MAX),
            false => (Shelf::Strangers, STRANGERS_MAX),
        };
        self.bytes += size(&attempt);
        let kept = self.kept.entry(shelf).or_default();
        kept.push_back(Remembered { attempt, began });
        if kept.len() > most
            && let Some(oldest) = kept.pop_front()
        {
            self.bytes -= size(&oldest.attempt);
        }
        while self.bytes > BYTES_MAX {
            self.forget_oldest();
        }
    }

    /// Returns all attempts, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Remembered> {
        self.kept.values().flatten()
    }

    /// Returns all attempts with their ages, the oldest first.
    pub fn reports(&self, now: Instant) -> Vec<Attempt> {
        let mut all: Vec<&Remembered> = self.all().collect();
        all.sort_by_key(|it| it.began);
        let aged = |it: &Remembered| {
            let age = now.saturating_duration_since(it.began).as_millis();
            Attempt { age_ms: u64::try_from(age).unwrap_or(u64::MAX), ..it.attempt.clone() }
        };
        all.into_iter().map(aged).collect()
    }

    fn forget_oldest(&mut self) {
        let began = |shelf: &VecDeque<Remembered>| shelf.front().map(|it| it.began);
        let oldest = self.kept.values_mut().min_by_key(|shelf| began(shelf));
        match oldest.and_then(VecDeque::pop_front) {
            Some(oldest) => self.bytes -= size(&oldest.attempt),
            None => self.bytes = 0,
        }
        self.kept.retain(|_, shelf| !shelf.is_empty());
    }
}

impl Shelf {
    fn of(attempt: &Attempt) -> Self {
        Self::Partner {
            remote: attempt.remote_domain.clone(),
            direction: attempt.direction,
            succeeded: attempt.proof() != Proof::None,
        }
    }
}

/// Cuts the texts of an attempt to what the other side keeps of them.
fn cut(attempt: &mut Attempt) {
    for (text, most) in
        [(&mut attempt.failure, FAILURE_BYTES_MAX), (&mut attempt.details, DETAILS_BYTES_MAX)]
    {
        text.truncate(text.floor_char_boundary(most));
        text.shrink_to_fit();
    }
}

fn size(attempt: &Attempt) -> usize {
    let Attempt { local_domain, remote_domain, failure, details, .. } = attempt;
    [local_domain, remote_domain, failure, details].map(String::len).iter().sum::<usize>()
        + FIXED_BYTES
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn attempt(remote: &str, number: usize) -> Attempt {
        Attempt {
            remote_domain: remote.to_owned(),
            failure: number.to_string(),
            ..Attempt::default()
        }
    }

    fn told(attempts: &Attempts, now: Instant) -> Vec<String> {
        attempts.reports(now).into_iter().map(|it| it.failure).collect()
    }

    #[test]
    fn failures_push_out_only_older_failures_of_the_same_partner() {
        let begin = Instant::now();
        let mut attempts = Attempts::default();
        let success = Attempt { proof: Proof::Dialback.into(), ..attempt("a.example", 1_000) };
        attempts.insert(success, true, begin);
        attempts.insert(attempt("b.example", 2_000), true, begin + Duration::from_secs(1));
        for number in 0..3 * EACH_MAX {
            let now = begin + Duration::from_secs(2 + number as u64);
            attempts.insert(attempt("a.example", number), true, now);
        }
        let last = (2 * EACH_MAX..3 * EACH_MAX).map(|it| it.to_string());
        let expected: Vec<String> =
            ["1000".to_owned(), "2000".to_owned()].into_iter().chain(last).collect();
        assert_eq!(told(&attempts, begin + Duration::from_secs(100)), expected);
    }

    #[test]
    fn strangers_push_out_nobody_but_strangers_and_are_bounded_together() {
        let begin = Instant::now();
        let mut attempts = Attempts::default();
        attempts.insert(attempt("a.example", 1_000), true, begin);
        for number in 0..2 * STRANGERS_MAX {
            attempts.insert(attempt(&format!("s{number}.example"), number), false, begin);
        }
        let told = told(&attempts, begin);
        assert_eq!(told.len(), 1 + STRANGERS_MAX);
        assert!(told.contains(&"1000".to_owned()) && !told.contains(&"0".to_owned()));
    }

    #[test]
    fn whatever_is_told_the_memory_is_bounded_and_the_newest_stay() {
        let begin = Instant::now();
        let mut attempts = Attempts::default();
        let count = BYTES_MAX / DETAILS_BYTES_MAX + 100;
        for number in 0..count {
            let long = Attempt {
                details: "ü".repeat(DETAILS_BYTES_MAX),
                ..attempt(&format!("p{number}.example"), number)
            };
            attempts.insert(long, true, begin + Duration::from_millis(number as u64));
        }
        let kept = told(&attempts, begin);
        assert!(kept.len() < count - 100 && kept.len() > count / 2, "{}", kept.len());
        assert_eq!(kept.last(), Some(&(count - 1).to_string()));
        let bytes: usize = attempts.all().map(|it| it.attempt.details.len()).sum();
        assert!(bytes <= BYTES_MAX);
        assert!(attempts.kept.values().all(|shelf| !shelf.is_empty()));
    }

    #[test]
    fn an_age_crosses_as_it_is_by_then() {
        let begin = Instant::now();
        let mut attempts = Attempts::default();
        let old = Attempt { age_ms: 1_500, ..attempt("a.example", 1) };
        attempts.insert(old, true, begin + Duration::from_secs(2));
        let ages: Vec<u64> =
            attempts.reports(begin + Duration::from_secs(10)).iter().map(|it| it.age_ms).collect();
        assert_eq!(ages, [9_500]);
    }
}
