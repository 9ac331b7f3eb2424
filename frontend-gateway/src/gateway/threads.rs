//! Threads of XMPP and Call-IDs of SIP for the same conversation (RFC 7572 Table 1 and 2).

use std::collections::{BTreeMap, VecDeque};

use sip_proto::header::{CallId, TypedHeader};
use xmpp_proto::jid::Jid;

/// How many Call-IDs are remembered.
const THREADS_MAX: usize = 20_000;

/// The longest thread that is remembered, in bytes; an answer to a longer one has another.
const THREAD_BYTES_MAX: usize = 1024;

/// The longest thread that is a Call-ID, in bytes.
const CALL_ID_BYTES_MAX: usize = 128;

/// The Call-IDs in use, and the thread and the two users that each belongs to.
#[derive(Debug, Default)]
pub(super) struct Threads {
    known: BTreeMap<String, Thread>,
    order: VecDeque<String>,
}

#[derive(Debug)]
struct Thread {
    users: [Jid; 2],
    thread: String,
}

impl Threads {
    /// Returns the Call-ID for a thread between two users (bare addresses).
    ///
    /// It is the thread itself where SIP can carry that and no other two users use it; else
    /// `derived`, which the owner makes from the thread and the users.
    pub(super) fn call_id(&mut self, users: &[Jid; 2], thread: &str, derived: String) -> String {
        let fits = thread.len() <= CALL_ID_BYTES_MAX && CallId::parse(thread).is_ok();
        let own =
            |known: &Thread| known.users == *users || known.users.iter().eq(users.iter().rev());
        if fits && self.known.get(thread).is_none_or(own) {
            self.remember(thread, users, thread);
            return thread.to_owned();
        }
        if thread.len() <= THREAD_BYTES_MAX {
            self.remember(&derived, users, thread);
        }
        derived
    }

    /// Returns the thread for the Call-ID of a message between two users: the Call-ID itself
    /// where none is known, or where the conversation began without one.
    pub(super) fn thread<'a>(&'a self, users: &[Jid; 2], call_id: &'a str) -> &'a str {
        match self.known.get(call_id) {
            Some(known)
                if users.iter().all(|user| known.users.contains(user))
                    && !known.thread.is_empty() =>
            {
                &known.thread
            }
            _ => call_id,
        }
    }

    fn remember(&mut self, call_id: &str, users: &[Jid; 2], thread: &str) {
        if self.known.contains_key(call_id) {
            return;
        }
        if self.order.len() >= THREADS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(call_id.to_owned());
        let thread = Thread { users: users.clone(), thread: thread.to_owned() };
        self.known.insert(call_id.to_owned(), thread);
    }
}

#[cfg(test)]
mod tests {
    use xmpp_proto::jid::Jid;

    use super::{THREADS_MAX, Threads};

    fn users(first: &str, second: &str) -> [Jid; 2] {
        [first, second].map(|user| Jid::parse(user).unwrap())
    }

    #[test]
    fn a_thread_is_its_own_call_id_for_the_two_users_that_use_it_first() {
        let mut threads = Threads::default();
        let mut call_id = |first, second| threads.call_id(&users(first, second), "t1", "d".into());
        assert_eq!(call_id("a@x.example", "b@y.example"), "t1");
        assert_eq!(call_id("b@y.example", "a@x.example"), "t1");
        assert_eq!(call_id("c@x.example", "b@y.example"), "d");
        let users = users("b@y.example", "c@x.example");
        assert_eq!(threads.thread(&users, "d"), "t1");
        assert_eq!(threads.thread(&users, "t1"), "t1");
    }

    #[test]
    fn a_thread_that_sip_cannot_carry_comes_back_as_it_was() {
        let mut threads = Threads::default();
        let users = users("a@x.example", "b@y.example");
        for thread in ["t 1\nx", "é", &"x".repeat(200), &"x".repeat(1024)] {
            let derived = format!("d{}", thread.len());
            assert_eq!(threads.call_id(&users, thread, derived.clone()), derived);
            assert_eq!(threads.thread(&users, &derived), thread);
        }
    }

    #[test]
    fn an_answer_to_no_thread_or_to_one_that_is_too_long_has_the_call_id_as_its_thread() {
        let mut threads = Threads::default();
        let users = users("a@x.example", "b@y.example");
        for thread in ["", &"x".repeat(1025)] {
            assert_eq!(threads.call_id(&users, thread, "d".into()), "d");
            assert_eq!(threads.thread(&users, "d"), "d");
        }
        assert!(threads.known.values().all(|it| it.thread.is_empty()), "long ones take no room");
        assert_eq!(threads.call_id(&users, "d", "e".into()), "d", "it goes on in the thread");
    }

    #[test]
    fn the_table_is_bounded() {
        let mut threads = Threads::default();
        for number in 0..THREADS_MAX + 10 {
            let users = users("a@x.example", "b@y.example");
            threads.call_id(&users, &format!("t{number}"), String::new());
        }
        assert_eq!((threads.known.len(), threads.order.len()), (THREADS_MAX, THREADS_MAX));
    }
}
