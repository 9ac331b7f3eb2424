//! The SUBSCRIBE outside of a dialog, until its NOTIFY has come or will not come.

use std::time::Instant;

use super::SubscribeId;

/// The state of the SUBSCRIBE outside of a dialog.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attempt {
    Init,
    /// No NOTIFY has come.
    NotifyWait(FirstSubscribe),
    /// A NOTIFY has come, and others of a forked SUBSCRIBE may until Timer N fires.
    ForkWait(FirstSubscribe),
    Over,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FirstSubscribe {
    /// Its number, until it is answered.
    pub(super) unanswered: Option<SubscribeId>,
    pub(super) sequence_number: u32,
    pub(super) interval_seconds: u32,
    pub(super) timer_n: Instant,
    pub(super) goal: Goal,
}

/// What becomes of a dialog that a NOTIFY creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Subscribe,
    Unsubscribe,
}

impl Attempt {
    pub(super) fn first(&self) -> Option<FirstSubscribe> {
        match self {
            Self::NotifyWait(first) | Self::ForkWait(first) => Some(*first),
            Self::Init | Self::Over => None,
        }
    }

    pub(super) fn first_mut(&mut self) -> Option<&mut FirstSubscribe> {
        match self {
            Self::NotifyWait(first) | Self::ForkWait(first) => Some(first),
            Self::Init | Self::Over => None,
        }
    }
}
