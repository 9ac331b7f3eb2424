//! What `deploy/compose.yaml` promises: edges come and go, and none reaches the inner network.

mod compose;
mod traffic;

use std::collections::BTreeSet;

use serde::Deserialize;
use tests::contoso::{JULIET_URI, ROMEO_JID};
use tests::evidence::{now_ms, show};
use tests::namespace::in_directory;
use tests::process::{Process, Source};
use tests::sip_user::pidf;
use tests::wait::{Deadline, until};
use tests::xmpp_user::NewPresence;

use compose::{Compose, HOME, Service};
use traffic::Traffic;

/// How many edges there are.
const EDGES: usize = 3;
/// How long after a change of the edges messages may take to cross again, in seconds.
const CROSS_S_MAX: u64 = 30;
/// How long a started edge may take to be attached: two answers of docker's name server.
const ATTACH_S_MAX: u64 = 90;
/// How long all ports of three addresses may take, in seconds.
const SCAN_S_MAX: u64 = 300;
/// What the front end listens on, towards its users and towards itself.
const FRONTEND_PORTS: [u64; 3] = [5060, 5061, 9091];

/// An edge that carries messages to the partner, of those that run.
fn serving(compose: &Compose<'_>, running: &BTreeSet<String>) -> String {
    let serves = |id: &&String| compose.log_of(id).contains("a stream to the partner is open");
    running.iter().find(serves).expect("messages to the partner have passed").clone()
}

/// Lets messages flow both ways while `change` happens, and until they cross again after it.
fn survive(traffic: &mut Traffic, what: &str, change: impl FnOnce()) {
    traffic.begin();
    traffic.wait_until_some_are_sent();
    change();
    let changed_ms = now_ms();
    until(&format!("messages that cross after {what}"), Deadline::after_s(CROSS_S_MAX), || {
        if traffic.has_crossed_since(changed_ms) {
            return Ok(());
        }
        if traffic.is_sent() {
            traffic.finish();
            traffic.begin();
        }
        Err("none did, in one direction or both".to_owned())
    });
    show(&format!("{what}: messages crossed again after {} ms", now_ms() - changed_ms));
    traffic.finish();
}

fn exchange_presence(traffic: &mut Traffic) {
    let soon = || Deadline::after_s(20);
    let Traffic { juliet, romeo, .. } = traffic;
    let subscription = romeo.subscribe(JULIET_URI, 600);
    juliet.expect_presence_type(ROMEO_JID, "subscribe", soon());
    juliet.send_presence_type(ROMEO_JID, "subscribed");
    let status = Some("on the balcony");
    juliet.send_presence(&NewPresence { status, ..NewPresence::default() });
    romeo.expect_notify(&subscription, "her status", soon(), |it| it.body.contains("balcony"));
    juliet.send_presence_type(ROMEO_JID, "subscribe");
    juliet.expect_presence_type(ROMEO_JID, "subscribed", soon());
    let note = pidf("sip:romeo@contoso.example", true, "in the garden");
    assert_eq!(romeo.publish(&note, 600).status, 200);
    juliet.expect_presence("his note", soon(), |it| {
        it.is_from(ROMEO_JID) && it.status.as_deref() == Some("in the garden")
    });
}

/// What users of the documented commands see.
fn say_as_the_readme_does(compose: &Compose<'_>) {
    for (from, to, text, answer) in [
        (Service::Juliet, Service::Romeo, "Art thou not Romeo?", "sent to romeo@contoso.example"),
        (Service::Romeo, Service::Juliet, "Neither, fair saint.", "SIP/2.0 200 OK"),
    ] {
        let said = compose.run(&["exec", "-T", from.name(), "say", text], 30);
        assert_eq!(said.trim(), answer);
        let to = compose.only(to);
        until(text, Deadline::after_s(30), || match compose.log_of(&to) {
            log if log.contains(text) => Ok(()),
            log => Err(log),
        });
    }
}

fn assert_hardened(compose: &Compose<'_>) {
    for container in compose.containers() {
        let (service, host) = (&container["Config"]["Labels"], &container["HostConfig"]);
        let service = &service["com.docker.compose.service"];
        assert_eq!(container["Config"]["User"], "10001:10001", "{service}");
        assert_eq!(host["ReadonlyRootfs"], true, "{service}");
        assert_eq!(host["CapDrop"], serde_json::json!(["ALL"]), "{service}");
        assert!(host["CapAdd"].is_null(), "{service}");
        assert_eq!(host["SecurityOpt"], serde_json::json!(["no-new-privileges:true"]), "{service}");
        let ports = host["PortBindings"].as_object().is_none_or(serde_json::Map::is_empty);
        assert!(ports, "{service} publishes no port");
    }
}

/// What a scan has found, as `tests/drivers/scan.py` writes it.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
struct Found {
    open: Vec<(String, u64)>,
    neighbours: Vec<String>,
}

fn found(mut scan: Process) -> Found {
    let deadline = Deadline::after_s(SCAN_S_MAX);
    let line = loop {
        let line = scan.next_line(deadline).unwrap_or_else(|| panic!("a scan has no result"));
        if line.source == Source::Out {
            break &line.text;
        }
    };
    serde_json::from_str(line).expect("the scan writes JSON")
}

#[test]
fn edges_come_and_go_and_none_reaches_the_inner_network() {
    in_directory(|place| {
        let compose = Compose::up(place, EDGES);
        assert_hardened(&compose);
        say_as_the_readme_does(&compose);
        let mut traffic = Traffic::start(place, &compose);
        exchange_presence(&mut traffic);
        survive(&mut traffic, "nothing", || {});

        let mut running: BTreeSet<String> = compose.ids(Service::Edge).into_iter().collect();
        assert_eq!(running.len(), EDGES);
        let mut frontend = compose.addresses(&compose.only(Service::Frontend));
        let inner = [frontend.clone(), compose.addresses(&compose.only(Service::Romeo))].concat();
        // What is left is its address in the network of the link.
        frontend.retain(|it| it != HOME);
        let mut stopped = Vec::new();
        for what in ["the first stop", "the second stop"] {
            let edge = serving(&compose, &running);
            survive(&mut traffic, what, || compose.docker(&["stop", &edge]));
            running.remove(&edge);
            stopped.push(edge);
        }
        let from_edge = compose.scan(running.first().expect("one is left"), &inner, FRONTEND_PORTS);
        for (edge, what) in stopped.iter().zip(["the first start", "the second start"]) {
            survive(&mut traffic, what, || compose.docker(&["start", edge]));
        }
        until("started edges that are ready", Deadline::after_s(ATTACH_S_MAX), || {
            compose.unready(Service::Edge)
        });
        survive(&mut traffic, "all is as before", || {});

        // Of the front end an edge sees that it is there, in the link's network, and no more.
        let found_by_edge = found(from_edge);
        assert_eq!(found_by_edge.open, [], "an edge reaches the inside");
        assert_eq!(found_by_edge.neighbours, frontend, "who answers for what");
        // What the scan finds where there is something to find.
        let inside = compose.only(Service::Romeo);
        let home = || HOME.to_owned();
        let open = vec![(home(), 5060), (home(), 5061)];
        let seen = found(compose.scan(&inside, &[home()], FRONTEND_PORTS));
        assert_eq!(seen, Found { open, neighbours: vec![home()] });
    });
}
