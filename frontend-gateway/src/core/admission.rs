//! What edges are told of the policy: only what they need in order to refuse early.

use bytes::Bytes;
use link::wire::{self, Admission, GatewayLimits, Negotiation};
use xmpp_proto::jid::Domain;
use xmpp_proto::stream::{SaslTerms, TlsTerms};

use crate::policy::partner::Route;
use crate::policy::{Policy, XmppPartner};

/// The largest stanza of a peer that has proven its domain, in bytes.
const STANZA_BYTES_MAX: u64 = 512 * 1024;

/// Makes the admission for a version of the policy.
pub(super) fn of_policy(policy: &Policy, version: u64, dialback_secrets: Vec<Bytes>) -> Admission {
    let gateway = &policy.gateway;
    Admission {
        version,
        local_domains: policy.local_domains.keys().map(ToString::to_string).collect(),
        partners: policy.partners.iter().map(partner).collect(),
        dialback_secrets,
        limits: Some(GatewayLimits {
            connections_max: gateway.connections_max,
            stanza_bytes_max: STANZA_BYTES_MAX,
            keep_alive_ms: gateway.keep_alive_s * 1000,
            establishment_ms_max: gateway.establishment_s_max * 1000,
            inactivity_ms_max: gateway.inactivity_s_max * 1000,
        }),
    }
}

fn partner(partner: &XmppPartner) -> wire::Partner {
    let tls = match partner.terms.tls() {
        TlsTerms::Required => Negotiation::Required,
        TlsTerms::Optional => Negotiation::Optional,
        TlsTerms::NotSupported => Negotiation::NotSupported,
    };
    let sasl = match partner.terms.sasl() {
        SaslTerms::Required => Negotiation::Required,
        SaslTerms::Optional => Negotiation::Optional,
        SaslTerms::NotSupported => Negotiation::NotSupported,
    };
    wire::Partner {
        domains: partner.domains().map(Domain::to_string).collect(),
        sasl: sasl.into(),
        dialback: partner.terms.dialback(),
        keep_alive: partner.keep_alive,
        connection_limit: partner.connections_max,
        allow_private_addresses: partner.allow_private_addresses,
        queue_items_max: partner.queue.items_max,
        queue_bytes_max: partner.queue.bytes_max,
        queue_age_ms_max: partner.queue.age_s_max * 1000,
        routes: partner.routes.iter().map(route).collect(),
        allow_any_port: partner.allow_any_port,
        tls: Some(tls.into()),
        bidi: partner.bidi,
        trust_anchors: partner.trust.iter().map(|authority| authority.der.clone()).collect(),
        stanzas_per_s: partner.rate.stanzas_per_s,
        bytes_per_s: partner.rate.bytes_per_s,
        pinned_keys: partner.pinned_keys.iter().map(|pin| pin.0.to_vec().into()).collect(),
    }
}

fn route(route: &Route) -> wire::Route {
    wire::Route {
        host: route.host.clone(),
        port: route.port.into(),
        direct_tls: route.direct_tls,
        priority: route.priority.into(),
        weight: route.weight.into(),
    }
}
