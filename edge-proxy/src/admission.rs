//! What the front ends let this edge admit: domains, terms, limits. Kept in memory only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host::tls::{KeyPin, NoAuthority, PartnerTrust};
use link::wire::{self, Negotiation};
use xmpp_proto::jid::{Domain, JidError};
use xmpp_proto::limits::{Limits, StreamLimits};
use xmpp_proto::locate::SrvRecord;
use xmpp_proto::stream::{
    Admission, DialbackSecret, DialbackSecrets, InvalidTerms, SaslTerms, StreamTerms, TlsTerms,
};

use crate::rate::Rate;

/// One version of the admission, as the edge uses it. The default admits nothing.
#[derive(Debug, Default)]
pub struct Admitted {
    /// What the stream machines ask.
    pub streams: Admission,
    /// What the drivers ask, by each domain of a partner.
    pub partners: BTreeMap<Domain, Arc<Partner>>,
    /// Limits of each stream.
    pub limits: StreamLimits,
    /// Streams that partners may have open to this edge, all together.
    pub connections_max: usize,
}

/// What the edge needs to know of one partner besides its terms.
#[derive(Debug)]
pub struct Partner {
    /// The primary domain, which names the partner.
    pub name: Domain,
    /// Streams that it may have open to this edge.
    pub connections_max: usize,
    /// Where its servers are; if there is none, DNS says it.
    pub routes: Routes,
    /// Whether its servers may have addresses of special-purpose ranges.
    pub allow_private_addresses: bool,
    /// Whether they may have the ports of other services.
    pub allow_any_port: bool,
    /// Whether silence is followed by a check that the peer lives.
    pub keep_alive: bool,
    /// What may wait for a stream to it.
    pub queue: QueueLimits,
    /// What it may send to this edge.
    pub rates: PartnerRates,
    /// What its certificates are trusted by besides our authorities.
    pub trust: PartnerTrust,
}

/// What a partner may send on all of its streams together; without a rate, as much as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartnerRates {
    /// Stanzas.
    pub stanzas: Option<Rate>,
    /// Bytes of its streams, as they are in TLS.
    pub bytes: Option<Rate>,
}

impl PartnerRates {
    /// How long a partner may save up.
    const BURST_S: u64 = 2;

    fn of_wire(wire: &wire::Partner) -> Self {
        let rate = |per_s: u64| {
            let burst = per_s.saturating_mul(Self::BURST_S);
            (per_s > 0).then(|| Rate::new(burst, Duration::from_secs(Self::BURST_S)))
        };
        Self { stanzas: rate(wire.stanzas_per_s.into()), bytes: rate(wire.bytes_per_s) }
    }
}

/// Servers that policy names, as DNS would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Those where STARTTLS begins TLS.
    pub starttls: Vec<SrvRecord>,
    /// Those where the connection does.
    pub direct_tls: Vec<SrvRecord>,
}

impl Routes {
    /// Returns whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.starttls.is_empty() && self.direct_tls.is_empty()
    }

    /// Reads those that make sense.
    fn of_wire(wire: &[wire::Route]) -> Self {
        let number = |number: u32| u16::try_from(number).ok();
        let mut routes = Self::default();
        for route in wire {
            let (Some(port), Some(priority), Some(weight)) =
                (number(route.port), number(route.priority), number(route.weight))
            else {
                continue;
            };
            let kind = if route.direct_tls { &mut routes.direct_tls } else { &mut routes.starttls };
            kind.push(SrvRecord { priority, weight, port, target: route.host.clone() });
        }
        routes
    }
}

/// Bounds of what waits for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Stanzas.
    pub items_max: usize,
    /// Bytes of stanzas.
    pub bytes_max: usize,
    /// How long a stanza waits.
    pub age_max: Duration,
}

impl Admitted {
    /// Returns the partner that a domain belongs to.
    pub fn partner(&self, domain: &Domain) -> Option<&Arc<Partner>> {
        self.partners.get(domain)
    }
}

/// An admission that breaks the contract of the link; the front end is at fault.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A domain that is none.
    #[error(transparent)]
    Domain(#[from] JidError),
    /// How streams are secured is not said in words of the contract.
    #[error("the negotiation of partner {0} is missing or unknown")]
    Negotiation(Domain),
    /// The partner's row of the negotiation matrix leaves no method.
    #[error("partner {0}: {1}")]
    Terms(Domain, InvalidTerms),
    /// An authority of a partner that is none.
    #[error(transparent)]
    Authority(#[from] NoAuthority),
    /// The digest of a key that has not 32 bytes.
    #[error("a pinned key has not 32 bytes")]
    Pin,
}

impl TryFrom<&wire::Admission> for Admitted {
    type Error = Unreadable;

    /// Reads an admission whole, or not at all.
    fn try_from(wire: &wire::Admission) -> Result<Self, Unreadable> {
        let mut admitted = Self::default();
        for domain in &wire.local_domains {
            admitted.streams.local_domains.insert(Domain::parse(domain)?);
        }
        for partner in &wire.partners {
            admitted.add_partner(partner)?;
        }
        let mut secrets = wire.dialback_secrets.iter().map(|secret| DialbackSecret::new(secret));
        admitted.streams.dialback_secrets =
            DialbackSecrets { current: secrets.next(), previous: secrets.next() };
        if let Some(limits) = &wire.limits {
            admitted.connections_max = limits.connections_max as usize;
            admitted.limits = stream_limits(limits);
        }
        Ok(admitted)
    }
}

impl Admitted {
    fn add_partner(&mut self, wire: &wire::Partner) -> Result<(), Unreadable> {
        let domains: Vec<Domain> =
            wire.domains.iter().map(|domain| Domain::parse(domain)).collect::<Result<_, _>>()?;
        let Some(name) = domains.first().cloned() else { return Ok(()) };
        let terms = stream_terms(&name, wire)?.with_bidi(wire.bidi);
        let partner = Arc::new(Partner {
            name,
            connections_max: wire.connection_limit as usize,
            routes: Routes::of_wire(&wire.routes),
            allow_private_addresses: wire.allow_private_addresses,
            allow_any_port: wire.allow_any_port,
            keep_alive: wire.keep_alive,
            queue: QueueLimits {
                items_max: wire.queue_items_max as usize,
                bytes_max: usize::try_from(wire.queue_bytes_max).unwrap_or(usize::MAX),
                age_max: Duration::from_millis(wire.queue_age_ms_max),
            },
            rates: PartnerRates::of_wire(wire),
            trust: partner_trust(wire)?,
        });
        for domain in domains {
            self.streams.partners.insert(domain.clone(), terms);
            self.partners.insert(domain, Arc::clone(&partner));
        }
        Ok(())
    }
}

fn partner_trust(wire: &wire::Partner) -> Result<PartnerTrust, Unreadable> {
    let pin = |pin: &Bytes| <[u8; 32]>::try_from(&**pin).map(KeyPin).map_err(|_| Unreadable::Pin);
    let pins = wire.pinned_keys.iter().map(pin).collect::<Result<_, _>>()?;
    Ok(PartnerTrust::new(wire.trust_anchors.iter().map(|anchor| &**anchor), pins)?)
}

/// Reads the row of a partner. What is not known here must not become a weaker setting.
fn stream_terms(name: &Domain, wire: &wire::Partner) -> Result<StreamTerms, Unreadable> {
    let known = |negotiation: Option<i32>| {
        let known = negotiation.and_then(|number| Negotiation::try_from(number).ok());
        known.ok_or_else(|| Unreadable::Negotiation(name.clone()))
    };
    let tls = match known(wire.tls)? {
        Negotiation::Required => TlsTerms::Required,
        Negotiation::Optional => TlsTerms::Optional,
        Negotiation::NotSupported => TlsTerms::NotSupported,
    };
    let sasl = match known(Some(wire.sasl))? {
        Negotiation::Required => SaslTerms::Required,
        Negotiation::Optional => SaslTerms::Optional,
        Negotiation::NotSupported => SaslTerms::NotSupported,
    };
    StreamTerms::new(tls, sasl, wire.dialback)
        .map_err(|invalid| Unreadable::Terms(name.clone(), invalid))
}

fn stream_limits(wire: &wire::GatewayLimits) -> StreamLimits {
    let stanza_bytes_max = usize::try_from(wire.stanza_bytes_max).unwrap_or(usize::MAX);
    StreamLimits {
        after_authentication: Limits { stanza_bytes_max, ..Limits::AFTER_AUTHENTICATION },
        keep_alive: Duration::from_millis(wire.keep_alive_ms),
        establishment_max: Duration::from_millis(wire.establishment_ms_max),
        inactivity_max: Duration::from_millis(wire.inactivity_ms_max),
        ..StreamLimits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: i32 = Negotiation::Required as i32;

    fn read(partner: wire::Partner) -> Result<Admitted, Unreadable> {
        let (domains, tls) = (vec!["a.example".into()], partner.tls.or(Some(REQUIRED)));
        let partners = vec![wire::Partner { domains, tls, dialback: true, ..partner }];
        Admitted::try_from(&wire::Admission { partners, ..Default::default() })
    }

    #[test]
    fn a_rate_of_nothing_is_no_bound_and_two_seconds_may_come_at_once() {
        let rates = |stanzas_per_s, bytes_per_s| {
            let partner = wire::Partner { stanzas_per_s, bytes_per_s, ..Default::default() };
            let admitted = read(partner).unwrap();
            admitted.partner(&Domain::parse("a.example").unwrap()).unwrap().rates
        };
        assert_eq!(rates(0, 0), PartnerRates::default());
        let two_seconds = Duration::from_secs(2);
        let expected = PartnerRates {
            stanzas: Some(Rate::new(400, two_seconds)),
            bytes: Some(Rate::new(2_000, two_seconds)),
        };
        assert_eq!(rates(200, 1_000), expected);
    }

    #[test]
    fn an_admission_with_an_authority_or_a_pin_that_is_none_is_refused_whole() {
        assert!(read(wire::Partner::default()).is_ok());
        let pinned_keys = vec![vec![7; 32].into()];
        assert!(read(wire::Partner { pinned_keys, ..Default::default() }).is_ok());
        let pinned_keys = vec![vec![7; 31].into()];
        let refused = read(wire::Partner { pinned_keys, ..Default::default() });
        assert!(matches!(refused, Err(Unreadable::Pin)), "{refused:?}");
        let trust_anchors = vec![vec![0x30, 0].into()];
        let refused = read(wire::Partner { trust_anchors, ..Default::default() });
        assert!(matches!(refused, Err(Unreadable::Authority(_))), "{refused:?}");
    }

    fn with(tls: Option<i32>, sasl: i32, dialback: bool) -> Result<Admitted, Unreadable> {
        let domains = vec!["fabrikam.example".to_owned()];
        let partner = wire::Partner { domains, tls, sasl, dialback, ..wire::Partner::default() };
        Admitted::try_from(&wire::Admission { partners: vec![partner], ..Default::default() })
    }

    #[test]
    fn a_negotiation_that_is_missing_unknown_or_without_a_method_is_refused() {
        let required = Negotiation::Required.into();
        let none = Negotiation::NotSupported.into();
        assert!(with(Some(required), required, false).is_ok());
        assert!(with(Some(none), none, true).is_ok());

        for (tls, sasl) in [(None, required), (Some(9), required), (Some(required), 9)] {
            let refused = with(tls, sasl, true);
            assert!(matches!(refused, Err(Unreadable::Negotiation(_))), "{tls:?} {sasl}");
        }
        let refused = with(Some(none), required, false);
        assert!(matches!(refused, Err(Unreadable::Terms(_, invalid)) if invalid.row == 6));
    }
}
