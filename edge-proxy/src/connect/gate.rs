//! Places that a partner's DNS must not send us to: other networks' insides, ourselves, other
//! services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use xmpp_proto::locate::{is_foreign_port, is_special};

use crate::admission::Partner;

/// Addresses that no host has: class E, and the prefix whose packets are discarded.
const NOBODY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(240, 0, 0, 1));
const NOBODY_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1));

/// What stands between partners' records and our sockets.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    /// Ports of ours that are no XMPP.
    pub(super) own_ports: Vec<u16>,
}

impl Gate {
    /// Checks the port of a server.
    ///
    /// # Errors
    /// Says for the operator why no connection is made.
    pub(super) fn check_port(&self, port: u16, partner: &Partner) -> Result<(), &'static str> {
        if partner.allow_any_port {
            Ok(())
        } else if self.own_ports.contains(&port) {
            Err("the port is one of our own services")
        } else if is_foreign_port(port) {
            Err("the port is another service's")
        } else {
            Ok(())
        }
    }

    /// Checks an address, as it is connected to.
    ///
    /// # Errors
    /// Says for the operator why no connection is made.
    pub(super) fn check_address(address: IpAddr, partner: &Partner) -> Result<(), &'static str> {
        if partner.allow_private_addresses {
            Ok(())
        } else if is_special(address) {
            Err("the address is in a special-purpose range")
        } else if is_own(address) {
            Err("the address is our own")
        } else {
            Ok(())
        }
    }

    /// Checks the two ends of a connection before a byte goes over it; one address at both ends is
    /// ours.
    ///
    /// # Errors
    /// Says for the operator why the connection is given up.
    pub(super) fn check_ends(
        local: IpAddr,
        address: IpAddr,
        partner: &Partner,
    ) -> Result<(), &'static str> {
        if local == address && !partner.allow_private_addresses {
            return Err("the address is our own");
        }
        Ok(())
    }
}

/// Whether this host has the address: only then may a socket be bound to it, unless the host lets
/// every address be bound (`ip_nonlocal_bind`), which tells nothing.
fn is_own(address: IpAddr) -> bool {
    let nobody = if address.is_ipv4() { NOBODY_V4 } else { NOBODY_V6 };
    let can_bind = |address: IpAddr| UdpSocket::bind((address, 0)).is_ok();
    can_bind(address) && !can_bind(nobody)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use host::tls::PartnerTrust;
    use xmpp_proto::jid::Domain;

    use super::*;
    use crate::admission::{PartnerRates, QueueLimits, Routes};

    fn partner(allow_private_addresses: bool, allow_any_port: bool) -> Partner {
        Partner {
            name: Domain::parse("fabrikam.example").unwrap(),
            connections_max: 1,
            routes: Routes::default(),
            allow_private_addresses,
            allow_any_port,
            keep_alive: true,
            trust: PartnerTrust::default(),
            rates: PartnerRates::default(),
            queue: QueueLimits { items_max: 1, bytes_max: 1, age_max: Duration::from_secs(1) },
        }
    }

    #[test]
    fn ports_of_ours_and_of_other_services_are_refused_unless_the_partner_may() {
        let gate = Gate { own_ports: vec![23456] };
        for port in [22, 6379, 23456] {
            assert!(gate.check_port(port, &partner(true, false)).is_err(), "{port}");
            assert_eq!(gate.check_port(port, &partner(false, true)), Ok(()), "{port}");
        }
        for port in [443, 5269, 5270] {
            assert_eq!(gate.check_port(port, &partner(false, false)), Ok(()), "{port}");
        }
    }

    #[test]
    fn inner_addresses_are_refused_unless_the_partner_may() {
        for address in ["127.0.0.1", "10.0.0.1", "::1", "::ffff:8.8.8.8"] {
            let address = address.parse().unwrap();
            assert!(Gate::check_address(address, &partner(false, true)).is_err(), "{address}");
            assert_eq!(Gate::check_address(address, &partner(true, false)), Ok(()), "{address}");
        }
        let public = "11.0.0.1".parse().unwrap();
        assert_eq!(Gate::check_address(public, &partner(false, false)), Ok(()));
    }

    #[test]
    fn what_this_host_has_is_its_own() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        for address in ["11.0.0.1", "192.0.2.1"] {
            assert!(!is_own(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_connection_to_ourselves_is_given_up_unless_the_partner_may() {
        let address: IpAddr = "11.0.0.1".parse().unwrap();
        let other: IpAddr = "11.0.0.2".parse().unwrap();
        let refused = partner(false, false);
        assert!(Gate::check_ends(address, address, &refused).is_err());
        assert_eq!(Gate::check_ends(other, address, &refused), Ok(()));
        assert_eq!(Gate::check_ends(address, address, &partner(true, false)), Ok(()));
    }
}
