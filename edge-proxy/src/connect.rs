//! Finds a partner's servers by DNS and connects to one of them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};
use host::socket::Connection;
use host::tls::TrustAnchors;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use xmpp_proto::jid::Domain;
use xmpp_proto::locate::{SrvAnswers, SrvRecord, Target, is_special, targets};
use xmpp_proto::stanza::error::StanzaCondition;

use crate::admission::{Admitted, Partner};
use crate::xmpp::partner::ConnectFailure;

/// Time for one TCP connection.
const TCP_CONNECT_MAX: Duration = Duration::from_secs(10);

/// The most addresses that are tried for one host.
const ADDRESSES_MAX: usize = 4;

/// What is needed to connect to partners.
pub struct Connector {
    resolver: TokioResolver,
    lookup_max: Duration,
    tls: TlsConnector,
    direct_tls: TlsConnector,
    trust: Arc<TrustAnchors>,
}

/// A connection to a partner's server.
pub enum Reached {
    /// In the clear, where STARTTLS comes next.
    InClear(Connection),
    /// Behind a TLS handshake (XEP-0368); who the peer is has not been looked at.
    DirectTls(Connection),
}

/// The name servers cannot be used; the operator must change them.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up name resolution: {0}")]
pub struct ResolverError(#[from] NetError);

impl Connector {
    /// Makes a connector that asks `name_servers`, or those of the operating system if none.
    pub fn new(
        name_servers: &[SocketAddr],
        lookup_max: Duration,
        tls: ClientConfig,
        trust: Arc<TrustAnchors>,
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
        let resolver = builder.build()?;
        let direct_tls = host::tls::direct_tls_client_config(tls.clone());
        Ok(Self {
            resolver,
            lookup_max: lookup_max * 2,
            tls: TlsConnector::from(Arc::new(tls)),
            direct_tls: TlsConnector::from(Arc::new(direct_tls)),
            trust,
        })
    }

    /// Returns how TLS to partners begins.
    pub fn tls(&self) -> &TlsConnector {
        &self.tls
    }

    /// Returns the authorities that partners are checked against.
    pub fn trust(&self) -> &TrustAnchors {
        &self.trust
    }

    /// Connects to a server of a partner's domain: to the first, in the order of DNS, that takes
    /// the connection and, where it begins with TLS, the handshake.
    ///
    /// # Errors
    /// Final when there is no such server, or policy forbids to go there; else it may work later.
    pub async fn connect_xmpp(
        &self,
        domain: &Domain,
        admitted: &Admitted,
    ) -> Result<Reached, ConnectFailure> {
        let Some(partner) = admitted.partner(domain) else {
            let text = format!("{domain} is not a federation partner");
            return Err(ConnectFailure::Final(StanzaCondition::Forbidden, text));
        };
        let handshake_max = admitted.limits.negotiation_max;
        let mut failure = None;
        for target in self.targets(domain, partner).await? {
            let way = Way { domain, target: &target, handshake_max };
            match self.connect(way, partner).await {
                Ok(reached) => return Ok(reached),
                Err(next) => {
                    tracing::info!(
                        partner = %domain, host = target.host, port = target.port,
                        direct_tls = target.direct_tls, failure = ?next, "a server was not reached"
                    );
                    failure = Some(most_hopeful(failure, next));
                }
            }
        }
        Err(failure.unwrap_or_else(|| {
            let text = format!("{domain} has no XMPP service for other servers");
            ConnectFailure::Final(StanzaCondition::RemoteServerNotFound, text)
        }))
    }

    async fn targets(
        &self,
        domain: &Domain,
        partner: &Partner,
    ) -> Result<Vec<Target>, ConnectFailure> {
        if let Some(host) = &partner.proxy_fqdn {
            let target = Target { host: host.clone(), port: 5269, direct_tls: false };
            return Ok(vec![target]);
        }
        let (starttls, direct_tls) = tokio::join!(
            self.services("_xmpp-server._tcp", domain),
            self.services("_xmpps-server._tcp", domain),
        );
        let (starttls, direct_tls) = services(starttls, direct_tls)?;
        let answers = SrvAnswers { starttls: &starttls, direct_tls: &direct_tls };
        Ok(targets(domain, answers, draw))
    }

    async fn services(
        &self,
        service: &str,
        domain: &Domain,
    ) -> Result<Vec<SrvRecord>, ConnectFailure> {
        let name = format!("{service}.{}.", domain.to_ascii());
        let records = self.lookup(&name, RecordType::SRV).await?;
        Ok(records.iter().filter_map(srv_record).collect())
    }

    async fn connect(&self, way: Way<'_>, partner: &Partner) -> Result<Reached, ConnectFailure> {
        let target = way.target;
        let addresses = self.addresses(&target.host).await?;
        if addresses.is_empty() {
            let text = format!("{} has no address", target.host);
            return Err(ConnectFailure::Final(StanzaCondition::RemoteServerNotFound, text));
        }
        let mut failure = None;
        for address in addresses {
            // What a partner writes into DNS must not lead us to our own networks.
            if is_special(address) && !partner.allow_private_addresses {
                let text = format!("{} has an address in a special-purpose range", target.host);
                let next = ConnectFailure::Final(StanzaCondition::RemoteServerNotFound, text);
                failure = Some(most_hopeful(failure, next));
                continue;
            }
            let connecting = TcpStream::connect((address, target.port));
            let connected = tokio::time::timeout(TCP_CONNECT_MAX, connecting).await;
            let text = match connected.map(|result| result.and_then(Connection::new)) {
                Ok(Ok(connection)) => match self.begin(connection, way).await {
                    Ok(reached) => return Ok(reached),
                    Err(error) => format!("the TLS handshake failed: {error}"),
                },
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            let text = format!("{} port {}: {text}", target.host, target.port);
            failure = Some(most_hopeful(failure, ConnectFailure::Transient(text)));
        }
        Err(failure.unwrap_or_else(|| ConnectFailure::Transient("no address was tried".into())))
    }

    /// Does what comes before the stream: nothing, or TLS.
    async fn begin(&self, mut connection: Connection, way: Way<'_>) -> io::Result<Reached> {
        if !way.target.direct_tls {
            return Ok(Reached::InClear(connection));
        }
        let name = server_name(way.domain)?;
        let handshake = connection.connect_tls(&self.direct_tls, name);
        tokio::time::timeout(way.handshake_max, handshake).await??;
        Ok(Reached::DirectTls(connection))
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ConnectFailure> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let name = format!("{}.", host.trim_end_matches('.'));
        let (v6, v4) =
            tokio::join!(self.lookup(&name, RecordType::AAAA), self.lookup(&name, RecordType::A));
        addresses([v6, v4])
    }

    /// Looks a name up; no such record is an empty answer.
    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, ConnectFailure> {
        let lookup = tokio::time::timeout(self.lookup_max, self.resolver.lookup(name, kind));
        match lookup.await {
            Ok(Ok(found)) => {
                let records = found.answers().iter().map(|record| record.data.clone());
                Ok(records.filter(|data| data.record_type() == kind).collect())
            }
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(_)))) => Ok(Vec::new()),
            Ok(Err(error)) => Err(ConnectFailure::Transient(format!("looking up {name}: {error}"))),
            Err(_) => Err(ConnectFailure::Transient(format!("looking up {name} took too long"))),
        }
    }
}

/// One of the ways to a domain.
#[derive(Clone, Copy)]
struct Way<'a> {
    domain: &'a Domain,
    target: &'a Target,
    /// How long its TLS handshake may take.
    handshake_max: Duration,
}

/// Returns the name that TLS asks a domain's server for: the domain, never an SRV target
/// (RFC 6120 s.13.7.2.1).
pub fn server_name(domain: &Domain) -> io::Result<ServerName<'static>> {
    ServerName::try_from(domain.to_ascii().into_owned()).map_err(io::Error::other)
}

/// Returns the records of both lookups; half an answer does if it names a server, but not to say
/// that there is none.
fn services(
    starttls: Result<Vec<SrvRecord>, ConnectFailure>,
    direct_tls: Result<Vec<SrvRecord>, ConnectFailure>,
) -> Result<(Vec<SrvRecord>, Vec<SrvRecord>), ConnectFailure> {
    let names_one = |records: &[SrvRecord]| records.iter().any(|record| !record.is_none());
    match (starttls, direct_tls) {
        (Ok(starttls), Ok(direct_tls)) => Ok((starttls, direct_tls)),
        (Ok(starttls), Err(_)) if names_one(&starttls) => Ok((starttls, Vec::new())),
        (Err(_), Ok(direct_tls)) if names_one(&direct_tls) => Ok((Vec::new(), direct_tls)),
        (Err(failure), _) | (_, Err(failure)) => Err(failure),
    }
}

/// Returns the addresses of both lookups; half an answer does for that, but not to say that there
/// is no address.
fn addresses(
    lookups: [Result<Vec<RData>, ConnectFailure>; 2],
) -> Result<Vec<IpAddr>, ConnectFailure> {
    let (mut addresses, mut failure) = (Vec::new(), None);
    for lookup in lookups {
        match lookup {
            Ok(records) => addresses.extend(records.iter().filter_map(|record| match record {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            })),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(failure) if addresses.is_empty() => Err(failure),
        _ => {
            addresses.truncate(ADDRESSES_MAX);
            Ok(addresses)
        }
    }
}

/// Returns which of two failures counts: senders are refused only where no server can be hoped for.
fn most_hopeful(before: Option<ConnectFailure>, next: ConnectFailure) -> ConnectFailure {
    match (before, next) {
        (Some(before @ ConnectFailure::Transient(_)), ConnectFailure::Final(..)) => before,
        (_, next) => next,
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

/// Draws a number from zero to `most`, both included.
fn draw(most: u32) -> u32 {
    let random: [u8; 8] = crate::random();
    let span = u64::from(most) + 1;
    u32::try_from(u64::from_be_bytes(random) % span).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use hickory_resolver::proto::rr::RData;
    use xmpp_proto::stanza::error::StanzaCondition;

    use xmpp_proto::locate::SrvRecord;

    use super::{addresses, most_hopeful, services};
    use crate::xmpp::partner::ConnectFailure;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

    fn transient() -> ConnectFailure {
        ConnectFailure::Transient("the name server failed".to_owned())
    }

    fn no_server() -> ConnectFailure {
        let condition = StanzaCondition::RemoteServerNotFound;
        ConnectFailure::Final(condition, "there is none".to_owned())
    }

    #[test]
    fn half_a_dns_answer_gives_addresses_but_never_says_that_there_is_none() {
        let record = |address: IpAddr| Ok(vec![RData::from(address)]);
        let nothing = || Ok(Vec::new());
        assert_eq!(addresses([record(V6), record(V4)]), Ok(vec![V6, V4]));
        assert_eq!(addresses([Err(transient()), record(V4)]), Ok(vec![V4]));
        assert_eq!(addresses([record(V6), Err(transient())]), Ok(vec![V6]));
        assert_eq!(addresses([nothing(), nothing()]), Ok(vec![]));
        assert_eq!(addresses([nothing(), Err(transient())]), Err(transient()));
        assert_eq!(addresses([Err(transient()), nothing()]), Err(transient()));
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
        assert_eq!(services(ok(&some), Err(transient())), Ok((some.clone(), nothing.clone())));
        assert_eq!(services(Err(transient()), ok(&some)), Ok((nothing.clone(), some.clone())));
        for records in [&none, &nothing] {
            assert_eq!(services(ok(records), Err(transient())), Err(transient()));
            assert_eq!(services(Err(transient()), ok(records)), Err(transient()));
            assert_eq!(services(ok(records), ok(&none)), Ok((records.clone(), none.clone())));
        }
        assert_eq!(services(Err(transient()), Err(transient())), Err(transient()));
    }

    #[test]
    fn a_failure_that_may_pass_is_never_replaced_by_a_final_one() {
        assert_eq!(most_hopeful(None, no_server()), no_server());
        assert_eq!(most_hopeful(Some(no_server()), transient()), transient());
        assert_eq!(most_hopeful(Some(transient()), no_server()), transient());
    }
}
