//! What became of the messages of one round: sent, arrived, confirmed, each exactly once.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Which way the messages of a round go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    X2s,
    S2x,
}

impl Direction {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X2s => "XMPP to SIP",
            Self::S2x => "SIP to XMPP",
        }
    }
}

/// The messages of the current round, shared by both ends.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Shared>);

#[derive(Default)]
struct Shared {
    round: Mutex<Round>,
    changed: Notify,
}

#[derive(Default)]
struct Round {
    direction: Option<Direction>,
    name: String,
    body_bytes: usize,
    arrived: Vec<bool>,
    sent_count: usize,
    arrived_count: usize,
    confirmed_count: usize,
    fault: Option<String>,
}

impl Tally {
    /// Begins a round of `count` messages with bodies of `body_bytes`; its name has no hyphen.
    pub(crate) fn begin(&self, direction: Direction, name: &str, count: usize, body_bytes: usize) {
        let (direction, name, arrived) = (Some(direction), name.to_owned(), vec![false; count]);
        *self.0.round.lock() = Round { direction, name, body_bytes, arrived, ..Round::default() };
    }

    /// The number and the body of the next message to send this way; none when all are sent, or
    /// the turn that asks is left from a round the other way.
    pub(crate) fn next(&self, direction: Direction) -> Option<(usize, String)> {
        let mut round = self.0.round.lock();
        let number = round.sent_count;
        if number == round.arrived.len() || round.direction != Some(direction) {
            return None;
        }
        round.sent_count += 1;
        let start = format!("{}-{number} ", round.name);
        let filling = "x".repeat(round.body_bytes.saturating_sub(start.len()));
        Some((number, start + &filling))
    }

    /// A message arrived with this body.
    pub(crate) fn arrived(&self, body: &str) {
        self.change(|round| {
            let number = body
                .strip_prefix(&round.name)
                .and_then(|rest| rest.strip_prefix('-')?.split(' ').next()?.parse::<usize>().ok());
            let arrived = number.and_then(|number| round.arrived.get_mut(number));
            if body.len() != round.body_bytes
                || arrived.is_none_or(|it| std::mem::replace(it, true))
            {
                round.fault = Some(format!("this arrived, and should not have: {body}"));
            }
            round.arrived_count += 1;
        });
    }

    /// The sender learnt that a message is delivered.
    pub(crate) fn confirmed(&self) {
        self.change(|round| round.confirmed_count += 1);
    }

    /// Something happened that should not.
    pub(crate) fn fault(&self, fault: impl Into<String>) {
        self.change(|round| round.fault = Some(fault.into()));
    }

    /// Waits until every message has arrived and is confirmed.
    ///
    /// # Errors
    /// Fails with what went wrong at either end.
    pub(crate) async fn complete(&self) -> Result<(), String> {
        loop {
            let changed = self.0.changed.notified();
            {
                let round = self.0.round.lock();
                if let Some(fault) = &round.fault {
                    return Err(fault.clone());
                }
                let count = round.arrived.len();
                if round.arrived_count == count && round.confirmed_count == count {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// How far the round is, for the report of one that does not end.
    pub(crate) fn progress(&self) -> String {
        let Round { arrived, sent_count, arrived_count, confirmed_count, .. } =
            &*self.0.round.lock();
        let count = arrived.len();
        format!(
            "of {count}, {sent_count} were sent, {arrived_count} arrived, \
             {confirmed_count} were confirmed"
        )
    }

    fn change(&self, change: impl FnOnce(&mut Round)) {
        let mut round = self.0.round.lock();
        change(&mut round);
        let count = round.arrived.len();
        let is_over = round.arrived_count >= count && round.confirmed_count >= count;
        if is_over || round.fault.is_some() {
            self.0.changed.notify_waiters();
        }
    }
}
