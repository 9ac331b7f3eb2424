//! What peers may do before they have proven a domain, by their addresses, without IO.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::network::{Network, Source};
use crate::rate::{Rate, TokenBucket};

/// How long a handshake may wait for its turn: a peer that would wait longer gives up before.
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(5);

/// The bounds; all but the last two are for one address, which is a network of 64 bits in IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressLimits {
    /// Connections that have not proven a domain.
    pub unproven_max: u32,
    /// New connections in a minute, of which those that prove a domain do not count.
    pub new_per_minute: u32,
    /// TLS handshakes in a second; twice as many at once.
    pub handshakes_per_s: u32,
    /// Records in a minute of connections that were refused or failed.
    pub records_per_minute: u32,
    /// Addresses for which none of these counts: hosts of very many domains.
    pub exempt: Vec<Network>,
    /// TLS handshakes in a second of all peers together, exempt or not.
    pub handshakes_per_s_in_all: u32,
    /// Addresses that are remembered.
    pub addresses_max: u32,
}

impl Default for AddressLimits {
    fn default() -> Self {
        Self {
            unproven_max: 50,
            new_per_minute: 20,
            handshakes_per_s: 10,
            records_per_minute: 20,
            exempt: Vec::new(),
            handshakes_per_s_in_all: 200,
            addresses_max: 16_384,
        }
    }
}

/// A bound that a peer met: its key in the configuration, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The key.
    pub limit: &'static str,
    /// The value.
    pub value: u32,
}

/// What is known of the addresses that have connected of late.
#[derive(Debug, Default)]
pub struct Addresses {
    limits: AddressLimits,
    known: BTreeMap<Source, Known>,
    /// Those without an unproven connection, by the order in which they came to have none.
    idle: BTreeMap<u64, Source>,
    last_turn: u64,
    handshakes: TokenBucket,
}

#[derive(Debug, Default)]
struct Known {
    unproven: u32,
    new: TokenBucket,
    handshakes: TokenBucket,
    records: TokenBucket,
    /// Records left out since the last one.
    suppressed: u64,
    /// Its place among the idle ones.
    turn: Option<u64>,
}

impl Refusal {
    /// A bound, and its value.
    pub const fn new(limit: &'static str, value: u32) -> Self {
        Self { limit, value }
    }
}

impl AddressLimits {
    fn new_rate(&self) -> Rate {
        Rate::new(self.new_per_minute.into(), Duration::from_secs(60))
    }

    fn handshake_rate(&self) -> Rate {
        Rate::new(u64::from(self.handshakes_per_s) * 2, Duration::from_secs(2))
    }

    fn handshake_rate_in_all(&self) -> Rate {
        Rate::new(self.handshakes_per_s_in_all.into(), Duration::from_secs(1))
    }

    fn record_rate(&self) -> Rate {
        Rate::new(self.records_per_minute.into(), Duration::from_secs(60))
    }
}

impl Addresses {
    /// No address is known yet.
    pub fn new(limits: AddressLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Returns whom an address counts for; nobody if it is exempt.
    pub fn source(&self, address: IpAddr) -> Option<Source> {
        let is_exempt = self.limits.exempt.iter().any(|network| network.contains(address));
        (!is_exempt).then(|| Source::of(address))
    }

    /// Takes a new connection.
    ///
    /// # Errors
    /// Fails when the address may have no more; the connection then does not count.
    pub fn admit(&mut self, source: Source, now: Instant) -> Result<(), Refusal> {
        let (rate, unproven_max) = (self.limits.new_rate(), self.limits.unproven_max);
        let new_per_minute = self.limits.new_per_minute;
        let Some(known) = self.known(source, now) else {
            return Err(Refusal::new("addresses", self.limits.addresses_max));
        };
        if known.unproven >= unproven_max {
            return Err(Refusal::new("unproven_per_address", unproven_max));
        }
        if !known.new.try_spend(rate, 1, now) {
            return Err(Refusal::new("new_per_minute_per_address", new_per_minute));
        }
        known.unproven += 1;
        if let Some(turn) = known.turn.take() {
            self.idle.remove(&turn);
        }
        Ok(())
    }

    /// Takes the end of an unproven connection, or that it has proven a domain.
    pub fn release(&mut self, source: Source, is_proven: bool) {
        let rate = self.limits.new_rate();
        let Some(known) = self.known.get_mut(&source) else { return };
        known.unproven = known.unproven.saturating_sub(1);
        if is_proven {
            known.new.put_back(rate);
        }
        if known.unproven == 0 {
            self.rest(source);
        }
    }

    /// Takes a TLS handshake that is to begin; returns when it may. `source` is none where the
    /// address is exempt.
    ///
    /// # Errors
    /// Fails when there are too many.
    pub fn begin_handshake(
        &mut self,
        source: Option<Source>,
        now: Instant,
    ) -> Result<Instant, Refusal> {
        let rate = self.limits.handshake_rate();
        let known = source.and_then(|source| self.known.get_mut(&source));
        if known.is_some_and(|known| !known.handshakes.try_spend(rate, 1, now)) {
            let value = self.limits.handshakes_per_s;
            return Err(Refusal::new("handshakes_per_s_per_address", value));
        }
        let rate = self.limits.handshake_rate_in_all();
        let begins_at = self.handshakes.solvent_at(rate, now).unwrap_or(now);
        if begins_at > now + HANDSHAKE_WAIT_MAX {
            let value = self.limits.handshakes_per_s_in_all;
            return Err(Refusal::new("handshakes_per_s", value));
        }
        self.handshakes.spend(rate, 1, now);
        Ok(begins_at)
    }

    /// Says whether a record of an address may be written: how many were left out before it; none
    /// where it is left out itself.
    pub fn record(&mut self, source: Source, now: Instant) -> Option<u64> {
        let rate = self.limits.record_rate();
        // One for which there is no room has no record either.
        let known = self.known(source, now)?;
        if known.records.try_spend(rate, 1, now) {
            return Some(std::mem::take(&mut known.suppressed));
        }
        known.suppressed += 1;
        None
    }

    /// Counts a refusal, and writes a record of it unless the address has had too many.
    pub fn tell(&mut self, address: IpAddr, refusal: Refusal, now: Instant) {
        let Refusal { limit, value } = refusal;
        metrics::counter!("edge_xmpp_refused_total", "limit" => limit).increment(1);
        let suppressed = match self.source(address) {
            Some(source) => self.record(source, now),
            None => Some(0),
        };
        if let Some(suppressed) = suppressed {
            tracing::warn!(%address, limit, value, suppressed, "a peer was refused: it is over a limit");
        }
    }

    /// Returns what is known of an address; none if there is no room for another.
    fn known(&mut self, source: Source, now: Instant) -> Option<&mut Known> {
        if !self.known.contains_key(&source) {
            self.forget(now);
            if self.known.len() >= self.limits.addresses_max as usize {
                return None;
            }
            self.known.insert(source, Known::default());
            self.rest(source);
        }
        self.known.get_mut(&source)
    }

    /// Makes room: those go that have been idle longest, as far as nothing of theirs counts any
    /// more, and one of the others if there is no room.
    fn forget(&mut self, now: Instant) {
        while let Some((turn, source)) = self.idle.first_key_value() {
            let counts = self.known.get(source).is_some_and(|known| known.counts(now));
            if counts && self.known.len() < self.limits.addresses_max as usize {
                return;
            }
            let (turn, source) = (*turn, *source);
            self.idle.remove(&turn);
            self.known.remove(&source);
        }
    }

    /// Puts an address without an unproven connection behind the other idle ones.
    fn rest(&mut self, source: Source) {
        let Some(known) = self.known.get_mut(&source) else { return };
        if let Some(turn) = known.turn {
            self.idle.remove(&turn);
        }
        self.last_turn += 1;
        known.turn = Some(self.last_turn);
        self.idle.insert(self.last_turn, source);
    }
}

impl Known {
    /// Whether anything would be different if the address were new.
    fn counts(&self, now: Instant) -> bool {
        let buckets = [&self.new, &self.handshakes, &self.records];
        self.unproven > 0 || !buckets.into_iter().all(|bucket| bucket.is_full(now))
    }
}

#[cfg(test)]
mod tests;
