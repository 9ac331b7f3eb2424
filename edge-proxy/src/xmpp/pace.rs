//! How fast a partner may send, on all of its streams together: one that sends faster is read later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use xmpp_proto::jid::Domain;

use super::listener::Registry;
use crate::admission::{Admitted, PartnerRates};
use crate::rate::{Rate, TokenBucket};

/// How often it is said that a partner is too fast.
const TELLING: Rate = Rate::new(1, Duration::from_secs(60));

/// What one partner has sent of late. Clones share it.
#[derive(Clone, Default)]
pub struct Spent {
    // A lock, because the streams of a partner are driven side by side; it is held for one sum.
    buckets: Arc<Mutex<Buckets>>,
}

#[derive(Default)]
struct Buckets {
    stanzas: TokenBucket,
    bytes: TokenBucket,
    told: TokenBucket,
    /// Pauses since it was told last.
    pauses: u64,
    paused_until: Option<Instant>,
}

/// The pace of the partner that a stream is of; the default knows no bound.
#[derive(Clone, Default)]
pub struct Pace {
    spent: Spent,
    rates: PartnerRates,
    partner: Option<Domain>,
}

impl Pace {
    /// The pace of the partner that a domain belongs to.
    pub fn of(domain: &Domain, registry: &Registry, admitted: &Admitted) -> Self {
        let Some(partner) = admitted.partner(domain) else { return Self::default() };
        let (spent, rates) = (registry.spent_by(&partner.name), partner.rates);
        Self { spent, rates, partner: Some(partner.name.clone()) }
    }

    /// Counts what was read.
    pub fn count_bytes(&self, count: usize, now: Instant) {
        if let Some(rate) = self.rates.bytes {
            self.spent.buckets.lock().bytes.spend(rate, count as u64, now);
        }
    }

    /// Counts a stanza.
    pub fn count_stanza(&self, now: Instant) {
        if let Some(rate) = self.rates.stanzas {
            self.spent.buckets.lock().stanzas.spend(rate, 1, now);
        }
    }

    /// Returns until when nothing is to be read; none: it may be.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        let mut buckets = self.spent.buckets.lock();
        let stanzas = self.rates.stanzas.and_then(|rate| buckets.stanzas.solvent_at(rate, now));
        let bytes = self.rates.bytes.and_then(|rate| buckets.bytes.solvent_at(rate, now));
        let until = stanzas.max(bytes)?;
        let limit = if stanzas >= bytes { "stanzas_per_s" } else { "bytes_per_s" };
        if buckets.paused_until.is_none_or(|before| before <= now) {
            self.tell(&mut buckets, limit, now);
        }
        buckets.paused_until = Some(until);
        Some(until)
    }

    /// Counts a pause that begins, and says so from time to time.
    fn tell(&self, buckets: &mut Buckets, limit: &'static str, now: Instant) {
        metrics::counter!("edge_xmpp_partner_pauses_total", "limit" => limit).increment(1);
        buckets.pauses += 1;
        if buckets.told.try_spend(TELLING, 1, now) {
            let pauses = std::mem::take(&mut buckets.pauses);
            let partner = self.partner.as_ref().map(Domain::as_str);
            let rates = self.rates;
            tracing::warn!(
                partner,
                limit,
                pauses,
                ?rates,
                "the partner sends faster than it may: its streams are read later"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(spent: &Spent, stanzas: u64, bytes: u64) -> Pace {
        let rate = |per_s| Some(Rate::new(2 * per_s, Duration::from_secs(2)));
        let rates = PartnerRates { stanzas: rate(stanzas), bytes: rate(bytes) };
        Pace { spent: spent.clone(), rates, partner: None }
    }

    #[test]
    fn the_streams_of_a_partner_share_what_it_may_send() {
        let (spent, start) = (Spent::default(), Instant::now());
        let (one, other) = (pace(&spent, 10, 1_000), pace(&spent, 10, 1_000));
        for _ in 0..20 {
            assert_eq!(other.paused_until(start), None);
            one.count_stanza(start);
        }
        other.count_stanza(start);
        let due = start + Duration::from_millis(100);
        assert_eq!(one.paused_until(start), Some(due));
        assert_eq!(other.paused_until(start), Some(due));
        assert_eq!(other.paused_until(due), None);
    }

    #[test]
    fn bytes_count_as_well_and_the_longer_pause_holds() {
        let (spent, start) = (Spent::default(), Instant::now());
        let pace = pace(&spent, 10, 1_000);
        for _ in 0..21 {
            pace.count_stanza(start);
        }
        pace.count_bytes(5_000, start);
        assert_eq!(pace.paused_until(start), Some(start + Duration::from_secs(3)));
    }

    #[test]
    fn a_policy_without_rates_lets_everything_pass() {
        let (pace, now) = (Pace::default(), Instant::now());
        for _ in 0..100_000 {
            pace.count_stanza(now);
            pace.count_bytes(100_000, now);
        }
        assert_eq!(pace.paused_until(now), None);
    }
}
