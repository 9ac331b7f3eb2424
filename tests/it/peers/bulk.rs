//! Bulk runs keep exact logs: over XMPP with bounces, over SIP through the death of the server.

use std::net::Ipv4Addr;

use tests::evidence::{BulkOrder, Ledger, now_ms};
use tests::kamailio::Digest;
use tests::namespace::in_namespace;
use tests::prosody::{Setup, Situation};
use tests::test_ca::TestCa;
use tests::wait::{Deadline, until};
use tests::xmpp_user::XmppUser;

use super::sip_domain::{ALICE, BOB, BOB_URI, start_kamailio, start_registered};

#[test]
fn every_xmpp_message_arrives_or_bounces_in_the_logs() {
    let test = "peers::bulk::every_xmpp_message_arrives_or_bounces_in_the_logs";
    in_namespace(test, |place| {
        let address = Ipv4Addr::new(127, 0, 0, 2);
        let ca = TestCa::new(place.directory(), "ca");
        let _prosody = Setup::new("contoso.example", address, Situation::Certified)
            .user("romeo", "secret-r")
            .user("juliet", "secret-j")
            .quiet()
            .start(place, &ca);
        let mut romeo = XmppUser::connect(place, "romeo@contoso.example", "secret-r", address);
        let mut juliet = XmppUser::connect(place, "juliet@contoso.example", "secret-j", address);
        juliet.be_available();
        juliet.expect_bulk("run");
        let to = ["juliet@contoso.example", "nobody@contoso.example"];
        romeo.send_bulk(&BulkOrder {
            tag: "run",
            to: &to,
            count: 200,
            rate_per_s: 400.0,
            body_bytes: 300,
        });
        until("100 messages at Juliet", Deadline::after_s(20), || {
            match juliet.bulk_progress().arrived_count {
                100 => Ok(()),
                other => Err(format!("{other} arrived")),
            }
        });
        until("100 bounces at Romeo", Deadline::after_s(20), || {
            match romeo.bulk_log().bounced.len() {
                100 => Ok(()),
                other => Err(format!("{other} bounced")),
            }
        });
        let ledger = Ledger::join(romeo.bulk_log(), &juliet.bulk_log());
        assert_eq!(ledger.arrived(), (0..200).step_by(2).collect());
        assert_eq!(ledger.returned(), (1..200).step_by(2).collect());
        assert!(ledger.vanished().is_empty());
        assert_eq!(ledger.duplicate_count(), 0);
    });
}

#[test]
fn a_sip_run_goes_on_through_the_death_of_the_server() {
    let test = "peers::bulk::a_sip_run_goes_on_through_the_death_of_the_server";
    in_namespace(test, |place| {
        let address = Ipv4Addr::new(127, 0, 0, 5);
        let ca = TestCa::new(place.directory(), "ca");
        let mut kamailio = start_kamailio(place, &ca, address, Digest::Sha256);
        let mut alice = start_registered(place, &ALICE, address);
        let mut bob = start_registered(place, &BOB, address);
        bob.stay_registered();
        bob.expect_bulk("run");
        // Slow answers, so that every conversation has a message in flight when the server dies.
        bob.answer("MESSAGE", 200, 20);
        let order = BulkOrder {
            tag: "run",
            to: &[BOB_URI, BOB_URI, "sip:nobody@sip.example"],
            count: 300,
            rate_per_s: 150.0,
            body_bytes: 300,
        };
        alice.send_bulk(&order, 5, 60);
        until("a third of the run", Deadline::after_s(20), || {
            match alice.bulk_progress().settled_count {
                settled if settled >= 100 => Ok(()),
                settled => Err(format!("{settled} were settled")),
            }
        });
        kamailio.process().kill_9();
        let died_ms = now_ms();
        kamailio.restart();
        until("the end of the run", Deadline::after_s(40), || {
            match alice.bulk_progress().settled_count {
                300 => Ok(()),
                settled => Err(format!("{settled} were settled")),
            }
        });
        let log = alice.bulk_log();
        let resent = log.sent.iter().filter(|sent| sent.sent_ms.len() > 1).count();
        assert!(resent > 0, "the fault hit messages in flight");
        let ledger = Ledger::join(log, &bob.bulk_log());
        // Between the restart and Bob's return, Kamailio knows no way to him and says so with 480.
        let arrived_or_refused = &ledger.arrived() | &ledger.refused();
        assert_eq!(arrived_or_refused, (0..300).collect());
        assert!(ledger.refused().len() >= 100, "those to nobody");
        assert!(ledger.vanished().is_empty());
        assert!(ledger.duplicate_count() <= ledger.in_flight_at(&[died_ms], 50).len());
    });
}
