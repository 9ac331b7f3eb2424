//! The gateway between XMPP partners and SIP users: policy, translation, journal, subscriptions.
//! Without IO, clock or randomness of its own.
//!
//! | comes in | by | goes to |
//! |---|---|---|
//! | a stanza from a partner | [`Gateway::handle_frame`], `stanzas` | `pager_x2s`, `x2s_presence`, `s2x_presence`, `iq` |
//! | a request from the inside | [`Gateway::handle_request`], `requests` | `pager_s2x`, `s2x_presence`, `x2s_presence` |
//! | the outcome of what was sent | `handle_settled`, `handle_answer` | whoever sent it |
//! | the outcome of a commit | [`Gateway::handle_commit`] | the `Step` that waits for it |

mod counters;
mod disco;
mod iq;
mod notices;
mod outcomes;
mod pager_s2x;
mod pager_x2s;
mod partners;
mod purposes;
mod requests;
mod s2x_announcements;
mod s2x_answers;
mod s2x_failures;
mod s2x_presence;
mod s2x_watches;
mod settings;
mod stanzas;
mod threads;
mod watch;
mod x2s_debts;
mod x2s_presence;
mod x2s_subscriptions;
mod x2s_watches;

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use link::wire::{Admission, Bounced, FromEdge, FromFrontend, Hello};
use sha2::{Digest, Sha256};
use sip_proto::IdSource;
use sip_proto::message::{FinalResponse, OutgoingRequest, OutgoingResponse, Request};
use sip_proto::usage::subscription::RequestFailure;
use xmpp_proto::jid::Jid;
use xmpp_proto::stream::DomainPair;
use xmpp_proto::xml::{Element, write_document};

pub use settings::GatewaySettings;

use crate::clock::Now;
use crate::commit::Commits;
use crate::edges::{AddressState, EdgeAddress, Edges};
use crate::exchange::{ExchangeId, Exchanges};
use crate::facts::Facts;
use crate::journal::Journal;
use crate::links::{EdgeId, LinkEvent, LinkViolation, Links, Outbound};
use crate::store::{Loaded, Write};
use counters::Counters;
use disco::Capabilities;
use notices::Notices;
use pager_x2s::Conversations;
use purposes::{Purpose, RequestPurpose, Step};
use s2x_answers::Answers;
use s2x_watches::S2xSubscriptions;
use threads::Threads;
use x2s_debts::Debts;
use x2s_watches::X2sSubscriptions;

/// The resource of the gateway itself in a Contact that stands for an XMPP user.
const GRUU: &str = "isthmus";

/// What the owner is to do.
#[derive(Debug)]
pub enum GatewayEffect {
    /// A request goes to the inside; answer with [`Gateway::handle_response`].
    Ask(ExchangeId, Request),
    /// A request of the inside has its final response.
    Answer(ExchangeId, OutgoingResponse),
    /// A local user has added a contact to its list.
    Added(Jid, Jid),
}

/// The gateway.
pub struct Gateway {
    settings: GatewaySettings,
    secret: [u8; 32],
    ids: IdSource,
    links: Links<Purpose>,
    edges: Edges,
    journal: Journal,
    commits: Commits<Step>,
    conversations: Conversations,
    answers: Answers,
    notices: Notices,
    threads: Threads,
    x2s: X2sSubscriptions,
    debts: Debts,
    s2x: S2xSubscriptions,
    exchanges: Exchanges<RequestPurpose>,
    counters: Counters,
    capabilities: Capabilities,
    /// When this process took up its work.
    started: Instant,
    effects: VecDeque<GatewayEffect>,
}

impl Gateway {
    /// Restores the gateway from what the store holds. `seed` is random and used only once.
    pub fn restore(
        loaded: &mut Loaded,
        settings: GatewaySettings,
        hello: Hello,
        seed: [u8; 32],
        now: Now,
    ) -> Self {
        let (open, settled) =
            (std::mem::take(&mut loaded.open), std::mem::take(&mut loaded.settled));
        let journal = Journal::restore(loaded.journal_last, open, settled);
        let authorisations = std::mem::take(&mut loaded.authorisations);
        let mut gateway = Self {
            settings,
            secret: Sha256::digest(&loaded.installation_secret).into(),
            links: Links::new(hello),
            edges: Edges::default(),
            journal,
            commits: Commits::default(),
            conversations: Conversations::default(),
            answers: Answers::default(),
            notices: Notices::default(),
            threads: Threads::default(),
            x2s: X2sSubscriptions::restore(&authorisations, now),
            debts: Debts::default(),
            s2x: S2xSubscriptions::restore(&authorisations, &loaded.dialogs, now),
            exchanges: Exchanges::default(),
            counters: Counters::default(),
            capabilities: Capabilities::new(),
            started: now.instant,
            effects: VecDeque::new(),
            ids: IdSource::new(seed),
        };
        gateway.resume(now);
        gateway
    }

    /// Goes on with the messages that have no outcome.
    fn resume(&mut self, now: Now) {
        let open: Vec<_> = self.journal.all_open().cloned().collect();
        for record in open {
            self.resume_message(&record, now);
        }
        self.drain(now);
    }

    /// Takes an attachment to an edge.
    pub fn handle_attached(&mut self, edge: EdgeId, name: String, now: Now) {
        self.edges.attach(edge, name.clone(), now);
        self.links.attach(edge, name);
        self.debts.call_in(|_| true, now.instant);
        self.s2x.call_in_lost(now.instant);
        self.drain(now);
    }

    /// Takes the loss of an attachment, of which we know the reason if we ended it.
    pub fn handle_detached(&mut self, edge: EdgeId, reason: Option<String>, now: Now) {
        self.edges.detach(edge, reason, now);
        self.links.detach(edge, now.instant);
        self.drain(now);
    }

    /// Takes what the resolver said of the name of edges: nothing, or why it said nothing.
    pub fn handle_edge_name(&mut self, name: String, failure: Option<String>) {
        self.edges.handle_name(name, failure);
    }

    /// Takes what became of an address of an edge.
    pub fn handle_edge_address(&mut self, address: EdgeAddress, state: AddressState, now: Now) {
        self.edges.handle_address(address, state, now);
    }

    /// Shows every edge with its streams, for an administrator.
    pub fn describe_edges(&self, now: Now) -> String {
        self.edges.describe(now)
    }

    /// Takes a frame of an edge.
    ///
    /// # Errors
    /// Fails when the edge breaks the rules of the link; the owner then ends the link.
    pub fn handle_frame(
        &mut self,
        edge: EdgeId,
        frame: FromEdge,
        facts: Facts<'_>,
        now: Now,
    ) -> Result<(), LinkViolation> {
        let mut events = Vec::new();
        let credit_max = |pair: &DomainPair| facts.stanzas_max(pair);
        let result = self.links.handle_frame(edge, frame, credit_max, now.instant, &mut events);
        for event in events {
            match event {
                LinkEvent::Envelope { edge, envelope } => {
                    self.handle_envelope(edge, &envelope, facts, now);
                }
                LinkEvent::Settled { purpose, outcome } => {
                    self.handle_settled(purpose, outcome, now);
                }
                LinkEvent::Introduced { edge, instance } => self.edges.introduce(edge, instance),
                LinkEvent::Report { edge, report } => {
                    self.handle_report(edge, &report, facts, now);
                }
                LinkEvent::Attempt { edge, attempt } => {
                    self.handle_attempt(edge, attempt, facts, now);
                }
                LinkEvent::UnknownCredit { edge } => {
                    self.distrust(
                        edge,
                        "credit for domains that the policy does not name",
                        "",
                        now,
                    );
                }
            }
        }
        self.drain(now);
        result
    }

    /// Takes a request of the inside, which is answered once by [`GatewayEffect::Answer`].
    pub fn handle_request(
        &mut self,
        id: ExchangeId,
        request: &Request,
        facts: Facts<'_>,
        now: Now,
    ) {
        self.take_request(id, request, facts, now);
        self.drain(now);
    }

    /// Takes the final response to a request of the gateway.
    pub fn handle_response(&mut self, id: ExchangeId, response: FinalResponse<'_>, now: Now) {
        if let Some(purpose) = self.exchanges.end(id) {
            self.handle_answer(purpose, Some(response), now);
        }
        self.drain(now);
    }

    /// Takes that a request of the gateway has no answer: it is unknown whether it arrived.
    pub fn handle_unanswered(&mut self, id: ExchangeId, now: Now) {
        if let Some(purpose) = self.exchanges.end(id) {
            self.handle_answer(purpose, None, now);
        }
        self.drain(now);
    }

    /// Refreshes the subscriptions to users whose server may have forgotten them.
    pub fn handle_restarted(&mut self, serves: impl Fn(&Jid) -> bool, now: Now) {
        self.x2s.refresh_soon(serves, now.instant);
        self.drain(now);
    }

    /// Takes the outcome of a commit; the writes come back when it failed.
    pub fn handle_commit(&mut self, id: u64, result: Result<(), Vec<Write>>, now: Now) {
        let steps = match result {
            Ok(()) => self.commits.succeed(id),
            Err(writes) => self.commits.fail(id, writes, now.instant),
        };
        for step in steps {
            self.handle_step(step, now);
        }
        self.drain(now);
    }

    /// Pushes what the edges may admit.
    pub fn push_admission(&mut self, admission: Admission) {
        self.links.push_admission(admission);
    }

    /// Adds a write of the owner to the next commit.
    pub fn write(&mut self, write: Write) {
        self.commits.write(write);
    }

    /// Tells watchers anew who could not be reached before.
    pub fn handle_reachable(&mut self, is_one: impl Fn(&Jid) -> bool, now: Now) {
        self.s2x.renew(is_one);
        self.drain(now);
    }

    /// Forgets a local user.
    pub fn remove_user(&mut self, user: &Jid, now: Now) {
        self.remove_watcher(user, now);
        self.drain(now);
    }

    /// Does what the time asks for.
    pub fn handle_timeout(&mut self, facts: Facts<'_>, now: Now) {
        while let Some(purpose) = self.exchanges.take_expired(now.instant) {
            self.handle_answer(purpose, None, now);
        }
        self.commits.handle_timeout(now.instant);
        self.return_expired(now);
        self.handle_answer_timeouts(now);
        self.handle_retries(now);
        self.handle_notice_retries(now);
        self.handle_x2s_timeout(facts, now);
        self.handle_debts(facts, now);
        self.handle_s2x_timeout(now);
        self.drain(now);
    }

    /// Sends back what has waited too long for an edge, or at one.
    fn return_expired(&mut self, now: Now) {
        for expired in self.links.take_expired(now.instant) {
            let cause = match (expired.held_by, self.links.attached()) {
                (Some(edge), _) => {
                    self.distrust(edge, "nothing about a stanza for too long", "", now);
                    "no answer: the message may or may not have arrived"
                }
                (None, 0) => "no edge is attached",
                (None, _) => "the partner takes nothing at present",
            };
            let bounced = Bounced {
                condition: "remote-server-timeout".into(),
                text: cause.into(),
                possibly_delivered: expired.held_by.is_some(),
            };
            self.handle_settled(expired.purpose, Err(bounced), now);
        }
    }

    /// Returns when [`Gateway::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let all = [
            self.exchanges.poll_timeout(),
            self.commits.poll_timeout(),
            self.links.poll_timeout(),
            self.answers.poll_timeout(),
            self.notices.poll_timeout(),
            self.conversations.poll_timeout(),
            self.x2s.deadlines.next(),
            self.debts.poll_timeout(),
            self.s2x.poll_timeout(),
        ];
        all.into_iter().flatten().min()
    }

    /// Returns the next effect.
    pub fn poll_effect(&mut self) -> Option<GatewayEffect> {
        self.effects.pop_front()
    }

    /// Returns the next frame for an edge.
    pub fn poll_frame(&mut self) -> Option<(EdgeId, FromFrontend)> {
        self.links.poll_frame()
    }

    /// Returns the commit of this round.
    pub fn poll_commit(&mut self) -> Option<(u64, Vec<Write>)> {
        self.commits.take()
    }

    /// Returns how many edges are attached.
    pub fn edges_attached(&self) -> usize {
        self.links.attached()
    }

    /// Returns how many messages have no outcome.
    pub fn open_messages(&self) -> usize {
        self.journal.open_count()
    }

    fn handle_step(&mut self, step: Step, now: Now) {
        match step {
            Step::AcceptedX2s(id) => self.accepted_x2s(id, now),
            Step::AcceptedS2x(id) => self.accepted_s2x(id, now),
            Step::NotAccepted(id) => self.not_accepted(id),
            Step::SendBounce(id) => self.send_bounce(id, now),
            Step::Settle(edge, sequence) => self.links.settle(edge, sequence, Ok(())),
        }
    }

    /// Takes the outcome of a stanza that we sent.
    fn handle_settled(&mut self, purpose: Purpose, outcome: Result<(), Bounced>, now: Now) {
        match purpose {
            Purpose::Message(id) => self.message_settled(id, outcome, now),
            // A bounce is never bounced: the message has its outcome either way.
            Purpose::Bounce(id) => self.bounce_settled(id, &outcome, now),
            Purpose::Subscribe(watch) => self.subscribe_settled(&watch, &outcome, now),
            Purpose::Probe(watch) => self.probe_settled(&watch, &outcome, now),
            Purpose::Told(watch, told) => self.told_settled(&watch, told, outcome.is_ok(), now),
            Purpose::State => {}
        }
    }

    /// Sends a stanza to a partner.
    fn send_stanza(
        &mut self,
        stanza: &Element,
        pair: DomainPair,
        id: [u8; 16],
        correlation_id: String,
        purpose: Purpose,
        now: Now,
    ) {
        self.send_document(write_document(stanza), pair, id, correlation_id, purpose, now);
    }

    /// Sends a stanza to a partner that was written before.
    fn send_document(
        &mut self,
        stanza: Bytes,
        pair: DomainPair,
        id: [u8; 16],
        correlation_id: String,
        purpose: Purpose,
        now: Now,
    ) {
        let is_awaited = matches!(purpose, Purpose::Message(_) | Purpose::Bounce(_));
        let outbound = Outbound { id, pair, stanza, correlation_id, is_awaited, purpose };
        if let Err(refused) = self.links.send(outbound, now.instant) {
            tracing::error!("too many stanzas wait for an edge");
            let bounced = Bounced {
                condition: "resource-constraint".into(),
                text: "too many messages wait".into(),
                possibly_delivered: false,
            };
            self.handle_settled(refused.purpose, Err(bounced), now);
        }
    }

    /// Sends a stanza that only says what is.
    fn send_state(&mut self, stanza: &Element, from: &Jid, to: &Jid, purpose: Purpose, now: Now) {
        let pair = DomainPair { local: from.domain().clone(), remote: to.domain().clone() };
        let id = self.draw_id();
        let correlation_id = self.correlation_id();
        self.send_stanza(stanza, pair, id, correlation_id, purpose, now);
    }

    fn send_request(&mut self, request: OutgoingRequest, purpose: RequestPurpose, now: Now) {
        let sent_by = &self.settings.sent_by;
        match self.exchanges.begin_with(request, sent_by, purpose, now.instant) {
            Ok((id, request)) => self.effects.push_back(GatewayEffect::Ask(id, request)),
            Err(purpose) => self.handle_answer(purpose, None, now),
        }
    }

    fn respond(&mut self, id: ExchangeId, response: OutgoingResponse) {
        self.effects.push_back(GatewayEffect::Answer(id, response));
    }

    fn drain(&mut self, now: Now) {
        self.send_notifies(now);
        self.send_subscribes(now);
    }

    /// Takes what came of a request that we sent: its final response, or none.
    fn handle_answer(
        &mut self,
        purpose: RequestPurpose,
        answer: Option<FinalResponse<'_>>,
        now: Now,
    ) {
        match (purpose, answer) {
            (RequestPurpose::Message(id), answer) => self.message_answered(id, answer, now),
            (RequestPurpose::Subscribe(watch, id), Some(response)) => {
                self.subscribe_answered(&watch, id, response, now);
            }
            (RequestPurpose::Subscribe(watch, id), None) => {
                self.subscribe_failed(&watch, id, RequestFailure::Timeout, now);
            }
            (RequestPurpose::Notify(dialog), answer) => self.notify_answered(&dialog, answer),
            (RequestPurpose::Notice(id), answer) => self.notice_answered(id, answer, now),
        }
    }

    /// Draws an id for a stanza that no other stanza has.
    fn draw_id(&mut self) -> [u8; 16] {
        let text = self.ids.tag();
        self.derive(&["drawn", &text])
    }

    fn correlation_id(&mut self) -> String {
        self.ids.tag()
    }

    /// Derives 16 bytes from our secret: the same for the same parts after a restart, and not to
    /// be guessed.
    fn derive(&self, parts: &[&str]) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut derived = [0; 16];
        derived.copy_from_slice(&digest[..16]);
        derived
    }

    /// Derives a word of 16 hexadecimal digits likewise.
    fn derive_word(&self, parts: &[&str]) -> String {
        let [word, _] = words(self.derive(parts));
        word
    }
}

/// Returns two words of 16 hexadecimal digits each.
fn words(derived: [u8; 16]) -> [String; 2] {
    let number = u128::from_be_bytes(derived);
    [(number >> 64) as u64, number as u64].map(|half| format!("{half:016x}"))
}

#[cfg(test)]
mod tests;
