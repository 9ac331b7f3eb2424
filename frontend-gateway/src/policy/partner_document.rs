//! Reads an `[[xmpp_partner]]` of the policy document, and checks its row of the negotiation matrix.

use std::collections::BTreeMap;

use host::config::{Read, Table};
use xmpp_proto::jid::Domain;
use xmpp_proto::stream::{Method, SaslTerms, StreamTerms, TermsWarning, TlsTerms};

use super::document::{narrow, own};
use super::partner::{PartnerRate, PartnerType, QueueLimits, XmppPartner};
use super::partner_trust;
use super::profile::{Profile, Setting};
use super::route_document::routes;
use super::traffic_document::{kinds, ways};

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
    let profile = table.word("profile", &Profile::WORDS, Profile::Generic);
    // What rests on a profile that cannot be read is checked as if there were none.
    let known_profile = profile.as_ref().copied().unwrap_or(Profile::Generic);
    let terms = terms(table, known_profile);
    let keep_alive = keep_alive(table, known_profile);
    let ways = ways(table);
    let kinds = kinds(table);
    let bidi = table.or("bidi", true);
    let connections_max = table.number("connection_limit", 1..=10_000, connections_max.into());
    let allow_private_addresses = table.or("allow_private_addresses", false);
    let allow_any_port = table.or("allow_any_port", false);
    let routes = routes(table, *allow_any_port.as_ref().unwrap_or(&true));
    let queue = table.table("queue", queue_limits);
    let rate = table.table("rate", partner_rate);
    let trust = partner_trust::authorities(table);
    let pinned_keys = partner_trust::pinned_keys(table);

    let domain = own(table, "domain", domain?, "the domain of another entry", owners)?;
    let owned =
        |domain| own(table, "additional_domains", domain, "the domain of another entry", owners);
    let additional_domains = additional?.into_iter().map(owned).collect::<Read<_>>()?;
    let (terms, pinned_keys) = (terms?, pinned_keys?);
    let needs_no_key = [Method::DialbackOverTls, Method::DialbackInClear];
    if !pinned_keys.is_empty() && needs_no_key.into_iter().any(|it| terms.allows(it)) {
        let message = "`pinned_keys` would count for nothing: a peer with another key may prove the \
            domain by dialback; set dialback_negotiation = false";
        return Err(table.error("pinned_keys", message));
    }
    Ok(XmppPartner {
        domain,
        additional_domains,
        description: description?,
        partner_type: partner_type?,
        profile: profile?,
        terms,
        ways: ways?,
        kinds: kinds?,
        keep_alive: keep_alive?,
        bidi: bidi?,
        connections_max: narrow(connections_max?),
        routes: routes?,
        allow_private_addresses: allow_private_addresses?,
        allow_any_port: allow_any_port?,
        queue: queue?,
        rate: rate?,
        trust: trust?,
        pinned_keys,
    })
}

fn keep_alive(table: &mut Table<'_, '_>, profile: Profile) -> Read<bool> {
    let setting = profile.settings().keep_alive;
    let keep_alive = table.or("keep_alive", setting.default)?;
    warn_of_misfit(table, profile, "keep_alive", setting, keep_alive);
    Ok(keep_alive)
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
fn terms(table: &mut Table<'_, '_>, profile: Profile) -> Read<StreamTerms> {
    let settings = profile.settings();
    let tls_words = [
        ("required", TlsTerms::Required),
        ("optional", TlsTerms::Optional),
        ("not-supported", TlsTerms::NotSupported),
    ];
    let sasl_words = [
        ("required", SaslTerms::Required),
        ("optional", SaslTerms::Optional),
        ("not-supported", SaslTerms::NotSupported),
    ];
    let tls = table.word("tls_negotiation", &tls_words, settings.tls.default);
    let sasl = table.word("sasl_negotiation", &sasl_words, settings.sasl.default);
    let dialback = table.or("dialback_negotiation", settings.dialback.default);
    let (tls, sasl, dialback) = (tls?, sasl?, dialback?);
    warn_of_misfit(table, profile, "tls_negotiation", settings.tls, tls);
    warn_of_misfit(table, profile, "sasl_negotiation", settings.sasl, sasl);
    warn_of_misfit(table, profile, "dialback_negotiation", settings.dialback, dialback);
    let terms = StreamTerms::new(tls, sasl, dialback)
        .map_err(|invalid| table.error("dialback_negotiation", invalid.to_string()))?;
    for warning in terms.warnings() {
        let key = match warning {
            TermsWarning::DialbackUnused => "dialback_negotiation",
            TermsWarning::SaslUnused | TermsWarning::SaslWithTlsAlone { .. } => "sasl_negotiation",
            TermsWarning::TlsNotRequired { .. } => "tls_negotiation",
        };
        table.warn(key, format!("row {}: {warning}", terms.row()));
    }
    Ok(terms)
}

/// Warns where a key of the record contradicts the profile; a default of it never does.
fn warn_of_misfit<T: PartialEq + Copy>(
    table: &Table<'_, '_>,
    profile: Profile,
    key: &str,
    setting: Setting<T>,
    value: T,
) {
    if !setting.fits.contains(&value) {
        let (word, reason) = (profile.word(), profile.settings().reason);
        table.warn(key, format!("contradicts profile \"{word}\": {reason}"));
    }
}

fn queue_limits(table: &mut Table<'_, '_>) -> Read<QueueLimits> {
    let default = QueueLimits::default();
    let items_max = table.number("items_max", 1..=1_000_000, default.items_max.into());
    let bytes_max = table.number("bytes_max", 1_048_576..=1_073_741_824, default.bytes_max);
    let age_s_max = table.number("age_s_max", 1..=3_600, default.age_s_max);
    Ok(QueueLimits { items_max: narrow(items_max?), bytes_max: bytes_max?, age_s_max: age_s_max? })
}

fn partner_rate(table: &mut Table<'_, '_>) -> Read<PartnerRate> {
    let default = PartnerRate::default();
    let stanzas_per_s = table.number("stanzas_per_s", 1..=1_000_000, default.stanzas_per_s.into());
    let bytes_per_s = table.number("bytes_per_s", 1_024..=1_073_741_824, default.bytes_per_s);
    Ok(PartnerRate { stanzas_per_s: narrow(stanzas_per_s?), bytes_per_s: bytes_per_s? })
}
