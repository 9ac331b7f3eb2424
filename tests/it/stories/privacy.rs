//! What people write stays out of the logs of both hosts, in which a message can be followed.

use tests::account::Account;
use tests::appliance::{Appliance, OPEN_POLICY, Setup};
use tests::namespace::in_namespace;
use tests::process::{Mark, Process};
use tests::prosody::Situation;
use tests::sip_user::{self, SipUser, Transport, pidf};
use tests::wait::{Deadline, until};
use tests::xmpp_user::{self, NewPresence};

use super::contoso::{JULIET_JID, JULIET_URI, ROMEO_JID, start};

/// Words that stand in bodies, subjects, notes and passwords, and nowhere else.
const MARK: &str = "zqxsecret";

const ROMEO_URI: &str = "sip:romeo@contoso.example";

fn soon() -> Deadline {
    Deadline::after_s(20)
}

/// Ends a process, so that its log is whole; returns the lines of it that hold a text.
fn lines_at_the_end(process: &mut Process, text: &str) -> Vec<String> {
    process.terminate(soon());
    process.lines_with(Mark::START, text)
}

#[test]
fn neither_log_has_what_people_write_or_prove_themselves_with() {
    let test = "stories::privacy::neither_log_has_what_people_write_or_prove_themselves_with";
    in_namespace(test, |place| {
        let setup = Setup { log_level: "info", ..Setup::default() };
        let mut world = start(place, &setup, Situation::Certified, |prosody| prosody);
        let account = |password| Account { user: "romeo", domain: "contoso.example", password };
        world.appliance.add_user(&account("zqxsecret-right"));
        let mut stranger = SipUser::start(place, &account("zqxsecret-wrong"));
        stranger.connect(world.appliance.sip(), Transport::Tcp);
        assert_eq!(stranger.register(600).status, 403);
        let mut romeo = SipUser::start(place, &account("zqxsecret-right"));
        romeo.connect(world.appliance.sip(), Transport::Tcp);
        assert_eq!(romeo.register(600).status, 200);
        let mut juliet = world.juliet(place);

        let body = format!("{MARK} body");
        for to in [ROMEO_JID, "nobody@contoso.example"] {
            juliet.send(&xmpp_user::NewMessage {
                to,
                body: Some(&body),
                subject: Some(MARK),
                ..Default::default()
            });
        }
        romeo.expect_text(&body, soon());
        juliet.expect_message("an error", soon(), |it| it.kind.as_deref() == Some("error"));
        for (to, status) in [(JULIET_URI, 200), ("sip:nobody@fabrikam.example", 403)] {
            let message = sip_user::NewMessage {
                to,
                body: body.as_bytes(),
                headers: &[("Subject", MARK)],
                ..Default::default()
            };
            assert_eq!(romeo.send(&message).status, status);
        }
        juliet.send_presence_type(ROMEO_JID, "subscribe");
        juliet.expect_presence_type(ROMEO_JID, "subscribed", soon());
        assert_eq!(romeo.publish(&pidf(ROMEO_URI, true, MARK), 600).status, 200);
        juliet.expect_presence("the note", soon(), |it| it.status.as_deref() == Some(MARK));
        let subscription = romeo.subscribe(JULIET_URI, 600);
        juliet.expect_presence_type(ROMEO_JID, "subscribe", soon());
        juliet.send_presence_type(ROMEO_JID, "subscribed");
        juliet.send_presence(&NewPresence { status: Some(MARK), ..Default::default() });
        romeo.expect_notify(&subscription, "the status", soon(), |it| it.body.contains(MARK));

        let frontend = world.appliance.frontend();
        assert_eq!(lines_at_the_end(frontend, MARK), Vec::<String>::new());
        for expected in ["wrong credentials", "a user has registered", "a message went back"] {
            assert!(!frontend.lines_with(Mark::START, expected).is_empty(), "{expected}");
        }
        let edge = world.appliance.edge();
        assert_eq!(lines_at_the_end(edge, MARK), Vec::<String>::new());
        assert!(!edge.lines_with(Mark::START, "a stream to the partner is open").is_empty());
    });
}

/// Returns the correlation ids of the lines of a log that hold a text.
fn correlation_ids(process: &mut Process, text: &str) -> Vec<String> {
    let lines = process.lines_with(Mark::START, text);
    let id = |line: &String| {
        let (_, rest) = line.split_once("\"correlation_id\":\"")?;
        rest.split('"').next().map(str::to_owned)
    };
    lines.iter().filter_map(id).filter(|id| !id.is_empty()).collect()
}

/// Waits until the one record of the front end that holds a text has the correlation id of a
/// record of the edge that holds another.
fn expect_the_same_id(appliance: &mut Appliance, at_the_edge: &str, at_the_front_end: &str) {
    until("the same id in both logs", soon(), || {
        let edge = correlation_ids(appliance.edge(), at_the_edge);
        let frontend = correlation_ids(appliance.frontend(), at_the_front_end);
        match frontend.as_slice() {
            [id] if edge.contains(id) => Ok(()),
            other => Err(format!("{other:?} at the front end, {edge:?} at the edge")),
        }
    });
}

#[test]
fn a_message_has_the_same_correlation_id_on_both_hosts() {
    let test = "stories::privacy::a_message_has_the_same_correlation_id_on_both_hosts";
    in_namespace(test, |place| {
        let setup = Setup { log_level: "debug", ..Setup::default() };
        let mut world = start(place, &setup, Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        juliet.say(ROMEO_JID, "one way");
        romeo.expect_text("one way", soon());
        assert_eq!(romeo.say(JULIET_URI, "and the other").status, 200);
        juliet.expect_message("it", soon(), |it| it.body.as_deref() == Some("and the other"));
        for (at_the_edge, at_the_front_end) in [
            (format!("\"from\":\"{JULIET_JID}"), "\"direction\":\"x2s\",\"outcome\":\"delivered\""),
            (
                "a stanza for a partner".to_owned(),
                "\"direction\":\"s2x\",\"outcome\":\"delivered\"",
            ),
        ] {
            expect_the_same_id(&mut world.appliance, &at_the_edge, at_the_front_end);
        }
    });
}

#[test]
fn what_is_refused_or_not_delivered_can_be_followed_at_info_on_both_hosts() {
    let test = "stories::privacy::\
                what_is_refused_or_not_delivered_can_be_followed_at_info_on_both_hosts";
    in_namespace(test, |place| {
        // No name server knows this partner.
        let lost = "[[xmpp_partner]]\ndomain = \"lost.example\"\npartner_type = \"federated\"\n";
        let policy = format!("{OPEN_POLICY}{lost}");
        let setup = Setup { policy: &policy, log_level: "info", ..Setup::default() };
        let mut world = start(place, &setup, Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        let denied = world.appliance.command(&["user", "deny", ROMEO_JID, JULIET_JID], "");
        assert!(denied.status.success(), "{denied:?}");
        juliet.say(ROMEO_JID, "one way");
        juliet.expect_message("an error", soon(), |it| it.kind.as_deref() == Some("error"));
        assert!(romeo.say("sip:nobody@lost.example", "and the other").status >= 400);

        let appliance = &mut world.appliance;
        expect_the_same_id(appliance, "a stanza was refused", "policy refused it");
        expect_the_same_id(appliance, "a stanza was not delivered", "a message went back");
        for (record, facts) in [
            (
                "a stanza was refused",
                ["\"partner\":\"fabrikam.example\"", "\"condition\":\"forbidden\""],
            ),
            (
                "a stanza was not delivered",
                [
                    "\"condition\":\"remote-server-not-found\"",
                    "\"reason\":\"lost.example does not exist in DNS: check the address\"",
                ],
            ),
        ] {
            let lines = appliance.edge().lines_with(Mark::START, record);
            let [line] = lines.as_slice() else { panic!("one record: {lines:?}") };
            assert!(line.contains("\"level\":\"INFO\""), "{line}");
            assert!(facts.iter().all(|fact| line.contains(fact)), "{line}");
        }
    });
}
