//! Answers to MESSAGEs of SIP users: which one, and when (RFC 3428 s.7).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use sip_proto::StatusCode;
use sip_proto::header::{Contact, HeaderName, NameAddr, RetryAfter};
use sip_proto::message::{OutgoingResponse, Request};
use xmpp_proto::jid::Jid;
use xmpp_proto::stanza::error::{StanzaCondition, StanzaError};
use xmpp_proto::stream::DomainPair;

use super::notices::Reminder;
use super::requests::ALLOWED;
use super::{Gateway, Purpose};
use crate::clock::Now;
use crate::deadlines::Deadlines;
use crate::denial::Denial;
use crate::exchange::ExchangeId;
use crate::store::record::{BounceReason, Outcome};
use crate::translate::error::x2s_error;

/// Recipients of whom it is known that they exist.
const KNOWN_RECIPIENTS_MAX: usize = 10_000;

/// What a sender is told while no edge takes its message.
const NO_WAY: &str = "No Way To The Partner At Present";

/// When such a sender may try again, in seconds.
const NO_WAY_RETRY_S: u32 = 10;

/// Messages of SIP users that are not confirmed or not answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: BTreeMap<u64, Waiting>,
    deadlines: Deadlines<u64>,
    /// Recipients to whom a message was confirmed without an error.
    known: BTreeSet<Jid>,
}

/// A message that waits for its confirmation, its answer, or both.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) to: Jid,
    pub(super) pair: DomainPair,
    /// What a notice would say; none when it is to be read out of the journal.
    pub(super) reminder: Option<Reminder>,
    pub(super) answer: Option<Answer>,
    pub(super) state: State,
}

/// The request that is to be answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) exchange: ExchangeId,
    pub(super) request: Box<Request>,
    /// The recipient is one resource (RFC 7247 Table 3 tells the errors of both apart).
    pub(super) is_full: bool,
}

/// How far a message has come. Those in `Sent` and `Confirmed` have a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The commit is not answered.
    Accepting,
    /// An edge has it, or will; it is answered by 202 at its deadline.
    Sent,
    /// It was answered by 202.
    Answered,
    /// The partner has confirmed it; until its deadline an error may still follow.
    Confirmed,
}

impl Answers {
    pub(super) fn insert(&mut self, id: u64, waiting: Waiting, until: Option<Instant>) {
        self.waiting.insert(id, waiting);
        self.deadlines.set(&id, until);
    }

    pub(super) fn enter(&mut self, id: u64, state: State, until: Option<Instant>) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.state = state;
            self.deadlines.set(&id, until);
        }
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Waiting> {
        self.deadlines.set(&id, None);
        self.waiting.remove(&id)
    }

    /// Returns between whom a message goes that waits here.
    pub(super) fn pair(&self, id: u64) -> Option<&DomainPair> {
        self.waiting.get(&id).map(|waiting| &waiting.pair)
    }

    /// Says whether an error may follow the confirmation of a message that its sender could
    /// still be answered with.
    pub(super) fn may_be_contradicted(&self, id: u64) -> bool {
        let waiting = self.waiting.get(&id).filter(|waiting| waiting.state == State::Sent);
        waiting.is_some_and(|waiting| !self.known.contains(&waiting.to))
    }

    /// Notes that a recipient exists.
    pub(super) fn know(&mut self, recipient: Jid) {
        if self.known.len() >= KNOWN_RECIPIENTS_MAX {
            self.known.clear();
        }
        self.known.insert(recipient);
    }

    /// Notes that a recipient cannot be reached, whatever was known.
    pub(super) fn doubt(&mut self, recipient: &Jid) {
        self.known.remove(recipient);
        self.known.remove(&recipient.bare());
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }
}

impl Gateway {
    /// Answers what has waited long enough.
    pub(super) fn handle_answer_timeouts(&mut self, now: Now) {
        for id in self.answers.deadlines.take_due(now.instant) {
            match self.answers.waiting.get(&id).map(|waiting| waiting.state) {
                Some(State::Confirmed) => self.finish_message(id, now),
                Some(State::Sent) if self.take_back(id, now) => {}
                Some(State::Sent) => self.answer_accepted(id),
                Some(State::Accepting | State::Answered) | None => {}
            }
        }
    }

    /// Takes a message back that no edge could be given; returns whether it was one.
    fn take_back(&mut self, id: u64, now: Now) -> bool {
        let Some(waiting) = self.answers.waiting.get(&id) else { return false };
        let is_it = |purpose: &Purpose| *purpose == Purpose::Message(id);
        if self.links.take_back(&waiting.pair, is_it).is_none() {
            return false;
        }
        let reason = BounceReason {
            condition: StanzaCondition::RemoteServerTimeout.name().to_owned(),
            text: NO_WAY.to_owned(),
            address: None,
        };
        self.settle_message(id, Outcome::Bounced(reason.clone()), now);
        if let Some(answer) = self.answers.remove(id).and_then(|it| it.answer) {
            self.answer_failure(&answer, &reason);
        }
        true
    }

    /// RFC 3428 s.7: 202 says that the message is on its way into another domain.
    fn answer_accepted(&mut self, id: u64) {
        self.answers.enter(id, State::Answered, None);
        let waiting = self.answers.waiting.get_mut(&id);
        if let Some(answer) = waiting.and_then(|waiting| waiting.answer.take()) {
            self.answer_status(&answer, StatusCode::ACCEPTED);
        }
    }

    /// A repetition of a request takes the place of the first one.
    pub(super) fn answer_again(&mut self, id: u64, repetition: Waiting, now: Now) {
        let Some(waiting) = self.answers.waiting.get_mut(&id) else {
            // Accepted before a restart, and under way since.
            let until = now.instant + self.settings.answer_wait;
            return self.answers.insert(id, repetition, Some(until));
        };
        waiting.answer = repetition.answer;
        if waiting.state == State::Answered {
            self.answer_accepted(id);
        }
    }

    /// The message was not written: its sender is told at once.
    pub(super) fn answer_not_accepted(&mut self, id: u64) {
        if let Some(answer) = self.answers.remove(id).and_then(|it| it.answer) {
            let status = StatusCode::SERVER_INTERNAL_ERROR;
            let denial = Denial::new(status, "The Message Could Not Be Stored");
            self.deny(answer.exchange, &answer.request, &denial);
        }
    }

    pub(super) fn answer_status(&mut self, answer: &Answer, status: StatusCode) {
        let response = OutgoingResponse::to(&answer.request, status, Some(&self.ids.tag()));
        self.respond(answer.exchange, response);
    }

    /// Tells why a message will not arrive; a repetition of its request is told the same.
    pub(super) fn answer_failure(&mut self, answer: &Answer, reason: &BounceReason) {
        let tag = self.ids.tag();
        if reason.text == NO_WAY {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let mut response = OutgoingResponse::to(&answer.request, status, Some(&tag))
                .with_reason_phrase(NO_WAY);
            response.headers_mut().push(&RetryAfter(NO_WAY_RETRY_S));
            return self.respond(answer.exchange, response);
        }
        let failure = x2s_error(&error_of(reason), answer.is_full);
        let mut response = OutgoingResponse::to(&answer.request, failure.status, Some(&tag));
        if !failure.reason_phrase.is_empty() {
            response = response.with_reason_phrase(&failure.reason_phrase);
        }
        if let Some(contact) = failure.contact {
            let contact = Contact::Addresses(vec![NameAddr::new(contact)]);
            response.headers_mut().push(&contact);
        }
        if failure.status == StatusCode::METHOD_NOT_ALLOWED {
            // RFC 3261 s.21.4.6: a 405 says what is allowed.
            response.headers_mut().push_text(HeaderName::Allow, ALLOWED);
        }
        self.respond(answer.exchange, response);
    }
}

fn error_of(reason: &BounceReason) -> StanzaError {
    let condition =
        StanzaCondition::of_name(&reason.condition).unwrap_or(StanzaCondition::UndefinedCondition);
    let text = Some(reason.text.clone()).filter(|text| !text.is_empty());
    StanzaError { text, address: reason.address.clone(), ..StanzaError::new(condition) }
}
