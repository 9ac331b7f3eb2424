//! Prosody as a partner whose authority is unknown to ours and ours to it: dialback both ways.

use tests::namespace::in_namespace;
use tests::prosody::Situation;

use super::xmpp_pair::{Proof, converse};

#[test]
fn texts_and_presence_cross_by_dialback_both_ways() {
    in_namespace(
        "peers::prosody_unrelated::texts_and_presence_cross_by_dialback_both_ways",
        |place| {
            let mut pair = converse(place, Situation::Unrelated);
            assert_eq!(pair.our_proof(), Proof::Dialback);
            assert_eq!(pair.partner_proof(), Proof::Dialback);
        },
    );
}
