//! What the front end's own file says: edges, addresses, certificates, store, logs.

use std::net::SocketAddr;
use std::path::PathBuf;

use host::config::{Read, Table};
use host::log;
use host::tls::IdentityFiles;
use sip_proto::uri::Host;

use crate::home::message_store::MessageLimits;
use crate::provision::Provision;

/// The configuration of a front-end gateway, checked.
#[derive(Debug)]
pub struct Config {
    /// The edges, each as `host:port`.
    pub edges: Vec<String>,
    /// The certificate of this front end's link role.
    pub link_identity: IdentityFiles,
    /// The private authority of the link.
    pub link_trust: Vec<PathBuf>,
    /// The embedded home, if it serves anybody.
    pub home: Option<HomeConfig>,
    /// What next hops reach us by, if there are any.
    pub inside: Option<InsideConfig>,
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

/// How servers of next hops reach us, and what we show them.
#[derive(Debug)]
pub struct InsideConfig {
    /// How we call ourselves in Via and Record-Route.
    pub name: Host,
    /// Where they connect with TCP.
    pub listen: Option<SocketAddr>,
    /// Where they connect with TLS.
    pub listen_tls: Option<SocketAddr>,
    /// The certificate that they see, as server and as client.
    pub identity: Option<IdentityFiles>,
    /// The authorities of their certificates.
    pub trust: Vec<PathBuf>,
    /// Connections with them.
    pub connections_max: usize,
}

impl Config {
    /// Returns what a policy may ask for.
    pub fn provision(&self) -> Provision {
        let inside = self.inside.as_ref();
        Provision {
            home: self.home.is_some(),
            tcp: inside.is_some_and(|inside| inside.listen.is_some()),
            tls: inside.is_some_and(|inside| inside.listen_tls.is_some()),
        }
    }
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
    let home = optional_table(root, "home", read_home);
    let inside = optional_table(root, "inside", read_inside);
    let store = root.table("store", |store| store.required("file"));
    let policy = root.table("policy", |policy| policy.required("file"));
    let admin = root.table("admin", |admin| admin.required("socket"));
    let internal = root.table("internal", |internal| internal.required("listen"));
    let log = root.table("log", log::Settings::read);
    let (edges, link_identity, link_trust) = link?;
    let (home, inside) = (home?, inside?);
    if home.is_none() && inside.is_none() {
        return Err(root.error("home", "[home] or [inside] is needed"));
    }
    Ok(Config {
        edges,
        link_identity,
        link_trust,
        home,
        inside,
        store: store?,
        policy: policy?,
        admin: admin?,
        internal_listen: internal?,
        log: log?,
    })
}

/// Reads a table that may be left out.
fn optional_table<T>(
    root: &mut Table<'_, '_>,
    key: &str,
    read: impl FnOnce(&mut Table<'_, '_>) -> Read<T>,
) -> Read<Option<T>> {
    if root.has(key) { root.table(key, read).map(Some) } else { Ok(None) }
}

/// Reads the name by which one of our sides calls itself.
fn read_name(table: &mut Table<'_, '_>) -> Read<Host> {
    let name: String = table.required("name")?;
    Host::parse(&name)
        .map_err(|_| table.error("name", format!("{name:?} is neither a host name nor an address")))
}

/// Reads `certificate` and `key`, which may be left out together.
fn read_identity(table: &mut Table<'_, '_>) -> Read<Option<IdentityFiles>> {
    let has_identity = table.has("certificate") || table.has("key");
    if has_identity { IdentityFiles::read(table).map(Some) } else { Ok(None) }
}

fn read_inside(inside: &mut Table<'_, '_>) -> Read<InsideConfig> {
    let name = read_name(inside);
    let listen: Read<Option<SocketAddr>> = inside.optional("listen");
    let listen_tls: Read<Option<SocketAddr>> = inside.optional("listen_tls");
    let identity = read_identity(inside);
    let trust: Read<Vec<PathBuf>> = inside.or("trust", Vec::new());
    let connections_max = inside.number("connections_max", 1..=100_000, 1_000);
    let (listen, listen_tls, identity, trust) = (listen?, listen_tls?, identity?, trust?);
    if listen.is_none() && listen_tls.is_none() {
        return Err(inside.error("listen", "`listen` or `listen_tls` needs an address"));
    }
    if listen_tls.is_some() && (identity.is_none() || trust.is_empty()) {
        let message = "`listen_tls` needs `certificate`, `key` and `trust`";
        return Err(inside.error("certificate", message));
    }
    Ok(InsideConfig {
        name: name?,
        listen,
        listen_tls,
        identity,
        trust,
        connections_max: usize::try_from(connections_max?).unwrap_or(usize::MAX),
    })
}

fn read_home(home: &mut Table<'_, '_>) -> Read<HomeConfig> {
    let listen: Read<Vec<SocketAddr>> = home.or("listen", Vec::new());
    let listen_tls: Read<Vec<SocketAddr>> = home.or("listen_tls", Vec::new());
    let identity = read_identity(home);
    let name = read_name(home);
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
    Ok(HomeConfig {
        listen,
        listen_tls,
        identity,
        name: name?,
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
    use crate::testing;

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

    #[test]
    fn the_annotated_table_for_next_hops_is_right() {
        let with_inside = testing::with_option(ANNOTATED, "[inside]");
        let (config, found) = host::config::parse(&with_inside, read);
        assert_eq!(found, []);
        let config = config.unwrap();
        assert_eq!(config.provision(), Provision { home: true, tcp: true, tls: true });
        assert_eq!(config.inside.unwrap().connections_max, 1_000);
        let (_, home) = with_inside.split_once("[home]").unwrap();
        let (home, _) = home.split_once("[inside]").unwrap();
        let homeless = with_inside.replace(&format!("[home]{home}"), "");
        let (config, found) = host::config::parse(&homeless, read);
        assert_eq!((config.unwrap().provision().home, found), (false, vec![]));
        let (config, found) = host::config::parse(&ANNOTATED.replace("[home]", "[x]"), read);
        assert!(config.is_none());
        let needed = "[home] or [inside] is needed";
        assert!(found.iter().any(|it| it.message.contains(needed)), "{found:?}");
    }
}
