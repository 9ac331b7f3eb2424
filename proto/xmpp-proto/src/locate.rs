//! Where the servers of a domain are: pure functions over the answers of DNS.

mod ports;
mod special;

use crate::jid::Domain;

pub use ports::is_foreign_port;
pub use special::is_special;

/// The port of servers that have no SRV record (RFC 6120 s.3.2.2).
const DEFAULT_PORT: u16 = 5269;
/// Targets that are tried for one domain, the best first.
pub const TARGETS_MAX: usize = 8;

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvRecord {
    /// The lower is tried first.
    pub priority: u16,
    /// The share of the tries among records of the same priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host name, `.` for "no such service".
    pub target: String,
}

impl SrvRecord {
    /// Whether it says that there is no such service (RFC 2782: the target is `.`).
    pub fn is_none(&self) -> bool {
        self.target == "."
    }
}

/// The records of a domain. An empty list means that DNS has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct SrvAnswers<'a> {
    /// The records of `_xmpp-server._tcp`.
    pub starttls: &'a [SrvRecord],
    /// The records of `_xmpps-server._tcp` (XEP-0368).
    pub direct_tls: &'a [SrvRecord],
}

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host whose addresses are to be looked up, or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether the connection begins with TLS.
    pub direct_tls: bool,
}

/// The targets of a domain in the order in which to try them, at most [`TARGETS_MAX`].
///
/// Empty where the domain says that it has no such service. There is no other place to go to when
/// none of the targets answers. `draw` is given a number and draws one from zero to it, both
/// included.
///
/// The certificate must prove the domain, never the host of a target (RFC 9525 s.6.1).
pub fn targets(
    domain: &Domain,
    answers: SrvAnswers<'_>,
    mut draw: impl FnMut(u32) -> u32,
) -> Vec<Target> {
    // RFC 6120 s.3.2.1 (9): without records, the domain itself, and never with direct TLS. That
    // there is no direct TLS says nothing about STARTTLS.
    if answers.starttls.is_empty() && answers.direct_tls.iter().all(SrvRecord::is_none) {
        let host = domain.to_ascii();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        return vec![Target { host, port: DEFAULT_PORT, direct_tls: false }];
    }
    in_order(answers, &mut draw)
}

/// The places that records name, by their priority and weight; at most [`TARGETS_MAX`].
pub fn in_order(answers: SrvAnswers<'_>, draw: &mut impl FnMut(u32) -> u32) -> Vec<Target> {
    // XEP-0368 s.3: the two sets are one.
    let starttls = answers.starttls.iter().map(|record| (record, false));
    let direct_tls = answers.direct_tls.iter().map(|record| (record, true));
    let mut records: Vec<(&SrvRecord, bool)> =
        starttls.chain(direct_tls).filter(|(record, _)| !record.is_none()).collect();
    // RFC 2782: by priority, and records without weight first among their equals.
    records.sort_by_key(|(record, _)| (record.priority, record.weight > 0));

    let mut targets = Vec::new();
    while targets.len() < TARGETS_MAX && !records.is_empty() {
        let (record, direct_tls) = records.remove(choose(&records, draw));
        let host = record.target.strip_suffix('.').unwrap_or(&record.target);
        targets.push(Target { host: host.to_owned(), port: record.port, direct_tls });
    }
    targets
}

/// RFC 2782: the place of the record, among those of the best priority, that the draw falls on.
fn choose(records: &[(&SrvRecord, bool)], draw: &mut impl FnMut(u32) -> u32) -> usize {
    let best = records.first().map(|(record, _)| record.priority);
    let weights = records
        .iter()
        .take_while(|(record, _)| Some(record.priority) == best)
        .map(|(record, _)| u32::from(record.weight));
    let drawn = draw(weights.clone().sum());
    let mut sum = 0;
    weights
        .enumerate()
        .find_map(|(place, weight)| {
            sum += weight;
            (sum >= drawn).then_some(place)
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn domain() -> Domain {
        Domain::parse("b\u{FC}cher.example").unwrap()
    }

    fn record(priority: u16, weight: u16, target: &str) -> SrvRecord {
        SrvRecord { priority, weight, port: 5269, target: target.to_owned() }
    }

    fn hosts(starttls: &[SrvRecord], draw: impl FnMut(u32) -> u32) -> Vec<String> {
        let answers = SrvAnswers { starttls, direct_tls: &[] };
        targets(&domain(), answers, draw).into_iter().map(|target| target.host).collect()
    }

    #[test]
    fn without_records_the_domain_itself_is_tried() {
        let found = targets(&domain(), SrvAnswers::default(), |_| 0);
        let host = "xn--bcher-kva.example".to_owned();
        assert_eq!(found, [Target { host, port: 5269, direct_tls: false }]);

        let address = Domain::parse("[2001:db8::1]").unwrap();
        let found = targets(&address, SrvAnswers::default(), |_| 0);
        assert_eq!(found[0].host, "2001:db8::1");
    }

    #[test]
    fn a_dot_means_that_there_is_no_such_service() {
        assert_eq!(hosts(&[record(0, 0, ".")], |_| 0), [] as [&str; 0]);

        let direct = [SrvRecord { port: 5270, ..record(0, 0, "x.example.") }];
        let answers = SrvAnswers { starttls: &[record(0, 0, ".")], direct_tls: &direct };
        let found = targets(&domain(), answers, |_| 0);
        let host = "x.example".to_owned();
        assert_eq!(found, [Target { host, port: 5270, direct_tls: true }]);
    }

    #[test]
    fn a_dot_for_direct_tls_leaves_starttls_as_it_is() {
        let none = [record(0, 0, ".")];
        let with = |starttls: &[SrvRecord]| {
            let answers = SrvAnswers { starttls, direct_tls: &none };
            targets(&domain(), answers, |_| 0)
        };
        let target = |host: &str| Target { host: host.to_owned(), port: 5269, direct_tls: false };
        assert_eq!(with(&[record(0, 0, "a")]), [target("a")]);
        assert_eq!(with(&[]), [target("xn--bcher-kva.example")]);
        assert_eq!(with(&none), []);
    }

    #[test]
    fn the_lower_priority_comes_first_whatever_the_weight() {
        let records = [record(20, 100, "c"), record(10, 0, "b"), record(5, 1, "a")];

        assert_eq!(hosts(&records, |max| max), ["a", "b", "c"]);
        assert_eq!(hosts(&records, |_| 0), ["a", "b", "c"]);
    }

    #[test]
    fn the_draw_chooses_among_equals_by_weight() {
        let records = [record(0, 30, "big"), record(0, 0, "none"), record(0, 10, "small")];

        assert_eq!(hosts(&records, |_| 0)[0], "none");
        assert_eq!(hosts(&records, |_| 1)[0], "big");
        assert_eq!(hosts(&records, |_| 30)[0], "big");
        assert_eq!(hosts(&records, |_| 31)[0], "small");
        assert_eq!(hosts(&records, |max| max), ["small", "big", "none"]);
    }

    #[test]
    fn over_all_draws_each_record_is_first_as_often_as_its_weight_says() {
        let records = [record(0, 3, "a"), record(0, 1, "b")];
        let mut first: BTreeMap<String, u32> = BTreeMap::new();
        for drawn in 1..=4 {
            *first.entry(hosts(&records, |max| drawn.min(max))[0].clone()).or_default() += 1;
        }

        assert_eq!(first, BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 1)]));
    }

    #[test]
    fn both_sets_are_one() {
        let starttls = [record(10, 0, "a")];
        let direct_tls = [record(5, 0, "b"), record(20, 0, "c")];
        let answers = SrvAnswers { starttls: &starttls, direct_tls: &direct_tls };
        let found = targets(&domain(), answers, |_| 0);
        let found: Vec<(&str, bool)> =
            found.iter().map(|target| (target.host.as_str(), target.direct_tls)).collect();

        assert_eq!(found, [("b", true), ("a", false), ("c", true)]);
    }

    #[test]
    fn a_long_answer_is_cut() {
        let records = vec![record(0, 1, "a"); 10_000];

        assert_eq!(hosts(&records, |_| 0).len(), TARGETS_MAX);
    }
}
