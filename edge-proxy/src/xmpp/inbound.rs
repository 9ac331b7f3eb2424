//! Drives one stream that a peer opened: machine, socket, hub.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use host::log::identity;
use host::socket::Connection;
use host::tls::{ByDomain, TrustAnchors};
use link::wire::stream_report::Direction;
use link::wire::{Bounced, StreamFacts, StreamReport};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use xmpp_proto::ns;
use xmpp_proto::stanza::Stanza;
use xmpp_proto::stanza::error::{StanzaCondition, StanzaError};
use xmpp_proto::stream::{
    Disconnect, DomainPair, Proof, ReceivedStanza, ReceivingEvent, ReceivingStream,
    StreamCondition, Verdict,
};
use xmpp_proto::xml::{Element, write_document, write_stanza};

use super::certificate::{self, Certificate};
use super::listener::{Registration, Registry};
use super::outbound::PartnerCommand;
use super::pool::Pool;
use super::report::{self, StreamTls, count_established, wire_proof};
use crate::admission::Admitted;
use crate::hub::{Inbound, Settling};
use crate::hub_driver::{HubInput, HubSender};

/// Stanzas of one stream that may be unsettled, and their bytes; beyond that its socket is not
/// read.
const UNSETTLED_MAX: usize = link::CREDIT_INITIAL as usize;
const UNSETTLED_BYTES_MAX: usize = 1024 * 1024;

/// How long the stanzas of a stream that has ended may take to be settled: longer than the hub
/// takes to give up on a front end.
const SETTLE_MAX: Duration = Duration::from_secs(15);

/// What the rest of the edge tells a stream.
#[derive(Debug)]
pub enum InboundCommand {
    /// A stanza has its outcome.
    Settled(u64, Result<(), Bounced>),
    /// The key that a stream of this ID brought for the pair has its verdict.
    Verdict(DomainPair, String, Verdict),
    /// The stream is to be closed.
    Close(Option<StreamCondition>),
}

/// What a stream needs of the edge.
#[derive(Clone)]
pub struct Surroundings {
    /// What may be admitted.
    pub admitted: watch::Receiver<Arc<Admitted>>,
    /// Whether a front end is attached.
    pub attached: watch::Receiver<bool>,
    /// Our certificates.
    pub acceptors: ByDomain<TlsAcceptor>,
    /// Whether connections begin with TLS (XEP-0368).
    pub begins_with_tls: bool,
    /// The authorities that peers are checked against.
    pub trust: Arc<TrustAnchors>,
    /// Where stanzas go.
    pub hub: HubSender,
    /// Where keys are verified and errors go back.
    pub pool: Pool,
    /// All streams that peers opened.
    pub registry: Registry,
}

/// Drives a stream to its end.
pub async fn drive(connection: Connection, registration: Registration, around: Surroundings) {
    let number = registration.number();
    let (limits, refused) = {
        let admitted = around.admitted.borrow();
        (admitted.limits, !*around.attached.borrow())
    };
    let now = Instant::now();
    let machine = match around.begins_with_tls {
        true => ReceivingStream::direct_tls(limits, crate::random(), now),
        false => ReceivingStream::new(limits, crate::random(), now),
    };
    let mut driver = Driver {
        machine,
        connection,
        around,
        registration,
        number,
        unsettled: VecDeque::new(),
        unsettled_bytes: 0,
        first_index: 0,
        open: Vec::new(),
        is_refused: false,
        ended: None,
    };
    if refused {
        // Without a front end nothing can be admitted: fail closed, and say that it may pass.
        driver.close(Some(StreamCondition::InternalServerError), now);
    }
    driver.run().await;
}

struct Driver {
    machine: ReceivingStream,
    connection: Connection,
    around: Surroundings,
    registration: Registration,
    number: u64,
    unsettled: VecDeque<Pending>,
    unsettled_bytes: usize,
    first_index: u64,
    open: Vec<(DomainPair, Proof)>,
    /// Whether the peer proved a domain but may have no further stream.
    is_refused: bool,
    ended: Option<Instant>,
}

/// A stanza that a front end has been offered, or will be.
struct Pending {
    settled: bool,
    /// The stanza without its content, for an error in answer.
    envelope: Element,
    pair: DomainPair,
    bytes: usize,
}

impl Driver {
    async fn run(&mut self) {
        loop {
            self.apply_events().await;
            if self.ended.is_some() && self.connection.waiting_bytes() == 0 {
                break;
            }
            let due = [self.machine.poll_timeout(), self.ended];
            let due = due.into_iter().flatten().min().map(tokio::time::Instant::from_std);
            let attached = *self.around.attached.borrow();
            let reading = self.ended.is_none() && attached && self.has_room();
            let paused = !reading && self.connection.waiting_bytes() == 0;
            tokio::select! {
                command = self.registration.next_command() => {
                    self.handle_command(command);
                    // What else waits goes out in the same write.
                    while let Some(command) = self.registration.waiting_command() {
                        self.handle_command(command);
                    }
                }
                bytes = self.connection.progress(reading), if !paused => {
                    if !self.handle_bytes(bytes, reading) {
                        break;
                    }
                }
                _ = self.around.attached.changed(), if !attached => {}
                Ok(()) = self.around.admitted.changed() => {
                    let admitted = Arc::clone(&self.around.admitted.borrow_and_update());
                    self.machine.handle_admission(&admitted.streams, Instant::now());
                }
                () = sleep_until(due) => if !self.handle_timeout() {
                    break;
                },
            }
        }
        self.report_end().await;
        let closing = tokio::time::timeout(crate::CLOSE_MAX, self.connection.close());
        // Whatever comes of it, the stream is over.
        let _ = closing.await;
        let settling = tokio::time::timeout(SETTLE_MAX, self.settle_rest());
        if settling.await.is_err() {
            let stanzas = self.unsettled.len();
            tracing::warn!(stream = self.number, stanzas, "an ended stream left stanzas unsettled");
        }
    }

    /// Waits for the outcomes of what the peer sent before its stream ended: errors go back on our
    /// own stream, which does not need the peer's.
    async fn settle_rest(&mut self) {
        while !self.unsettled.is_empty() {
            let command = self.registration.next_command().await;
            self.handle_command(command);
        }
    }

    /// Says whether more stanzas may come before some are settled.
    fn has_room(&self) -> bool {
        self.unsettled.len() < UNSETTLED_MAX && self.unsettled_bytes < UNSETTLED_BYTES_MAX
    }

    /// Returns whether the connection goes on.
    fn handle_bytes(&mut self, bytes: std::io::Result<Bytes>, reading: bool) -> bool {
        let now = Instant::now();
        match bytes {
            Ok(bytes) if !bytes.is_empty() => {
                let admitted = Arc::clone(&self.around.admitted.borrow());
                self.machine.handle_bytes(&bytes, &admitted.streams, now);
            }
            Ok(_) if !reading => {}
            Ok(_) | Err(_) => {
                self.machine.handle_disconnect(Disconnect::Lost);
                return self.ended.is_none();
            }
        }
        true
    }

    /// Returns whether the connection goes on.
    fn handle_timeout(&mut self) -> bool {
        let now = Instant::now();
        if self.ended.is_some_and(|until| until <= now) {
            return false;
        }
        let admitted = Arc::clone(&self.around.admitted.borrow());
        self.machine.handle_timeout(&admitted.streams, now);
        true
    }

    fn handle_command(&mut self, command: InboundCommand) {
        let now = Instant::now();
        match command {
            InboundCommand::Settled(index, outcome) => self.handle_settled(index, outcome, now),
            InboundCommand::Verdict(pair, stream_id, verdict) => {
                let admitted = Arc::clone(&self.around.admitted.borrow());
                self.machine.handle_verdict(&pair, &stream_id, verdict, &admitted.streams, now);
            }
            InboundCommand::Close(condition) => self.close(condition, now),
        }
    }

    fn close(&mut self, condition: Option<StreamCondition>, now: Instant) {
        let admitted = Arc::clone(&self.around.admitted.borrow());
        self.machine.close(condition, &admitted.streams, now);
    }

    /// Marks a stanza as settled; the machine acknowledges those before the first unsettled one.
    fn handle_settled(&mut self, index: u64, outcome: Result<(), Bounced>, now: Instant) {
        let offset = index.checked_sub(self.first_index).and_then(|it| usize::try_from(it).ok());
        let Some(pending) = offset.and_then(|offset| self.unsettled.get_mut(offset)) else {
            return;
        };
        pending.settled = true;
        if let Err(bounced) = outcome {
            let condition = StanzaCondition::of_name(&bounced.condition)
                .unwrap_or(StanzaCondition::UndefinedCondition);
            let error = StanzaError::new(condition).with_text(bounced.text);
            let reply = Stanza::of(&pending.envelope)
                .and_then(|stanza| error.reply_to(&stanza, &pending.pair.local));
            if let Some(reply) = reply {
                let pair = pending.pair.clone();
                self.send_back(&pair, &reply);
            }
        }
        let mut count = 0;
        while let Some(settled) = self.unsettled.pop_front_if(|pending| pending.settled) {
            self.unsettled_bytes -= settled.bytes;
            count += 1;
        }
        self.first_index += count;
        self.machine.acknowledge(count, now);
    }

    async fn apply_events(&mut self) {
        loop {
            while let Some(bytes) = self.machine.poll_transmit() {
                self.connection.send(&bytes);
            }
            let Some(event) = self.machine.poll_event() else { return };
            match event {
                ReceivingEvent::StartTls => self.start_tls().await,
                ReceivingEvent::Authenticated { pair, proof } => {
                    self.handle_pair(pair, proof).await;
                }
                ReceivingEvent::VerifyDialback(request) => {
                    let asker = self.registration.sender();
                    let pair = request.pair.clone();
                    self.around.pool.send(&pair, PartnerCommand::Verify(request, asker));
                }
                // RFC 6120 s.4.9.3.17: what came with a stream that is too many is not served.
                ReceivingEvent::Stanza(_) | ReceivingEvent::Bounce(_) if self.is_refused => {}
                ReceivingEvent::Stanza(received) => self.handle_stanza(*received).await,
                ReceivingEvent::Bounce(reply) => self.handle_bounce(reply),
                ReceivingEvent::Closed(reason) => {
                    let cause = reason.cause.label();
                    metrics::counter!("edge_xmpp_inbound_closed_total", "cause" => cause)
                        .increment(1);
                    let partner = self.open.first().map(|(pair, _)| pair.remote.to_string());
                    tracing::info!(stream = self.number, partner, %reason, "a stream from a peer ended");
                    self.ended = Some(Instant::now() + crate::CLOSE_MAX);
                }
            }
        }
    }

    async fn start_tls(&mut self) {
        let acceptor = self.around.acceptors.of(self.machine.tls_domain()).clone();
        let limit = self.around.admitted.borrow().limits.negotiation_max;
        let handshake = async {
            self.connection.progress(false).await?;
            self.connection.accept_tls(&acceptor).await
        };
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(limit, handshake) => outcome,
            // Nothing but the end is told to a stream without a pair; a peer that stalls must not
            // keep us from it.
            command = self.registration.next_command() => return self.handle_command(command),
        };
        match outcome {
            Ok(Ok(())) => {
                let chain = self.connection.peer_certificates();
                let around = &self.around;
                let peer = Certificate::examine(chain, &around.trust, &around.admitted);
                self.machine.handle_tls(Box::new(peer), Instant::now());
            }
            Ok(Err(error)) => {
                certificate::tell_handshake(&error);
                tracing::info!(stream = self.number, %error, "the TLS handshake failed");
                self.machine.handle_disconnect(Disconnect::TlsFailed);
            }
            Err(_) => self.machine.handle_disconnect(Disconnect::TlsFailed),
        }
    }

    async fn handle_pair(&mut self, pair: DomainPair, proof: Proof) {
        let admitted = Arc::clone(&self.around.admitted.borrow());
        let partner = admitted.partner(&pair.remote);
        let room = partner.is_none_or(|partner| self.registration.count_for(partner));
        if !room {
            tracing::warn!(partner = %pair.remote, "the partner has too many streams open");
            self.is_refused = true;
            return self.close(Some(StreamCondition::ResourceConstraint), Instant::now());
        }
        metrics::counter!("edge_xmpp_authenticated_total", "proof" => proof.label()).increment(1);
        tracing::info!(
            stream = self.number, partner = %pair.remote, local = %pair.local,
            proof = proof.label(), "a peer has proven its domain"
        );
        let direct_tls = self.around.begins_with_tls;
        if self.open.is_empty() {
            count_established(Direction::Inbound, direct_tls);
        }
        let tls = StreamTls { version: self.connection.tls_version(), direct: direct_tls };
        let direction = Direction::Inbound;
        self.tell(report::established(&pair, direction, self.number, proof, tls)).await;
        self.open.push((pair, proof));
    }

    async fn handle_stanza(&mut self, received: ReceivedStanza) {
        let pair = DomainPair {
            local: received.to.domain().clone(),
            remote: received.from.domain().clone(),
        };
        let proof = self.open.iter().find(|(open, _)| *open == pair).map(|(_, proof)| *proof);
        let index = self.first_index + self.unsettled.len() as u64;
        let correlation_id = crate::correlation_id();
        metrics::counter!("edge_xmpp_stanzas_received_total").increment(1);
        tracing::debug!(
            correlation_id, stream = self.number, from = %identity(received.from.as_str()),
            to = %identity(received.to.as_str()), kind = received.element.local(),
            "a stanza from a partner"
        );
        let inbound = Inbound {
            stanza: write_document(&received.element),
            facts: StreamFacts {
                stream_id: self.number.to_string(),
                proof: wire_proof(proof).into(),
                language: received.stream_language.as_deref().unwrap_or_default().to_owned(),
            },
            correlation_id,
            conversation: conversation(&received),
            settling: Settling { stream: self.number, index },
            pair: pair.clone(),
        };
        let barrier_answer = barrier_answer(&received);
        let envelope = without_content(received.element);
        let bytes = inbound.stanza.len();
        self.unsettled_bytes += bytes;
        self.unsettled.push_back(Pending { settled: false, envelope, pair: pair.clone(), bytes });
        match barrier_answer {
            Some(id) => {
                let stanza = Some((Box::new(inbound), self.registration.sender()));
                self.around.pool.send(&pair, PartnerCommand::BarrierAnswer { id, stanza });
            }
            // The hub is gone only while the process ends.
            None => drop(self.around.hub.send(HubInput::Stanza(inbound)).await),
        }
    }

    fn handle_bounce(&mut self, reply: Element) {
        let index = self.first_index + self.unsettled.len() as u64;
        let Some(pair) = pair_of_reply(&reply) else { return };
        self.send_back(&pair, &reply);
        let envelope = without_content(reply);
        self.unsettled.push_back(Pending { settled: false, envelope, pair, bytes: 0 });
        self.handle_settled(index, Ok(()), Instant::now());
    }

    /// Sends an error to a sender, on our own stream to its domain.
    fn send_back(&self, pair: &DomainPair, reply: &Element) {
        self.around.pool.send_error(pair, write_stanza(reply));
    }

    async fn report_end(&mut self) {
        for (pair, _) in std::mem::take(&mut self.open) {
            self.tell(report::closed(&pair, Direction::Inbound, self.number, String::new())).await;
        }
    }

    /// Tells the front ends, in the order in which it happens.
    async fn tell(&mut self, report: StreamReport) {
        // The hub is gone only while the process ends.
        let _ = self.around.hub.send(HubInput::Report(report)).await;
    }
}

/// Returns the number of a conversation: the same for both directions and all resources.
fn conversation(received: &ReceivedStanza) -> u64 {
    let mut ends = [received.from.bare(), received.to.bare()];
    ends.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    let [first, second] = &ends;
    let mut hash = Sha256::new();
    hash.update(first.as_str());
    hash.update("\0");
    hash.update(second.as_str());
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Returns the id of an iq that may answer a ping of ours: server to server, result or error.
fn barrier_answer(received: &ReceivedStanza) -> Option<String> {
    let element = &received.element;
    let is_answer = element.is(ns::SERVER, "iq")
        && matches!(element.attribute("type"), Some("result" | "error"))
        && received.from.localpart().is_none()
        && received.to.localpart().is_none();
    element.attribute("id").filter(|_| is_answer).map(str::to_owned)
}

/// Returns between whom a reply of ours goes.
fn pair_of_reply(reply: &Element) -> Option<DomainPair> {
    let stanza = Stanza::of(reply)?;
    let (from, to) = (stanza.from().ok()??, stanza.to().ok()??);
    Some(DomainPair { local: from.domain().clone(), remote: to.domain().clone() })
}

/// Reduces a stanza to what an error in answer to it needs.
fn without_content(mut stanza: Element) -> Element {
    stanza.reduce_to_attributes(&["from", "to", "id", "type"]);
    stanza
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
