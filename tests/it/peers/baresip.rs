//! baresip on Kamailio: it registers, exchanges texts with the scripted user, goes off and on.

use std::net::{Ipv4Addr, SocketAddrV4};

use tests::baresip::Setup;
use tests::kamailio::Digest;
use tests::namespace::in_namespace;
use tests::sip_user::pidf;
use tests::test_ca::TestCa;
use tests::wait::Deadline;

use super::sip_domain::{ALICE, ALICE_URI, BOB, BOB_URI, start_kamailio, start_registered};

#[test]
fn texts_and_presence_cross() {
    in_namespace("peers::baresip::texts_and_presence_cross", |place| {
        let address = Ipv4Addr::new(10, 77, 0, 1);
        place.add_interface("sip0", address);
        let ca = TestCa::new(place.directory(), "ca");
        let _kamailio = start_kamailio(place, &ca, address, Digest::Md5);
        let mut bob = start_registered(place, &BOB, address);
        let server = SocketAddrV4::new(address, 5060);
        let mut alice = Setup { account: ALICE, server, address, contact: BOB_URI }.start(place);
        let deadline = Deadline::after_s(20);
        alice.say("hello from baresip, caf\u{e9}");
        bob.expect_text("hello from baresip, caf\u{e9}", deadline);
        let mark = alice.process().mark();
        assert_eq!(bob.say(ALICE_URI, "hello baresip \u{1f339}").status, 200);
        alice.expect_text(mark, BOB_URI, "hello baresip \u{1f339}", deadline);
        let subscription = bob.subscribe(ALICE_URI, 600);
        for basic in ["open", "closed", "open"] {
            alice.set_online(basic == "open");
            bob.expect_notify(&subscription, basic, deadline, |notify| {
                notify.body.contains(&format!("<basic>{basic}</basic>"))
            });
        }
        for (is_open, status) in [(true, "Online"), (false, "Offline")] {
            assert_eq!(bob.publish(&pidf(BOB_URI, is_open, ""), 600).status, 200);
            alice.expect_contact(status, deadline);
        }
    });
}
