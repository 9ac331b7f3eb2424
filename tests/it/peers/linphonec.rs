//! linphonec on Kamailio: SHA-256 over TLS, texts with the scripted user, each other's presence.

use std::net::Ipv4Addr;

use tests::kamailio::Digest;
use tests::linphonec::Setup;
use tests::namespace::in_namespace;
use tests::sip_user::pidf;
use tests::test_ca::TestCa;
use tests::wait::Deadline;

use super::sip_domain::{ALICE, ALICE_URI, BOB, BOB_URI, DOMAIN, start_kamailio, start_registered};

#[test]
fn texts_and_presence_cross() {
    in_namespace("peers::linphonec::texts_and_presence_cross", |place| {
        let address = Ipv4Addr::new(127, 0, 0, 5);
        place.name_address(DOMAIN, address);
        let ca = TestCa::new(place.directory(), "ca");
        let _kamailio = start_kamailio(place, &ca, address, Digest::Sha256);
        let mut bob = start_registered(place, &BOB, address);
        let (account, friend, ca) = (ALICE, BOB_URI, ca.certificate());
        let mut alice = Setup { account, server: DOMAIN, port: 5061, ca, friend }.start(place);
        let deadline = Deadline::after_s(20);
        alice.say(BOB_URI, "hello from linphonec, caf\u{e9}");
        bob.expect_text("hello from linphonec, caf\u{e9}", deadline);
        let mark = alice.process().mark();
        assert_eq!(bob.say(ALICE_URI, "hello linphonec \u{1f339}").status, 200);
        alice.expect_text(mark, BOB_URI, "hello linphonec \u{1f339}", deadline);
        let subscription = bob.subscribe(ALICE_URI, 600);
        bob.expect_notify(&subscription, "Alice online", deadline, |notify| {
            notify.body.contains("<basic>open</basic>")
        });
        for (is_open, status) in [(true, "Online"), (false, "Offline")] {
            let mark = alice.process().mark();
            assert_eq!(bob.publish(&pidf(BOB_URI, is_open, ""), 600).status, 200);
            alice.expect_friend(mark, BOB_URI, status, deadline);
        }
    });
}
