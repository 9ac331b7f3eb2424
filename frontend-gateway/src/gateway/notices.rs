//! Notices to SIP users about messages that failed after their 2xx: each is sent until it is
//! answered, by this process or the one after it, and has no notice of its own.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use sip_proto::header::{CallId, NameAddr, RetryAfter, TypedHeader};
use sip_proto::message::{FinalResponse, OutgoingRequest, RequestParts};
use sip_proto::{Method, StatusCode};
use xmpp_proto::jid::Jid;
use xmpp_proto::ns;
use xmpp_proto::xml::{Element, parse_document};

use super::outcomes::written_limits;
use super::{Gateway, RequestPurpose};
use crate::address::x2s_address;
use crate::clock::Now;
use crate::deadlines::Deadlines;
use crate::journal::{REPETITION_MS_MAX, REPETITIONS_MAX};
use crate::notice;
use crate::store::record::{BounceReason, Outcome};

/// How often a notice is sent that is not answered: with the time that each takes, ten minutes.
const TRIES_MAX: u32 = 10;

/// The wait before it is sent again, which doubles up to the last.
const SEND_AGAIN_FIRST: Duration = Duration::from_secs(2);
const SEND_AGAIN_LAST: Duration = Duration::from_secs(60);

/// Who is to be told of a failed message, and what it was.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Reminder {
    sender: Jid,
    recipient: Jid,
    /// The start of the text; empty when it is not known.
    excerpt: String,
}

impl Reminder {
    pub(super) fn new(sender: &Jid, recipient: &Jid, text: &str) -> Self {
        Self { sender: sender.bare(), recipient: recipient.bare(), excerpt: notice::excerpt(text) }
    }

    /// Reads it out of the stanza that brings a message.
    pub(super) fn of_stanza(stanza: &Element) -> Option<Self> {
        let address = |name| Jid::parse(stanza.attribute(name)?).ok();
        let body = stanza.child(ns::SERVER, "body").map(Element::text).unwrap_or_default();
        Some(Self::new(&address("from")?, &address("to")?, &body))
    }

    /// Reads it out of a record of the journal.
    pub(super) fn of_document(stanza: &[u8]) -> Option<Self> {
        Self::of_stanza(&parse_document(stanza, &written_limits()).ok()?)
    }

    fn text(&self, reason: &BounceReason) -> String {
        let cause = match reason.text.as_str() {
            "" => reason.condition.replace('-', " "),
            text => text.to_owned(),
        };
        let excerpt = match self.excerpt.as_str() {
            "" => String::new(),
            excerpt => format!("\n> {excerpt}"),
        };
        format!("Your message was not delivered: {cause}{excerpt}")
    }
}

impl fmt::Debug for Reminder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reminder({} bytes)", self.excerpt.len())
    }
}

/// Notices on their way, and what later ones would say.
#[derive(Debug, Default)]
pub(super) struct Notices {
    sending: BTreeMap<u64, Sending>,
    retries: Deadlines<u64>,
    /// Messages that count as delivered, for as long as an error may still contradict that.
    delivered: BTreeMap<u64, Reminder>,
    /// When each of them was, in milliseconds of Unix time; the oldest first.
    order: VecDeque<(u64, u64)>,
}

#[derive(Debug)]
struct Sending {
    reminder: Reminder,
    reason: BounceReason,
    tries: u32,
}

impl Notices {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.retries.next()
    }

    /// Keeps what a notice about a delivered message would say.
    pub(super) fn keep(&mut self, id: u64, reminder: Reminder, now: Now) {
        let is_old = |at_ms: u64| at_ms + REPETITION_MS_MAX < now.unix_ms;
        while self.order.len() >= REPETITIONS_MAX
            || self.order.front().is_some_and(|(at_ms, _)| is_old(*at_ms))
        {
            let Some((_, oldest)) = self.order.pop_front() else { break };
            self.delivered.remove(&oldest);
        }
        self.order.push_back((now.unix_ms, id));
        self.delivered.insert(id, reminder);
    }

    /// Takes what was kept of a message.
    pub(super) fn take(&mut self, id: u64) -> Option<Reminder> {
        self.delivered.remove(&id)
    }
}

impl Gateway {
    /// Tells the sender of a message of the journal that it failed.
    pub(super) fn send_failure(&mut self, id: u64, now: Now) {
        let Some(record) = self.journal.open(id) else { return };
        let reason = record.bounce.clone().unwrap_or_default();
        match Reminder::of_document(&record.stanza) {
            Some(reminder) => self.begin_notice(id, reminder, reason, now),
            None => {
                let correlation_id = &record.correlation_id;
                tracing::error!(correlation_id, "a stored message cannot be read");
                self.settle_message(id, Outcome::Bounced(reason), now);
            }
        }
    }

    /// Begins to tell a SIP user, in the name of the recipient, that a message did not arrive.
    pub(super) fn begin_notice(
        &mut self,
        id: u64,
        reminder: Reminder,
        reason: BounceReason,
        now: Now,
    ) {
        self.notices.sending.insert(id, Sending { reminder, reason, tries: 0 });
        metrics::counter!("gateway_notices_total").increment(1);
        self.send_notice(id, now);
    }

    /// Sends the notices again that were not answered.
    pub(super) fn handle_notice_retries(&mut self, now: Now) {
        for id in self.notices.retries.take_due(now.instant) {
            self.send_notice(id, now);
        }
    }

    fn send_notice(&mut self, id: u64, now: Now) {
        match self.build_notice(id) {
            Some(request) => self.send_request(request, RequestPurpose::Notice(id), now),
            None => self.finish_notice(id, now),
        }
    }

    /// Writes the notice; it is the same whenever it is sent.
    fn build_notice(&self, id: u64) -> Option<OutgoingRequest> {
        let Sending { reminder, reason, .. } = self.notices.sending.get(&id)?;
        let uri = x2s_address(&reminder.sender).ok()?;
        let from = x2s_address(&reminder.recipient).ok()?;
        let number = id.to_string();
        let domain = reminder.recipient.domain().to_ascii();
        let call_id = format!("{}@{domain}", self.derive_word(&["notice", &number]));
        let mut request = OutgoingRequest::new(RequestParts {
            method: Method::Message,
            uri: &uri,
            from: &NameAddr::new(from).with_tag(&self.derive_word(&["notice-tag", &number])),
            to: &NameAddr::new(uri.clone()),
            call_id: &CallId::parse(&call_id).ok()?,
            sequence_number: 1,
        });
        notice::mark(&mut request);
        notice::set_text(&mut request, &reminder.text(reason));
        Some(request)
    }

    /// Takes what came of a notice.
    pub(super) fn notice_answered(&mut self, id: u64, answer: Option<FinalResponse<'_>>, now: Now) {
        let Some(sending) = self.notices.sending.get_mut(&id) else { return };
        let is_final = answer.is_some_and(|it| it.status != StatusCode::SERVICE_UNAVAILABLE);
        sending.tries += 1;
        if !is_final && sending.tries < TRIES_MAX {
            let wait = SEND_AGAIN_FIRST * 2u32.saturating_pow(sending.tries - 1);
            let asked = answer.and_then(|it| it.headers.typed::<RetryAfter>().ok().flatten());
            let asked = asked.map(|RetryAfter(seconds)| Duration::from_secs(seconds.into()));
            let wait = asked.unwrap_or_default().max(wait).min(SEND_AGAIN_LAST);
            return self.notices.retries.set(&id, Some(now.instant + wait));
        }
        if !answer.is_some_and(|it| it.status.is_success()) {
            let status = answer.map_or(0, |it| it.status.code());
            tracing::warn!(status, "a sender could not be told of a failure");
        }
        self.finish_notice(id, now);
    }

    /// The message has its outcome, whatever became of the notice.
    fn finish_notice(&mut self, id: u64, now: Now) {
        if let Some(sending) = self.notices.sending.remove(&id) {
            self.settle_message(id, Outcome::Bounced(sending.reason), now);
        }
    }
}
