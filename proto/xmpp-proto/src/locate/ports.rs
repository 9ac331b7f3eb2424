//! Ports that no partner may send us to: those of other services than XMPP.

/// The only port below 1024 that XMPP is served on (XEP-0368 s.2 shares that of HTTPS).
const HTTPS: u16 = 443;

/// The first port that the operating system leaves to everybody.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// Well-known services above it that act on what a stranger writes to them, in order.
const SERVICES: &[u16] = &[
    1080, 1433, 1521, 1883, 2049, 2375, 2376, 2379, 2380, 3128, 3306, 3389, 4369, 5060, 5061, 5432,
    5672, 5900, 5984, 6000, 6379, 6443, 6667, 8086, 9042, 9092, 9200, 9300, 10250, 11211, 15672,
    25565, 27017, 50070,
];

/// Whether a port belongs to another service, so that a partner's DNS must not lead to it.
pub fn is_foreign_port(port: u16) -> bool {
    port != HTTPS && (port < FIRST_UNPRIVILEGED || SERVICES.binary_search(&port).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_other_services_are_foreign() {
        for port in [0, 22, 25, 80, 110, 143, 389, 442, 444, 445, 1023, 3306, 5432, 6379, 27017] {
            assert!(is_foreign_port(port), "{port}");
        }
    }

    #[test]
    fn ports_of_xmpp_and_unknown_ones_are_not() {
        for port in [443, 1024, 5222, 5269, 5270, 5298, 8443, 65_535] {
            assert!(!is_foreign_port(port), "{port}");
        }
    }

    #[test]
    fn the_services_are_in_order_as_the_search_needs() {
        assert!(SERVICES.is_sorted_by(|a, b| a < b));
    }
}
