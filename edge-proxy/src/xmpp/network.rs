//! Networks of peers' addresses: those of the configuration, and the one that counts as one peer.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The bits of a subnet: one host may use every address behind them.
const V6_SUBNET_BITS: u32 = 64;

/// An address or, in IPv6, the network of it: what one host may well have for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source(IpAddr);

impl Source {
    /// Returns whom an address counts for; IPv4 within IPv6 is IPv4.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let bits = u128::from(address) & mask(V6_SUBNET_BITS, 128);
                Self(Ipv6Addr::from_bits(bits).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

/// A network as it is written: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u32,
}

/// What is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoNetwork {
    /// The part before the slash.
    #[error("is no IP address")]
    Address,
    /// The part behind it.
    #[error("has no prefix length behind the slash that its address can have")]
    Length,
    /// Bits behind the prefix.
    #[error("has bits set behind its prefix")]
    HostBits,
}

impl Network {
    /// Says whether an address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (address, width) = number(address.to_canonical());
        let (first, own_width) = number(self.first);
        width == own_width && address & mask(self.bits, width) == first
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| NoNetwork::Address)?;
        let (bits_of_first, width) = number(first);
        let bits = match length {
            Some(length) => length.parse().map_err(|_| NoNetwork::Length)?,
            None => width,
        };
        if bits > width {
            return Err(NoNetwork::Length);
        }
        if bits_of_first & mask(bits, width) != bits_of_first {
            return Err(NoNetwork::HostBits);
        }
        Ok(Self { first, bits })
    }
}

/// Returns an address as a number, and how many bits it has.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// Returns a number with the first `bits` of `width` set.
fn mask(bits: u32, width: u32) -> u128 {
    let all = u128::MAX >> (128 - width);
    all & !all.checked_shr(bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.0/24", "::ffff:192.0.2.1", "::192.0.2.1"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("::/0", "2001:db8::", "192.0.2.1"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(address(inside)), "{network} {inside}");
            assert!(!parsed.contains(address(outside)), "{network} {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_told_apart() {
        for (text, expected) in [
            ("hoster.example", NoNetwork::Address),
            ("192.0.2.0/33", NoNetwork::Length),
            ("192.0.2.0/", NoNetwork::Length),
            ("2001:db8::/129", NoNetwork::Length),
            ("192.0.2.1/24", NoNetwork::HostBits),
        ] {
            assert_eq!(text.parse::<Network>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_subnet_of_ipv6_is_one_source_and_ipv4_is_the_same_in_both_forms() {
        let source = |text| Source::of(address(text));
        assert_eq!(source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff::"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }
}
