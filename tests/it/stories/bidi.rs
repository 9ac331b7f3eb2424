//! Both directions on one stream (XEP-0288), with Prosody, whoever connects first.

use tests::appliance::{Appliance, OPEN_POLICY, Setup};
use tests::contoso::{JULIET_URI, ROMEO_JID, World, start};
use tests::namespace::{Place, in_namespace};
use tests::process::Mark;
use tests::prosody::{self, Situation};
use tests::sip_user::SipUser;
use tests::wait::{Deadline, until};
use tests::xmpp_user::XmppUser;

/// What one stream that carries both directions looks like.
const OPENED_BY_THEM: &str = "inbound, both ways\tcontoso.example\tfabrikam.example\tSASL EXTERNAL";
const OPENED_BY_US: &str = "outbound, both ways\tcontoso.example\tfabrikam.example\tSASL EXTERNAL";

fn to_contoso(juliet: &mut XmppUser, romeo: &mut SipUser, text: &str) {
    juliet.say(ROMEO_JID, text);
    romeo.expect_text(text, Deadline::after_s(40));
}

/// The answer comes at once where the partner has confirmed the message.
fn to_fabrikam(juliet: &mut XmppUser, romeo: &mut SipUser, text: &str) {
    assert_eq!(romeo.say(JULIET_URI, text).status, 200);
    juliet.expect_message("the text", Deadline::after_s(40), |message| {
        message.is_from(ROMEO_JID) && message.body.as_deref() == Some(text)
    });
}

/// Waits until exactly these streams are shown.
fn until_shown(appliance: &Appliance, streams: &[&str]) {
    until(&format!("{streams:?}"), Deadline::after_s(20), || {
        let shown = appliance.edges();
        let lines: Vec<&str> = shown.iter().skip(1).map(|line| line.trim()).collect();
        let right = lines.len() == streams.len()
            && streams.iter().zip(&lines).all(|(stream, line)| line.starts_with(stream));
        if right { Ok(()) } else { Err(shown.join("\n")) }
    });
}

/// How many streams were established so far, in both directions.
fn established(appliance: &Appliance) -> f64 {
    let count = |direction: &str| {
        let labels = format!("direction=\"{direction}\",tls=\"starttls\"");
        appliance.edge_counter("edge_xmpp_established_total", &labels)
    };
    count("inbound") + count("outbound")
}

fn with_acks(prosody: prosody::Setup, has_acks: bool) -> prosody::Setup {
    let prosody = prosody.with_bidi();
    if has_acks { prosody } else { prosody.without_stream_management() }
}

fn cross_both_ways(place: &Place, has_acks: bool, they_begin: bool) {
    let change = |prosody| with_acks(prosody, has_acks);
    let mut world = start(place, &Setup::default(), Situation::Certified, change);
    let (mut juliet, mut romeo) = (world.juliet(place), world.romeo(place));
    for text in ["one", "two", "three"] {
        let (forth, back) = (format!("{text} to contoso"), format!("{text} to fabrikam"));
        if they_begin {
            to_contoso(&mut juliet, &mut romeo, &forth);
        }
        to_fabrikam(&mut juliet, &mut romeo, &back);
        if !they_begin {
            to_contoso(&mut juliet, &mut romeo, &forth);
        }
    }
    until_shown(&world.appliance, &[if they_begin { OPENED_BY_THEM } else { OPENED_BY_US }]);
    assert_eq!(established(&world.appliance), 1.0, "one stream carried all");
    let asked = if they_begin { "Requesting bidi" } else { "Requested bidi" };
    assert_eq!(world.prosody.process().lines_with(Mark::START, asked).len(), 1);
}

#[test]
fn texts_cross_both_ways_on_the_stream_of_the_partner() {
    let test = "stories::bidi::texts_cross_both_ways_on_the_stream_of_the_partner";
    in_namespace(test, |place| cross_both_ways(place, true, true));
}

#[test]
fn texts_cross_both_ways_on_the_stream_of_a_partner_without_acks() {
    let test = "stories::bidi::texts_cross_both_ways_on_the_stream_of_a_partner_without_acks";
    in_namespace(test, |place| cross_both_ways(place, false, true));
}

#[test]
fn texts_cross_both_ways_on_our_stream() {
    let test = "stories::bidi::texts_cross_both_ways_on_our_stream";
    in_namespace(test, |place| cross_both_ways(place, true, false));
}

#[test]
fn texts_cross_both_ways_on_our_stream_to_a_partner_without_acks() {
    let test = "stories::bidi::texts_cross_both_ways_on_our_stream_to_a_partner_without_acks";
    in_namespace(test, |place| cross_both_ways(place, false, false));
}

#[test]
fn a_partner_that_proves_itself_by_dialback_carries_nothing_of_us_before_that() {
    let test = "stories::bidi::\
        a_partner_that_proves_itself_by_dialback_carries_nothing_of_us_before_that";
    in_namespace(test, |place| {
        let world =
            start(place, &Setup::default(), Situation::SelfSigned, prosody::Setup::with_bidi);
        let (mut juliet, mut romeo) = (world.juliet(place), world.romeo(place));
        to_contoso(&mut juliet, &mut romeo, "to contoso");
        to_fabrikam(&mut juliet, &mut romeo, "to fabrikam");
        // Our own stream was needed to verify the key, and its peer has no certificate that counts.
        until_shown(
            &world.appliance,
            &[
                "inbound, both ways\tcontoso.example\tfabrikam.example\tdialback",
                "outbound\tcontoso.example\tfabrikam.example\tSASL EXTERNAL",
            ],
        );
    });
}

#[test]
fn policy_without_bidi_has_a_stream_for_each_direction_at_once() {
    let test = "stories::bidi::policy_without_bidi_has_a_stream_for_each_direction_at_once";
    in_namespace(test, |place| {
        let world =
            start(place, &Setup::default(), Situation::Certified, prosody::Setup::with_bidi);
        let (mut juliet, mut romeo) = (world.juliet(place), world.romeo(place));
        to_fabrikam(&mut juliet, &mut romeo, "on a stream of ours");
        until_shown(&world.appliance, &[OPENED_BY_US]);
        let row = "domain = \"fabrikam.example\"";
        let policy = OPEN_POLICY.replace(row, &format!("{row}\nbidi = false"));
        let file = place.write("without-bidi.toml", &policy);
        let applied = world.appliance.command(&["apply", file.to_str().expect("it is text")], "");
        assert!(applied.status.success(), "{applied:?}");
        until_shown(&world.appliance, &[]);
        to_contoso(&mut juliet, &mut romeo, "to contoso");
        to_fabrikam(&mut juliet, &mut romeo, "to fabrikam");
        until_shown(&world.appliance, &["inbound\tcontoso.example", "outbound\tcontoso.example"]);
    });
}

#[test]
fn a_text_for_a_partner_whose_stream_is_gone_goes_on_another_one() {
    let test = "stories::bidi::a_text_for_a_partner_whose_stream_is_gone_goes_on_another_one";
    in_namespace(test, |place| {
        let mut world: World =
            start(place, &Setup::default(), Situation::Certified, prosody::Setup::with_bidi);
        let mut romeo = world.romeo(place);
        let mut juliet = world.juliet(place);
        to_contoso(&mut juliet, &mut romeo, "to contoso");
        to_fabrikam(&mut juliet, &mut romeo, "to fabrikam");
        until_shown(&world.appliance, &[OPENED_BY_THEM]);
        juliet.close();
        world.prosody.restart();
        until_shown(&world.appliance, &[]);
        let mut juliet = world.juliet(place);
        to_fabrikam(&mut juliet, &mut romeo, "to fabrikam again");
        to_contoso(&mut juliet, &mut romeo, "to contoso again");
        until_shown(&world.appliance, &[OPENED_BY_US]);

        let edge = world.appliance.edge().terminate(Deadline::after_s(12));
        assert_eq!(edge.code(), Some(0));
        world.appliance.restart_edge();
        world.appliance.wait_until_ready();
        to_contoso(&mut juliet, &mut romeo, "to contoso at last");
        to_fabrikam(&mut juliet, &mut romeo, "to fabrikam at last");
        until_shown(&world.appliance, &[OPENED_BY_THEM]);
    });
}
