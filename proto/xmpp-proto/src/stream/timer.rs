//! The waits of a stream: which there are, and which ends next.

use std::collections::BTreeMap;
use std::time::Instant;

/// A wait that a machine of this crate can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// For the next step of the negotiation.
    Negotiation,
    /// For the first authenticated domain pair.
    Establishment,
    /// For the verdict on a dialback key.
    Verification,
    /// Before an acknowledgement is sent.
    Acknowledgement,
    /// Before a peer that left stanzas unacknowledged is asked again.
    Request,
    /// For an answer that tells that the peer is alive.
    DeadPeer,
    /// Before a silent peer is probed.
    KeepAlive,
    /// For a stanza on an idle stream.
    Inactivity,
    /// For the peer to end the stream that we have ended.
    Close,
}

/// The waits that are running.
#[derive(Default)]
pub(crate) struct Timers(BTreeMap<Timer, Instant>);

impl Timers {
    /// Starts a wait, or starts it anew.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.0.insert(timer, at);
    }

    /// Starts a wait that is not running.
    pub(crate) fn set_if_stopped(&mut self, timer: Timer, at: Instant) {
        self.0.entry(timer).or_insert(at);
    }

    /// Whether a wait is running.
    pub(crate) fn is_running(&self, timer: Timer) -> bool {
        self.0.contains_key(&timer)
    }

    /// Ends a wait before its time.
    pub(crate) fn stop(&mut self, timer: Timer) {
        self.0.remove(&timer);
    }

    /// Ends every wait.
    pub(crate) fn stop_all(&mut self) {
        self.0.clear();
    }

    /// When the next wait ends.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    /// Takes out a wait whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let (timer, at) = self.0.iter().min_by_key(|(_, at)| **at)?;
        let timer = (*at <= now).then_some(*timer)?;
        self.0.remove(&timer);
        Some(timer)
    }
}
