//! The subscriber: one attempt to subscribe and the dialogs that come of it (RFC 6665 s.4.1).

mod attempt;
mod notify;
mod response;
mod snapshot;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::attempt::{Attempt, FirstSubscribe, Goal};
pub use self::snapshot::{SubscriberSnapshot, UsageSnapshot};
use self::usage::{Awaited, Due, Refresh, Usage};
use super::{Standing, TIMER_N, ends_subscription, unknown_subscription};
use crate::dialog::DialogId;
use crate::header::{
    Accept, CallId, Contact, Event, Expires, NameAddr, SubscriptionState, SubscriptionStatus,
};
use crate::ids::IdSource;
use crate::message::{FinalResponse, OutgoingRequest, Request, RequestParts};
use crate::method::Method;
use crate::refusal::Refusal;
use crate::status::StatusCode;
use crate::uri::Uri;

/// What a subscriber asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberTerms {
    /// The resource; also the To.
    pub target: Uri,
    /// Who asks: the From, without tag.
    pub local: NameAddr,
    /// Where NOTIFYs go.
    pub contact: NameAddr,
    /// The event package.
    pub event: Event,
    /// The media types of state that are understood.
    pub accept: Accept,
    /// The interval asked for, in seconds; 0 fetches the state once.
    pub expires_seconds: u32,
    /// When to refresh, in thousandths of the interval, from 100 to 950. The owner draws it, so
    /// that subscriptions that began together are not refreshed together.
    pub refresh_permille: u16,
}

/// One SUBSCRIBE that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubscribeId(u32);

/// Why a SUBSCRIBE got no final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFailure {
    /// Timer F has fired.
    Timeout,
    /// It could not be sent, or its flow was lost.
    FlowClosed,
}

/// What a NOTIFY says, once it is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notified {
    /// The dialog, which tells the notifiers of a forked SUBSCRIBE apart.
    pub dialog: DialogId,
    /// The state of the subscription.
    pub status: SubscriptionStatus,
    /// What may follow, when the subscription has ended.
    pub ended: Option<Resubscribe>,
}

/// Whether another subscription may follow one that has ended (RFC 6665 s.4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resubscribe {
    /// At once.
    Immediately,
    /// Later: after the time given, or after a back-off of the owner.
    Later(Option<Duration>),
    /// Not before the user asks again.
    Never,
}

/// What happened to a subscription without a NOTIFY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriberEvent {
    /// A refresh failed; the subscription is valid until it expires, and is refreshed again
    /// while there is time.
    RefreshFailed {
        /// The dialog.
        dialog: DialogId,
        /// The status code, when there was a response.
        status: Option<StatusCode>,
    },
    /// The subscription, or the attempt when there is no dialog, has ended.
    Ended {
        /// The dialog.
        dialog: Option<DialogId>,
        /// Why it ended.
        cause: EndCause,
        /// What may follow.
        resubscribe: Resubscribe,
    },
}

/// Why a subscription ended without a NOTIFY that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// SUBSCRIBE was refused.
    Refused(StatusCode),
    /// SUBSCRIBE was not answered.
    NoResponse,
    /// No NOTIFY came before Timer N fired.
    NoNotify,
    /// It was not refreshed in time.
    Expired,
    /// It was given up by us.
    Unsubscribed,
}

/// A subscriber.
///
/// ```text
/// init --subscribe--> notify_wait --NOTIFY--> pending or active --NOTIFY terminated--> terminated
/// notify_wait --Timer N, failure response, NOTIFY terminated--> terminated
/// pending, active --refresh without NOTIFY, 481 and its like, expiry--> terminated
/// ```
///
/// The owner sends what [`Subscriber::poll_request`] gives, each in a transaction, and reports its
/// end; it answers every NOTIFY by what [`Subscriber::handle_notify`] returns.
pub struct Subscriber {
    terms: SubscriberTerms,
    call_id: CallId,
    /// The From with our tag.
    local: NameAddr,
    attempt: Attempt,
    usages: Vec<Usage>,
    serial: u32,
    requests: VecDeque<(SubscribeId, OutgoingRequest)>,
    events: VecDeque<SubscriberEvent>,
}

impl Subscriber {
    /// Makes a subscriber with a Call-ID and tag of its own.
    #[must_use]
    pub fn new(terms: SubscriberTerms, ids: &mut IdSource) -> Self {
        let local = terms.local.without_parameters().with_tag(&ids.tag());
        Self {
            terms,
            call_id: ids.call_id(),
            local,
            attempt: Attempt::Init,
            usages: Vec::new(),
            serial: 0,
            requests: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Returns the Call-ID, which all its dialogs share.
    #[must_use]
    pub fn call_id(&self) -> &CallId {
        &self.call_id
    }

    /// Sends the first SUBSCRIBE. Does nothing when called again.
    pub fn subscribe(&mut self, now: Instant) {
        if matches!(self.attempt, Attempt::Init) {
            self.send_first(1, self.terms.expires_seconds, now);
        }
    }

    /// Ends every subscription: by Expires 0, or as soon as there is a dialog to send it in.
    pub fn unsubscribe(&mut self, now: Instant) {
        match self.attempt.first_mut() {
            Some(first) => first.goal = Goal::Unsubscribe,
            None => self.attempt = Attempt::Over,
        }
        for index in 0..self.usages.len() {
            self.send_in_dialog(index, 0, now);
        }
    }

    /// Gives up the refreshes that are planned: what is not refreshed runs out. A NOTIFY that
    /// comes in the meantime plans one anew.
    pub fn let_lapse(&mut self) {
        self.usages.iter_mut().for_each(Usage::let_lapse);
    }

    /// Brings the refreshes forward that are planned for later: the notifier may have forgotten the
    /// subscription, and says so then.
    pub fn refresh_by(&mut self, at: Instant) {
        self.usages.iter_mut().for_each(|usage| usage.refresh_by(at));
    }

    /// Says whether nothing is left, so that the subscriber can be dropped.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.attempt, Attempt::Over) && self.usages.is_empty()
    }

    /// Says whether a NOTIFY belongs to one of the dialogs or may create one.
    #[must_use]
    pub fn is_addressed_by(&self, notify: &Request) -> bool {
        self.call_id == *notify.call_id() && self.local.tag() == notify.to().tag()
    }

    /// Takes the final response to a SUBSCRIBE.
    pub fn handle_response(&mut self, id: SubscribeId, response: FinalResponse<'_>, now: Instant) {
        match self.attempt.first() {
            Some(first) if first.unanswered == Some(id) => {
                self.handle_first_response(first, response, now);
            }
            _ => self.handle_refresh_response(id, response, now),
        }
    }

    /// Takes the failure of a SUBSCRIBE to get a response.
    pub fn handle_failure(&mut self, id: SubscribeId, failure: RequestFailure, now: Instant) {
        if self.attempt.first().is_some_and(|first| first.unanswered == Some(id)) {
            return self.end_attempt(EndCause::NoResponse, Resubscribe::Later(None));
        }
        let Some(index) = self.usages.iter().position(|usage| usage.awaits(id)) else {
            return;
        };
        match failure {
            // RFC 6665 s.4.1.2.2: Timer N fires together with Timer F, unless a NOTIFY has come.
            RequestFailure::Timeout => {
                if self.usages.get(index).is_some_and(Usage::awaits_notify) {
                    self.end_usage(index, EndCause::NoNotify, Resubscribe::Later(None));
                } else if let Some(usage) = self.usages.get_mut(index) {
                    usage.schedule_next(&self.terms, now);
                }
            }
            RequestFailure::FlowClosed => self.refresh_failed(index, None, now),
        }
    }

    /// Takes a NOTIFY that [`Subscriber::is_addressed_by`] has found to be ours. It may come
    /// before the response to SUBSCRIBE.
    ///
    /// # Errors
    /// Fails with the answer: 489 for another event package, 481 when no subscription matches,
    /// 500 when it comes too late, 400 when it is malformed. Nothing changes then.
    pub fn handle_notify(&mut self, notify: &Request, now: Instant) -> Result<Notified, Refusal> {
        let event = notify.headers().required::<Event>()?;
        if event.package() != self.terms.event.package() {
            return Err(Refusal::new(StatusCode::BAD_EVENT));
        }
        let state = notify.headers().required::<SubscriptionState>()?;
        if !event.matches(&self.terms.event) {
            return Err(unknown_subscription());
        }
        match self.usages.iter().position(|usage| usage.dialog.contains(notify)) {
            Some(index) => self.handle_notify_in_dialog(index, notify, state, now),
            None => self.handle_first_notify(notify, state, now),
        }
    }

    /// Fires the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.attempt {
            Attempt::NotifyWait(first) if first.timer_n <= now => {
                self.end_attempt(EndCause::NoNotify, Resubscribe::Later(None));
            }
            Attempt::ForkWait(first) if first.timer_n <= now => self.attempt = Attempt::Over,
            _ => {}
        }
        // Backwards, since a usage that ends leaves the list.
        for index in (0..self.usages.len()).rev() {
            match self.usages.get(index).and_then(|usage| usage.due(now)) {
                Some(Due::Expiry) => {
                    self.end_usage(index, EndCause::Expired, Resubscribe::Immediately);
                }
                Some(Due::TimerN) => {
                    self.end_usage(index, EndCause::NoNotify, Resubscribe::Later(None));
                }
                Some(Due::Refresh) => {
                    self.send_in_dialog(index, self.terms.expires_seconds, now);
                }
                None => {}
            }
        }
    }

    /// Returns when [`Subscriber::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let attempt = self.attempt.first().map(|first| first.timer_n);
        self.usages.iter().map(Usage::deadline).chain(attempt).min()
    }

    /// Returns the next SUBSCRIBE to send.
    pub fn poll_request(&mut self) -> Option<(SubscribeId, OutgoingRequest)> {
        self.requests.pop_front()
    }

    /// Returns the next event.
    pub fn poll_event(&mut self) -> Option<SubscriberEvent> {
        self.events.pop_front()
    }

    fn send_first(&mut self, sequence_number: u32, interval_seconds: u32, now: Instant) {
        let mut request = OutgoingRequest::new(RequestParts {
            method: Method::Subscribe,
            uri: &self.terms.target,
            from: &self.local,
            to: &NameAddr::new(self.terms.target.clone()),
            call_id: &self.call_id,
            sequence_number,
        });
        self.complete(&mut request, interval_seconds);
        let unanswered = Some(self.queue(request));
        self.attempt = Attempt::NotifyWait(FirstSubscribe {
            unanswered,
            sequence_number,
            interval_seconds,
            timer_n: now + TIMER_N,
            goal: Goal::Subscribe,
        });
    }

    fn send_in_dialog(&mut self, index: usize, interval_seconds: u32, now: Instant) {
        let Some(usage) = self.usages.get_mut(index).filter(|it| !it.is_unsubscribing()) else {
            return;
        };
        let mut request = usage.dialog.request(Method::Subscribe);
        self.complete(&mut request, interval_seconds);
        let id = self.queue(request);
        if let Some(usage) = self.usages.get_mut(index) {
            usage.refresh = Refresh::Awaited(Awaited::new(id, interval_seconds, now + TIMER_N));
        }
    }

    /// Adds what every SUBSCRIBE has beside its mandatory header fields.
    fn complete(&self, request: &mut OutgoingRequest, interval_seconds: u32) {
        let headers = request.headers_mut();
        headers.push(&self.terms.event);
        headers.push(&Contact::Addresses(vec![self.terms.contact.clone()]));
        headers.push(&self.terms.accept);
        headers.push(&Expires(interval_seconds));
    }

    fn queue(&mut self, request: OutgoingRequest) -> SubscribeId {
        self.serial = self.serial.wrapping_add(1);
        let id = SubscribeId(self.serial);
        self.requests.push_back((id, request));
        id
    }

    fn end_attempt(&mut self, cause: EndCause, resubscribe: Resubscribe) {
        let first = self.attempt.first();
        self.attempt = Attempt::Over;
        // A fork that has notified lives on, whatever the other forks answered.
        if self.usages.is_empty() {
            let is_wanted = first.is_none_or(|first| first.goal == Goal::Subscribe);
            self.push_end(None, is_wanted, cause, resubscribe);
        }
    }

    fn end_usage(&mut self, index: usize, cause: EndCause, resubscribe: Resubscribe) {
        let usage = self.usages.remove(index);
        let dialog = Some(usage.dialog.id());
        self.push_end(dialog, !usage.is_unsubscribing(), cause, resubscribe);
        self.end_attempt_with_last_usage();
    }

    /// Tells an end; what was given up by us ends by that, whatever brought it about.
    fn push_end(
        &mut self,
        dialog: Option<DialogId>,
        is_wanted: bool,
        cause: EndCause,
        resubscribe: Resubscribe,
    ) {
        let (cause, resubscribe) = match is_wanted {
            true => (cause, resubscribe),
            false => (EndCause::Unsubscribed, Resubscribe::Never),
        };
        self.events.push_back(SubscriberEvent::Ended { dialog, cause, resubscribe });
    }

    /// An attempt that has given its dialogs is over when the last of them is.
    fn end_attempt_with_last_usage(&mut self) {
        if self.usages.is_empty() && matches!(self.attempt, Attempt::ForkWait(_)) {
            self.attempt = Attempt::Over;
        }
    }
}
