//! Partners some of whose servers are broken: the one that works is found, in one attempt.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use tests::appliance::{OPEN_POLICY, Setup};
use tests::contoso::{self, JULIET_URI, PARTNER, ROMEO_JID, World};
use tests::dns::Records;
use tests::namespace::{Place, in_namespace};
use tests::process::Mark;
use tests::prosody::Situation;
use tests::test_ca::{Leaf, TestCa};
use tests::wait::Deadline;

use super::wire::{Wire, server_config};
use super::xmpp_initiating::{FEATURES, PROCEED};

/// Where the broken servers are.
const BROKEN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);
const BROKEN_HOST: &str = "broken.fabrikam.example";

/// Where packets vanish.
const BLACK_HOLE: Ipv6Addr = Ipv6Addr::new(0x2a00, 7, 0, 0, 0, 0, 0, 7);

const HOST_UNKNOWN: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' id='u1' version='1.0'><stream:error>\
    <host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";

/// Answers each thing that is said on each connection with the next of these words, and then ends.
fn serve(port: u16, words: &'static [&'static [u8]]) {
    let listener = TcpListener::bind((BROKEN, port)).expect("the address is the test's own");
    let answer = move |mut socket: TcpStream| {
        for words in words {
            let mut heard = [0; 4096];
            if socket.read(&mut heard).is_err() || socket.write_all(words).is_err() {
                return;
            }
        }
    };
    thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            answer(socket);
        }
    });
}

fn exchange(place: &Place, world: &World) {
    let (mut juliet, mut romeo) = (world.juliet(place), world.romeo(place));
    let status = romeo.say(JULIET_URI, "to fabrikam").status;
    assert!(status == 200 || status == 202, "{status}");
    juliet.expect_message("the text", Deadline::after_s(20), |message| {
        message.is_from(ROMEO_JID) && message.body.as_deref() == Some("to fabrikam")
    });
}

/// The failures of the edge's attempts so far: port, phase, kind.
fn failures(world: &mut World) -> Vec<(u64, String, String)> {
    let lines = world.appliance.edge().lines_with(Mark::START, "a server was not reached");
    let read = |line: &String| {
        let record: serde_json::Value = serde_json::from_str(line).expect("a record is JSON");
        let word = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        (record["port"].as_u64().unwrap_or_default(), word("phase"), word("kind"))
    };
    lines.iter().map(read).collect()
}

/// Starts both organisations with these records.
fn start(place: &Place, records: &Records) -> World {
    let setup = Setup::default();
    contoso::start_with_records(place, &setup, Situation::Certified, |prosody| prosody, records)
}

#[test]
fn a_stream_that_fails_at_one_server_is_opened_at_the_next_without_a_wait() {
    let test = "hostile::server_choice::\
        a_stream_that_fails_at_one_server_is_opened_at_the_next_without_a_wait";
    in_namespace(test, |place| {
        serve(5272, &[b"HTTP/1.1 400 Bad Request\r\n\r\n"]);
        serve(5273, &[]);
        serve(5274, &[HOST_UNKNOWN]);
        serve(5275, &[FEATURES, PROCEED, b"no handshake"]);
        let service = "_xmpp-server._tcp.fabrikam.example";
        let records = (5271..=5275).fold(contoso::records(), |records, port| {
            records.service(service, BROKEN_HOST, port, port - 5270)
        });
        let records = records.address(BROKEN_HOST, BROKEN);
        let mut world = start(place, &records);
        exchange(place, &world);
        let expected = [
            (5271, "connect", "unreachable"),
            (5272, "stream", "not_xmpp"),
            (5273, "stream", "peer_left"),
            (5274, "stream", "peer_error"),
            (5275, "tls", "tls_failed"),
        ];
        let found = failures(&mut world);
        let found: Vec<(u64, &str, &str)> =
            found.iter().map(|(port, phase, kind)| (*port, &phase[..], &kind[..])).collect();
        assert_eq!(found, expected, "each once: nobody waited for another attempt");
    });
}

#[test]
fn a_server_that_is_somebody_else_is_passed_over_and_its_names_are_told() {
    let test = "hostile::server_choice::\
        a_server_that_is_somebody_else_is_passed_over_and_its_names_are_told";
    in_namespace(test, |place| {
        let other_ca = TestCa::new(place.directory(), "other-ca");
        let identity = other_ca.issue(&Leaf::server("mallory.example"), "mallory");
        let tls = server_config(&identity);
        let listener = TcpListener::bind((BROKEN, 5271)).expect("the address is the test's own");
        thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let mut wire = Wire::new(socket);
                wire.read_until(|bytes| bytes.ends_with(b">"));
                wire.send(&[FEATURES]);
                wire.read_until(|bytes| bytes.windows(9).any(|it| it == b"<starttls"));
                wire.send(&[PROCEED]);
                wire.accept_tls(Arc::clone(&tls)).read_to_end();
            }
        });
        let records = contoso::records()
            .service("_xmpp-server._tcp.fabrikam.example", BROKEN_HOST, 5271, 1)
            .address(BROKEN_HOST, BROKEN);
        let row = "partner_type = \"federated\"\n";
        let strict =
            format!("{row}sasl_negotiation = \"required\"\ndialback_negotiation = false\n");
        let policy = OPEN_POLICY.replace(row, &strict);
        let mut world = contoso::start_with_records(
            place,
            &Setup { policy: &policy, ..Setup::default() },
            Situation::Certified,
            |prosody| prosody,
            &records,
        );
        exchange(place, &world);
        let expected = (5271, "authentication".to_owned(), "unproven".to_owned());
        assert_eq!(failures(&mut world), [expected]);
        let told = "\"names\":\"mallory.example\",\"trust\":\"the certificate was not accepted";
        let lines = world.appliance.edge().lines_with(Mark::START, told);
        assert_eq!(lines.len(), 1, "{lines:?}");
    });
}

#[test]
fn an_address_that_swallows_everything_does_not_delay_one_that_answers() {
    let test = "hostile::server_choice::\
        an_address_that_swallows_everything_does_not_delay_one_that_answers";
    in_namespace(test, |place| {
        place.add_black_hole("hole", BLACK_HOLE);
        let records = contoso::records().address("xmpp.fabrikam.example", BLACK_HOLE);
        let mut world = start(place, &records);
        exchange(place, &world);
        assert_eq!(failures(&mut world), []);
        let done = world.appliance.edge().lines_with(Mark::START, "a step to the partner is done");
        let both = format!("\"{BLACK_HOLE}, {PARTNER}\"");
        assert!(done.iter().any(|line| line.contains(&both)), "nobody waited: {done:#?}");
    });
}

#[test]
fn routes_are_used_in_place_of_dns_and_dns_not_even_where_they_fail() {
    let test = "hostile::server_choice::\
        routes_are_used_in_place_of_dns_and_dns_not_even_where_they_fail";
    in_namespace(test, |place| {
        let route = |port: u16, address: Ipv4Addr, priority: u16| {
            format!(
                "[[xmpp_partner.route]]\nhost = \"{address}\"\nport = {port}\n\
                 priority = {priority}\n"
            )
        };
        let row = "allow_private_addresses = true\n";
        let routed = |routes: &str| {
            OPEN_POLICY.replace(row, &format!("{row}queue = {{ age_s_max = 1 }}\n{routes}"))
        };
        let working = routed(&format!("{}{}", route(5269, PARTNER, 2), route(5271, BROKEN, 1)));
        let setup = Setup { policy: &working, ..Setup::default() };
        // DNS leads to a server that would answer, were it asked.
        let records = Records::new()
            .xmpp_server("contoso.example", tests::appliance::EDGE)
            .xmpp_server("fabrikam.example", BROKEN);
        let mut world = contoso::start_with_records(
            place,
            &setup,
            Situation::Certified,
            |prosody| prosody,
            &records,
        );
        let from_edge = world.dns.mark();
        exchange(place, &world);
        let tried = failures(&mut world);
        assert_eq!(tried, [(5271, "connect".to_owned(), "unreachable".to_owned())]);

        let broken = place.write("broken.toml", &routed(&route(5271, BROKEN, 1)));
        let broken = broken.to_str().expect("the test's directory is UTF-8");
        world.prosody.process().kill_9();
        let output = world.appliance.command(&["apply", broken], "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut romeo = world.romeo(place);
        let response = romeo.say(JULIET_URI, "nobody there");
        let line = &response.received.start_line;
        assert_eq!(response.status, 408, "{line}");
        assert!(line.contains("no server of fabrikam.example can be reached"), "{line}");
        let asked = world.dns.questions_about(from_edge, "fabrikam.example");
        assert_eq!(asked, [""; 0]);
    });
}
