//! Questions to DNS: the servers of a domain, and the addresses of a server.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use xmpp_proto::jid::Domain;
use xmpp_proto::locate::SrvRecord;

use super::race::Family;
use crate::xmpp::failure::{Failure, FailureKind, Phase};

/// Answers are kept for so long at least, so that a partner's records cannot make us ask all the
/// time, nor say one thing now and another for the same attempt.
const ANSWER_AGE_MIN: Duration = Duration::from_secs(30);

/// The name servers cannot be used; the operator must change them.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up name resolution: {0}")]
pub struct ResolverError(#[from] NetError);

/// The resolver.
pub(super) struct Lookups {
    resolver: TokioResolver,
    lookup_max: Duration,
}

/// The answer to a question: what is there, and whether the name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer<T> {
    pub(super) records: Vec<T>,
    pub(super) exists: bool,
}

/// A question that got no answer, and why, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoAnswer(pub(super) String);

impl From<NoAnswer> for Failure {
    fn from(NoAnswer(detail): NoAnswer) -> Self {
        Self::new(Phase::Lookup, FailureKind::LookupFailed, detail)
    }
}

impl Lookups {
    /// Makes a resolver that asks `name_servers`, or those of the operating system if none.
    pub(super) fn new(
        name_servers: &[SocketAddr],
        lookup_max: Duration,
    ) -> Result<Self, ResolverError> {
        let mut builder = if name_servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = name_servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = lookup_max;
        options.attempts = 2;
        options.positive_min_ttl = Some(ANSWER_AGE_MIN);
        Ok(Self { resolver: builder.build()?, lookup_max: lookup_max * 2 })
    }

    /// Asks for the service records of a domain: `service` is such as `_xmpp-server._tcp`.
    pub(super) async fn services(
        &self,
        service: &str,
        domain: &Domain,
    ) -> Result<Vec<SrvRecord>, NoAnswer> {
        let name = format!("{service}.{}.", domain.to_ascii());
        Ok(self.ask(&name, RecordType::SRV, srv_record).await?.records)
    }

    /// Asks for the addresses of a host.
    pub(super) async fn addresses(
        &self,
        host: &str,
        family: Family,
    ) -> Result<Answer<IpAddr>, NoAnswer> {
        if let Ok(address) = host.parse::<IpAddr>() {
            let is_asked = address.is_ipv6() == (family == Family::V6);
            let records = if is_asked { vec![address] } else { Vec::new() };
            return Ok(Answer { records, exists: true });
        }
        let name = format!("{}.", host.trim_end_matches('.'));
        match family {
            Family::V6 => self.ask(&name, RecordType::AAAA, address).await,
            Family::V4 => self.ask(&name, RecordType::A, address).await,
        }
    }

    /// Looks a name up; no such record is an empty answer.
    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Answer<T>, NoAnswer> {
        let lookup = tokio::time::timeout(self.lookup_max, self.resolver.lookup(name, kind));
        match lookup.await {
            Ok(Ok(found)) => {
                let records = found.answers().iter().filter_map(|record| read(&record.data));
                Ok(Answer { records: records.collect(), exists: true })
            }
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none)))) => {
                let exists = none.response_code != ResponseCode::NXDomain;
                Ok(Answer { records: Vec::new(), exists })
            }
            Ok(Err(error)) => Err(NoAnswer(format!("looking up {name} {kind}: {error}"))),
            Err(_) => Err(NoAnswer(format!("looking up {name} {kind}: no answer in time"))),
        }
    }
}

/// Returns the records of both lookups; half an answer does if it names a server, but not to say
/// that there is none.
pub(super) fn services(
    starttls: Result<Vec<SrvRecord>, NoAnswer>,
    direct_tls: Result<Vec<SrvRecord>, NoAnswer>,
) -> Result<(Vec<SrvRecord>, Vec<SrvRecord>), NoAnswer> {
    let names_one = |records: &[SrvRecord]| records.iter().any(|record| !record.is_none());
    match (starttls, direct_tls) {
        (Ok(starttls), Ok(direct_tls)) => Ok((starttls, direct_tls)),
        (Ok(starttls), Err(_)) if names_one(&starttls) => Ok((starttls, Vec::new())),
        (Err(_), Ok(direct_tls)) if names_one(&direct_tls) => Ok((Vec::new(), direct_tls)),
        (Err(failure), _) | (_, Err(failure)) => Err(failure),
    }
}

/// Returns why there was no address of a domain's server to try; half an answer is not enough to
/// say that there is none.
pub(super) fn no_address(
    domain: &Domain,
    host: &str,
    answers: [Result<Answer<IpAddr>, NoAnswer>; 2],
) -> Failure {
    let mut exists = false;
    for answer in answers {
        match answer {
            Ok(answer) => exists |= answer.exists,
            Err(no_answer) => return no_answer.into(),
        }
    }
    if exists || host != domain.to_ascii() {
        let detail = format!("{host} has no address");
        Failure::new(Phase::Lookup, FailureKind::NoAddress, detail)
    } else {
        let detail = format!("{host} does not exist");
        Failure::new(Phase::Lookup, FailureKind::NoSuchName, detail)
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    let connections = connections.map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn srv_record(data: &RData) -> Option<SrvRecord> {
    let RData::SRV(srv) = data else { return None };
    Some(SrvRecord {
        priority: srv.priority,
        weight: srv.weight,
        port: srv.port,
        target: srv.target.to_ascii(),
    })
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_answer<T>() -> Result<T, NoAnswer> {
        Err(NoAnswer("the name server failed".to_owned()))
    }

    #[test]
    fn half_an_answer_never_says_that_there_is_no_address() {
        let nothing = |exists| Ok(Answer { records: Vec::new(), exists });
        let domain = Domain::parse("fabrikam.example").unwrap();
        let kind = |answers| no_address(&domain, "fabrikam.example", answers).kind;
        let server = no_address(&domain, "xmpp.fabrikam.example", [nothing(false), nothing(false)]);
        assert_eq!(server.kind, FailureKind::NoAddress, "the domain is there, its server is not");
        assert_eq!(kind([nothing(true), nothing(true)]), FailureKind::NoAddress);
        assert_eq!(kind([nothing(false), nothing(true)]), FailureKind::NoAddress);
        assert_eq!(kind([nothing(false), nothing(false)]), FailureKind::NoSuchName);
        assert_eq!(kind([nothing(false), no_answer()]), FailureKind::LookupFailed);
        assert_eq!(kind([no_answer(), nothing(false)]), FailureKind::LookupFailed);
    }

    #[test]
    fn half_a_service_answer_gives_servers_but_never_says_that_there_is_none() {
        let record = |target: &str| SrvRecord {
            priority: 0,
            weight: 0,
            port: 5270,
            target: target.to_owned(),
        };
        let (some, none, nothing) = (vec![record("a.")], vec![record(".")], Vec::new());
        let ok = |records: &Vec<SrvRecord>| Ok(records.clone());
        assert_eq!(services(ok(&some), no_answer()), Ok((some.clone(), nothing.clone())));
        assert_eq!(services(no_answer(), ok(&some)), Ok((nothing.clone(), some.clone())));
        for records in [&none, &nothing] {
            assert_eq!(services(ok(records), no_answer()), no_answer());
            assert_eq!(services(no_answer(), ok(records)), no_answer());
            assert_eq!(services(ok(records), ok(&none)), Ok((records.clone(), none.clone())));
        }
        assert_eq!(services(no_answer(), no_answer()), no_answer());
    }
}
