//! What an administrator is shown of attempts to open streams: `partner show` and `partner attempts`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use tests::appliance::{Appliance, EDGE, OPEN_POLICY, Setup, launch_replica};
use tests::contoso::{self, JULIET_URI, PARTNER, ROMEO_JID, World, start, start_with_records};
use tests::dns::Records;
use tests::namespace::{Place, in_namespace};
use tests::prosody::Situation;
use tests::sip_user::SipUser;
use tests::wait::{Deadline, until};

/// Where the edge's replica is reached.
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);
/// Where the servers of partners are to be that have none.
const BROKEN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

fn ask(appliance: &Appliance, arguments: &[&str]) -> String {
    let output = appliance.command(&[&["partner"], arguments].concat(), "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until a block of the attempts with a domain holds all of these, and returns it.
fn until_told(appliance: &Appliance, domain: &str, parts: &[&str]) -> String {
    until(&format!("an attempt with {parts:?}"), Deadline::after_s(40), || {
        let told = ask(appliance, &["attempts", domain]);
        let whole = |block: &&str| parts.iter().all(|part| block.contains(part));
        let block = told.split("\n\n").find(whole).map(str::to_owned);
        block.ok_or(told)
    })
}

/// A policy with one more partner.
fn policy_with(domain: &str) -> String {
    format!(
        "{OPEN_POLICY}\n[[xmpp_partner]]\ndomain = \"{domain}\"\npartner_type = \"federated\"\n\
         allow_private_addresses = true\n"
    )
}

/// A policy that gives a stream little time to be established.
fn impatient_policy() -> String {
    format!("{OPEN_POLICY}\n[xmpp_gateway]\nstream_establishment_timeout_s = 5\n")
}

/// A policy that takes nothing but a certificate.
fn strict_policy() -> String {
    let row = "partner_type = \"federated\"\n";
    let strict = format!("{row}sasl_negotiation = \"required\"\ndialback_negotiation = false\n");
    OPEN_POLICY.replace(row, &strict)
}

fn exchange(place: &Place, world: &World) -> SipUser {
    let (mut juliet, mut romeo) = (world.juliet(place), world.romeo(place));
    juliet.say(ROMEO_JID, "to contoso");
    romeo.expect_text("to contoso", Deadline::after_s(40));
    assert_eq!(romeo.say(JULIET_URI, "to fabrikam").status, 200);
    juliet.expect_message("the text", Deadline::after_s(40), |message| {
        message.is_from(ROMEO_JID) && message.body.as_deref() == Some("to fabrikam")
    });
    romeo
}

#[test]
fn both_directions_are_shown_with_every_step_and_begin_anew_with_the_edge() {
    let test = "stories::attempts::\
        both_directions_are_shown_with_every_step_and_begin_anew_with_the_edge";
    in_namespace(test, |place| {
        let policy = policy_with("missing.example");
        let setup = Setup { policy: &policy, ..Setup::default() };
        let mut world = start(place, &setup, Situation::Certified, |prosody| prosody);
        let mut romeo = exchange(place, &world);
        let found = [
            "outbound from contoso.example to fabrikam.example",
            "succeeded by SASL EXTERNAL",
            "finding the servers of fabrikam.example",
            "server xmpp.fabrikam.example port 5269, STARTTLS",
            &format!("address {PARTNER}"),
            "authentication ",
            "TLS 1.3; names presented: fabrikam.example",
            "name expected: fabrikam.example, which is among them",
            "certificate: trusted",
        ];
        until_told(&world.appliance, "fabrikam.example", &found);
        let found = [
            "inbound from fabrikam.example to contoso.example",
            "succeeded by SASL EXTERNAL",
            "connection from 127.0.0.1, STARTTLS",
            "names presented: fabrikam.example",
        ];
        until_told(&world.appliance, "fabrikam.example", &found);

        let shown = ask(&world.appliance, &["show", "fabrikam.example"]);
        for line in [
            "partner fabrikam.example\n  type: federated\n",
            "  row 7 of the negotiation matrix: SASL EXTERNAL over TLS, dialback over TLS",
            "  servers: as DNS says",
            "    inbound\tcontoso.example\tfabrikam.example\tSASL EXTERNAL\tTLS 1.3\topen for ",
            "    outbound\tcontoso.example\tfabrikam.example\tSASL EXTERNAL\tTLS 1.3\topen for ",
            "  0 stanzas wait for an edge or its credit",
            "contoso.example to fabrikam.example: 0 unsettled of a credit of ",
            "outbound from contoso.example to fabrikam.example, edge ",
            "inbound from fabrikam.example to contoso.example, edge ",
            "  inbound: none that failed is remembered",
        ] {
            assert!(shown.contains(line), "{line:?} is not in\n{shown}");
        }
        let list = ask(&world.appliance, &["list"]);
        assert_eq!(
            list.trim_end(),
            "fabrikam.example\tfederated\t2 streams\nmissing.example\tfederated\t0 streams"
        );

        romeo.say("sip:a@missing.example", "nobody");
        let found = ["outbound", "FAILED: missing.example does not exist in DNS", "no_such_name"];
        until_told(&world.appliance, "missing.example", &found);
        world.appliance.restart_edge();
        until("a history that begins anew", Deadline::after_s(40), || {
            let told = ask(&world.appliance, &["attempts", "missing.example"]);
            let attached = ask(&world.appliance, &["list"]).contains("0 streams")
                && world.appliance.frontend_counter("gateway_edges_attached", "") == 1.0;
            let is_new =
                told.trim_end() == "no attached edge remembers an attempt with missing.example";
            if attached && is_new { Ok(()) } else { Err(told) }
        });
    });
}

#[test]
fn a_wrong_certificate_is_told_with_its_names_and_whose_it_should_be() {
    let test =
        "stories::attempts::a_wrong_certificate_is_told_with_its_names_and_whose_it_should_be";
    in_namespace(test, |place| {
        let policy = strict_policy();
        let setup = Setup { policy: &policy, ..Setup::default() };
        let world = start(place, &setup, Situation::SelfSigned, |prosody| prosody);
        let (mut juliet, mut romeo) = (world.juliet(place), world.romeo(place));
        assert!(romeo.say(JULIET_URI, "to fabrikam").status >= 400);
        let certificate = [
            "names presented: fabrikam.example",
            "name expected: fabrikam.example, which is among them",
            "certificate: not trusted: ",
        ];
        let failed =
            ["outbound from", "FAILED: the certificate of fabrikam.example does not prove"];
        let outbound =
            [&failed[..], &certificate, &["failed in authentication: unproven"]].concat();
        until_told(&world.appliance, "fabrikam.example", &outbound);
        juliet.say(ROMEO_JID, "to contoso");
        let failed = ["inbound from", "FAILED: fabrikam.example does not prove who it is"];
        let ended = ["failed in authentication: ", "ended by us: policy-violation"];
        let inbound = [&failed[..], &certificate, &ended].concat();
        until_told(&world.appliance, "fabrikam.example", &inbound);
        let shown = ask(&world.appliance, &["show", "fabrikam.example"]);
        assert!(shown.contains("streams:\n  none\n"), "{shown}");
    });
}

#[test]
fn a_partner_that_nobody_reaches_is_told_with_where_it_was_looked_for() {
    let test =
        "stories::attempts::a_partner_that_nobody_reaches_is_told_with_where_it_was_looked_for";
    in_namespace(test, |place| {
        // It takes connections, and nobody ever answers them.
        let _silent = TcpListener::bind((BROKEN, 5275)).expect("the address is the test's own");
        let policy = format!(
            "{}\n[[xmpp_partner]]\ndomain = \"silent.example\"\npartner_type = \"federated\"\n\
             allow_private_addresses = true\n[xmpp_gateway]\n\
             stream_establishment_timeout_s = 5\n",
            policy_with("closed.example")
        );
        let setup = Setup { policy: &policy, ..Setup::default() };
        let service = "_xmpp-server._tcp.silent.example";
        let records = contoso::records()
            .xmpp_server("closed.example", BROKEN)
            .service(service, "xmpp.silent.example", 5275, 1)
            .address("xmpp.silent.example", BROKEN);
        let certified = Situation::Certified;
        let world = start_with_records(place, &setup, certified, |prosody| prosody, &records);
        let mut romeo = world.romeo(place);
        romeo.say("sip:a@closed.example", "nobody");
        let found = [
            "FAILED: no server of closed.example can be reached",
            "server xmpp.closed.example port 5269, STARTTLS",
            &format!("address {BROKEN}: "),
            "failed in connect: unreachable",
        ];
        until_told(&world.appliance, "closed.example", &found);
        romeo.say("sip:a@silent.example", "nobody");
        let found = [
            "FAILED: the server of silent.example does not answer in time",
            "port 5275",
            "failed in stream: timed_out",
        ];
        until_told(&world.appliance, "silent.example", &found);
        let shown = ask(&world.appliance, &["show", "silent.example"]);
        assert!(shown.contains("FAILED: the server of silent.example does not answer"), "{shown}");
        assert!(shown.contains("  outbound: none that succeeded is remembered"), "{shown}");
    });
}

/// Starts both organisations, which trust no authority of each other, where only one of them can be
/// found.
fn start_unrelated(place: &Place, found: &str, at: Ipv4Addr) -> World {
    let policy = impatient_policy();
    let setup = Setup { policy: &policy, ..Setup::default() };
    let records = Records::new().xmpp_server(found, at);
    start_with_records(place, &setup, Situation::Unrelated, |prosody| prosody, &records)
}

#[test]
fn a_dialback_key_that_nobody_vouches_for_is_told() {
    in_namespace("stories::attempts::a_dialback_key_that_nobody_vouches_for_is_told", |place| {
        let world = start_unrelated(place, "contoso.example", EDGE);
        world.juliet(place).say(ROMEO_JID, "to contoso");
        let found = [
            "inbound from fabrikam.example to contoso.example",
            "FAILED: the dialback key of fabrikam.example was not verified: ",
            "dialback key: not verified: remote-server-not-found",
        ];
        until_told(&world.appliance, "fabrikam.example", &found);
    });
}

#[test]
fn a_partner_that_leaves_our_key_without_an_answer_is_told_with_how_far_it_came() {
    let test = "stories::attempts::\
        a_partner_that_leaves_our_key_without_an_answer_is_told_with_how_far_it_came";
    in_namespace(test, |place| {
        // Prosody finds nobody to ask about our key, and then says nothing.
        let world = start_unrelated(place, "fabrikam.example", PARTNER);
        world.romeo(place).say(JULIET_URI, "to fabrikam");
        let found = [
            "outbound from contoso.example to fabrikam.example",
            "FAILED: the server of fabrikam.example does not answer in time",
            "certificate: not trusted: ",
            "failed in authentication: timed_out: ",
            "ended by us: policy-violation",
        ];
        until_told(&world.appliance, "fabrikam.example", &found);
    });
}

#[test]
fn a_stranger_at_two_edges_is_told_of_by_both() {
    in_namespace("stories::attempts::a_stranger_at_two_edges_is_told_of_by_both", |place| {
        let setup = Setup { edges: &["edges.example:23456"], ..Setup::default() };
        let records = [EDGE, SECOND]
            .iter()
            .fold(contoso::records(), |records, edge| records.address("edges.example", *edge));
        let certified = Situation::Certified;
        let world = start_with_records(place, &setup, certified, |prosody| prosody, &records);
        let mut second = launch_replica("edge-second", SECOND, place.directory());
        second.wait_for_line("a policy is in force", Deadline::after_s(60));
        for edge in [EDGE, SECOND] {
            let mut socket = TcpStream::connect((edge, 5269)).expect("the edge listens");
            let header = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
                xmlns:stream='http://etherx.jabber.org/streams' from='stranger.example' \
                to='litware.example' version='1.0'>";
            socket.write_all(header.as_bytes()).expect("the edge reads");
            socket.read_to_end(&mut Vec::new()).expect("the edge answers");
        }
        for edge in [EDGE, SECOND] {
            let found = [
                "inbound from stranger.example to litware.example",
                &format!(" at {edge}:23456: FAILED: the stream from stranger.example is refused"),
                "ended by us: host-unknown",
            ];
            until_told(&world.appliance, "stranger.example", &found);
        }
        let output = world.appliance.command(&["partner", "show", "stranger.example"], "");
        assert_eq!(output.status.code(), Some(77), "a stranger has no record");
        let all = ask(&world.appliance, &["attempts", "stranger.example"]);
        assert_eq!(all.split("\n\n").count(), 2, "{all}");
        let last = ask(&world.appliance, &["attempts", "stranger.example", "--last", "1"]);
        assert!(all.ends_with(&last) && last.len() < all.len(), "{last}");
        let arguments = ["partner", "attempts", "stranger.example", "--edge", "edge9"];
        let output = world.appliance.command(&arguments, "");
        assert_eq!(output.status.code(), Some(77), "there is no such edge");
    });
}
