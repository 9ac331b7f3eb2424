//! XMPP users who watch SIP users, as data: authorisations that last, subscriptions that come and
//! go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sip_proto::usage::subscription::Subscriber;
use xmpp_proto::jid::Jid;

use super::watch::Watch;
use crate::clock::Now;
use crate::deadlines::Deadlines;
use crate::store::Write;
use crate::store::record::{Authorisation, AuthorisationState, Direction};
use crate::translate::presence::ResourcePresence;

/// The wait before a subscription that failed is tried again, which doubles up to the last.
const BACK_OFF_FIRST: Duration = Duration::from_secs(5);
const BACK_OFF_LAST: Duration = Duration::from_secs(300);

/// Changes of the time at which a watcher was last seen that are not written, in milliseconds.
const SEEN_MS_MIN: u64 = 3_600_000;

/// After a restart, of ours or of the server that they are with, subscriptions begin anew over this
/// time.
const RESTORE_SPREAD_MS: u64 = 5_000;

/// When a subscription begins anew among others.
fn spread(index: usize) -> Duration {
    Duration::from_millis((index as u64 * 7) % RESTORE_SPREAD_MS)
}

/// All watches of XMPP users.
#[derive(Default)]
pub(super) struct X2sSubscriptions {
    watches: BTreeMap<Watch, Watching>,
    by_watcher: BTreeMap<Jid, BTreeSet<Jid>>,
    by_call_id: BTreeMap<String, Watch>,
    /// Watches that may have something to send.
    touched: BTreeSet<Watch>,
    pub(super) deadlines: Deadlines<Watch>,
    /// Writes that nobody waits for.
    pub(super) writes: Vec<Write>,
}

/// One watch, and what became of it.
pub(super) struct Watching {
    pub(super) state: AuthorisationState,
    pub(super) seen_ms: u64,
    /// The long subscription.
    pub(super) subscriber: Option<Subscriber>,
    /// One that fetches the state once, for a probe.
    pub(super) fetch: Option<Subscriber>,
    /// What the watcher was told of each resource that it takes as available.
    pub(super) shown: BTreeMap<Option<String>, ResourcePresence>,
    /// Whether the watcher was told anything since it last had to forget.
    pub(super) told: bool,
    /// What the process before this one told is not known.
    pub(super) shown_before: bool,
    /// The state that the presentity's server told last.
    pub(super) latest: Vec<ResourcePresence>,
    /// When the last device went, if none is available and we have seen it go.
    pub(super) offline_since: Option<Instant>,
    pub(super) retry_at: Option<Instant>,
    pub(super) failures: u32,
    pub(super) leaving: Leaving,
}

/// How far the end of a watch has come that the watcher itself wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Leaving {
    /// It wants to stay.
    No,
    /// The presentity's server has been asked to end the subscription.
    Asked,
    /// The watcher was told that it is over; the last NOTIFY may still come.
    Told,
}

impl Watching {
    pub(super) fn new(state: AuthorisationState, seen_ms: u64) -> Self {
        Self {
            state,
            seen_ms,
            subscriber: None,
            fetch: None,
            shown: BTreeMap::new(),
            told: false,
            shown_before: false,
            latest: Vec::new(),
            offline_since: None,
            retry_at: None,
            failures: 0,
            leaving: Leaving::No,
        }
    }

    /// Says whether the watcher may see the presentity now.
    pub(super) fn is_granted(&self) -> bool {
        self.state == AuthorisationState::Active && self.leaving == Leaving::No
    }

    /// Says whether a resource was available in the last state.
    pub(super) fn is_available(&self, resource: Option<&str>) -> bool {
        let mut available = self.latest.iter().filter(|it| it.available.is_some());
        available.any(|it| it.resource.as_deref() == resource)
    }

    /// Says whether any resource was available in the last state.
    pub(super) fn is_online(&self) -> bool {
        self.latest.iter().any(|it| it.available.is_some())
    }

    /// Takes what the presentity's server tells, or that the state is not known any more.
    pub(super) fn take_states(&mut self, states: Option<Vec<ResourcePresence>>, now: Now) {
        let was_online = self.is_online();
        let is_known = states.is_some();
        self.latest = states.unwrap_or_default();
        self.offline_since = match is_known && !self.is_online() {
            true if was_online => Some(now.instant),
            true => self.offline_since,
            false => None,
        };
    }

    /// Says whether nothing is under way that would bring the presentity's state.
    pub(super) fn is_idle(&self) -> bool {
        self.subscriber.is_none() && self.fetch.is_none() && self.retry_at.is_none()
    }

    /// Has the watcher told everything again.
    pub(super) fn forget_told(&mut self) {
        self.shown.clear();
        self.told = false;
    }

    pub(super) fn back_off(&mut self, wait: Option<Duration>, now: Now) {
        let own = (BACK_OFF_FIRST * 2u32.saturating_pow(self.failures.min(10))).min(BACK_OFF_LAST);
        self.failures += 1;
        self.retry_at = Some(now.instant + wait.unwrap_or(own));
    }

    /// Returns both subscriptions.
    pub(super) fn subscribers(&mut self) -> impl Iterator<Item = &mut Subscriber> {
        [&mut self.subscriber, &mut self.fetch].into_iter().flatten()
    }

    fn deadline(&self) -> Option<Instant> {
        let subscribers = [&self.subscriber, &self.fetch].into_iter().flatten();
        subscribers.filter_map(Subscriber::poll_timeout).chain(self.retry_at).min()
    }
}

impl X2sSubscriptions {
    /// Restores the authorisations; their subscriptions begin anew, spread over a few seconds.
    pub(super) fn restore(records: &[Authorisation], now: Now) -> Self {
        let mut all = Self::default();
        let own = records.iter().filter(|record| record.direction == Direction::X2s);
        for (index, record) in own.enumerate() {
            let Some(watch) = Watch::of_record(record) else { continue };
            let mut watching = Watching::new(record.state, record.seen_ms);
            watching.shown_before = watching.is_granted();
            watching.retry_at = Some(now.instant + spread(index));
            all.insert(watch.clone(), watching);
            all.update_deadline(&watch);
        }
        all
    }

    /// Refreshes the subscriptions to some presentities, spread over a few seconds; those that wait
    /// to be tried again do not wait any longer.
    pub(super) fn refresh_soon(&mut self, chosen: impl Fn(&Jid) -> bool, now: Instant) {
        let all = self.watches.iter_mut().filter(|(watch, _)| chosen(&watch.presentity));
        for (index, (watch, watching)) in all.enumerate() {
            let at = now + spread(index);
            watching.subscribers().for_each(|subscriber| subscriber.refresh_by(at));
            watching.retry_at = watching.retry_at.map(|planned| planned.min(at));
            self.deadlines.set(watch, watching.deadline());
        }
    }

    /// Notes that a watcher has shown itself.
    pub(super) fn seen(&mut self, watcher: &Jid, now: Now) {
        let Some(presentities) = self.by_watcher.get(watcher) else { return };
        for presentity in presentities.clone() {
            let watch = Watch { presentity, watcher: watcher.clone() };
            let Some(watching) = self.watches.get_mut(&watch) else { continue };
            if now.unix_ms >= watching.seen_ms + SEEN_MS_MIN {
                watching.seen_ms = now.unix_ms;
                self.writes.push(watch.record(Direction::X2s, watching.state, watching.seen_ms));
            }
        }
    }

    /// Says whether a watcher is granted the sight of a presentity.
    pub(super) fn is_granted(&self, presentity: &Jid, watcher: &Jid) -> bool {
        let watch = Watch { presentity: presentity.clone(), watcher: watcher.clone() };
        self.watches.get(&watch).is_some_and(Watching::is_granted)
    }

    pub(super) fn get(&self, watch: &Watch) -> Option<&Watching> {
        self.watches.get(watch)
    }

    /// Returns a watch, which is then looked at again.
    pub(super) fn get_mut(&mut self, watch: &Watch) -> Option<&mut Watching> {
        let watching = self.watches.get_mut(watch)?;
        self.touched.insert(watch.clone());
        Some(watching)
    }

    /// Returns a watch that is being looked at.
    pub(super) fn get_untouched(&mut self, watch: &Watch) -> Option<&mut Watching> {
        self.watches.get_mut(watch)
    }

    pub(super) fn insert(&mut self, watch: Watch, watching: Watching) {
        let presentities = self.by_watcher.entry(watch.watcher.clone()).or_default();
        presentities.insert(watch.presentity.clone());
        self.touched.insert(watch.clone());
        self.watches.insert(watch, watching);
    }

    pub(super) fn remove(&mut self, watch: &Watch) {
        self.deadlines.set(watch, None);
        let Some(mut watching) = self.watches.remove(watch) else { return };
        for subscriber in watching.subscribers() {
            self.by_call_id.remove(subscriber.call_id().as_str());
        }
        if let Some(presentities) = self.by_watcher.get_mut(&watch.watcher) {
            presentities.remove(&watch.presentity);
            if presentities.is_empty() {
                self.by_watcher.remove(&watch.watcher);
            }
        }
    }

    /// Returns how many presentities a watcher watches.
    pub(super) fn count_of(&self, watcher: &Jid) -> usize {
        self.by_watcher.get(watcher).map_or(0, BTreeSet::len)
    }

    /// Adds a subscription: the long one, or one that fetches the state once.
    pub(super) fn add_subscriber(&mut self, watch: &Watch, subscriber: Subscriber, is_fetch: bool) {
        let call_id = subscriber.call_id().as_str().to_owned();
        self.by_call_id.insert(call_id, watch.clone());
        let Some(watching) = self.get_mut(watch) else { return };
        let place = if is_fetch { &mut watching.fetch } else { &mut watching.subscriber };
        if let Some(old) = place.replace(subscriber) {
            self.by_call_id.remove(old.call_id().as_str());
        }
    }

    /// Drops the subscriptions of a watch that are over; returns whether it was one that fetches.
    pub(super) fn drop_over(&mut self, watch: &Watch) -> bool {
        let Some(watching) = self.watches.get_mut(watch) else { return false };
        let fetch = watching.fetch.take_if(|it| it.is_over());
        let subscriber = watching.subscriber.take_if(|it| it.is_over());
        for over in [&fetch, &subscriber].into_iter().flatten() {
            self.by_call_id.remove(over.call_id().as_str());
        }
        fetch.is_some()
    }

    /// Returns the subscription with a Call-ID, and whose it is.
    pub(super) fn by_call_id(&mut self, call_id: &str) -> Option<(Watch, &mut Subscriber)> {
        let watch = self.by_call_id.get(call_id)?.clone();
        let watching = self.get_mut(&watch)?;
        let subscriber = watching.subscribers().find(|it| it.call_id().as_str() == call_id)?;
        Some((watch, subscriber))
    }

    /// Takes the watches that may have something to send.
    pub(super) fn take_touched(&mut self) -> BTreeSet<Watch> {
        std::mem::take(&mut self.touched)
    }

    /// Brings the deadline of a watch up to date that was looked at.
    pub(super) fn update_deadline(&mut self, watch: &Watch) {
        let deadline = self.watches.get(watch).and_then(Watching::deadline);
        self.deadlines.set(watch, deadline);
    }
}
