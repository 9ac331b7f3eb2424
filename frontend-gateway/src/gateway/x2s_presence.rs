//! XMPP users who watch SIP users: their stanzas, and what they are told (RFC 8048 s.5.2, s.6.3,
//! s.7.1).

use std::collections::BTreeMap;

use xmpp_proto::stanza::error::StanzaCondition;

use super::stanzas::{Arrived, Verdict, refused};
use super::watch::Watch;
use super::x2s_debts::Told;
use super::x2s_watches::{Leaving, Watching};
use super::{Gateway, Purpose, Step};
use crate::clock::Now;
use crate::facts::Facts;
use crate::policy::{self, Subject};
use crate::store::record::{AuthorisationState, Direction};
use crate::translate::presence::ResourcePresence;

/// The most watches of one XMPP user.
const WATCHES_PER_USER_MAX: usize = 1_000;

impl Gateway {
    /// A watcher asks to see a SIP user's presence.
    pub(super) fn handle_subscribe(
        &mut self,
        arrived: &Arrived<'_>,
        facts: Facts<'_>,
        now: Now,
    ) -> Verdict {
        if let Err(error) = self.permit(arrived, Subject::Presence, facts) {
            return Verdict::Refused(error);
        }
        let watch = Watch::of_watcher(arrived);
        let known = self.x2s.get_mut(&watch).filter(|it| it.leaving == Leaving::No);
        if let Some(watching) = known {
            let is_idle = watching.is_idle();
            if watching.state == AuthorisationState::Active {
                // RFC 6121 s.3.1.3: what was granted is granted again, with the state at once.
                self.tell("subscribed", &watch, Told::Granted, now);
                self.tell_at_once(&watch, facts, now);
            } else if is_idle {
                // A question that nobody has kept up is asked anew.
                self.begin_subscription(&watch, now);
            }
            return Verdict::Done;
        }
        if self.x2s.count_of(&watch.watcher) >= WATCHES_PER_USER_MAX {
            return refused(StanzaCondition::ResourceConstraint, "too many subscriptions");
        }
        let state = AuthorisationState::Pending;
        // Settled when it is on the disk: the sender's server asks once, and we must not forget.
        let settle = Step::Settle(arrived.edge, arrived.envelope.sequence);
        self.commits.write_and(watch.record(Direction::X2s, state, now.unix_ms), settle);
        self.x2s.remove(&watch);
        self.x2s.insert(watch.clone(), Watching::new(state, now.unix_ms));
        self.begin_subscription(&watch, now);
        Verdict::Later
    }

    /// A watcher has lost interest (RFC 8048 s.5.2.3).
    pub(super) fn handle_unsubscribe(&mut self, arrived: &Arrived<'_>, now: Now) -> Verdict {
        let watch = Watch::of_watcher(arrived);
        // RFC 6121 s.3.3.3: one that was never interested is ignored.
        let Some(watching) = self.x2s.get_mut(&watch) else { return Verdict::Done };
        watching.leaving = watching.leaving.max(Leaving::Asked);
        watching.retry_at = None;
        let is_subscribed = watching.subscriber.is_some();
        if let Some(subscriber) = &mut watching.subscriber {
            subscriber.unsubscribe(now.instant);
        }
        let settle = Step::Settle(arrived.edge, arrived.envelope.sequence);
        self.commits.write_and(watch.removal(), settle);
        if !is_subscribed {
            self.tell_left(&watch, now);
            self.x2s.remove(&watch);
        }
        Verdict::Later
    }

    /// RFC 8048 s.5.2.3: the watcher learns that the authorisation is gone.
    pub(super) fn tell_left(&mut self, watch: &Watch, now: Now) {
        let Some(watching) = self.x2s.get_mut(watch) else { return };
        if std::mem::replace(&mut watching.leaving, Leaving::Told) == Leaving::Told {
            return;
        }
        self.tell("unsubscribed", watch, Told::Refused, now);
    }

    /// A watcher asks for the state at once (RFC 8048 s.7.1).
    pub(super) fn handle_probe(
        &mut self,
        arrived: &Arrived<'_>,
        facts: Facts<'_>,
        now: Now,
    ) -> Verdict {
        let watch = Watch::of_watcher(arrived);
        if self.x2s.get(&watch).is_some_and(Watching::is_granted) {
            self.tell_at_once(&watch, facts, now);
            return Verdict::Done;
        }
        // RFC 6121 s.4.3.2: the same for a user that exists and for one that does not.
        let (from, to) = (&watch.presentity, &watch.watcher);
        self.send_presence("unsubscribed", from, to, Purpose::State, now);
        let pending = self.x2s.get(&watch).filter(|it| it.leaving == Leaving::No);
        if pending.is_some_and(Watching::is_idle) {
            self.begin_subscription(&watch, now);
        }
        Verdict::Done
    }

    /// Tells a watcher that was granted its wish the whole state, which is fetched where no
    /// subscription keeps it up.
    fn tell_at_once(&mut self, watch: &Watch, facts: Facts<'_>, now: Now) {
        let Some(watching) = self.x2s.get_mut(watch) else { return };
        watching.forget_told();
        let (is_subscribed, is_fetching) =
            (watching.subscriber.is_some(), watching.fetch.is_some());
        if is_subscribed {
            self.tell_watcher(watch, facts, now);
        } else if !is_fetching {
            // The long subscription begins when the state has come.
            self.fetch_state(watch, now);
        }
    }

    /// The SIP side has granted the watcher's wish (RFC 8048 s.5.2.1).
    pub(super) fn granted(&mut self, watch: &Watch, now: Now) {
        let Some(watching) = self.x2s.get_mut(watch) else { return };
        if watching.state == AuthorisationState::Active || watching.leaving != Leaving::No {
            return;
        }
        watching.state = AuthorisationState::Active;
        let write = watch.record(Direction::X2s, watching.state, watching.seen_ms);
        self.commits.write(write);
        tracing::info!("an XMPP user may see a SIP user's presence");
        self.tell("subscribed", watch, Told::Granted, now);
    }

    /// The SIP side will not let the watcher see: everything is taken back (RFC 6121 s.3.2.2).
    pub(super) fn reject(&mut self, watch: &Watch, now: Now) {
        let Some(watching) = self.x2s.get(watch) else { return };
        if watching.leaving == Leaving::No {
            self.commits.write(watch.removal());
            self.hide(watch, now);
        }
        self.tell_left(watch, now);
        self.x2s.remove(watch);
    }

    /// Tells the watcher what has changed since it was last told.
    pub(super) fn tell_watcher(&mut self, watch: &Watch, facts: Facts<'_>, now: Now) {
        let (user, contact) = (&watch.presentity, &watch.watcher);
        // A policy that has changed since the subscription began holds at once.
        let permit = facts.decide(user, contact, policy::Direction::X2s, Subject::Presence);
        let Ok(permit) = permit else { return };
        let sees_notes = permit.partner.partner_type.sees_notes();
        let Some(watching) = self.x2s.get_mut(watch).filter(|it| it.is_granted()) else { return };
        for presence in watching.take_news(sees_notes) {
            self.tell_state(watch, &presence, now);
        }
    }

    /// Tells the watcher that every resource it was shown is gone; what is known is out of date.
    pub(super) fn hide(&mut self, watch: &Watch, now: Now) {
        let Some(watching) = self.x2s.get_mut(watch) else { return };
        watching.take_states(None, now);
        for (resource, _) in std::mem::take(&mut watching.shown) {
            self.tell_state(watch, &ResourcePresence::gone(resource), now);
        }
    }
}

impl Watching {
    /// Returns what the watcher does not know yet, and takes it as told.
    fn take_news(&mut self, sees_notes: bool) -> Vec<ResourcePresence> {
        let mut available = BTreeMap::new();
        let mut changed = Vec::new();
        let mut closed = BTreeMap::new();
        for presence in &self.latest {
            let mut presence = presence.clone();
            let Some(announced) = &mut presence.available else {
                presence.farewell = presence.farewell.filter(|_| sees_notes);
                closed.insert(presence.resource.clone(), presence);
                continue;
            };
            if !sees_notes {
                announced.status = None;
            }
            if self.shown.get(&presence.resource) != Some(&presence) {
                changed.push(presence.clone());
            }
            available.insert(presence.resource.clone(), presence);
        }
        // A resource that was shown and is not there any more goes by its own name (R8048-29).
        let gone = self.shown.keys().filter(|resource| !available.contains_key(*resource));
        let mut news: Vec<_> = gone
            .map(|resource| {
                let told = closed.get(resource).cloned();
                told.unwrap_or_else(|| ResourcePresence::gone(resource.clone()))
            })
            .collect();
        // The process before this one may have shown what is closed now.
        if self.shown_before && !self.latest.is_empty() {
            self.shown_before = false;
            let is_unknown = |resource: &Option<String>| {
                resource.is_some()
                    && !self.shown.contains_key(resource)
                    && !available.contains_key(resource)
            };
            news.extend(closed.into_iter().filter(|it| is_unknown(&it.0)).map(|it| it.1));
        }
        if available.is_empty() && self.shown.is_empty() && !self.told {
            news.push(ResourcePresence::gone(None));
        }
        news.extend(changed);
        self.shown = available;
        self.told = true;
        news
    }
}
