//! Deadlines of many things at once: when the next one is, and whose are past.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// At most one deadline for each key, by the monotonic clock or by another measure of time.
#[derive(Debug)]
pub struct Deadlines<K, T = Instant> {
    by_key: BTreeMap<K, T>,
    by_time: BTreeSet<(T, K)>,
}

impl<K, T> Default for Deadlines<K, T> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Clone + Ord, T: Copy + Ord> Deadlines<K, T> {
    /// Replaces the deadline of a key.
    pub fn set(&mut self, key: &K, deadline: Option<T>) {
        let old = match deadline {
            Some(deadline) => self.by_key.insert(key.clone(), deadline),
            None => self.by_key.remove(key),
        };
        if old == deadline {
            return;
        }
        if let Some(old) = old {
            self.by_time.remove(&(old, key.clone()));
        }
        if let Some(deadline) = deadline {
            self.by_time.insert((deadline, key.clone()));
        }
    }

    /// Says whether a key has a deadline.
    pub fn is_set(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    /// Returns how many keys have a deadline.
    pub fn count(&self) -> usize {
        self.by_key.len()
    }

    /// Returns the keys that have a deadline.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.by_key.keys()
    }

    /// Returns the earliest deadline.
    pub fn next(&self) -> Option<T> {
        self.by_time.first().map(|(deadline, _)| *deadline)
    }

    /// Takes the keys whose deadlines are past, the earliest first.
    pub fn take_due(&mut self, now: T) -> Vec<K> {
        let mut due = Vec::new();
        while self.next().is_some_and(|deadline| deadline <= now) {
            let Some((_, key)) = self.by_time.pop_first() else { break };
            self.by_key.remove(&key);
            due.push(key);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Deadlines;

    #[test]
    fn each_key_is_due_once_at_its_last_deadline() {
        let start = Instant::now();
        let at = |seconds| Some(start + Duration::from_secs(seconds));
        let mut deadlines = Deadlines::default();
        for (key, seconds) in [("a", 1), ("b", 2), ("c", 3), ("a", 5), ("c", 3)] {
            deadlines.set(&key, at(seconds));
        }
        deadlines.set(&"b", None);
        assert_eq!(deadlines.next(), at(3));
        assert_eq!(deadlines.take_due(start + Duration::from_secs(4)), ["c"]);
        assert_eq!(deadlines.take_due(start + Duration::from_secs(9)), ["a"]);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_key_that_was_due_or_has_lost_its_deadline_is_not_among_the_keys() {
        let mut deadlines: Deadlines<&str, u64> = Deadlines::default();
        for (key, unix_ms) in [("a", 10), ("b", 20), ("c", 30)] {
            deadlines.set(&key, Some(unix_ms));
        }
        deadlines.set(&"c", None);
        assert_eq!(deadlines.take_due(10), ["a"]);
        assert_eq!((deadlines.count(), deadlines.next()), (1, Some(20)));
        assert!(deadlines.keys().eq(&["b"]));
        assert!(deadlines.is_set(&"b") && !deadlines.is_set(&"a") && !deadlines.is_set(&"c"));
    }
}
