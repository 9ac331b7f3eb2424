//! Real user agents as devices of the home, each with an XMPP user at the other end.

use std::net::Ipv4Addr;

use tests::account::Account;
use tests::appliance::Setup;
use tests::namespace::in_namespace;
use tests::prosody::Situation;
use tests::wait::Deadline;
use tests::xmpp_user::NewPresence;
use tests::{baresip, linphonec, sipp};

use super::contoso::{JULIET_URI, ROMEO, ROMEO_JID, start};

fn soon() -> Deadline {
    Deadline::after_s(30)
}

#[test]
fn baresip_with_a_legacy_digest() {
    in_namespace("stories::devices::baresip_with_a_legacy_digest", |place| {
        let home = Ipv4Addr::new(10, 77, 0, 1);
        place.add_interface("sip0", home);
        let setup = Setup { home, ..Setup::default() };
        let world = start(place, &setup, Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        world.appliance.add_legacy_user(&ROMEO);
        juliet.send_presence_type(ROMEO_JID, "subscribe");
        let server = world.appliance.sip();
        let setup = baresip::Setup { account: ROMEO, server, address: home, contact: JULIET_URI };
        let mut romeo = setup.start(place);

        romeo.say("hello from baresip, café 😀");
        juliet.expect_message("the text", soon(), |message| {
            message.body.as_deref() == Some("hello from baresip, café 😀")
        });
        let mark = romeo.process().mark();
        juliet.say(ROMEO_JID, "hello baresip 🌹");
        romeo.expect_text(mark, JULIET_URI, "hello baresip 🌹", soon());

        juliet.expect_presence_type(ROMEO_JID, "subscribed", soon());
        for is_online in [false, true] {
            romeo.set_online(is_online);
            let kind = (!is_online).then_some("unavailable");
            juliet.expect_presence(&format!("online: {is_online}"), soon(), |presence| {
                presence.is_from(ROMEO_JID) && presence.kind.as_deref() == kind
            });
        }
        juliet.send_presence_type(ROMEO_JID, "subscribed");
        romeo.expect_contact("Online", soon());
        juliet.send_presence(&NewPresence { kind: Some("unavailable"), ..Default::default() });
        romeo.expect_contact("Offline", soon());
    });
}

#[test]
fn linphonec_with_sha_256_over_tls() {
    in_namespace("stories::devices::linphonec_with_sha_256_over_tls", |place| {
        let home = Ipv4Addr::new(127, 0, 0, 4);
        place.name_address("contoso.example", home);
        let world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        world.appliance.add_user(&ROMEO);
        let ca = world.ca.certificate();
        let setup = linphonec::Setup {
            account: ROMEO,
            server: "contoso.example",
            port: 5061,
            ca,
            friend: JULIET_URI,
        };
        let mut romeo = setup.start(place);

        romeo.say(JULIET_URI, "hello from linphonec, café");
        juliet.expect_message("the text", soon(), |message| {
            message.body.as_deref() == Some("hello from linphonec, café")
        });
        let mark = romeo.process().mark();
        juliet.say(ROMEO_JID, "hello linphonec 🌹");
        romeo.expect_text(mark, JULIET_URI, "hello linphonec 🌹", soon());

        juliet.expect_presence_type(ROMEO_JID, "subscribe", soon());
        let mark = romeo.process().mark();
        juliet.send_presence_type(ROMEO_JID, "subscribed");
        romeo.expect_friend(mark, JULIET_URI, "Online", soon());
        juliet.send_presence_type(ROMEO_JID, "subscribe");
        juliet.expect_presence("Romeo available", soon(), |presence| {
            presence.is_from(ROMEO_JID) && presence.kind.is_none()
        });
        let mark = romeo.process().mark();
        juliet.send_presence(&NewPresence { kind: Some("unavailable"), ..Default::default() });
        romeo.expect_friend(mark, JULIET_URI, "Offline", soon());
    });
}

#[test]
fn sipp_over_tcp() {
    in_namespace("stories::devices::sipp_over_tcp", |place| {
        let world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let account = Account { user: "sipp", domain: "contoso.example", password: "sipp-secret" };
        world.appliance.add_legacy_user(&account);
        let setup = sipp::Setup {
            name: "sipp",
            address: Ipv4Addr::new(127, 0, 0, 6),
            server: world.appliance.sip(),
            connections: sipp::Connections::Shared,
        };
        let texts = [(JULIET_URI, "the first"), (JULIET_URI, "the second, café")];
        let mut romeo = setup.user(place, &account, &texts, 60);
        for (_, text) in texts {
            juliet.expect_message(text, soon(), |it| it.body.as_deref() == Some(text));
        }
        romeo.expect_all_sent(soon());
        let mark = romeo.process().mark();
        juliet.say("sipp@contoso.example", "hello sipp 🌹");
        romeo.expect_text(mark, "hello sipp 🌹", soon());
    });
}
