//! Puts the edge together, runs it until it is told to stop, and ends it politely.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use host::exit::{Cause, Failure, Findings};
use host::observe::{self, Waiting};
use host::tls::{self, ByDomain};
use link::wire::{Bounced, Hello};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use xmpp_proto::stream::StreamCondition;

use crate::admission::Admitted;
use crate::config::Config;
use crate::connect::Connector;
use crate::hub::{Dispatch, Hub, Settling};
use crate::hub_driver::{self, HubInput, HubSender, Outlets};
use crate::xmpp::addresses::AddressLimits;
use crate::xmpp::inbound::Surroundings;
use crate::xmpp::listener::{Registry, listen};
use crate::xmpp::pool::Pool;

/// How long the streams of one direction have to end when the process stops.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How long the links have to end, once they carry nothing any more.
const LINK_END_MAX: Duration = Duration::from_secs(2);

/// What `readyz` says while no front end is attached.
const NO_FRONTEND: &str = "no front end is attached";

/// Everything that must be there before the edge can run: files read, ports bound.
pub struct Edge {
    name: String,
    xmpp: Vec<TcpListener>,
    xmpp_direct_tls: Vec<TcpListener>,
    link: TcpListener,
    internal: TcpListener,
    renewable: tls::Renewable,
    link_tls: rustls::ServerConfig,
    acceptors: ByDomain<TlsAcceptor>,
    direct_acceptors: ByDomain<TlsAcceptor>,
    connector: Connector,
    trust: Arc<tls::TrustAnchors>,
    address_limits: AddressLimits,
}

/// Reads the files that the configuration names and checks that they can be used.
pub fn check(config: &Config) -> Result<(), Failure> {
    Parts::load(config).map(drop)
}

/// What the configuration's files hold.
struct Parts {
    name: String,
    renewable: tls::Renewable,
    link_tls: rustls::ServerConfig,
    acceptors: ByDomain<TlsAcceptor>,
    direct_acceptors: ByDomain<TlsAcceptor>,
    connector: Connector,
    trust: Arc<tls::TrustAnchors>,
}

impl Parts {
    fn load(config: &Config) -> Result<Self, Failure> {
        let internal = |error: tls::SetupError| Failure::new(Cause::Internal, error);
        let mut findings = Findings::default();
        let xmpp = load_identities(config, &mut findings);
        let link_identity = findings.take(config.link_identity.load());
        let name = link_identity.as_ref().and_then(|it| findings.take(edge_name(config, it)));
        let trust = findings.take(config.load_xmpp_trust());
        let revocations = findings.take(config.load_xmpp_revocations());
        let link_trust = findings.take(config.load_link_trust());
        let (Some((xmpp, identities)), Some(link_identity), Some(name), Some(link_trust)) =
            (xmpp, link_identity, name, link_trust)
        else {
            return Err(findings.into_failure(Cause::Input));
        };
        let (Some(trust), Some(revocations)) = (trust, revocations) else {
            return Err(findings.into_failure(Cause::Input));
        };
        let trust = Arc::new(match &revocations {
            Some(lists) => trust.with_revocations(Arc::clone(lists)),
            None => trust,
        });
        let link_tls = tls::link_server_config(&link_identity, link_trust).map_err(internal)?;
        let server = tls::federation_server_configs(&xmpp).map_err(internal)?;
        let client = xmpp.try_map(tls::federation_client_config).map_err(internal)?;
        let connector =
            Connector::new(&config.name_servers, config.lookup_max, &client, Arc::clone(&trust))
                .map_err(|error| Failure::new(Cause::Input, error))?
                .without_ports(vec![config.link_listen.port(), config.internal_listen.port()]);
        let acceptor = |config| TlsAcceptor::from(Arc::new(config));
        let direct = |it: &rustls::ServerConfig| tls::direct_tls_server_config(it.clone());
        let identities = [identities, vec![link_identity]].concat();
        Ok(Self {
            name,
            renewable: tls::Renewable { metrics_prefix: "edge", identities, revocations },
            link_tls,
            acceptors: server.map(|config| acceptor(config.clone())),
            direct_acceptors: server.map(|config| acceptor(direct(config))),
            connector,
            trust,
        })
    }
}

/// Loads the identities that partners see: by domain, and each once.
fn load_identities(
    config: &Config,
    findings: &mut Findings,
) -> Option<(ByDomain<tls::Identity>, Vec<tls::Identity>)> {
    let default = findings.take(config.xmpp_identity.load());
    let (mut others, mut is_whole) = (BTreeMap::new(), true);
    let mut all: Vec<_> = default.clone().into_iter().collect();
    for identity in &config.xmpp_identities {
        let Some(loaded) = findings.take(identity.files.load()) else {
            is_whole = false;
            continue;
        };
        all.push(loaded.clone());
        others.extend(identity.names.domains.iter().map(|it| (it.clone(), loaded.clone())));
    }
    default.filter(|_| is_whole).map(|default| (ByDomain { default, others }, all))
}

fn edge_name(config: &Config, identity: &tls::Identity) -> Result<String, String> {
    let file = config.link_identity.certificate.display();
    identity.name_in(link::role::Role::Edge).ok_or_else(|| {
        format!("{file} gives no edge role: no URI name spiffe://isthmus/edge/<name>")
    })
}

impl Edge {
    /// Reads all files and binds all ports, before anything starts.
    pub async fn prepare(config: &Config) -> Result<Self, Failure> {
        let parts = Parts::load(config)?;
        let (direct_key, direct_listen) =
            ("xmpp.listen_direct_tls", &config.xmpp_listen_direct_tls);
        Ok(Self {
            name: parts.name,
            xmpp: bind_all("xmpp.listen", &config.xmpp_listen).await?,
            xmpp_direct_tls: bind_all(direct_key, direct_listen).await?,
            link: bind("link.listen", config.link_listen).await?,
            internal: bind("internal.listen", config.internal_listen).await?,
            renewable: parts.renewable,
            link_tls: parts.link_tls,
            acceptors: parts.acceptors,
            direct_acceptors: parts.direct_acceptors,
            connector: parts.connector,
            trust: parts.trust,
            address_limits: config.xmpp_limits.clone(),
        })
    }

    /// Runs until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let metrics = observe::start_metrics().map_err(|it| Failure::new(Cause::Internal, it))?;
        let (admit, admitted) = watch::channel(Arc::new(Admitted::default()));
        let (attach, attached) = watch::channel(false);
        let waiting = Waiting::from([("link", NO_FRONTEND.to_owned())]);
        let (ready, readiness) = watch::channel(waiting);
        let (hub, inputs) = hub_driver::inputs();
        let registry = Registry::new(self.address_limits);
        let connector = Arc::new(self.connector);
        let (admissions, attachment) = (admitted.clone(), attached.clone());
        let pool = Pool::new(admissions, attachment, connector, hub.clone(), registry.clone());
        let outlets = EdgeOutlets {
            admit,
            attach,
            ready,
            registry: registry.clone(),
            pool: pool.clone(),
            stop: stop.clone(),
        };
        let instance = crate::random::<16>().to_vec().into();
        let hello = Hello { version: link::VERSION, name: self.name.clone(), instance };
        tokio::spawn(hub_driver::run(Hub::new(hello), inputs, outlets));

        let around = Surroundings {
            admitted,
            attached,
            acceptors: self.acceptors,
            begins_with_tls: false,
            trust: self.trust,
            hub: hub.clone(),
            pool: pool.clone(),
            registry: registry.clone(),
        };
        let mut listeners = JoinSet::new();
        for listener in self.xmpp {
            listeners.spawn(listen(listener, around.clone(), stop.clone()));
        }
        let acceptors = self.direct_acceptors;
        let direct = Surroundings { acceptors, begins_with_tls: true, ..around };
        for listener in self.xmpp_direct_tls {
            listeners.spawn(listen(listener, direct.clone(), stop.clone()));
        }
        tokio::spawn(observe::serve(self.internal, metrics, readiness, stop.clone()));
        tokio::spawn(self.renewable.renew_on_hangup());
        tracing::info!(name = self.name, "the edge is running");
        let links_end = CancellationToken::new();
        let serving = crate::link::serve(self.link, self.link_tls, hub.clone(), links_end.clone());
        let mut serving = std::pin::pin!(serving);
        let leaving = async {
            stop.cancelled().await;
            listeners.join_all().await;
            leave(&registry, &pool, &hub).await;
        };
        tokio::select! {
            served = &mut serving => served.map_err(|it| Failure::new(Cause::Internal, it))?,
            () = leaving => {
                links_end.cancel();
                if tokio::time::timeout(LINK_END_MAX, serving).await.is_err() {
                    tracing::warn!("a link was cut off");
                }
            }
        }
        Ok(())
    }
}

/// Ends all streams while the links still carry what comes of it, and then the links.
async fn leave(registry: &Registry, pool: &Pool, hub: &HubSender) {
    // Without a stream error, so that what peers have sent can still be acknowledged.
    registry.close_all(None);
    if tokio::time::timeout(DRAIN_MAX, registry.all_ended()).await.is_err() {
        tracing::warn!(streams = registry.count(), "streams of peers were cut off");
    }
    // After the others, whose last stanzas may be answered by errors.
    pool.end();
    if tokio::time::timeout(DRAIN_MAX, pool.all_ended()).await.is_err() {
        tracing::warn!("streams to partners were cut off");
    }
    // The hub is there until it is told.
    let _ = hub.send(HubInput::Stop).await;
}

async fn bind_all(key: &str, addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Failure> {
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(bind(key, *address).await?);
    }
    Ok(listeners)
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(Cause::Unavailable, format!("cannot listen on {address} ({key}): {error}"))
    })
}

struct EdgeOutlets {
    admit: watch::Sender<Arc<Admitted>>,
    attach: watch::Sender<bool>,
    ready: watch::Sender<Waiting>,
    registry: Registry,
    pool: Pool,
    stop: CancellationToken,
}

impl Outlets for EdgeOutlets {
    fn settled(&mut self, settling: Settling, outcome: Result<(), Bounced>) {
        self.registry.settled(settling, outcome);
    }

    fn dispatch(&mut self, dispatch: Dispatch) {
        if self.stop.is_cancelled() {
            // It stays unsettled, so that the front end offers it to the next link.
            return;
        }
        tracing::debug!(
            correlation_id = dispatch.correlation_id, partner = %dispatch.pair.remote,
            "a stanza for a partner"
        );
        self.pool.dispatch(&dispatch);
    }

    fn admit(&mut self, admission: Arc<link::wire::Admission>) {
        match Admitted::try_from(&*admission) {
            Ok(admitted) => {
                tracing::info!(
                    version = admission.version,
                    partners = admission.partners.len(),
                    "a policy is in force"
                );
                self.admit.send_replace(Arc::new(admitted));
            }
            Err(error) => {
                tracing::error!(%error, "a front end pushed an admission that cannot be read");
            }
        }
    }

    fn attached(&mut self, attached: bool) {
        metrics::gauge!("edge_link_attached").set(f64::from(u8::from(attached)));
        self.attach.send_replace(attached);
        let waiting = [("link", NO_FRONTEND.to_owned())];
        self.ready.send_replace(if attached { Waiting::new() } else { Waiting::from(waiting) });
    }

    fn close_streams(&mut self) {
        self.registry.close_all(Some(StreamCondition::InternalServerError));
        self.pool.close_all();
    }

    fn barrier_answered(&mut self, ping_id: String) {
        self.pool.barrier_answered(&ping_id);
    }
}
