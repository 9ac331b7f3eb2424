//! Reads an `[[xmpp_partner]]` of the policy document, and checks its row of the negotiation matrix.

use std::collections::BTreeMap;

use host::config::{Read, Table};
use xmpp_proto::jid::Domain;

use super::document::{narrow, own};
use super::partner::{Negotiation, PartnerType, QueueLimits, XmppPartner};
use super::partner_trust;
use super::route_document::routes;

/// Reads a partner; `connections_max` counts where it does not say otherwise.
pub(super) fn partner(
    table: &mut Table<'_, '_>,
    connections_max: u32,
    owners: &mut BTreeMap<Domain, &'static str>,
) -> Read<XmppPartner> {
    let domain: Read<Domain> = table.required("domain");
    let additional: Read<Vec<Domain>> = table.or("additional_domains", Vec::new());
    let description = table.or("description", String::new());
    let partner_type = partner_type(table);
    let negotiation = negotiation(table);
    let keep_alive = table.or("keep_alive", true);
    let bidi = table.or("bidi", true);
    let connections_max = table.number("connection_limit", 1..=10_000, connections_max.into());
    let allow_private_addresses = table.or("allow_private_addresses", false);
    let allow_any_port = table.or("allow_any_port", false);
    let routes = routes(table, *allow_any_port.as_ref().unwrap_or(&true));
    let queue = table.table("queue", queue_limits);
    let trust = partner_trust::authorities(table);
    let pinned_keys = partner_trust::pinned_keys(table);

    let domain = own(table, "domain", domain?, "the domain of another entry", owners)?;
    let owned =
        |domain| own(table, "additional_domains", domain, "the domain of another entry", owners);
    let additional_domains = additional?.into_iter().map(owned).collect::<Read<_>>()?;
    let (sasl, dialback) = negotiation?;
    Ok(XmppPartner {
        domain,
        additional_domains,
        description: description?,
        partner_type: partner_type?,
        sasl,
        dialback,
        keep_alive: keep_alive?,
        bidi: bidi?,
        connections_max: narrow(connections_max?),
        routes: routes?,
        allow_private_addresses: allow_private_addresses?,
        allow_any_port: allow_any_port?,
        queue: queue?,
        trust: trust?,
        pinned_keys: pinned_keys?,
    })
}

fn partner_type(table: &mut Table<'_, '_>) -> Read<PartnerType> {
    let all = [PartnerType::Federated, PartnerType::PublicVerified, PartnerType::PublicUnverified];
    if !table.has("partner_type") {
        table.warn(
            "partner_type",
            "`partner_type` is left out and means \"public-unverified\": the partner's users can \
             do nothing until the local user has added them",
        );
    }
    let words = all.map(|partner_type| (partner_type.word(), partner_type));
    table.word("partner_type", &words, PartnerType::PublicUnverified)
}

/// Reads the three negotiation keys and checks their row of the matrix (`lync.md` 1.5).
fn negotiation(table: &mut Table<'_, '_>) -> Read<(Negotiation, bool)> {
    let words = [
        ("required", Negotiation::Required),
        ("optional", Negotiation::Optional),
        ("not-supported", Negotiation::NotSupported),
    ];
    let tls = table.word("tls_negotiation", &words, Negotiation::Required);
    let sasl = table.word("sasl_negotiation", &words, Negotiation::Optional);
    let dialback = table.or("dialback_negotiation", true);
    let (tls, sasl, dialback) = (tls?, sasl?, dialback?);
    if let Some(row) = invalid_row(tls, sasl, dialback) {
        return Err(table.error("dialback_negotiation", format!(
            "row {row} of the negotiation matrix is invalid: neither SASL EXTERNAL over TLS nor \
             dialback is possible"
        )));
    }
    if tls != Negotiation::Required {
        return Err(table.error(
            "tls_negotiation",
            "only \"required\" is served: streams without TLS are refused",
        ));
    }
    if sasl == Negotiation::Required && dialback {
        table.warn(
            "dialback_negotiation",
            "dialback will not operate: `sasl_negotiation` is \"required\"",
        );
    }
    Ok((sasl, dialback))
}

/// Returns the number of the matrix row if it is one of the five that can never work.
fn invalid_row(tls: Negotiation, sasl: Negotiation, dialback: bool) -> Option<u8> {
    use Negotiation::{NotSupported, Optional, Required};
    match (tls, sasl, dialback) {
        (_, _, true) => None,
        (NotSupported, Required, false) => Some(6),
        (NotSupported, Optional, false) => Some(12),
        (Required, NotSupported, false) => Some(14),
        (Optional, NotSupported, false) => Some(16),
        (NotSupported, NotSupported, false) => Some(18),
        (Required | Optional, Required | Optional, false) => None,
    }
}

fn queue_limits(table: &mut Table<'_, '_>) -> Read<QueueLimits> {
    let default = QueueLimits::default();
    let items_max = table.number("items_max", 1..=1_000_000, default.items_max.into());
    let bytes_max = table.number("bytes_max", 1_048_576..=1_073_741_824, default.bytes_max);
    let age_s_max = table.number("age_s_max", 1..=3_600, default.age_s_max);
    Ok(QueueLimits { items_max: narrow(items_max?), bytes_max: bytes_max?, age_s_max: age_s_max? })
}
