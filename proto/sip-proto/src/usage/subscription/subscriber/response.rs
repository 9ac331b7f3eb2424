//! What the responses to SUBSCRIBE do (RFC 6665 s.4.1.2.1 and s.4.1.2.2).

use std::time::{Duration, Instant};

use super::attempt::{FirstSubscribe, Goal};
use super::{EndCause, Resubscribe, SubscribeId, Subscriber, SubscriberEvent, ends_subscription};
use crate::header::{Expires, MinExpires, RetryAfter};
use crate::message::FinalResponse;
use crate::status::StatusCode;

/// Longest interval that a 423 can talk us into, in seconds.
const MIN_EXPIRES_SECONDS_MAX: u32 = 86_400;

impl Subscriber {
    pub(super) fn handle_first_response(
        &mut self,
        first: FirstSubscribe,
        response: FinalResponse<'_>,
        now: Instant,
    ) {
        if response.status.is_success() {
            let granted = granted(response, first.interval_seconds);
            for usage in &mut self.usages {
                usage.shorten(granted, &self.terms, now);
            }
            if let Some(first) = self.attempt.first_mut() {
                first.unanswered = None;
                first.interval_seconds = granted;
            }
            return;
        }
        let may_retry = first.sequence_number == 1 && first.goal == Goal::Subscribe;
        match longer_interval(response, first.interval_seconds).filter(|_| may_retry) {
            Some(longer) => self.send_first(first.sequence_number + 1, longer, now),
            None => {
                let resubscribe = Resubscribe::Later(retry_after(response));
                self.end_attempt(EndCause::Refused(response.status), resubscribe);
            }
        }
    }

    pub(super) fn handle_refresh_response(
        &mut self,
        id: SubscribeId,
        response: FinalResponse<'_>,
        now: Instant,
    ) {
        let Some(index) = self.usages.iter().position(|usage| usage.awaits(id)) else {
            return;
        };
        let Some(usage) = self.usages.get_mut(index) else {
            return;
        };
        let status = response.status;
        let awaited = usage.awaited();
        if status.is_success() {
            usage.dialog.refresh_target(response.headers.typed().ok().flatten().as_ref());
            let asked = awaited.map_or(0, |awaited| awaited.interval_seconds);
            usage.answered(granted(response, asked), &self.terms, now);
            return;
        }
        let asked = awaited.filter(|awaited| !awaited.is_second_try);
        match asked.and_then(|asked| longer_interval(response, asked.interval_seconds)) {
            Some(longer) => {
                self.send_in_dialog(index, longer, now);
                if let Some(usage) = self.usages.get_mut(index) {
                    usage.mark_second_try();
                }
            }
            None if status == StatusCode::DOES_NOT_EXIST => {
                // The notifier has forgotten the subscription; nothing speaks against another.
                self.end_usage(index, EndCause::Refused(status), Resubscribe::Immediately);
            }
            None if ends_subscription(status) => {
                let resubscribe = Resubscribe::Later(retry_after(response));
                self.end_usage(index, EndCause::Refused(status), resubscribe);
            }
            None => self.refresh_failed(index, Some(status), now),
        }
    }

    pub(super) fn refresh_failed(
        &mut self,
        index: usize,
        status: Option<StatusCode>,
        now: Instant,
    ) {
        let Some(usage) = self.usages.get_mut(index) else {
            return;
        };
        if usage.is_unsubscribing() {
            return self.end_usage(index, EndCause::Unsubscribed, Resubscribe::Never);
        }
        usage.retry_refresh(now);
        let dialog = usage.dialog.id();
        self.events.push_back(SubscriberEvent::RefreshFailed { dialog, status });
    }
}

/// RFC 6665 s.4.1.2.1: the interval granted can be smaller than that asked for and never larger.
fn granted(response: FinalResponse<'_>, asked_seconds: u32) -> u32 {
    let expires = response.headers.typed::<Expires>().ok().flatten();
    expires.map_or(asked_seconds, |Expires(seconds)| seconds.min(asked_seconds))
}

/// Returns what a 423 asks for, when it is longer than what it refuses.
fn longer_interval(response: FinalResponse<'_>, refused_seconds: u32) -> Option<u32> {
    if response.status != StatusCode::INTERVAL_TOO_BRIEF || refused_seconds == 0 {
        return None;
    }
    let MinExpires(seconds) = response.headers.typed::<MinExpires>().ok().flatten()?;
    (seconds > refused_seconds && seconds <= MIN_EXPIRES_SECONDS_MAX).then_some(seconds)
}

fn retry_after(response: FinalResponse<'_>) -> Option<Duration> {
    let RetryAfter(seconds) = response.headers.typed::<RetryAfter>().ok().flatten()?;
    Some(Duration::from_secs(seconds.into()))
}
