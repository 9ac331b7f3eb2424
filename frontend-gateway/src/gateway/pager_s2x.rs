//! Pager-mode messages from SIP users to XMPP users: accepted, sent, confirmed.

use link::wire::Bounced;
use sha2::{Digest, Sha256};
use sip_proto::StatusCode;
use sip_proto::message::{OutgoingResponse, Request};
use xmpp_proto::jid::{Domain, Jid};
use xmpp_proto::limits::Limits;
use xmpp_proto::ns;
use xmpp_proto::stanza::error::{StanzaCondition, StanzaError};
use xmpp_proto::stream::DomainPair;
use xmpp_proto::xml::{Element, parse_document, write_document};

use super::notices::Reminder;
use super::requests::Asked;
use super::s2x_answers::{Answer, State, Waiting};
use super::{GRUU, Gateway, Purpose, Step};
use crate::clock::Now;
use crate::denial::Denial;
use crate::journal::Standing;
use crate::store::record::{Direction, JournalRecord, Outcome};
use crate::translate::message::s2x_message;

impl Gateway {
    /// Takes a MESSAGE that policy permits.
    pub(super) fn accept_s2x(
        &mut self,
        asked: &Asked<'_>,
        request: &Request,
        from: &Jid,
        to: &Jid,
    ) -> Result<(), Denial> {
        // Our own GRUU is where dialogs with the user go, and no resource of it.
        let to = &if to.resourcepart() == Some(GRUU) { to.bare() } else { to.clone() };
        let origin = self.origin(request, to);
        let is_full = to.resourcepart().is_some();
        let answer =
            Answer { exchange: asked.exchange, request: Box::new(request.clone()), is_full };
        let pair = DomainPair { local: from.domain().clone(), remote: to.domain().clone() };
        match self.journal.standing(&origin) {
            Standing::Settled(_, Outcome::Delivered) => {
                self.answer_status(&answer, StatusCode::OK);
            }
            Standing::Settled(_, Outcome::Bounced(reason)) => {
                self.answer_failure(&answer, &reason);
            }
            Standing::Open(id) => {
                let bounce = self.journal.open(id).and_then(|record| record.bounce.clone());
                if let Some(reason) = bounce {
                    self.answer_failure(&answer, &reason);
                    return Ok(());
                }
                let (to, answer) = (to.clone(), Some(answer));
                let waiting = Waiting { to, pair, reminder: None, answer, state: State::Sent };
                self.answer_again(id, waiting, asked.now);
            }
            Standing::Unknown => {
                let users = [from.bare(), to.bare()];
                let thread = self.threads.thread(&users, request.call_id().as_str()).to_owned();
                // Its id is known once it has its number.
                let stanza = s2x_message(request, from, to, "", &thread, asked.now)?;
                let body = stanza.child(ns::SERVER, "body").map(Element::text).unwrap_or_default();
                let reminder = Some(Reminder::new(from, to, &body));
                let (to, answer) = (to.clone(), Some(answer));
                let waiting = Waiting { to, pair, reminder, answer, state: State::Accepting };
                self.journal_s2x(waiting, origin, stanza, asked.now);
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
        self.respond(asked.exchange, response);
        Ok(())
    }

    fn journal_s2x(&mut self, waiting: Waiting, origin: [u8; 16], mut stanza: Element, now: Now) {
        let correlation_id = self.correlation_id();
        stanza.set_attribute("id", self.stanza_id(self.journal.next_id(), &waiting.pair.remote));
        let record = JournalRecord {
            id: 0,
            direction: Direction::S2x,
            origin,
            correlation_id,
            accepted_ms: now.unix_ms,
            stanza: write_document(&stanza),
            bounce: None,
        };
        let (id, write) = self.journal.accept(record);
        self.answers.insert(id, waiting, None);
        self.commits.write_then(write, Step::AcceptedS2x(id), Step::NotAccepted(id));
    }

    /// The message is in the journal: it goes to an edge.
    pub(super) fn accepted_s2x(&mut self, id: u64, now: Now) {
        self.answers.enter(id, State::Sent, Some(now.instant + self.settings.answer_wait));
        self.send_message(id, now);
    }

    /// Brings a message to an edge.
    pub(super) fn send_message(&mut self, id: u64, now: Now) {
        let Some(record) = self.journal.open(id) else { return };
        let correlation_id = record.correlation_id.clone();
        let pair = self.answers.pair(id).cloned().or_else(|| stored_pair(&record.stanza));
        let Some(pair) = pair else {
            tracing::error!(correlation_id, "a stored message cannot be read");
            let error = StanzaError::new(StanzaCondition::InternalServerError);
            return self.fail_message(id, &error, now);
        };
        let stanza = record.stanza.clone();
        let envelope_id = self.derive(&["message", &id.to_string()]);
        tracing::debug!(correlation_id, partner = %pair.remote, "a message goes to an edge");
        self.send_document(stanza, pair, envelope_id, correlation_id, Purpose::Message(id), now);
    }

    /// Takes the outcome of a message at the partner.
    pub(super) fn message_settled(&mut self, id: u64, outcome: Result<(), Bounced>, now: Now) {
        if self.journal.open(id).is_none_or(|record| record.bounce.is_some()) {
            // An error was quicker, and its sender is being told.
            return;
        }
        match outcome {
            Ok(()) => self.message_confirmed(id, now),
            Err(bounced) => {
                let condition = StanzaCondition::of_name(&bounced.condition)
                    .unwrap_or(StanzaCondition::UndefinedCondition);
                self.fail_message(id, &StanzaError::new(condition).with_text(bounced.text), now);
            }
        }
    }

    /// The partner's server has the message. Of a recipient that nothing is known of, an error
    /// may follow on the partner's own stream, and its sender is better told that.
    fn message_confirmed(&mut self, id: u64, now: Now) {
        if self.answers.may_be_contradicted(id) {
            let until = now.instant + self.settings.error_wait;
            return self.answers.enter(id, State::Confirmed, Some(until));
        }
        self.finish_message(id, now);
    }

    /// The message is delivered.
    pub(super) fn finish_message(&mut self, id: u64, now: Now) {
        let mut waiting = self.answers.remove(id);
        let kept = waiting.as_mut().and_then(|waiting| waiting.reminder.take());
        let stored = || Reminder::of_document(&self.journal.open(id)?.stanza);
        if let Some(reminder) = kept.or_else(stored) {
            self.notices.keep(id, reminder, now);
        }
        self.settle_message(id, Outcome::Delivered, now);
        let Some(waiting) = waiting else { return };
        self.answers.know(waiting.to);
        if let Some(answer) = waiting.answer {
            self.answer_status(&answer, StatusCode::OK);
        }
    }

    /// Returns what marks a repetition of a request (RFC 3261 s.8.2.2.2).
    fn origin(&self, request: &Request, to: &Jid) -> [u8; 16] {
        let tag = request.from().tag().unwrap_or_default();
        let number = request.cseq().number.to_string();
        let from = request.from().uri().to_wire();
        // A proxy that forks sends the same request to different recipients.
        // A sender that numbers badly must not lose another text.
        let content: [u8; 32] = Sha256::digest(request.body()).into();
        let content: String = content.iter().map(|byte| char::from(*byte)).collect();
        self.derive(&[
            "origin",
            request.call_id().as_str(),
            &number,
            tag,
            &from,
            to.as_str(),
            &content,
        ])
    }

    /// Returns the id of the stanza for a message, by which an error for it is known.
    fn stanza_id(&self, id: u64, recipient: &Domain) -> String {
        let number = id.to_string();
        format!("{number}-{}", self.derive_word(&["stanza", &number, recipient.as_str()]))
    }

    /// Returns the message that a stanza with this id brought to a domain, if it was one of ours.
    pub(super) fn message_of(&self, stanza_id: &str, recipient: &Domain) -> Option<u64> {
        let (number, _) = stanza_id.split_once('-')?;
        let id = number.parse().ok()?;
        (self.stanza_id(id, recipient) == stanza_id).then_some(id)
    }
}

/// Returns between whom a message goes that the process before this one had accepted.
fn stored_pair(stanza: &[u8]) -> Option<DomainPair> {
    let limits = Limits::AFTER_AUTHENTICATION.of_written_form();
    let stanza = parse_document(stanza, &limits).ok()?;
    let address = |name| Jid::parse(stanza.attribute(name)?).ok();
    let (from, to) = (address("from")?, address("to")?);
    Some(DomainPair { local: from.domain().clone(), remote: to.domain().clone() })
}
