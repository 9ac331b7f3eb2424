//! Which addresses of an edge's name are attached to, as the answers of the resolver change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Answers in a row that an address must be absent from until it is given up: a resolver may
/// leave some addresses out of one answer.
const ABSENCES_MAX: u8 = 2;

/// The most addresses of one name: whoever answers for it must not make us dial without end.
pub(super) const ADDRESSES_MAX: usize = 64;

/// The addresses of one name.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Each with the number of answers in a row that it was absent from.
    absences: BTreeMap<SocketAddr, u8>,
    is_failing: bool,
}

/// What an answer of the resolver asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// A link is to be kept to each of these from now on.
    pub(super) start: Vec<SocketAddr>,
    /// None is to be kept to these any more.
    pub(super) end: Vec<SocketAddr>,
    /// How many addresses were left out, because the name has too many.
    pub(super) left_out: usize,
    /// The answers before this one were failures.
    pub(super) works_again: bool,
}

impl Addresses {
    /// Takes what the resolver answered.
    pub(super) fn handle_answer(&mut self, answer: &BTreeSet<SocketAddr>) -> Changes {
        let mut changes = Changes { works_again: self.is_failing, ..Changes::default() };
        self.is_failing = false;
        self.absences.retain(|address, absences| {
            *absences = if answer.contains(address) { 0 } else { *absences + 1 };
            let stays = *absences < ABSENCES_MAX;
            if !stays {
                changes.end.push(*address);
            }
            stays
        });
        for address in answer {
            if self.absences.contains_key(address) {
                continue;
            }
            if self.absences.len() < ADDRESSES_MAX {
                self.absences.insert(*address, 0);
                changes.start.push(*address);
            } else {
                changes.left_out += 1;
            }
        }
        changes
    }

    /// Takes a failure of the resolver, which changes nothing; returns whether it is the first.
    pub(super) fn handle_failure(&mut self) -> bool {
        !std::mem::replace(&mut self.is_failing, true)
    }

    /// Returns whether the name has never been resolved.
    pub(super) fn is_empty(&self) -> bool {
        self.absences.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::SocketAddr;

    use super::{ADDRESSES_MAX, Addresses, Changes};

    fn address(number: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, u8::try_from(number).unwrap()], 23456))
    }

    fn answer(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<SocketAddr> {
        numbers.into_iter().map(address).collect()
    }

    fn started(numbers: &[usize]) -> Changes {
        Changes { start: numbers.iter().copied().map(address).collect(), ..Changes::default() }
    }

    fn ended(numbers: &[usize]) -> Changes {
        Changes { end: numbers.iter().copied().map(address).collect(), ..Changes::default() }
    }

    #[test]
    fn each_address_is_started_once() {
        let mut addresses = Addresses::default();
        assert!(addresses.is_empty());
        assert_eq!(addresses.handle_answer(&answer([1, 2])), started(&[1, 2]));
        assert!(!addresses.is_empty());
        assert_eq!(addresses.handle_answer(&answer([1, 2])), Changes::default());
        assert_eq!(addresses.handle_answer(&answer([1, 2, 3])), started(&[3]));
    }

    #[test]
    fn an_address_ends_when_two_answers_in_a_row_lack_it() {
        let mut addresses = Addresses::default();
        addresses.handle_answer(&answer([1, 2]));
        assert_eq!(addresses.handle_answer(&answer([1])), Changes::default());
        assert_eq!(addresses.handle_answer(&answer([1, 2])), Changes::default());
        assert_eq!(addresses.handle_answer(&answer([1])), Changes::default());
        assert_eq!(addresses.handle_answer(&answer([1])), ended(&[2]));
        assert_eq!(addresses.handle_answer(&answer([1])), Changes::default());
        assert_eq!(addresses.handle_answer(&answer([1, 2])), started(&[2]));
    }

    #[test]
    fn a_failure_ends_nothing_and_is_told_once_until_it_works_again() {
        let mut addresses = Addresses::default();
        addresses.handle_answer(&answer([1, 2]));
        addresses.handle_answer(&answer([1]));
        assert_eq!([(); 3].map(|()| addresses.handle_failure()), [true, false, false]);
        let back = Changes { works_again: true, ..Changes::default() };
        assert_eq!(addresses.handle_answer(&answer([1, 2])), back);
        assert_eq!(addresses.handle_answer(&answer([1, 2])), Changes::default());
        assert!(addresses.handle_failure());
    }

    #[test]
    fn too_many_addresses_are_left_out_until_there_is_room() {
        let mut addresses = Addresses::default();
        let all = answer(0..ADDRESSES_MAX + 2);
        let changes = addresses.handle_answer(&all);
        assert_eq!((changes.start.len(), changes.left_out), (ADDRESSES_MAX, 2));
        let without_first = answer(1..ADDRESSES_MAX + 1);
        assert_eq!(addresses.handle_answer(&without_first).left_out, 1);
        let changes = addresses.handle_answer(&without_first);
        assert_eq!((changes.end, changes.start), (vec![address(0)], vec![address(ADDRESSES_MAX)]));
    }
}
