//! Messages of SIP users that fail: in the answer, or by a notice when that was given already.

use sip_proto::Method;
use sip_proto::header::NameAddr;
use sip_proto::message::{OutgoingRequest, RequestParts};
use xmpp_proto::jid::Jid;
use xmpp_proto::limits::Limits;
use xmpp_proto::ns;
use xmpp_proto::stanza::error::StanzaError;
use xmpp_proto::xml::{Element, parse_document};

use super::stanzas::{Arrived, Verdict};
use super::{Gateway, RequestPurpose};
use crate::address::x2s_address;
use crate::clock::Now;
use crate::notice;
use crate::store::record::{BounceReason, Outcome};

/// Characters of a failed message that its sender is reminded of.
const EXCERPT_CHARACTERS_MAX: usize = 80;

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
            self.answers.doubt(&arrived.from.bare());
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
        let Some(record) = self.journal.open(id) else { return };
        let stanza =
            parse_document(&record.stanza, &Limits::AFTER_AUTHENTICATION.of_written_form());
        let reason = reason_of(error);
        self.settle_message(id, Outcome::Bounced(reason.clone()), now);
        match (self.answers.remove(id).and_then(|waiting| waiting.answer), stanza) {
            (Some(answer), _) => self.answer_failure(&answer, &reason, now),
            (None, Ok(stanza)) => self.send_notice(&stanza, error, now),
            (None, Err(_)) => {}
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
}

fn reason_of(error: &StanzaError) -> BounceReason {
    BounceReason {
        condition: error.condition.name().to_owned(),
        text: error.text.clone().unwrap_or_default(),
        address: error.address.clone(),
    }
}

/// Returns the start of a text, on one line.
fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
