//! Bounds of peers that have proven nothing, by a virtual clock.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{AddressLimits, Addresses, Refusal};
use crate::xmpp::network::Source;

fn source(text: &str) -> Source {
    Source::of(text.parse::<IpAddr>().unwrap())
}

fn limit(refused: Result<(), Refusal>) -> Option<&'static str> {
    refused.err().map(|refusal| refusal.limit)
}

#[test]
fn an_address_has_so_many_unproven_connections_whatever_the_others_have() {
    let limits = AddressLimits { unproven_max: 3, ..AddressLimits::default() };
    let (mut addresses, now) = (Addresses::new(limits), Instant::now());
    for attacker in ["192.0.2.1", "2001:db8::1"] {
        for _ in 0..3 {
            assert_eq!(addresses.admit(source(attacker), now), Ok(()));
        }
        let refused = limit(addresses.admit(source(attacker), now));
        assert_eq!(refused, Some("unproven_per_address"));
    }
    let same_site = limit(addresses.admit(source("2001:db8::ffff:1"), now));
    assert_eq!(same_site, Some("unproven_per_address"));
    assert_eq!(addresses.admit(source("192.0.2.2"), now), Ok(()));
    addresses.release(source("192.0.2.1"), false);
    assert_eq!(addresses.admit(source("192.0.2.1"), now), Ok(()));
}

#[test]
fn new_connections_have_a_rate_and_those_that_prove_a_domain_do_not_count() {
    let (mut addresses, start) = (Addresses::default(), Instant::now());
    let peer = source("192.0.2.1");
    for _ in 0..500 {
        assert_eq!(addresses.admit(peer, start), Ok(()));
        addresses.release(peer, true);
    }
    let mut admitted = |at: Instant| {
        let mut count = 0;
        while addresses.admit(peer, at) == Ok(()) {
            addresses.release(peer, false);
            count += 1;
        }
        count
    };
    let after = |seconds| start + Duration::from_secs(seconds);
    assert_eq!([0, 3, 60, 3_600].map(|seconds| admitted(after(seconds))), [20, 1, 19, 20]);
}

#[test]
fn the_table_is_bounded_and_the_one_that_was_idle_longest_goes() {
    let limits = AddressLimits { addresses_max: 3, unproven_max: 1, ..AddressLimits::default() };
    let (mut addresses, now) = (Addresses::new(limits), Instant::now());
    let [a, b, c, d] = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"].map(source);
    for it in [a, b, c] {
        assert_eq!(addresses.admit(it, now), Ok(()));
    }
    assert_eq!(limit(addresses.admit(d, now)), Some("addresses"), "all are in use");
    addresses.release(b, false);
    addresses.release(a, false);
    assert_eq!(addresses.admit(d, now), Ok(()), "b went");
    assert_eq!(addresses.known.len(), 3);
    assert!(addresses.known.contains_key(&a) && !addresses.known.contains_key(&b));
    for number in 0..10_000_u32 {
        let flood = Source::of(IpAddr::from(number.to_be_bytes()));
        assert_eq!(addresses.admit(flood, now), Ok(()));
        addresses.release(flood, false);
        assert!(addresses.known.len() <= 3 && addresses.idle.len() <= 3);
    }
}

#[test]
fn what_counts_no_more_is_forgotten() {
    let (mut addresses, start) = (Addresses::default(), Instant::now());
    for number in 0..1_000_u32 {
        let peer = Source::of(IpAddr::from(number.to_be_bytes()));
        assert_eq!(addresses.admit(peer, start), Ok(()));
        addresses.release(peer, false);
    }
    assert_eq!(addresses.known.len(), 1_000);
    let later = start + Duration::from_secs(120);
    assert_eq!(addresses.admit(source("2001:db8::1"), later), Ok(()));
    assert_eq!((addresses.known.len(), addresses.idle.len()), (1, 0));
}

#[test]
fn handshakes_of_an_address_have_a_rate() {
    let (mut addresses, start) = (Addresses::default(), Instant::now());
    let peer = source("192.0.2.1");
    assert_eq!(addresses.admit(peer, start), Ok(()));
    let mut begun = |seconds| {
        let now = start + Duration::from_secs(seconds);
        let begin = |_: &u32| addresses.begin_handshake(Some(peer), now).is_ok();
        (0..100).filter(begin).count()
    };
    assert_eq!([0, 1, 2].map(&mut begun), [20, 10, 10]);
    let later = start + Duration::from_secs(2);
    assert_eq!(addresses.begin_handshake(Some(source("192.0.2.2")), later), Ok(later));
}

#[test]
fn handshakes_of_all_wait_for_their_turn_and_too_many_are_refused() {
    let limits = AddressLimits { handshakes_per_s_in_all: 100, ..AddressLimits::default() };
    let (mut addresses, start) = (Addresses::new(limits), Instant::now());
    let begun: Vec<_> = (0..1_000).map(|_| addresses.begin_handshake(None, start)).collect();
    let at = |index: usize| begun[index].map(|at| at - start);
    assert_eq!(at(100), Ok(Duration::ZERO));
    assert_eq!(at(300), Ok(Duration::from_secs(2)));
    let refusal = Refusal { limit: "handshakes_per_s", value: 100 };
    assert_eq!((at(600), at(601)), (Ok(Duration::from_secs(5)), Err(refusal)));
    let later = start + Duration::from_secs(10);
    assert_eq!(addresses.begin_handshake(None, later), Ok(later), "what was refused costs nothing");
}

#[test]
fn records_of_an_address_are_few_and_the_next_one_counts_those_left_out() {
    let (mut addresses, start) = (Addresses::default(), Instant::now());
    let (peer, other) = (source("192.0.2.1"), source("192.0.2.2"));
    assert_eq!(addresses.admit(peer, start), Ok(()));
    let written = (0..270).filter(|_| addresses.record(peer, start).is_some()).count();
    assert_eq!(written, 20);
    assert_eq!(addresses.record(other, start), Some(0));
    let later = start + Duration::from_secs(60);
    assert_eq!(addresses.record(peer, later), Some(250));
    assert_eq!(addresses.record(peer, later), Some(0));
}

#[test]
fn an_exempt_address_counts_for_nobody() {
    let exempt = ["192.0.2.0/24", "2001:db8::/32"].map(|it| it.parse().unwrap()).to_vec();
    let addresses = Addresses::new(AddressLimits { exempt, ..AddressLimits::default() });
    let is_exempt = |text: &str| addresses.source(text.parse().unwrap()).is_none();
    assert!(["192.0.2.9", "::ffff:192.0.2.9", "2001:db8:7::1"].map(is_exempt).iter().all(|it| *it));
    assert!(!["192.0.3.9", "2001:db9::1"].map(is_exempt).iter().any(|it| *it));
}
