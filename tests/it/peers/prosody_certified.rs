//! Prosody as a partner with a certificate of the test authority: EXTERNAL in both directions.

use tests::namespace::in_namespace;
use tests::prosody::Situation;

use super::xmpp_pair::{Proof, converse};

#[test]
fn texts_and_presence_cross_by_external_both_ways() {
    in_namespace(
        "peers::prosody_certified::texts_and_presence_cross_by_external_both_ways",
        |place| {
            let mut pair = converse(place, Situation::Certified);
            assert_eq!(pair.our_proof(), Proof::External);
            assert_eq!(pair.partner_proof(), Proof::External);
        },
    );
}
