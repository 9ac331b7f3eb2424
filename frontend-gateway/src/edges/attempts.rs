//! The attempts to open streams that edges tell of, as administrators are shown them.

use std::time::{Duration, Instant};

use ::link::wire::stream_report::Direction;
use ::link::wire::{Attempt, Proof};
use xmpp_proto::jid::Domain;

use super::{AddressState, Attached, Edges, age, date};
use crate::clock::Now;
use crate::links::EdgeId;

/// The longest line of an attempt that is shown, in characters.
const LINE_CHARACTERS_MAX: usize = 1_000;

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a stream, or was.
    Succeeded,
    /// There is none.
    Failed,
}

/// An attempt, and the edge that tells of it.
pub struct EdgeAttempt<'a> {
    edge: String,
    attempt: &'a Attempt,
    began: Instant,
}

impl Edges {
    /// Takes an attempt of an edge, whose domains its owner has read; `is_partners` says whether
    /// policy names the remote one.
    pub fn handle_attempt(
        &mut self,
        edge: EdgeId,
        attempt: Attempt,
        is_partners: bool,
        now: Instant,
    ) {
        if let Some(attached) = self.attached.get_mut(&edge) {
            attached.attempts.insert(attempt, is_partners, now);
        }
    }

    /// Returns the attempts of the remote domains that `is_of` picks, at the attached edges of this
    /// name or at all, the oldest first.
    pub fn attempts(
        &self,
        is_of: impl Fn(&str) -> bool,
        edge: Option<&str>,
    ) -> Vec<EdgeAttempt<'_>> {
        let named = |it: &(&EdgeId, &Attached)| edge.is_none_or(|name| it.1.name == name);
        let mut found = Vec::new();
        for (id, attached) in self.attached.iter().filter(named) {
            let of_domain = attached.attempts.all().filter(|it| is_of(&it.attempt.remote_domain));
            let place = self.place(*id);
            found.extend(of_domain.map(|it| EdgeAttempt {
                edge: place.clone(),
                attempt: &it.attempt,
                began: it.began,
            }));
        }
        found.sort_by_key(|it| it.began);
        found
    }

    /// Shows the streams with the remote domains that `is_of` picks, edge by edge; empty where
    /// there are none.
    pub fn describe_streams(&self, is_of: impl Fn(&Domain) -> bool, now: Instant) -> String {
        let mut text = String::new();
        for (id, attached) in &self.attached {
            let streams = attached.streams.describe(&is_of, now);
            if !streams.is_empty() {
                text.push_str(&format!("\nedge {}:{streams}", self.place(*id)));
            }
        }
        text.trim_start().to_owned()
    }

    /// Returns how many streams with the remote domains that `is_of` picks all edges have.
    pub fn count_streams(&self, is_of: impl Fn(&Domain) -> bool) -> usize {
        self.attached.values().map(|attached| attached.streams.count(&is_of)).sum()
    }

    /// Says which edge this is: those of one certificate share a name.
    pub fn place(&self, edge: EdgeId) -> String {
        let name = self.name(edge).unwrap_or("gone");
        let mut addresses = self.addresses.iter();
        match addresses.find(|(_, it)| it.state == AddressState::Attached(edge)) {
            Some((address, _)) => format!("{name} at {}", address.address),
            None => name.to_owned(),
        }
    }

    /// Returns whether an edge of this name is attached.
    pub fn is_attached(&self, name: &str) -> bool {
        self.attached.values().any(|attached| attached.name == name)
    }
}

impl EdgeAttempt<'_> {
    /// Returns which way the stream was to be opened.
    pub fn direction(&self) -> Direction {
        self.attempt.direction()
    }

    /// Returns what came of it.
    pub fn outcome(&self) -> Outcome {
        match self.attempt.proof() {
            Proof::None => Outcome::Failed,
            Proof::SaslExternal | Proof::Dialback => Outcome::Succeeded,
        }
    }

    /// Says in a line when and where it was, and what came of it.
    pub fn summary(&self, now: Now) -> String {
        let passed = now.instant.saturating_duration_since(self.began);
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let date = date(now.unix_ms.saturating_sub(passed_ms));
        let local = match self.attempt.local_domain.as_str() {
            "" => "no domain of ours",
            local => local,
        };
        let remote = &self.attempt.remote_domain;
        let (direction, from, to) = match self.direction() {
            Direction::Inbound => ("inbound", remote.as_str(), local),
            Direction::Outbound | Direction::Unknown => ("outbound", local, remote.as_str()),
        };
        let result = match self.attempt.proof() {
            Proof::SaslExternal => "succeeded by SASL EXTERNAL".to_owned(),
            Proof::Dialback => "succeeded by dialback".to_owned(),
            Proof::None => format!("FAILED: {}", printable(&self.attempt.failure)),
        };
        let age = age(Duration::from_millis(passed_ms));
        let edge = &self.edge;
        format!("{date} ({age} ago), {direction} from {from} to {to}, edge {edge}: {result}")
    }

    /// Shows it in a block of lines.
    pub fn describe(&self, now: Now) -> String {
        let lines = self.attempt.details.lines().map(|line| format!("\n  {}", printable(line)));
        self.summary(now) + &lines.collect::<String>()
    }
}

fn printable(line: &str) -> String {
    ::link::printable::printable(line, LINE_CHARACTERS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Clock;

    fn attempt(proof: Proof, age_ms: u64) -> Attempt {
        Attempt {
            local_domain: "contoso.example".into(),
            remote_domain: "fabrikam.example".into(),
            direction: Direction::Outbound.into(),
            proof: proof.into(),
            failure: "no\u{1b}[31m server".into(),
            details: "server a\n  address \u{1b}]0;x\u{7}".into(),
            age_ms,
        }
    }

    #[test]
    fn attempts_of_two_edges_are_shown_in_their_order_and_do_nothing_to_a_terminal() {
        let clock = Clock::new();
        let mut edges = Edges::default();
        for (id, name) in [(EdgeId(1), "edge1"), (EdgeId(2), "edge2")] {
            edges.attach(id, name.into(), clock.now);
        }
        let failed = attempt(Proof::None, 60_000);
        let inbound =
            Attempt { direction: Direction::Inbound.into(), ..attempt(Proof::Dialback, 90_000) };
        edges.handle_attempt(EdgeId(1), failed, true, clock.now.instant);
        edges.handle_attempt(EdgeId(2), inbound, true, clock.now.instant);
        let is_of = |domain: &str| domain == "fabrikam.example";
        let shown = |edge: Option<&str>| {
            let attempts = edges.attempts(is_of, edge);
            attempts.iter().map(|it| it.describe(clock.now)).collect::<Vec<_>>()
        };
        let of_first = "2027-01-15T07:59:00Z (60 s ago), outbound from contoso.example to \
                        fabrikam.example, edge edge1: FAILED: no\\u{1b}[31m server\n  server a\n    \
                        address \\u{1b}]0;x\\u{7}";
        let of_second = "2027-01-15T07:58:30Z (90 s ago), inbound from fabrikam.example to \
                         contoso.example, edge edge2: succeeded by dialback\n  server a\n    \
                         address \\u{1b}]0;x\\u{7}";
        assert_eq!(shown(None), [of_second, of_first]);
        assert_eq!(shown(Some("edge1")), [of_first]);
        assert_eq!(edges.attempts(|domain| domain == "other.example", None).len(), 0);
    }

    #[test]
    fn what_an_edge_told_is_gone_with_its_attachment() {
        let clock = Clock::new();
        let mut edges = Edges::default();
        edges.attach(EdgeId(1), "edge1".into(), clock.now);
        edges.handle_attempt(EdgeId(1), attempt(Proof::None, 0), true, clock.now.instant);
        edges.detach(EdgeId(1), None, clock.now);
        edges.attach(EdgeId(2), "edge1".into(), clock.now);
        assert_eq!(edges.attempts(|_| true, None).len(), 0);
    }
}
