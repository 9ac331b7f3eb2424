//! Floods of connections, handshakes and stanzas, while honest users talk.

use std::net::{Ipv4Addr, SocketAddrV4};

use tests::appliance::{EDGE, Setup};
use tests::namespace::{Place, in_namespace};
use tests::process::Mark;
use tests::test_ca::Leaf;
use tests::wait::{Deadline, until};

use super::corpus::Peer;
use super::estate::{Estate, PEER, POLICY};
use super::wire::{Wire, client_config};
use super::xmpp_answers::words;
use super::xmpp_receiving::{AUTH, Configs, HEADER, STARTTLS};

const CLEAR: SocketAddrV4 = SocketAddrV4::new(EDGE, 5269);
const DIRECT_TLS: SocketAddrV4 = SocketAddrV4::new(EDGE, 5270);
const REFUSED: &str = "edge_xmpp_refused_total";

/// The attackers' addresses; honest servers have others.
fn attacker(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 9, 0, number)
}

fn start(place: &Place, limits: &str) -> Estate {
    let setup =
        Setup { policy: POLICY, has_direct_tls: true, xmpp_limits: limits, ..Setup::default() };
    let mut estate = Estate::start_setup(place, PEER, &setup);
    estate.exchange_texts();
    estate
}

fn wait_for_refusals(estate: &Estate, limit: &str, expected: usize) {
    until(&format!("{expected} refusals by {limit}"), Deadline::after_s(10), || {
        match estate.appliance.edge_counter(REFUSED, limit) as usize {
            count if count == expected => Ok(()),
            count => Err(format!("{count}")),
        }
    });
}

#[test]
fn half_open_connections_are_few_for_each_address_and_honest_users_talk_meanwhile() {
    const ATTACKERS: u8 = 10;
    const EACH: usize = 60;
    const NEW_PER_MINUTE: usize = 20;
    let test = "hostile::floods::\
        half_open_connections_are_few_for_each_address_and_honest_users_talk_meanwhile";
    in_namespace(test, |place| {
        let mut estate = start(place, "");
        let before = estate.look();
        let from = |number| (0..EACH).map(move |_| Wire::connect_from(attacker(number), CLEAR));
        let mut flood: Vec<Wire> = (1..=ATTACKERS).flat_map(from).collect();
        let refused = usize::from(ATTACKERS) * (EACH - NEW_PER_MINUTE);
        wait_for_refusals(&estate, "new_per_minute_per_address", refused);
        // The one of an address that is refused does not count for the others.
        estate.assert_unharmed_since(&before);
        estate.exchange_texts();

        let said = estate.appliance.edge().lines_with(Mark::START, "it is over a limit");
        assert_eq!(said.len(), usize::from(ATTACKERS) * NEW_PER_MINUTE, "records are few as well");
        assert!(said[0].contains("127.9.0.1") && said[0].contains("new_per_minute_per_address"));
        for wire in &mut flood {
            wire.read_to_end().expect("the edge closes the connection");
        }
        estate.exchange_texts();
    });
}

#[test]
fn handshakes_of_one_address_have_a_rate() {
    const COUNT: usize = 40;
    let test = "hostile::floods::handshakes_of_one_address_have_a_rate";
    in_namespace(test, |place| {
        let limits = "new_per_minute_per_address = 1000\nhandshakes_per_s_per_address = 2";
        let mut estate = start(place, limits);
        let config = Configs::new(&estate).of(Peer::Certified);
        let shake = |number| {
            let wire = Wire::connect_from(attacker(number), DIRECT_TLS);
            wire.try_connect_tls(config.clone(), "gw.example").is_ok()
        };
        let refused = (0..COUNT).filter(|_| !shake(1)).count();
        assert!((COUNT / 2..=COUNT - 4).contains(&refused), "{refused} were refused");
        wait_for_refusals(&estate, "handshakes_per_s_per_address", refused);
        assert!(shake(2), "another address has its own");
        estate.exchange_texts();
    });
}

#[test]
fn established_streams_go_on_while_handshakes_wait_for_their_turn() {
    const COUNT: u8 = 12;
    let test = "hostile::floods::established_streams_go_on_while_handshakes_wait_for_their_turn";
    in_namespace(test, |place| {
        // What the honest servers need is saved up again once they have talked.
        let mut estate = start(place, "handshakes_per_s = 1");
        let mut flood: Vec<Wire> =
            (1..=COUNT).map(|number| Wire::connect_from(attacker(number), DIRECT_TLS)).collect();
        until("refusals", Deadline::after_s(5), || {
            match estate.appliance.edge_counter(REFUSED, "\"handshakes_per_s\"") {
                0.0 => Err("none".to_owned()),
                count => Ok(count),
            }
        });
        // The others wait for seconds.
        for _ in 0..10 {
            estate.exchange_texts();
        }
        for wire in &mut flood {
            wire.read_to_end().expect("the edge closes the connection");
        }
        let before = estate.look();
        estate.assert_unharmed_since(&before);
    });
}

/// What a partner says that is read by nobody: it is to the gateway itself.
fn flood_of_messages(count: usize) -> Vec<u8> {
    let message = |number| {
        format!(
            "<message from='mallory@victim.example' to='gw.example' id='{number}' type='chat'>\
             <body>{number}</body></message>"
        )
    };
    (0..count).map(message).collect::<String>().into_bytes()
}

#[test]
fn a_partner_that_floods_is_read_later_and_delays_nobody_else() {
    const COUNT: usize = 400;
    let test = "hostile::floods::a_partner_that_floods_is_read_later_and_delays_nobody_else";
    in_namespace(test, |place| {
        let victim = "domain = \"victim.example\"";
        let rate = "rate = { stanzas_per_s = 40 }";
        let policy = POLICY.replace(victim, &format!("{victim}\n{rate}"));
        let mut estate = Estate::start_with(place, PEER, &policy);
        estate.exchange_texts();
        let identity = estate.ca.issue(&Leaf::server("victim.example"), "flooder");
        let config = client_config(estate.ca.certificate(), Some(&identity));
        let header = String::from_utf8_lossy(HEADER).replace("peer.example", "victim.example");
        let header = header.as_bytes();
        let mut wire = Wire::connect(CLEAR);
        wire.send(&[header, STARTTLS]);
        wire.read_until(|bytes| words(bytes).len() >= 3);
        let mut wire = wire.connect_tls(config, "gw.example");

        let received = "edge_xmpp_stanzas_received_total";
        let before = estate.appliance.edge_counter(received, "");
        wire.send(&[&[header, AUTH, header, &flood_of_messages(COUNT)].concat()]);
        let line = "the partner sends faster than it may";
        let told = estate.appliance.edge().wait_for_line(line, Deadline::after_s(10));
        assert!(told.contains("victim.example") && told.contains("stanzas_per_s"), "{told}");
        estate.exchange_texts();
        let count = estate.appliance.edge_counter(received, "") - before;
        assert!(count < COUNT as f64, "{count} stanzas: the flood still waits to be read");

        until("all of the flood", Deadline::after_s(30), || {
            // One stanza of Juliet's is among them.
            match estate.appliance.edge_counter(received, "") - before {
                count if count > COUNT as f64 => Ok(()),
                count => Err(format!("{count}")),
            }
        });
        assert!(estate.appliance.edge_counter("edge_xmpp_partner_pauses_total", "") >= 1.0);
        estate.exchange_texts();
    });
}
