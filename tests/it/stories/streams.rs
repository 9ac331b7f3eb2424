//! What `frontend-gateway edges` shows: every edge, and the streams with partners that it has.

use std::net::Ipv4Addr;

use tests::appliance::{Appliance, EDGE, Setup, launch_replica};
use tests::contoso::{self, JULIET_URI, ROMEO_JID, start_with_records};
use tests::namespace::in_namespace;
use tests::process::Mark;
use tests::prosody::Situation;
use tests::sip_user::SipUser;
use tests::wait::{Deadline, until};
use tests::xmpp_user::XmppUser;

/// Where the edge's replica is reached.
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);

/// Waits until the lines that are shown are so.
fn until_shown(appliance: &Appliance, what: &str, is_so: impl Fn(&[String]) -> bool) {
    until(what, Deadline::after_s(60), || {
        let shown = appliance.edges();
        if is_so(&shown) { Ok(()) } else { Err(shown.join("\n")) }
    });
}

/// The lines of the streams of the edge at an address; none where it is not attached.
fn streams(shown: &[String], address: Ipv4Addr) -> Option<Vec<&str>> {
    let begin = format!("edge edge1 at {address}:23456 (edges.example:23456): attached since 20");
    let at = shown.iter().position(|line| line.starts_with(&begin))?;
    let of_edge = shown.iter().skip(at + 1).take_while(|line| line.starts_with("  "));
    Some(of_edge.map(|line| line.trim()).collect())
}

fn has(shown: &[String], address: Ipv4Addr, directions: &[&str]) -> bool {
    let Some(streams) = streams(shown, address) else { return false };
    let right = |direction: &&str, line: &&str| {
        let begin = format!(
            "{direction}\tcontoso.example\tfabrikam.example\tSASL EXTERNAL\tTLS 1.3\topen for "
        );
        line.starts_with(&begin)
    };
    streams.len() == directions.len() && directions.iter().zip(&streams).all(|(d, l)| right(d, l))
}

fn exchange(juliet: &mut XmppUser, romeo: &mut SipUser, text: &str) {
    juliet.say(ROMEO_JID, text);
    romeo.expect_text(text, Deadline::after_s(40));
    assert_eq!(romeo.say(JULIET_URI, text).status, 200);
    juliet.expect_message("the text", Deadline::after_s(40), |message| {
        message.is_from(ROMEO_JID) && message.body.as_deref() == Some(text)
    });
}

#[test]
fn each_edge_is_shown_with_its_streams_until_they_or_it_end_and_after_a_restart() {
    let test = "stories::streams::\
        each_edge_is_shown_with_its_streams_until_they_or_it_end_and_after_a_restart";
    in_namespace(test, |place| {
        let setup = Setup { edges: &["edges.example:23456"], ..Setup::default() };
        // Partners come to the first edge alone.
        let records =
            contoso::records().address("edges.example", EDGE).address("edges.example", SECOND);
        let mut world =
            start_with_records(place, &setup, Situation::Certified, |prosody| prosody, &records);
        let mut second = launch_replica("edge-second", SECOND, place.directory());
        until_shown(&world.appliance, "two edges without streams", |shown| {
            has(shown, EDGE, &[]) && has(shown, SECOND, &[])
        });
        let (mut juliet, mut romeo) = (world.juliet(place), world.romeo(place));
        exchange(&mut juliet, &mut romeo, "two streams");
        let opened = "a stream to the partner is open";
        let by_second = !second.lines_with(Mark::START, opened).is_empty();
        let (of_first, of_second): (&[&str], &[&str]) = match by_second {
            true => (&["inbound"], &["outbound"]),
            false => (&["inbound", "outbound"], &[]),
        };
        let is_open =
            |shown: &[String]| has(shown, EDGE, of_first) && has(shown, SECOND, of_second);
        until_shown(&world.appliance, "each stream at its edge", is_open);

        world.appliance.restart_frontend();
        world.appliance.wait_until_ready();
        until_shown(&world.appliance, "the same streams after a restart", is_open);
        let count = second.lines_with(Mark::START, opened).len()
            + world.appliance.edge().lines_with(Mark::START, opened).len();
        assert_eq!(count, 1, "no stream was opened anew");

        world.prosody.process().kill_9();
        until_shown(&world.appliance, "no streams", |shown| {
            has(shown, EDGE, &[]) && has(shown, SECOND, &[])
        });
        second.kill_9();
        until_shown(&world.appliance, "an edge that is gone", |shown| {
            let begin = format!("address {SECOND}:23456 (edges.example:23456): not attached for ");
            let gone = |line: &String| line.starts_with(&begin) && line.contains("refused");
            has(shown, EDGE, &[]) && shown.iter().any(gone)
        });
    });
}
