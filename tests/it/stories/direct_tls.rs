//! Partners that are reached, and reach us, with TLS from the first byte (XEP-0368).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc;
use std::thread;

use tests::appliance::{Appliance, EDGE, Setup};
use tests::contoso::{self, JULIET_URI, PARTNER, ROMEO_JID, World};
use tests::dns::Records;
use tests::namespace::{Place, in_namespace};
use tests::process::Mark;
use tests::prosody::{self, Situation};
use tests::wait::{Deadline, until};

/// Where DNS says that servers are which are none.
const BROKEN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

/// A host of the partner's at which nothing is as its records say.
const BROKEN_HOST: &str = "broken.fabrikam.example";

/// The records of two domains that are reached by direct TLS alone.
fn direct_only() -> Records {
    let records = Records::new().direct_tls_server("fabrikam.example", PARTNER);
    records.direct_tls_server("contoso.example", EDGE)
}

fn start(place: &Place, situation: Situation, records: &Records) -> World {
    let setup = Setup { has_direct_tls: true, ..Setup::default() };
    contoso::start_with_records(place, &setup, situation, prosody::Setup::with_direct_tls, records)
}

fn exchange(place: &Place, world: &World) {
    let (mut juliet, mut romeo) = (world.juliet(place), world.romeo(place));
    juliet.say(ROMEO_JID, "to contoso");
    romeo.expect_text("to contoso", Deadline::after_s(40));
    let status = romeo.say(JULIET_URI, "to fabrikam").status;
    assert!(status == 200 || status == 202, "{status}");
    juliet.expect_message("the text", Deadline::after_s(40), |message| {
        message.is_from(ROMEO_JID) && message.body.as_deref() == Some("to fabrikam")
    });
}

/// Waits until these are the streams that are shown: direction, proof, TLS.
fn until_shown(appliance: &Appliance, streams: &[(&str, &str, &str)]) {
    let begin = |(direction, proof, tls): &(&str, &str, &str)| {
        format!("  {direction}\tcontoso.example\tfabrikam.example\t{proof}\t{tls}\topen for ")
    };
    until("the streams", Deadline::after_s(20), || {
        let shown = appliance.edges();
        let right = shown.len() == streams.len() + 1
            && streams.iter().zip(&shown[1..]).all(|(it, line)| line.starts_with(&begin(it)));
        if right { Ok(()) } else { Err(shown.join("\n")) }
    });
}

/// How many streams were established: inbound and outbound by direct TLS, and likewise by STARTTLS.
fn established(appliance: &Appliance) -> [f64; 4] {
    let count = |direction: &str, tls: &str| {
        let page = |labels: String| appliance.edge_counter("edge_xmpp_established_total", &labels);
        page(format!("direction=\"{direction}\",tls=\"{tls}\""))
    };
    [
        count("inbound", "direct"),
        count("outbound", "direct"),
        count("inbound", "starttls"),
        count("outbound", "starttls"),
    ]
}

#[test]
fn texts_cross_where_only_direct_tls_is_published() {
    let test = "stories::direct_tls::texts_cross_where_only_direct_tls_is_published";
    in_namespace(test, |place| {
        let mut world = start(place, Situation::Certified, &direct_only());
        exchange(place, &world);
        let external = "SASL EXTERNAL";
        until_shown(
            &world.appliance,
            &[("inbound", external, "direct TLS 1.3"), ("outbound", external, "direct TLS 1.3")],
        );
        assert_eq!(established(&world.appliance), [1.0, 1.0, 0.0, 0.0]);
        let starttls =
            world.prosody.process().lines_with(Mark::START, "urn:ietf:params:xml:ns:xmpp-tls");
        assert_eq!(starttls, [""; 0], "nobody speaks of STARTTLS");
    });
}

#[test]
fn a_partner_with_a_self_signed_certificate_proves_itself_by_dialback_over_direct_tls() {
    let test = "stories::direct_tls::\
        a_partner_with_a_self_signed_certificate_proves_itself_by_dialback_over_direct_tls";
    in_namespace(test, |place| {
        let world = start(place, Situation::SelfSigned, &direct_only());
        exchange(place, &world);
        until_shown(
            &world.appliance,
            &[
                ("inbound", "dialback", "direct TLS 1.3"),
                ("outbound", "SASL EXTERNAL", "direct TLS 1.3"),
            ],
        );
        assert_eq!(established(&world.appliance)[2..], [0.0, 0.0]);
    });
}

#[test]
fn direct_tls_that_is_broken_leads_on_to_starttls() {
    let test = "stories::direct_tls::direct_tls_that_is_broken_leads_on_to_starttls";
    in_namespace(test, |place| {
        let clear = TcpListener::bind((BROKEN, 5272)).expect("the address is the test's own");
        // It takes connections, and nobody ever answers them.
        let _silent = TcpListener::bind((BROKEN, 5273)).expect("the address is the test's own");
        let (hear, heard) = mpsc::channel();
        thread::spawn(move || {
            while let Ok((mut socket, _)) = clear.accept() {
                let mut hello = vec![0; 4096];
                let count = socket.read(&mut hello).unwrap_or_default();
                let _ = hear.send(String::from_utf8_lossy(&hello[..count]).into_owned());
                let _ = socket.write_all(b"<?xml version='1.0'?><stream:stream xmlns:stream='x'>");
            }
        });
        let service = "_xmpps-server._tcp.fabrikam.example";
        let records = [(5271, 1), (5272, 2), (5273, 3)]
            .into_iter()
            .fold(contoso::records(), |records, (port, priority)| {
                records.service(service, BROKEN_HOST, port, priority)
            })
            .address(BROKEN_HOST, BROKEN);
        let mut world = start(place, Situation::Certified, &records);
        exchange(place, &world);
        let hello = heard.try_recv().expect("the handshake began");
        for word in ["\u{b}xmpp-server", "fabrikam.example"] {
            assert!(hello.contains(word), "{word:?} in {hello:?}");
        }
        assert!(!hello.contains(BROKEN_HOST), "the domain is asked for, not the host: {hello:?}");
        let [_, outbound_direct, _, outbound_starttls] = established(&world.appliance);
        assert_eq!([outbound_direct, outbound_starttls], [0.0, 1.0]);
        let tried = world.appliance.edge().lines_with(Mark::START, "a server was not reached");
        for (place, port) in ["5271", "5272", "5273"].into_iter().enumerate() {
            let line = tried.get(place).unwrap_or_else(|| panic!("{port}: {tried:?}"));
            assert!(line.contains(port) && line.contains("\"direct_tls\":true"), "{line}");
        }
        assert_eq!(tried.len(), 3, "{tried:?}");
    });
}
