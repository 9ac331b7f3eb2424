//! Reads the policy document and checks it whole: every error at once, with its place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use host::config::{Diagnostic, Read, Recorded, Table};
use xmpp_proto::jid::{Domain, Jid};

use super::access::{Access, AccessPolicies};
use super::next_hop_document::{self, NextHops};
use super::partner_document::partner;
use super::traffic_document::exception;
use super::{GatewaySettings, Policy, ServedBy};

/// The most partners, local domains or policies of a document.
const ENTRIES_MAX: usize = 10_000;

/// The most bytes of partners' authorities: they go to the edges in one frame, of 8 MiB at most.
const AUTHORITIES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Reads a policy document; warnings come with the policy, errors instead of it.
pub fn parse(text: &str) -> (Option<Policy>, Vec<Diagnostic>) {
    host::config::parse(text, read)
}

/// Reads the document.
///
/// # Errors
/// Fails when anything in it is wrong; the table holds what.
pub fn read(root: &mut Table<'_, '_>) -> Read<Policy> {
    let mut owners = BTreeMap::new();
    let next_hops = next_hop_document::read(root);
    let known = next_hops.as_ref().ok();
    let local_domains =
        root.tables("local_domain", |table| local_domain(table, known, &mut owners));
    let gateway = root.table("xmpp_gateway", gateway_settings);
    let connections_max = gateway.as_ref().map_or(20, |settings| settings.partner_connections_max);
    let partners =
        root.tables("xmpp_partner", |table| partner(table, connections_max, &mut owners));
    let exceptions = root.tables("xmpp_exception", exception);
    let access = access_policies(root);
    let (next_hops, local_domains, partners) = (next_hops?, local_domains?, partners?);
    let exceptions = exceptions?;
    if local_domains.is_empty() {
        return Err(root.error("local_domain", "at least one [[local_domain]] is needed"));
    }
    for (key, count) in [
        ("local_domain", local_domains.len()),
        ("xmpp_partner", partners.len()),
        ("xmpp_exception", exceptions.len()),
    ] {
        if count > ENTRIES_MAX {
            return Err(root.error(key, format!("more than {ENTRIES_MAX} entries")));
        }
    }
    let authorities = partners.iter().flat_map(|partner| &partner.trust);
    if authorities.map(|it| it.der.len()).sum::<usize>() > AUTHORITIES_BYTES_MAX {
        let message =
            format!("the `trust` of all entries has more than {AUTHORITIES_BYTES_MAX} bytes");
        return Err(root.error("xmpp_partner", message));
    }
    let local_domains: BTreeMap<_, _> = local_domains.into_iter().collect();
    for name in next_hops.keys() {
        if !local_domains.values().any(|it| *it == ServedBy::NextHop(Arc::clone(name))) {
            root.warn("next_hop", format!("no [[local_domain]] is served by next hop \"{name}\""));
        }
    }
    let (access, gateway) = (access?, gateway?);
    Ok(Policy { local_domains, next_hops, partners, exceptions, access, gateway })
}

fn local_domain(
    table: &mut Table<'_, '_>,
    next_hops: Option<&NextHops>,
    owners: &mut BTreeMap<Domain, &'static str>,
) -> Read<(Domain, ServedBy)> {
    let domain: Read<Domain> = table.required("domain");
    let protocol = table.word("protocol", &[("sip", ())], ());
    let served_by = served_by(table, next_hops);
    let domain = own(table, "domain", domain?, "a local domain", owners)?;
    protocol?;
    Ok((domain, served_by?))
}

/// Reads who serves a domain; without `next_hops`, which could not be read, every name will do.
fn served_by(table: &mut Table<'_, '_>, next_hops: Option<&NextHops>) -> Read<ServedBy> {
    let name: String = table.or("served_by", "home".to_owned())?;
    if name == "home" {
        return Ok(ServedBy::Home);
    }
    if next_hops.is_some_and(|known| !known.contains_key(name.as_str())) {
        let message =
            format!("`served_by` is \"{name}\"; it must be \"home\" or the name of a [[next_hop]]");
        return Err(table.error("served_by", message));
    }
    Ok(ServedBy::NextHop(name.into()))
}

/// Records that a domain is taken; a domain has exactly one owner and one protocol.
pub(super) fn own(
    table: &Table<'_, '_>,
    key: &str,
    domain: Domain,
    owner: &'static str,
    owners: &mut BTreeMap<Domain, &'static str>,
) -> Read<Domain> {
    match owners.insert(domain.clone(), owner) {
        None => Ok(domain),
        Some(earlier) => Err(table.error(key, format!("{domain} is already {earlier}"))),
    }
}

fn gateway_settings(table: &mut Table<'_, '_>) -> Read<GatewaySettings> {
    let connections_max = table.number("connection_limit", 1..=100_000, 1_000);
    let partner_connections_max = table.number("partner_connection_limit", 1..=10_000, 20);
    let keep_alive_s = table.number("keep_alive_interval_s", 30..=86_400, 300);
    let establishment_s_max = table.number("stream_establishment_timeout_s", 5..=600, 60);
    let inactivity_s_max = table.number("stream_inactivity_timeout_s", 60..=86_400, 600);
    let subscription_refresh_s =
        table.number("subscription_refresh_interval_s", 300..=604_800, 28_800);
    let shows_software_version = table.or("show_software_version", true);
    let dialback_rotation_h = table.number("dialback_secret_rotation_h", 1..=8_760, 168);
    Ok(GatewaySettings {
        connections_max: narrow(connections_max?),
        partner_connections_max: narrow(partner_connections_max?),
        keep_alive_s: keep_alive_s?,
        establishment_s_max: establishment_s_max?,
        inactivity_s_max: inactivity_s_max?,
        subscription_refresh_s: subscription_refresh_s?,
        shows_software_version: shows_software_version?,
        dialback_rotation: Duration::from_secs(dialback_rotation_h? * 3_600),
    })
}

// For numbers that a range has bounded already.
pub(super) fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn access_policies(root: &mut Table<'_, '_>) -> Read<AccessPolicies> {
    let mut policies = AccessPolicies::default();
    let sites = root.tables("site", |table| site(table, &mut policies));
    let entries =
        root.tables("external_access_policy", |table| access_policy(table, &mut policies));
    sites?;
    entries?;
    if let Some(name) = policies.site.keys().find(|name| !policies.sites().contains(name.as_str()))
    {
        return Err(root.error(
            "site",
            format!("there is a policy for site \"{name}\" but no [[site]] of that name"),
        ));
    }
    if policies.global.is_none() {
        root.warn(
            "external_access_policy",
            "there is no external_access_policy of scope \"global\": users without a nearer one \
             may not communicate with partners",
        );
    }
    Ok(policies)
}

fn site(table: &mut Table<'_, '_>, policies: &mut AccessPolicies) -> Read<()> {
    let name: Read<String> = table.required("name");
    let users: Read<Vec<Jid>> = table.or("users", Vec::new());
    let domains: Read<Vec<Domain>> = table.or("domains", Vec::new());
    let (name, users, domains) = (name?, users?, domains?);
    for user in users {
        if policies.members.insert(user.clone(), name.clone()).is_some() {
            return Err(table.error("users", format!("{user} is a member of two sites")));
        }
    }
    for domain in domains {
        if policies.member_domains.insert(domain.clone(), name.clone()).is_some() {
            return Err(table.error("domains", format!("{domain} is a member of two sites")));
        }
    }
    Ok(())
}

fn access_policy(table: &mut Table<'_, '_>, policies: &mut AccessPolicies) -> Read<()> {
    #[derive(Clone, Copy, PartialEq)]
    enum Scope {
        User,
        Site,
        Global,
    }
    let words = [("user", Scope::User), ("site", Scope::Site), ("global", Scope::Global)];
    let scope = if table.has("scope") {
        table.word("scope", &words, Scope::Global)
    } else {
        table.required::<String>("scope").map(|_| Scope::Global)
    };
    let federation = table.or("federation_access", false);
    let xmpp = table.or("xmpp_access", false);
    let name: Read<Option<String>> = table.optional("name");
    let users: Read<Vec<Jid>> = table.or("users", Vec::new());
    let (scope, name, users) = (scope?, name?, users?);
    let access = Access { federation: federation?, xmpp: xmpp? };
    if access.xmpp && !access.federation {
        table.warn("xmpp_access", "has no effect without federation_access = true");
    }
    if scope != Scope::User && !users.is_empty() {
        return Err(table.error("users", "only a policy of scope \"user\" is granted to users"));
    }
    let twice = match (scope, name) {
        (Scope::Global, None) => policies.global.replace(access).is_some(),
        (Scope::Global, Some(_)) => {
            return Err(table.error("name", "the global policy has no name"));
        }
        (_, None) => return Err(table.error("scope", "`name` is missing")),
        (Scope::Site, Some(name)) => policies.site.insert(name, access).is_some(),
        (Scope::User, Some(name)) => {
            grant(table, &name, users, policies)?;
            policies.user.insert(name, access).is_some()
        }
    };
    if twice {
        Err(table.error("scope", "there is already a policy of this scope and name"))
    } else {
        Ok(())
    }
}

fn grant(
    table: &Table<'_, '_>,
    name: &str,
    users: Vec<Jid>,
    policies: &mut AccessPolicies,
) -> Result<(), Recorded> {
    for user in users {
        if policies.granted.insert(user.clone(), name.into()).is_some() {
            return Err(table.error("users", format!("{user} was granted two policies")));
        }
    }
    Ok(())
}
