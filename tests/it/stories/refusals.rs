//! What does not cross comes back with the right typed error and a text for a person, and
//! `explain` names the gate.

use tests::account::Account;
use tests::appliance::{OPEN_POLICY, Setup};
use tests::namespace::in_namespace;
use tests::prosody::Situation;
use tests::sip_user::{SipUser, Transport};
use tests::wait::Deadline;
use tests::xmpp_user::{StanzaError, XmppUser};

use super::contoso::{JULIET_JID, JULIET_URI, ROMEO_JID, World, start};

const NED: Account<'static> =
    Account { user: "ned", domain: "contoso.example", password: "ned-secret" };
const NED_JID: &str = "ned@contoso.example";
const NED_URI: &str = "sip:ned@contoso.example";

fn refused(juliet: &mut XmppUser, to: &str) -> StanzaError {
    juliet.say(to, "are you there?");
    let error = juliet.expect_message("an error", Deadline::after_s(20), |message| {
        message.is_from(to) && message.kind.as_deref() == Some("error")
    });
    error.error.expect("an error stanza has an error")
}

fn assert_explained(world: &World, from: &str, to: &str, gate: &str) {
    let (passes, text) = world.appliance.explain(from, to);
    let names_it =
        text.lines().any(|line| line.trim_start().starts_with("REFUSED") && line.contains(gate));
    assert!(!passes && names_it, "{gate} is not named in\n{text}");
}

#[test]
fn an_xmpp_sender_learns_why() {
    in_namespace("stories::refusals::an_xmpp_sender_learns_why", |place| {
        let policy = format!(
            "{OPEN_POLICY}\n[[external_access_policy]]\nscope = \"user\"\nname = \"inside\"\n\
             users = [\"ned@contoso.example\"]\nfederation_access = true\nxmpp_access = false\n"
        );
        let setup = Setup {
            policy: &policy,
            home_settings: "messages_per_user_max = 1",
            ..Setup::default()
        };
        let world = start(place, &setup, Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        world.appliance.add_user(&NED);

        let unknown = refused(&mut juliet, "nobody@contoso.example");
        assert_eq!(unknown.condition.as_deref(), Some("item-not-found"));
        assert!(unknown.text.is_some_and(|text| !text.is_empty()));
        assert_explained(&world, JULIET_JID, "nobody@contoso.example", "home-user");

        let no_access = refused(&mut juliet, NED_JID);
        assert_eq!(no_access.condition.as_deref(), Some("forbidden"));
        assert!(no_access.text.is_some_and(|text| text.contains("may not communicate with XMPP")));
        assert_explained(&world, JULIET_JID, NED_JID, "xmpp-access");

        assert_eq!(romeo.register(0).status, 200);
        juliet.say(ROMEO_JID, "kept");
        let full = refused(&mut juliet, ROMEO_JID);
        assert_eq!(full.condition.as_deref(), Some("recipient-unavailable"));
        assert!(full.text.is_some_and(|text| text.contains("is full")));
        assert_explained(&world, JULIET_JID, ROMEO_JID, "home-store");
        assert_eq!(romeo.register(600).status, 200);
        romeo.expect_text("kept", Deadline::after_s(20));
        let (passes, text) = world.appliance.explain(JULIET_JID, ROMEO_JID);
        assert!(passes, "{text}");
    });
}

#[test]
fn a_sip_sender_learns_why() {
    in_namespace("stories::refusals::a_sip_sender_learns_why", |place| {
        let policy = format!(
            "{OPEN_POLICY}\n[[external_access_policy]]\nscope = \"user\"\nname = \"inside\"\n\
             users = [\"ned@contoso.example\"]\nfederation_access = false\nxmpp_access = true\n"
        );
        let setup = Setup {
            policy: &policy,
            home_settings: "messages_per_user_max = 1",
            ..Setup::default()
        };
        let world = start(place, &setup, Situation::Certified, |prosody| prosody);
        let _juliet = world.juliet(place);
        let mut romeo = world.romeo(place);

        let unknown_domain = romeo.say("sip:mercutio@litware.example", "hello?");
        assert_eq!(unknown_domain.status, 404);
        assert!(unknown_domain.received.start_line.contains("litware.example"));
        assert_explained(&world, ROMEO_JID, "mercutio@litware.example", "partner");

        let unknown_user = romeo.say("sip:nobody@fabrikam.example", "hello?");
        assert_eq!(unknown_user.status, 403, "Prosody says service-unavailable");
        let unknown_colleague = romeo.say("sip:nobody@contoso.example", "hello?");
        assert_eq!(unknown_colleague.status, 404);
        assert_explained(&world, ROMEO_JID, "nobody@contoso.example", "home-user");

        world.appliance.add_user(&NED);
        let mut ned = SipUser::start(place, &NED);
        ned.connect(world.appliance.sip(), Transport::Tcp);
        assert_eq!(ned.register(600).status, 200);
        let no_access = ned.say(JULIET_URI, "hello?");
        assert_eq!(no_access.status, 403);
        assert!(no_access.received.start_line.contains("may not communicate"));
        assert_explained(&world, NED_JID, JULIET_JID, "federation-access");
        assert_eq!(ned.subscribe(JULIET_URI, 600).response.status, 403);

        assert_eq!(ned.register(0).status, 200);
        assert_eq!(romeo.say(NED_URI, "kept").status, 202);
        let full = romeo.say(NED_URI, "too much");
        assert_eq!(full.status, 480);
        assert!(full.received.start_line.contains("is full"), "{}", full.received.start_line);
        assert_explained(&world, ROMEO_JID, NED_JID, "home-store");
        assert_eq!(ned.register(600).status, 200);
        ned.expect_text("kept", Deadline::after_s(20));
        assert!(world.appliance.explain(ROMEO_JID, NED_JID).0);
    });
}

#[test]
fn an_unverified_partner_waits_until_it_is_added() {
    let test = "stories::refusals::an_unverified_partner_waits_until_it_is_added";
    in_namespace(test, |place| {
        let policy = OPEN_POLICY.replace("federated", "public-unverified");
        let setup = Setup { policy: &policy, ..Setup::default() };
        let world = start(place, &setup, Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        let refusal = refused(&mut juliet, ROMEO_JID);
        assert_eq!(refusal.condition.as_deref(), Some("forbidden"));
        assert!(refusal.text.is_some_and(|text| text.contains("must add this contact")));
        assert_explained(&world, JULIET_JID, ROMEO_JID, "partner-type");

        let output = world.appliance.command(&["user", "allow", ROMEO_JID, JULIET_JID], "");
        assert!(output.status.success());
        juliet.say(ROMEO_JID, "at last");
        romeo.expect_text("at last", Deadline::after_s(20));
        assert!(world.appliance.explain(JULIET_JID, ROMEO_JID).0);
    });
}
