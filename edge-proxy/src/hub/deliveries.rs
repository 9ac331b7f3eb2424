//! Stanzas from front ends: which are on their way, and how the latest of them ended.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use link::wire::Bounced;

use super::FrontendId;

/// How long an outcome is remembered for a front end that offers the stanza again.
const MEMORY_MAX: Duration = Duration::from_secs(10 * 60);

/// How many outcomes are remembered.
const OUTCOMES_MAX: usize = 100_000;

type Id = [u8; 16];
type Outcome = Result<(), Bounced>;

/// What an offered stanza is.
#[derive(Debug)]
pub(super) enum Offer {
    /// Never seen: it is to be sent.
    Fresh,
    /// On its way already; the outcome goes to whoever offered it last.
    InProgress,
    /// It has its outcome.
    Finished(Outcome),
}

/// A stanza without an outcome.
#[derive(Debug)]
pub(super) struct Progress {
    /// The envelope that is to be settled, while its link lasts.
    pub(super) offered_by: Option<(FrontendId, u64)>,
    pub(super) correlation_id: String,
}

#[derive(Debug, Default)]
pub(super) struct Deliveries {
    progress: BTreeMap<Id, Progress>,
    finished: BTreeMap<Id, Outcome>,
    order: VecDeque<(Instant, Id)>,
}

impl Deliveries {
    /// Takes the offer of a stanza by an envelope.
    pub(super) fn offer(
        &mut self,
        id: Id,
        by: (FrontendId, u64),
        correlation_id: &str,
        now: Instant,
    ) -> Offer {
        self.forget_old(now);
        if let Some(outcome) = self.finished.get(&id) {
            return Offer::Finished(outcome.clone());
        }
        let correlation_id = correlation_id.to_owned();
        match self.progress.insert(id, Progress { offered_by: Some(by), correlation_id }) {
            Some(_) => Offer::InProgress,
            None => Offer::Fresh,
        }
    }

    /// Takes the outcome of a stanza; returns what was on its way.
    pub(super) fn finish(&mut self, id: Id, outcome: Outcome, now: Instant) -> Option<Progress> {
        let progress = self.progress.remove(&id)?;
        if self.order.len() >= OUTCOMES_MAX {
            self.forget_first();
        }
        self.finished.insert(id, outcome);
        self.order.push_back((now, id));
        Some(progress)
    }

    /// Forgets the envelopes of a link that is lost, but not their stanzas.
    pub(super) fn detach(&mut self, frontend: FrontendId) {
        for progress in self.progress.values_mut() {
            progress.offered_by = progress.offered_by.filter(|(by, _)| *by != frontend);
        }
    }

    pub(super) fn forget_old(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(finished, _)| *finished + MEMORY_MAX <= now) {
            self.forget_first();
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.order.front().map(|(finished, _)| *finished + MEMORY_MAX)
    }

    fn forget_first(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.finished.remove(&id);
        }
    }
}
