//! Requests between the gateway and the inside of the same process: each has one answer, or none in
//! its time.
//!
//! Within the process nothing is lost or repeated, so that there is no transaction to keep: an
//! exchange is a number that comes back with the answer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use sip_proto::header::{MAGIC_COOKIE, SentBy, Via};
use sip_proto::message::{OutgoingRequest, Request};
use sip_proto::transaction::TIMER_F;

/// The asking side's number of one request; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

/// The requests of one side that wait for their answers. `P` says what a request is to it.
#[derive(Debug)]
pub struct Exchanges<P> {
    last_id: u64,
    waiting: BTreeMap<ExchangeId, P>,
    /// In the order in which they end, which is that of their numbers.
    deadlines: VecDeque<(Instant, ExchangeId)>,
}

impl<P> Default for Exchanges<P> {
    fn default() -> Self {
        Self { last_id: 0, waiting: BTreeMap::new(), deadlines: VecDeque::new() }
    }
}

impl<P> Exchanges<P> {
    /// Takes a request; it waits as long as a transaction does (RFC 3261 s.17.1.2.2).
    pub fn begin(&mut self, purpose: P, now: Instant) -> ExchangeId {
        self.last_id += 1;
        let id = ExchangeId(self.last_id);
        self.waiting.insert(id, purpose);
        self.deadlines.push_back((now + TIMER_F, id));
        id
    }

    /// Takes a request that is made here, and returns it as its receiver reads it; gives the purpose
    /// back when no receiver could read it.
    ///
    /// # Errors
    /// Fails when an address in it is none; that is logged here.
    pub fn begin_with(
        &mut self,
        request: OutgoingRequest,
        sent_by: &SentBy,
        purpose: P,
        now: Instant,
    ) -> Result<(ExchangeId, Request), P> {
        let branch = format!("{MAGIC_COOKIE}{}", self.last_id + 1);
        match request.into_received(Via::new("TCP", sent_by.clone(), &branch)) {
            Ok(request) => Ok((self.begin(purpose, now), request)),
            Err(error) => {
                tracing::error!(%error, "a SIP request could not be sent");
                Err(purpose)
            }
        }
    }

    /// Ends the exchange that an answer belongs to; a second answer belongs to none.
    pub fn end(&mut self, id: ExchangeId) -> Option<P> {
        let purpose = self.waiting.remove(&id)?;
        self.forget_ended();
        Some(purpose)
    }

    /// Ends one exchange that has waited too long.
    pub fn take_expired(&mut self, now: Instant) -> Option<P> {
        let (deadline, id) = *self.deadlines.front()?;
        if deadline > now { None } else { self.end(id) }
    }

    /// Returns when [`Exchanges::take_expired`] has something to take.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    fn forget_ended(&mut self) {
        while self.deadlines.front().is_some_and(|(_, id)| !self.waiting.contains_key(id)) {
            self.deadlines.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use sip_proto::Method;
    use sip_proto::header::{CallId, HeaderName, NameAddr, SentBy, TypedHeader};
    use sip_proto::message::{OutgoingRequest, RequestParts};
    use sip_proto::transaction::TIMER_F;
    use sip_proto::uri::{Host, Uri};

    use super::Exchanges;

    #[test]
    fn each_exchange_ends_once_by_its_answer_or_in_its_time() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut exchanges = Exchanges::default();
        let [first, second] = ["first", "second"].map(|it| exchanges.begin(it, start));
        let third = exchanges.begin("third", later);
        assert_eq!(exchanges.end(second), Some("second"));
        assert_eq!(exchanges.end(second), None);
        assert_eq!(exchanges.poll_timeout(), Some(start + TIMER_F));
        assert_eq!(exchanges.take_expired(start + TIMER_F - Duration::from_millis(1)), None);
        assert_eq!(exchanges.take_expired(start + TIMER_F), Some("first"));
        assert_eq!(exchanges.take_expired(start + TIMER_F), None);
        assert_eq!(exchanges.end(first), None, "too late");
        assert_eq!(exchanges.poll_timeout(), Some(later + TIMER_F));
        assert_eq!(exchanges.end(third), Some("third"));
        assert_eq!(exchanges.poll_timeout(), None);
        assert!(exchanges.begin("fourth", later) > third, "numbers are never used again");
    }

    #[test]
    fn a_request_that_nobody_could_read_begins_nothing_and_gives_its_purpose_back() {
        let uri = Uri::parse("sip:romeo@example.net").unwrap();
        let mut request = OutgoingRequest::new(RequestParts {
            method: Method::Message,
            uri: &uri,
            from: &NameAddr::new(uri.clone()).with_tag("1"),
            to: &NameAddr::new(uri.clone()),
            call_id: &CallId::parse("c").unwrap(),
            sequence_number: 1,
        });
        let sent_by = SentBy { host: Host::parse("example.net").unwrap(), port: None };
        let start = Instant::now();
        let mut exchanges = Exchanges::default();
        let begun = exchanges.begin_with(request.clone(), &sent_by, "good", start);
        let (id, received) = begun.unwrap();
        assert_eq!(received.via().branch(), Some(format!("z9hG4bK{}", id.0).as_str()));
        assert_eq!(exchanges.end(id), Some("good"));
        request.headers_mut().push_text(HeaderName::CSeq, "2 MESSAGE");
        let refused = exchanges.begin_with(request, &sent_by, "bad", start);
        assert_eq!(refused.err(), Some("bad"));
        assert_eq!(exchanges.poll_timeout(), None);
    }
}
