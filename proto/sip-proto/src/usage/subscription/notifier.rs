//! The notifier: one subscription to a resource of ours (RFC 6665 s.4.2).

mod snapshot;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use bytes::Bytes;

pub use self::snapshot::NotifierSnapshot;
use super::{Standing, ends_subscription};
use crate::dialog::Dialog;
use crate::header::{
    Accept, Contact, Event, Expires, HeaderName, MediaType, NameAddr, SubscriptionState,
    SubscriptionStatus, TerminationReason,
};
use crate::message::{OutgoingRequest, OutgoingResponse, Request};
use crate::method::Method;
use crate::refusal::{Hint, Refusal};
use crate::registrar::bounded_interval;
use crate::status::StatusCode;

/// What a notifier offers.
#[derive(Clone, Copy, Debug)]
pub struct NotifierRules {
    /// The event packages.
    pub packages: &'static [&'static str],
    /// The media types of state that are generated, the preferred one first. The first one is
    /// also what a SUBSCRIBE without Accept gets.
    pub generated: &'static [&'static str],
    /// Shortest subscription, in seconds; at most 3600 has an effect.
    pub expires_seconds_min: u32,
    /// Subscription without a wish, in seconds.
    pub expires_seconds_default: u32,
    /// Longest subscription, in seconds.
    pub expires_seconds_max: u32,
}

/// How one SUBSCRIBE is accepted.
#[derive(Clone, Copy, Debug)]
pub struct NotifierTerms<'a> {
    /// Our tag in the dialog.
    pub local_tag: &'a str,
    /// Where SUBSCRIBEs of the dialog go: a GRUU of ours (RFC 6665 s.4.5.1).
    pub contact: &'a NameAddr,
    /// Whether the watcher is granted the subscription already.
    pub standing: Standing,
}

/// A subscription at the notifier.
///
/// ```text
/// init --SUBSCRIBE--> pending or active --expiry, Expires 0, policy--> terminated
/// pending --approve--> active
/// any --failed NOTIFY--> removed
/// ```
///
/// Every accepted SUBSCRIBE and every end owes a NOTIFY at once: the owner calls
/// [`Notifier::notify`] whenever [`Notifier::owes_notify`] says so, beside the changes of state
/// that it wants to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notifier {
    dialog: Dialog,
    contact: NameAddr,
    event: Event,
    media_type: &'static str,
    state: State,
    debt: Debt,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Live { standing: Standing, expires_at: Instant },
    Terminated { reason: TerminationReason, retry_after: Option<Duration> },
}

/// Whether a NOTIFY is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Debt {
    Owed,
    Paid,
}

impl Notifier {
    /// Accepts the SUBSCRIBE that begins a subscription, and returns the 200 that answers it. The
    /// first NOTIFY follows at once.
    ///
    /// # Errors
    /// Fails with the answer: 489 for another event package, 406 when the watcher takes nothing
    /// that is generated, 423 for an interval that is too brief, 400 when it is malformed.
    pub fn accept(
        subscribe: &Request,
        rules: &NotifierRules,
        terms: &NotifierTerms<'_>,
        now: Instant,
    ) -> Result<(Self, OutgoingResponse), Refusal> {
        let event = check_event(subscribe, rules)?;
        let media_type = choose_media_type(subscribe, rules)?;
        let interval = choose_interval(subscribe, rules)?;
        let dialog = Dialog::from_request(subscribe, terms.local_tag)?;
        let contact = terms.contact.clone();
        let notifier = Self {
            dialog,
            contact,
            event,
            media_type,
            state: State::after_subscribe(terms.standing, interval, now),
            debt: Debt::Owed,
        };
        let response = notifier.response(subscribe, interval);
        Ok((notifier, response))
    }

    /// Accepts a SUBSCRIBE of the dialog, which refreshes or ends the subscription, and returns
    /// the 200 that answers it. A NOTIFY follows at once.
    ///
    /// # Errors
    /// Fails with the answer: 481 when it is for another or an ended subscription, 500 when it
    /// comes too late, 423 and 400 as at the beginning. Nothing changes then.
    pub fn handle_subscribe(
        &mut self,
        subscribe: &Request,
        rules: &NotifierRules,
        now: Instant,
    ) -> Result<OutgoingResponse, Refusal> {
        let event = check_event(subscribe, rules)?;
        let State::Live { standing, .. } = self.state else {
            return Err(super::unknown_subscription());
        };
        if !event.matches(&self.event) {
            return Err(super::unknown_subscription());
        }
        let interval = choose_interval(subscribe, rules)?;
        self.dialog.handle_request(subscribe)?;
        self.state = State::after_subscribe(standing, interval, now);
        self.debt = Debt::Owed;
        Ok(self.response(subscribe, interval))
    }

    /// Grants a subscription that is pending, which owes a NOTIFY.
    pub fn approve(&mut self) {
        if let State::Live { standing: standing @ Standing::Pending, .. } = &mut self.state {
            *standing = Standing::Active;
            self.debt = Debt::Owed;
        }
    }

    /// Ends the subscription, which owes a NOTIFY.
    pub fn terminate(&mut self, reason: TerminationReason, retry_after: Option<Duration>) {
        if matches!(self.state, State::Live { .. }) {
            self.state = State::Terminated { reason, retry_after };
            self.debt = Debt::Owed;
        }
    }

    /// Makes a NOTIFY of the state of the subscription, with the state of the resource if there
    /// is one to tell.
    pub fn notify(&mut self, body: Option<Bytes>, now: Instant) -> OutgoingRequest {
        let mut request = self.dialog.request(Method::Notify);
        let headers = request.headers_mut();
        headers.push(&self.event);
        headers.push(&self.state.header(now));
        headers.push(&Contact::Addresses(vec![self.contact.clone()]));
        if let Some(body) = body {
            request.set_body(&MediaType::from_static(self.media_type), body);
        }
        self.debt = Debt::Paid;
        request
    }

    /// Takes the final response to a NOTIFY, or none when Timer F has fired, and says whether the
    /// subscription lives on; otherwise the owner drops it.
    #[must_use]
    pub fn handle_notify_response(&self, status: Option<StatusCode>) -> bool {
        // RFC 6665 s.4.2.2.
        let has_failed = status.is_none_or(ends_subscription);
        !has_failed && matches!(self.state, State::Live { .. })
    }

    /// Ends the subscription when it has run out, which owes a NOTIFY.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|expires_at| expires_at <= now) {
            self.terminate(TerminationReason::Timeout, None);
        }
    }

    /// Returns when the subscription runs out.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Live { expires_at, .. } => Some(expires_at),
            State::Terminated { .. } => None,
        }
    }

    /// Says whether a NOTIFY must be sent at once.
    #[must_use]
    pub fn owes_notify(&self) -> bool {
        self.debt == Debt::Owed
    }

    /// Returns whether the watcher is granted the subscription; none when it has ended.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        match self.state {
            State::Live { standing, .. } => Some(standing),
            State::Terminated { .. } => None,
        }
    }

    /// Returns the dialog.
    #[must_use]
    pub fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    /// Returns the event package and id.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Returns the media type of the state that the watcher takes.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        self.media_type
    }

    fn response(&self, subscribe: &Request, interval_seconds: u32) -> OutgoingResponse {
        let tag = self.dialog.id().local_tag;
        let mut response = OutgoingResponse::to(subscribe, StatusCode::OK, Some(&tag));
        let headers = response.headers_mut();
        // RFC 3261 s.12.1.1: every Record-Route value is copied in order.
        headers.copy_rows(subscribe.headers(), HeaderName::RecordRoute);
        headers.push(&Contact::Addresses(vec![self.contact.clone()]));
        headers.push(&Expires(interval_seconds));
        response
    }
}

impl State {
    /// RFC 6665 s.4.2.1.4 and s.4.4.3: Expires 0 ends a subscription, or fetches the state once.
    fn after_subscribe(standing: Standing, interval_seconds: u32, now: Instant) -> Self {
        match interval_seconds {
            0 => Self::Terminated { reason: TerminationReason::Timeout, retry_after: None },
            _ => {
                let expires_at = now + Duration::from_secs(interval_seconds.into());
                Self::Live { standing, expires_at }
            }
        }
    }

    /// RFC 6665 s.4.2.2: expires goes with pending and active, reason with terminated.
    fn header(&self, now: Instant) -> SubscriptionState {
        match self {
            Self::Live { standing, expires_at } => {
                let left = expires_at.saturating_duration_since(now).as_secs();
                SubscriptionState {
                    status: match standing {
                        Standing::Pending => SubscriptionStatus::Pending,
                        Standing::Active => SubscriptionStatus::Active,
                    },
                    expires_seconds: Some(u32::try_from(left).unwrap_or(u32::MAX)),
                    retry_after_seconds: None,
                }
            }
            Self::Terminated { reason, retry_after } => SubscriptionState {
                status: SubscriptionStatus::Terminated(Some(reason.clone())),
                expires_seconds: None,
                retry_after_seconds: retry_after
                    .map(|wait| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX)),
            },
        }
    }
}

fn check_event(subscribe: &Request, rules: &NotifierRules) -> Result<Event, Refusal> {
    // RFC 6665 s.4.2.1.1 and s.4.2.3: another package gets 489, and so does none at all.
    let event = subscribe.headers().typed::<Event>()?;
    let supported = event.filter(|event| rules.packages.contains(&event.package()));
    supported
        .ok_or_else(|| Refusal::hinting(StatusCode::BAD_EVENT, Hint::AllowEvents(rules.packages)))
}

fn choose_media_type(subscribe: &Request, rules: &NotifierRules) -> Result<&'static str, Refusal> {
    let accept = subscribe.headers().typed::<Accept>()?;
    let acceptable = |name: &&&str| accept.as_ref().is_none_or(|accept| accept.permits(name));
    let chosen = rules.generated.iter().find(acceptable);
    chosen.copied().ok_or_else(|| Refusal::new(StatusCode::NOT_ACCEPTABLE))
}

fn choose_interval(subscribe: &Request, rules: &NotifierRules) -> Result<u32, Refusal> {
    let wanted = subscribe.headers().typed::<Expires>()?.map(|Expires(seconds)| seconds);
    bounded_interval(
        wanted.unwrap_or(rules.expires_seconds_default),
        rules.expires_seconds_min,
        rules.expires_seconds_max,
    )
}
