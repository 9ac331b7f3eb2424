//! Drives one partner: looks it up, connects, and carries bytes between the stream and the socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use host::socket::Connection;
use link::wire::Bounced;
use link::wire::stream_report::{Direction, State};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::task::TaskTracker;
use xmpp_proto::stream::{Disconnect, DomainPair, Verdict, VerifyRequest};

use super::attempt_text;
use super::certificate::{self, Certificate};
use super::failure::Failure;
use super::inbound::{InboundCommand, Load};
use super::listener::Registry;
use super::pace::Pace;
use super::partner::{Carried, Partner, PartnerEffect};
use super::queue::Ticket;
use super::report::{StreamTls, WithoutTls, count_established};
use crate::admission::Admitted;
use crate::connect::{Connector, Reached, server_name};
use crate::hub::Inbound;
use crate::hub_driver::{HubInput, HubSender};

mod arrivals;
mod gauge;
mod socket;

use arrivals::Arrivals;
use gauge::WaitingGauge;
use socket::{Progress, Socket};

/// What is asked of a partner's driver.
#[derive(Debug)]
pub enum PartnerCommand {
    /// Send a stanza, as it goes on a stream.
    Send(Ticket, Bytes),
    /// Send an error of this edge, which gives up its room while it waits here.
    SendError(Bytes, OwnedSemaphorePermit),
    /// Verify a dialback key, and answer the stream that asks.
    Verify(VerifyRequest, mpsc::UnboundedSender<InboundCommand>),
    /// An iq came that may answer a ping of the stream; if not, it goes to the front end.
    BarrierAnswer {
        /// The id of the iq.
        id: String,
        /// The iq.
        stanza: Option<Box<Inbound>>,
    },
    /// A stream that the partner opened carries our stanzas too.
    Offer {
        /// Our number of the stream.
        stream: u64,
        /// Where they go.
        commands: mpsc::UnboundedSender<InboundCommand>,
    },
    /// Something became of what that stream carries.
    Carried {
        /// Our number of the stream.
        stream: u64,
        /// What.
        carried: Carried,
    },
    /// A stanza that a stream of ours brought has its outcome.
    Settled {
        /// Our number of the stream.
        stream: u64,
        /// The stanza's number on the stream.
        index: u64,
        /// Delivered, or why not.
        outcome: Result<(), Bounced>,
    },
    /// Close the stream.
    Close,
    /// Close the stream once what is on its way has its outcome, and end.
    End,
}

/// How long that may take.
const OUTCOMES_WAIT: Duration = Duration::from_secs(2);

/// What a driver needs of the edge.
#[derive(Clone)]
pub struct Reach {
    /// What may be admitted.
    pub admitted: watch::Receiver<Arc<Admitted>>,
    /// Whether a front end is attached.
    pub attached: watch::Receiver<bool>,
    /// How partners are found and connected to.
    pub connector: Arc<Connector>,
    /// Where stanzas and outcomes go.
    pub hub: HubSender,
    /// All streams that bring stanzas.
    pub registry: Registry,
    /// What is left of connections runs here.
    pub tasks: TaskTracker,
}

/// Drives the partner until [`PartnerCommand::End`], or until the sender of commands is gone;
/// `own` is that sender.
pub async fn drive(
    pair: DomainPair,
    mut commands: mpsc::UnboundedReceiver<PartnerCommand>,
    own: mpsc::WeakUnboundedSender<PartnerCommand>,
    reach: Reach,
) {
    let Reach { mut admitted, mut attached, connector, hub, registry, tasks } = reach;
    let partner = Partner::new(pair.clone(), &admitted.borrow_and_update(), crate::draw);
    let pace = Pace::of(&pair.remote, &registry, &admitted.borrow());
    let mut driver = Driver {
        pair,
        pace,
        partner,
        socket: Socket::None,
        is_direct_tls: false,
        without_tls: None,
        verifiers: Vec::new(),
        ways: BTreeMap::new(),
        arrivals: Arrivals::new(registry.clone(), own),
        registry,
        connector,
        hub,
        tasks,
        leaving: Leaving::No,
    };
    let mut gauge = WaitingGauge::default();
    loop {
        let is_over = driver.leave(Instant::now());
        if driver.apply_effects(&admitted).await.is_err() || is_over {
            return;
        }
        gauge.show(driver.partner.waiting());
        let is_bidirectional = driver.partner.is_bidirectional();
        let paused_until = driver.pace.paused_until(Instant::now()).filter(|_| is_bidirectional);
        let due = [driver.partner.poll_timeout(), driver.leaving.deadline(), paused_until];
        let due = due.into_iter().flatten().min().map(tokio::time::Instant::from_std);
        let is_attached = *attached.borrow();
        let may_read = is_attached && driver.arrivals.has_room() && paused_until.is_none();
        let reading = !is_bidirectional || may_read;
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => {
                    driver.handle_command(command).await;
                    // What else waits goes out in the same write.
                    while let Ok(command) = commands.try_recv() {
                        driver.handle_command(command).await;
                    }
                }
                None => return,
            },
            progress = driver.socket.progress(reading) => driver.handle_progress(progress, &admitted),
            changed = admitted.changed() => {
                if changed.is_err() {
                    return;
                }
                let admitted = Arc::clone(&admitted.borrow_and_update());
                driver.pace = Pace::of(&driver.pair.remote, &driver.registry, &admitted);
                driver.partner.handle_admission(&admitted, Instant::now());
            }
            _ = attached.changed(), if !is_attached => {}
            () = crate::sleep_until(due) => {
                let now = Instant::now();
                if !reading {
                    driver.partner.handle_reading_paused(now);
                }
                driver.partner.handle_timeout(now);
            }
        }
    }
}

struct Driver {
    pair: DomainPair,
    pace: Pace,
    partner: Partner,
    socket: Socket,
    /// Whether the connection began with TLS.
    is_direct_tls: bool,
    without_tls: Option<WithoutTls>,
    verifiers: Vec<(VerifyRequest, mpsc::UnboundedSender<InboundCommand>)>,
    /// The streams of the partner that carry our stanzas.
    ways: BTreeMap<u64, mpsc::UnboundedSender<InboundCommand>>,
    arrivals: Arrivals,
    registry: Registry,
    connector: Arc<Connector>,
    hub: HubSender,
    tasks: TaskTracker,
    leaving: Leaving,
}

/// How far the end of the process has come here.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    No,
    /// What is on its way may get its outcome, until then.
    Waiting(Instant),
    /// The stream was told to close.
    Closing,
}

impl Leaving {
    const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Waiting(until) => Some(until),
            Self::No | Self::Closing => None,
        }
    }
}

impl Driver {
    async fn handle_command(&mut self, command: PartnerCommand) {
        let now = Instant::now();
        match command {
            PartnerCommand::Send(ticket, bytes) => self.partner.send(ticket, bytes, now),
            PartnerCommand::SendError(bytes, _room) => {
                self.partner.send(Ticket::Nobody, bytes, now);
            }
            PartnerCommand::Verify(request, asker) => {
                self.verifiers.push((request.clone(), asker));
                self.partner.verify(request, now);
            }
            PartnerCommand::BarrierAnswer { id, stanza } => {
                self.handle_barrier_answer(id, stanza, now).await;
            }
            PartnerCommand::Offer { stream, commands } => {
                self.ways.insert(stream, commands);
                self.partner.handle_offer(stream, now);
            }
            PartnerCommand::Carried { stream, carried } => {
                if let Carried::Ended { .. } = carried {
                    self.ways.remove(&stream);
                }
                self.partner.handle_carried(stream, carried, now);
            }
            PartnerCommand::Settled { stream, index, outcome } => {
                let settlement = self.arrivals.settle(stream, index, outcome);
                self.handle_settlement(settlement, now);
            }
            PartnerCommand::Close => self.partner.close(now),
            PartnerCommand::End => self.leaving = Leaving::Waiting(now + OUTCOMES_WAIT),
        }
    }

    /// While the process ends: closes the stream when it is time to; returns whether there is
    /// none any more.
    fn leave(&mut self, now: Instant) -> bool {
        match self.leaving {
            Leaving::No => return false,
            Leaving::Waiting(until) if self.is_busy() && now < until => return false,
            Leaving::Waiting(_) => {
                self.leaving = Leaving::Closing;
                self.partner.close(now);
            }
            Leaving::Closing => {}
        }
        !self.partner.has_stream()
    }

    /// Returns whether an outcome may soon come of something, in either direction.
    fn is_busy(&self) -> bool {
        self.partner.is_busy() || !self.arrivals.is_empty()
    }

    fn handle_progress(&mut self, progress: Progress, receiver: &watch::Receiver<Arc<Admitted>>) {
        let now = Instant::now();
        let admitted = Arc::clone(&receiver.borrow());
        match progress {
            Progress::Located(located) => {
                self.socket = Socket::None;
                self.partner.handle_located(located, now);
            }
            Progress::Tried(tried, outcome) => {
                self.socket = Socket::None;
                self.partner.note_tried(tried);
                self.handle_outcome(outcome, receiver, now);
            }
            Progress::Secured(connection) => {
                let peer = self.examine(&connection, receiver);
                self.socket = Socket::Connected(connection);
                self.partner.handle_tls(&peer, &admitted, now);
            }
            Progress::TlsFailed(error) => {
                certificate::tell_handshake(&error);
                self.socket = Socket::None;
                self.partner.note_tls(Err(error.to_string()));
                self.partner.handle_disconnect(Disconnect::TlsFailed, now);
            }
            Progress::Bytes(bytes) => {
                self.pace.count_bytes(bytes.len(), now);
                self.partner.handle_bytes(&bytes, &admitted, now);
            }
            Progress::Written => {}
            Progress::Lost => {
                self.socket = Socket::None;
                self.partner.handle_disconnect(Disconnect::Lost, now);
            }
        }
    }

    /// Takes what came of connecting to a server.
    fn handle_outcome(
        &mut self,
        outcome: Result<Reached, Failure>,
        receiver: &watch::Receiver<Arc<Admitted>>,
        now: Instant,
    ) {
        let admitted = Arc::clone(&receiver.borrow());
        match outcome {
            Ok(Reached::InClear(connection)) => {
                self.is_direct_tls = false;
                self.socket = Socket::Connected(connection);
                self.partner.handle_connected(crate::random(), &admitted, now);
            }
            Ok(Reached::DirectTls(connection)) => {
                self.is_direct_tls = true;
                let peer = self.examine(&connection, receiver);
                self.socket = Socket::Connected(connection);
                self.partner.handle_connected_by_tls(&peer, crate::random(), &admitted, now);
            }
            Err(failure) => self.partner.handle_connect_failed(failure, now),
        }
    }

    fn examine(
        &mut self,
        connection: &Connection,
        admitted: &watch::Receiver<Arc<Admitted>>,
    ) -> Certificate {
        let chain = connection.peer_certificates();
        let peer = Certificate::examine(chain, self.connector.trust(), admitted);
        self.partner.note_tls(Ok(peer.facts(&self.pair.remote, connection.tls_version())));
        peer
    }

    /// Carries out what the partner decided; fails when the hub is gone.
    async fn apply_effects(&mut self, admitted: &watch::Receiver<Arc<Admitted>>) -> Result<(), ()> {
        loop {
            while let Some(bytes) = self.partner.poll_transmit() {
                if let Socket::Connected(connection) = &mut self.socket {
                    connection.send(&bytes);
                }
            }
            let Some(effect) = self.partner.poll_effect() else { return Ok(()) };
            let input = match effect {
                PartnerEffect::Locate
                | PartnerEffect::Connect(..)
                | PartnerEffect::StartTls
                | PartnerEffect::Disconnect
                | PartnerEffect::Carry { .. }
                | PartnerEffect::Bounce(_)
                | PartnerEffect::Verdict(..) => {
                    self.apply_here(effect, admitted);
                    continue;
                }
                PartnerEffect::Received(received) => {
                    let admitted = Arc::clone(&admitted.borrow());
                    self.handle_received(*received, &admitted).await;
                    continue;
                }
                PartnerEffect::Outcome(id, outcome) => HubInput::Outcome { id, outcome },
                PartnerEffect::Grant(credit) => HubInput::Grant { pair: self.pair.clone(), credit },
                PartnerEffect::Attempted(record) => {
                    let is_partners = admitted.borrow().partner(&self.pair.remote).is_some();
                    let (partner, steps) = (&self.pair.remote, record.steps.len());
                    tracing::debug!(%partner, steps, "an attempt is over");
                    let attempt = attempt_text::of_record(&record, Instant::now()).into();
                    HubInput::Attempted { attempt, is_partners }
                }
                PartnerEffect::Report(mut report) => {
                    if report.state() == State::Established {
                        let version = self.socket.tls_version();
                        report.tls_version = version.unwrap_or_default().into();
                        report.direct_tls = self.is_direct_tls;
                        let direction = Direction::Outbound;
                        count_established(
                            direction,
                            StreamTls { version, direct: self.is_direct_tls },
                        );
                        let raise = || WithoutTls::raise(&self.pair, direction);
                        self.without_tls = version.is_none().then(raise);
                    }
                    HubInput::Report(report)
                }
            };
            self.hub.send(input).await.map_err(|_| ())?;
        }
    }

    /// Carries out what the hub does not hear of.
    fn apply_here(&mut self, effect: PartnerEffect, admitted: &watch::Receiver<Arc<Admitted>>) {
        let admitted = Arc::clone(&admitted.borrow());
        let (connector, pair) = (Arc::clone(&self.connector), self.pair.clone());
        match effect {
            PartnerEffect::Locate => {
                let locating = async move { connector.locate(&pair.remote, &admitted).await };
                self.socket = Socket::Locating(Box::pin(locating));
            }
            PartnerEffect::Connect(target, until) => {
                self.socket = Socket::Connecting(Box::pin(async move {
                    connector.connect(&pair, &target, &admitted, until).await
                }));
            }
            PartnerEffect::StartTls => self.start_tls(),
            PartnerEffect::Disconnect => {
                self.without_tls = None;
                self.arrivals.end_stream();
                self.disconnect();
            }
            PartnerEffect::Carry { stream, token, bytes } => {
                let load = Load { pair, token, bytes };
                if let Some(way) = self.ways.get(&stream) {
                    // Of one that has ended we are told, and what it did not get.
                    let _ = way.send(InboundCommand::Carry(load));
                }
            }
            PartnerEffect::Bounce(reply) => {
                let settlement = self.arrivals.bounce(reply);
                self.handle_settlement(settlement, Instant::now());
            }
            PartnerEffect::Verdict(pair, stream_id, verdict) => {
                self.answer_verifiers(&pair, &stream_id, verdict);
            }
            PartnerEffect::Received(_)
            | PartnerEffect::Outcome(..)
            | PartnerEffect::Grant(_)
            | PartnerEffect::Attempted(_)
            | PartnerEffect::Report(_) => {}
        }
    }

    /// Begins TLS once all is written; the stream's own time limits end a handshake that stalls.
    fn start_tls(&mut self) {
        let socket = std::mem::replace(&mut self.socket, Socket::None);
        let Socket::Connected(mut connection) = socket else { return };
        let DomainPair { local, remote } = self.pair.clone();
        let connector = Arc::clone(&self.connector);
        self.socket = Socket::Securing(Box::pin(async move {
            connection.progress(false).await?;
            connection.connect_tls(connector.tls(&local), server_name(&remote)?).await?;
            Ok(connection)
        }));
    }

    /// Lets what waits go out and closes the socket, while a new attempt may begin.
    fn disconnect(&mut self) {
        if let Socket::Connected(mut connection) = std::mem::replace(&mut self.socket, Socket::None)
        {
            self.tasks.spawn(async move {
                let closing = tokio::time::timeout(crate::CLOSE_MAX, connection.close());
                // Whatever comes of it, the stream is over.
                let _ = closing.await;
            });
        }
    }

    fn answer_verifiers(&mut self, pair: &DomainPair, stream_id: &str, verdict: Verdict) {
        self.verifiers.retain(|(request, asker)| {
            let asked = request.pair == *pair && request.stream_id == stream_id;
            if asked {
                let _ = asker.send(InboundCommand::Verdict(
                    pair.clone(),
                    stream_id.to_owned(),
                    verdict,
                ));
            }
            !asked
        });
    }
}
