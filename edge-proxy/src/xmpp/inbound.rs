//! Drives one stream that a peer opened: machine, socket, hub.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use host::socket::Connection;
use host::tls::{ByDomain, TrustAnchors};
use link::wire::stream_report::Direction;
use link::wire::{Bounced, StreamReport};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use xmpp_proto::stream::{
    CloseReason, Disconnect, DomainPair, Proof, ReceivedStanza, ReceivingEvent, ReceivingStream,
    StreamCondition, StreamTerms, Verdict,
};
use xmpp_proto::xml::write_stanza;

use super::certificate::{self, Certificate};
use super::failure::Phase;
use super::inbound_attempt::InboundAttempt;
use super::listener::{Registration, Registry};
use super::outbound::PartnerCommand;
use super::pace::Pace;
use super::pool::Pool;
use super::report::{self, StreamTls, WithoutTls, count_established};
use super::unsettled::{Arrived, Progress, Unsettled, pair_of};
use crate::admission::Admitted;
use crate::hub::Inbound;
use crate::hub_driver::{HubInput, HubSender};

mod carrying;

use carrying::Carrying;
pub use carrying::Load;

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
    /// A stanza of ours goes on the stream, which is bidirectional.
    Carry(Load),
    /// An iq came elsewhere that may answer a ping on this stream; if not, it goes to the front end.
    BarrierAnswer(String, Option<Box<Inbound>>),
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
    let attempt = InboundAttempt::begin(registration.address(), around.begins_with_tls, now);
    let mut driver = Driver {
        machine,
        attempt,
        connection,
        around,
        registration,
        number,
        unsettled: Unsettled::new(number),
        pace: Pace::default(),
        carrying: Carrying::default(),
        open: Vec::new(),
        without_tls: None,
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
    attempt: InboundAttempt,
    connection: Connection,
    around: Surroundings,
    registration: Registration,
    number: u64,
    unsettled: Unsettled,
    pace: Pace,
    /// Our stanzas, where the stream is bidirectional.
    carrying: Carrying,
    open: Vec<(DomainPair, Proof)>,
    without_tls: Option<WithoutTls>,
    /// Whether the peer proved a domain but may have no further stream.
    is_refused: bool,
    ended: Option<Instant>,
}

impl Driver {
    async fn run(&mut self) {
        loop {
            self.apply_events().await;
            if self.ended.is_some() && self.connection.waiting_bytes() == 0 {
                break;
            }
            let paused_until = self.pace.paused_until(Instant::now());
            let due = [self.machine.poll_timeout(), self.ended, paused_until];
            let due = due.into_iter().flatten().min().map(tokio::time::Instant::from_std);
            let attached = *self.around.attached.borrow();
            let reading = self.ended.is_none()
                && attached
                && self.unsettled.has_room()
                && paused_until.is_none();
            let paused = !reading && self.connection.waiting_bytes() == 0;
            tokio::select! {
                command = self.registration.next_command() => {
                    self.handle_command(command).await;
                    // What else waits goes out in the same write.
                    while let Some(command) = self.registration.waiting_command() {
                        self.handle_command(command).await;
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
                    if let Some((pair, _)) = self.open.first() {
                        self.pace = Pace::of(&pair.remote, &self.around.registry, &admitted);
                    }
                    self.machine.handle_admission(&admitted.streams, Instant::now());
                }
                () = crate::sleep_until(due) => if !self.handle_timeout(reading) {
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
            self.handle_command(command).await;
        }
    }

    /// Returns whether the connection goes on.
    fn handle_bytes(&mut self, bytes: std::io::Result<Bytes>, reading: bool) -> bool {
        let now = Instant::now();
        match bytes {
            Ok(bytes) if !bytes.is_empty() => {
                self.pace.count_bytes(bytes.len(), now);
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
    fn handle_timeout(&mut self, reading: bool) -> bool {
        let now = Instant::now();
        if self.ended.is_some_and(|until| until <= now) {
            return false;
        }
        if !reading {
            self.machine.handle_reading_paused(now);
        }
        let admitted = Arc::clone(&self.around.admitted.borrow());
        self.machine.handle_timeout(&admitted.streams, now);
        true
    }

    async fn handle_command(&mut self, command: InboundCommand) {
        let now = Instant::now();
        match command {
            InboundCommand::Settled(index, outcome) => {
                let progress = self.unsettled.settle(index, outcome);
                self.handle_progress(progress, now);
            }
            InboundCommand::Verdict(pair, stream_id, verdict) => {
                let admitted = Arc::clone(&self.around.admitted.borrow());
                self.machine.handle_verdict(&pair, &stream_id, verdict, &admitted.streams, now);
            }
            InboundCommand::Carry(load) => self.carry(&load, now),
            InboundCommand::BarrierAnswer(id, stanza) => {
                self.handle_barrier_answer(&id, stanza, now).await;
            }
            InboundCommand::Close(condition) => self.close(condition, now),
        }
    }

    fn close(&mut self, condition: Option<StreamCondition>, now: Instant) {
        let admitted = Arc::clone(&self.around.admitted.borrow());
        self.machine.close(condition, &admitted.streams, now);
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
                ReceivingEvent::Bounce(reply) => {
                    let progress = self.unsettled.bounce(reply);
                    self.handle_progress(progress, Instant::now());
                }
                ReceivingEvent::Delivered { token } => self.handle_delivered(token),
                ReceivingEvent::Closed(reason) => {
                    if self.open.is_empty() {
                        self.tell_attempt(None, Some(&reason)).await;
                    }
                    let cause = reason.cause.label();
                    metrics::counter!("edge_xmpp_inbound_closed_total", "cause" => cause)
                        .increment(1);
                    let partner = self.open.first().map(|(pair, _)| pair.remote.to_string());
                    if let Some(suppressed) = self.registration.record() {
                        tracing::info!(
                            stream = self.number, partner, %reason, suppressed,
                            "a stream from a peer ended"
                        );
                    }
                    self.end_carrying(&reason.to_string());
                    self.ended = Some(Instant::now() + crate::CLOSE_MAX);
                }
            }
        }
    }

    async fn start_tls(&mut self) {
        self.attempt.enter(Phase::Tls, Instant::now());
        let acceptor = self.around.acceptors.of(self.machine.tls_domain()).clone();
        let limit = self.around.admitted.borrow().limits.negotiation_max;
        let Ok(begins_at) = self.registration.begin_handshake() else {
            return self.machine.handle_disconnect(Disconnect::TlsFailed);
        };
        let handshake = async {
            // Even a wait for what is past takes a tick.
            if begins_at > Instant::now() {
                tokio::time::sleep_until(begins_at.into()).await;
            }
            self.connection.progress(false).await?;
            self.connection.accept_tls(&acceptor).await
        };
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(limit, handshake) => outcome,
            // Nothing but the end is told to a stream without a pair; a peer that stalls must not
            // keep us from it.
            command = self.registration.next_command() => {
                return self.handle_command(command).await;
            }
        };
        match outcome {
            Ok(Ok(())) => {
                let chain = self.connection.peer_certificates();
                let around = &self.around;
                let peer = Certificate::examine(chain, &around.trust, &around.admitted);
                self.attempt.note_tls(peer.clone(), self.connection.tls_version(), Instant::now());
                self.machine.handle_tls(Box::new(peer), Instant::now());
            }
            Ok(Err(error)) => {
                certificate::tell_handshake(&error);
                if let Some(suppressed) = self.registration.record() {
                    tracing::info!(stream = self.number, %error, suppressed, "the TLS handshake failed");
                }
                self.attempt.note_tls_error(&error);
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
        if partner.is_some_and(|partner| !partner.keep_alive) {
            self.machine.forgo_keep_alive();
        }
        metrics::counter!("edge_xmpp_authenticated_total", "proof" => proof.label()).increment(1);
        tracing::info!(
            stream = self.number, partner = %pair.remote, local = %pair.local,
            proof = proof.label(), "a peer has proven its domain"
        );
        let direct_tls = self.around.begins_with_tls;
        let tls = StreamTls { version: self.connection.tls_version(), direct: direct_tls };
        let direction = Direction::Inbound;
        if self.open.is_empty() {
            self.pace = Pace::of(&pair.remote, &self.around.registry, &admitted);
            count_established(direction, tls);
            let in_clear = tls.version.is_none();
            self.without_tls = in_clear.then(|| WithoutTls::raise(&pair, direction));
        }
        let terms = admitted.streams.terms(&pair.local, &pair.remote);
        let bidirectional = self.machine.is_bidirectional() && terms.is_some_and(StreamTerms::bidi);
        let report = report::established(&pair, direction, self.number, proof, tls);
        self.tell(StreamReport { bidirectional, ..report }).await;
        self.tell_attempt(Some((&pair, proof)), None).await;
        if bidirectional {
            self.offer(&pair);
        }
        self.open.push((pair, proof));
    }

    async fn handle_stanza(&mut self, received: ReceivedStanza) {
        self.pace.count_stanza(Instant::now());
        let pair = pair_of(&received);
        let proof = self.open.iter().find(|(open, _)| *open == pair).map(|(_, proof)| *proof);
        let Arrived { inbound, barrier_answer } = self.unsettled.take(received, proof);
        let now = Instant::now();
        match barrier_answer {
            Some(id) if self.machine.handle_barrier_answer(&id, now) => {
                let progress = self.unsettled.settle(inbound.settling.index, Ok(()));
                self.handle_progress(progress, now);
            }
            Some(id) => {
                let stanza = Some(inbound);
                self.around.pool.send(&pair, PartnerCommand::BarrierAnswer { id, stanza });
            }
            None => self.forward(inbound).await,
        }
    }

    async fn forward(&mut self, inbound: Box<Inbound>) {
        // The hub is gone only while the process ends.
        let _ = self.around.hub.send(HubInput::Stanza(*inbound)).await;
    }

    /// Acknowledges what is settled; an error goes to the sender on our way to its domain.
    fn handle_progress(&mut self, progress: Progress, now: Instant) {
        if let Some((pair, reply)) = progress.reply {
            self.around.pool.send_error(&pair, write_stanza(&reply));
        }
        self.machine.acknowledge(progress.acknowledged, now);
    }

    async fn report_end(&mut self) {
        self.without_tls = None;
        for (pair, _) in std::mem::take(&mut self.open) {
            self.tell(report::closed(&pair, Direction::Inbound, self.number, String::new())).await;
        }
    }

    /// Tells what came of the peer's attempt to open the stream, if it said who it is.
    async fn tell_attempt(
        &mut self,
        proven: Option<(&DomainPair, Proof)>,
        ended: Option<&CloseReason>,
    ) {
        let now = Instant::now();
        let told = match (proven, ended) {
            (Some((pair, proof)), _) => Some(self.attempt.succeeded(pair, proof, now)),
            (None, Some(reason)) => self.attempt.failed(self.machine.claim(), reason, now),
            (None, None) => None,
        };
        let Some((remote, attempt)) = told else { return };
        let is_partners = self.around.admitted.borrow().partner(&remote).is_some();
        // The hub is gone only while the process ends.
        let input = HubInput::Attempted { attempt: Box::new(attempt), is_partners };
        let _ = self.around.hub.send(input).await;
    }

    /// Tells the front ends, in the order in which it happens.
    async fn tell(&mut self, report: StreamReport) {
        // The hub is gone only while the process ends.
        let _ = self.around.hub.send(HubInput::Report(report)).await;
    }
}
