//! Addresses that are no place in the internet, and that no partner may send us to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IANA registry of special-purpose IPv4 addresses, and multicast.
const SPECIAL_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The only block of IPv6 that holds global unicast addresses.
///
/// Outside of it lie the unspecified, loopback, IPv4-compatible, IPv4-mapped, NAT64, discard-only,
/// segment routing, unique local, link-local, site-local and multicast addresses.
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// The IANA registry of special-purpose IPv6 addresses, as far as it lies in that block.
const SPECIAL_V6: &[(Ipv6Addr, u32)] = &[
    // IETF protocol assignments: Teredo, benchmarking, ORCHID and others.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4, which hides an IPv4 address.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4F, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3FFF, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address is for a special purpose, so that a partner's DNS must not lead to it.
///
/// Every form in which IPv6 carries an IPv4 address is special, whatever address it carries.
pub fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            SPECIAL_V4.iter().any(|(network, bits)| within_v4(address, *network, *bits))
        }
        IpAddr::V6(address) => {
            let (global, bits) = GLOBAL_V6;
            !within_v6(address, global, bits)
                || SPECIAL_V6.iter().any(|(network, bits)| within_v6(address, *network, *bits))
        }
    }
}

fn within_v4(address: Ipv4Addr, network: Ipv4Addr, bits: u32) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= bits
}

fn within_v6(address: Ipv6Addr, network: Ipv6Addr, bits: u32) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(address: &str) -> bool {
        is_special(address.parse().unwrap())
    }

    #[test]
    fn the_first_and_last_address_of_each_special_range_is_special() {
        for (first, last) in [
            ("0.0.0.0", "0.255.255.255"),
            ("10.0.0.0", "10.255.255.255"),
            ("100.64.0.0", "100.127.255.255"),
            ("127.0.0.0", "127.255.255.255"),
            ("169.254.0.0", "169.254.255.255"),
            ("172.16.0.0", "172.31.255.255"),
            ("192.0.0.0", "192.0.0.255"),
            ("192.0.2.0", "192.0.2.255"),
            ("192.31.196.0", "192.31.196.255"),
            ("192.52.193.0", "192.52.193.255"),
            ("192.88.99.0", "192.88.99.255"),
            ("192.168.0.0", "192.168.255.255"),
            ("192.175.48.0", "192.175.48.255"),
            ("198.18.0.0", "198.19.255.255"),
            ("198.51.100.0", "198.51.100.255"),
            ("203.0.113.0", "203.0.113.255"),
            ("224.0.0.0", "255.255.255.255"),
            ("::", "::1"),
            ("::7f00:1", "::ffff:ffff"),
            ("::ffff:0.0.0.0", "::ffff:255.255.255.255"),
            ("64:ff9b::", "64:ff9b::ffff:ffff"),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
            ("100::", "100::ffff:ffff:ffff:ffff"),
            ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2001:2::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("fe80::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            assert!(special(first), "{first}");
            assert!(special(last), "{last}");
        }
    }

    #[test]
    fn the_addresses_beside_them_are_not() {
        for address in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::",
            "2001:db9::",
            "2003::",
            "2620:4f:8001::",
            "2a00::1",
            "3ffe:ffff::",
            "3fff:1000::",
        ] {
            assert!(!special(address), "{address}");
        }
    }

    /// The forms in which an IPv6 address carries an IPv4 address.
    fn carriers(address: Ipv4Addr) -> [IpAddr; 7] {
        let bits = u128::from(address.to_bits());
        let at = |prefix: &str, shift: u32| {
            let prefix: Ipv6Addr = prefix.parse().unwrap();
            IpAddr::V6(Ipv6Addr::from_bits(prefix.to_bits() | bits << shift))
        };
        let teredo = !address.to_bits();
        let teredo = Ipv6Addr::from_bits((0x2001_u128 << 112) | u128::from(teredo));
        [
            at("::", 0),
            at("::ffff:0:0", 0),
            at("::ffff:0:0:0", 0),
            at("64:ff9b::", 0),
            at("64:ff9b:1::", 0),
            at("2002::", 80),
            IpAddr::V6(teredo),
        ]
    }

    #[test]
    fn no_address_gets_by_inside_of_another() {
        let ends = SPECIAL_V4.iter().flat_map(|(network, bits)| {
            let last = network.to_bits() | u32::MAX.checked_shr(*bits).unwrap_or_default();
            [*network, Ipv4Addr::from_bits(last)]
        });
        // A gateway may lie beyond them, so that a public address inside is no better.
        for address in ends.chain([Ipv4Addr::new(11, 0, 0, 1), Ipv4Addr::new(8, 8, 8, 8)]) {
            for carrier in carriers(address) {
                assert!(is_special(carrier), "{carrier} carries {address}");
            }
        }
    }
}
