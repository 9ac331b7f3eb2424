//! Puts the front end together, runs it until it is told to stop, and ends it politely.

use std::net::SocketAddr;
use std::sync::Arc;

use host::command;
use host::exit::{Cause, Failure, Findings};
use host::observe::{self, Waiting};
use host::tls::{self, IdentityFiles, TrustAnchors};
use link::role::Role;
use link::wire::Hello;
use sip_proto::header::SentBy;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::administrator::Socket;
use crate::clock::Now;
use crate::config::Config;
use crate::core::{Core, CoreSettings, StartPolicy};
use crate::driver::{Driver, INPUTS_MAX, NO_EDGE};
use crate::flows::Opener;
use crate::gateway::GatewaySettings;
use crate::home::HomeSettings;
use crate::link::{Dialler, discover};
use crate::policy::{Policy, document};
use crate::store::record::PolicyVersion;
use crate::store::sqlite::Sqlite;
use crate::store::writer::Writer;
use crate::store::{Loaded, StoreError};

/// Everything that must be there before the front end can run: files read, ports bound.
pub struct FrontEnd {
    parts: Parts,
    sip: Vec<(TcpListener, Option<TlsAcceptor>)>,
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
    if let Ok(Some(Loaded { policy: Some(stored), .. })) = &loaded {
        source = stored_name(stored);
        if file.as_ref().is_ok_and(|(_, text)| *text != stored.text) {
            failures.extend(read_stored(stored).err());
        }
    }
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

/// What the configuration's files hold.
struct Parts {
    name: String,
    identities: Vec<tls::Identity>,
    link_tls: Arc<rustls::ClientConfig>,
    acceptor: Option<TlsAcceptor>,
}

impl Parts {
    fn load(config: &Config) -> Result<Self, Failure> {
        let internal = |error: tls::SetupError| Failure::new(Cause::Internal, error);
        let mut findings = Findings::default();
        let link_identity = findings.take(config.link_identity.load());
        let name = link_identity.as_ref().and_then(|it| findings.take(frontend_name(config, it)));
        let trust = findings.take(TrustAnchors::load(&config.link_trust));
        let home = config.home.identity.as_ref().map(IdentityFiles::load).transpose();
        let home = findings.take(home);
        let (Some(link_identity), Some(name), Some(trust), Some(home)) =
            (link_identity, name, trust, home)
        else {
            return Err(findings.into_failure(Cause::Input));
        };
        let link_tls = tls::link_client_config(&link_identity, trust).map_err(internal)?;
        let mut identities = vec![link_identity];
        let mut acceptor = None;
        if let Some(identity) = home {
            let server = tls::plain_server_config(&identity).map_err(internal)?;
            acceptor = Some(TlsAcceptor::from(Arc::new(server)));
            identities.push(identity);
        }
        Ok(Self { name, identities, link_tls: Arc::new(link_tls), acceptor })
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
        return Ok(StartPolicy { version: 1, policy, to_store: Some(text) });
    };
    Ok(StartPolicy { version: stored.version, policy: read_stored(stored)?, to_store: None })
}

fn read_stored(stored: &PolicyVersion) -> Result<Policy, Failure> {
    command::check(stored_name(stored).as_ref(), &stored.text, document::read)
}

fn stored_name(stored: &PolicyVersion) -> String {
    format!("version {} of the policy in the store", stored.version)
}

fn home_settings(config: &Config) -> HomeSettings {
    let sent_by = SentBy { host: config.home.name.clone(), port: None };
    HomeSettings { sent_by, messages: config.home.messages }
}

impl FrontEnd {
    /// Reads all files, opens the store and binds all ports, before anything starts.
    pub async fn prepare(config: &Config) -> Result<Self, Failure> {
        let parts = Parts::load(config)?;
        let failed = |error: StoreError| Failure::new(Cause::Store, error);
        let mut store = Sqlite::open(&config.store).map_err(failed)?;
        let secret = store.dialback_secret(&random::<32>()?).map_err(failed)?;
        let mut loaded = store.load(Now::read().unix_ms).map_err(failed)?;
        loaded.dialback_secret = secret;
        let policy = start_policy(config, &loaded)?;
        let mut sip = Vec::new();
        for address in &config.home.listen {
            sip.push((bind("home.listen", *address).await?, None));
        }
        for address in &config.home.listen_tls {
            sip.push((bind("home.listen_tls", *address).await?, parts.acceptor.clone()));
        }
        let internal = bind("internal.listen", config.internal_listen).await?;
        let admin = Socket::bind(&config.admin).map_err(|error| {
            let path = config.admin.display();
            let text = format!("cannot listen on {path} (admin.socket): {error}");
            Failure::new(Cause::Unavailable, text)
        })?;
        Ok(Self { parts, sip, internal, admin, store, loaded, policy })
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

        let opener = Arc::new(Opener::new(inputs.clone(), config.home.connections_max));
        for (listener, acceptor) in self.sip {
            tokio::spawn(Arc::clone(&opener).listen(listener, acceptor, stop.clone()));
        }
        let dialler = Dialler::new(self.parts.link_tls, inputs.clone());
        for edge in &config.edges {
            tokio::spawn(discover(edge.clone(), dialler.clone(), stop.clone()));
        }
        tokio::spawn(self.admin.serve(inputs, stop.clone()));
        tokio::spawn(observe::serve(self.internal, metrics, readiness, stop.clone()));
        tokio::spawn(tls::renew_on_hangup(self.parts.identities));
        tracing::info!(name = self.parts.name, "the front end is running");
        let driver = Driver::new(core, writer, opener, ready).run(received, answered, stop);
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
    let settings = CoreSettings { gateway: GatewaySettings::new(home.sent_by.clone()), home };
    let instance = random::<16>()?.to_vec().into();
    let hello = Hello { version: link::VERSION, name: name.to_owned(), instance };
    let seeds = [random()?, random()?, random()?];
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
