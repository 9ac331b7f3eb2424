//! Pager-mode messages from SIP users to XMPP users: accepted, confirmed, answered.

use std::collections::BTreeMap;
use std::time::Instant;

use link::wire::Bounced;
use sip_proto::header::{Contact, HeaderName, NameAddr, RetryAfter};
use sip_proto::message::{OutgoingRequest, OutgoingResponse, Request, RequestParts};
use sip_proto::transaction::ServerId;
use sip_proto::{Method, StatusCode};
use xmpp_proto::jid::Jid;
use xmpp_proto::limits::Limits;
use xmpp_proto::ns;
use xmpp_proto::stanza::error::{StanzaCondition, StanzaError};
use xmpp_proto::stream::DomainPair;
use xmpp_proto::xml::{Element, parse_document, write_document};

use super::requests::{ALLOWED, Asked};
use super::stanzas::{Arrived, Verdict};
use super::{Gateway, Purpose, RequestPurpose, Step};
use crate::address::x2s_address;
use crate::clock::Now;
use crate::denial::Denial;
use crate::journal::Standing;
use crate::notice;
use crate::store::record::{BounceReason, Direction, JournalRecord, Outcome};
use crate::translate::error::{SipFailure, x2s_error};
use crate::translate::message::s2x_message;

/// Recipients of whom it is known that they exist.
const KNOWN_RECIPIENTS_MAX: usize = 10_000;

/// Characters of a failed message that its sender is reminded of.
const EXCERPT_CHARACTERS_MAX: usize = 80;

/// Messages of SIP users that are not confirmed or not answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: BTreeMap<u64, Waiting>,
    /// Recipients to whom a message was confirmed without an error.
    known: BTreeMap<Jid, ()>,
}

#[derive(Debug)]
struct Waiting {
    to: Jid,
    answer: Option<Answer>,
    state: State,
}

/// The request that is to be answered.
#[derive(Debug)]
struct Answer {
    server: ServerId,
    request: Box<Request>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The commit is not answered.
    Accepting,
    /// An edge has it, or will; it is answered by 202 at the time.
    Sent(Instant),
    /// It was answered by 202.
    Answered,
    /// The partner has confirmed it; until the time an error may still follow.
    Confirmed(Instant),
}

impl Answers {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let times = self.waiting.values().filter_map(|waiting| match waiting.state {
            State::Sent(until) | State::Confirmed(until) => Some(until),
            State::Accepting | State::Answered => None,
        });
        times.min()
    }

    fn know(&mut self, recipient: Jid) {
        if self.known.len() >= KNOWN_RECIPIENTS_MAX {
            self.known.clear();
        }
        self.known.insert(recipient, ());
    }
}

impl Gateway {
    /// Takes a MESSAGE that policy permits.
    pub(super) fn accept_s2x(
        &mut self,
        asked: &Asked<'_>,
        request: &Request,
        from: &Jid,
        to: &Jid,
    ) -> Result<(), Denial> {
        let origin = self.origin(request);
        let answer = Answer { server: asked.server, request: Box::new(request.clone()) };
        match self.journal.standing(&origin) {
            Standing::Settled(_, Outcome::Delivered) => {
                self.answer_status(&answer, StatusCode::OK, asked.now);
            }
            Standing::Settled(_, Outcome::Bounced(reason)) => {
                self.answer_failure(&answer, &failure_of(&reason), asked.now);
            }
            Standing::Open(id) => self.answer_again(id, answer, asked.now),
            Standing::Unknown => {
                let users = [from.bare(), to.bare()];
                let thread = self.threads.thread(&users, request.call_id().as_str()).to_owned();
                // The id tells the message again in an error, and the number must be known for it.
                let stanza = s2x_message(request, from, &to.bare(), "", &thread, asked.now)?;
                self.journal_s2x(answer, origin, stanza, to, asked.now);
            }
        }
        Ok(())
    }

    /// Takes a notice of the home about a message of an XMPP user, which is told best effort.
    pub(super) fn accept_notice(
        &mut self,
        asked: &Asked<'_>,
        request: &Request,
        from: &Jid,
        to: &Jid,
    ) -> Result<(), Denial> {
        let thread = request.call_id().as_str();
        let id = self.ids.tag();
        let stanza = s2x_message(request, from, &to.bare(), &id, thread, asked.now)?;
        self.send_state(&stanza, from, to, Purpose::State, asked.now);
        let response = OutgoingResponse::to(request, StatusCode::OK, Some(&self.ids.tag()));
        self.respond(asked.server, &response, asked.now);
        Ok(())
    }

    fn journal_s2x(
        &mut self,
        answer: Answer,
        origin: [u8; 16],
        mut stanza: Element,
        to: &Jid,
        now: Now,
    ) {
        let correlation_id = self.correlation_id();
        let id = self.journal.next_id();
        stanza.set_attribute("id", self.stanza_id(id));
        let record = JournalRecord {
            id,
            direction: Direction::S2x,
            origin,
            correlation_id,
            accepted_ms: now.unix_ms,
            stanza: write_document(&stanza).to_vec(),
            bounce: None,
        };
        let (id, write) = self.journal.accept(record);
        let waiting = Waiting { to: to.bare(), answer: Some(answer), state: State::Accepting };
        self.answers.waiting.insert(id, waiting);
        self.commits.write_then(write, Step::AcceptedS2x(id), Step::NotAccepted(id));
    }

    /// The message is in the journal: it goes to an edge.
    pub(super) fn accepted_s2x(&mut self, id: u64, now: Now) {
        if let Some(waiting) = self.answers.waiting.get_mut(&id) {
            waiting.state = State::Sent(now.instant + self.settings.answer_wait);
        }
        self.send_message(id, now);
    }

    /// Goes on with a message that the process before this one had accepted.
    pub(super) fn resume_s2x(&mut self, record: &JournalRecord, now: Now) {
        self.send_message(record.id, now);
    }

    fn send_message(&mut self, id: u64, now: Now) {
        let Some(record) = self.journal.open(id) else { return };
        let correlation_id = record.correlation_id.clone();
        let limits = Limits::AFTER_AUTHENTICATION.of_written_form();
        let Ok(stanza) = parse_document(&record.stanza, &limits) else {
            tracing::error!(correlation_id, "a stored message cannot be read");
            return self.fail_message(
                id,
                StanzaError::new(StanzaCondition::InternalServerError),
                now,
            );
        };
        let address = |name| stanza.attribute(name).and_then(|text| Jid::parse(text).ok());
        let (Some(from), Some(to)) = (address("from"), address("to")) else { return };
        let pair = DomainPair { local: from.domain().clone(), remote: to.domain().clone() };
        let envelope_id = self.derive(&["message", &id.to_string()]);
        tracing::debug!(correlation_id, partner = %pair.remote, "a message goes to an edge");
        self.send_stanza(&stanza, pair, envelope_id, correlation_id, Purpose::Message(id), now);
    }

    /// The message was not written: its sender is told at once.
    pub(super) fn answer_not_accepted(&mut self, id: u64, now: Now) {
        if let Some(answer) = self.answers.waiting.remove(&id).and_then(|it| it.answer) {
            let status = StatusCode::SERVER_INTERNAL_ERROR;
            let denial = Denial::new(status, "The Message Could Not Be Stored");
            self.deny(answer.server, &answer.request, &denial, now);
        }
    }

    /// Takes the outcome of a message at the partner.
    pub(super) fn message_settled(&mut self, id: u64, outcome: Result<(), Bounced>, now: Now) {
        match outcome {
            Ok(()) => self.message_confirmed(id, now),
            Err(bounced) => {
                let condition = StanzaCondition::of_name(&bounced.condition)
                    .unwrap_or(StanzaCondition::UndefinedCondition);
                self.fail_message(id, StanzaError::new(condition).with_text(bounced.text), now);
            }
        }
    }

    /// The partner's server has the message. Of a recipient that nothing is known of, an error
    /// may follow on the partner's own stream, and its sender is better told that.
    fn message_confirmed(&mut self, id: u64, now: Now) {
        let Some(waiting) = self.answers.waiting.get_mut(&id) else {
            return self.settle_message(id, Outcome::Delivered, now);
        };
        let unanswered = matches!(waiting.state, State::Sent(_));
        if unanswered && !self.answers.known.contains_key(&waiting.to) {
            waiting.state = State::Confirmed(now.instant + self.settings.error_wait);
            return;
        }
        self.finish_message(id, now);
    }

    fn finish_message(&mut self, id: u64, now: Now) {
        self.settle_message(id, Outcome::Delivered, now);
        if let Some(waiting) = self.answers.waiting.remove(&id) {
            self.answers.know(waiting.to);
            if let Some(answer) = waiting.answer {
                self.answer_status(&answer, StatusCode::OK, now);
            }
        }
    }

    /// Answers what has waited long enough.
    pub(super) fn handle_answer_timeouts(&mut self, now: Now) {
        let due = self.answers.waiting.iter().filter(|(_, waiting)| match waiting.state {
            State::Sent(until) | State::Confirmed(until) => until <= now.instant,
            State::Accepting | State::Answered => false,
        });
        let due: Vec<(u64, State)> = due.map(|(id, waiting)| (*id, waiting.state)).collect();
        for (id, state) in due {
            match state {
                State::Confirmed(_) => self.finish_message(id, now),
                State::Sent(_) if self.take_back(id, now) => {}
                State::Sent(_) | State::Accepting | State::Answered => {
                    self.answer_accepted(id, now)
                }
            }
        }
    }

    /// Takes a message back that no edge could be given; returns whether it was one.
    fn take_back(&mut self, id: u64, now: Now) -> bool {
        let taken = self.links.take_back(|purpose| *purpose == Purpose::Message(id));
        if taken.is_empty() {
            return false;
        }
        let reason = BounceReason {
            condition: StanzaCondition::RemoteServerTimeout.name().to_owned(),
            text: "no edge is attached".into(),
            address: None,
        };
        self.settle_message(id, Outcome::Bounced(reason), now);
        if let Some(answer) = self.answers.waiting.remove(&id).and_then(|it| it.answer) {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let tag = self.ids.tag();
            let mut response = OutgoingResponse::to(&answer.request, status, Some(&tag))
                .with_reason_phrase("No Way To The Partner At Present");
            response.headers_mut().push(&RetryAfter(10));
            self.respond(answer.server, &response, now);
        }
        true
    }

    /// RFC 3428 s.7: 202 says that the message is on its way into another domain.
    fn answer_accepted(&mut self, id: u64, now: Now) {
        let Some(waiting) = self.answers.waiting.get_mut(&id) else { return };
        waiting.state = State::Answered;
        if let Some(answer) = waiting.answer.take() {
            self.answer_status(&answer, StatusCode::ACCEPTED, now);
        }
    }

    /// A repetition of a request takes the place of the first one.
    fn answer_again(&mut self, id: u64, answer: Answer, now: Now) {
        match self.answers.waiting.get_mut(&id) {
            Some(Waiting { state: State::Answered, .. }) => {
                self.answer_status(&answer, StatusCode::ACCEPTED, now);
            }
            Some(waiting) => waiting.answer = Some(answer),
            // Accepted before a restart, and under way since.
            None => {
                let state = State::Sent(now.instant + self.settings.answer_wait);
                let to = crate::address::s2x_address(answer.request.uri()).ok();
                if let Some(to) = to.map(|to| to.bare()) {
                    let waiting = Waiting { to, answer: Some(answer), state };
                    self.answers.waiting.insert(id, waiting);
                }
            }
        }
    }

    /// Takes an error that came back for something we sent.
    pub(super) fn handle_error_stanza(&mut self, arrived: &Arrived<'_>, now: Now) -> Verdict {
        let id = arrived.element.attribute("id").and_then(|id| self.message_of(id));
        if let Some(id) = id {
            let mut error = StanzaError::read(arrived.element);
            error.text = error.text.filter(|text| !text.is_empty());
            self.answers.known.remove(&arrived.from.bare());
            if self.journal.open(id).is_some() {
                self.fail_message(id, error, now);
            } else {
                self.fail_delivered(id, arrived, &error, now);
            }
        }
        Verdict::Done
    }

    /// The message will not arrive: its sender learns it in the answer, or by a notice when it
    /// was answered already.
    fn fail_message(&mut self, id: u64, error: StanzaError, now: Now) {
        let Some(record) = self.journal.open(id) else { return };
        let stanza =
            parse_document(&record.stanza, &Limits::AFTER_AUTHENTICATION.of_written_form());
        let reason = reason_of(&error);
        self.settle_message(id, Outcome::Bounced(reason), now);
        match self.answers.waiting.remove(&id).and_then(|waiting| waiting.answer) {
            Some(answer) => {
                let full = s2x_has_resource(&answer.request);
                self.answer_failure(&answer, &x2s_error(&error, full), now);
            }
            None => {
                if let Ok(stanza) = stanza {
                    self.send_notice(&stanza, &error, now);
                }
            }
        }
    }

    /// An error contradicts a confirmation: the outcome is corrected, and the sender told.
    fn fail_delivered(&mut self, id: u64, arrived: &Arrived<'_>, error: &StanzaError, now: Now) {
        let Some(write) = self.journal.correct(id, reason_of(error), now) else { return };
        self.commits.write(write);
        // The error has the addresses of the message, swapped, and sometimes its text.
        let body = arrived.element.child(ns::SERVER, "body").map(|body| body.text().into_owned());
        let mut message = Element::new(ns::SERVER, "message")
            .with_attribute("from", arrived.to.to_string())
            .with_attribute("to", arrived.from.bare().to_string());
        if let Some(body) = body {
            message.push_child(Element::new(ns::SERVER, "body").with_text(body));
        }
        self.send_notice(&message, error, now);
    }

    /// Tells a SIP user, in the name of the recipient, that a message did not arrive.
    fn send_notice(&mut self, message: &Element, error: &StanzaError, now: Now) {
        let address = |name| message.attribute(name).and_then(|text| Jid::parse(text).ok());
        let (Some(sender), Some(recipient)) = (address("from"), address("to")) else { return };
        let (Ok(uri), Ok(from)) = (x2s_address(&sender.bare()), x2s_address(&recipient.bare()))
        else {
            return;
        };
        let reason = error.text.clone().unwrap_or_else(|| error.condition.name().replace('-', " "));
        let body = message.child(ns::SERVER, "body").map(|body| body.text().into_owned());
        let text = match body.as_deref().map(excerpt) {
            Some(start) => format!("Your message was not delivered: {reason}\n> {start}"),
            None => format!("Your message was not delivered: {reason}"),
        };
        let mut request = OutgoingRequest::new(RequestParts {
            method: Method::Message,
            uri: &uri,
            from: &NameAddr::new(from).with_tag(&self.ids.tag()),
            to: &NameAddr::new(uri.clone()),
            call_id: &self.ids.call_id(),
            sequence_number: 1,
        });
        notice::mark(&mut request);
        notice::set_text(&mut request, &text);
        metrics::counter!("gateway_notices_total").increment(1);
        self.send_request(&request, RequestPurpose::Notice, now);
    }

    fn answer_status(&mut self, answer: &Answer, status: StatusCode, now: Now) {
        let response = OutgoingResponse::to(&answer.request, status, Some(&self.ids.tag()));
        self.respond(answer.server, &response, now);
    }

    fn answer_failure(&mut self, answer: &Answer, failure: &SipFailure, now: Now) {
        let tag = self.ids.tag();
        let mut response = OutgoingResponse::to(&answer.request, failure.status, Some(&tag));
        if !failure.reason_phrase.is_empty() {
            response = response.with_reason_phrase(&failure.reason_phrase);
        }
        if let Some(contact) = &failure.contact {
            let contact = Contact::Addresses(vec![NameAddr::new(contact.clone())]);
            response.headers_mut().push(&contact);
        }
        if failure.status == StatusCode::METHOD_NOT_ALLOWED {
            // RFC 3261 s.21.4.6: a 405 says what is allowed.
            response.headers_mut().push_text(HeaderName::Allow, ALLOWED);
        }
        self.respond(answer.server, &response, now);
    }

    /// Returns what marks a repetition of a request (RFC 3261 s.8.2.2.2).
    fn origin(&self, request: &Request) -> [u8; 16] {
        let tag = request.from().tag().unwrap_or_default();
        let number = request.cseq().number.to_string();
        let from = request.from().uri().to_wire();
        self.derive(&["origin", request.call_id().as_str(), &number, tag, &from])
    }

    /// Returns the id of the stanza for a message, by which an error for it is known.
    fn stanza_id(&self, id: u64) -> String {
        let number = id.to_string();
        format!("{number}-{}", self.derive_word(&["stanza", &number]))
    }

    /// Returns the message that a stanza with this id brought, if it was one of ours.
    fn message_of(&self, stanza_id: &str) -> Option<u64> {
        let (number, _) = stanza_id.split_once('-')?;
        let id = number.parse().ok()?;
        (self.stanza_id(id) == stanza_id).then_some(id)
    }
}

fn s2x_has_resource(request: &Request) -> bool {
    request.uri().has_parameter("gr")
}

fn reason_of(error: &StanzaError) -> BounceReason {
    BounceReason {
        condition: error.condition.name().to_owned(),
        text: error.text.clone().unwrap_or_default(),
        address: error.address.clone(),
    }
}

fn failure_of(reason: &BounceReason) -> SipFailure {
    let condition =
        StanzaCondition::of_name(&reason.condition).unwrap_or(StanzaCondition::UndefinedCondition);
    let error = StanzaError {
        address: reason.address.clone(),
        ..StanzaError::new(condition).with_text(reason.text.clone())
    };
    x2s_error(&error, false)
}

/// Returns the start of a text, on one line.
fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
