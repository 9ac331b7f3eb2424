//! The streams with partners that are open, for front ends that attach later.

use std::collections::BTreeMap;
use std::time::Instant;

use link::wire::StreamReport;
use link::wire::stream_report::State;

/// Direction, number and the two domains of a stream.
type Key = (i32, u64, String, String);

/// All open streams; the limits on connections bound their number.
#[derive(Debug, Default)]
pub(super) struct OpenStreams(BTreeMap<Key, (StreamReport, Instant)>);

impl OpenStreams {
    /// Takes what happened to a stream.
    pub(super) fn handle_report(&mut self, report: &StreamReport, now: Instant) {
        match report.state() {
            State::Established => {
                self.0.insert(key(report), (report.clone(), now));
            }
            State::Closed => {
                self.0.remove(&key(report));
            }
            State::Failed | State::Open | State::Unknown => {}
        }
    }

    /// Tells which streams are open, and for how long.
    pub(super) fn reports(&self, now: Instant) -> Vec<StreamReport> {
        let open = |(report, since): &(StreamReport, Instant)| {
            let age_ms = now.saturating_duration_since(*since).as_millis();
            StreamReport {
                state: State::Open.into(),
                age_ms: u64::try_from(age_ms).unwrap_or(u64::MAX),
                ..report.clone()
            }
        };
        self.0.values().map(open).collect()
    }
}

fn key(report: &StreamReport) -> Key {
    let domains = (report.local_domain.clone(), report.remote_domain.clone());
    (report.direction, report.number, domains.0, domains.1)
}
