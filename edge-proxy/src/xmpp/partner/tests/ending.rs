//! What an ending process waits for.

use super::{LIMITS, Rig, SECOND, no_answer};

#[test]
fn only_what_may_soon_have_an_outcome_is_waited_for() {
    let mut rig = Rig::new(LIMITS);
    assert!(!rig.partner.is_busy(), "nothing waits");
    rig.send(1, 1);
    assert!(rig.partner.is_busy(), "it waits for a connection");
    rig.fail(no_answer());
    assert!(!rig.partner.is_busy(), "the next attempt is too far off");
    rig.pass(SECOND);
    assert!(!rig.partner.has_stream());
    rig.negotiate();
    assert!(rig.partner.has_stream() && rig.partner.is_busy(), "it is not confirmed");
    rig.transmitted();
    rig.acknowledge(1);
    assert!(!rig.partner.is_busy());

    rig.partner.close(rig.now);
    assert_eq!(rig.transmitted(), "</stream:stream>");
    assert!(rig.partner.has_stream(), "the peer has not ended its own");
    rig.hear("</stream:stream>");
    assert!(!rig.partner.has_stream());
}
