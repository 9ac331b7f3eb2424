//! Texts cross both ways exactly, in each situation of certificates.

use tests::appliance::Setup;
use tests::namespace::in_namespace;
use tests::prosody::Situation;
use tests::wait::Deadline;

use super::contoso::{JULIET_URI, ROMEO_JID, start};

const TEXTS: [&str; 5] = [
    "Art thou not Romeo, and a Montague?",
    "Ünïcödé 😀👩‍👩‍👧 — שלום עולם مرحبا",
    "<b>&amp; \"quoted\" 'apostrophes' & <",
    "x",
    "two\nlines\n\tand a tab  ",
];

fn texts_cross(name: &str, situation: Situation, with_acks: bool) {
    in_namespace(&format!("stories::texts::{name}"), |place| {
        let world = start(place, &Setup::default(), situation, |prosody| {
            if with_acks { prosody } else { prosody.without_stream_management() }
        });
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        let long = "à".repeat(30_000);
        for text in TEXTS.into_iter().chain([long.as_str()]) {
            juliet.say(ROMEO_JID, text);
            romeo.expect_text(text, Deadline::after_s(20));
            assert_eq!(romeo.say(JULIET_URI, text).status, 200);
            juliet.expect_message("the text", Deadline::after_s(20), |message| {
                message.is_from(ROMEO_JID) && message.body.as_deref() == Some(text)
            });
        }
    });
}

#[test]
fn external_both_ways() {
    texts_cross("external_both_ways", Situation::Certified, true);
}

#[test]
fn external_both_ways_without_acks() {
    texts_cross("external_both_ways_without_acks", Situation::Certified, false);
}

#[test]
fn dialback_of_the_partner() {
    texts_cross("dialback_of_the_partner", Situation::SelfSigned, true);
}

#[test]
fn dialback_both_ways() {
    texts_cross("dialback_both_ways", Situation::Unrelated, true);
}
