//! SIP users who watch XMPP users: SUBSCRIBE answered, NOTIFY sent (RFC 8048 s.5.3, s.6.2, s.7.2).

use std::time::{Duration, Instant};

use sip_proto::StatusCode;
use sip_proto::dialog::DialogId;
use sip_proto::header::{Expires, HeaderName, NameAddr};
use sip_proto::message::{FinalResponse, OutgoingRequest, Request};
use sip_proto::usage::subscription::{Notifier, NotifierTerms, Standing, unknown_subscription};
use xmpp_proto::jid::Jid;

use super::requests::Asked;
use super::s2x_watches::{Contact, NOTIFIER_RULES, Subscription, dialog_removal};
use super::watch::Watch;
use super::{Gateway, GatewayEffect, Purpose, RequestPurpose};
use crate::address::x2s_address;
use crate::clock::Now;
use crate::denial::Denial;
use crate::store::record::{AuthorisationState, Direction};

/// How long a poll waits for a state that is not known.
const POLL_WAIT: Duration = Duration::from_secs(1);

/// A contact whose state is not known is not probed again before this time is over.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// A contact that does not answer is not asked again before this time is over.
const ASK_INTERVAL: Duration = Duration::from_secs(60);

/// The most subscriptions of one SIP user.
const SUBSCRIPTIONS_MAX: usize = 1_000;

/// The most contacts of one SIP user that are asked or have granted what it asked for; they
/// outlast the subscriptions.
const CONTACTS_MAX: usize = 1_000;

impl Gateway {
    /// Answers a SUBSCRIBE that policy permits.
    pub(super) fn answer_subscribe(
        &mut self,
        asked: &Asked<'_>,
        request: &Request,
        from: &Jid,
        to: &Jid,
    ) -> Result<(), Denial> {
        let now = asked.now;
        let watch = Watch { presentity: to.bare(), watcher: from.bare() };
        let own = self.s2x.dialogs.values().filter(|it| it.watch.watcher == watch.watcher);
        if own.count() >= SUBSCRIPTIONS_MAX {
            return Err(Denial::new(StatusCode::FORBIDDEN, "Too Many Subscriptions"));
        }
        // RFC 8048 s.7.2: Expires 0 asks for the state once, and for no authorisation.
        let is_poll = matches!(request.headers().typed::<Expires>()?, Some(Expires(0)));
        let is_new = !is_poll && !self.s2x.contacts.contains_key(&watch);
        if is_new && self.s2x.contacts_of(&watch.watcher) >= CONTACTS_MAX {
            return Err(Denial::new(StatusCode::FORBIDDEN, "Too Many Contacts"));
        }
        let contact = self.s2x.contacts.get(&watch);
        let is_active = contact.is_some_and(Contact::is_active);
        let is_known = contact.is_some_and(|contact| contact.known);
        let tag = self.ids.tag();
        let terms = NotifierTerms {
            local_tag: &tag,
            contact: &own_contact(&watch.presentity)?,
            standing: if is_active { Standing::Active } else { Standing::Pending },
        };
        let (notifier, response) = Notifier::accept(request, &NOTIFIER_RULES, &terms, now.instant)?;
        self.respond(asked.exchange, response);
        let id = notifier.dialog().id();
        let mut subscription = Subscription::new(watch.clone(), notifier);
        if is_poll && is_active && !is_known {
            subscription.held_until = Some(now.instant + POLL_WAIT);
        }
        self.s2x.dialogs.insert(id.clone(), subscription);
        self.s2x.dialog_mut(&id);
        self.send_notifies(now);
        if is_active && !is_known {
            self.probe(&watch, now);
        }
        if !is_poll {
            let Watch { watcher, presentity } = watch.clone();
            self.effects.push_back(GatewayEffect::Added(watcher, presentity));
            self.forget_question(&watch, now);
            self.ask(&watch, now);
        }
        Ok(())
    }

    /// Answers a SUBSCRIBE inside of a dialog.
    pub(super) fn answer_resubscribe(
        &mut self,
        asked: &Asked<'_>,
        request: &Request,
        from: &Jid,
    ) -> Result<(), Denial> {
        let now = asked.now;
        let id = DialogId::of_request(request);
        let subscription = self.s2x.dialog_mut(&id).ok_or_else(unknown_subscription)?;
        if subscription.watch.watcher != from.bare() {
            return Err(unknown_subscription().into());
        }
        let watch = subscription.watch.clone();
        let response =
            subscription.notifier.handle_subscribe(request, &NOTIFIER_RULES, now.instant)?;
        subscription.leaving = subscription.notifier.standing().is_none();
        let is_leaving = subscription.leaving;
        self.respond(asked.exchange, response);
        self.send_notifies(now);
        let Some(contact) = self.s2x.contacts.get(&watch) else { return Ok(()) };
        if is_leaving {
            let (is_active, is_watched) = (contact.is_active(), self.s2x.is_watched(&watch));
            // RFC 8048 s.5.3.3; not while the contact watches the user, whom that would hide.
            let (from, to) = (&watch.watcher, &watch.presentity);
            if is_active && !is_watched && !self.x2s.is_granted(from, to) {
                self.send_presence("unavailable", from, to, Purpose::State, now);
            }
        } else if contact.is_active() && !contact.known {
            self.probe(&watch, now);
        } else {
            self.ask(&watch, now);
        }
        Ok(())
    }

    /// Has a contact asked again that has not answered: its watcher wants to know anew, as
    /// somebody does who thinks that the question was lost.
    fn forget_question(&mut self, watch: &Watch, now: Now) {
        if let Some(contact) = self.s2x.contacts.get_mut(watch) {
            contact.asked_at = contact.asked_at.filter(|at| now.instant < *at + ASK_INTERVAL);
        }
    }

    /// Asks a contact for its authorisation, unless it has granted it or is thinking.
    pub(super) fn ask(&mut self, watch: &Watch, now: Now) {
        if !self.s2x.contacts.contains_key(watch) {
            let state = AuthorisationState::Pending;
            self.commits.write(watch.record(Direction::S2x, state, now.unix_ms));
            self.s2x.contacts.insert(watch.clone(), Contact::new(state));
        }
        let Some(contact) = self.s2x.contacts.get_mut(watch) else { return };
        if contact.is_active() || contact.asked_at.is_some() {
            return;
        }
        contact.asked_at = Some(now.instant);
        let purpose = Purpose::Subscribe(watch.clone());
        self.send_presence("subscribe", &watch.watcher, &watch.presentity, purpose, now);
    }

    /// Asks a contact's server for the state of the contact.
    pub(super) fn probe(&mut self, watch: &Watch, now: Now) {
        let Some(contact) = self.s2x.contacts.get_mut(watch) else { return };
        if contact.probed_at.is_some_and(|at| now.instant < at + PROBE_INTERVAL) {
            return;
        }
        contact.probed_at = Some(now.instant);
        let purpose = Purpose::Probe(watch.clone());
        self.send_presence("probe", &watch.watcher, &watch.presentity, purpose, now);
    }

    /// Sends the NOTIFYs that are due.
    pub(super) fn send_notifies(&mut self, now: Now) {
        for id in self.s2x.take_touched() {
            let due = self.s2x.dialogs.get_mut(&id).is_some_and(|it| is_due(it, now.instant));
            if due && let Some(request) = self.notify(&id, now) {
                self.send_request(request, RequestPurpose::Notify(id.clone()), now);
            }
            let deadline = self.s2x.dialogs.get(&id).and_then(|it| {
                let times = [it.notifier.poll_timeout(), it.throttle.poll_timeout(), it.held_until];
                times.into_iter().flatten().min()
            });
            self.s2x.dialog_deadlines.set(&id, deadline);
        }
    }

    fn notify(&mut self, id: &DialogId, now: Now) -> Option<OutgoingRequest> {
        let subscription = self.s2x.dialogs.get_mut(id)?;
        let Subscription { watch, notifier, leaving, .. } = subscription;
        let contact = self.s2x.contacts.get(watch);
        // Nothing is revealed before the contact has granted it, or after it has taken it back.
        let shown = contact.filter(|contact| contact.is_active() && (contact.known || *leaving));
        let shown = shown.filter(|_| notifier.standing() != Some(Standing::Pending));
        let document = shown.and_then(|contact| contact.document(&watch.presentity, *leaving));
        let (body, language) = document.unzip();
        // Only what tells a state counts against the pace at which state is told.
        if body.is_some() {
            subscription.throttle.told(now.instant);
        }
        subscription.held_until = None;
        let mut request = subscription.notifier.notify(body, now.instant);
        if let Some(language) = language.flatten() {
            request.headers_mut().push_text(HeaderName::ContentLanguage, &language);
        }
        let write = subscription.write(id, now);
        self.commits.write(write);
        Some(request)
    }

    /// Takes what came of a NOTIFY.
    pub(super) fn notify_answered(&mut self, id: &DialogId, answer: Option<FinalResponse<'_>>) {
        let Some(subscription) = self.s2x.dialogs.get(id) else { return };
        let status = answer.map(|response| response.status);
        if subscription.notifier.handle_notify_response(status) {
            return;
        }
        self.s2x.dialogs.remove(id);
        self.s2x.dialog_deadlines.set(id, None);
        self.commits.write(dialog_removal(id));
    }

    /// Lets subscriptions end, polls be answered, and contacts be asked again.
    pub(super) fn handle_s2x_timeout(&mut self, now: Now) {
        for id in self.s2x.dialog_deadlines.take_due(now.instant) {
            if let Some(subscription) = self.s2x.dialog_mut(&id) {
                subscription.notifier.handle_timeout(now.instant);
            }
        }
        for watch in self.s2x.contact_deadlines.take_due(now.instant) {
            if !self.s2x.is_watched(&watch) {
                continue;
            }
            match self.s2x.contacts.get(&watch) {
                Some(contact) if !contact.is_active() => self.ask(&watch, now),
                Some(contact) if contact.lost || !contact.known => self.probe(&watch, now),
                Some(_) | None => {}
            }
        }
    }
}

/// Says whether a NOTIFY must go out, or may because there is something new.
fn is_due(subscription: &mut Subscription, now: Instant) -> bool {
    let Subscription { notifier, throttle, held_until, .. } = subscription;
    if held_until.is_some_and(|until| now < until) {
        return false;
    }
    notifier.owes_notify() || throttle.take(now)
}

/// Returns where SUBSCRIBEs of a dialog with a contact go.
fn own_contact(presentity: &Jid) -> Result<NameAddr, Denial> {
    let uri = x2s_address(presentity);
    let mut uri = uri.map_err(|error| Denial::new(StatusCode::NOT_FOUND, &error.to_string()))?;
    uri.set_parameter("gr", super::GRUU);
    Ok(NameAddr::new(uri))
}
