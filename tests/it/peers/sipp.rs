//! SIPp on Kamailio: a user who writes and answers, and calls that outlive the server.

use std::net::{Ipv4Addr, SocketAddrV4};

use tests::kamailio::Digest;
use tests::namespace::in_namespace;
use tests::process::Mark;
use tests::sipp::{Connections, Setup};
use tests::test_ca::TestCa;
use tests::wait::Deadline;

use super::sip_domain::{ALICE, ALICE_URI, BOB, BOB_URI, start_kamailio, start_registered};

const SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
const SHARED: Setup<'_> = Setup {
    name: "sipp",
    address: Ipv4Addr::new(127, 0, 0, 6),
    server: SocketAddrV4::new(SERVER, 5060),
    connections: Connections::Shared,
};

#[test]
fn texts_cross() {
    in_namespace("peers::sipp::texts_cross", |place| {
        let ca = TestCa::new(place.directory(), "ca");
        let _kamailio = start_kamailio(place, &ca, SERVER, Digest::Md5);
        let mut bob = start_registered(place, &BOB, SERVER);
        let texts = [(BOB_URI, "the first"), (BOB_URI, "the second, caf\u{e9}")];
        bob.answer("MESSAGE", 202, 0);
        let mut alice = SHARED.user(place, &ALICE, &texts, 60);
        let deadline = Deadline::after_s(20);
        for (_, text) in texts {
            bob.expect_text(text, deadline);
        }
        alice.expect_all_sent(deadline);
        let mark = alice.process().mark();
        assert_eq!(bob.say(ALICE_URI, "hello sipp \u{1f339}").status, 200);
        alice.expect_text(mark, "hello sipp \u{1f339}", deadline);
    });
}

const OPTIONS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<scenario>
<send><![CDATA[
OPTIONS sip:sip.example SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:alice@sip.example>;tag=[call_number]
To: <sip:sip.example>
Call-ID: [call_id]
CSeq: 1 OPTIONS
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200" timeout="1000"/>
<nop><action><log message="call [call_number] was answered"/></action></nop>
</scenario>
"#;

#[test]
fn later_calls_survive_the_death_of_the_server_on_connections_of_their_own() {
    let test =
        "peers::sipp::later_calls_survive_the_death_of_the_server_on_connections_of_their_own";
    in_namespace(test, |place| {
        let ca = TestCa::new(place.directory(), "ca");
        let mut kamailio = start_kamailio(place, &ca, SERVER, Digest::Md5);
        // So few that none waits for the server when it dies.
        let calls = ["-m", "12", "-r", "4"];
        let deadline = Deadline::after_s(30);
        let own = Setup { name: "own", connections: Connections::PerCall, ..SHARED };
        let mut own = own.run(place, OPTIONS, &calls);
        let mut shared = Setup { name: "shared", ..SHARED }.run(place, OPTIONS, &calls);
        for sipp in [&mut shared, &mut own] {
            sipp.wait_for_line("call 3 was answered", deadline);
        }
        kamailio.restart();
        own.wait_for_line("call 12 was answered", deadline);
        shared.wait_for_exit(deadline);
        assert!(shared.lines_with(Mark::START, "call 12 was answered").is_empty());
    });
}
