//! One attempt to open a stream: the partner's servers one after the other, until one has it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use xmpp_proto::locate::{TARGETS_MAX, Target};
use xmpp_proto::stream::{DomainPair, Proof};

use super::effect::{Located, Tried};
use crate::xmpp::attempt::{AttemptRecord, ClosedBy, Step, TlsFacts};
use crate::xmpp::failure::{Failure, FailureKind, Phase};

/// Questions to DNS that one attempt may ask, so that a partner's records make us ask few others.
const LOOKUPS_MAX: usize = 8;
/// Those that find the servers, and those that find the addresses of one.
const LOOKUPS_EACH: usize = 2;

/// An attempt that goes on.
pub(super) struct Attempt {
    record: AttemptRecord,
    step: Step,
    phase: Phase,
    phase_since: Instant,
    left: VecDeque<Target>,
    /// The questions to DNS that are left.
    lookups: usize,
    target_max: Duration,
    target_until: Instant,
    /// No further server is begun with after that.
    begins_until: Instant,
    tls_error: Option<String>,
    telling: Option<Failure>,
    /// Whether something failed that may work later.
    is_hopeful: bool,
}

/// What an attempt came to that reached no server.
pub(super) struct Fruitless {
    pub(super) record: AttemptRecord,
    /// The failure that tells most.
    pub(super) failure: Failure,
    /// Whether no server can be hoped for, so that waiting is no use.
    pub(super) is_final: bool,
    /// What the next attempt begins with.
    pub(super) left: Left,
}

/// The servers that an attempt has left for the next.
#[derive(Default)]
pub(super) struct Left {
    pub(super) targets: VecDeque<Target>,
    /// Whether one of those that were tried may work later.
    pub(super) is_hopeful: bool,
}

impl Attempt {
    /// Begins with the servers that were left before, or, if none were, with finding them.
    ///
    /// `target_max` is what one server may take; a new one is begun within twice that.
    pub(super) fn begin(pair: DomainPair, left: Left, target_max: Duration, now: Instant) -> Self {
        let record =
            AttemptRecord { started: now, pair, steps: Vec::new(), proof: None, left_count: 0 };
        Self {
            record,
            step: Step::of(None),
            phase: Phase::Lookup,
            phase_since: now,
            left: left.targets,
            lookups: LOOKUPS_MAX,
            target_max,
            target_until: now + target_max,
            begins_until: now + target_max * 2,
            tls_error: None,
            telling: None,
            is_hopeful: left.is_hopeful,
        }
    }

    /// Takes the servers, and ends that step.
    pub(super) fn located(&mut self, located: Located, now: Instant) {
        // What policy names is not the partner's to choose.
        let cost = if located.by_policy { 0 } else { LOOKUPS_EACH };
        self.lookups = self.lookups.saturating_sub(cost);
        self.left = located.targets.into_iter().take(TARGETS_MAX).collect();
        if located.by_policy {
            self.lookups = LOOKUPS_EACH * TARGETS_MAX;
        }
        self.end_step(None, None, now);
    }

    /// Begins with the next server, which has until then; none if there is no other, or it must
    /// wait for the next attempt.
    pub(super) fn next_target(&mut self, now: Instant) -> Option<(Target, Instant)> {
        let host = &self.left.front()?.host;
        let is_known = host.parse::<IpAddr>().is_ok() || self.was_looked_up(host);
        let cost = if is_known { 0 } else { LOOKUPS_EACH };
        if now >= self.begins_until || cost > self.lookups {
            return None;
        }
        self.lookups -= cost;
        let target = self.left.pop_front()?;
        self.step = Step::of(Some(target.clone()));
        (self.phase, self.phase_since) = (Phase::Connect, now);
        self.target_until = now + self.target_max;
        Some((target, self.target_until))
    }

    /// Whether the resolver still knows a host's addresses.
    fn was_looked_up(&self, host: &str) -> bool {
        let mut targets = self.record.steps.iter().filter_map(|step| step.target.as_ref());
        targets.any(|target| target.host == host)
    }

    /// Has the server that is being tried tried once more, before the others.
    pub(super) fn put_back_target(&mut self) {
        self.left.extend(self.step.target.clone());
        self.left.rotate_right(self.step.target.iter().len());
    }

    /// Returns how much time the server has left that is being tried.
    pub(super) fn target_remaining(&self, now: Instant) -> Duration {
        self.target_until.saturating_duration_since(now)
    }

    /// Takes what the driver did before the stream.
    pub(super) fn note_tried(&mut self, tried: Tried) {
        self.step.addresses = tried.addresses;
        self.step.phases = tried.phases;
    }

    /// Takes what TLS established, or why it failed.
    pub(super) fn note_tls(&mut self, facts: Result<TlsFacts, String>) {
        match facts {
            Ok(facts) => self.step.tls = Some(facts),
            Err(error) => self.tls_error = Some(error),
        }
    }

    /// Returns the phase that goes on.
    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Begins with the next phase. What comes before the stream, the driver measures.
    pub(super) fn enter(&mut self, phase: Phase, now: Instant) {
        self.end_phase(now);
        (self.phase, self.phase_since) = (phase, now);
    }

    /// Takes the failure of the step that goes on.
    pub(super) fn fail(&mut self, mut failure: Failure, closed: Option<ClosedBy>, now: Instant) {
        if let Some(error) = self.tls_error.take() {
            failure.detail = format!("{}: {error}", failure.detail);
        }
        self.is_hopeful |= !failure.is_final();
        if failure.is_ours() {
            self.left.clear();
            // Whatever failed before, it is not what stands in the way.
            self.telling = None;
        }
        self.telling = Some(Failure::most_telling(self.telling.take(), failure.clone()));
        self.end_step(Some(failure), closed, now);
    }

    /// Returns what tells most of what failed so far.
    pub(super) const fn telling(&self) -> Option<&Failure> {
        self.telling.as_ref()
    }

    /// Returns that what goes on takes too long.
    pub(super) fn too_long(&self) -> Failure {
        let kind = match self.phase {
            Phase::Lookup => FailureKind::LookupFailed,
            _ => FailureKind::TimedOut,
        };
        Failure::new(self.phase, kind, "no answer yet")
    }

    /// Ends with a stream.
    pub(super) fn succeed(mut self, proof: Proof, now: Instant) -> AttemptRecord {
        self.end_step(None, None, now);
        self.record.proof = Some(proof);
        self.record.left_count = self.left.len();
        self.record
    }

    /// Ends without.
    pub(super) fn give_up(mut self) -> Fruitless {
        self.record.left_count = self.left.len();
        let none = || {
            let detail = "DNS names no server";
            Failure::new(Phase::Lookup, FailureKind::NoService, detail)
        };
        Fruitless {
            is_final: !self.is_hopeful && self.left.is_empty(),
            failure: self.telling.unwrap_or_else(none),
            record: self.record,
            left: Left { is_hopeful: self.is_hopeful && !self.left.is_empty(), targets: self.left },
        }
    }

    fn end_step(&mut self, failure: Option<Failure>, closed: Option<ClosedBy>, now: Instant) {
        self.end_phase(now);
        let mut step = std::mem::replace(&mut self.step, Step::of(None));
        (step.failure, step.closed) = (failure, closed);
        step.observe(&self.record.pair);
        self.record.steps.push(step);
    }

    fn end_phase(&mut self, now: Instant) {
        let measured_by_driver = self.phase == Phase::Connect;
        if !measured_by_driver {
            self.step.phases.push((self.phase, now - self.phase_since));
        }
    }
}

impl Step {
    const fn of(target: Option<Target>) -> Self {
        Self {
            target,
            addresses: Vec::new(),
            phases: Vec::new(),
            tls: None,
            failure: None,
            closed: None,
        }
    }
}
