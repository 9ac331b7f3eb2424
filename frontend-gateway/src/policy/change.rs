//! What one policy changes of another, in lines for an administrator.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::traffic::Ways;
use super::{Policy, XmppPartner};

/// Returns a line for each difference; none when the two say the same.
pub fn changes(old: &Policy, new: &Policy) -> Vec<String> {
    let mut lines = Vec::new();
    compare("local domain", &old.local_domains, &new.local_domains, &mut lines);
    compare("next hop", &old.next_hops, &new.next_hops, &mut lines);
    compare("partner", &by_domain(old), &by_domain(new), &mut lines);
    rows_of_partners(&by_domain(old), new, &mut lines);
    compare("exception for", &by_pattern(old), &by_pattern(new), &mut lines);
    let (before, after) = (&old.access, &new.access);
    compare("user policy", &before.user, &after.user, &mut lines);
    compare("grant to", &before.granted, &after.granted, &mut lines);
    compare("site policy", &before.site, &after.site, &mut lines);
    compare("site of", &before.members, &after.members, &mut lines);
    compare("site of domain", &before.member_domains, &after.member_domains, &mut lines);
    let global = |policy: &Policy| BTreeMap::from_iter(policy.access.global.map(|it| ("", it)));
    compare("global policy", &global(old), &global(new), &mut lines);
    if old.gateway != new.gateway {
        lines.push(format!("~ xmpp_gateway: {}", differences(&old.gateway, &new.gateway)));
    }
    lines
}

fn by_domain(policy: &Policy) -> BTreeMap<&str, &XmppPartner> {
    policy.partners.iter().map(|partner| (partner.domain.as_str(), partner)).collect()
}

fn by_pattern(policy: &Policy) -> BTreeMap<String, Vec<Ways>> {
    let mut by_pattern: BTreeMap<String, Vec<Ways>> = BTreeMap::new();
    for exception in &policy.exceptions {
        by_pattern.entry(exception.domains.to_string()).or_default().push(exception.ways);
    }
    by_pattern
}

/// Says which row of the negotiation matrix each partner gets that is new, or has another row.
fn rows_of_partners(old: &BTreeMap<&str, &XmppPartner>, new: &Policy, lines: &mut Vec<String>) {
    for partner in &new.partners {
        let before = old.get(partner.domain.as_str()).map(|before| before.terms);
        if before != Some(partner.terms) {
            lines.push(format!("  partner {}: {}", partner.domain, partner.terms));
        }
    }
}

fn compare<K: Ord + ToString, V: PartialEq + Debug>(
    what: &str,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    lines: &mut Vec<String>,
) {
    let name = |key: &K| format!("{what} {}", key.to_string()).trim_end().to_owned();
    for key in old.keys().filter(|key| !new.contains_key(key)) {
        lines.push(format!("- {}", name(key)));
    }
    for (key, value) in new {
        match old.get(key) {
            None => lines.push(format!("+ {}", name(key))),
            Some(before) if before != value => {
                lines.push(format!("~ {}: {}", name(key), differences(before, value)));
            }
            Some(_) => {}
        }
    }
}

/// Returns the fields that differ, as the debug format names them.
fn differences(old: &impl Debug, new: &impl Debug) -> String {
    let (old, new) = (format!("{old:#?}"), format!("{new:#?}"));
    let removed = old.lines().filter(|line| !new.lines().any(|other| other == *line));
    let added = new.lines().filter(|line| !old.lines().any(|other| other == *line));
    let tidy = |line: &str| line.trim().trim_end_matches(',').to_owned();
    let (removed, added): (Vec<_>, Vec<_>) =
        (removed.map(tidy).collect(), added.map(tidy).collect());
    format!("{} -> {}", removed.join(", "), added.join(", "))
}

#[cfg(test)]
mod tests {
    use super::changes;
    use crate::policy::document::parse;

    const OLD: &str = "
        [[local_domain]]
        domain = 'contoso.example'
        [[xmpp_partner]]
        domain = 'fabrikam.example'
        partner_type = 'federated'
        [[xmpp_partner]]
        domain = 'litware.example'
        partner_type = 'federated'
        [[external_access_policy]]
        scope = 'global'
        federation_access = true
        xmpp_access = true
    ";

    #[test]
    fn each_difference_has_a_line_and_no_difference_has_none() {
        let new = OLD
            .replace("litware", "tailspin")
            .replacen("'federated'", "'public-verified'", 1)
            .replace("xmpp_access = true", "xmpp_access = false");
        let (old, new) = (parse(OLD).0.unwrap(), parse(&new).0.unwrap());
        assert_eq!(changes(&old, &old), [""; 0]);
        assert_eq!(
            changes(&old, &new),
            [
                "- partner litware.example",
                "~ partner fabrikam.example: partner_type: Federated -> partner_type: PublicVerified",
                "+ partner tailspin.example",
                "  partner tailspin.example: row 7 of the negotiation matrix: SASL EXTERNAL over \
                 TLS, dialback over TLS",
                "~ global policy: xmpp: true -> xmpp: false",
            ]
        );
    }
}
