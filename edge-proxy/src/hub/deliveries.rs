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

#[derive(Debug, Default)]
pub(super) struct Deliveries {
    progress: BTreeMap<Id, Option<(FrontendId, u64)>>,
    finished: BTreeMap<Id, Outcome>,
    order: VecDeque<(Instant, Id)>,
}

impl Deliveries {
    /// Takes the offer of a stanza by an envelope.
    pub(super) fn offer(&mut self, id: Id, by: (FrontendId, u64), now: Instant) -> Offer {
        self.forget_old(now);
        if let Some(outcome) = self.finished.get(&id) {
            return Offer::Finished(outcome.clone());
        }
        match self.progress.insert(id, Some(by)) {
            Some(_) => Offer::InProgress,
            None => Offer::Fresh,
        }
    }

    /// Takes the outcome of a stanza; returns the envelope that is to be settled with it.
    pub(super) fn finish(
        &mut self,
        id: Id,
        outcome: Outcome,
        now: Instant,
    ) -> Option<(FrontendId, u64)> {
        let offered_by = self.progress.remove(&id)?;
        if self.order.len() >= OUTCOMES_MAX {
            self.forget_first();
        }
        self.finished.insert(id, outcome);
        self.order.push_back((now, id));
        offered_by
    }

    /// Forgets the envelopes of a link that is lost, but not their stanzas.
    pub(super) fn detach(&mut self, frontend: FrontendId) {
        for offered_by in self.progress.values_mut() {
            if offered_by.is_some_and(|(by, _)| by == frontend) {
                *offered_by = None;
            }
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
