//! Neither passwords nor what people write reach a log of the home that an operator keeps.

use super::{DESK, GATEWAY, Stage, Store, registration, with_credentials};
use crate::core::administration::Command;
use crate::home::message_store::MessageLimits;
use crate::testing::{self, jid};

/// Words that stand in bodies, notes and secrets, and nowhere else.
const MARK: &str = "zqxsecret";

fn message() -> String {
    format!(
        "MESSAGE sip:romeo@example.net SIP/2.0\nFrom: <sip:juliet@example.com>;tag=1\n\
         To: <sip:romeo@example.net>\nCall-ID: c\nCSeq: 1 MESSAGE\nSubject: {MARK}\n\
         Content-Type: text/plain\n\n{MARK}"
    )
}

#[test]
fn passwords_and_their_digests_are_not_logged_whether_they_are_right_or_wrong() {
    let mut stage = Stage::new();
    let user = super::super::accounts::record(&jid("romeo@example.net"), MARK, false).unwrap();
    stage.home.insert_user(&user);
    let (sha256, md5) = (user.sha256.clone().unwrap(), user.md5.clone().unwrap());
    let mut secrets = vec![MARK.to_owned(), sha256, md5];
    let log = testing::logged(|| {
        stage.open(DESK);
        let text = registration("romeo", DESK, 3600);
        stage.send(DESK, &text);
        let challenged = stage.only_response(DESK);
        for (password, count) in [(format!("{MARK} wrong"), 1), (MARK.to_owned(), 2)] {
            let request = with_credentials(&text, &challenged, "romeo", &password, count);
            let response = request.split("response=\"").nth(1).unwrap().split('"').next().unwrap();
            secrets.push(response.to_owned());
            stage.send(DESK, &request);
        }
        stage.send(DESK, &text.replace("Call-ID", &format!("Authorization: {MARK}\nCall-ID")));
        stage.bytes(DESK, format!("REGISTER {MARK} {MARK} SIP/2.0\r\n\r\n").as_bytes());
    });
    assert!(log.contains("wrong credentials") && log.contains("a user has registered"), "{log}");
    for secret in secrets {
        assert!(!log.contains(&secret), "{log}");
    }
}

#[test]
fn messages_are_not_logged_when_they_are_kept_refused_or_given_up() {
    let one = MessageLimits { per_user_max: 1, ..MessageLimits::default() };
    let mut stage = Stage::with_limits(one);
    let log = testing::logged(|| {
        stage.send(GATEWAY, &message());
        stage.send(GATEWAY, &message().replace("Call-ID: c", "Call-ID: d"));
        stage.advance_s(15 * 86_400);
        stage.store = Store::Fails;
        stage.send(GATEWAY, &message().replace("Call-ID: c", "Call-ID: e"));
        stage.open(DESK);
        for bad in [
            message().replace("sip:romeo@example.net SIP", &format!("sip:{MARK} {MARK} SIP")),
            message().replace("text/plain", &format!("{MARK};{MARK}")),
            message().replace("Content-Type: text/plain", MARK),
        ] {
            stage.send(DESK, &bad);
        }
    });
    assert!(log.contains("a SIP message was refused"), "{log}");
    assert!(log.contains("a message is not kept"), "{log}");
    assert!(!log.contains(MARK), "{log}");
}

#[test]
fn a_note_that_is_published_or_cannot_be_read_is_not_logged() {
    let mut stage = Stage::new();
    let publish = format!(
        "PUBLISH sip:romeo@example.net SIP/2.0\nFrom: <sip:romeo@example.net>;tag=1\n\
         To: <sip:romeo@example.net>\nCall-ID: publish\nCSeq: 1 PUBLISH\nEvent: presence\n\
         Content-Type: application/pidf+xml\n\n\
         <presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:romeo@example.net'>\
         <note>{MARK}</note></presence>"
    );
    let log = testing::logged(|| {
        stage.register(DESK, "romeo");
        stage.send(DESK, &publish);
        stage.send(DESK, &publish.replace("</note>", ""));
    });
    assert!(log.contains("a user has registered"), "{log}");
    assert!(!log.contains(MARK), "{log}");
}

#[test]
fn a_command_that_carries_a_password_does_not_show_it() {
    let (address, password) = ("romeo@example.net".to_owned(), MARK.to_owned());
    let command = Command::UserAdd { address, password, legacy_digest: false };
    assert_eq!(format!("{command:?}"), "user add");
}
