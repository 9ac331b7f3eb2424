//! Several edges behind one name: all are attached to, found and lost without a restart.

use std::net::Ipv4Addr;

use tests::appliance::{Appliance, EDGE, Setup, launch_replica};
use tests::dns::Records;
use tests::namespace::in_namespace;
use tests::process::{Mark, Process};
use tests::prosody::Situation;
use tests::sip_user::SipUser;
use tests::wait::{Deadline, until};
use tests::xmpp_user::XmppUser;

use super::contoso::{self, JULIET_URI, ROMEO_JID, start_with_records};

/// Where the edge's replicas are reached, by partners and by the front end.
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);
const THIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// The front end resolves the name again every 30 s.
const FOUND_S_MAX: u64 = 60;
/// It ends a link when two answers in a row lack the address.
const LOST_S_MAX: u64 = 120;

/// The edges that the front end is to find, at all of which partners find contoso.example.
fn records(edges: &[Ipv4Addr]) -> Records {
    let mut records = contoso::records();
    for (address, priority) in [(SECOND, 20), (THIRD, 30)] {
        let host = format!("xmpp{priority}.contoso.example");
        records = records.address(&host, address);
        records = records.service("_xmpp-server._tcp.contoso.example", &host, 5269, priority);
    }
    edges.iter().fold(records, |records, address| records.address("edges.example", *address))
}

fn wait_until_attached(appliance: &Appliance, count: f64, deadline: Deadline) {
    until(&format!("{count} attached edges"), deadline, || {
        match appliance.frontend_counter("gateway_edges_attached", "") {
            attached if attached == count => Ok(()),
            attached => Err(format!("{attached}")),
        }
    });
}

fn exchange(juliet: &mut XmppUser, romeo: &mut SipUser, text: &str) {
    juliet.say(ROMEO_JID, text);
    romeo.expect_text(text, Deadline::after_s(40));
    answer(juliet, romeo, text);
}

fn answer(juliet: &mut XmppUser, romeo: &mut SipUser, text: &str) {
    assert_eq!(romeo.say(JULIET_URI, text).status, 200);
    juliet.expect_message("the text", Deadline::after_s(40), |message| {
        message.is_from(ROMEO_JID) && message.body.as_deref() == Some(text)
    });
}

fn serves_the_partner(edge: &mut Process) -> bool {
    !edge.lines_with(Mark::START, "a stream to the partner is open").is_empty()
}

#[test]
fn edges_behind_one_name_are_all_used_and_found_and_lost_without_a_restart() {
    let test =
        "stories::edges::edges_behind_one_name_are_all_used_and_found_and_lost_without_a_restart";
    in_namespace(test, |place| {
        let setup = Setup { edges: &["edges.example:23456"], ..Setup::default() };
        let found = records(&[EDGE, SECOND]);
        let certified = Situation::Certified;
        let mut world = start_with_records(place, &setup, certified, |prosody| prosody, &found);
        let mut second = launch_replica("edge-second", SECOND, place.directory());
        wait_until_attached(&world.appliance, 2.0, Deadline::after_s(FOUND_S_MAX));
        let (mut juliet, mut romeo) = (world.juliet(place), world.romeo(place));
        exchange(&mut juliet, &mut romeo, "through two edges");

        let by_second = serves_the_partner(&mut second);
        assert_ne!(by_second, serves_the_partner(world.appliance.edge()), "a pair has one edge");
        let (killed, left) = match by_second {
            true => (&mut second, EDGE),
            false => (world.appliance.edge(), SECOND),
        };
        killed.kill_9();
        wait_until_attached(&world.appliance, 1.0, Deadline::after_s(20));
        exchange(&mut juliet, &mut romeo, "through the one that is left");

        let mut third = launch_replica("edge-third", THIRD, place.directory());
        world.dns.replace(&records(&[left, THIRD]));
        third.wait_for_line("a front end has attached", Deadline::after_s(FOUND_S_MAX));
        wait_until_attached(&world.appliance, 2.0, Deadline::after_s(20));
        exchange(&mut juliet, &mut romeo, "through the one that is left, or the third");

        world.dns.replace(&records(&[THIRD]));
        wait_until_attached(&world.appliance, 1.0, Deadline::after_s(LOST_S_MAX));
        let left = if by_second { world.appliance.edge() } else { &mut second };
        left.wait_for_line("a front end is gone", Deadline::after_s(20));
        // The partner's own stream still leads to the edge that was given up. The home may have
        // closed the device's connection, which was silent meanwhile.
        romeo.reconnect();
        assert_eq!(romeo.register(600).status, 200);
        answer(&mut juliet, &mut romeo, "through the third");
    });
}
