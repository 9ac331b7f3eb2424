//! Finds a partner's servers by policy or DNS, and connects to one of them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host::socket::Connection;
use host::tls::{ByDomain, TrustAnchors};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use xmpp_proto::jid::Domain;
use xmpp_proto::locate::{SrvAnswers, Target, in_order, targets};
use xmpp_proto::stream::{DomainPair, TlsTerms};

use crate::admission::{Admitted, Partner};
use crate::xmpp::failure::{Failure, FailureKind, Phase};
use crate::xmpp::partner::{Located, Tried};

mod gate;
mod lookup;
mod race;
mod reach;

use gate::Gate;
use lookup::Lookups;
pub use lookup::ResolverError;
use reach::{Progress, Way};

/// What is needed to connect to partners.
pub struct Connector {
    lookups: Lookups,
    gate: Gate,
    tls: ByDomain<TlsConnector>,
    direct_tls: ByDomain<TlsConnector>,
    trust: Arc<TrustAnchors>,
}

/// A connection to a partner's server.
pub enum Reached {
    /// In the clear, where STARTTLS comes next.
    InClear(Connection),
    /// Behind a TLS handshake (XEP-0368); who the peer is has not been looked at.
    DirectTls(Connection),
}

impl Connector {
    /// Makes a connector that asks `name_servers`, or those of the operating system if none; `tls`
    /// is by the domain of ours in whose name it connects.
    pub fn new(
        name_servers: &[SocketAddr],
        lookup_max: Duration,
        tls: &ByDomain<ClientConfig>,
        trust: Arc<TrustAnchors>,
    ) -> Result<Self, ResolverError> {
        let connector = |config| TlsConnector::from(Arc::new(config));
        let direct = |it: &ClientConfig| host::tls::direct_tls_client_config(it.clone());
        Ok(Self {
            lookups: Lookups::new(name_servers, lookup_max)?,
            gate: Gate::default(),
            tls: tls.map(|config| connector(config.clone())),
            direct_tls: tls.map(|config| connector(direct(config))),
            trust,
        })
    }

    /// Refuses these ports as well, which are those of our own services.
    #[must_use]
    pub fn without_ports(mut self, own_ports: Vec<u16>) -> Self {
        self.gate = Gate { own_ports };
        self
    }

    /// Returns how TLS to partners begins in the name of a domain of ours.
    pub fn tls(&self, local: &Domain) -> &TlsConnector {
        self.tls.of(Some(local))
    }

    /// Returns the authorities that partners are checked against.
    pub const fn trust(&self) -> &Arc<TrustAnchors> {
        &self.trust
    }

    /// Finds the servers of a partner's domain.
    ///
    /// A partner with routes is reached by them alone: DNS is not asked for its servers, even if
    /// no route works.
    ///
    /// # Errors
    /// Final when it has none or is no partner; else it may work later.
    pub async fn locate(&self, domain: &Domain, admitted: &Admitted) -> Result<Located, Failure> {
        let Some(partner) = admitted.partner(domain) else {
            return Err(not_partner(domain, Phase::Lookup));
        };
        let mut located = self.find(domain, partner).await?;
        let terms = admitted.streams.partners.get(domain);
        if terms.is_some_and(|terms| terms.tls() == TlsTerms::NotSupported) {
            // Direct TLS is TLS.
            located.targets.retain(|target| !target.direct_tls);
        }
        Ok(located)
    }

    async fn find(&self, domain: &Domain, partner: &Partner) -> Result<Located, Failure> {
        let routes = &partner.routes;
        if !routes.is_empty() {
            let answers = SrvAnswers { starttls: &routes.starttls, direct_tls: &routes.direct_tls };
            return Ok(Located { targets: in_order(answers, &mut crate::draw), by_policy: true });
        }
        let (starttls, direct_tls) = tokio::join!(
            self.lookups.services("_xmpp-server._tcp", domain),
            self.lookups.services("_xmpps-server._tcp", domain),
        );
        let (starttls, direct_tls) = lookup::services(starttls, direct_tls)?;
        let answers = SrvAnswers { starttls: &starttls, direct_tls: &direct_tls };
        Ok(Located { targets: targets(domain, answers, crate::draw), by_policy: false })
    }

    /// Connects to a server of a partner's domain in the name of ours, until then, and tells what was done for that.
    ///
    /// # Errors
    /// Says why it was not reached; see [`Failure::is_final`].
    pub async fn connect(
        &self,
        pair: &DomainPair,
        target: &Target,
        admitted: &Admitted,
        until: Instant,
    ) -> (Tried, Result<Reached, Failure>) {
        let Some(partner) = admitted.partner(&pair.remote) else {
            return (Tried::default(), Err(not_partner(&pair.remote, Phase::Connect)));
        };
        if let Err(why) = self.gate.check_port(target.port, partner) {
            let failure = Failure::new(Phase::Connect, FailureKind::Forbidden, why);
            return (Tried::default(), Err(failure));
        }
        let handshake_max = admitted.limits.negotiation_max;
        let way = Way { pair, target, partner, handshake_max };
        let mut progress = Progress::new();
        let racing = self.race(way, &mut progress);
        let raced = tokio::time::timeout_at(until.into(), racing).await;
        let (tried, too_late) = progress.end();
        (tried, raced.unwrap_or(Err(too_late)))
    }
}

fn not_partner(domain: &Domain, phase: Phase) -> Failure {
    let detail = format!("{domain} is not a federation partner");
    Failure::new(phase, FailureKind::NotPartner, detail)
}

/// Returns the name that TLS asks a domain's server for: the domain, never an SRV target
/// (RFC 6120 s.13.7.2.1).
pub fn server_name(domain: &Domain) -> io::Result<ServerName<'static>> {
    ServerName::try_from(domain.to_ascii().into_owned()).map_err(io::Error::other)
}
