//! The gateway alone: the test is the edge, the inside, the store and the clock.

mod iq;
mod loops;
mod messages_s2x;
mod messages_x2s;
mod pairs;
mod presence_s2x;
mod presence_x2s;
mod privacy;
mod refusals;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use link::wire::{
    Accepted, Bounced, Envelope, FromEdge, Hello, Settlement, StreamFacts, StreamReport,
    settlement, stream_report,
};
use sip_proto::header::SentBy;
use sip_proto::message::{Message, Request, Response};
use sip_proto::uri::Host;
use xmpp_proto::limits::Limits;
use xmpp_proto::xml::{Element, parse_document, write_document};

use super::{Gateway, GatewayEffect, GatewaySettings};
use crate::contacts::Contacts;
use crate::exchange::ExchangeId;
use crate::facts::Facts;
use crate::links::EdgeId;
use crate::policy::Policy;
use crate::store::{Loaded, Write};
use crate::testing::{self, Clock, Ledger, Timed, jid};

const A: EdgeId = EdgeId(1);
const B: EdgeId = EdgeId(2);

/// What the store does with commits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Store {
    Confirms,
    Holds,
    Fails,
}

/// A stanza that went to an edge.
#[derive(Clone, Debug)]
struct Sent {
    edge: EdgeId,
    envelope: Envelope,
    element: Element,
}

impl Sent {
    fn attribute(&self, name: &str) -> &str {
        self.element.attribute(name).unwrap_or_default()
    }

    fn text(&self, child: &str) -> String {
        let child = self.element.children().find(|it| it.local() == child);
        child.map(|it| it.text().into_owned()).unwrap_or_default()
    }

    /// Says kind, type and addresses in one line.
    fn summary(&self) -> String {
        let (kind, from, to) =
            (self.attribute("type"), self.attribute("from"), self.attribute("to"));
        format!("{} {kind} {from} > {to}", self.element.local())
    }

    /// Returns the defined condition of the error that it carries.
    fn condition(&self) -> &str {
        let error = self.element.children().find(|it| it.local() == "error");
        error.and_then(|error| error.children().next()).map_or("", |it| it.local())
    }
}

/// How the gateway settled an envelope of ours.
type Settled = (EdgeId, u64, Result<(), Bounced>);

struct Stage {
    gateway: Gateway,
    policy: Policy,
    contacts: Contacts,
    clock: Clock,
    store: Store,
    ledger: Ledger,
    commits: VecDeque<(u64, Vec<Write>)>,
    /// The last number of an envelope of each edge.
    sequences: BTreeMap<EdgeId, u64>,
    serial: u64,
    stanzas: Vec<Sent>,
    requests: Vec<Request>,
    responses: Vec<Response>,
    /// Requests and responses in the order in which they went out.
    inside: Vec<Message>,
    settled: Vec<Settled>,
    last_exchange: u64,
    /// Requests of the inside that wait for their answers.
    unanswered: BTreeSet<ExchangeId>,
    /// The exchanges of the gateway's requests, by their branches.
    asked: BTreeMap<String, ExchangeId>,
    added: Vec<(String, String)>,
    barriers: Vec<(EdgeId, String)>,
    lives: u8,
}

impl Timed for Stage {
    fn clock(&mut self) -> &mut Clock {
        &mut self.clock
    }

    fn due(&self) -> Option<Instant> {
        self.gateway.poll_timeout()
    }

    fn wake(&mut self) {
        let facts = Facts { policy: &self.policy, contacts: &self.contacts };
        self.gateway.handle_timeout(facts, self.clock.now);
        self.collect();
    }
}

impl Stage {
    /// Begins with an edge attached and a store that confirms everything at once.
    fn new() -> Self {
        let mut stage = Self::without_edge();
        stage.attach(A, "edge-a");
        stage
    }

    fn without_edge() -> Self {
        let clock = Clock::new();
        let mut loaded =
            Loaded { installation_secret: b"installation".to_vec(), ..Loaded::default() };
        Self {
            gateway: restored(&mut loaded, clock, 0),
            policy: testing::policy(testing::POLICY),
            contacts: Contacts::default(),
            clock,
            store: Store::Confirms,
            ledger: Ledger::default(),
            commits: VecDeque::new(),
            sequences: BTreeMap::new(),
            serial: 0,
            stanzas: Vec::new(),
            requests: Vec::new(),
            responses: Vec::new(),
            inside: Vec::new(),
            settled: Vec::new(),
            last_exchange: 0,
            unanswered: BTreeSet::new(),
            asked: BTreeMap::new(),
            added: Vec::new(),
            barriers: Vec::new(),
            lives: 0,
        }
    }

    /// Kills the process and starts it anew from what is on the disk.
    fn restart(&mut self) {
        self.lives += 1;
        self.commits.clear();
        self.sequences.clear();
        self.forget();
        let mut loaded = self.ledger.load(self.clock.now);
        self.gateway = restored(&mut loaded, self.clock, self.lives);
        self.collect();
        self.attach(A, "edge-a");
    }

    /// Forgets what was sent so far.
    fn forget(&mut self) {
        self.stanzas.clear();
        self.requests.clear();
        self.responses.clear();
        self.inside.clear();
        self.settled.clear();
        self.added.clear();
        self.barriers.clear();
    }

    fn attach(&mut self, edge: EdgeId, name: &str) {
        self.gateway.handle_attached(edge, name.into(), self.clock.now);
        self.sequences.insert(edge, 0);
        let instance = Bytes::from_static(b"0123456789abcdef");
        let hello = Some(Hello { version: link::VERSION, name: name.into(), instance });
        self.frame(edge, FromEdge { hello, ..FromEdge::default() });
    }

    fn detach(&mut self, edge: EdgeId) {
        self.gateway.handle_detached(edge, None, self.clock.now);
        self.collect();
    }

    fn frame(&mut self, edge: EdgeId, frame: FromEdge) {
        let facts = Facts { policy: &self.policy, contacts: &self.contacts };
        self.gateway.handle_frame(edge, frame, facts, self.clock.now).unwrap();
        self.collect();
    }

    /// Brings a stanza of a partner; returns its number.
    fn stanza(&mut self, text: &str) -> u64 {
        self.serial += 1;
        let serial = self.serial;
        self.offer(A, text, serial)
    }

    /// Brings a stanza through an edge, in an envelope whose id is `id`.
    fn offer(&mut self, edge: EdgeId, text: &str, id: u64) -> u64 {
        let element = testing::stanza(text);
        let domain = |name| jid(element.attribute(name).unwrap()).domain().as_str().to_owned();
        let sequence = self.sequences[&edge] + 1;
        let mut envelope_id = [0; 16];
        envelope_id[8..].copy_from_slice(&id.to_be_bytes());
        let envelope = Envelope {
            sequence,
            id: Bytes::copy_from_slice(&envelope_id),
            local_domain: domain("to"),
            remote_domain: domain("from"),
            stanza: write_document(&element),
            correlation_id: format!("c{id}"),
            facts: Some(StreamFacts::default()),
        };
        self.envelope(edge, envelope);
        sequence
    }

    fn envelope(&mut self, edge: EdgeId, envelope: Envelope) {
        self.sequences.insert(edge, envelope.sequence);
        self.frame(edge, FromEdge { envelopes: vec![envelope], ..FromEdge::default() });
    }

    /// Returns how an envelope through the first edge was settled, if it was.
    fn outcome(&self, sequence: u64) -> Option<&Result<(), Bounced>> {
        let mut all = self.settled.iter().filter(|it| (it.0, it.1) == (A, sequence));
        let outcome = all.next().map(|(_, _, outcome)| outcome);
        assert!(all.next().is_none(), "an envelope was settled twice");
        outcome
    }

    /// Returns the condition that an envelope was refused with.
    fn refusal(&self, sequence: u64) -> &str {
        match self.outcome(sequence) {
            Some(Err(bounced)) => &bounced.condition,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Settles a stanza that the gateway sent.
    fn settle(&mut self, sent: &Sent, outcome: Result<(), &str>) {
        let outcome = match outcome {
            Ok(()) => settlement::Outcome::Accepted(Accepted {}),
            Err(condition) => settlement::Outcome::Bounced(Bounced {
                condition: condition.into(),
                text: format!("because of {condition}"),
                possibly_delivered: false,
            }),
        };
        let sequence = sent.envelope.sequence;
        let settlements = vec![Settlement { sequence, outcome: Some(outcome) }];
        self.frame(sent.edge, FromEdge { settlements, ..FromEdge::default() });
    }

    fn report(&mut self, remote_domain: &str, state: stream_report::State) {
        let mut report = StreamReport {
            local_domain: "example.net".into(),
            remote_domain: remote_domain.into(),
            ..StreamReport::default()
        };
        report.set_state(state);
        self.frame(A, FromEdge { stream_reports: vec![report], ..FromEdge::default() });
    }

    /// Brings a message of the inside.
    fn sip(&mut self, text: &str) {
        self.serial += 1;
        let bytes = testing::sip(text, self.serial);
        self.bytes(&bytes);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for message in testing::messages(bytes) {
            match message {
                Message::Request(request) => self.ask(&request),
                Message::Response(response) => {
                    let branch = response.via().branch().unwrap().to_owned();
                    let id = self.asked[&branch];
                    self.gateway.handle_response(id, (&*response).into(), self.clock.now);
                }
            }
            self.collect();
        }
    }

    /// Brings a request of the inside as an exchange of its own.
    fn ask(&mut self, request: &Request) {
        self.last_exchange += 1;
        let id = ExchangeId(self.last_exchange);
        self.unanswered.insert(id);
        let facts = Facts { policy: &self.policy, contacts: &self.contacts };
        self.gateway.handle_request(id, request, facts, self.clock.now);
    }

    /// Answers a request that the gateway sent to the inside.
    fn answer(&mut self, request: &Request, code: u16) {
        self.bytes(&testing::answer(request, code, &[]));
    }

    /// Tells that a request that the gateway sent to the inside has no answer.
    fn leave_unanswered(&mut self, request: &Request) {
        let id = self.asked[request.via().branch().unwrap()];
        self.gateway.handle_unanswered(id, self.clock.now);
        self.collect();
    }

    /// Brings the answers of the store to all commits that wait.
    fn answer_commits(&mut self, store: Store) {
        for (id, writes) in std::mem::take(&mut self.commits) {
            self.answer_commit(store, id, writes);
        }
        self.collect();
    }

    fn answer_commit(&mut self, store: Store, id: u64, writes: Vec<Write>) {
        match store {
            Store::Confirms => {
                self.ledger.writes.extend(writes);
                self.gateway.handle_commit(id, Ok(()), self.clock.now);
            }
            Store::Fails => self.gateway.handle_commit(id, Err(writes), self.clock.now),
            Store::Holds => self.commits.push_back((id, writes)),
        }
    }

    /// Takes everything that the gateway wants done.
    fn collect(&mut self) {
        loop {
            while let Some(effect) = self.gateway.poll_effect() {
                match effect {
                    GatewayEffect::Ask(id, request) => {
                        self.asked.insert(request.via().branch().unwrap().to_owned(), id);
                        self.take_inside(&request.to_bytes());
                    }
                    GatewayEffect::Answer(id, response) => {
                        assert!(self.unanswered.remove(&id), "a request was answered twice");
                        self.take_inside(&response.to_bytes());
                    }
                    GatewayEffect::Added(user, contact) => {
                        self.added.push((user.to_string(), contact.to_string()));
                    }
                }
            }
            while let Some((edge, frame)) = self.gateway.poll_frame() {
                for settlement in frame.settlements {
                    let outcome = match settlement.outcome.unwrap() {
                        settlement::Outcome::Accepted(_) => Ok(()),
                        settlement::Outcome::Bounced(bounced) => Err(bounced),
                    };
                    self.settled.push((edge, settlement.sequence, outcome));
                }
                for envelope in frame.envelopes {
                    let limits = Limits::AFTER_AUTHENTICATION.of_written_form();
                    let element = parse_document(&envelope.stanza, &limits).unwrap();
                    self.stanzas.push(Sent { edge, envelope, element });
                }
                let answers = frame.barrier_answers.into_iter();
                self.barriers.extend(answers.map(|it| (edge, it.id)));
            }
            let Some((id, writes)) = self.gateway.poll_commit() else { return };
            self.answer_commit(self.store, id, writes);
        }
    }

    fn take_inside(&mut self, bytes: &[u8]) {
        for message in testing::messages(bytes) {
            self.inside.push(message.clone());
            match message {
                Message::Request(request) => self.requests.push(*request),
                Message::Response(response) => self.responses.push(*response),
            }
        }
    }

    fn take_stanzas(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.stanzas)
    }

    /// Takes the one stanza that was sent since the last look.
    fn only_stanza(&mut self) -> Sent {
        let mut all = self.take_stanzas();
        let found: Vec<String> = all.iter().map(Sent::summary).collect();
        assert_eq!(all.len(), 1, "{found:?}");
        all.remove(0)
    }

    fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// Takes the one request that was sent since the last look.
    fn only_request(&mut self) -> Request {
        let mut all = self.take_requests();
        let found: Vec<String> =
            all.iter().map(|it| format!("{} {}", it.method(), it.uri().to_wire())).collect();
        assert_eq!(all.len(), 1, "{found:?}");
        all.remove(0)
    }

    /// Takes the one answer that was sent since the last look.
    fn only_response(&mut self) -> Response {
        let mut all = std::mem::take(&mut self.responses);
        let found: Vec<String> = all.iter().map(testing::said).collect();
        assert_eq!(all.len(), 1, "{found:?}");
        all.remove(0)
    }

    fn advance_ms(&mut self, milliseconds: u64) {
        self.advance(Duration::from_millis(milliseconds));
    }

    fn advance_s(&mut self, seconds: u64) {
        self.advance(Duration::from_secs(seconds));
    }
}

fn restored(loaded: &mut Loaded, clock: Clock, life: u8) -> Gateway {
    let host = Host::parse("front.example.net").unwrap();
    let settings = GatewaySettings::new(SentBy { host, port: None });
    let instance = Bytes::from_static(b"fedcba9876543210");
    let hello = Hello { version: link::VERSION, name: "front".into(), instance };
    Gateway::restore(loaded, settings, hello, [life; 32], clock.now)
}
