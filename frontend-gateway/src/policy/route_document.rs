//! Reads where a partner's servers are, if the policy says it: routes, or the one host of a proxy.

use std::net::IpAddr;

use host::config::{Read, Table};
use xmpp_proto::jid::Domain;
use xmpp_proto::locate::is_foreign_port;

use super::partner::Route;

/// Reads `[[xmpp_partner.route]]` and `proxy_fqdn`, which is its short form.
pub(super) fn routes(table: &mut Table<'_, '_>, allow_any_port: bool) -> Read<Vec<Route>> {
    let proxy = table.optional("proxy_fqdn");
    let routes = table.tables("route", |table| route(table, allow_any_port));
    let (proxy, routes): (Option<String>, Vec<Route>) = (proxy?, routes?);
    if routes.len() > Route::COUNT_MAX {
        let message = format!("a partner has at most {} routes", Route::COUNT_MAX);
        return Err(table.error("route", message));
    }
    let Some(host) = proxy else { return Ok(routes) };
    if !routes.is_empty() {
        let message = "`proxy_fqdn` is the short form of one route: leave it out, or the routes";
        return Err(table.error("proxy_fqdn", message));
    }
    let host = checked_host(table, "proxy_fqdn", host)?;
    let port = Route::DEFAULT_PORT;
    Ok(vec![Route { host, port, direct_tls: false, priority: 0, weight: 0 }])
}

fn route(table: &mut Table<'_, '_>, allow_any_port: bool) -> Read<Route> {
    let host: Read<String> = table.required("host");
    let port = table.number("port", 1..=65_535, Route::DEFAULT_PORT.into());
    let direct_tls = table.or("direct_tls", false);
    let priority = table.number("priority", 0..=65_535, 0);
    let weight = table.number("weight", 0..=65_535, 0);
    let host = checked_host(table, "host", host?)?;
    let narrow = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    let port = narrow(port?);
    if is_foreign_port(port) && !allow_any_port {
        let message = format!(
            "port {port} is another service's; `allow_any_port = true` of the partner allows it"
        );
        return Err(table.error("port", message));
    }
    let (priority, weight) = (narrow(priority?), narrow(weight?));
    Ok(Route { host, port, direct_tls: direct_tls?, priority, weight })
}

/// Checks that it is a host name or an IP address.
fn checked_host(table: &Table<'_, '_>, key: &str, host: String) -> Read<String> {
    let is_host = host.parse::<IpAddr>().is_ok()
        || (Domain::parse(&host).is_ok() && !host.contains([':', '/', '[']));
    if is_host {
        return Ok(host);
    }
    Err(table.error(key, format!("`{key}` is neither a host name nor an IP address")))
}

#[cfg(test)]
mod tests {
    use crate::policy::document::parse;
    use crate::policy::tests::errors;

    const BEGIN: &str = "[[local_domain]]\ndomain = 'a.example'\n[[xmpp_partner]]\n\
        domain = 'b.example'\npartner_type = 'federated'\n";

    fn of(lines: &str) -> Vec<(String, u16, bool, u16, u16)> {
        let (policy, diagnostics) = parse(&format!("{BEGIN}{lines}"));
        let policy = policy.unwrap_or_else(|| panic!("{diagnostics:?}"));
        let routes = policy.partners[0].routes.iter();
        routes.map(|it| (it.host.clone(), it.port, it.direct_tls, it.priority, it.weight)).collect()
    }

    #[test]
    fn routes_are_read_with_their_defaults_and_a_proxy_is_one_of_them() {
        assert_eq!(of(""), []);
        let proxy = ("xmpp.b.example".to_owned(), 5269, false, 0, 0);
        assert_eq!(of("proxy_fqdn = 'xmpp.b.example'"), std::slice::from_ref(&proxy));
        let lines = "[[xmpp_partner.route]]\nhost = 'xmpp.b.example'\n[[xmpp_partner.route]]\n\
            host = '2a00::1'\nport = 5270\ndirect_tls = true\npriority = 7\nweight = 3";
        assert_eq!(of(lines), [proxy, ("2a00::1".to_owned(), 5270, true, 7, 3)]);
    }

    #[test]
    fn what_cannot_be_connected_to_is_refused_with_its_line() {
        let route = "[[xmpp_partner.route]]\nhost = 'x.b.example'\n";
        for (lines, line, part) in [
            (format!("proxy_fqdn = 'y.b.example'\n{route}"), 6, "short form"),
            (format!("{route}port = 25\n"), 8, "another service's"),
            (format!("{route}port = 0\n"), 8, "port"),
            (route.repeat(9), 6, "at most 8"),
            ("[[xmpp_partner.route]]\nhost = 'x.b.example:5269'\n".to_owned(), 7, "neither"),
            ("proxy_fqdn = 'xmpp://b.example'\n".to_owned(), 6, "neither"),
            ("[[xmpp_partner.route]]\nport = 5269\n".to_owned(), 6, "host"),
        ] {
            let errors = errors(&format!("{BEGIN}{lines}"));
            let found =
                errors.iter().any(|it| it.starts_with(&format!("{line}:")) && it.contains(part));
            assert!(found, "{line}: {part} is not in {errors:#?}");
        }
        assert_eq!(of(&format!("allow_any_port = true\n{route}port = 25\n")).len(), 1);
    }
}
