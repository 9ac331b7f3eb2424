//! A partner that is reached on streams which it opened itself, and one that answers on ours.

use xmpp_proto::stream::Unconfirmed;

use super::*;
use crate::xmpp::partner::Carried;

const STREAM: u64 = 40;
const OTHER: u64 = 41;

impl Rig {
    fn offer(&mut self, stream: u64) {
        self.partner.handle_offer(stream, self.now);
    }

    fn carried(&mut self, stream: u64, carried: Carried) {
        self.partner.handle_carried(stream, carried, self.now);
    }

    fn ended(&mut self, stream: u64, unconfirmed: &[(u64, bool)]) {
        let unconfirmed = unconfirmed.iter();
        let unconfirmed =
            unconfirmed.map(|(token, written)| Unconfirmed { token: *token, written: *written });
        let unconfirmed = unconfirmed.collect();
        self.carried(stream, Carried::Ended { unconfirmed, reason: "it was lost".to_owned() });
    }

    /// What goes on streams of the partner since the effects were taken last: stream, number of the
    /// stanza, token. Nothing is connected to meanwhile.
    fn carries(&mut self) -> Vec<(u64, u8, u64)> {
        let carries = self.effects().into_iter().filter_map(|effect| match effect {
            PartnerEffect::Carry { stream, token, bytes } => Some((stream, bytes[0] - b'0', token)),
            PartnerEffect::Locate => panic!("a connection of ours"),
            _ => None,
        });
        carries.collect()
    }
}

#[test]
fn a_stream_of_the_partner_is_used_instead_of_connecting() {
    let mut rig = Rig::new(LIMITS);
    rig.offer(STREAM);
    rig.send(1, 1);
    rig.send(2, 1);
    assert_eq!(rig.carries(), [(STREAM, 1, 1), (STREAM, 2, 2)]);
    assert!(rig.partner.is_busy() && !rig.partner.has_stream());

    rig.carried(STREAM, Carried::Delivered(1));
    rig.carried(STREAM, Carried::Delivered(2));
    assert_eq!(rig.outcomes(), [(1, Ok(())), (2, Ok(()))]);
    assert!(!rig.partner.is_busy());
}

#[test]
fn it_takes_what_waits_for_a_connection_even_where_there_may_be_none() {
    let both = vec![(STREAM, 1, 1), (STREAM, 2, 2)];
    let second = vec![(STREAM, 2, 1)];
    for (failure, carried) in [(no_answer(), both), (no_address(), second)] {
        let mut rig = Rig::new(LIMITS);
        rig.send(1, 1);
        rig.fail(failure);
        rig.effects();
        rig.offer(STREAM);
        rig.send(2, 1);
        assert_eq!(rig.carries(), carried);
    }
}

#[test]
fn what_is_unconfirmed_at_its_end_has_the_outcome_that_it_has_on_our_own() {
    let mut rig = Rig::new(LIMITS);
    rig.offer(STREAM);
    for number in 1..=3 {
        rig.send(number, 1);
    }
    assert_eq!(rig.carries().len(), 3);
    // The second was not written, and the third the stream has not heard of.
    rig.ended(STREAM, &[(1, true), (2, false)]);
    let effects = rig.effects();
    let connects = effects.iter().filter(|it| matches!(it, PartnerEffect::Locate)).count();
    assert_eq!(connects, 1, "{effects:?}");
    let in_doubt = effects.iter().any(|effect| match effect {
        PartnerEffect::Outcome(id, Err(bounced)) => id[0] == 1 && bounced.possibly_delivered,
        _ => false,
    });
    assert!(in_doubt, "{effects:?}");

    rig.locate(&["xmpp.fabrikam.example"]);
    rig.negotiate();
    assert!(rig.transmitted().contains("23"), "in order");
    rig.acknowledge(2);
    assert_eq!(rig.outcomes(), [(2, Ok(())), (3, Ok(()))]);
}

#[test]
fn the_next_one_takes_over_from_one_that_ends_or_refuses() {
    let mut rig = Rig::new(LIMITS);
    rig.offer(OTHER);
    rig.offer(STREAM);
    rig.send(1, 1);
    rig.send(2, 1);
    rig.send(3, 1);
    assert_eq!(rig.carries(), [(STREAM, 1, 1), (STREAM, 2, 2), (STREAM, 3, 3)]);
    rig.carried(STREAM, Carried::Refused(2));
    assert_eq!(rig.carries(), [(OTHER, 2, 4), (OTHER, 3, 5)]);
    rig.carried(STREAM, Carried::Refused(3));
    assert_eq!(rig.carries(), [], "it is known already");

    rig.carried(STREAM, Carried::Delivered(1));
    rig.ended(OTHER, &[(4, false)]);
    let connects = rig.effects().iter().filter(|it| matches!(it, PartnerEffect::Locate)).count();
    assert_eq!(connects, 1, "what refused is not used again");
}

#[test]
fn an_open_stream_of_ours_is_kept_to() {
    let mut rig = Rig::open(LIMITS);
    rig.offer(STREAM);
    rig.send(1, 1);
    assert_eq!(rig.carries(), []);
    assert!(rig.transmitted().contains('1'));
}

#[test]
fn nothing_on_a_new_stream_of_ours_overtakes_what_is_on_theirs() {
    let mut rig = Rig::new(LIMITS);
    rig.partner.verify(
        VerifyRequest { pair: pair(), stream_id: "s9".to_owned(), key: "k".to_owned() },
        rig.now,
    );
    rig.effects();
    rig.offer(STREAM);
    rig.send(1, 1);
    rig.negotiate();
    rig.send(2, 1);
    assert_eq!(rig.carries().len(), 2, "a key is never verified on the stream that brought it");
    rig.carried(STREAM, Carried::Delivered(1));
    rig.carried(STREAM, Carried::Delivered(2));
    rig.transmitted();
    rig.send(3, 1);
    assert!(rig.transmitted().contains('3'));
    assert_eq!(rig.carries(), []);
}

#[test]
fn a_partner_that_confirms_nothing_there_holds_no_more_than_may_wait() {
    let mut rig = Rig::new(LIMITS);
    rig.offer(STREAM);
    rig.send(1, 60);
    rig.send(2, 60);
    assert_eq!(rig.carries(), [(STREAM, 1, 1)]);
    rig.carried(STREAM, Carried::Delivered(1));
    assert_eq!(rig.carries(), [(STREAM, 2, 2)]);

    let mut rig = Rig::new(LIMITS);
    rig.offer(STREAM);
    for number in 1..=5 {
        rig.send(number, 1);
    }
    assert_eq!(rig.carries().len(), LIMITS.items_max);
}

#[test]
fn policy_that_leaves_the_partner_or_bidi_out_uses_it_no_more() {
    let mut rig = Rig::new(LIMITS);
    rig.offer(STREAM);
    rig.send(1, 1);
    rig.effects();
    let mut without = admitted(LIMITS);
    let terms = StreamTerms::new(TlsTerms::Required, SaslTerms::Optional, true).unwrap();
    without.streams.partners.insert(domain("fabrikam.example"), terms);
    rig.admit(without);
    rig.send(2, 1);
    assert_eq!(rig.connects(), 1);
    rig.carried(STREAM, Carried::Delivered(1));
    assert_eq!(rig.outcomes(), [(1, Ok(()))], "what is on its way may still be confirmed");

    let mut rig = Rig::new(LIMITS);
    rig.offer(STREAM);
    rig.admit(Admitted::default());
    rig.send(1, 1);
    assert_eq!(rig.outcomes(), [(1, bounced(StanzaCondition::Forbidden))]);
}

const BIDI: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>EXTERNAL</mechanism></mechanisms><bidi xmlns='urn:xmpp:features:bidi'/>\
    </stream:features>";
const MESSAGE: &str = "<message from='juliet@fabrikam.example' to='romeo@contoso.example'/>";

/// A partner whose stream of ours is open and bidirectional.
fn bidirectional() -> Rig {
    let mut rig = Rig::new(LIMITS);
    rig.send(0, 1);
    rig.partner.handle_connected([7; 32], &rig.admitted, rig.now);
    for words in [HEADER, STARTTLS, PROCEED] {
        rig.hear(words);
    }
    rig.partner.handle_tls(&Proves, &rig.admitted, rig.now);
    for words in [HEADER, BIDI, SUCCESS, HEADER, MANAGEMENT, ENABLED] {
        rig.hear(words);
    }
    assert!(rig.transmitted().contains("<bidi xmlns='urn:xmpp:bidi'>"));
    rig
}

#[test]
fn what_our_stream_brings_is_handed_on_and_acknowledged_when_the_owner_says_so() {
    let mut rig = bidirectional();
    let is_reported = rig.effects().iter().any(|effect| match effect {
        PartnerEffect::Report(report) => report.bidirectional,
        _ => false,
    });
    assert!(is_reported);
    rig.hear(MESSAGE);
    let received = rig.effects();
    assert!(matches!(received[..], [PartnerEffect::Received(_)]), "{received:?}");

    rig.hear("<r xmlns='urn:xmpp:sm:3'/>");
    assert!(rig.transmitted().contains("h='0'"), "nobody has answered for it");
    rig.partner.acknowledge(1, rig.now);
    assert!(rig.transmitted().contains("<a xmlns='urn:xmpp:sm:3' h='1'/>"));
}

#[test]
fn policy_without_bidi_ends_our_bidirectional_stream_and_leaves_another() {
    let without = || {
        let mut without = admitted(LIMITS);
        let terms = StreamTerms::new(TlsTerms::Required, SaslTerms::Optional, true).unwrap();
        without.streams.partners.insert(domain("fabrikam.example"), terms);
        without
    };
    let mut both = bidirectional();
    both.admit(without());
    let farewell = both.transmitted();
    assert!(farewell.contains("<reset ") && farewell.ends_with("</stream:stream>"), "{farewell}");

    let mut one = Rig::open(LIMITS);
    one.admit(without());
    assert_eq!(one.transmitted(), "");
}
