//! Puts the front end together, runs it until it is told to stop, and ends it politely.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use host::command;
use host::exit::{Cause, Failure, Findings};
use host::observe::{self, Waiting};
use host::tls::{self, IdentityFiles, TrustAnchors};
use link::role::Role;
use link::wire::Hello;
use sip_proto::header::SentBy;
use sip_proto::uri::Host;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

use crate::administrator::Socket;
use crate::clock::Now;
use crate::config::Config;
use crate::core::{Core, CoreSettings, StartPolicy};
use crate::driver::{Driver, INPUTS_MAX, Input, NO_EDGE, Openers};
use crate::flows::{MutualTls, Opener, OpenerSettings, Security};
use crate::gateway::GatewaySettings;
use crate::home::HomeSettings;
use crate::link::{Dialler, discover};
use crate::next_hops::{self, NextHopSettings};
use crate::policy::{Policy, document};
use crate::store::record::PolicyVersion;
use crate::store::sqlite::Sqlite;
use crate::store::writer::Writer;
use crate::store::{Loaded, StoreError};

/// Everything that must be there before the front end can run: files read, ports bound.
pub struct FrontEnd {
    parts: Parts,
    home: Vec<(TcpListener, Security)>,
    inside: Vec<(TcpListener, Security)>,
    internal: TcpListener,
    admin: Socket,
    store: Sqlite,
    loaded: Loaded,
    policy: StartPolicy,
}

/// A policy and what it is judged with, when no front end is asked.
pub struct Judged {
    /// The policy that a front end would start with.
    pub policy: Policy,
    /// Where it is from.
    pub source: String,
    /// What the store holds, with the settings of its home; none while there is no store.
    pub stored: Option<(Loaded, HomeSettings)>,
}

/// Reads the files that the configuration names, and the store, and checks that they can be used.
/// Returns where the policy is from that a front end would start with.
///
/// # Errors
/// Fails with everything that is wrong; the cause is that of the first.
pub fn check(config: &Config) -> Result<String, Failure> {
    let mut failures = Vec::new();
    failures.extend(Parts::load(config).err());
    let file = read_policy(config);
    let loaded = read_store(config);
    let mut source = config.policy.display().to_string();
    let mut in_force = file.as_ref().ok().map(|(policy, _)| policy.clone());
    if let Ok(Some(Loaded { policy: Some(stored), .. })) = &loaded {
        source = stored_name(stored);
        if file.as_ref().is_ok_and(|(_, text)| *text != stored.text) {
            let read = read_stored(stored);
            in_force = read.as_ref().ok().cloned();
            failures.extend(read.err());
        }
    }
    failures.extend(in_force.and_then(|policy| provided(config, &source, &policy).err()));
    failures.extend(file.err());
    failures.extend(loaded.err());
    match failures.first().map(|first| first.cause) {
        None => Ok(source),
        Some(cause) => {
            let lines: Vec<String> = failures.into_iter().map(|it| it.message).collect();
            Err(Failure::new(cause, lines.join("\n")))
        }
    }
}

/// Reads the policy that a front end would start with, and all that the store holds.
///
/// # Errors
/// Fails when the store, or the policy, cannot be read.
pub fn judge(config: &Config) -> Result<Judged, Failure> {
    let loaded = read_store(config)?;
    let (policy, source) = match loaded.as_ref().and_then(|loaded| loaded.policy.as_ref()) {
        Some(stored) => (read_stored(stored)?, stored_name(stored)),
        None => (read_policy(config)?.0, config.policy.display().to_string()),
    };
    let stored = loaded.map(|loaded| (loaded, home_settings(config)));
    Ok(Judged { policy, source, stored })
}

fn read_store(config: &Config) -> Result<Option<Loaded>, Failure> {
    let failed = |error: StoreError| Failure::new(Cause::Store, error);
    let reader = Sqlite::open_to_read(&config.store).map_err(failed)?;
    reader.map(|reader| reader.load(Now::read().unix_ms)).transpose().map_err(failed)
}

/// Checks that a policy asks for nothing that the configuration does not provide.
fn provided(config: &Config, source: &str, policy: &Policy) -> Result<(), Failure> {
    let lacking = config.provision().lacks(policy);
    if lacking.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = lacking.into_iter().map(|it| format!("{source}: error: {it}")).collect();
    Err(Failure::new(Cause::Configuration, lines.join("\n")))
}

/// What the configuration's files hold.
struct Parts {
    name: String,
    identities: Vec<tls::Identity>,
    link_tls: Arc<rustls::ClientConfig>,
    home_tls: Option<TlsAcceptor>,
    inside_tls: Option<MutualTls>,
}

impl Parts {
    fn load(config: &Config) -> Result<Self, Failure> {
        let internal = |error: tls::SetupError| Failure::new(Cause::Internal, error);
        let mut findings = Findings::default();
        let link_identity = findings.take(config.link_identity.load());
        let name = link_identity.as_ref().and_then(|it| findings.take(frontend_name(config, it)));
        let trust = findings.take(TrustAnchors::load(&config.link_trust));
        let load = |identity: Option<&IdentityFiles>| identity.map(IdentityFiles::load).transpose();
        let inside = config.inside.as_ref();
        let home =
            findings.take(load(config.home.as_ref().and_then(|home| home.identity.as_ref())));
        let inside_trust = inside.map(|inside| inside.trust.as_slice()).unwrap_or_default();
        let inside_trust = findings.take(TrustAnchors::load(inside_trust));
        let inside = findings.take(load(inside.and_then(|inside| inside.identity.as_ref())));
        let (Some(link_identity), Some(name), Some(trust), Some(home)) =
            (link_identity, name, trust, home)
        else {
            return Err(findings.into_failure(Cause::Input));
        };
        let (Some(inside), Some(inside_trust)) = (inside, inside_trust) else {
            return Err(findings.into_failure(Cause::Input));
        };
        let link_tls = tls::link_client_config(&link_identity, trust).map_err(internal)?;
        let mut identities = vec![link_identity];
        let (mut home_tls, mut inside_tls) = (None, None);
        if let Some(identity) = home {
            let server = tls::plain_server_config(&identity).map_err(internal)?;
            home_tls = Some(TlsAcceptor::from(Arc::new(server)));
            identities.push(identity);
        }
        if let Some(identity) = inside {
            let server = tls::federation_server_config(&identity).map_err(internal)?;
            let client = tls::federation_client_config(&identity).map_err(internal)?;
            inside_tls = Some(MutualTls {
                acceptor: TlsAcceptor::from(Arc::new(server)),
                connector: TlsConnector::from(Arc::new(client)),
                trust: Arc::new(inside_trust),
            });
            identities.push(identity);
        }
        Ok(Self { name, identities, link_tls: Arc::new(link_tls), home_tls, inside_tls })
    }
}

impl Parts {
    async fn listen_home(&self, config: &Config) -> Result<Vec<(TcpListener, Security)>, Failure> {
        let Some(home) = &config.home else { return Ok(Vec::new()) };
        let mut listeners = Vec::new();
        for address in &home.listen {
            listeners.push((bind("home.listen", *address).await?, Security::Tcp));
        }
        if let Some(acceptor) = &self.home_tls {
            for address in &home.listen_tls {
                let listener = bind("home.listen_tls", *address).await?;
                listeners.push((listener, Security::Tls(acceptor.clone())));
            }
        }
        Ok(listeners)
    }

    async fn listen_inside(
        &self,
        config: &Config,
    ) -> Result<Vec<(TcpListener, Security)>, Failure> {
        let Some(inside) = &config.inside else { return Ok(Vec::new()) };
        let mut listeners = Vec::new();
        if let Some(address) = inside.listen {
            listeners.push((bind("inside.listen", address).await?, Security::Tcp));
        }
        if let (Some(address), Some(tls)) = (inside.listen_tls, &self.inside_tls) {
            let listener = bind("inside.listen_tls", address).await?;
            listeners.push((listener, Security::Mutual(tls.clone())));
        }
        Ok(listeners)
    }
}

/// Makes what opens connections of the inside, and reports them to `inputs`.
fn openers(config: &Config, inputs: &mpsc::Sender<Input>, tls: Option<MutualTls>) -> Openers {
    let opener = |settings| Arc::new(Opener::new(inputs.clone(), settings));
    Openers {
        home: opener(OpenerSettings {
            peers: "home",
            // 0 is the flow between home and gateway.
            first_number: 1,
            count_max: config.home.as_ref().map_or(0, |home| home.connections_max),
            waiting_bytes_max: 4 * 1024 * 1024,
        }),
        next_hops: opener(OpenerSettings {
            peers: "next_hop",
            first_number: next_hops::FLOWS,
            count_max: config.inside.as_ref().map_or(0, |inside| inside.connections_max),
            // One carries what all the users of a server get.
            waiting_bytes_max: 64 * 1024 * 1024,
        }),
        tls,
    }
}

fn frontend_name(config: &Config, identity: &tls::Identity) -> Result<String, String> {
    let file = config.link_identity.certificate.display();
    identity.name_in(Role::Frontend).ok_or_else(|| {
        format!("{file} gives no front-end role: no URI name spiffe://isthmus/frontend/<name>")
    })
}

/// Reads the policy document that the configuration names; returns it with its text.
fn read_policy(config: &Config) -> Result<(Policy, String), Failure> {
    let text = host::config::open(&config.policy);
    let text = text.map_err(|error| Failure::new(Cause::Input, error))?;
    let policy = command::check(&config.policy, &text, document::read)?;
    Ok((policy, text))
}

/// Returns the policy that counts: the newest of the store, else the configured file.
fn start_policy(config: &Config, loaded: &Loaded) -> Result<StartPolicy, Failure> {
    let Some(stored) = &loaded.policy else {
        let (policy, text) = read_policy(config)?;
        provided(config, &config.policy.display().to_string(), &policy)?;
        return Ok(StartPolicy { version: 1, policy, to_store: Some(text) });
    };
    let policy = read_stored(stored)?;
    provided(config, &stored_name(stored), &policy)?;
    Ok(StartPolicy { version: stored.version, policy, to_store: None })
}

fn read_stored(stored: &PolicyVersion) -> Result<Policy, Failure> {
    command::check(stored_name(stored).as_ref(), &stored.text, document::read)
}

fn stored_name(stored: &PolicyVersion) -> String {
    format!("version {} of the policy in the store", stored.version)
}

/// Returns how we call ourselves to the inside.
fn own_host(config: &Config) -> Host {
    let home = config.home.as_ref().map(|home| &home.name);
    let name = home.or(config.inside.as_ref().map(|inside| &inside.name));
    // The configuration has one of the two.
    name.cloned().unwrap_or(Host::V4(Ipv4Addr::LOCALHOST))
}

fn home_settings(config: &Config) -> HomeSettings {
    let messages = config.home.as_ref().map(|home| home.messages).unwrap_or_default();
    HomeSettings { sent_by: SentBy { host: own_host(config), port: None }, messages }
}

fn next_hop_settings(config: &Config) -> NextHopSettings {
    let inside = config.inside.as_ref();
    NextHopSettings {
        host: inside.map_or_else(|| own_host(config), |inside| inside.name.clone()),
        tcp_port: inside.and_then(|inside| inside.listen).map(|address| address.port()),
        tls_port: inside.and_then(|inside| inside.listen_tls).map(|address| address.port()),
    }
}

impl FrontEnd {
    /// Reads all files, opens the store and binds all ports, before anything starts.
    pub async fn prepare(config: &Config) -> Result<Self, Failure> {
        let parts = Parts::load(config)?;
        let failed = |error: StoreError| Failure::new(Cause::Store, error);
        let mut store = Sqlite::open(&config.store).map_err(failed)?;
        let secret = store.installation_secret(&random::<32>()?).map_err(failed)?;
        let mut loaded = store.load(Now::read().unix_ms).map_err(failed)?;
        loaded.installation_secret = secret;
        let policy = start_policy(config, &loaded)?;
        let home = parts.listen_home(config).await?;
        let inside = parts.listen_inside(config).await?;
        let internal = bind("internal.listen", config.internal_listen).await?;
        let admin = Socket::bind(&config.admin).map_err(|error| {
            let path = config.admin.display();
            let text = format!("cannot listen on {path} (admin.socket): {error}");
            Failure::new(Cause::Unavailable, text)
        })?;
        Ok(Self { parts, home, inside, internal, admin, store, loaded, policy })
    }

    /// Runs until `stop` is cancelled.
    pub async fn run(self, config: &Config, stop: CancellationToken) -> Result<(), Failure> {
        let metrics = observe::start_metrics().map_err(|it| Failure::new(Cause::Internal, it))?;
        let waiting = Waiting::from([("link", NO_EDGE.to_owned())]);
        let (ready, readiness) = watch::channel(waiting);
        let (inputs, received) = mpsc::channel(INPUTS_MAX);
        let (answers, answered) = mpsc::unbounded_channel();
        let core = restore(config, self.loaded, self.policy, &self.parts.name)?;
        let writer =
            Writer::start(self.store, answers).map_err(|it| Failure::new(Cause::Internal, it))?;

        let openers = openers(config, &inputs, self.parts.inside_tls);
        for (listener, security) in self.home {
            tokio::spawn(Arc::clone(&openers.home).listen(listener, security, stop.clone()));
        }
        for (listener, security) in self.inside {
            tokio::spawn(Arc::clone(&openers.next_hops).listen(listener, security, stop.clone()));
        }
        let dialler = Dialler::new(self.parts.link_tls, inputs.clone());
        for edge in &config.edges {
            tokio::spawn(discover(edge.clone(), dialler.clone(), stop.clone()));
        }
        tokio::spawn(self.admin.serve(inputs, stop.clone()));
        tokio::spawn(observe::serve(self.internal, metrics, readiness, stop.clone()));
        let renewable = tls::Renewable {
            metrics_prefix: "gateway",
            identities: self.parts.identities,
            revocations: None,
        };
        tokio::spawn(renewable.renew_on_hangup());
        tracing::info!(name = self.parts.name, "the front end is running");
        let driver = Driver::new(core, writer, openers, ready).run(received, answered, stop);
        // Beside the sockets' tasks, not on this thread, which would be woken for every round.
        tokio::spawn(driver).await.map_err(|it| Failure::new(Cause::Internal, it))
    }
}

fn restore(
    config: &Config,
    loaded: Loaded,
    policy: StartPolicy,
    name: &str,
) -> Result<Core, Failure> {
    let home = home_settings(config);
    let settings = CoreSettings {
        gateway: GatewaySettings::new(home.sent_by.clone()),
        home,
        next_hops: next_hop_settings(config),
        provision: config.provision(),
    };
    let instance = random::<16>()?.to_vec().into();
    let hello = Hello { version: link::VERSION, name: name.to_owned(), instance };
    let seeds = [random()?, random()?, random()?, random()?, random()?];
    Ok(Core::restore(loaded, policy, settings, hello, seeds, Now::read()))
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Failure::new(Cause::Internal, error))?;
    Ok(bytes)
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(Cause::Unavailable, format!("cannot listen on {address} ({key}): {error}"))
    })
}
