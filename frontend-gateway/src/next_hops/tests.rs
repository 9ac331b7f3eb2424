//! The next hops alone: the test is their servers, the gateway and the clock.

mod servers;
mod strangers;
mod tries;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip_proto::Method;
use sip_proto::message::{Message, OutgoingResponse, Request, Response};
use sip_proto::transaction::{FlowId, Transport};
use sip_proto::uri::Host;

use super::{FLOWS, NextHopEffect, NextHopSettings, NextHops, Target};
use crate::contacts::Contacts;
use crate::exchange::ExchangeId;
use crate::facts::Facts;
use crate::home::Ends;
use crate::policy::Policy;
use crate::testing::{self, Clock, Timed, policy};

/// Two servers of a pool, in this order; each sends from its own address.
const A: &str = "192.0.2.1:5060";
const B: &str = "192.0.2.2:5060";

/// The first flow that a server opens.
const INCOMING: FlowId = FlowId(FLOWS);

const POLICY: &str = r#"
[[local_domain]]
domain = "example.net"
served_by = "pool"
[[local_domain]]
domain = "tls.example.net"
served_by = "tls"

[[next_hop]]
name = "pool"
transport = "tcp"
[[next_hop.server]]
address = "192.0.2.1:5060"
[[next_hop.server]]
address = "192.0.2.2:5060"
priority = 1

[[next_hop]]
name = "tls"
certificate_name = "sip.example.net"
[[next_hop.server]]
address = "sip1.example.net:5061"

[[external_access_policy]]
scope = "global"
"#;

/// What became of a request of the gateway.
#[derive(Debug, PartialEq)]
enum Outcome {
    Answered(u16),
    Unanswered,
}

struct Stage {
    next_hops: NextHops,
    policy: Policy,
    contacts: Contacts,
    clock: Clock,
    serial: u64,
    /// What went to each flow.
    sent: BTreeMap<FlowId, Vec<Message>>,
    /// The flows that are being opened.
    connecting: Vec<(FlowId, Target)>,
    /// The last flow to each server.
    flows: BTreeMap<String, FlowId>,
    /// The flows that were open when they were to be closed.
    closed: Vec<FlowId>,
    last_exchange: u64,
    outcomes: BTreeMap<u64, Outcome>,
    answers: Vec<OutgoingResponse>,
    /// What servers asked of the gateway.
    asked: Vec<(ExchangeId, Request)>,
    reachable: Vec<String>,
    restarted: Vec<String>,
}

impl Timed for Stage {
    fn clock(&mut self) -> &mut Clock {
        &mut self.clock
    }

    fn due(&self) -> Option<Instant> {
        self.next_hops.poll_timeout()
    }

    fn wake(&mut self) {
        self.next_hops.handle_timeout(self.clock.now);
        self.collect();
    }
}

impl Stage {
    /// Begins with no server reached.
    fn new() -> Self {
        let clock = Clock::new();
        let policy = policy(POLICY);
        let host = Host::parse("gateway.example.net").unwrap();
        let settings = NextHopSettings { host, tcp_port: Some(5070), tls_port: Some(5071) };
        let mut stage = Self {
            next_hops: NextHops::new(settings, &policy, [7; 32], clock.now),
            policy,
            contacts: Contacts::default(),
            clock,
            serial: 0,
            sent: BTreeMap::new(),
            connecting: Vec::new(),
            flows: BTreeMap::new(),
            closed: Vec::new(),
            last_exchange: 0,
            outcomes: BTreeMap::new(),
            answers: Vec::new(),
            asked: Vec::new(),
            reachable: Vec::new(),
            restarted: Vec::new(),
        };
        stage.collect();
        stage
    }

    /// Begins with both servers of the pool in service.
    fn in_service() -> Self {
        let mut stage = Self::new();
        for server in [A, B] {
            stage.accept(server);
            stage.answer_probe(server);
        }
        stage
    }

    /// Lets a server accept the connection that is being opened to it.
    fn accept(&mut self, server: &str) {
        let place = |target: &Target| format!("{}:{}", target.host, target.port) == server;
        let found = self.connecting.iter().position(|(_, target)| place(target));
        let (flow, target) = self.connecting.remove(found.expect("nobody connects"));
        self.flows.insert(server.to_owned(), flow);
        let peer = server.parse().unwrap();
        self.open(flow, target.transport, peer, &[]);
    }

    /// Lets a server refuse the connection that is being opened to it.
    fn refuse(&mut self, server: &str) {
        let place = |target: &Target| format!("{}:{}", target.host, target.port) == server;
        let found = self.connecting.iter().position(|(_, target)| place(target));
        let (flow, _) = self.connecting.remove(found.expect("nobody connects"));
        self.close(flow);
    }

    fn open(&mut self, flow: FlowId, transport: Transport, peer: SocketAddr, names: &[&str]) {
        let ends = Ends { local: SocketAddr::from(([192, 0, 2, 9], 5070)), peer };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.next_hops.handle_opened(flow, transport, ends, names, self.clock.now);
        self.collect();
    }

    fn close(&mut self, flow: FlowId) {
        self.next_hops.handle_closed(flow, self.clock.now);
        self.collect();
    }

    /// Answers the OPTIONS that a server has got.
    fn answer_probe(&mut self, server: &str) {
        let request = self.take(server);
        assert_eq!(*request.method(), Method::Options);
        self.answer(server, &request, 200, &[]);
    }

    /// Lets time pass while every OPTIONS is answered by those servers.
    fn advance_with(&mut self, seconds: u64, servers: &[&str]) {
        for _ in 0..seconds {
            self.advance(Duration::from_secs(1));
            for server in servers {
                let flow = self.flows[*server];
                let is_probe = |it: &Message| matches!(it, Message::Request(it) if *it.method() == Method::Options);
                let got = self.sent.entry(flow).or_default();
                if let Some(index) = got.iter().position(is_probe) {
                    let Message::Request(request) = got.remove(index) else { unreachable!() };
                    self.answer(server, &request, 200, &[]);
                }
            }
        }
    }

    fn answer(&mut self, server: &str, request: &Request, code: u16, extra: &[(&str, &str)]) {
        self.bytes(self.flows[server], &testing::answer(request, code, extra));
    }

    fn bytes(&mut self, flow: FlowId, bytes: &[u8]) {
        let facts = Facts { policy: &self.policy, contacts: &self.contacts };
        self.next_hops.handle_bytes(flow, bytes, facts, self.clock.now);
        self.collect();
    }

    /// Brings a request of a server.
    fn send(&mut self, flow: FlowId, text: &str) {
        self.serial += 1;
        let bytes = testing::sip(text, self.serial);
        self.bytes(flow, &bytes);
    }

    /// Brings a request of the gateway; returns its number.
    fn ask(&mut self, text: &str) -> u64 {
        self.serial += 1;
        self.last_exchange += 1;
        let mut messages = testing::messages(&testing::sip(text, self.serial));
        let Message::Request(request) = messages.remove(0) else { panic!("{text}") };
        let facts = Facts { policy: &self.policy, contacts: &self.contacts };
        let id = ExchangeId(self.last_exchange);
        self.next_hops.handle_gateway_request(id, &request, facts, self.clock.now);
        self.collect();
        self.last_exchange
    }

    /// Brings a text of Juliet for Romeo.
    fn say(&mut self) -> u64 {
        self.ask(&message("sip:juliet@example.com", "sip:romeo@example.net"))
    }

    fn collect(&mut self) {
        while let Some(effect) = self.next_hops.poll_effect() {
            match effect {
                NextHopEffect::Transmit(it) => {
                    self.sent.entry(it.flow).or_default().extend(testing::messages(&it.bytes));
                }
                NextHopEffect::Close(flow) => {
                    let before = self.connecting.len();
                    self.connecting.retain(|(it, _)| *it != flow);
                    if self.connecting.len() == before {
                        self.closed.push(flow);
                    }
                }
                NextHopEffect::Connect(flow, target) => self.connecting.push((flow, target)),
                NextHopEffect::Ask(id, request) => self.asked.push((id, request)),
                NextHopEffect::Answer(id, response) => {
                    self.end(id, Outcome::Answered(response.status().code()));
                    self.answers.push(response);
                }
                NextHopEffect::Unanswered(id) => self.end(id, Outcome::Unanswered),
                NextHopEffect::Reachable(users) => {
                    self.reachable.extend(users.iter().map(ToString::to_string));
                }
                NextHopEffect::Restarted(name) => self.restarted.push(name.to_string()),
            }
        }
    }

    fn end(&mut self, id: ExchangeId, outcome: Outcome) {
        assert_eq!(self.outcomes.insert(id.0, outcome), None, "a request ended twice");
    }

    /// Takes the one request that a server has got.
    fn take(&mut self, server: &str) -> Request {
        let mut all = self.sent.remove(&self.flows[server]).unwrap_or_default();
        assert_eq!(all.len(), 1, "{all:?}");
        match all.remove(0) {
            Message::Request(request) => *request,
            Message::Response(response) => panic!("{response:?}"),
        }
    }

    /// Takes the one response that went to a flow.
    fn response(&mut self, flow: FlowId) -> Response {
        let mut all = self.sent.remove(&flow).unwrap_or_default();
        assert_eq!(all.len(), 1, "{all:?}");
        match all.remove(0) {
            Message::Response(response) => *response,
            Message::Request(request) => panic!("{request:?}"),
        }
    }

    fn is_silent(&self) -> bool {
        self.sent.values().all(Vec::is_empty)
    }

    fn advance_s(&mut self, seconds: u64) {
        self.advance(Duration::from_secs(seconds));
    }
}

fn message(from: &str, to: &str) -> String {
    format!(
        "MESSAGE {to} SIP/2.0\nFrom: <{from}>;tag=1\nTo: <{to}>\nCall-ID: m\nCSeq: 1 MESSAGE\n\
         Content-Type: text/plain\n\nhello"
    )
}

/// A NOTIFY for Romeo, in a dialog whose route begins with ourselves.
fn notify(route: &str) -> String {
    format!(
        "NOTIFY sip:romeo@203.0.113.7:5060 SIP/2.0\nRoute: \
         <sip:isthmus@gateway.example.net:5070;transport=tcp;lr>{route}\n\
         From: <sip:juliet@example.com>;tag=1\nTo: <sip:romeo@example.net>;tag=2\nCall-ID: n\n\
         CSeq: 1 NOTIFY\nEvent: presence\nSubscription-State: active;expires=60\n"
    )
}

fn subscribe(from: &str, to: &str) -> String {
    format!(
        "SUBSCRIBE {to} SIP/2.0\nFrom: <{from}>;tag=1\nTo: <{to}>\nCall-ID: s\n\
         CSeq: 1 SUBSCRIBE\nContact: <sip:c@192.0.2.77>\nEvent: presence\nExpires: 600\n"
    )
}
