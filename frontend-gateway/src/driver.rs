//! Drives the core: waits for edges, devices, the store, administrators and time, and does what the
//! core decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use host::observe::Waiting;
use tokio::sync::mpsc;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use xmpp_proto::jid::Jid;

use crate::administrator::Commanded;
use crate::clock::Now;
use crate::core::administration::Reply;
use crate::core::{Core, CoreEffect};
use crate::flows::{FlowInput, Flows, MutualTls, Opener};
use crate::link::{Attachment, LinkInput};
use crate::links::EdgeId;
use crate::store::writer::{Answer, Request, Writer};

/// How many inputs may wait for the core; senders wait beyond that.
pub const INPUTS_MAX: usize = 4_096;

/// What `readyz` says while no edge is attached.
pub const NO_EDGE: &str = "no edge is attached";

/// How many inputs are taken before what they caused is committed and handed out.
const ROUND_MAX: usize = 512;

/// How many kept messages are read for a user at once.
const KEPT_MESSAGES_MAX: u32 = 50;

/// What happens to the core, besides the answers of the store.
#[derive(Debug)]
pub enum Input {
    /// Something of a link.
    Link(LinkInput),
    /// Something of a device.
    Flow(FlowInput),
    /// Something of an administrator.
    Command(Commanded),
}

impl From<LinkInput> for Input {
    fn from(input: LinkInput) -> Self {
        Self::Link(input)
    }
}

impl From<FlowInput> for Input {
    fn from(input: FlowInput) -> Self {
        Self::Flow(input)
    }
}

impl From<Commanded> for Input {
    fn from(commanded: Commanded) -> Self {
        Self::Command(commanded)
    }
}

/// What opens connections of the inside.
pub struct Openers {
    /// To devices.
    pub home: Arc<Opener<Input>>,
    /// To servers of next hops.
    pub next_hops: Arc<Opener<Input>>,
    /// TLS with those, if they are spoken to by TLS.
    pub tls: Option<MutualTls>,
}

/// The core with all that it talks to.
pub struct Driver {
    core: Core,
    writer: Writer,
    openers: Openers,
    ready: watch::Sender<Waiting>,
    flows: Flows,
    edges: BTreeMap<EdgeId, (String, Attachment)>,
    replies: BTreeMap<u64, oneshot::Sender<Reply>>,
    last_reply: u64,
}

impl Driver {
    /// Makes a driver.
    pub fn new(
        core: Core,
        writer: Writer,
        openers: Openers,
        ready: watch::Sender<Waiting>,
    ) -> Self {
        Self {
            core,
            writer,
            openers,
            ready,
            flows: Flows::default(),
            edges: BTreeMap::new(),
            replies: BTreeMap::new(),
            last_reply: 0,
        }
    }

    /// Drives the core until `stop` is cancelled; then all is written that was decided.
    pub async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut answers: mpsc::UnboundedReceiver<Answer>,
        stop: CancellationToken,
    ) {
        let mut inputs_of_round = Vec::with_capacity(ROUND_MAX);
        let mut answers_of_round = Vec::with_capacity(ROUND_MAX);
        self.hand_out();
        while !stop.is_cancelled() {
            let due = self.core.poll_timeout(Now::read()).map(tokio::time::Instant::from_std);
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                _ = answers.recv_many(&mut answers_of_round, ROUND_MAX) => {}
                _ = inputs.recv_many(&mut inputs_of_round, ROUND_MAX) => {}
                () = timer => {}
            }
            // Everybody who is ready is heard first: what a round causes is committed together,
            // and goes out in one write for each peer.
            tokio::task::yield_now().await;
            while let Ok(answer) = answers.try_recv() {
                answers_of_round.push(answer);
            }
            while inputs_of_round.len() < ROUND_MAX
                && let Ok(input) = inputs.try_recv()
            {
                inputs_of_round.push(input);
            }
            let now = Now::read();
            answers_of_round.drain(..).for_each(|answer| self.handle_answer(answer, now));
            inputs_of_round.drain(..).for_each(|input| self.handle_input(input, now));
            if due.is_some_and(|due| due.into_std() <= now.instant) {
                self.core.handle_timeout(now);
            }
            self.hand_out();
        }
        self.writer.finish();
    }

    fn handle_input(&mut self, input: Input, now: Now) {
        match input {
            Input::Link(input) => self.handle_link(input, now),
            Input::Flow(FlowInput::Received { id, bytes }) => {
                self.core.handle_bytes(id, &bytes, now);
            }
            Input::Flow(FlowInput::Opened { id, transport, ends, names, commands }) => {
                self.flows.insert(id, commands);
                self.core.handle_opened(id, transport, ends, names, now);
            }
            Input::Flow(FlowInput::Closed { id }) => {
                self.flows.remove(id);
                self.core.handle_closed(id, now);
            }
            Input::Command(Commanded { command, answer }) => {
                self.last_reply += 1;
                self.replies.insert(self.last_reply, answer);
                self.core.handle_command(self.last_reply, command, now);
            }
        }
    }

    fn handle_link(&mut self, input: LinkInput, now: Now) {
        match input {
            LinkInput::Name { name, failure } => self.core.handle_edge_name(name, failure),
            LinkInput::Address { address, state } => {
                self.core.handle_edge_address(address, state, now);
            }
            LinkInput::Attached { number, name, attachment } => {
                tracing::info!(edge = name, "attached to an edge");
                self.edges.insert(EdgeId(number), (name.clone(), attachment));
                self.core.handle_attached(EdgeId(number), name, now);
            }
            LinkInput::Frame { number, frame, room: _room } => {
                if let Err(violation) = self.core.handle_frame(EdgeId(number), frame, now) {
                    metrics::counter!("gateway_link_violations_total").increment(1);
                    let edge = self.edges.remove(&EdgeId(number)).map(|(name, _)| name);
                    tracing::error!(edge, %violation, "an edge broke the rules of the link");
                    let reason = format!("the edge broke the rules of the link: {violation}");
                    self.core.handle_detached(EdgeId(number), Some(reason), now);
                }
            }
            LinkInput::Detached { number } => {
                self.edges.remove(&EdgeId(number));
                self.core.handle_detached(EdgeId(number), None, now);
            }
        }
    }

    fn handle_answer(&mut self, answer: Answer, now: Now) {
        match answer {
            Answer::Committed { id, result } => {
                let result = result.map_err(|failed| failed.writes);
                self.core.handle_commit(id, result, now);
            }
            Answer::Messages { aor, messages } => {
                if let Ok(user) = Jid::parse(&aor) {
                    self.core.handle_kept_messages(&user, messages, now);
                }
            }
        }
    }

    /// Commits what the round has decided, and does the rest of it.
    fn hand_out(&mut self) {
        while let Some((id, writes)) = self.core.poll_commit() {
            self.writer.send(Request::Commit { id, writes });
        }
        while let Some(effect) = self.core.poll_effect() {
            self.do_effect(effect);
        }
        self.report();
    }

    fn do_effect(&mut self, effect: CoreEffect) {
        match effect {
            CoreEffect::Transmit(transmit) => self.flows.send(transmit.flow, transmit.bytes),
            CoreEffect::Close(flow) => self.flows.remove(flow),
            CoreEffect::Connect(flow, uri) => self.openers.home.open(flow, uri),
            CoreEffect::ConnectServer(flow, target) => {
                self.openers.next_hops.open_server(flow, target, self.openers.tls.clone());
            }
            CoreEffect::ReadMessages(user) => {
                let (aor, count_max) = (user.to_string(), KEPT_MESSAGES_MAX);
                self.writer.send(Request::Messages { aor, count_max });
            }
            CoreEffect::Frame(edge, frame) => {
                if let Some((_, attachment)) = self.edges.get(&edge) {
                    attachment.send(frame);
                }
            }
            CoreEffect::Reply(reply, answer) => {
                if let Some(asked) = self.replies.remove(&reply) {
                    // The administrator may have gone.
                    let _ = asked.send(answer);
                }
            }
        }
    }

    fn report(&self) {
        let attached = self.core.edges_attached();
        metrics::gauge!("gateway_edges_attached").set(attached as f64);
        metrics::gauge!("gateway_messages_open").set(self.core.open_messages() as f64);
        self.ready.send_if_modified(|waiting| {
            let was_waiting = !waiting.is_empty();
            let is_waiting = attached == 0;
            if was_waiting == is_waiting {
                return false;
            }
            *waiting = match is_waiting {
                true => Waiting::from([("link", NO_EDGE.to_owned())]),
                false => Waiting::new(),
            };
            true
        });
    }
}
