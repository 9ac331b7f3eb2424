//! What XMPP users let the SIP users know who watch them: granted, refused, here, away.

use link::wire::Bounced;
use sip_proto::header::TerminationReason;
use xmpp_proto::jid::{Domain, Jid};
use xmpp_proto::stanza::error::{StanzaCondition, StanzaError};

use super::s2x_presence::PROBE_INTERVAL;
use super::s2x_watches::{Announced, Contact};
use super::stanzas::{Arrived, Verdict};
use super::watch::Watch;
use super::{Gateway, Purpose, Step};
use crate::clock::Now;
use crate::facts::Facts;
use crate::policy::{Direction, Subject};
use crate::store::record::{self, AuthorisationState};
use crate::translate::presence::x2s_available;

impl Gateway {
    /// A contact lets a SIP user see its presence (RFC 8048 s.5.3.1).
    pub(super) fn handle_subscribed(&mut self, arrived: &Arrived<'_>, now: Now) -> Verdict {
        let watch = Watch::of_presentity(arrived);
        // RFC 6121 s.3.1.6: what nobody asked for is ignored.
        let Some(contact) = self.s2x.contacts.get_mut(&watch).filter(|it| !it.is_active()) else {
            return Verdict::Done;
        };
        contact.state = AuthorisationState::Active;
        tracing::info!("a SIP user may see an XMPP user's presence");
        self.s2x.contact_deadlines.set(&watch, None);
        self.s2x.for_each_dialog(|it| *it == watch, |it| it.notifier.approve());
        let state = AuthorisationState::Active;
        let write = watch.record(record::Direction::S2x, state, now.unix_ms);
        self.commits.write_and(write, Step::Settle(arrived.edge, arrived.envelope.sequence));
        Verdict::Later
    }

    /// A contact refuses, or takes back what it granted (RFC 8048 s.5.3.1).
    pub(super) fn handle_unsubscribed(&mut self, arrived: &Arrived<'_>) -> Verdict {
        let watch = Watch::of_presentity(arrived);
        if !self.forget_contact(&watch, &TerminationReason::Rejected) {
            return Verdict::Done;
        }
        let settle = Step::Settle(arrived.edge, arrived.envelope.sequence);
        self.commits.write_and(watch.removal(), settle);
        Verdict::Later
    }

    /// Ends every subscription to a contact; returns whether there was an authorisation.
    fn forget_contact(&mut self, watch: &Watch, reason: &TerminationReason) -> bool {
        let existed = self.s2x.contacts.remove(watch).is_some();
        self.s2x.contact_deadlines.set(watch, None);
        self.s2x
            .for_each_dialog(|it| it == watch, |it| it.notifier.terminate(reason.clone(), None));
        existed
    }

    /// A resource of a contact says what it is doing, or that it has gone (RFC 8048 s.6.2).
    pub(super) fn handle_announcement(
        &mut self,
        arrived: &Arrived<'_>,
        facts: Facts<'_>,
    ) -> Verdict {
        let watch = Watch::of_presentity(arrived);
        let (user, contact) = (&watch.watcher, &watch.presentity);
        let permit = facts.decide(user, contact, Direction::S2x, Subject::Presence);
        let contact = self.s2x.contacts.get_mut(&watch);
        let contact = contact.filter(|contact| contact.is_active() && permit.is_ok());
        let Some(contact) = contact else { return Verdict::Done };
        let available = x2s_available(arrived.element, arrived.stream_language());
        let announced = match arrived.element.attribute("type") {
            None => Announced::Here(available),
            Some(_) => Announced::Gone(available.status),
        };
        if contact.announce(arrived.from.resourcepart(), announced) {
            self.tell_changed(&watch);
        }
        Verdict::Done
    }

    fn tell_changed(&mut self, watch: &Watch) {
        self.s2x.for_each_dialog(
            |it| it == watch,
            |it| {
                it.held_until = None;
                it.throttle.change();
            },
        );
    }

    /// The contact's server says that the question cannot be asked.
    pub(super) fn handle_presence_error(&mut self, arrived: &Arrived<'_>, now: Now) -> Verdict {
        let watch = Watch::of_presentity(arrived);
        let error = StanzaError::read(arrived.element);
        self.question_failed(&watch, error.condition, now);
        Verdict::Done
    }

    /// Takes the outcome of a question at the partner.
    pub(super) fn subscribe_settled(
        &mut self,
        watch: &Watch,
        outcome: &Result<(), Bounced>,
        now: Now,
    ) {
        if let Err(bounced) = outcome {
            let condition = StanzaCondition::of_name(&bounced.condition)
                .unwrap_or(StanzaCondition::UndefinedCondition);
            self.question_failed(watch, condition, now);
        }
    }

    fn question_failed(&mut self, watch: &Watch, condition: StanzaCondition, now: Now) {
        use StanzaCondition as C;
        let pending = |contact: &&mut Contact| !contact.is_active();
        let Some(contact) = self.s2x.contacts.get_mut(watch).filter(pending) else { return };
        let reason = match condition {
            C::Gone | C::ItemNotFound | C::JidMalformed => TerminationReason::Noresource,
            C::Forbidden | C::NotAllowed | C::NotAuthorized | C::PolicyViolation => {
                TerminationReason::Rejected
            }
            C::FeatureNotImplemented | C::ServiceUnavailable => TerminationReason::Rejected,
            // The way to the contact is closed, and may open again.
            _ => {
                contact.asked_at = None;
                let at = now.instant + contact.back_off();
                return self.s2x.contact_deadlines.set(watch, Some(at));
            }
        };
        self.forget_contact(watch, &reason);
        self.commits.write(watch.removal());
    }

    /// No stream can be had to a partner: what its users announced is not true any more.
    pub(super) fn partner_lost(&mut self, domain: &Domain, now: Now) {
        for watch in self.s2x.of_domain(domain) {
            let Some(contact) = self.s2x.contacts.get_mut(&watch) else { continue };
            if !contact.is_active() {
                continue;
            }
            contact.lost = true;
            let wait = contact.back_off();
            let news = contact.all_gone(None);
            self.s2x.contact_deadlines.set(&watch, Some(now.instant + wait));
            if news {
                self.tell_changed(&watch);
            }
        }
    }

    /// Takes the outcome of a probe at the partner: one that did not arrive follows later.
    pub(super) fn probe_settled(&mut self, watch: &Watch, outcome: &Result<(), Bounced>, now: Now) {
        let is_due = self.s2x.contact_deadlines.is_set(watch);
        let contact = self.s2x.contacts.get_mut(watch).filter(|_| outcome.is_err() && !is_due);
        if let Some(contact) = contact {
            contact.lost = true;
            let at = now.instant + contact.back_off();
            self.s2x.contact_deadlines.set(watch, Some(at));
        }
    }

    /// A partner is back: contacts that were lost are asked for what they do, and its users are
    /// told what they could not be told.
    pub(super) fn partner_found(&mut self, domain: &Domain, now: Now) {
        self.debts.call_in(|watch| watch.watcher.domain() == domain, now.instant);
        for watch in self.s2x.of_domain(domain) {
            let lost = self.s2x.contacts.get_mut(&watch).filter(|contact| contact.lost);
            let Some(probed_at) = lost.map(|contact| contact.probed_at) else { continue };
            if self.s2x.is_watched(&watch) {
                self.probe(&watch, now);
                // One that went out just before may have been lost with the partner.
                let next = probed_at.map(|at| at + PROBE_INTERVAL).filter(|at| now.instant < *at);
                self.s2x.contact_deadlines.set(&watch, next);
            }
        }
    }

    /// Ends what a SIP user watches, for good.
    pub(super) fn remove_watcher(&mut self, user: &Jid, now: Now) {
        let watches = self.s2x.contacts.keys().filter(|watch| watch.watcher == *user);
        for watch in watches.cloned().collect::<Vec<_>>() {
            self.forget_contact(&watch, &TerminationReason::Noresource);
            self.commits.write(watch.removal());
            let (from, to) = (&watch.watcher, &watch.presentity);
            self.send_presence("unsubscribe", from, to, Purpose::State, now);
        }
    }
}
