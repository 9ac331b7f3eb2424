//! Reaches one server: drives the race of its addresses, and TLS where the connection begins with it.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use host::socket::Connection;
use tokio::net::TcpStream;
use xmpp_proto::locate::Target;
use xmpp_proto::stream::DomainPair;

use super::gate::Gate;
use super::lookup::no_address;
use super::race::{Family, Race};
use super::{Connector, Reached, server_name};
use crate::admission::Partner;
use crate::xmpp::attempt::TriedAddress;
use crate::xmpp::certificate::tell_handshake;
use crate::xmpp::failure::{Failure, FailureKind, Phase};
use crate::xmpp::partner::Tried;

/// Time for one TCP connection.
const TCP_CONNECT_MAX: Duration = Duration::from_secs(10);

/// A server to be reached, and under which terms.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) pair: &'a DomainPair,
    pub(super) target: &'a Target,
    pub(super) partner: &'a Partner,
    /// How long its TLS handshake may take.
    pub(super) handshake_max: Duration,
}

/// What has been done, which outlives the attempt when its time is up.
pub(super) struct Progress {
    tried: Tried,
    phase: Phase,
    since: Instant,
    /// The failure that the operator is told, where all addresses fail.
    failure: Option<Failure>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let since = Instant::now();
        Self { tried: Tried::default(), phase: Phase::Lookup, since, failure: None }
    }

    fn enter(&mut self, phase: Phase) {
        if self.phase != phase {
            let now = Instant::now();
            let of_phase = (self.phase, now - self.since);
            let phases = &mut self.tried.phases;
            match phases.iter_mut().find(|(phase, _)| *phase == of_phase.0) {
                Some((_, duration)) => *duration += of_phase.1,
                None => phases.push(of_phase),
            }
            (self.phase, self.since) = (phase, now);
        }
    }

    /// Returns what was tried, and what failed if the time is up.
    pub(super) fn end(mut self) -> (Tried, Failure) {
        let phase = self.phase;
        self.tried.phases.push((phase, self.since.elapsed()));
        let timed_out = Failure::new(phase, FailureKind::TimedOut, "the server took too long");
        (self.tried, Failure::most_telling(self.failure, timed_out))
    }

    fn fail(&mut self, address: IpAddr, failure: Failure) {
        let tried = self.tried.addresses.iter_mut().find(|it| it.address == address);
        if let Some(tried) = tried {
            tried.failure.clone_from(&failure.detail);
        }
        self.failure = Some(Failure::most_telling(self.failure.take(), failure));
    }
}

impl Connector {
    /// Connects to the first address that takes the connection and, where it begins with TLS, the
    /// handshake.
    pub(super) async fn race(
        &self,
        way: Way<'_>,
        progress: &mut Progress,
    ) -> Result<Reached, Failure> {
        let host = &way.target.host;
        let mut race = Race::new();
        let (mut v6, mut v4) = (None, None);
        let mut v6_lookup = pin!(self.lookups.addresses(host, Family::V6));
        let mut v4_lookup = pin!(self.lookups.addresses(host, Family::V4));
        let mut running = FuturesUnordered::new();
        loop {
            while let Some(address) = race.poll_attempt(Instant::now()) {
                progress.enter(Phase::Connect);
                progress.tried.addresses.push(TriedAddress { address, failure: String::new() });
                running.push(async move { (address, connect(address, way).await) });
            }
            if race.is_over() {
                break;
            }
            let due = race.poll_timeout().map(tokio::time::Instant::from_std);
            let (address, outcome) = tokio::select! {
                answer = &mut v6_lookup, if v6.is_none() => {
                    let records = answer.as_ref().map_or(&[][..], |it| &it.records);
                    race.handle_answer(Family::V6, records, Instant::now());
                    v6 = Some(answer);
                    continue;
                }
                answer = &mut v4_lookup, if v4.is_none() => {
                    let records = answer.as_ref().map_or(&[][..], |it| &it.records);
                    race.handle_answer(Family::V4, records, Instant::now());
                    v4 = Some(answer);
                    continue;
                }
                Some(outcome) = running.next() => outcome,
                () = crate::sleep_until(due) => continue,
            };
            let outcome = match outcome {
                Ok(connection) => {
                    race.handle_success();
                    running.clear();
                    self.begin(connection, way, progress).await
                }
                Err(failure) => Err(failure),
            };
            match outcome {
                Ok(reached) => return Ok(reached),
                Err(failure) => {
                    race.handle_failure();
                    progress.fail(address, failure);
                    progress.enter(Phase::Connect);
                }
            }
        }
        match (progress.failure.take(), v6, v4) {
            (None, Some(v6), Some(v4)) => Err(no_address(&way.pair.remote, host, [v6, v4])),
            (failure, ..) => Err(failure.unwrap_or_else(|| unreachable("no address was tried"))),
        }
    }

    /// Does what comes before the stream: nothing, or TLS.
    async fn begin(
        &self,
        mut connection: Connection,
        way: Way<'_>,
        progress: &mut Progress,
    ) -> Result<Reached, Failure> {
        if !way.target.direct_tls {
            return Ok(Reached::InClear(connection));
        }
        progress.enter(Phase::Tls);
        let failed = |kind, error: io::Error| {
            Failure::new(Phase::Tls, kind, format!("the TLS handshake failed: {error}"))
        };
        let name =
            server_name(&way.pair.remote).map_err(|error| failed(FailureKind::TlsFailed, error))?;
        let handshake = connection.connect_tls(self.direct_tls.of(Some(&way.pair.local)), name);
        match tokio::time::timeout(way.handshake_max, handshake).await {
            Ok(Ok(())) => Ok(Reached::DirectTls(connection)),
            Ok(Err(error)) => {
                tell_handshake(&error);
                Err(failed(FailureKind::TlsFailed, error))
            }
            Err(elapsed) => Err(failed(FailureKind::TimedOut, elapsed.into())),
        }
    }
}

/// Connects to an address, unless the partner's DNS must not send us there.
async fn connect(address: IpAddr, way: Way<'_>) -> Result<Connection, Failure> {
    let forbidden = |why| Failure::new(Phase::Connect, FailureKind::Forbidden, why);
    Gate::check_address(address, way.partner).map_err(forbidden)?;
    let connecting = TcpStream::connect((address, way.target.port));
    let Ok(connected) = tokio::time::timeout(TCP_CONNECT_MAX, connecting).await else {
        return Err(Failure::new(Phase::Connect, FailureKind::TimedOut, "no answer"));
    };
    let ends = |socket: &TcpStream| Ok((socket.local_addr()?.ip(), socket.peer_addr()?.ip()));
    let lost = |error: io::Error| unreachable(&error.to_string());
    let socket = connected.map_err(lost)?;
    let (local, peer) = ends(&socket).map_err(lost)?;
    Gate::check_ends(local, peer, way.partner).map_err(forbidden)?;
    Connection::new(socket).map_err(lost)
}

fn unreachable(detail: &str) -> Failure {
    Failure::new(Phase::Connect, FailureKind::Unreachable, detail)
}
