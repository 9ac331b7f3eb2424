//! The home alone: the test is its users' devices, the gateway, the store and the clock.

mod delivery;
mod presence;
mod privacy;
mod registration;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use sip_proto::auth::{Algorithm, Answer, Challenge, Ha1};
use sip_proto::header::{SentBy, TypedHeader};
use sip_proto::message::{Message, Request, Response};
use sip_proto::transaction::{FlowId, Transport};
use sip_proto::uri::{Host, Uri};
use sip_proto::{Headers, Method};

use super::message_store::MessageLimits;
use super::{Ends, GATEWAY, Home, HomeEffect, HomeSettings};
use crate::contacts::Contacts;
use crate::exchange::ExchangeId;
use crate::facts::Facts;
use crate::policy::Policy;
use crate::store::Write;
use crate::testing::{self, Clock, Ledger, Timed, jid};

/// How many kept messages are read at once.
const READ_MAX: usize = 2;

/// What the store does with commits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Store {
    Confirms,
    Holds,
    Fails,
}

const PASSWORD: &str = "correct horse";

/// Two devices of romeo, and one of paris.
const DESK: FlowId = FlowId(1);
const CELL: FlowId = FlowId(2);
const PARIS: FlowId = FlowId(3);

struct Stage {
    home: Home,
    policy: Policy,
    contacts: Contacts,
    clock: Clock,
    ledger: Ledger,
    store: Store,
    commits: Vec<(u64, Vec<Write>)>,
    serial: u64,
    lives: u8,
    limits: MessageLimits,
    /// What went to each flow.
    sent: BTreeMap<FlowId, Vec<Message>>,
    last_exchange: u64,
    /// Requests of the gateway that wait for their answers.
    unanswered: BTreeSet<ExchangeId>,
    /// The exchanges of requests to the gateway, by their branches.
    asked: BTreeMap<String, ExchangeId>,
    connects: Vec<(FlowId, Uri)>,
    closed: Vec<FlowId>,
    reachable: Vec<String>,
}

impl Timed for Stage {
    fn clock(&mut self) -> &mut Clock {
        &mut self.clock
    }

    fn due(&self) -> Option<Instant> {
        self.home.poll_timeout(self.clock.now)
    }

    fn wake(&mut self) {
        self.home.handle_timeout(self.clock.now);
        self.collect();
    }
}

impl Stage {
    /// Begins with the users romeo, paris and old, whose phone can do MD5 alone.
    fn new() -> Self {
        Self::with_limits(MessageLimits::default())
    }

    fn with_limits(limits: MessageLimits) -> Self {
        let clock = Clock::new();
        let mut ledger = Ledger::default();
        for (name, legacy) in [("romeo", false), ("paris", false), ("old", true)] {
            let address = jid(&format!("{name}@example.net"));
            let user = super::accounts::record(&address, PASSWORD, legacy).unwrap();
            ledger.writes.push(Write::PutUser(user));
        }
        Self {
            home: restored(&ledger, clock, limits, 0),
            policy: testing::policy(testing::POLICY),
            contacts: Contacts::default(),
            clock,
            ledger,
            store: Store::Confirms,
            commits: Vec::new(),
            serial: 0,
            lives: 0,
            limits,
            sent: BTreeMap::new(),
            last_exchange: 0,
            unanswered: BTreeSet::new(),
            asked: BTreeMap::new(),
            connects: Vec::new(),
            closed: Vec::new(),
            reachable: Vec::new(),
        }
    }

    /// Kills the process and starts it anew from what is on the disk.
    fn restart(&mut self) {
        self.lives += 1;
        self.home = restored(&self.ledger, self.clock, self.limits, self.lives);
        self.sent.clear();
        self.connects.clear();
        self.collect();
    }

    fn open(&mut self, flow: FlowId) {
        let peer = SocketAddr::from(([192, 0, 2, 1], 40_000));
        let ends = Ends { local: SocketAddr::from(([192, 0, 2, 9], 5060)), peer };
        self.home.handle_opened(flow, Transport::Tcp, ends, self.clock.now);
        self.collect();
    }

    fn close(&mut self, flow: FlowId) {
        self.home.handle_closed(flow, self.clock.now);
        self.collect();
    }

    /// Brings a message on a flow.
    fn send(&mut self, flow: FlowId, text: &str) {
        self.serial += 1;
        let bytes = testing::sip(text, self.serial);
        self.bytes(flow, &bytes);
    }

    fn bytes(&mut self, flow: FlowId, bytes: &[u8]) {
        if flow == GATEWAY {
            for message in testing::messages(bytes) {
                let Message::Request(request) = message else { panic!("{message:?}") };
                self.ask(&request);
            }
            return;
        }
        let facts = Facts { policy: &self.policy, contacts: &self.contacts };
        self.home.handle_bytes(flow, bytes, facts, self.clock.now);
        self.collect();
    }

    /// Brings a request of the gateway.
    fn ask(&mut self, request: &Request) {
        self.last_exchange += 1;
        let id = ExchangeId(self.last_exchange);
        self.unanswered.insert(id);
        let facts = Facts { policy: &self.policy, contacts: &self.contacts };
        self.home.handle_gateway_request(id, request, facts, self.clock.now);
        self.collect();
    }

    fn answer(&mut self, flow: FlowId, request: &Request, code: u16) {
        self.answer_with(flow, request, code, &[]);
    }

    fn answer_with(&mut self, flow: FlowId, request: &Request, code: u16, extra: &[(&str, &str)]) {
        if flow == GATEWAY {
            let id = self.asked[request.via().branch().unwrap()];
            let response = testing::answered(request, code, extra);
            self.home.handle_gateway_response(id, response, self.clock.now);
            return self.collect();
        }
        self.bytes(flow, &testing::answer(request, code, extra));
    }

    /// Opens a flow and registers a user on it for an hour; what else was sent on it stays.
    fn register(&mut self, flow: FlowId, user: &str) {
        self.register_for(flow, user, 3600);
    }

    fn register_for(&mut self, flow: FlowId, user: &str, expires: u32) {
        self.open(flow);
        self.serial += 1;
        let call_id = format!("register-{}-", self.serial);
        let text = registration(user, flow, expires).replace("register-", &call_id);
        self.send(flow, &text);
        let challenged = self.only_response(flow);
        self.send(flow, &with_credentials(&text, &challenged, user, PASSWORD, 1));
        let registered = self.sent.get_mut(&flow).unwrap().remove(0);
        let Message::Response(registered) = registered else { panic!("{registered:?}") };
        assert_eq!(testing::said(&registered), "200 OK");
    }

    /// Does everything that the home wants done; commits first, as the driver does.
    fn collect(&mut self) {
        loop {
            if let Some((id, writes)) = self.home.poll_commit() {
                self.answer_commit(self.store, id, writes);
            } else if let Some(effect) = self.home.poll_effect() {
                self.do_effect(effect);
            } else {
                return;
            }
        }
    }

    fn do_effect(&mut self, effect: HomeEffect) {
        match effect {
            HomeEffect::Transmit(it) => self.take(it.flow, &it.bytes),
            HomeEffect::Ask(id, request) => {
                self.asked.insert(request.via().branch().unwrap().to_owned(), id);
                self.take(GATEWAY, &request.to_bytes());
            }
            HomeEffect::Answer(id, response) => {
                assert!(self.unanswered.remove(&id), "a request was answered twice");
                self.take(GATEWAY, &response.to_bytes());
            }
            HomeEffect::Close(flow) => self.closed.push(flow),
            HomeEffect::Connect(flow, uri) => self.connects.push((flow, uri)),
            HomeEffect::Reachable(user) => self.reachable.push(user.to_string()),
            HomeEffect::ReadMessages(user) => {
                let kept = self.ledger.kept_messages(&user, READ_MAX);
                self.home.handle_kept_messages(&user, kept, self.clock.now);
            }
        }
    }

    fn answer_commit(&mut self, store: Store, id: u64, writes: Vec<Write>) {
        let result = match store {
            Store::Confirms => {
                self.ledger.writes.extend(writes);
                Ok(())
            }
            Store::Fails => Err(writes),
            Store::Holds => return self.commits.push((id, writes)),
        };
        self.home.handle_commit(id, result, self.clock.now);
    }

    /// Lets the store confirm everything, what it has held too.
    fn store_confirms(&mut self) {
        self.store = Store::Confirms;
        for (id, writes) in std::mem::take(&mut self.commits) {
            self.answer_commit(Store::Confirms, id, writes);
        }
        self.collect();
    }

    fn take(&mut self, flow: FlowId, bytes: &[u8]) {
        self.sent.entry(flow).or_default().extend(testing::messages(bytes));
    }

    fn is_silent(&self) -> bool {
        self.sent.values().all(Vec::is_empty)
    }

    /// Takes the one message that was sent on a flow since the last look.
    fn only(&mut self, flow: FlowId) -> Message {
        let mut all = self.sent.remove(&flow).unwrap_or_default();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn only_request(&mut self, flow: FlowId) -> Request {
        match self.only(flow) {
            Message::Request(request) => *request,
            Message::Response(response) => panic!("{response:?}"),
        }
    }

    fn only_response(&mut self, flow: FlowId) -> Response {
        match self.only(flow) {
            Message::Response(response) => *response,
            Message::Request(request) => panic!("{request:?}"),
        }
    }

    /// Returns how many messages are kept for a user on the disk.
    fn kept(&self, user: &str) -> usize {
        self.ledger.kept_messages(&jid(user), usize::MAX).len()
    }

    fn advance_s(&mut self, seconds: u64) {
        self.advance(std::time::Duration::from_secs(seconds));
    }
}

fn restored(ledger: &Ledger, clock: Clock, messages: MessageLimits, life: u8) -> Home {
    let host = Host::parse("home.example.net").unwrap();
    let settings = HomeSettings { sent_by: SentBy { host, port: None }, messages };
    let mut loaded = ledger.load(clock.now);
    Home::restore(&mut loaded, settings, [[life; 32], [life + 100; 32]], clock.now)
}

/// Returns the REGISTER of a device; flows stand for devices.
fn registration(user: &str, device: FlowId, expires: u32) -> String {
    format!(
        "REGISTER sip:example.net SIP/2.0\nFrom: <sip:{user}@example.net>;tag=1\n\
         To: <sip:{user}@example.net>\nCall-ID: register-{user}-{0}\nCSeq: 1 REGISTER\n\
         Contact: <sip:{user}@192.0.2.1:4000{0}>\nExpires: {expires}",
        device.0
    )
}

fn challenges(response: &Response) -> Vec<Challenge> {
    assert_eq!(response.status().code(), 401);
    response.headers().readable_rows::<Challenge>().collect()
}

/// Returns a request with credentials that answer the first challenge.
fn with_credentials(
    text: &str,
    challenged: &Response,
    user: &str,
    password: &str,
    nonce_count: u32,
) -> String {
    let challenge = challenges(challenged).remove(0);
    with_answer(text, &challenge, user, password, nonce_count)
}

fn with_answer(
    text: &str,
    challenge: &Challenge,
    user: &str,
    password: &str,
    nonce_count: u32,
) -> String {
    let mut words = text.split(' ');
    let method = Method::parse(words.next().unwrap()).unwrap();
    let uri = Uri::parse(words.next().unwrap()).unwrap();
    let ha1 = Ha1::compute(challenge.algorithm(), user, challenge.realm(), password);
    let credentials = challenge.answer(&Answer {
        user_name: user,
        ha1: &ha1,
        method: &method,
        uri: &uri,
        client_nonce: "0a4f113b",
        nonce_count,
    });
    let mut value = String::new();
    credentials.write(&mut value);
    // The second attempt of a client has the next number.
    let text = text.replace("CSeq: 1 ", &format!("CSeq: {} ", nonce_count + 1));
    text.replacen("\nCall-ID", &format!("\nAuthorization: {value}\nCall-ID"), 1)
}

fn algorithms(response: &Response) -> Vec<Algorithm> {
    challenges(response).iter().map(Challenge::algorithm).collect()
}

fn contacts(headers: &Headers) -> usize {
    headers.iter().filter(|row| row.spelling == "Contact").count()
}

/// Numbers that look random, and are the same in every run.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % end
    }

    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}
