//! Reads what may cross: `direction` and `kinds` of a partner, and each `[[xmpp_exception]]`.

use host::config::{Read, Table};
use xmpp_proto::jid::Domain;

use super::Subject;
use super::traffic::{DomainPattern, Ways, XmppException};

/// Reads the key `direction`.
pub(super) fn ways(table: &mut Table<'_, '_>) -> Read<Ways> {
    table.word("direction", &Ways::WORDS, Ways::Both)
}

/// Reads the key `kinds`; everything where it is left out.
pub(super) fn kinds(table: &mut Table<'_, '_>) -> Read<Vec<Subject>> {
    let Some(words) = table.optional::<Vec<String>>("kinds")? else {
        return Ok(Subject::WORDS.map(|(_, subject)| subject).to_vec());
    };
    if words.is_empty() {
        return Err(table.error("kinds", "`kinds` lists nothing; remove the partner instead"));
    }
    let mut kinds = Vec::new();
    for word in words {
        let known = Subject::WORDS.into_iter().find(|(known, _)| *known == word);
        let Some((_, subject)) = known else {
            let message =
                format!("`kinds` holds \"{word}\"; it must be \"message\" or \"presence\"");
            return Err(table.error("kinds", message));
        };
        if !kinds.contains(&subject) {
            kinds.push(subject);
        }
    }
    Ok(kinds)
}

/// Reads an exception.
pub(super) fn exception(table: &mut Table<'_, '_>) -> Read<XmppException> {
    let domains = table.required::<String>("domain");
    let ways = ways(table);
    // What no partner's record allows is denied anyway.
    let action = if table.has("action") {
        table.word("action", &[("deny", ())], ())
    } else {
        table.required::<String>("action").map(drop)
    };
    let domains = pattern(table, &domains?)?;
    action?;
    Ok(XmppException { domains, ways: ways? })
}

fn pattern(table: &Table<'_, '_>, text: &str) -> Read<DomainPattern> {
    let (name, subdomains) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    match Domain::parse(name) {
        Ok(domain) if !domain.is_ip_literal() => Ok(DomainPattern { domain, subdomains }),
        _ => Err(table.error(
            "domain",
            format!(
                "`domain` must be a domain name, or \"*.\" before one for it and its subdomains, \
                 not \"{text}\""
            ),
        )),
    }
}
