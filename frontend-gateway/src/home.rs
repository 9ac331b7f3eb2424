//! The embedded home of SIP users: registrar, presence agent, message store. Without IO.
//!
//! Users are on flows (TCP or TLS connections). Their contacts at partners are reached through the
//! gateway, with which requests and responses are exchanged as they are, so that what speaks to an
//! external SIP server can take this place.
//!
//! The phases of a request of a user: [`Home::handle_bytes`] frames it, the transaction layer
//! recognises a repetition, `inspect` checks what every UAS checks, `requests` finds out who sent
//! it and what it wants, and `delivery`, the [`presence_agent`], the [`location`] or the gateway
//! do it.

pub mod accounts;
pub mod location;
pub mod message_store;
pub mod presence_agent;

mod delivery;
mod dialog_flows;
mod requests;
mod subscriptions;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_proto::dialog::DialogId;
use sip_proto::frame::Frame;
use sip_proto::header::SentBy;
use sip_proto::message::{FinalResponse, Message, OutgoingRequest, OutgoingResponse, Request};
use sip_proto::transaction::{
    ClientId, Flow, FlowId, ServerId, TransactionEvent, TransactionLayer, Transmit, Transport,
};
use sip_proto::uri::Uri;
use sip_proto::{IdSource, Method, StatusCode};
use xmpp_proto::jid::Jid;

use crate::clock::Now;
use crate::commit::Commits;
use crate::exchange::{ExchangeId, Exchanges};
use crate::facts::Facts;
use crate::framing::Framing;
use crate::store::record::User;
use crate::store::{Loaded, Write};
use accounts::Accounts;
use delivery::{Deliveries, HomeStep};
use dialog_flows::DialogFlows;
use location::Location;
use message_store::{KeepError, MessageLimits, MessageStore};
use presence_agent::PresenceAgent;
use requests::Asked;
pub use subscriptions::decide_watcher;

/// Stands for the gateway where there is a flow to a device otherwise.
pub const GATEWAY: FlowId = FlowId(0);

/// A flow that no longer exists: that of a dialog which outlived its connection.
const LOST: FlowId = FlowId(u64::MAX);

/// The first number of flows that the home asks for; those that users open are below.
const OWN_FLOWS: u64 = 1 << 63;

/// How long a device may take to answer what somebody else waits for. The transaction of whoever
/// waits must not end first, at 32 s: a message that is kept would be repeated, and a
/// subscription given up whose watcher may come back.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What the driver is to do.
#[derive(Debug)]
pub enum HomeEffect {
    /// Bytes go to a user.
    Transmit(Transmit),
    /// A request goes to the gateway; answer with [`Home::handle_gateway_response`].
    Ask(ExchangeId, Request),
    /// A request of the gateway has its final response.
    Answer(ExchangeId, OutgoingResponse),
    /// A flow is to be closed once all is written.
    Close(FlowId),
    /// A flow is to be opened; answer with [`Home::handle_opened`] or [`Home::handle_closed`].
    Connect(FlowId, Uri),
    /// Kept messages are to be read; answer with [`Home::handle_kept_messages`].
    ReadMessages(Jid),
    /// A user can be reached again whom a NOTIFY of the gateway could not be brought.
    Reachable(Jid),
}

/// What the operator chose.
#[derive(Clone, Debug)]
pub struct HomeSettings {
    /// How the home calls itself to its users' devices.
    pub sent_by: SentBy,
    /// What the message store may hold.
    pub messages: MessageLimits,
}

/// The two ends of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Our address.
    pub local: SocketAddr,
    /// The device's address.
    pub peer: SocketAddr,
}

/// What a request that the home sent is for.
#[derive(Debug)]
enum Purpose {
    /// It carries on a request, which is answered with what comes back.
    Relay(Asker, FlowId, Box<Request>),
    /// It brings a message to one device.
    Fork(u64),
    /// It tells a watcher.
    Notify(DialogId),
    /// Nobody waits for its answer.
    Notice,
}

/// Who waits for the answer to a request.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Device(ServerId),
    Gateway(ExchangeId),
}

/// What came of a request that the home sent.
enum Answer<'a> {
    Response(FinalResponse<'a>),
    /// Nothing came in time.
    Timeout,
    /// The flow was lost, or could not be opened.
    Lost,
}

/// The home.
pub struct Home {
    settings: HomeSettings,
    layer: TransactionLayer,
    ids: IdSource,
    /// The two ends of each open flow; that to the gateway has none.
    flows: BTreeMap<FlowId, Option<Ends>>,
    framing: Framing,
    last_own_flow: u64,
    connecting: BTreeMap<FlowId, Vec<(OutgoingRequest, Purpose)>>,
    purposes: BTreeMap<ClientId, Purpose>,
    exchanges: Exchanges<Purpose>,
    /// NOTIFYs of the gateway that devices have not answered, in the order of their deadlines.
    passed_on: VecDeque<(Instant, ClientId)>,
    subscribed_on: DialogFlows,
    accounts: Accounts,
    location: Location,
    messages: MessageStore,
    deliveries: Deliveries,
    agent: PresenceAgent,
    /// Users whom a NOTIFY could not be brought since they last registered.
    unreached: BTreeSet<Jid>,
    commits: Commits<HomeStep>,
    effects: VecDeque<HomeEffect>,
}

impl Home {
    /// Restores the home from what the store holds. The seeds are random and used only once.
    pub fn restore(
        loaded: &mut Loaded,
        settings: HomeSettings,
        seeds: [[u8; 32]; 2],
        now: Now,
    ) -> Self {
        let mut ids = IdSource::new(seeds[0]);
        let layer = requests::transaction_layer(settings.sent_by.clone(), ids.fork());
        let publications = std::mem::take(&mut loaded.publications);
        let location = Location::restore(std::mem::take(&mut loaded.bindings));
        let mut agent = PresenceAgent::restore(publications, &loaded.dialogs, LOST, now);
        for user in location.users() {
            agent.set_online(user, location.is_registered(user, now));
        }
        let messages = std::mem::take(&mut loaded.messages);
        let users = std::mem::take(&mut loaded.users);
        Self {
            layer,
            flows: BTreeMap::new(),
            framing: Framing::default(),
            last_own_flow: OWN_FLOWS,
            connecting: BTreeMap::new(),
            purposes: BTreeMap::new(),
            exchanges: Exchanges::default(),
            passed_on: VecDeque::new(),
            subscribed_on: DialogFlows::default(),
            accounts: Accounts::restore(&users, seeds[1]),
            location,
            messages: MessageStore::restore(settings.messages, messages),
            deliveries: Deliveries::default(),
            agent,
            unreached: BTreeSet::new(),
            commits: Commits::default(),
            effects: VecDeque::new(),
            ids,
            settings,
        }
    }

    /// Returns the home's users.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Returns whether a message for a user who is away would be kept.
    ///
    /// # Errors
    /// Fails with the reason that its sender would be told.
    pub fn room_for(&self, user: &Jid) -> Result<(), KeepError> {
        self.messages.room_for(user, 0)
    }

    /// Returns whether a user has a device registered.
    pub fn is_registered(&self, user: &Jid, now: Now) -> bool {
        self.location.is_registered(user, now)
    }

    /// Makes the record of a user, which [`Home::insert_user`] takes once it is stored.
    ///
    /// With `legacy` only MD5 is offered, for phones that cannot do with anything else in the
    /// challenge. The password itself is not kept.
    ///
    /// # Errors
    /// Fails when the address or the password will not do.
    pub fn make_user(
        &self,
        address: &Jid,
        password: &str,
        legacy: bool,
    ) -> Result<User, accounts::AccountError> {
        accounts::record(address, password, legacy)
    }

    /// Adds a user or gives it another password, which its devices must then prove to know.
    pub fn insert_user(&mut self, record: &User) {
        self.accounts.insert(record);
        if let Ok(address) = Jid::parse(&record.address) {
            self.location.forget_proofs(&address);
        }
    }

    /// Forgets a user with all that is kept for it.
    pub fn remove_user(&mut self, address: &Jid, now: Now) {
        self.accounts.remove(address);
        self.location.remove_user(address);
        self.messages.remove_user(address);
        self.agent.remove_user(address);
        self.unreached.remove(address);
        self.send_notifies(now);
        self.drain(now);
    }

    /// Takes a decision of a user about a contact that may be waiting for it.
    pub fn handle_decision(&mut self, user: &Jid, contact: &Jid, allowed: bool, now: Now) {
        self.agent.decide(user, contact, allowed);
        self.send_notifies(now);
        self.drain(now);
    }

    /// Takes a flow that a device opened, or that the home asked for.
    pub fn handle_opened(&mut self, id: FlowId, transport: Transport, ends: Ends, now: Now) {
        self.open(id, transport, Some(ends));
        for (request, purpose) in self.connecting.remove(&id).unwrap_or_default() {
            self.send_on(id, &request, purpose, now);
        }
        self.drain(now);
    }

    /// Takes the end of a flow, or the failure to open one.
    pub fn handle_closed(&mut self, id: FlowId, now: Now) {
        self.flows.remove(&id);
        self.framing.close(id);
        self.location.close(id);
        self.subscribed_on.close(id);
        self.layer.handle_flow_closed(id);
        for (_, purpose) in self.connecting.remove(&id).unwrap_or_default() {
            self.finish(purpose, &Answer::Lost, now);
        }
        self.drain(now);
    }

    /// Takes bytes of a flow.
    pub fn handle_bytes(&mut self, id: FlowId, bytes: &[u8], facts: Facts<'_>, now: Now) {
        self.framing.handle_bytes(id, bytes);
        while let Some(frame) = self.framing.poll_frame(id) {
            match frame {
                // RFC 5626 s.4.4.1: a ping of two line ends is answered with one.
                Frame::Ping => self.transmit(id, Bytes::from_static(b"\r\n")),
                Frame::Message(message) => self.handle_message(id, message, facts, now),
                Frame::Failure(failure) => self.handle_failure(id, &failure),
            }
        }
        self.framing.watch_for_stall(id, now.instant);
        self.drain(now);
    }

    /// Takes a request of the gateway, which is answered once by [`HomeEffect::Answer`].
    pub fn handle_gateway_request(
        &mut self,
        id: ExchangeId,
        request: &Request,
        facts: Facts<'_>,
        now: Now,
    ) {
        let asked = Asked { asker: Asker::Gateway(id), flow: GATEWAY, facts, now };
        self.take_request(&asked, request);
        self.drain(now);
    }

    /// Takes the final response of the gateway to a request of the home.
    pub fn handle_gateway_response(
        &mut self,
        id: ExchangeId,
        response: OutgoingResponse,
        now: Now,
    ) {
        match self.exchanges.end(id) {
            // It is made for the request that the device has sent.
            Some(Purpose::Relay(asker, flow, request)) => {
                self.note_subscription(&request, flow, FinalResponse::from(&response), now);
                self.respond(asker, response, now);
            }
            Some(purpose) => {
                self.finish(purpose, &Answer::Response(FinalResponse::from(&response)), now);
            }
            None => {}
        }
        self.drain(now);
    }

    /// Does what the time asks for.
    pub fn handle_timeout(&mut self, now: Now) {
        self.layer.handle_timeout(now.instant);
        while let Some(purpose) = self.exchanges.take_expired(now.instant) {
            self.finish(purpose, &Answer::Timeout, now);
        }
        self.commits.handle_timeout(now.instant);
        self.close_stalled(now);
        let (away, writes) = self.location.expire(now);
        writes.into_iter().for_each(|write| self.commits.write(write));
        for user in away {
            self.agent.set_online(&user, false);
        }
        let writes = self.agent.handle_timeout(now);
        writes.into_iter().for_each(|write| self.commits.write(write));
        self.expire_messages(now);
        self.keep_unanswered(now);
        self.give_up_notifies(now);
        self.send_notifies(now);
        self.drain(now);
    }

    /// Returns when [`Home::handle_timeout`] is due.
    pub fn poll_timeout(&self, now: Now) -> Option<Instant> {
        let wall = [self.location.next_expiry_ms(), self.messages.next_expiry_ms()];
        let wall = wall.into_iter().flatten().map(|unix_ms| now.instant_of(unix_ms));
        let machines = [
            self.framing.poll_timeout(),
            self.layer.poll_timeout(),
            self.exchanges.poll_timeout(),
            self.commits.poll_timeout(),
            self.agent.poll_timeout(now),
            self.deliveries.poll_timeout(),
            self.passed_on.front().map(|(deadline, _)| *deadline),
        ];
        machines.into_iter().flatten().chain(wall).min()
    }

    /// Returns the next effect.
    pub fn poll_effect(&mut self) -> Option<HomeEffect> {
        self.effects.pop_front()
    }

    /// Returns the commit of this round.
    pub fn poll_commit(&mut self) -> Option<(u64, Vec<Write>)> {
        self.commits.take()
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

    fn open(&mut self, id: FlowId, transport: Transport, ends: Option<Ends>) {
        self.flows.insert(id, ends);
        self.framing.open(id);
        self.location.open(id, transport);
    }

    fn handle_message(&mut self, id: FlowId, message: Message, facts: Facts<'_>, now: Now) {
        match message {
            Message::Response(response) => self.layer.handle_response(response, id),
            Message::Request(mut request) => {
                if let Some(ends) = self.flows.get(&id).copied().flatten() {
                    request.record_source(ends.peer);
                }
                self.handle_request(id, &request, facts, now);
            }
        }
        // What it caused goes out before the next message is looked at.
        self.drain(now);
    }

    /// Sends a request to a device: on its flow, or on one that is opened for it.
    fn send_to(
        &mut self,
        user: &Jid,
        reach: &location::Reach,
        request: OutgoingRequest,
        purpose: Purpose,
        now: Now,
    ) {
        if let Some(flow) = reach.flow {
            if self.flows.contains_key(&flow) {
                return self.send_on(flow, &request, purpose, now);
            }
            // Still being opened.
            if let Some(waiting) = self.connecting.get_mut(&flow) {
                return waiting.push((request, purpose));
            }
        }
        self.last_own_flow += 1;
        let flow = FlowId(self.last_own_flow);
        self.location.reached(user, &reach.uri, flow);
        self.connecting.insert(flow, vec![(request, purpose)]);
        self.effects.push_back(HomeEffect::Connect(flow, reach.uri.clone()));
    }

    fn send_on(&mut self, id: FlowId, request: &OutgoingRequest, purpose: Purpose, now: Now) {
        let transport = self.location.transport(id).unwrap_or(Transport::Tcp);
        match self.layer.send_request(request, Flow { id, transport }, now.instant) {
            Ok(client) => {
                if *request.method() == Method::Notify && matches!(purpose, Purpose::Relay(..)) {
                    self.passed_on.push_back((now.instant + ANSWER_MAX, client));
                }
                self.purposes.insert(client, purpose);
            }
            Err(error) => {
                tracing::error!(%error, "a SIP request could not be sent");
                self.finish(purpose, &Answer::Lost, now);
            }
        }
    }

    /// Sends a request to the gateway that is made here.
    fn ask_gateway(&mut self, request: OutgoingRequest, purpose: Purpose, now: Now) {
        let sent_by = &self.settings.sent_by;
        match self.exchanges.begin_with(request, sent_by, purpose, now.instant) {
            Ok((id, request)) => self.effects.push_back(HomeEffect::Ask(id, request)),
            Err(purpose) => self.finish(purpose, &Answer::Lost, now),
        }
    }

    fn respond(&mut self, asker: Asker, response: OutgoingResponse, now: Now) {
        match asker {
            // The device may be gone; nobody waits for the answer then.
            Asker::Device(server) => {
                let _ = self.layer.respond(server, &response, now.instant);
            }
            Asker::Gateway(id) => self.effects.push_back(HomeEffect::Answer(id, response)),
        }
    }

    fn respond_status(
        &mut self,
        asker: Asker,
        request: &Request,
        status: StatusCode,
        reason: &str,
        now: Now,
    ) {
        let mut response = OutgoingResponse::to(request, status, Some(&self.ids.tag()));
        if !reason.is_empty() {
            response = response.with_reason_phrase(reason);
        }
        self.respond(asker, response, now);
    }

    fn transmit(&mut self, flow: FlowId, bytes: Bytes) {
        self.effects.push_back(HomeEffect::Transmit(Transmit { flow, bytes }));
    }

    fn drain(&mut self, now: Now) {
        loop {
            while let Some(transmit) = self.layer.poll_transmit() {
                self.effects.push_back(HomeEffect::Transmit(transmit));
            }
            let Some(event) = self.layer.poll_event() else { return };
            match event {
                TransactionEvent::Response(client, response) => {
                    if let Some(purpose) = self.purposes.remove(&client) {
                        self.finish(
                            purpose,
                            &Answer::Response(FinalResponse::from(&*response)),
                            now,
                        );
                    }
                }
                TransactionEvent::Timeout(client) => {
                    if let Some(purpose) = self.purposes.remove(&client) {
                        self.finish(purpose, &Answer::Timeout, now);
                    }
                }
                TransactionEvent::FlowClosed(client) => {
                    if let Some(purpose) = self.purposes.remove(&client) {
                        self.finish(purpose, &Answer::Lost, now);
                    }
                }
            }
        }
    }

    fn finish(&mut self, purpose: Purpose, answer: &Answer<'_>, now: Now) {
        match purpose {
            Purpose::Relay(asker, _, request) => {
                self.forget_answered_notifies();
                self.finish_relay(asker, &request, answer, now);
            }
            Purpose::Fork(delivery) => self.finish_fork(delivery, answer, now),
            Purpose::Notify(dialog) => self.finish_notify(&dialog, answer, now),
            Purpose::Notice => {}
        }
    }
}

#[cfg(test)]
mod tests;
