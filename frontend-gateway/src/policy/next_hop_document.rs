//! Reads the next hops of the policy document.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use host::config::{Read, Table};
use sip_proto::uri::Host;
use xmpp_proto::jid::Domain;

use super::next_hop::{NextHop, ServerAddress, Trust};

/// The most next hops of a document, and the most servers of one of them.
const NEXT_HOPS_MAX: usize = 1_000;
const SERVERS_MAX: usize = 32;

/// Next hops by their names.
pub(super) type NextHops = BTreeMap<Arc<str>, NextHop>;

/// Reads every `[[next_hop]]`.
pub(super) fn read(root: &mut Table<'_, '_>) -> Read<NextHops> {
    let mut names = BTreeSet::new();
    let next_hops = root.tables("next_hop", |table| next_hop(table, &mut names))?;
    if next_hops.len() > NEXT_HOPS_MAX {
        return Err(root.error("next_hop", format!("more than {NEXT_HOPS_MAX} entries")));
    }
    Ok(next_hops.into_iter().map(|it| (Arc::clone(&it.name), it)).collect())
}

fn next_hop(table: &mut Table<'_, '_>, names: &mut BTreeSet<String>) -> Read<NextHop> {
    let name: Read<String> = table.required("name");
    let is_tls = table.word("transport", &[("tls", true), ("tcp", false)], true);
    let certificate_name: Read<Option<Domain>> = table.optional("certificate_name");
    let trusted: Read<Option<Vec<IpAddr>>> = table.optional("trusted_addresses");
    let is_congestion_safe = table.or("congestion_safe", false);
    let probe_interval_s = table.number("probe_interval_s", 5..=3_600, 10);
    let servers = table.tables("server", server);
    let (name, is_tls, servers) = (name?, is_tls?, servers?);
    if name.is_empty() || name == "home" || !names.insert(name.clone()) {
        let message = format!("\"{name}\" cannot be the name of another next hop");
        return Err(table.error("name", message));
    }
    let trust = trust(table, is_tls, certificate_name?, trusted?, &servers)?;
    if servers.is_empty() || servers.len() > SERVERS_MAX {
        let message = format!("1 to {SERVERS_MAX} [[next_hop.server]] are needed");
        return Err(table.error("server", message));
    }
    let places: BTreeSet<_> = servers.iter().map(|it| (&it.host, it.port)).collect();
    if places.len() < servers.len() {
        return Err(table.error("server", "two servers have the same address"));
    }
    Ok(NextHop {
        name: name.into(),
        trust,
        servers,
        probe_interval_s: probe_interval_s?,
        is_congestion_safe: is_congestion_safe?,
    })
}

/// Reads what its connections must show: a name with TLS, an address with TCP, never both.
fn trust(
    table: &Table<'_, '_>,
    is_tls: bool,
    certificate_name: Option<Domain>,
    trusted: Option<Vec<IpAddr>>,
    servers: &[ServerAddress],
) -> Read<Trust> {
    match (is_tls, certificate_name, trusted) {
        (true, Some(name), None) => Ok(Trust::Certificate(name)),
        (true, None, None) => Err(table.error(
            "certificate_name",
            "with transport \"tls\" `certificate_name` must say what the servers' certificates name",
        )),
        (true, _, Some(_)) => Err(table.error(
            "trusted_addresses",
            "with transport \"tls\" the certificate is what counts: leave `trusted_addresses` out",
        )),
        (false, Some(_), _) => Err(table.error(
            "certificate_name",
            "with transport \"tcp\" there are no certificates: leave `certificate_name` out",
        )),
        (false, None, trusted) => match servers.iter().find(|it| it.host.address().is_none()) {
            Some(named) => Err(table.error(
                "server",
                format!("with transport \"tcp\" {named} must be an address: it is what is trusted"),
            )),
            None => Ok(Trust::Addresses(trusted.unwrap_or_default())),
        },
    }
}

fn server(table: &mut Table<'_, '_>) -> Read<ServerAddress> {
    let address: Read<String> = table.required("address");
    let priority = table.number("priority", 0..=65_535, 0);
    let weight = table.number("weight", 0..=65_535, 0);
    let address = address?;
    let parts = address.rsplit_once(':').and_then(|(host, port)| {
        Some((Host::parse(host).ok()?, port.parse().ok().filter(|port| *port > 0)?))
    });
    let Some((host, port)) = parts else {
        return Err(table.error("address", format!("\"{address}\" is not `host:port`")));
    };
    // The range has bounded both.
    let narrow = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    Ok(ServerAddress { priority: narrow(priority?), weight: narrow(weight?), host, port })
}
