//! The open streams of one edge, as it tells them: so many, and beyond that only their number.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use link::wire::stream_report::{Direction, State};
use link::wire::{Proof, StreamReport};
use xmpp_proto::jid::Domain;
use xmpp_proto::stream::DomainPair;

use super::age;

/// Streams of one edge that are listed; whatever an edge tells, it takes no more memory.
pub(super) const LISTED_MAX: usize = 2_000;

#[derive(Debug, Default)]
pub(super) struct Streams {
    listed: BTreeMap<Key, Stream>,
    /// How many more there are.
    unlisted: u64,
}

/// Direction, pair and number.
type Key = (i32, DomainPair, u64);

#[derive(Debug)]
struct Stream {
    proof: Proof,
    tls_version: u32,
    direct_tls: bool,
    bidirectional: bool,
    since: Instant,
}

impl Streams {
    pub(super) fn handle_report(&mut self, pair: DomainPair, report: &StreamReport, now: Instant) {
        let key = (report.direction, pair, report.number);
        match report.state() {
            State::Established | State::Open => {
                let age = Duration::from_millis(report.age_ms);
                let stream = Stream {
                    proof: report.proof(),
                    tls_version: report.tls_version,
                    direct_tls: report.direct_tls,
                    bidirectional: report.bidirectional,
                    since: now.checked_sub(age).unwrap_or(now),
                };
                if self.listed.len() < LISTED_MAX || self.listed.contains_key(&key) {
                    self.listed.insert(key, stream);
                } else {
                    self.unlisted = self.unlisted.saturating_add(1);
                }
            }
            State::Closed => {
                if self.listed.remove(&key).is_none() {
                    self.unlisted = self.unlisted.saturating_sub(1);
                }
            }
            State::Failed | State::Unknown => {}
        }
    }

    /// Returns how many streams of the remote domains that `is_of` picks are listed.
    pub(super) fn count(&self, is_of: impl Fn(&Domain) -> bool) -> usize {
        self.listed.keys().filter(|(_, pair, _)| is_of(&pair.remote)).count()
    }

    /// Shows each stream of these remote domains on a line of its own, each after a line break.
    pub(super) fn describe(&self, is_of: impl Fn(&Domain) -> bool, now: Instant) -> String {
        let mut text = String::new();
        for ((direction, pair, _), stream) in self.listed.iter().filter(|it| is_of(&it.0.1.remote))
        {
            let direction = match Direction::try_from(*direction) {
                Ok(Direction::Inbound) => "inbound",
                Ok(Direction::Outbound) => "outbound",
                Ok(Direction::Unknown) | Err(_) => "unknown",
            };
            let proof = match stream.proof {
                Proof::SaslExternal => "SASL EXTERNAL",
                Proof::Dialback => "dialback",
                Proof::None => "no proof",
            };
            let tls = match stream.tls_version {
                0x0303 => "TLS 1.2",
                0x0304 => "TLS 1.3",
                0 => "no TLS",
                _ => "TLS unknown",
            };
            let direction = match stream.bidirectional {
                true => format!("{direction}, both ways"),
                false => direction.to_owned(),
            };
            let direct = if stream.direct_tls { "direct " } else { "" };
            let DomainPair { local, remote } = pair;
            let for_so_long = age(now.saturating_duration_since(stream.since));
            // A text takes every line.
            let _ = write!(
                text,
                "\n  {direction}\t{local}\t{remote}\t{proof}\t{direct}{tls}\topen for {for_so_long}"
            );
        }
        if self.unlisted > 0 {
            let _ = write!(text, "\n  and {} more streams", self.unlisted);
        }
        text
    }
}
