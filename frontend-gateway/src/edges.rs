//! What administrators are shown of the edges: each address, how its link is, and its streams.

mod attempts;
mod record_budget;
mod streams;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ::link::attempts::Attempts;
use bytes::Bytes;
use link::wire::StreamReport;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use xmpp_proto::stream::DomainPair;

use crate::clock::Now;
use crate::links::EdgeId;
pub use attempts::{EdgeAttempt, Outcome};
use record_budget::RecordBudget;
pub use record_budget::Recording;
use streams::Streams;

/// The longest failure that is kept, in characters: some of its words are the edge's.
const FAILURE_CHARACTERS_MAX: usize = 300;

/// An address of an edge, and the name of the configuration that it was found behind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeAddress {
    /// The name, `host:port`.
    pub behind: String,
    /// The address.
    pub address: SocketAddr,
}

/// What becomes of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressState {
    /// It was found and is dialled.
    Found,
    /// It leads to the edge of this attachment.
    Attached(EdgeId),
    /// It leads to the edge of this name, which is attached by another address.
    Taken(String),
    /// The link has ended.
    Ended,
    /// It could not be attached to, or its link broke; the reason is for a person.
    Failed(String),
    /// Its name leads to it no longer.
    Gone,
}

/// All edges that are looked for.
#[derive(Debug, Default)]
pub struct Edges {
    /// Names that cannot be resolved, and why.
    unresolved: BTreeMap<String, String>,
    addresses: BTreeMap<EdgeAddress, Address>,
    attached: BTreeMap<EdgeId, Attached>,
}

#[derive(Debug)]
struct Address {
    state: AddressState,
    since: Instant,
}

#[derive(Debug)]
struct Attached {
    name: String,
    instance: Bytes,
    since: Now,
    streams: Streams,
    attempts: Attempts,
    budget: RecordBudget,
}

impl Edges {
    /// Takes what the resolver said of a name: nothing, or why it said nothing.
    pub fn handle_name(&mut self, name: String, failure: Option<String>) {
        match failure {
            Some(failure) => self.unresolved.insert(name, printable(&failure)),
            None => self.unresolved.remove(&name),
        };
    }

    /// Takes what became of an address.
    pub fn handle_address(&mut self, address: EdgeAddress, state: AddressState, now: Now) {
        let is_attached = |it: &Address| matches!(it.state, AddressState::Attached(_));
        let state = match state {
            AddressState::Gone => {
                self.addresses.remove(&address);
                return;
            }
            // Whoever ended it has said why.
            AddressState::Ended if !self.addresses.get(&address).is_some_and(is_attached) => return,
            AddressState::Ended => AddressState::Failed("the link has ended".into()),
            AddressState::Failed(failure) => AddressState::Failed(printable(&failure)),
            state => state,
        };
        let is_failed = matches!(state, AddressState::Failed(_));
        let before = self.addresses.get(&address);
        let was_failed = before.filter(|it| matches!(it.state, AddressState::Failed(_)));
        // It has not been attached to since the first failure.
        let since = was_failed.filter(|_| is_failed).map_or(now.instant, |it| it.since);
        self.addresses.insert(address, Address { state, since });
    }

    /// Takes an attachment to the edge that its certificate calls `name`.
    pub fn attach(&mut self, edge: EdgeId, name: String, now: Now) {
        let attached = Attached {
            name,
            instance: Bytes::new(),
            since: now,
            streams: Streams::default(),
            attempts: Attempts::default(),
            budget: RecordBudget::new(now.instant),
        };
        self.attached.insert(edge, attached);
    }

    /// Takes the instance that an edge gave in its hello.
    pub fn introduce(&mut self, edge: EdgeId, instance: Bytes) {
        if let Some(attached) = self.attached.get_mut(&edge) {
            attached.instance = instance;
        }
    }

    /// Takes the loss of an attachment, of which we know why if we ended it.
    pub fn detach(&mut self, edge: EdgeId, reason: Option<String>, now: Now) {
        self.attached.remove(&edge);
        let of_edge = |it: &&mut Address| it.state == AddressState::Attached(edge);
        if let (Some(reason), Some(address)) = (reason, self.addresses.values_mut().find(of_edge)) {
            let state = AddressState::Failed(printable(&reason));
            *address = Address { state, since: now.instant };
        }
    }

    /// Takes what an edge reports of a stream between two domains that the policy names.
    pub fn handle_report(
        &mut self,
        edge: EdgeId,
        pair: DomainPair,
        report: &StreamReport,
        now: Instant,
    ) {
        if let Some(attached) = self.attached.get_mut(&edge) {
            attached.streams.handle_report(pair, report, now);
        }
    }

    /// Returns the name of an attached edge.
    pub fn name(&self, edge: EdgeId) -> Option<&str> {
        self.attached.get(&edge).map(|attached| attached.name.as_str())
    }

    /// Says whether one more event of an edge may be recorded, and counts it.
    pub fn record(&mut self, edge: EdgeId, now: Instant) -> Recording {
        match self.attached.get_mut(&edge) {
            Some(attached) => attached.budget.take(now),
            None => Recording::LeftOut,
        }
    }

    /// Shows every edge, address and stream, for an administrator.
    pub fn describe(&self, now: Now) -> String {
        let mut text = String::new();
        for (EdgeAddress { behind, address }, known) in &self.addresses {
            let for_so_long = age(now.instant.saturating_duration_since(known.since));
            let place = format!("{address} ({behind})");
            let line = match &known.state {
                AddressState::Attached(edge) => match self.attached.get(edge) {
                    Some(attached) => attached.describe(&place, now),
                    None => continue,
                },
                AddressState::Taken(edge) => {
                    format!("address {place}: not used: edge {edge} is attached by another one")
                }
                AddressState::Failed(failure) => {
                    format!("address {place}: not attached for {for_so_long}: {failure}")
                }
                AddressState::Found | AddressState::Ended | AddressState::Gone => {
                    format!("address {place}: not attached for {for_so_long}: it is dialled")
                }
            };
            text.push_str(&line);
            text.push('\n');
        }
        for (name, failure) in &self.unresolved {
            // A text takes every line.
            let _ = writeln!(text, "name {name}: not resolved: {failure}");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

impl Attached {
    fn describe(&self, place: &str, now: Now) -> String {
        let Self { name, instance, since, streams, .. } = self;
        let instance: String = instance.iter().map(|byte| format!("{byte:02x}")).collect();
        let date = date(since.unix_ms);
        let for_so_long = age(now.instant.saturating_duration_since(since.instant));
        let streams = streams.describe(|_| true, now.instant);
        format!(
            "edge {name} at {place}: attached since {date}, for {for_so_long}; \
             instance {instance}{streams}"
        )
    }
}

/// Returns the date of a time since 1970, in UTC.
pub(crate) fn date(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or_default();
    let date = OffsetDateTime::from_unix_timestamp(seconds).ok();
    date.and_then(|it| it.format(&Rfc3339).ok()).unwrap_or_default()
}

/// Returns a duration as a person would say it, in its largest unit.
fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn printable(text: &str) -> String {
    link::printable::printable(text, FAILURE_CHARACTERS_MAX)
}

#[cfg(test)]
mod tests;
