//! Pager-mode messages from XMPP users to SIP users: accepted, sent one by one, settled.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use sip_proto::StatusCode;
use sip_proto::header::{CallId, Contact, NameAddr, RetryAfter, TypedHeader};
use sip_proto::message::{FinalResponse, OutgoingRequest};
use xmpp_proto::jid::{Domain, Jid};
use xmpp_proto::stanza::Stanza;
use xmpp_proto::stanza::error::{StanzaCondition, StanzaError};
use xmpp_proto::xml::{Element, parse_document, write_document};

use super::outcomes::written_limits;
use super::stanzas::{Arrived, Verdict, refused};
use super::{Gateway, RequestPurpose, Step, words};
use crate::clock::Now;
use crate::facts::Facts;
use crate::journal::Standing;
use crate::links::EdgeId;
use crate::policy::Subject;
use crate::store::record::{Direction, JournalRecord, Outcome};
use crate::translate::error::s2x_error;
use crate::translate::message::{Identifiers, Text, request_bytes, x2s_message, x2s_text};

/// A request whose answer is unknown is repeated for so long.
const UNKNOWN_MAX: Duration = Duration::from_secs(60);

/// The wait before a request whose answer is unknown is repeated.
const REPEAT_WAIT: Duration = Duration::from_secs(2);

/// CSeq numbers are below 2**31 (RFC 3261 s.8.1.1.5).
const SEQUENCE_MODULUS: u64 = 1 << 31;

/// Sender and recipient, bare.
pub(super) type Key = (Jid, Jid);

/// Messages of XMPP users that have no outcome, by conversation; one of each is under way.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    accepting: HashMap<u64, Accepting>,
    queues: HashMap<Key, VecDeque<Item>>,
    keys: HashMap<u64, Key>,
    retries: BTreeMap<Instant, Vec<u64>>,
    open: BTreeMap<Domain, usize>,
}

/// A message whose commit is not answered, and the envelopes that wait for it.
#[derive(Debug)]
struct Accepting {
    item: Item,
    envelopes: Vec<(EdgeId, u64)>,
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    id: u64,
    from: Jid,
    to: Jid,
    text: Text,
    /// Built when the message was accepted; it is built again when it is sent again.
    request: Option<Box<OutgoingRequest>>,
    first_sent: Option<Instant>,
}

impl Item {
    pub(super) fn key(&self) -> Key {
        (self.from.bare(), self.to.bare())
    }
}

impl Conversations {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.retries.keys().next().copied()
    }

    fn count(&mut self, partner: &Domain) -> &mut usize {
        self.open.entry(partner.clone()).or_default()
    }

    /// Takes out the message that is under way; it has its outcome or goes back.
    pub(super) fn take(&mut self, id: u64) -> Option<Item> {
        let key = self.keys.remove(&id)?;
        let queue = self.queues.get_mut(&key)?;
        let item = queue.pop_front()?;
        if queue.is_empty() {
            self.queues.remove(&key);
        }
        let count = self.count(item.from.domain());
        *count = count.saturating_sub(1);
        Some(item)
    }
}

impl Gateway {
    pub(super) fn handle_message(
        &mut self,
        arrived: &Arrived<'_>,
        facts: Facts<'_>,
        now: Now,
    ) -> Verdict {
        match arrived.element.attribute("type") {
            Some("error") => return self.handle_error_stanza(arrived, now),
            // RFC 6121 s.8.5.2.1.1: a room's message is not for a user.
            Some("groupchat") => {
                return refused(StanzaCondition::ServiceUnavailable, "not a room");
            }
            // RFC 6121 s.5.2.2: an unknown type is that of a normal message.
            _ => {}
        }
        let Some(text) = x2s_text(arrived.element, arrived.stream_language()) else {
            return Verdict::Done;
        };
        if arrived.to.localpart().is_none() {
            return refused(StanzaCondition::ServiceUnavailable, "the domain reads no messages");
        }
        if let Err(error) = self.permit(arrived, Subject::Message, facts) {
            return Verdict::Refused(error);
        }
        let next_hop = facts.policy.next_hop(arrived.to.domain());
        let safe_max = self.settings.pager_bytes_max;
        let bytes_max = next_hop.map_or(safe_max, |it| it.message_bytes_max(safe_max));
        let Ok(origin) = <[u8; 16]>::try_from(&arrived.envelope.id[..]) else {
            return refused(StanzaCondition::BadRequest, "an envelope without an id");
        };
        match self.journal.standing(&origin) {
            Standing::Settled(..) => Verdict::Done,
            Standing::Open(id) => self.handle_repetition(id, arrived),
            Standing::Unknown => self.accept_x2s(arrived, text, bytes_max, origin, now),
        }
    }

    /// An envelope that was offered again: it is settled when the first one would have been.
    fn handle_repetition(&mut self, id: u64, arrived: &Arrived<'_>) -> Verdict {
        match self.conversations.accepting.get_mut(&id) {
            Some(accepting) => {
                accepting.envelopes.push((arrived.edge, arrived.envelope.sequence));
                Verdict::Later
            }
            None => Verdict::Done,
        }
    }

    fn accept_x2s(
        &mut self,
        arrived: &Arrived<'_>,
        text: Text,
        bytes_max: usize,
        origin: [u8; 16],
        now: Now,
    ) -> Verdict {
        let (from, to) = (arrived.from.clone(), arrived.to.clone());
        if *self.conversations.count(from.domain()) >= self.settings.open_per_partner_max {
            return refused(StanzaCondition::ResourceConstraint, "too many messages wait");
        }
        let id = self.journal.next_id();
        let mut item = Item { id, from, to, text, request: None, first_sent: None };
        match self.build(&item) {
            Ok(request) => {
                // A thread that is no Call-ID is kept like what is sent.
                let thread_bytes = item.text.thread.as_ref().map_or(0, String::len);
                let bytes = request_bytes(&request, item.text.body.len() + thread_bytes);
                if bytes > bytes_max {
                    let text = format!(
                        "the message is too large: {bytes} bytes, and at most {bytes_max} are sent"
                    );
                    return refused(StanzaCondition::PolicyViolation, &text);
                }
                item.request = Some(Box::new(request));
            }
            Err(error) => return Verdict::Refused(error),
        }
        let record = JournalRecord {
            id: 0,
            direction: Direction::X2s,
            origin,
            correlation_id: arrived.envelope.correlation_id.clone(),
            accepted_ms: now.unix_ms,
            stanza: write_document(&with_language(arrived)),
            bounce: None,
        };
        let (id, write) = self.journal.accept(record);
        let envelopes = vec![(arrived.edge, arrived.envelope.sequence)];
        *self.conversations.count(item.from.domain()) += 1;
        self.conversations.accepting.insert(id, Accepting { item, envelopes });
        self.commits.write_then(write, Step::AcceptedX2s(id), Step::NotAccepted(id));
        Verdict::Later
    }

    /// The message is in the journal: its sender's server is told, and it takes its turn.
    pub(super) fn accepted_x2s(&mut self, id: u64, now: Now) {
        let Some(accepting) = self.conversations.accepting.remove(&id) else { return };
        for (edge, sequence) in accepting.envelopes {
            self.links.settle(edge, sequence, Ok(()));
        }
        self.enqueue(accepting.item, now);
    }

    /// The message is not in the journal, and never was ours.
    pub(super) fn not_accepted(&mut self, id: u64) {
        self.journal.disown(id);
        metrics::counter!("gateway_journal_failures_total").increment(1);
        let Some(accepting) = self.conversations.accepting.remove(&id) else {
            return self.answer_not_accepted(id);
        };
        let count = self.conversations.count(accepting.item.from.domain());
        *count = count.saturating_sub(1);
        let error = StanzaError::new(StanzaCondition::ResourceConstraint)
            .with_text("the message could not be stored");
        for (edge, sequence) in accepting.envelopes {
            self.links.settle(edge, sequence, Err(super::stanzas::bounced(&error)));
        }
    }

    fn enqueue(&mut self, item: Item, now: Now) {
        let (id, key) = (item.id, item.key());
        self.conversations.keys.insert(id, key.clone());
        let queue = self.conversations.queues.entry(key.clone()).or_default();
        queue.push_back(item);
        if queue.len() == 1 {
            self.send_first(&key, now);
        }
    }

    /// Sends the message whose turn it is.
    pub(super) fn send_first(&mut self, key: &Key, now: Now) {
        let queue = self.conversations.queues.get_mut(key);
        let Some(item) = queue.and_then(VecDeque::front_mut) else { return };
        item.first_sent.get_or_insert(now.instant);
        let id = item.id;
        let request = match item.request.take() {
            Some(request) => Ok(*request),
            None => {
                let item = item.clone();
                self.build(&item)
            }
        };
        match request {
            Ok(request) => self.send_request(request, RequestPurpose::Message(id), now),
            Err(error) => self.return_message(id, error, now),
        }
    }

    fn build(&mut self, item: &Item) -> Result<OutgoingRequest, StanzaError> {
        let users = [item.from.bare(), item.to.bare()];
        let [from, to] = [&users[0], &users[1]].map(Jid::as_str);
        let thread = item.text.thread.as_deref().unwrap_or_default();
        let [derived, from_tag] = words(self.derive(&["thread", from, to, thread]));
        let derived = format!("{derived}@{}", item.from.domain().to_ascii());
        let call_id = self.threads.call_id(&users, thread, derived);
        let malformed = || StanzaError::new(StanzaCondition::JidMalformed);
        let call_id = CallId::parse(&call_id).map_err(|_| malformed())?;
        let identifiers = Identifiers {
            call_id: &call_id,
            from_tag: &from_tag,
            // Rises within every thread, and is the same when the message is sent again.
            sequence_number: u32::try_from(item.id % SEQUENCE_MODULUS).unwrap_or_default(),
        };
        x2s_message(&item.from, &item.to, &item.text, identifiers)
            .map_err(|error| malformed().with_text(error.to_string()))
    }

    /// Takes the answer to a message.
    pub(super) fn message_answered(
        &mut self,
        id: u64,
        answer: Option<FinalResponse<'_>>,
        now: Now,
    ) {
        match answer {
            Some(response) if response.status.is_success() => {
                self.settle_message(id, Outcome::Delivered, now);
                if let Some(item) = self.conversations.take(id) {
                    self.send_first(&item.key(), now);
                }
            }
            Some(response) => {
                let contact = response.headers.typed::<Contact>().ok().flatten();
                let contact = contact.as_ref().and_then(Contact::only_address).map(NameAddr::uri);
                let error = s2x_error(response.status, response.reason_phrase, contact);
                if response.status != StatusCode::SERVICE_UNAVAILABLE {
                    return self.return_message(id, error, now);
                }
                // RFC 3261 s.21.5.4: it cannot be processed now, and may be later.
                let asked = response.headers.typed::<RetryAfter>().ok().flatten();
                let asked = asked.map(|RetryAfter(seconds)| Duration::from_secs(seconds.into()));
                let wait = asked.unwrap_or_default().max(REPEAT_WAIT);
                self.repeat_or_give_up(id, wait, error, now);
            }
            None => {
                let error = StanzaError::new(StanzaCondition::RemoteServerTimeout)
                    .with_text("no answer: the message may or may not have arrived");
                self.repeat_or_give_up(id, REPEAT_WAIT, error, now);
            }
        }
    }

    fn repeat_or_give_up(&mut self, id: u64, wait: Duration, error: StanzaError, now: Now) {
        let key = self.conversations.keys.get(&id);
        let item = key.and_then(|key| self.conversations.queues.get(key)?.front());
        let since = item.and_then(|item| item.first_sent).unwrap_or(now.instant);
        if now.instant + wait <= since + UNKNOWN_MAX {
            let retries = self.conversations.retries.entry(now.instant + wait);
            return retries.or_default().push(id);
        }
        self.return_message(id, error, now);
    }

    /// Sends again what was not answered.
    pub(super) fn handle_retries(&mut self, now: Now) {
        while let Some(entry) = self.conversations.retries.first_entry() {
            if *entry.key() > now.instant {
                return;
            }
            for id in entry.remove() {
                if let Some(key) = self.conversations.keys.get(&id).cloned() {
                    self.send_first(&key, now);
                }
            }
        }
    }

    /// Goes on with a message that the process before this one had accepted.
    pub(super) fn resume_message(&mut self, record: &JournalRecord, now: Now) {
        match (record.direction, &record.bounce) {
            (Direction::X2s | Direction::S2x, Some(_)) => self.send_bounce(record.id, now),
            (Direction::S2x, None) => self.send_message(record.id, now),
            (Direction::X2s, None) => match read_item(record) {
                Some(item) => {
                    *self.conversations.count(item.from.domain()) += 1;
                    self.enqueue(item, now);
                }
                None => {
                    let error = StanzaError::new(StanzaCondition::InternalServerError)
                        .with_text("the stored message cannot be read");
                    self.return_message(record.id, error, now);
                }
            },
        }
    }
}

/// Returns the stanza with the language of its stream where it has none of its own.
fn with_language<'a>(arrived: &Arrived<'a>) -> Cow<'a, Element> {
    match arrived.stream_language() {
        Some(language) if arrived.element.lang().is_none() => {
            Cow::Owned(arrived.element.clone().with_lang(language))
        }
        _ => Cow::Borrowed(arrived.element),
    }
}

fn read_item(record: &JournalRecord) -> Option<Item> {
    let element = parse_document(&record.stanza, &written_limits()).ok()?;
    let stanza = Stanza::of(&element)?;
    let (from, to) = (stanza.from().ok()??, stanza.to().ok()??);
    let text = x2s_text(&element, None)?;
    Some(Item { id: record.id, from, to, text, request: None, first_sent: None })
}
