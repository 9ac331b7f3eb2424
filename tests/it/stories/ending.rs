//! What both sides see when a server between them ends: the edge politely, the partner's not.

use tests::appliance::Setup;
use tests::namespace::in_namespace;
use tests::process::Mark;
use tests::prosody::Situation;
use tests::sip_user::SipUser;
use tests::wait::{Deadline, until};
use tests::xmpp_user::XmppUser;

use super::contoso::{JULIET_JID, JULIET_URI, ROMEO_JID, start};

fn soon() -> Deadline {
    Deadline::after_s(20)
}

fn texts_cross(juliet: &mut XmppUser, romeo: &mut SipUser, text: &str) {
    juliet.say(ROMEO_JID, text);
    romeo.expect_text(text, soon());
    assert_eq!(romeo.say(JULIET_URI, text).status, 200);
    juliet.expect_message(text, soon(), |it| it.body.as_deref() == Some(text));
}

fn an_edge_ends_politely(name: &str, with_acks: bool) {
    in_namespace(&format!("stories::ending::{name}"), |place| {
        let mut world = start(place, &Setup::default(), Situation::Certified, |prosody| {
            if with_acks { prosody } else { prosody.without_stream_management() }
        });
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        texts_cross(&mut juliet, &mut romeo, "before");

        let mark = world.prosody.process().mark();
        let status = world.appliance.edge().terminate(Deadline::after_s(8));
        assert_eq!(status.code(), Some(0));
        let cut = world.appliance.edge().lines_with(Mark::START, "cut off");
        assert_eq!(cut, [""; 0]);
        until("the end of both streams", soon(), || {
            match world.prosody.process().lines_with(mark, "Received </stream:stream>").len() {
                2 => Ok(()),
                count => Err(format!("{count} ended")),
            }
        });
        let errors = world.prosody.process().lines_with(mark, "stream error");
        assert_eq!(errors, [""; 0]);

        world.appliance.restart_edge();
        world.appliance.wait_until_ready();
        texts_cross(&mut juliet, &mut romeo, "after");
    });
}

#[test]
fn an_edge_that_is_told_to_stop_ends_its_streams_and_serves_again_afterwards() {
    let name = "an_edge_that_is_told_to_stop_ends_its_streams_and_serves_again_afterwards";
    an_edge_ends_politely(name, true);
}

#[test]
fn an_edge_ends_its_streams_with_a_partner_that_has_no_acks() {
    an_edge_ends_politely("an_edge_ends_its_streams_with_a_partner_that_has_no_acks", false);
}

#[test]
fn users_of_a_partner_that_cannot_be_connected_to_show_as_gone() {
    let test = "stories::ending::users_of_a_partner_that_cannot_be_connected_to_show_as_gone";
    in_namespace(test, |place| {
        let mut world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        let subscription = romeo.subscribe(JULIET_URI, 600);
        juliet.expect_presence_type(ROMEO_JID, "subscribe", soon());
        juliet.send_presence_type(ROMEO_JID, "subscribed");
        romeo.expect_notify(&subscription, "open", soon(), |it| it.body.contains(">open<"));

        world.prosody.process().kill_9();
        // Whatever is sent shows that nobody listens there.
        assert_eq!(romeo.say(JULIET_URI, "are you there?").status, 202);
        let gone = format!("{JULIET_JID} gone");
        romeo.expect_notify(&subscription, &gone, soon(), |it| it.body.contains(">closed<"));
    });
}
