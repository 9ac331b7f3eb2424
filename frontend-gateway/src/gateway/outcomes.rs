//! Outcomes of messages: delivered, or sent back to their senders as stanza errors.

use link::wire::Bounced;
use xmpp_proto::limits::Limits;
use xmpp_proto::stanza::Stanza;
use xmpp_proto::stanza::error::{StanzaCondition, StanzaError};
use xmpp_proto::stream::DomainPair;
use xmpp_proto::xml::{Element, parse_document};

use super::{Gateway, Purpose, Step};
use crate::clock::Now;
use crate::store::record::{BounceReason, Direction, Outcome};

impl Gateway {
    /// Decides that a message goes back to its sender, and lets the next one have its turn.
    pub(super) fn return_message(&mut self, id: u64, error: StanzaError, now: Now) {
        let reason = BounceReason {
            condition: error.condition.name().to_owned(),
            text: error.text.unwrap_or_default(),
            address: error.address,
        };
        if let Some(write) = self.journal.bounce(id, reason) {
            self.commits.write_and(write, Step::SendBounce(id));
        }
        if let Some(item) = self.conversations.take(id) {
            self.send_first(&item.key(), now);
        }
    }

    /// Sends a message back to its sender.
    pub(super) fn send_bounce(&mut self, id: u64, now: Now) {
        let Some(record) = self.journal.open(id) else { return };
        if record.direction == Direction::S2x {
            return self.send_failure(id, now);
        }
        let reason = record.bounce.clone().unwrap_or_default();
        let correlation_id = record.correlation_id.clone();
        let stanza = parse_document(&record.stanza, &written_limits()).ok();
        let Some((reply, pair)) = stanza.as_ref().and_then(|stanza| reply(stanza, &reason)) else {
            tracing::error!(correlation_id, "a message cannot be sent back");
            return self.settle_message(id, Outcome::Bounced(reason), now);
        };
        let envelope_id = self.derive(&["bounce", &id.to_string()]);
        self.send_stanza(&reply, pair, envelope_id, correlation_id, Purpose::Bounce(id), now);
    }

    pub(super) fn bounce_settled(&mut self, id: u64, outcome: &Result<(), Bounced>, now: Now) {
        let Some(record) = self.journal.open(id) else { return };
        let reason = record.bounce.clone().unwrap_or_default();
        if let Err(bounced) = outcome {
            let correlation_id = &record.correlation_id;
            tracing::warn!(correlation_id, reason = bounced.text, "a sender could not be told");
        }
        self.settle_message(id, Outcome::Bounced(reason), now);
    }

    /// Records the outcome of a message.
    pub(super) fn settle_message(&mut self, id: u64, outcome: Outcome, now: Now) {
        let Some(record) = self.journal.open(id) else { return };
        let direction = match record.direction {
            Direction::X2s => "x2s",
            Direction::S2x => "s2x",
        };
        let correlation_id = record.correlation_id.clone();
        let label = match &outcome {
            Outcome::Delivered => "delivered",
            Outcome::Bounced(_) => "bounced",
        };
        self.counters.settled(record.direction, &outcome).increment(1);
        tracing::debug!(correlation_id, direction, outcome = label, "a message has its outcome");
        if let Outcome::Bounced(reason) = &outcome {
            let condition = &reason.condition;
            tracing::info!(correlation_id, direction, condition, "a message went back");
        }
        if let Some(write) = self.journal.settle(id, outcome, now) {
            self.commits.write(write);
        }
    }
}

/// Returns the limits of a stanza that we have written with what we added.
pub(super) fn written_limits() -> Limits {
    Limits::AFTER_AUTHENTICATION.of_written_form().of_written_form()
}

/// Returns the error for a stored stanza, and between whom it goes.
fn reply(element: &Element, reason: &BounceReason) -> Option<(Element, DomainPair)> {
    let stanza = Stanza::of(element)?;
    let (from, to) = (stanza.from().ok()??, stanza.to().ok()??);
    let condition =
        StanzaCondition::of_name(&reason.condition).unwrap_or(StanzaCondition::UndefinedCondition);
    let error = StanzaError {
        address: reason.address.clone(),
        ..StanzaError::new(condition).with_text(reason.text.clone())
    };
    let pair = DomainPair { local: to.domain().clone(), remote: from.domain().clone() };
    Some((error.reply_to(&stanza, to.domain())?, pair))
}
