//! The subscriptions that serve XMPP watchers: begun, refreshed, ended, begun again.

use sip_proto::StatusCode;
use sip_proto::header::{
    Accept, Event, HeaderName, MediaType, NameAddr, SubscriptionStatus, TerminationReason,
};
use sip_proto::message::{FinalResponse, OutgoingResponse, Request};
use sip_proto::usage::subscription::{
    EndCause, RequestFailure, Resubscribe, SubscribeId, Subscriber, SubscriberEvent,
    SubscriberTerms, unknown_subscription,
};

use super::requests::Asked;
use super::watch::Watch;
use super::x2s_watches::Leaving;
use super::{GRUU, Gateway, RequestPurpose};
use crate::address::{AddressError, s2x_address, x2s_address};
use crate::clock::Now;
use crate::denial::Denial;
use crate::facts::Facts;
use crate::pidf;
use crate::policy::{Direction, Subject};
use crate::translate::presence::{ResourcePresence, s2x_presence};

/// The interval that a subscription asks for, in seconds.
const EXPIRES_SECONDS: u32 = 3600;

impl Gateway {
    /// Begins the long subscription of a watch.
    pub(super) fn begin_subscription(&mut self, watch: &Watch, now: Now) {
        self.begin(watch, EXPIRES_SECONDS, now);
    }

    /// Fetches the state once, in a dialog of its own.
    pub(super) fn fetch_state(&mut self, watch: &Watch, now: Now) {
        self.begin(watch, 0, now);
    }

    fn begin(&mut self, watch: &Watch, expires_seconds: u32, now: Now) {
        let Some(watching) = self.x2s.get_mut(watch) else { return };
        watching.retry_at = None;
        let Ok(terms) = self.terms(watch, expires_seconds) else {
            return self.reject(watch, now);
        };
        let mut subscriber = Subscriber::new(terms, &mut self.ids);
        subscriber.subscribe(now.instant);
        self.x2s.add_subscriber(watch, subscriber, expires_seconds == 0);
    }

    fn terms(
        &mut self,
        watch: &Watch,
        expires_seconds: u32,
    ) -> Result<SubscriberTerms, AddressError> {
        let local = x2s_address(&watch.watcher)?;
        let mut contact = local.clone();
        contact.set_parameter("gr", GRUU);
        // From 75 to 85 hundredths, so that those that began together do not come together.
        let spread = self.ids.tag().bytes().map(u16::from).sum::<u16>() % 100;
        Ok(SubscriberTerms {
            target: x2s_address(&watch.presentity)?,
            local: NameAddr::new(local),
            contact: NameAddr::new(contact),
            event: Event::of_package("presence"),
            accept: Accept(vec![MediaType::from_static(pidf::MEDIA_TYPE)]),
            expires_seconds,
            refresh_permille: 750 + spread,
        })
    }

    /// Sends the SUBSCRIBEs that are due, and acts on what came of earlier ones.
    pub(super) fn send_subscribes(&mut self, now: Now) {
        for write in std::mem::take(&mut self.x2s.writes) {
            self.commits.write(write);
        }
        let mut looked_at = Vec::new();
        // What is done for one watch may touch it again.
        loop {
            let touched = self.x2s.take_touched();
            if touched.is_empty() {
                break;
            }
            for watch in touched {
                self.work_off(&watch, now);
                looked_at.push(watch);
            }
        }
        for watch in looked_at {
            self.x2s.update_deadline(&watch);
        }
    }

    /// Sends and acts on what the subscriptions of one watch have produced.
    fn work_off(&mut self, watch: &Watch, now: Now) {
        let Some(watching) = self.x2s.get_untouched(watch) else { return };
        let (mut requests, mut events) = (Vec::new(), Vec::new());
        for subscriber in watching.subscribers() {
            requests.extend(std::iter::from_fn(|| subscriber.poll_request()));
            events.extend(std::iter::from_fn(|| subscriber.poll_event()));
        }
        for (id, request) in requests {
            self.send_request(request, RequestPurpose::Subscribe(watch.clone(), id), now);
        }
        for event in events {
            self.handle_subscriber_event(watch, &event, now);
        }
    }

    pub(super) fn subscribe_answered(
        &mut self,
        watch: &Watch,
        id: SubscribeId,
        response: FinalResponse<'_>,
        now: Now,
    ) {
        let found =
            self.x2s.by_call_id(response.headers.first(HeaderName::CallId).unwrap_or_default());
        let Some((_, subscriber)) = found else { return };
        subscriber.handle_response(id, response, now.instant);
        let leaving = self.x2s.get(watch).is_some_and(|it| it.leaving == Leaving::Asked);
        if leaving && response.status.is_success() {
            self.tell_left(watch, now);
        }
    }

    pub(super) fn subscribe_failed(
        &mut self,
        watch: &Watch,
        id: SubscribeId,
        failure: RequestFailure,
        now: Now,
    ) {
        let Some(watching) = self.x2s.get_mut(watch) else { return };
        for subscriber in watching.subscribers() {
            subscriber.handle_failure(id, failure, now.instant);
        }
    }

    /// Takes a NOTIFY of the presentity's server.
    pub(super) fn answer_notify(
        &mut self,
        asked: &Asked<'_>,
        request: &Request,
    ) -> Result<(), Denial> {
        let call_id = request.call_id().as_str();
        // RFC 6665 s.4.1.3: one that belongs to no subscription of ours is nobody's.
        let (watch, subscriber) = self.x2s.by_call_id(call_id).ok_or_else(unknown_subscription)?;
        // RFC 6665 s.4.4.1: whoever knows the identifiers may still be of another domain.
        let from = s2x_address(request.from().uri()).ok();
        let is_its_own = from.is_some_and(|it| it.domain() == watch.presentity.domain());
        if !is_its_own || !subscriber.is_addressed_by(request) {
            return Err(unknown_subscription().into());
        }
        let document = match request.body().is_empty() {
            true => None,
            false => Some(
                pidf::parse(request.body())
                    .map_err(|error| Denial::new(StatusCode::BAD_REQUEST, &error.to_string()))?,
            ),
        };
        let notified = subscriber.handle_notify(request, asked.now.instant)?;
        let response = OutgoingResponse::to(request, StatusCode::OK, None);
        self.respond(asked.exchange, response);
        let states = document.map(|document| s2x_presence(&document));
        self.notified(&watch, &notified.status, states, asked);
        if let Some(resubscribe) = notified.ended {
            self.ended(&watch, resubscribe, asked.now);
        }
        Ok(())
    }

    fn notified(
        &mut self,
        watch: &Watch,
        status: &SubscriptionStatus,
        states: Option<Vec<ResourcePresence>>,
        asked: &Asked<'_>,
    ) {
        let now = asked.now;
        match status {
            // RFC 8048 s.5.2.1: what is pending is not told.
            SubscriptionStatus::Pending | SubscriptionStatus::Other(_) => {}
            SubscriptionStatus::Active => {
                self.granted(watch, now);
                if let Some(watching) = self.x2s.get_mut(watch) {
                    watching.failures = 0;
                    watching.take_states(states, now);
                }
                self.tell_watcher(watch, asked.facts, now);
            }
            SubscriptionStatus::Terminated(Some(
                TerminationReason::Rejected | TerminationReason::Noresource,
            )) => self.reject(watch, now),
            SubscriptionStatus::Terminated(reason) => {
                // A server that asks for another subscription later says nothing of now.
                let is_unknown = matches!(reason, Some(TerminationReason::Probation));
                if (is_unknown || states.is_some())
                    && let Some(watching) = self.x2s.get_mut(watch)
                {
                    watching.take_states(states.filter(|_| !is_unknown), now);
                    self.tell_watcher(watch, asked.facts, now);
                }
            }
        }
    }

    fn handle_subscriber_event(&mut self, watch: &Watch, event: &SubscriberEvent, now: Now) {
        match event {
            SubscriberEvent::RefreshFailed { status: Some(status), .. }
            | SubscriberEvent::Ended { cause: EndCause::Refused(status), .. }
                if is_permanent(*status) =>
            {
                self.reject(watch, now);
            }
            SubscriberEvent::RefreshFailed { .. } => {}
            SubscriberEvent::Ended { resubscribe, .. } => self.ended(watch, *resubscribe, now),
        }
    }

    /// A subscription has ended: another follows, now, later, or never.
    fn ended(&mut self, watch: &Watch, resubscribe: Resubscribe, now: Now) {
        let fetched = self.x2s.drop_over(watch);
        let Some(watching) = self.x2s.get_mut(watch) else { return };
        let is_subscribed = watching.subscriber.is_some();
        match (watching.leaving, resubscribe) {
            _ if is_subscribed => {}
            (Leaving::Asked | Leaving::Told, _) => {
                self.tell_left(watch, now);
                self.x2s.remove(watch);
            }
            (Leaving::No, _) if fetched => watching.retry_at = Some(now.instant),
            (Leaving::No, Resubscribe::Immediately) => watching.retry_at = Some(now.instant),
            (Leaving::No, Resubscribe::Later(wait)) => watching.back_off(wait, now),
            (Leaving::No, Resubscribe::Never) => {}
        }
    }

    /// Lets subscriptions be refreshed, end, and begin again.
    pub(super) fn handle_x2s_timeout(&mut self, facts: Facts<'_>, now: Now) {
        for watch in self.x2s.deadlines.take_due(now.instant) {
            let wanted = self.is_wanted(&watch, facts, now);
            let Some(watching) = self.x2s.get_mut(&watch) else { continue };
            for subscriber in watching.subscribers() {
                if !wanted {
                    subscriber.let_lapse();
                }
                subscriber.handle_timeout(now.instant);
            }
            if watching.retry_at.is_none_or(|at| at > now.instant) {
                continue;
            }
            watching.retry_at = None;
            let idle = watching.subscriber.is_none() && watching.leaving == Leaving::No;
            match wanted {
                true if idle => self.begin_subscription(&watch, now),
                // What the watcher was shown is not kept up any more.
                false if idle => self.hide(&watch, now),
                true | false => {}
            }
        }
    }

    /// Says whether a subscription is kept up: policy permits it, and its watcher has shown itself
    /// of late. One that has not shows itself by a probe when it is back.
    fn is_wanted(&self, watch: &Watch, facts: Facts<'_>, now: Now) -> bool {
        let interest_ms = facts.policy.gateway.subscription_refresh_s * 1000;
        let seen_ms = self.x2s.get(watch).map_or(0, |watching| watching.seen_ms);
        let (user, contact) = (&watch.presentity, &watch.watcher);
        now.unix_ms < seen_ms + interest_ms
            && facts.decide(user, contact, Direction::X2s, Subject::Presence).is_ok()
    }
}

/// Says whether a refusal of SUBSCRIBE is for good (RFC 8048 s.5.2.2): 403, 489 and 603, and what
/// says that there is nobody to watch.
fn is_permanent(status: StatusCode) -> bool {
    matches!(status.code(), 403 | 404 | 410 | 416 | 484 | 489 | 600..=699)
}
