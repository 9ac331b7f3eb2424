//! The whole front end without IO: policy, gateway and inside in one, and what goes between them.

pub mod administration;
mod admission;
pub mod explanation;
mod partners;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use link::wire::{FromEdge, FromFrontend, Hello};
use sip_proto::message::{FinalResponse, Request};
use sip_proto::transaction::{FlowId, Transmit, Transport};
use sip_proto::uri::Uri;
use xmpp_proto::jid::Jid;

use crate::address::s2x_address;
use crate::clock::Now;
use crate::commit::Commits;
use crate::contacts::Contacts;
use crate::dialback_secrets::DialbackSecrets;
use crate::edges::{AddressState, EdgeAddress};
use crate::exchange::ExchangeId;
use crate::facts::Facts;
use crate::gateway::{Gateway, GatewayEffect, GatewaySettings};
use crate::home::{Ends, Home, HomeEffect, HomeSettings};
use crate::links::{EdgeId, LinkViolation};
use crate::next_hops::{self, NextHopEffect, NextHopSettings, NextHops, Target};
use crate::policy::{Policy, Standing};
use crate::provision::Provision;
use crate::store::record::HomeMessage;
use crate::store::{Loaded, Write};
use administration::{AdminStep, Reply};

/// How long outcomes of messages stay in the store, in milliseconds.
const OUTCOMES_KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// How often old outcomes are forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// Who asked for a commit; its number is a multiple of the count, plus this.
const OWNERS: u64 = 3;
const OF_GATEWAY: u64 = 0;
const OF_HOME: u64 = 1;
const OF_CORE: u64 = 2;

/// Who of the inside asked the gateway; its number is a multiple of the count, plus this.
const ASKERS: u64 = 2;
const BY_HOME: u64 = 0;
const BY_NEXT_HOPS: u64 = 1;

/// What the driver is to do.
#[derive(Debug)]
pub enum CoreEffect {
    /// Bytes go to a user's device, or to a server of a next hop.
    Transmit(Transmit),
    /// A flow is to be closed once all is written.
    Close(FlowId),
    /// A flow is to be opened; answer with [`Core::handle_opened`] or [`Core::handle_closed`].
    Connect(FlowId, Uri),
    /// A flow to a server of a next hop is to be opened; answered likewise.
    ConnectServer(FlowId, Target),
    /// Kept messages are to be read; answer with [`Core::handle_kept_messages`].
    ReadMessages(Jid),
    /// A frame goes to an edge.
    Frame(EdgeId, FromFrontend),
    /// A command has its answer.
    Reply(u64, Reply),
}

/// What the operator chose.
#[derive(Clone, Debug)]
pub struct CoreSettings {
    /// Of the gateway.
    pub gateway: GatewaySettings,
    /// Of the embedded home.
    pub home: HomeSettings,
    /// Of the next hops.
    pub next_hops: NextHopSettings,
    /// What a policy may ask for.
    pub provision: Provision,
}

/// The front end.
pub struct Core {
    policy: Policy,
    policy_version: u64,
    /// A version is being stored, and no other one may be.
    applying: bool,
    dialback_secrets: DialbackSecrets,
    /// Those that edges know.
    dialback_in_force: Vec<Bytes>,
    contacts: Contacts,
    gateway: Gateway,
    home: Home,
    next_hops: NextHops,
    provision: Provision,
    commits: Commits<AdminStep>,
    effects: VecDeque<CoreEffect>,
    forget_at: Instant,
}

impl Core {
    /// Restores the front end from what the store holds. The seeds are random and used only once.
    ///
    /// `policy` is the version in force, which is stored if the store has none.
    pub fn restore(
        mut loaded: Loaded,
        policy: StartPolicy,
        settings: CoreSettings,
        hello: Hello,
        seeds: [[u8; 32]; 5],
        now: Now,
    ) -> Self {
        let [gateway_seed, home_seed, nonce_seed, next_hop_seed, dialback_seed] = seeds;
        let contacts = Contacts::restore(std::mem::take(&mut loaded.contacts));
        let gateway = Gateway::restore(&mut loaded, settings.gateway, hello, gateway_seed, now);
        let home = Home::restore(&mut loaded, settings.home, [home_seed, nonce_seed], now);
        let next_hops = NextHops::new(settings.next_hops, &policy.policy, next_hop_seed, now);
        let mut core = Self {
            policy: policy.policy,
            policy_version: policy.version,
            applying: false,
            dialback_secrets: DialbackSecrets::restore(loaded.dialback_secrets, dialback_seed),
            dialback_in_force: Vec::new(),
            contacts,
            gateway,
            home,
            next_hops,
            provision: settings.provision,
            commits: Commits::default(),
            effects: VecDeque::new(),
            forget_at: now.instant,
        };
        if let Some(text) = policy.to_store {
            core.commits.write(administration::policy_write(core.policy_version, text, now));
        }
        core.advance_dialback_secrets(now);
        core.settle_down(now);
        core
    }

    /// Takes an attachment to an edge.
    pub fn handle_attached(&mut self, edge: EdgeId, name: String, now: Now) {
        self.gateway.handle_attached(edge, name, now);
        self.settle_down(now);
    }

    /// Takes the loss of an attachment, of which we know the reason if we ended it.
    pub fn handle_detached(&mut self, edge: EdgeId, reason: Option<String>, now: Now) {
        self.gateway.handle_detached(edge, reason, now);
        self.settle_down(now);
    }

    /// Takes what the resolver said of the name of edges: nothing, or why it said nothing.
    pub fn handle_edge_name(&mut self, name: String, failure: Option<String>) {
        self.gateway.handle_edge_name(name, failure);
    }

    /// Takes what became of an address of an edge.
    pub fn handle_edge_address(&mut self, address: EdgeAddress, state: AddressState, now: Now) {
        self.gateway.handle_edge_address(address, state, now);
    }

    /// Takes a frame of an edge.
    ///
    /// # Errors
    /// Fails when the edge breaks the rules of the link; the driver then ends the link.
    pub fn handle_frame(
        &mut self,
        edge: EdgeId,
        frame: FromEdge,
        now: Now,
    ) -> Result<(), LinkViolation> {
        let facts = Facts { policy: &self.policy, contacts: &self.contacts };
        let result = self.gateway.handle_frame(edge, frame, facts, now);
        self.settle_down(now);
        result
    }

    /// Takes a flow that was opened to us, or that was asked for; `names` are those that the
    /// certificate of its other end proves.
    pub fn handle_opened(
        &mut self,
        id: FlowId,
        transport: Transport,
        ends: Ends,
        names: Vec<String>,
        now: Now,
    ) {
        match next_hops::owns(id) {
            true => self.next_hops.handle_opened(id, transport, ends, names, now),
            false => self.home.handle_opened(id, transport, ends, now),
        }
        self.settle_down(now);
    }

    /// Takes the end of a flow, or the failure to open one.
    pub fn handle_closed(&mut self, id: FlowId, now: Now) {
        match next_hops::owns(id) {
            true => self.next_hops.handle_closed(id, now),
            false => self.home.handle_closed(id, now),
        }
        self.settle_down(now);
    }

    /// Takes bytes of a flow.
    pub fn handle_bytes(&mut self, id: FlowId, bytes: &[u8], now: Now) {
        let facts = Facts { policy: &self.policy, contacts: &self.contacts };
        match next_hops::owns(id) {
            true => self.next_hops.handle_bytes(id, bytes, facts, now),
            false => self.home.handle_bytes(id, bytes, facts, now),
        }
        self.settle_down(now);
    }

    /// Takes the oldest messages that are kept for a user.
    pub fn handle_kept_messages(&mut self, user: &Jid, messages: Vec<HomeMessage>, now: Now) {
        self.home.handle_kept_messages(user, messages, now);
        self.settle_down(now);
    }

    /// Takes the outcome of a commit; the writes come back when it failed.
    pub fn handle_commit(&mut self, id: u64, result: Result<(), Vec<Write>>, now: Now) {
        let (own, owner) = (id / OWNERS, id % OWNERS);
        match owner {
            OF_GATEWAY => self.gateway.handle_commit(own, result, now),
            OF_HOME => self.home.handle_commit(own, result, now),
            _ => {
                let steps = match result {
                    Ok(()) => self.commits.succeed(own),
                    Err(writes) => self.commits.fail(own, writes, now.instant),
                };
                for step in steps {
                    self.handle_step(step, now);
                }
            }
        }
        self.settle_down(now);
    }

    /// Does what the time asks for.
    pub fn handle_timeout(&mut self, now: Now) {
        let facts = Facts { policy: &self.policy, contacts: &self.contacts };
        self.gateway.handle_timeout(facts, now);
        self.home.handle_timeout(now);
        self.next_hops.handle_timeout(now);
        self.commits.handle_timeout(now.instant);
        if self.forget_at <= now.instant {
            self.forget_at = now.instant + FORGET_INTERVAL;
            let before_ms = now.unix_ms.saturating_sub(OUTCOMES_KEPT_MS);
            self.commits.write(Write::ForgetSettled { before_ms });
        }
        self.advance_dialback_secrets(now);
        self.settle_down(now);
    }

    /// Returns when [`Core::handle_timeout`] is due.
    pub fn poll_timeout(&self, now: Now) -> Option<Instant> {
        let all = [
            self.gateway.poll_timeout(),
            self.home.poll_timeout(now),
            self.next_hops.poll_timeout(),
            self.commits.poll_timeout(),
            Some(self.forget_at),
            self.dialback_secrets.poll_timeout(self.policy.gateway.dialback_rotation, now),
        ];
        all.into_iter().flatten().min()
    }

    /// Returns the next effect.
    pub fn poll_effect(&mut self) -> Option<CoreEffect> {
        if let Some(effect) = self.effects.pop_front() {
            return Some(effect);
        }
        self.gateway.poll_frame().map(|(edge, frame)| CoreEffect::Frame(edge, frame))
    }

    /// Returns the next commit of this round.
    pub fn poll_commit(&mut self) -> Option<(u64, Vec<Write>)> {
        let tagged = |owner| move |(id, writes)| (id * OWNERS + owner, writes);
        let gateway = self.gateway.poll_commit().map(tagged(OF_GATEWAY));
        let home = || self.home.poll_commit().map(tagged(OF_HOME));
        gateway.or_else(home).or_else(|| self.commits.take().map(tagged(OF_CORE)))
    }

    /// Returns how many edges are attached.
    pub fn edges_attached(&self) -> usize {
        self.gateway.edges_attached()
    }

    /// Returns how many messages have no outcome.
    pub fn open_messages(&self) -> usize {
        self.gateway.open_messages()
    }

    fn advance_dialback_secrets(&mut self, now: Now) {
        let rotation = self.policy.gateway.dialback_rotation;
        for write in self.dialback_secrets.advance(rotation, now) {
            self.commits.write(write);
        }
        let in_force = self.dialback_secrets.in_force(now);
        if in_force != self.dialback_in_force {
            self.dialback_in_force = in_force;
            self.push_admission();
        }
    }

    fn push_admission(&mut self) {
        let secrets = self.dialback_in_force.clone();
        let admission = admission::of_policy(&self.policy, self.policy_version, secrets);
        self.gateway.push_admission(admission);
    }

    /// Carries everything between gateway and inside until neither has anything more to say.
    fn settle_down(&mut self, now: Now) {
        loop {
            if let Some(effect) = self.gateway.poll_effect() {
                self.handle_gateway_effect(effect, now);
            } else if let Some(effect) = self.home.poll_effect() {
                self.handle_home_effect(effect, now);
            } else if let Some(effect) = self.next_hops.poll_effect() {
                self.handle_next_hop_effect(effect, now);
            } else {
                return;
            }
        }
    }

    fn handle_gateway_effect(&mut self, effect: GatewayEffect, now: Now) {
        match effect {
            GatewayEffect::Ask(id, request) => {
                let facts = Facts { policy: &self.policy, contacts: &self.contacts };
                match is_for_next_hop(facts.policy, &request) {
                    true => self.next_hops.handle_gateway_request(id, &request, facts, now),
                    false => self.home.handle_gateway_request(id, &request, facts, now),
                }
            }
            GatewayEffect::Answer(id, response) => {
                let (own, asker) = (ExchangeId(id.0 / ASKERS), id.0 % ASKERS);
                match asker {
                    BY_HOME => self.home.handle_gateway_response(own, response, now),
                    _ => self.next_hops.handle_gateway_response(own, &response, now),
                }
            }
            GatewayEffect::Added(user, contact) => {
                if self.contacts.standing(&user, &contact) == Standing::Unknown
                    && let Some(write) = self.contacts.decide(&user, &contact, true)
                {
                    self.commits.write(write);
                    self.home.handle_decision(&user, &contact, true, now);
                }
            }
        }
    }

    fn handle_home_effect(&mut self, effect: HomeEffect, now: Now) {
        let effect = match effect {
            HomeEffect::Ask(id, request) => return self.ask_gateway(id, BY_HOME, &request, now),
            HomeEffect::Answer(id, response) => {
                return self.gateway.handle_response(id, FinalResponse::from(&response), now);
            }
            HomeEffect::Reachable(user) => {
                return self.gateway.handle_reachable(|it| *it == user, now);
            }
            HomeEffect::Transmit(transmit) => CoreEffect::Transmit(transmit),
            HomeEffect::Close(flow) => CoreEffect::Close(flow),
            HomeEffect::Connect(flow, uri) => CoreEffect::Connect(flow, uri),
            HomeEffect::ReadMessages(user) => CoreEffect::ReadMessages(user),
        };
        self.effects.push_back(effect);
    }

    fn handle_next_hop_effect(&mut self, effect: NextHopEffect, now: Now) {
        let effect = match effect {
            NextHopEffect::Ask(id, request) => {
                return self.ask_gateway(id, BY_NEXT_HOPS, &request, now);
            }
            NextHopEffect::Answer(id, response) => {
                return self.gateway.handle_response(id, FinalResponse::from(&response), now);
            }
            NextHopEffect::Unanswered(id) => return self.gateway.handle_unanswered(id, now),
            NextHopEffect::Reachable(users) => {
                return self.gateway.handle_reachable(|user| users.contains(user), now);
            }
            NextHopEffect::Restarted(name) => {
                let policy = &self.policy;
                let serves = |user: &Jid| {
                    policy.next_hop(user.domain()).is_some_and(|next_hop| next_hop.name == name)
                };
                return self.gateway.handle_restarted(serves, now);
            }
            NextHopEffect::Transmit(transmit) => CoreEffect::Transmit(transmit),
            NextHopEffect::Close(flow) => CoreEffect::Close(flow),
            NextHopEffect::Connect(flow, target) => CoreEffect::ConnectServer(flow, target),
        };
        self.effects.push_back(effect);
    }

    fn ask_gateway(&mut self, id: ExchangeId, asker: u64, request: &Request, now: Now) {
        let facts = Facts { policy: &self.policy, contacts: &self.contacts };
        let id = ExchangeId(id.0 * ASKERS + asker);
        self.gateway.handle_request(id, request, facts, now);
    }
}

/// Says whether a request of the gateway goes to a next hop: its To is the local user.
fn is_for_next_hop(policy: &Policy, request: &Request) -> bool {
    !policy.next_hops.is_empty()
        && s2x_address(request.to().uri()).is_ok_and(|it| policy.next_hop(it.domain()).is_some())
}

/// The policy that the front end starts with.
#[derive(Debug)]
pub struct StartPolicy {
    /// The version.
    pub version: u64,
    /// The policy, checked.
    pub policy: Policy,
    /// Its text, when the store does not have it yet.
    pub to_store: Option<String>,
}

#[cfg(test)]
mod tests;
