//! Stanzas on their way to the peer: queued, written, confirmed.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::stream::stream_management::wrapped;

/// A stanza whose delivery the peer has not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// What the owner calls the stanza.
    pub token: u64,
    /// Whether it was handed out to be written, so that the peer may have it.
    pub written: bool,
}

/// The stanzas of one stream, in order.
#[derive(Default)]
pub(super) struct Outbox {
    /// Not yet sent: the stream is not ready.
    waiting: VecDeque<(u64, Bytes)>,
    waiting_bytes: usize,
    /// Sent and not confirmed.
    sent: VecDeque<u64>,
    /// Stanzas that were confirmed; those in `sent` follow.
    confirmed_count: u64,
    /// Stanzas, from the first, that were handed out to be written.
    written_count: u64,
    /// Stanzas, from the first, that a request for confirmation has covered.
    requested_count: u64,
    /// Stanzas, from the first, that were sent before acknowledgements began to count.
    uncounted: u64,
    request: Option<Request>,
}

/// A request for confirmation that is not answered.
enum Request {
    Acknowledgement,
    Barrier { id: String, covers: u64 },
}

/// An acknowledgement covers more stanzas than were sent.
pub(super) struct TooHigh {
    pub(super) sent: u32,
}

impl Outbox {
    /// Keeps a stanza until the stream is ready.
    pub(super) fn wait(&mut self, token: u64, bytes: Bytes) {
        self.waiting_bytes += bytes.len();
        self.waiting.push_back((token, bytes));
    }

    /// Counts a stanza as sent.
    pub(super) fn send(&mut self, token: u64) {
        self.sent.push_back(token);
    }

    /// Takes out the stanzas that wait and are of such a size; gives their tokens.
    pub(super) fn take_waiting(&mut self, is_such: impl Fn(usize) -> bool) -> Vec<u64> {
        let (such, others) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(_, bytes)| is_such(bytes.len()));
        self.waiting = others;
        self.waiting_bytes = self.waiting.iter().map(|(_, bytes)| bytes.len()).sum();
        such.into_iter().map(|(token, _)| token).collect()
    }

    /// Takes out the first stanza that waits, and counts it as sent.
    pub(super) fn next_waiting(&mut self) -> Option<Bytes> {
        let (token, bytes) = self.waiting.pop_front()?;
        self.waiting_bytes -= bytes.len();
        self.send(token);
        Some(bytes)
    }

    /// Stanzas that are not confirmed, sent or not.
    pub(super) fn unconfirmed(&self) -> usize {
        self.waiting.len() + self.sent.len()
    }

    /// Bytes of the stanzas that wait.
    pub(super) const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// What was sent so far is out of our hands.
    pub(super) fn mark_written(&mut self) {
        self.written_count = self.sent_count();
    }

    /// Whether stanzas were sent that no request covers, while none is open.
    pub(super) fn wants_request(&self) -> bool {
        self.request.is_none() && self.requested_count < self.sent_count()
    }

    /// Whether a request is open.
    pub(super) const fn is_requested(&self) -> bool {
        self.request.is_some()
    }

    /// Whether sent stanzas are unconfirmed although the peer was asked and answered.
    pub(super) fn is_left_over(&self) -> bool {
        self.request.is_none() && !self.sent.is_empty()
    }

    /// Notes an `<r/>`.
    pub(super) fn request_acknowledgement(&mut self) {
        self.requested_count = self.sent_count();
        self.request = Some(Request::Acknowledgement);
    }

    /// Notes a ping whose answer confirms what was sent before it.
    pub(super) fn request_barrier(&mut self, id: String) {
        self.requested_count = self.sent_count();
        self.request = Some(Request::Barrier { id, covers: self.requested_count });
    }

    /// Counts from here on what acknowledgements confirm: stream management was enabled.
    pub(super) fn begin_acknowledgements(&mut self) {
        self.uncounted = self.sent_count();
    }

    /// Takes an acknowledgement: the tokens of the stanzas that it confirms.
    ///
    /// One that counts a stanza confirms those that were not counted too, since they came before.
    pub(super) fn acknowledge(&mut self, handled: u32) -> Result<Vec<u64>, TooHigh> {
        let from = self.confirmed_count.max(self.uncounted);
        // XEP-0198 s.4: counts are compared modulo 2^32.
        let counted = u64::from(handled.wrapping_sub(wrapped(from - self.uncounted)));
        if counted > self.sent_count() - from {
            return Err(TooHigh { sent: wrapped(self.sent_count() - self.uncounted) });
        }
        if let Some(Request::Acknowledgement) = self.request {
            self.request = None;
        }
        let confirmed = if counted == 0 { 0 } else { from + counted - self.confirmed_count };
        Ok(self.confirm(confirmed))
    }

    /// Takes the answer to a ping: the tokens of the stanzas that it confirms, or `None` where no
    /// ping of this id is open.
    pub(super) fn answer_barrier(&mut self, id: &str) -> Option<Vec<u64>> {
        match &self.request {
            Some(Request::Barrier { id: open, covers }) if open == id => {
                let confirmed = covers.saturating_sub(self.confirmed_count);
                self.request = None;
                Some(self.confirm(confirmed))
            }
            _ => None,
        }
    }

    /// Takes out everything that is not confirmed, in order.
    pub(super) fn take_unconfirmed(&mut self) -> Vec<Unconfirmed> {
        let written = self.written_count.saturating_sub(self.confirmed_count);
        let sent = (0_u64..).zip(self.sent.drain(..));
        let sent = sent.map(|(index, token)| Unconfirmed { token, written: index < written });
        let waiting = self.waiting.drain(..).map(|(token, _)| token);
        let unconfirmed = sent.chain(waiting.map(|token| Unconfirmed { token, written: false }));
        let unconfirmed = unconfirmed.collect();
        self.waiting_bytes = 0;
        unconfirmed
    }

    fn confirm(&mut self, count: u64) -> Vec<u64> {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.sent.len());
        self.confirmed_count += count as u64;
        self.sent.drain(..count).collect()
    }

    fn sent_count(&self) -> u64 {
        self.confirmed_count + self.sent.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(tokens: std::ops::Range<u64>) -> Outbox {
        let mut outbox = Outbox::default();
        tokens.for_each(|token| outbox.send(token));
        outbox
    }

    fn acknowledged(outbox: &mut Outbox, handled: u32) -> Option<Vec<u64>> {
        outbox.acknowledge(handled).ok()
    }

    #[test]
    fn acknowledgements_confirm_in_order_and_once() {
        let mut outbox = outbox(10..14);

        assert_eq!(acknowledged(&mut outbox, 2), Some(vec![10, 11]));
        assert_eq!(acknowledged(&mut outbox, 2), Some(vec![]));
        assert_eq!(acknowledged(&mut outbox, 4), Some(vec![12, 13]));
    }

    #[test]
    fn more_than_was_sent_or_less_than_was_confirmed_is_too_high() {
        let mut outbox = outbox(0..3);
        assert_eq!(acknowledged(&mut outbox, 4), None);
        assert_eq!(acknowledged(&mut outbox, u32::MAX), None);
        assert_eq!(acknowledged(&mut outbox, 3), Some(vec![0, 1, 2]));
        assert_eq!(acknowledged(&mut outbox, 2), None);
    }

    #[test]
    fn counts_start_over_at_two_to_the_thirty_second() {
        let mut outbox = Outbox { confirmed_count: (1 << 32) - 1, ..Outbox::default() };
        outbox.send(7);
        outbox.send(8);

        assert_eq!(acknowledged(&mut outbox, u32::MAX), Some(vec![]));
        assert_eq!(acknowledged(&mut outbox, 1), Some(vec![7, 8]));
        assert_eq!(acknowledged(&mut outbox, 2), None);
    }

    #[test]
    fn what_was_sent_before_counting_began_is_confirmed_by_the_first_count_or_a_barrier() {
        let uncounted = || {
            let mut outbox = outbox(0..2);
            outbox.request_barrier("p1".to_owned());
            outbox.begin_acknowledgements();
            outbox.send(2);
            outbox
        };
        let mut counted = uncounted();
        assert_eq!(acknowledged(&mut counted, 0), Some(vec![]));
        assert_eq!(acknowledged(&mut counted, 2), None);
        assert_eq!(acknowledged(&mut counted, 1), Some(vec![0, 1, 2]));
        assert_eq!(counted.answer_barrier("p1"), Some(vec![]));

        let mut asked = uncounted();
        assert_eq!(asked.answer_barrier("p1"), Some(vec![0, 1]));
        assert_eq!(acknowledged(&mut asked, 1), Some(vec![2]));
    }

    #[test]
    fn a_barrier_confirms_what_was_sent_before_it() {
        let mut outbox = outbox(0..2);
        outbox.request_barrier("p1".to_owned());
        outbox.send(2);

        assert!(outbox.answer_barrier("p0").is_none());
        assert_eq!(outbox.answer_barrier("p1"), Some(vec![0, 1]));
        assert!(outbox.answer_barrier("p1").is_none());
        assert!(outbox.wants_request());
    }

    #[test]
    fn what_is_unconfirmed_says_whether_it_was_written() {
        let mut outbox = outbox(0..2);
        outbox.mark_written();
        outbox.send(2);
        outbox.wait(3, Bytes::from_static(b"<presence/>"));
        assert_eq!(acknowledged(&mut outbox, 1), Some(vec![0]));

        let expected = [(1, true), (2, false), (3, false)]
            .map(|(token, written)| Unconfirmed { token, written });
        assert_eq!(outbox.take_unconfirmed(), expected);
        assert_eq!((outbox.unconfirmed(), outbox.waiting_bytes()), (0, 0));
    }
}
