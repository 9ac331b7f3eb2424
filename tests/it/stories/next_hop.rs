//! Users of an external SIP server: Kamailio in the home's place, reached over TCP and over TLS.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use tests::appliance::{INSIDE_TCP, INSIDE_TLS, Setup};
use tests::contoso::{JULIET_JID, JULIET_URI, ROMEO, ROMEO_JID, World, next_hop_policy, start};
use tests::evidence::{BulkLog, BulkOrder, Ledger, now_ms, show};
use tests::kamailio::{self, Digest, Gateway, Kamailio};
use tests::namespace::{Place, in_namespace};
use tests::prosody::{self, Situation};
use tests::sip_user::{SipUser, Transport, pidf};
use tests::test_ca::{Identity, Leaf};
use tests::wait::{Deadline, until};
use tests::xmpp_user::{NewPresence, XmppUser};

const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
const ROMEO_URI: &str = "sip:romeo@contoso.example";

fn soon() -> Deadline {
    Deadline::after_s(20)
}

/// Starts one server of the pool, which knows Romeo and sends to us what is for other domains.
fn start_server(
    place: &Place,
    world: &World,
    address: Ipv4Addr,
    transport: &str,
    identity: &Identity,
) -> Kamailio {
    let port = if transport == "tls" { INSIDE_TLS } else { INSIDE_TCP };
    let gateway =
        Gateway { address: SocketAddrV4::new(*world.appliance.sip().ip(), port), transport };
    let setup = kamailio::Setup {
        domain: "contoso.example",
        address,
        accounts: &[ROMEO],
        digest: Digest::Md5,
        identity,
        gateway: Some(gateway),
    };
    setup.start(place)
}

fn register(place: &Place, server: Ipv4Addr) -> SipUser {
    let mut romeo = SipUser::start(place, &ROMEO);
    romeo.connect(SocketAddrV4::new(server, 5060), Transport::Tcp);
    assert_eq!(romeo.register(600).status, 200);
    romeo
}

fn wait_for_service(world: &World, servers: &str) {
    until("a next hop in service", soon(), || {
        let (_, text) = world.appliance.explain(JULIET_JID, ROMEO_JID);
        if text.contains(servers) { Ok(()) } else { Err(text) }
    });
}

fn everything_crosses(name: &str, transport: &str) {
    in_namespace(&format!("stories::next_hop::{name}"), |place| {
        let policy = next_hop_policy(transport, &[FIRST]);
        let setup = Setup { policy: &policy, has_next_hops: true, ..Setup::default() };
        let world = start(place, &setup, Situation::Certified, |prosody| prosody);
        let identity = world.ca.issue(&Leaf::server("sip.contoso.example"), "kamailio");
        let _kamailio = start_server(place, &world, FIRST, transport, &identity);
        wait_for_service(&world, "in service");
        let mut juliet = world.juliet(place);
        let mut romeo = register(place, FIRST);

        for text in ["Art thou not Romeo?", "Ünïcödé 😀 שלום", "<b>&amp; 'quoted' <"] {
            juliet.say(ROMEO_JID, text);
            romeo.expect_text(text, soon());
            assert_eq!(romeo.say(JULIET_URI, text).status, 200);
            juliet.expect_message("the text", soon(), |it| {
                it.is_from(ROMEO_JID) && it.body.as_deref() == Some(text)
            });
        }

        juliet.say("nobody@contoso.example", "are you there?");
        let error = juliet.expect_message("an error", soon(), |it| {
            it.is_from("nobody@contoso.example") && it.kind.as_deref() == Some("error")
        });
        assert_eq!(error.error.and_then(|it| it.condition).as_deref(), Some("item-not-found"));
        assert_eq!(romeo.say("sip:nobody@fabrikam.example", "and you?").status, 403);
        assert_eq!(romeo.say("sip:juliet@elsewhere.example", "and you?").status, 404);

        let subscription = romeo.subscribe(JULIET_URI, 600);
        assert_eq!(subscription.response.status, 200);
        juliet.expect_presence_type(ROMEO_JID, "subscribe", soon());
        juliet.send_presence_type(ROMEO_JID, "subscribed");
        romeo.expect_notify(&subscription, "open", soon(), |it| it.body.contains(">open<"));
        let away = NewPresence { show: Some("away"), status: Some("lunch"), ..Default::default() };
        juliet.send_presence(&away);
        romeo.expect_notify(&subscription, "away", soon(), |it| it.body.contains(">lunch<"));
        assert_eq!(romeo.resubscribe(&subscription, 0).status, 200);
        romeo.expect_notify(&subscription, "the end", soon(), |it| {
            it.header("Subscription-State").starts_with("terminated")
        });

        juliet.send_presence_type(ROMEO_JID, "subscribe");
        juliet.expect_presence_type(ROMEO_JID, "subscribed", soon());
        assert_eq!(romeo.publish(&pidf(ROMEO_URI, true, "in the orchard"), 600).status, 200);
        juliet.expect_presence("in the orchard", soon(), |it| {
            it.is_from(ROMEO_JID) && it.status.as_deref() == Some("in the orchard")
        });
        assert_eq!(romeo.publish(&pidf(ROMEO_URI, false, ""), 600).status, 200);
        juliet.expect_presence_type(ROMEO_JID, "unavailable", soon());
    });
}

#[test]
fn everything_crosses_over_tcp() {
    everything_crosses("everything_crosses_over_tcp", "tcp");
}

#[test]
fn everything_crosses_over_tls() {
    everything_crosses("everything_crosses_over_tls", "tls");
}

/// The pace of each direction, in messages a second, and how many go each way.
const RATE_PER_S: f64 = 20.0;
const COUNT: u64 = 300;

/// How much later than the appliance a driver may note an answer, in milliseconds.
const NOTING_MS: u64 = 250;

/// Kills the preferred one of two servers in the midst of traffic, brings it back, and kills it
/// again. Romeo has a device at each; the servers know nothing of each other.
#[test]
fn nothing_accepted_is_lost_with_one_of_two_servers() {
    let test = "stories::next_hop::nothing_accepted_is_lost_with_one_of_two_servers";
    in_namespace(test, |place| {
        let policy = next_hop_policy("tcp", &[FIRST, SECOND]);
        let setup =
            Setup { policy: &policy, has_next_hops: true, log_level: "info", ..Setup::default() };
        let world = start(place, &setup, Situation::Certified, prosody::Setup::quiet);
        let identity = world.ca.issue(&Leaf::server("sip.contoso.example"), "kamailio");
        let mut first = start_server(place, &world, FIRST, "tcp", &identity);
        let _second = start_server(place, &world, SECOND, "tcp", &identity);
        wait_for_service(&world, "127.0.0.5:5060 in service, 127.0.0.6:5060 in service");
        let mut juliet = world.juliet(place);
        let mut romeos = [FIRST, SECOND].map(|server| register(place, server));
        juliet.send_presence_type(ROMEO_JID, "subscribe");
        juliet.expect_presence_type(ROMEO_JID, "subscribed", soon());

        let order =
            |tag, to| BulkOrder { tag, to, count: COUNT, rate_per_s: RATE_PER_S, body_bytes: 100 };
        romeos.iter_mut().for_each(|romeo| romeo.expect_bulk("to-sip"));
        juliet.expect_bulk("to-xmpp");
        juliet.send_bulk(&order("to-sip", &[ROMEO_JID]));
        romeos[1].send_bulk(&order("to-xmpp", &[JULIET_URI]), 5, 60);
        let mut faults_ms = Vec::new();
        for fault in 1..=2 {
            until("a part of the messages", Deadline::after_s(60), || {
                match juliet.bulk_progress().sent_count {
                    sent if sent >= fault * COUNT / 3 => Ok(()),
                    sent => Err(format!("{sent} were sent")),
                }
            });
            faults_ms.push(now_ms());
            first.process().kill_9();
            // The subscription was the dead server's; the other one is asked anew.
            let note = format!("at the second, {fault}");
            assert_eq!(romeos[1].publish(&pidf(ROMEO_URI, true, &note), 600).status, 200);
            juliet.expect_presence(&note, soon(), |it| it.status.as_deref() == Some(&*note));
            wait_for_service(&world, "127.0.0.6:5060 in service");
            if fault == 1 {
                first.restart();
                romeos[0].reconnect();
                assert_eq!(romeos[0].register(600).status, 200);
                wait_for_service(&world, "127.0.0.5:5060 in service");
            }
        }
        let ledgers = outcomes(&mut juliet, &mut romeos);
        for ledger in &ledgers {
            let in_flight = ledger.in_flight_at(&faults_ms, NOTING_MS);
            assert!(ledger.duplicate_count() <= in_flight.len(), "{in_flight:?}");
            assert!(ledger.contradicted().is_subset(&in_flight), "{:?}", ledger.contradicted());
        }
        let [to_sip, to_xmpp] = ledgers;
        show(&format!(
            "to SIP {} arrived, {} twice, {} returned; to XMPP {} arrived, {} twice, {} returned",
            to_sip.arrived().len(),
            to_sip.duplicate_count(),
            to_sip.returned().len(),
            to_xmpp.arrived().len(),
            to_xmpp.duplicate_count(),
            to_xmpp.returned().len(),
        ));
        // What came back did so while no device was registered at the server that had just begun.
        assert!(to_sip.arrived().len() as u64 > COUNT * 9 / 10, "{:?}", to_sip.returned());
        assert_eq!(to_xmpp.arrived().len() as u64, COUNT, "{:?}", to_xmpp.returned());
    });
}

/// Waits until every message has become something at both ends; gives the ledgers of both ways.
fn outcomes(juliet: &mut XmppUser, romeos: &mut [SipUser; 2]) -> [Ledger; 2] {
    until("the end of the run", Deadline::after_s(90), || {
        let sent = juliet.bulk_progress().sent_count;
        let settled = romeos[1].bulk_progress().settled_count;
        let report = format!("{sent} were sent to SIP, {settled} to XMPP were answered");
        if (sent, settled) == (COUNT, COUNT) { Ok(()) } else { Err(report) }
    });
    until("an outcome of every message", Deadline::after_s(90), || {
        let [at_first, at_second] = romeos.each_mut().map(SipUser::bulk_log);
        let arrived = at_first.arrived.iter().chain(&at_second.arrived).copied().collect();
        let at_contoso = BulkLog { arrived, ..at_second.clone() };
        let at_fabrikam = juliet.bulk_log();
        let ledgers =
            [Ledger::join(at_fabrikam.clone(), &at_contoso), Ledger::join(at_second, &at_fabrikam)];
        let vanished = ledgers.each_ref().map(Ledger::vanished);
        match vanished.iter().all(BTreeSet::is_empty) {
            true => Ok(ledgers),
            false => Err(format!("{vanished:?} are missing")),
        }
    })
}
