//! Messages of SIP users that fail: told in the answer, or by a notice when that was given already.

use xmpp_proto::stanza::error::StanzaError;

use super::notices::Reminder;
use super::stanzas::{Arrived, Verdict};
use super::{Gateway, Step};
use crate::clock::Now;
use crate::store::record::{BounceReason, Outcome};

impl Gateway {
    /// Takes an error that came back for something we sent.
    pub(super) fn handle_error_stanza(&mut self, arrived: &Arrived<'_>, now: Now) -> Verdict {
        let id = arrived.element.attribute("id").and_then(|id| {
            // Only the recipient's domain knows better than its confirmation.
            self.message_of(id, arrived.from.domain())
        });
        if let Some(id) = id {
            let mut error = StanzaError::read(arrived.element);
            error.text = error.text.filter(|text| !text.is_empty());
            self.answers.doubt(&arrived.from);
            if self.journal.open(id).is_some() {
                self.fail_message(id, &error, now);
            } else {
                self.fail_delivered(id, arrived, &error, now);
            }
        }
        Verdict::Done
    }

    /// The message will not arrive: its sender learns it in the answer, or by a notice when it
    /// was answered already.
    pub(super) fn fail_message(&mut self, id: u64, error: &StanzaError, now: Now) {
        let reason = reason_of(error);
        match self.answers.remove(id).and_then(|waiting| waiting.answer) {
            Some(answer) => {
                self.settle_message(id, Outcome::Bounced(reason.clone()), now);
                self.answer_failure(&answer, &reason);
            }
            None => {
                if let Some(write) = self.journal.bounce(id, reason) {
                    self.commits.write_and(write, Step::SendBounce(id));
                }
            }
        }
    }

    /// An error contradicts a confirmation: the outcome is corrected, and the sender told.
    fn fail_delivered(&mut self, id: u64, arrived: &Arrived<'_>, error: &StanzaError, now: Now) {
        let reason = reason_of(error);
        let Some(write) = self.journal.correct(id, reason.clone(), now) else { return };
        self.commits.write(write);
        // After a restart the error alone says whose message it was. What it says of its text is
        // not repeated: anything may stand there.
        let kept = self.notices.take(id);
        let reminder = kept.unwrap_or_else(|| Reminder::new(&arrived.to, &arrived.from, ""));
        self.begin_notice(id, reminder, reason, now);
    }
}

fn reason_of(error: &StanzaError) -> BounceReason {
    BounceReason {
        condition: error.condition.name().to_owned(),
        text: error.text.clone().unwrap_or_default(),
        address: error.address.clone(),
    }
}
