//! What front ends are told of an attempt: one sentence, and what was done, in lines for a person.

use std::time::{Duration, Instant};

use link::printable::printable;
use link::wire::Attempt;
use link::wire::stream_report::Direction;
use xmpp_proto::jid::Domain;

use super::attempt::{AttemptRecord, Step, TlsFacts};
use super::failure::{Failure, FailureKind, Phase};
use super::report::wire_proof;

/// The longest name or reason in a line, in characters: they are a peer's.
const WORD_CHARACTERS_MAX: usize = 300;

/// The names of a certificate that are told fill about so many characters.
const NAMES_CHARACTERS_MAX: usize = 500;

/// Ends lines that were too many.
const CUT: &str = "the rest is in the log of the edge";

/// Tells of an attempt of ours that is over.
pub(super) fn of_record(record: &AttemptRecord, now: Instant) -> Attempt {
    let mut lines = Lines::default();
    for step in &record.steps {
        lines.step(step, &record.pair.remote);
    }
    if record.left_count > 0 {
        lines.line(&format!("{} servers are left for the next attempt", record.left_count));
    }
    let failure = match record.proof {
        Some(_) => String::new(),
        None => sentence(record),
    };
    Attempt {
        local_domain: record.pair.local.as_str().to_owned(),
        remote_domain: record.pair.remote.as_str().to_owned(),
        direction: Direction::Outbound.into(),
        proof: wire_proof(record.proof).into(),
        failure,
        details: lines.finish(),
        age_ms: age_ms(record.started, now),
    }
}

/// Returns what senders are told of it, and what exactly failed.
fn sentence(record: &AttemptRecord) -> String {
    let failures = record.steps.iter().filter_map(|step| step.failure.clone());
    let telling = failures.fold(None, |before, next| Some(Failure::most_telling(before, next)));
    let none = || Failure::new(Phase::Lookup, FailureKind::NoService, "DNS names no server");
    let failure = telling.unwrap_or_else(none);
    format!("{}: {}", failure.sentence(&record.pair.remote), word(&failure.detail))
}

/// Returns how long ago something began, as it crosses the link.
pub(super) fn age_ms(began: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(began).as_millis()).unwrap_or(u64::MAX)
}

/// Returns a word of a peer, which begins no line.
pub(super) fn word(text: &str) -> String {
    printable(text, WORD_CHARACTERS_MAX)
}

/// The lines of an attempt, within what crosses the link.
#[derive(Default)]
pub(super) struct Lines {
    text: String,
    is_cut: bool,
}

impl Lines {
    /// Adds a line, unless it or one before it had no room.
    pub(super) fn line(&mut self, line: &str) {
        let room = link::attempts::DETAILS_BYTES_MAX - CUT.len();
        self.is_cut |= self.text.len() + line.len() + 1 > room;
        if !self.is_cut {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    /// Returns all of them, and whether there were more.
    pub(super) fn finish(mut self) -> String {
        if self.is_cut {
            self.text.push_str(CUT);
        }
        self.text.truncate(self.text.trim_end().len());
        self.text
    }

    /// Adds how long each phase took that was begun.
    pub(super) fn phases(&mut self, phases: &[(Phase, Duration)]) {
        let each = |(phase, duration): &(Phase, Duration)| {
            format!("{} {} ms", phase.label(), duration.as_millis())
        };
        let phases: Vec<String> = phases.iter().map(each).collect();
        if !phases.is_empty() {
            self.line(&format!("  took: {}", phases.join(", ")));
        }
    }

    /// Adds what TLS established, where `expected` is the domain that the peer is to prove.
    pub(super) fn tls(&mut self, tls: &TlsFacts, expected: &Domain) {
        let version = match tls.version {
            Some(0x0303) => "TLS 1.2",
            Some(0x0304) => "TLS 1.3",
            Some(_) | None => "TLS",
        };
        let names: Vec<String> = tls.names.iter().map(|name| word(name)).collect();
        let presented = match names.join(", ") {
            none if none.is_empty() => "none".to_owned(),
            all if all.chars().count() <= NAMES_CHARACTERS_MAX => all,
            all => printable(&all, NAMES_CHARACTERS_MAX) + " and more",
        };
        let verdict = if tls.is_named { "which is among them" } else { "which is not among them" };
        self.line(&format!("  {version}; names presented: {presented}"));
        self.line(&format!("  name expected: {expected}, {verdict}"));
        match &tls.trust {
            Ok(()) => self.line("  certificate: trusted"),
            Err(reason) => self.line(&format!("  certificate: not trusted: {}", word(reason))),
        }
    }

    fn step(&mut self, step: &Step, remote: &Domain) {
        match &step.target {
            Some(target) => {
                let way = if target.direct_tls { "direct TLS" } else { "STARTTLS" };
                self.line(&format!("server {} port {}, {way}", word(&target.host), target.port));
            }
            None => self.line(&format!("finding the servers of {remote}")),
        }
        for tried in &step.addresses {
            let failure = match tried.failure.as_str() {
                "" => String::new(),
                failure => format!(": {}", word(failure)),
            };
            self.line(&format!("  address {}{failure}", tried.address));
        }
        self.phases(&step.phases);
        if let Some(tls) = &step.tls {
            self.tls(tls, remote);
        }
        if let Some(failure) = &step.failure {
            let (phase, kind) = (failure.phase.label(), failure.label());
            self.line(&format!("  failed in {phase}: {kind}: {}", word(&failure.detail)));
        }
        if let Some(closed) = &step.closed {
            self.line(&format!("  ended by {closed}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use xmpp_proto::locate::Target;
    use xmpp_proto::stream::{DomainPair, Proof};

    use super::*;
    use crate::xmpp::attempt::{ClosedBy, TriedAddress};

    fn pair() -> DomainPair {
        let domain = |name| Domain::parse(name).unwrap();
        DomainPair { local: domain("contoso.example"), remote: domain("fabrikam.example") }
    }

    fn server(names: Vec<String>, detail: &str) -> Step {
        let tls = TlsFacts {
            version: Some(0x0304),
            names,
            trust: Err("the certificate has expired".to_owned()),
            is_named: false,
        };
        Step {
            target: Some(Target {
                host: "xmpp.fabrikam.example".to_owned(),
                port: 5269,
                direct_tls: false,
            }),
            addresses: vec![
                TriedAddress { address: [127, 0, 0, 1].into(), failure: "refused".to_owned() },
                TriedAddress { address: [127, 0, 0, 2].into(), failure: String::new() },
            ],
            phases: vec![
                (Phase::Connect, Duration::from_millis(3)),
                (Phase::Stream, Duration::from_millis(40)),
            ],
            tls: Some(tls),
            failure: Some(Failure::new(Phase::Authentication, FailureKind::Unproven, detail)),
            closed: Some(ClosedBy::Us(None)),
        }
    }

    fn record(steps: Vec<Step>, proof: Option<Proof>, started: Instant) -> AttemptRecord {
        AttemptRecord { started, pair: pair(), steps, proof, left_count: 2 }
    }

    #[test]
    fn everything_that_was_found_is_told_and_no_word_of_a_peer_begins_a_line() {
        let began = Instant::now();
        let names = vec!["mallory.example".to_owned(), "a\ncertificate: trusted".to_owned()];
        let steps = vec![server(names, "no\u{1b}[2Jproof")];
        let attempt = of_record(&record(steps, None, began), began + Duration::from_secs(2));
        let expected = [
            "server xmpp.fabrikam.example port 5269, STARTTLS",
            "  address 127.0.0.1: refused",
            "  address 127.0.0.2",
            "  took: connect 3 ms, stream 40 ms",
            "  TLS 1.3; names presented: mallory.example, a\\ncertificate: trusted",
            "  name expected: fabrikam.example, which is not among them",
            "  certificate: not trusted: the certificate has expired",
            "  failed in authentication: unproven: no\\u{1b}[2Jproof",
            "  ended by us",
            "2 servers are left for the next attempt",
        ];
        assert_eq!(attempt.details.lines().collect::<Vec<_>>(), expected);
        assert_eq!(
            attempt.failure,
            "the certificate of fabrikam.example does not prove who it is, which its administrator \
             must mend: no\\u{1b}[2Jproof"
        );
        assert_eq!(attempt.age_ms, 2_000);
    }

    #[test]
    fn whatever_servers_show_the_lines_cross_the_link_whole() {
        let names = vec!["x".repeat(250); 16];
        let steps = vec![server(names, &"y".repeat(9_999)); 8];
        let now = Instant::now();
        let attempt = of_record(&record(steps, Some(Proof::External), now), now);
        assert!(attempt.details.len() <= link::attempts::DETAILS_BYTES_MAX);
        assert!(attempt.details.len() > link::attempts::DETAILS_BYTES_MAX / 2);
        assert_eq!(attempt.details.lines().last(), Some(CUT));
        assert!(attempt.details.contains(" and more\n  name expected: fabrikam.example"));
        assert_eq!(attempt.failure, "", "it has succeeded");
    }
}
