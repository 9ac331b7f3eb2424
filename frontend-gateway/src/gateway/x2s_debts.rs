//! What XMPP watchers could not be told, because no edge or partner could be reached: kept, and
//! told anew as soon as one can.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::watch::Watch;
use super::x2s_watches::Leaving;
use super::{Gateway, Purpose};
use crate::clock::Now;
use crate::deadlines::Deadlines;
use crate::facts::Facts;
use crate::pidf::TUPLES_MAX;
use crate::policy::{Direction, Subject};
use crate::translate::presence::{ResourcePresence, s2x_stanza};

/// The wait before a watcher is told anew, which doubles up to the last.
const TELL_AGAIN_FIRST: Duration = Duration::from_secs(60);
const TELL_AGAIN_LAST: Duration = Duration::from_secs(3600);

/// Attempts in a row after which only a partner or an edge that comes back brings about another.
const ATTEMPTS_MAX: u32 = 24;

/// The most watches of which something is kept.
const DEBTS_MAX: usize = 100_000;

/// What a stanza tells a watcher.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    /// That it may see the presentity.
    Granted,
    /// That it may not, or not any more.
    Refused,
    /// The state of a resource.
    State(Option<String>),
}

/// Everything that watchers may not know.
#[derive(Debug, Default)]
pub(super) struct Debts {
    owed: BTreeMap<Watch, Debt>,
    deadlines: Deadlines<Watch>,
}

/// What one watcher may not know; nothing while it is being told.
#[derive(Debug, Default)]
struct Debt {
    is_granted: bool,
    is_refused: bool,
    resources: BTreeSet<Option<String>>,
    /// Attempts that failed in a row.
    failures: u32,
}

impl Debt {
    fn is_empty(&self) -> bool {
        !self.is_granted && !self.is_refused && self.resources.is_empty()
    }
}

impl Debts {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Has what is owed told at once to the watchers that `which` chooses.
    pub(super) fn call_in(&mut self, which: impl Fn(&Watch) -> bool, now: Instant) {
        for (watch, debt) in &self.owed {
            if !debt.is_empty() && which(watch) {
                self.deadlines.set(watch, Some(now));
            }
        }
    }

    fn add(&mut self, watch: &Watch, told: Told, now: Instant) {
        if self.owed.len() >= DEBTS_MAX && !self.owed.contains_key(watch) {
            metrics::counter!("gateway_presence_given_up_total").increment(1);
            return;
        }
        let debt = self.owed.entry(watch.clone()).or_default();
        // The stanzas of one attempt fail one after the other, and are one failure.
        let is_failure = debt.is_empty();
        match told {
            Told::Granted => debt.is_granted = true,
            Told::Refused => debt.is_refused = true,
            Told::State(resource) if debt.resources.len() < TUPLES_MAX => {
                debt.resources.insert(resource);
            }
            Told::State(_) => {}
        }
        if is_failure {
            let wait = TELL_AGAIN_FIRST * 2u32.saturating_pow(debt.failures.min(10));
            debt.failures += 1;
            let goes_on = debt.failures <= ATTEMPTS_MAX;
            self.deadlines.set(watch, goes_on.then(|| now + wait.min(TELL_AGAIN_LAST)));
        }
    }

    /// Takes what is owed to a watcher; how often it could not be told is kept.
    fn take(&mut self, watch: &Watch) -> Option<Debt> {
        let debt = self.owed.get_mut(watch)?;
        let failures = debt.failures;
        Some(std::mem::replace(debt, Debt { failures, ..Debt::default() }))
    }

    /// Forgets a watcher who knows everything.
    fn settle(&mut self, watch: &Watch) {
        if self.owed.get(watch).is_some_and(Debt::is_empty) {
            self.owed.remove(watch);
        }
    }
}

impl Gateway {
    /// Tells a watcher something between the two users.
    pub(super) fn tell(&mut self, kind: &str, watch: &Watch, told: Told, now: Now) {
        let purpose = Purpose::Told(watch.clone(), told);
        self.send_presence(kind, &watch.presentity, &watch.watcher, purpose, now);
    }

    /// Tells a watcher the state of a resource.
    pub(super) fn tell_state(&mut self, watch: &Watch, presence: &ResourcePresence, now: Now) {
        let mut stanza = s2x_stanza(presence, &watch.presentity, &watch.watcher);
        if presence.available.is_some() {
            stanza.push_child(self.capabilities.element());
        }
        let purpose = Purpose::Told(watch.clone(), Told::State(presence.resource.clone()));
        self.send_state(&stanza, &watch.presentity, &watch.watcher, purpose, now);
    }

    /// Takes the outcome of what a watcher was told.
    pub(super) fn told_settled(&mut self, watch: &Watch, told: Told, is_known: bool, now: Now) {
        match is_known {
            true => self.debts.settle(watch),
            false => self.debts.add(watch, told, now.instant),
        }
    }

    /// Tells anew what is due.
    pub(super) fn handle_debts(&mut self, facts: Facts<'_>, now: Now) {
        for watch in self.debts.deadlines.take_due(now.instant) {
            self.pay(&watch, facts, now);
        }
    }

    /// Tells a watcher what holds now of everything that it may not know.
    fn pay(&mut self, watch: &Watch, facts: Facts<'_>, now: Now) {
        let Some(debt) = self.debts.take(watch) else { return };
        let (user, contact) = (&watch.presentity, &watch.watcher);
        let is_permitted = facts.decide(user, contact, Direction::X2s, Subject::Presence).is_ok();
        let watching = self.x2s.get(watch);
        let is_granted = watching.is_some_and(super::x2s_watches::Watching::is_granted);
        let is_refused = debt.is_refused && watching.is_none_or(|it| it.leaving != Leaving::No);
        let is_granted_again = debt.is_granted && is_granted;
        if is_granted_again {
            self.tell("subscribed", watch, Told::Granted, now);
        }
        for resource in &debt.resources {
            let watching = self.x2s.get_mut(watch).filter(|it| it.is_granted() && is_permitted);
            match watching {
                Some(watching) if watching.is_available(resource.as_deref()) => {
                    watching.shown.remove(resource);
                }
                _ => {
                    let presence = ResourcePresence::gone(resource.clone());
                    self.tell_state(watch, &presence, now);
                }
            }
        }
        if is_refused {
            self.tell("unsubscribed", watch, Told::Refused, now);
        }
        if is_granted {
            self.tell_watcher(watch, facts, now);
        }
        if debt.resources.is_empty() && !is_refused && !is_granted_again {
            self.debts.settle(watch);
        }
    }
}
