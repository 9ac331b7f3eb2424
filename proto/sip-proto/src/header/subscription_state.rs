//! Subscription-State (RFC 6665 s.8.2.3).

use super::{HeaderName, Parameters, TypedHeader};
use crate::error::Malformed;
use crate::scan::{Decimal, Scanner, decimal, is_token, push_number};

/// The state of a subscription as a notifier tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionState {
    /// The state.
    pub status: SubscriptionStatus,
    /// The time left, in seconds; without meaning when the state is terminated.
    pub expires_seconds: Option<u32>,
    /// The time to wait before another subscription, in seconds.
    pub retry_after_seconds: Option<u32>,
}

/// `substate-value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionStatus {
    /// The subscription is accepted and authorised.
    Active,
    /// The subscription waits for a decision.
    Pending,
    /// The subscription has ended, for a reason when one is given.
    Terminated(Option<TerminationReason>),
    /// A state that RFC 6665 does not define.
    Other(String),
}

/// Why a subscription has ended (RFC 6665 s.4.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TerminationReason {
    /// Subscribe again at once.
    Deactivated,
    /// Subscribe again later.
    Probation,
    /// The authorisation policy has changed; do not subscribe again.
    Rejected,
    /// It was not refreshed in time; it may be subscribed again at once.
    Timeout,
    /// Nobody decided in time; subscribe again after the time given, or at once.
    Giveup,
    /// The resource is gone; do not subscribe again.
    Noresource,
    /// The state is final; do not subscribe again.
    Invariant,
    /// A reason that RFC 6665 does not define.
    Other(String),
}

impl TerminationReason {
    /// Returns the reason as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Deactivated => "deactivated",
            Self::Probation => "probation",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Giveup => "giveup",
            Self::Noresource => "noresource",
            Self::Invariant => "invariant",
            Self::Other(reason) => reason,
        }
    }

    fn parse(text: &str) -> Self {
        let known = [
            Self::Deactivated,
            Self::Probation,
            Self::Rejected,
            Self::Timeout,
            Self::Giveup,
            Self::Noresource,
            Self::Invariant,
        ];
        let found = known.into_iter().find(|reason| reason.as_str().eq_ignore_ascii_case(text));
        found.unwrap_or_else(|| Self::Other(text.to_owned()))
    }
}

impl TypedHeader for SubscriptionState {
    const NAME: HeaderName = HeaderName::SubscriptionState;

    fn parse(value: &str) -> Result<Self, Malformed> {
        let mut scanner = Scanner::new(value);
        let state = scanner.token()?;
        let parameters = Parameters::parse(&mut scanner)?;
        scanner.finish()?;
        let status = match state.to_ascii_lowercase().as_str() {
            "active" => SubscriptionStatus::Active,
            "pending" => SubscriptionStatus::Pending,
            "terminated" => SubscriptionStatus::Terminated(
                parameters.value("reason").map(|reason| TerminationReason::parse(&reason)),
            ),
            _ => SubscriptionStatus::Other(state.to_owned()),
        };
        Ok(Self {
            status,
            expires_seconds: seconds(&parameters, "expires")?,
            retry_after_seconds: seconds(&parameters, "retry-after")?,
        })
    }

    fn write(&self, out: &mut String) {
        let (state, reason) = match &self.status {
            SubscriptionStatus::Active => ("active", None),
            SubscriptionStatus::Pending => ("pending", None),
            SubscriptionStatus::Terminated(reason) => ("terminated", reason.as_ref()),
            SubscriptionStatus::Other(state) => (state.as_str(), None),
        };
        out.push_str(state);
        if let Some(reason) = reason.map(TerminationReason::as_str).filter(|text| is_token(text)) {
            out.push_str(";reason=");
            out.push_str(reason);
        }
        let numbers =
            [("expires", self.expires_seconds), ("retry-after", self.retry_after_seconds)];
        for (name, seconds) in numbers {
            if let Some(seconds) = seconds {
                out.push(';');
                out.push_str(name);
                out.push('=');
                push_number(out, seconds.into());
            }
        }
    }
}

fn seconds(parameters: &Parameters, name: &str) -> Result<Option<u32>, Malformed> {
    let Some(text) = parameters.raw(name) else {
        return Ok(None);
    };
    Ok(Some(match decimal(text)? {
        Decimal::Fits(seconds) => seconds,
        Decimal::Overlarge => u32::MAX,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_reason_is_read_and_written() {
        for text in [
            "active;expires=499",
            "pending;expires=3600",
            "terminated",
            "terminated;reason=deactivated",
            "terminated;reason=probation;retry-after=30",
            "terminated;reason=rejected",
            "terminated;reason=timeout",
            "terminated;reason=giveup",
            "terminated;reason=noresource",
            "terminated;reason=invariant",
            "terminated;reason=expired",
            "waiting;expires=1",
        ] {
            let state = SubscriptionState::parse(text).unwrap();
            let mut out = String::new();
            state.write(&mut out);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn case_does_not_matter_and_numbers_never_wrap() {
        let state = SubscriptionState::parse("TERMINATED ; Reason=Rejected").unwrap();
        assert_eq!(state.status, SubscriptionStatus::Terminated(Some(TerminationReason::Rejected)));
        let state = SubscriptionState::parse("active;expires=99999999999999").unwrap();
        assert_eq!(state.expires_seconds, Some(u32::MAX));
        assert!(SubscriptionState::parse("active;expires=-1").is_err());
        assert!(SubscriptionState::parse("active, pending").is_err());
    }
}
