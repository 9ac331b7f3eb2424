//! What a NOTIFY does (RFC 6665 s.4.1.3 and s.4.4.1).

use std::time::{Duration, Instant};

use super::attempt::{Attempt, Goal};
use super::usage::Usage;
use super::{Notified, Resubscribe, Standing, Subscriber, unknown_subscription};
use crate::dialog::Dialog;
use crate::header::{SubscriptionState, SubscriptionStatus, TerminationReason};
use crate::message::Request;
use crate::refusal::Refusal;

/// Dialogs that one SUBSCRIBE may create when it forks.
pub(super) const FORKS_MAX: usize = 8;

impl Subscriber {
    pub(super) fn handle_first_notify(
        &mut self,
        notify: &Request,
        state: SubscriptionState,
        now: Instant,
    ) -> Result<Notified, Refusal> {
        let first = self.attempt.first().filter(|first| now < first.timer_n);
        let first = first.ok_or_else(unknown_subscription)?;
        if self.usages.len() >= FORKS_MAX {
            return Err(unknown_subscription());
        }
        let dialog = Dialog::from_notify(notify, &self.local, first.sequence_number)?;
        let id = dialog.id();
        let ended = match &state.status {
            SubscriptionStatus::Terminated(_) if first.goal == Goal::Unsubscribe => {
                Some(Resubscribe::Never)
            }
            SubscriptionStatus::Terminated(reason) => Some(after(reason.as_ref(), &state)),
            // What was asked to last for no time is over with its first NOTIFY.
            _ if first.interval_seconds == 0 => Some(Resubscribe::Later(None)),
            _ => None,
        };
        if ended.is_none() {
            let interval = state.expires_seconds.unwrap_or(first.interval_seconds);
            let standing = standing(&state.status);
            self.usages.push(Usage::new(dialog, standing, interval, &self.terms, now));
            self.attempt = Attempt::ForkWait(first);
            if first.goal == Goal::Unsubscribe {
                self.send_in_dialog(self.usages.len() - 1, 0, now);
            }
        } else if self.usages.is_empty() {
            self.attempt = Attempt::Over;
        }
        Ok(Notified { dialog: id, status: state.status, ended })
    }

    pub(super) fn handle_notify_in_dialog(
        &mut self,
        index: usize,
        notify: &Request,
        state: SubscriptionState,
        now: Instant,
    ) -> Result<Notified, Refusal> {
        let usage = self.usages.get_mut(index).ok_or_else(unknown_subscription)?;
        usage.dialog.handle_request(notify)?;
        let dialog = usage.dialog.id();
        let ended = match &state.status {
            SubscriptionStatus::Terminated(_) if usage.is_unsubscribing() => {
                Some(Resubscribe::Never)
            }
            SubscriptionStatus::Terminated(reason) => Some(after(reason.as_ref(), &state)),
            status => {
                usage.notified(standing(status), state.expires_seconds, &self.terms, now);
                None
            }
        };
        if ended.is_some() {
            self.usages.remove(index);
            self.end_attempt_with_last_usage();
        }
        Ok(Notified { dialog, status: state.status, ended })
    }
}

/// A state that RFC 6665 does not define grants nothing.
fn standing(status: &SubscriptionStatus) -> Standing {
    match status {
        SubscriptionStatus::Active => Standing::Active,
        _ => Standing::Pending,
    }
}

/// RFC 6665 s.4.1.3: what each reason lets follow.
fn after(reason: Option<&TerminationReason>, state: &SubscriptionState) -> Resubscribe {
    let wait = state.retry_after_seconds.map(|seconds| Duration::from_secs(seconds.into()));
    match reason {
        Some(TerminationReason::Deactivated | TerminationReason::Timeout) => {
            Resubscribe::Immediately
        }
        Some(
            TerminationReason::Rejected
            | TerminationReason::Noresource
            | TerminationReason::Invariant,
        ) => Resubscribe::Never,
        Some(
            TerminationReason::Probation | TerminationReason::Giveup | TerminationReason::Other(_),
        )
        | None => Resubscribe::Later(wait),
    }
}
