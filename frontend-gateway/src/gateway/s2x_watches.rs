//! SIP users who watch XMPP users, as data: authorisations, announced resources, dialogs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_proto::dialog::DialogId;
use sip_proto::usage::subscription::{Notifier, NotifierRules};
use xmpp_proto::jid::{Domain, Jid};

use super::watch::Watch;
use crate::clock::Now;
use crate::deadlines::Deadlines;
use crate::dialog_record;
use crate::pidf::{self, Note, Tuple};
use crate::store::Write;
use crate::store::record::{Authorisation, AuthorisationState, DialogRecord, Direction};
use crate::throttle::Throttle;
use crate::translate::presence::{Available, x2s_document, x2s_tuple};

/// What the gateway offers to watchers.
pub(super) const NOTIFIER_RULES: NotifierRules = NotifierRules {
    packages: &["presence"],
    generated: &[pidf::MEDIA_TYPE],
    expires_seconds_min: 60,
    expires_seconds_default: 3600,
    expires_seconds_max: 3600,
};

/// Which records of the store are the gateway's.
const RECORD_OWNER: &str = "s2x";

/// The most resources of one contact that are told to one watcher.
const RESOURCES_MAX: usize = 32;

/// After a restart contacts are probed over this time.
const RESTORE_SPREAD_MS: u64 = 5_000;

/// The wait before a contact is asked again whose server could not be reached, which doubles.
const ASK_AGAIN_FIRST: Duration = Duration::from_secs(60);
const ASK_AGAIN_LAST: Duration = Duration::from_secs(3600);

/// All watches of SIP users.
#[derive(Default)]
pub(super) struct S2xSubscriptions {
    pub(super) contacts: BTreeMap<Watch, Contact>,
    pub(super) dialogs: BTreeMap<DialogId, Subscription>,
    /// Dialogs that may have something to send.
    touched: BTreeSet<DialogId>,
    pub(super) dialog_deadlines: Deadlines<DialogId>,
    pub(super) contact_deadlines: Deadlines<Watch>,
}

/// What is known of a contact, for one watcher: another one may be shown something else.
pub(super) struct Contact {
    pub(super) state: AuthorisationState,
    /// When it was asked for its authorisation, unless the question did not arrive.
    pub(super) asked_at: Option<Instant>,
    /// How often its server could not be reached in a row.
    failures: u32,
    /// It has announced something.
    pub(super) known: bool,
    /// Its server could not be reached since.
    pub(super) lost: bool,
    pub(super) probed_at: Option<Instant>,
    /// Each resource with what it announces. The empty one is the contact itself, as which a
    /// client without a resource announces; of those that have gone only the last is here.
    resources: BTreeMap<String, Announced>,
}

/// What a resource announces.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Announced {
    /// It is available.
    Here(Available),
    /// It is not any more, perhaps with a word of why.
    Gone(Option<Note>),
}

impl Announced {
    fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }
}

/// One dialog in which we are the notifier.
pub(super) struct Subscription {
    pub(super) watch: Watch,
    pub(super) notifier: Notifier,
    pub(super) throttle: Throttle,
    /// A poll waits so long for a state that is not known.
    pub(super) held_until: Option<Instant>,
    /// The watcher has unsubscribed.
    pub(super) leaving: bool,
}

impl Contact {
    pub(super) fn new(state: AuthorisationState) -> Self {
        Self {
            state,
            asked_at: None,
            failures: 0,
            known: false,
            lost: false,
            probed_at: None,
            resources: BTreeMap::new(),
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.state == AuthorisationState::Active
    }

    /// Takes what a resource announces, or that it has gone; returns whether that is news.
    pub(super) fn announce(&mut self, resource: Option<&str>, announced: Announced) -> bool {
        let news = !self.known;
        (self.known, self.lost, self.failures) = (true, false, 0);
        let resource = match (resource, &announced) {
            // The absence of the bare address is that of all resources.
            (None, Announced::Gone(note)) => return self.all_gone(note.as_ref()) || news,
            (resource, _) => resource.unwrap_or_default(),
        };
        let old = self.resources.get(resource);
        if old == Some(&announced) {
            return news;
        }
        if announced.is_here() && old.is_none() && self.resources.len() >= RESOURCES_MAX {
            return news;
        }
        if !announced.is_here() {
            match old {
                Some(Announced::Here(_)) => {}
                // It is known to have gone.
                Some(Announced::Gone(_)) => return news,
                // One that was never shown need not be shown as gone, unless it is all there is.
                None if self.resources.values().any(Announced::is_here) => return news,
                None => {}
            }
        }
        self.resources.retain(|_, old| old.is_here());
        self.resources.insert(resource.to_owned(), announced);
        true
    }

    /// Returns how long to wait before asking again.
    pub(super) fn back_off(&mut self) -> Duration {
        let wait = ASK_AGAIN_FIRST * 2u32.saturating_pow(self.failures.min(10));
        self.failures += 1;
        wait.min(ASK_AGAIN_LAST)
    }

    /// Notes that every resource has gone; returns whether one was there.
    pub(super) fn all_gone(&mut self, note: Option<&Note>) -> bool {
        let mut any = false;
        for announced in self.resources.values_mut().filter(|it| it.is_here()) {
            *announced = Announced::Gone(note.cloned());
            any = true;
        }
        any
    }

    /// Writes the whole state, with its language if it has one; `closed` hides what is there.
    pub(super) fn document(
        &self,
        presentity: &Jid,
        closed: bool,
    ) -> Option<(Bytes, Option<String>)> {
        let mut tuples = Vec::new();
        for (resource, announced) in &self.resources {
            let jid = match resource.as_str() {
                "" => presentity.clone(),
                resource => Jid::parse(&format!("{presentity}/{resource}")).ok()?,
            };
            tuples.push(
                match announced {
                    Announced::Here(available) => {
                        x2s_tuple(&jid, Some(available).filter(|_| !closed))
                    }
                    Announced::Gone(note) => x2s_tuple(&jid, None).map(|tuple| Tuple {
                        notes: note.iter().filter(|_| !closed).cloned().collect(),
                        ..tuple
                    }),
                }
                .ok()?,
            );
        }
        if tuples.is_empty() {
            tuples.push(x2s_tuple(presentity, None).ok()?);
        }
        let notes = tuples.iter().flat_map(|tuple| &tuple.notes);
        let languages: BTreeSet<_> = notes.map(|note| note.language.clone()).collect();
        // Table 1 (5): the document has one language only if all of its notes have it.
        let language = languages.first().filter(|_| languages.len() == 1).cloned().flatten();
        let document = x2s_document(presentity, tuples).ok()?;
        Some((pidf::write(&document), language))
    }
}

impl Subscription {
    pub(super) fn new(watch: Watch, notifier: Notifier) -> Self {
        let throttle = Throttle::default();
        Self { watch, notifier, throttle, held_until: None, leaving: false }
    }

    /// Returns the write that keeps the dialog, or forgets it when it has ended.
    pub(super) fn write(&self, id: &DialogId, now: Now) -> Write {
        let (watcher, presentity) = (&self.watch.watcher, &self.watch.presentity);
        match dialog_record::record(RECORD_OWNER, &self.notifier, watcher, presentity, now) {
            Some(record) => Write::PutDialog(record),
            None => dialog_removal(id),
        }
    }
}

pub(super) fn dialog_removal(id: &DialogId) -> Write {
    Write::RemoveDialog { key: dialog_record::key(RECORD_OWNER, id) }
}

impl S2xSubscriptions {
    /// Restores authorisations and dialogs; what contacts announced must be found out anew.
    pub(super) fn restore(
        authorisations: &[Authorisation],
        dialogs: &[DialogRecord],
        now: Now,
    ) -> Self {
        let mut all = Self::default();
        for record in authorisations.iter().filter(|it| it.direction == Direction::S2x) {
            if let Some(watch) = Watch::of_record(record) {
                all.contacts.insert(watch, Contact::new(record.state));
            }
        }
        for record in dialogs {
            let restored = dialog_record::restore(RECORD_OWNER, record, &NOTIFIER_RULES, now);
            let Some((notifier, watcher, presentity)) = restored else { continue };
            let watch = Watch { presentity, watcher };
            let id = notifier.dialog().id();
            all.dialogs.insert(id.clone(), Subscription::new(watch.clone(), notifier));
            all.touched.insert(id);
            let spread = Duration::from_millis((all.dialogs.len() as u64 * 7) % RESTORE_SPREAD_MS);
            all.contact_deadlines.set(&watch, Some(now.instant + spread));
        }
        all
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let both = [self.dialog_deadlines.next(), self.contact_deadlines.next()];
        both.into_iter().flatten().min()
    }

    /// Returns a dialog, which is then looked at again.
    pub(super) fn dialog_mut(&mut self, id: &DialogId) -> Option<&mut Subscription> {
        let subscription = self.dialogs.get_mut(id)?;
        self.touched.insert(id.clone());
        Some(subscription)
    }

    /// Takes the dialogs that may have something to send.
    pub(super) fn take_touched(&mut self) -> BTreeSet<DialogId> {
        std::mem::take(&mut self.touched)
    }

    /// Does something with every dialog that `which` chooses by its watch.
    pub(super) fn for_each_dialog(
        &mut self,
        which: impl Fn(&Watch) -> bool,
        mut what: impl FnMut(&mut Subscription),
    ) {
        for (id, subscription) in &mut self.dialogs {
            if which(&subscription.watch) {
                what(subscription);
                self.touched.insert(id.clone());
            }
        }
    }

    /// Says whether a watcher has a subscription that goes on.
    pub(super) fn is_watched(&self, watch: &Watch) -> bool {
        let mut dialogs = self.dialogs.values().filter(|it| it.watch == *watch);
        dialogs.any(|it| it.notifier.standing().is_some())
    }

    /// Returns how many contacts a watcher has asked, whatever they answered.
    pub(super) fn contacts_of(&self, watcher: &Jid) -> usize {
        self.contacts.keys().filter(|watch| watch.watcher == *watcher).count()
    }

    /// Returns the watches of which a contact belongs to a domain.
    pub(super) fn of_domain(&self, domain: &Domain) -> Vec<Watch> {
        let watches = self.contacts.keys().filter(|watch| watch.presentity.domain() == domain);
        watches.cloned().collect()
    }

    /// Has the contacts probed at once that were lost.
    pub(super) fn call_in_lost(&mut self, now: Instant) {
        for (watch, _) in self.contacts.iter().filter(|(_, contact)| contact.lost) {
            self.contact_deadlines.set(watch, Some(now));
        }
    }

    /// Tells a watcher anew what it may have missed.
    pub(super) fn renew(&mut self, is_one: impl Fn(&Jid) -> bool) {
        self.for_each_dialog(|watch| is_one(&watch.watcher), |it| it.throttle.change());
    }
}
