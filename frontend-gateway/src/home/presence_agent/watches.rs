//! The subscriptions to home users, found by whom they concern and by when something is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;
use sip_proto::dialog::DialogId;
use sip_proto::transaction::FlowId;
use sip_proto::usage::subscription::{Notifier, Standing};
use xmpp_proto::jid::Jid;

use super::{Notify, RECORD_OWNER};
use crate::clock::Now;
use crate::deadlines::Deadlines;
use crate::dialog_record;
use crate::store::Write;
use crate::throttle::Throttle;

/// One subscription.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) notifier: Notifier,
    pub(super) presentity: Jid,
    pub(super) watcher: Jid,
    pub(super) flow: FlowId,
    /// The dialogs with the gateway live in one process with it, and end with it.
    pub(super) stored: bool,
    pub(super) throttle: Throttle,
}

/// All subscriptions.
///
/// A watch is changed only by [`Watches::change`], which keeps the deadlines true to it; its
/// presentity and its watcher stay as they are.
#[derive(Debug, Default)]
pub(super) struct Watches {
    all: BTreeMap<DialogId, Watch>,
    of_presentity: BTreeMap<Jid, BTreeSet<DialogId>>,
    of_watcher: BTreeMap<Jid, BTreeSet<DialogId>>,
    /// Those that may have something to send.
    touched: BTreeSet<DialogId>,
    /// When those end that are not refreshed.
    expiries: Deadlines<DialogId>,
    /// When those may be told that have changed.
    openings: Deadlines<DialogId>,
}

impl Watch {
    /// Returns the write that keeps the dialog, or forgets it when it has ended.
    fn write(&self, id: &DialogId, now: Now) -> Option<Write> {
        if !self.stored {
            return None;
        }
        let record = dialog_record::record(
            RECORD_OWNER,
            &self.notifier,
            &self.watcher,
            &self.presentity,
            now,
        );
        Some(match record {
            Some(record) => Write::PutDialog(record),
            None => Write::RemoveDialog { key: dialog_record::key(RECORD_OWNER, id) },
        })
    }
}

impl Watches {
    pub(super) fn get(&self, id: &DialogId) -> Option<&Watch> {
        self.all.get(id)
    }

    /// Takes a watch, which is then looked at.
    pub(super) fn insert(&mut self, watch: Watch) {
        let id = watch.notifier.dialog().id();
        self.remove(&id);
        self.of_presentity.entry(watch.presentity.clone()).or_default().insert(id.clone());
        self.of_watcher.entry(watch.watcher.clone()).or_default().insert(id.clone());
        self.all.insert(id.clone(), watch);
        self.change(&id, |_| ());
    }

    /// Forgets a watch.
    pub(super) fn remove(&mut self, id: &DialogId) {
        let Some(watch) = self.all.remove(id) else { return };
        unlist(&mut self.of_presentity, &watch.presentity, id);
        unlist(&mut self.of_watcher, &watch.watcher, id);
        self.touched.remove(id);
        self.expiries.set(id, None);
        self.openings.set(id, None);
    }

    /// Changes a watch, which is then looked at again.
    pub(super) fn change<T>(
        &mut self,
        id: &DialogId,
        what: impl FnOnce(&mut Watch) -> T,
    ) -> Option<T> {
        let result = self.change_untouched(id, what)?;
        self.touched.insert(id.clone());
        Some(result)
    }

    fn change_untouched<T>(
        &mut self,
        id: &DialogId,
        what: impl FnOnce(&mut Watch) -> T,
    ) -> Option<T> {
        let watch = self.all.get_mut(id)?;
        let result = what(watch);
        self.expiries.set(id, watch.notifier.poll_timeout());
        self.openings.set(id, watch.throttle.poll_timeout());
        Some(result)
    }

    /// Changes several watches.
    pub(super) fn change_each(&mut self, ids: Vec<DialogId>, what: impl Fn(&mut Watch)) {
        for id in ids {
            self.change(&id, &what);
        }
    }

    /// Returns how many watch a user.
    pub(super) fn count_of_presentity(&self, presentity: &Jid) -> usize {
        self.of_presentity.get(presentity).map_or(0, BTreeSet::len)
    }

    /// Returns those who watch a user.
    pub(super) fn of_presentity(&self, presentity: &Jid) -> Vec<DialogId> {
        self.of_presentity.get(presentity).into_iter().flatten().cloned().collect()
    }

    /// Returns what a watcher watches.
    pub(super) fn of_watcher(&self, watcher: &Jid) -> Vec<DialogId> {
        self.of_watcher.get(watcher).into_iter().flatten().cloned().collect()
    }

    /// Returns the watches of a user by one watcher.
    pub(super) fn between(&self, presentity: &Jid, watcher: &Jid) -> Vec<DialogId> {
        let of_presentity = self.of_presentity.get(presentity);
        let both = of_presentity.zip(self.of_watcher.get(watcher));
        // This looks up those of the fewer when the others are many.
        both.into_iter().flat_map(|(left, right)| left.intersection(right)).cloned().collect()
    }

    /// Ends the watches that have run out.
    pub(super) fn expire(&mut self, now: Instant) {
        let due = self.expiries.take_due(now);
        self.change_each(due, |watch| watch.notifier.handle_timeout(now));
    }

    /// Takes the watches that are due for a NOTIFY, which [`Watches::notify`] then makes, in the
    /// order of their dialogs.
    pub(super) fn take_due(&mut self, now: Instant) -> BTreeSet<DialogId> {
        let mut due = std::mem::take(&mut self.touched);
        due.extend(self.openings.take_due(now));
        due.retain(|id| {
            let Some(watch) = self.all.get_mut(id) else { return false };
            watch.throttle.take(now) || watch.notifier.owes_notify()
        });
        due
    }

    /// Makes the NOTIFY of a watch with the state of its presentity, and the write that keeps the
    /// dialog.
    pub(super) fn notify(
        &mut self,
        id: &DialogId,
        document: Bytes,
        now: Now,
    ) -> Option<(Notify, Option<Write>)> {
        self.change_untouched(id, |watch| {
            // RFC 3856 s.6.6.2: nothing is revealed before the watcher is granted the right.
            let active = watch.notifier.standing() == Some(Standing::Active);
            let request = watch.notifier.notify(active.then_some(document), now.instant);
            watch.throttle.told(now.instant);
            let (flow, watcher) = (watch.flow, watch.watcher.clone());
            (Notify { dialog: id.clone(), flow, watcher, request }, watch.write(id, now))
        })
    }

    /// Returns when a watch ends or a watcher may be told.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.expiries.next(), self.openings.next()].into_iter().flatten().min()
    }
}

/// Takes a dialog out of an index.
fn unlist(index: &mut BTreeMap<Jid, BTreeSet<DialogId>>, user: &Jid, id: &DialogId) {
    if let Some(ids) = index.get_mut(user) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(user);
        }
    }
}

#[cfg(test)]
mod tests;
