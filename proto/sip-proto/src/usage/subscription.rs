//! Subscriptions to the state of a resource, at both ends (RFC 6665).

mod notifier;
mod subscriber;

use std::time::Duration;

pub use self::notifier::{Notifier, NotifierRules, NotifierSnapshot, NotifierTerms};
pub use self::subscriber::{
    EndCause, Notified, RequestFailure, Resubscribe, SubscribeId, Subscriber, SubscriberEvent,
    SubscriberSnapshot, SubscriberTerms, UsageSnapshot,
};
use crate::refusal::Refusal;
use crate::status::StatusCode;

/// Timer N: how long a SUBSCRIBE waits for its NOTIFY, 64 times T1 (RFC 6665 s.4.1.2.4).
pub const TIMER_N: Duration = Duration::from_secs(32);

/// Whether a subscription that lives has been granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A decision is awaited.
    Pending,
    /// It is granted.
    Active,
}

/// Returns the answer to a NOTIFY, or to a SUBSCRIBE in a dialog, that belongs to no subscription
/// (RFC 6665 s.4.1.3).
#[must_use]
pub fn unknown_subscription() -> Refusal {
    Refusal::with_reason(StatusCode::DOES_NOT_EXIST, "Subscription Does Not Exist")
}

/// Says whether a failure of SUBSCRIBE or NOTIFY inside of a dialog ends the subscription
/// (RFC 6665 s.4.1.2.2 and s.4.2.2).
#[must_use]
pub fn ends_subscription(status: StatusCode) -> bool {
    matches!(status.code(), 404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604)
}
