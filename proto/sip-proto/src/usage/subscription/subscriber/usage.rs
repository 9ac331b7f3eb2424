//! One dialog of a subscriber: its state, its expiry, and the refresh under way.

use std::time::{Duration, Instant};

use super::{Standing, SubscribeId, SubscriberTerms};
use crate::dialog::Dialog;

/// Time left below which a failed refresh is not tried again.
const RETRY_WORTH: Duration = Duration::from_secs(64);

/// One dialog usage.
pub(super) struct Usage {
    pub(super) dialog: Dialog,
    pub(super) standing: Standing,
    pub(super) expires_at: Instant,
    pub(super) refresh: Refresh,
}

/// What becomes of the next refresh.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refresh {
    /// It is due then.
    At(Instant),
    /// It was sent.
    Awaited(Awaited),
    /// There is none: the subscription runs out.
    None,
}

/// A SUBSCRIBE in the dialog that waits for its response, for its NOTIFY, or for both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    unanswered: Option<SubscribeId>,
    timer_n: Option<Instant>,
    /// The end that its NOTIFY has told.
    told_end: Option<Instant>,
    /// The interval asked for, in seconds; 0 ends the subscription.
    pub(super) interval_seconds: u32,
    pub(super) is_second_try: bool,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Expiry,
    TimerN,
    Refresh,
}

impl Awaited {
    pub(super) fn new(id: SubscribeId, interval_seconds: u32, timer_n: Instant) -> Self {
        let (unanswered, timer_n) = (Some(id), Some(timer_n));
        Self { unanswered, timer_n, told_end: None, interval_seconds, is_second_try: false }
    }
}

impl Usage {
    pub(super) fn new(
        dialog: Dialog,
        standing: Standing,
        interval_seconds: u32,
        terms: &SubscriberTerms,
        now: Instant,
    ) -> Self {
        let mut usage = Self { dialog, standing, expires_at: now, refresh: Refresh::None };
        usage.schedule(interval_seconds, terms, now);
        usage
    }

    pub(super) fn awaited(&self) -> Option<Awaited> {
        match self.refresh {
            Refresh::Awaited(awaited) => Some(awaited),
            Refresh::At(_) | Refresh::None => None,
        }
    }

    pub(super) fn awaits(&self, id: SubscribeId) -> bool {
        self.awaited().is_some_and(|awaited| awaited.unanswered == Some(id))
    }

    pub(super) fn awaits_notify(&self) -> bool {
        self.awaited().is_some_and(|awaited| awaited.timer_n.is_some())
    }

    pub(super) fn is_unsubscribing(&self) -> bool {
        self.awaited().is_some_and(|awaited| awaited.interval_seconds == 0)
    }

    pub(super) fn mark_second_try(&mut self) {
        if let Refresh::Awaited(awaited) = &mut self.refresh {
            awaited.is_second_try = true;
        }
    }

    pub(super) fn refresh_by(&mut self, at: Instant) {
        if let Refresh::At(planned) = &mut self.refresh {
            *planned = at.min(*planned);
        }
    }

    /// Takes the 2xx to a SUBSCRIBE of this dialog.
    pub(super) fn answered(&mut self, granted: u32, terms: &SubscriberTerms, now: Instant) {
        if let Refresh::Awaited(awaited) = &mut self.refresh {
            awaited.unanswered = None;
            if awaited.interval_seconds > 0 {
                // RFC 6665 s.4.1.3: what the NOTIFY says is authoritative, if it came first.
                self.expires_at = awaited.told_end.unwrap_or(now + seconds(granted));
                self.finish_refresh(terms, now);
            }
        }
    }

    /// Takes a NOTIFY that says pending or active.
    pub(super) fn notified(
        &mut self,
        standing: Standing,
        expires_seconds: Option<u32>,
        terms: &SubscriberTerms,
        now: Instant,
    ) {
        self.standing = standing;
        let told_end = expires_seconds.map(|left| now + seconds(left));
        self.expires_at = told_end.unwrap_or(self.expires_at);
        match &mut self.refresh {
            // A NOTIFY that is no end does not end the wait for the one that is.
            Refresh::Awaited(awaited) if awaited.interval_seconds == 0 => {}
            Refresh::Awaited(awaited) => {
                awaited.timer_n = None;
                awaited.told_end = told_end;
                self.finish_refresh(terms, now);
            }
            Refresh::At(_) | Refresh::None => self.schedule_next(terms, now),
        }
    }

    /// Applies an interval that may be shorter than the one assumed so far.
    pub(super) fn shorten(&mut self, granted: u32, terms: &SubscriberTerms, now: Instant) {
        if now + seconds(granted) < self.expires_at && !self.is_unsubscribing() {
            self.schedule(granted, terms, now);
        }
    }

    /// Tries again at half of the time left, while that is worth it.
    pub(super) fn retry_refresh(&mut self, now: Instant) {
        let left = self.expires_at.saturating_duration_since(now);
        self.refresh = if left > RETRY_WORTH { Refresh::At(now + left / 2) } else { Refresh::None };
    }

    /// Gives up a refresh that is planned; one that is under way is not touched.
    pub(super) fn let_lapse(&mut self) {
        if matches!(self.refresh, Refresh::At(_)) {
            self.refresh = Refresh::None;
        }
    }

    /// Sets expiry and refresh from an interval that begins `now`.
    pub(super) fn schedule(&mut self, interval: u32, terms: &SubscriberTerms, now: Instant) {
        self.expires_at = now + seconds(interval);
        self.schedule_next(terms, now);
    }

    pub(super) fn due(&self, now: Instant) -> Option<Due> {
        if self.expires_at <= now {
            return Some(Due::Expiry);
        }
        match self.refresh {
            Refresh::At(at) if at <= now => Some(Due::Refresh),
            Refresh::Awaited(awaited) if awaited.timer_n.is_some_and(|at| at <= now) => {
                Some(Due::TimerN)
            }
            Refresh::At(_) | Refresh::Awaited(_) | Refresh::None => None,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        let other = match self.refresh {
            Refresh::At(at) => Some(at),
            Refresh::Awaited(awaited) => awaited.timer_n,
            Refresh::None => None,
        };
        other.map_or(self.expires_at, |other| other.min(self.expires_at))
    }

    /// Plans the next refresh when the last one has both its response and its NOTIFY.
    fn finish_refresh(&mut self, terms: &SubscriberTerms, now: Instant) {
        if self.awaited().is_some_and(|it| it.unanswered.is_none() && it.timer_n.is_none()) {
            self.schedule_next(terms, now);
        }
    }

    /// Plans the refresh of an interval whose end is known.
    pub(super) fn schedule_next(&mut self, terms: &SubscriberTerms, now: Instant) {
        let left = self.expires_at.saturating_duration_since(now);
        let permille = u32::from(terms.refresh_permille.clamp(100, 950));
        self.refresh = Refresh::At(now + left / 1000 * permille);
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}
