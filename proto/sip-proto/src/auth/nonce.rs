//! Nonces without memory until they are used, and the counts that make a replay visible.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::AuthenticatorLimits;
use crate::scan::hexadecimal;

/// What a nonce is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Fresh,
    Stale,
}

/// When a nonce was issued, in seconds since 1970, and its number.
type Stamp = (u64, u64);

/// The nonces of one authenticator.
pub(super) struct Nonces {
    secret: [u8; 32],
    limits: AuthenticatorLimits,
    serial: u64,
    /// The highest count that was used with each nonce.
    counts: BTreeMap<Stamp, u32>,
    /// The youngest nonce whose count was forgotten; it and older ones are stale.
    forgotten: Stamp,
}

impl Nonces {
    pub(super) fn new(secret: [u8; 32], limits: AuthenticatorLimits) -> Self {
        Self { secret, limits, serial: 0, counts: BTreeMap::new(), forgotten: (0, 0) }
    }

    /// Makes a nonce that carries its time, its number and a signature of both.
    pub(super) fn issue(&mut self, unix_seconds: u64) -> String {
        self.serial += 1;
        let stamp = (unix_seconds, self.serial);
        format!("{:x}.{:x}.{}", stamp.0, stamp.1, self.sign(stamp))
    }

    /// Uses a nonce once more. Every use needs a higher count; one without count is the only one.
    pub(super) fn spend(
        &mut self,
        nonce: &str,
        count: Option<u32>,
        unix_seconds: u64,
    ) -> Freshness {
        let Some(stamp) = self.verify(nonce) else {
            return Freshness::Stale;
        };
        let oldest = unix_seconds.saturating_sub(self.limits.nonce_seconds_max);
        while self.counts.first_key_value().is_some_and(|((issued, _), _)| *issued <= oldest) {
            self.counts.pop_first();
        }
        let is_expired = stamp.0 <= oldest || stamp <= self.forgotten;
        let count = count.unwrap_or(u32::MAX);
        let is_used = self.counts.get(&stamp).is_some_and(|used| *used >= count);
        if is_expired || is_used {
            return Freshness::Stale;
        }
        self.counts.insert(stamp, count);
        while self.counts.len() > self.limits.nonces_max {
            self.forgotten = self.counts.pop_first().map_or(stamp, |(oldest, _)| oldest);
        }
        Freshness::Fresh
    }

    /// Returns the stamp of a nonce that was issued here.
    fn verify(&self, nonce: &str) -> Option<Stamp> {
        let mut parts = nonce.split('.');
        let seconds = u64::from_str_radix(parts.next()?, 16).ok()?;
        let serial = u64::from_str_radix(parts.next()?, 16).ok()?;
        let signature = parts.next()?;
        let stamp = (seconds, serial);
        let is_ours = bool::from(self.sign(stamp).as_bytes().ct_eq(signature.as_bytes()));
        (is_ours && parts.next().is_none()).then_some(stamp)
    }

    /// Hashes secret and stamp twice, so that a signature does not extend to longer text.
    fn sign(&self, (seconds, serial): Stamp) -> String {
        let inner = Sha256::new()
            .chain_update(self.secret)
            .chain_update(seconds.to_be_bytes())
            .chain_update(serial.to_be_bytes())
            .finalize();
        let outer = Sha256::new().chain_update(self.secret).chain_update(inner).finalize();
        hexadecimal(outer.get(..16).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonces(nonces_max: usize) -> Nonces {
        Nonces::new([5; 32], AuthenticatorLimits { nonce_seconds_max: 300, nonces_max })
    }

    #[test]
    fn counts_must_rise() {
        let mut nonces = nonces(9);
        let nonce = nonces.issue(1000);
        for (count, expected) in [
            (1, Freshness::Fresh),
            (1, Freshness::Stale),
            (3, Freshness::Fresh),
            (2, Freshness::Stale),
            (4, Freshness::Fresh),
        ] {
            assert_eq!(nonces.spend(&nonce, Some(count), 1000), expected, "{count}");
        }
        let legacy = nonces.issue(1000);
        assert_eq!(nonces.spend(&legacy, None, 1000), Freshness::Fresh);
        assert_eq!(nonces.spend(&legacy, None, 1000), Freshness::Stale);
        assert_eq!(nonces.spend(&legacy, Some(1), 1000), Freshness::Stale);
    }

    #[test]
    fn nonces_end_with_their_time() {
        let mut nonces = nonces(9);
        let nonce = nonces.issue(1000);
        assert_eq!(nonces.spend(&nonce, Some(1), 1299), Freshness::Fresh);
        assert_eq!(nonces.spend(&nonce, Some(2), 1300), Freshness::Stale);
        assert!(nonces.counts.is_empty());
    }

    #[test]
    fn only_our_own_nonces_are_good() {
        let mut nonces = nonces(9);
        let nonce = nonces.issue(1000);
        let changed = nonce.replacen("3e8", "3e9", 1);
        let other = Nonces::new([6; 32], AuthenticatorLimits::default()).issue(1000);
        for bad in
            ["", "x", "1.2", &changed, &other, &format!("{nonce}.0"), &nonce[..nonce.len() - 1]]
        {
            assert_eq!(nonces.spend(bad, Some(1), 1000), Freshness::Stale, "{bad}");
        }
    }

    #[test]
    fn a_count_that_was_forgotten_makes_its_nonce_stale() {
        let mut nonces = nonces(2);
        let issued: Vec<String> = (0..4).map(|_| nonces.issue(1000)).collect();
        for nonce in &issued[1..] {
            assert_eq!(nonces.spend(nonce, Some(1), 1000), Freshness::Fresh);
        }
        assert_eq!(nonces.counts.len(), 2);
        assert_eq!(nonces.spend(&issued[0], Some(1), 1000), Freshness::Stale);
        assert_eq!(nonces.spend(&issued[1], Some(2), 1000), Freshness::Stale);
        assert_eq!(nonces.spend(&issued[2], Some(2), 1000), Freshness::Fresh);
    }
}
