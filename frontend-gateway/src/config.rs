//! What the front end's own file says: edges, addresses, certificates, store, logs.

use std::net::SocketAddr;
use std::path::PathBuf;

use host::config::{Read, Table};
use host::log;
use host::tls::IdentityFiles;
use sip_proto::uri::Host;

use crate::home::message_store::MessageLimits;

/// The configuration of a front-end gateway, checked.
#[derive(Debug)]
pub struct Config {
    /// The edges, each as `host:port`.
    pub edges: Vec<String>,
    /// The certificate of this front end's link role.
    pub link_identity: IdentityFiles,
    /// The private authority of the link.
    pub link_trust: Vec<PathBuf>,
    /// The embedded home.
    pub home: HomeConfig,
    /// The file of the store.
    pub store: PathBuf,
    /// The policy document that a new store begins with.
    pub policy: PathBuf,
    /// The socket on which commands are taken.
    pub admin: PathBuf,
    /// Where metrics and health are served.
    pub internal_listen: SocketAddr,
    /// Logs.
    pub log: log::Settings,
}

/// The settings of the embedded home.
#[derive(Debug)]
pub struct HomeConfig {
    /// Where users connect with TCP.
    pub listen: Vec<SocketAddr>,
    /// Where users connect with TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// The certificate that users see.
    pub identity: Option<IdentityFiles>,
    /// How the home calls itself in Via and Warning.
    pub name: Host,
    /// Connections of users.
    pub connections_max: usize,
    /// What is kept for users who are away.
    pub messages: MessageLimits,
}

/// Reads the document.
///
/// # Errors
/// Fails when anything in it is wrong; the table holds what.
pub fn read(root: &mut Table<'_, '_>) -> Read<Config> {
    let link = root.table("link", |link| {
        let edges: Read<Vec<String>> = link.required("edges");
        let identity = IdentityFiles::read(link);
        let trust: Read<Vec<PathBuf>> = link.required("trust");
        let edges = edges?;
        if edges.is_empty() {
            return Err(link.error("edges", "`edges` needs at least one `host:port`"));
        }
        if let Some(wrong) = edges.iter().find(|edge| !is_host_and_port(edge)) {
            return Err(link.error("edges", format!("{wrong:?} is not `host:port`")));
        }
        Ok((edges, identity?, trust?))
    });
    let home = root.table("home", read_home);
    let store = root.table("store", |store| store.required("file"));
    let policy = root.table("policy", |policy| policy.required("file"));
    let admin = root.table("admin", |admin| admin.required("socket"));
    let internal = root.table("internal", |internal| internal.required("listen"));
    let log = root.table("log", log::Settings::read);
    let (edges, link_identity, link_trust) = link?;
    Ok(Config {
        edges,
        link_identity,
        link_trust,
        home: home?,
        store: store?,
        policy: policy?,
        admin: admin?,
        internal_listen: internal?,
        log: log?,
    })
}

fn read_home(home: &mut Table<'_, '_>) -> Read<HomeConfig> {
    let listen: Read<Vec<SocketAddr>> = home.or("listen", Vec::new());
    let listen_tls: Read<Vec<SocketAddr>> = home.or("listen_tls", Vec::new());
    let has_identity = home.has("certificate") || home.has("key");
    let identity = if has_identity { IdentityFiles::read(home).map(Some) } else { Ok(None) };
    let name: Read<String> = home.required("name");
    let connections_max = home.number("connections_max", 1..=1_000_000, 10_000);
    let default = MessageLimits::default();
    let per_user_max =
        home.number("messages_per_user_max", 0..=1_000_000, default.per_user_max as u64);
    let bytes_max = home.number("messages_bytes_max", 0..=1 << 40, default.bytes_max);
    let days_max = home.number("messages_days_max", 1..=365, 14);

    let (listen, listen_tls, identity) = (listen?, listen_tls?, identity?);
    if listen.is_empty() && listen_tls.is_empty() {
        return Err(home.error("listen", "`listen` or `listen_tls` needs an address"));
    }
    if !listen_tls.is_empty() && identity.is_none() {
        return Err(home.error("certificate", "`listen_tls` needs `certificate` and `key`"));
    }
    let name = name?;
    let name = Host::parse(&name).map_err(|_| {
        home.error("name", format!("{name:?} is neither a host name nor an address"))
    })?;
    Ok(HomeConfig {
        listen,
        listen_tls,
        identity,
        name,
        connections_max: usize::try_from(connections_max?).unwrap_or(usize::MAX),
        messages: MessageLimits {
            per_user_max: usize::try_from(per_user_max?).unwrap_or(usize::MAX),
            bytes_max: bytes_max?,
            keep_ms: days_max? * 24 * 60 * 60 * 1000,
        },
    })
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    Host::parse(host).is_ok() && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNOTATED: &str = include_str!("../../deploy/config/frontend-gateway.toml");

    #[test]
    fn the_annotated_file_is_right_and_its_comments_name_the_defaults() {
        // `#key = value` is a default; `# Text` is prose.
        let is_default = |line: &str| line.starts_with('#') && !line.starts_with("# ");
        let uncomment = |line| if is_default(line) { &line[1..] } else { line };
        let explicit: Vec<&str> = ANNOTATED.lines().map(uncomment).collect();
        let (terse, found) = host::config::parse(ANNOTATED, read);
        assert_eq!(found, []);
        let (explicit, found) = host::config::parse(&explicit.join("\n"), read);
        assert_eq!(found, []);
        assert_eq!(format!("{:?}", terse.unwrap()), format!("{:?}", explicit.unwrap()));
    }
}
