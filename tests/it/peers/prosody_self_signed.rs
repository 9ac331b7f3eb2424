//! Prosody as a partner with a self-signed certificate: it proves itself by dialback.

use tests::namespace::in_namespace;
use tests::prosody::Situation;

use super::xmpp_pair::{Proof, converse};

#[test]
fn texts_and_presence_cross_by_dialback_of_the_partner() {
    in_namespace(
        "peers::prosody_self_signed::texts_and_presence_cross_by_dialback_of_the_partner",
        |place| {
            let mut pair = converse(place, Situation::SelfSigned);
            assert_eq!(pair.our_proof(), Proof::External);
            assert_eq!(pair.partner_proof(), Proof::Dialback);
        },
    );
}
