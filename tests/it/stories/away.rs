//! Messages for users who are away are kept, and come with their original time.

use tests::appliance::Setup;
use tests::namespace::in_namespace;
use tests::prosody::Situation;
use tests::wait::{Deadline, until};

use super::contoso::{JULIET_JID, ROMEO, ROMEO_JID, start};

#[test]
fn messages_are_kept_over_a_restart_and_delivered_in_order_with_their_time() {
    let test =
        "stories::away::messages_are_kept_over_a_restart_and_delivered_in_order_with_their_time";
    in_namespace(test, |place| {
        let mut world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        world.appliance.add_user(&ROMEO);
        for number in 1..=3 {
            juliet.say(ROMEO_JID, &format!("kept {number}"));
        }
        until("three kept messages", Deadline::after_s(20), || {
            let labels = "outcome=\"delivered\"";
            match world.appliance.frontend_counter("gateway_messages_total", labels) {
                3.0 => Ok(()),
                other => Err(format!("{other}")),
            }
        });
        world.appliance.frontend().kill_9();
        world.appliance.restart_frontend();
        world.appliance.wait_until_ready();
        let mut romeo = world.romeo(place);
        let mut last_key = 0;
        for number in 1..=3 {
            let received = romeo.expect_text(&format!("kept {number}"), Deadline::after_s(20));
            assert!(received.header("Date").ends_with("GMT"), "when it was sent");
            assert!(received.header("From").contains(JULIET_JID));
            assert!(received.key > last_key, "in the order in which they were sent");
            last_key = received.key;
        }
    });
}
