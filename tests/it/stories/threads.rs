//! Thread, subject and language survive as RFC 7572 says.

use tests::appliance::Setup;
use tests::namespace::in_namespace;
use tests::prosody::Situation;
use tests::sip_user;
use tests::wait::Deadline;
use tests::xmpp_user;

use super::contoso::{JULIET_URI, ROMEO_JID, start};

#[test]
fn thread_subject_and_language_cross_and_come_back() {
    let test = "stories::threads::thread_subject_and_language_cross_and_come_back";
    in_namespace(test, |place| {
        let world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        let deadline = Deadline::after_s(20);
        juliet.send(&xmpp_user::NewMessage {
            to: ROMEO_JID,
            body: Some("Hallo"),
            subject: Some("Grüße"),
            thread: Some("0e3141cd80894871a68e6fe6b1ec56fa"),
            lang: Some("de"),
            ..Default::default()
        });
        let received = romeo.expect_text("Hallo", deadline);
        assert_eq!(received.header("Call-ID"), "0e3141cd80894871a68e6fe6b1ec56fa");
        assert_eq!(received.header("Subject"), "Grüße");
        assert_eq!(received.header("Content-Language"), "de");
        assert!(received.header("From").contains("sip:juliet@fabrikam.example;gr="));

        let answer = sip_user::NewMessage {
            to: JULIET_URI,
            body: b"Auch hallo",
            headers: &[("Subject", "Re: Grüße"), ("Content-Language", "de-CH")],
            call_id: Some("0e3141cd80894871a68e6fe6b1ec56fa"),
            ..Default::default()
        };
        assert_eq!(romeo.send(&answer).status, 200);
        let received = juliet.expect_message("the answer", deadline, |message| {
            message.body.as_deref() == Some("Auch hallo")
        });
        assert_eq!(received.thread.as_deref(), Some("0e3141cd80894871a68e6fe6b1ec56fa"));
        assert_eq!(received.subject.as_deref(), Some("Re: Grüße"));
        assert_eq!(received.lang.as_deref(), Some("de-CH"));
    });
}

#[test]
fn a_thread_that_sip_cannot_carry_comes_back_as_it_was() {
    let test = "stories::threads::a_thread_that_sip_cannot_carry_comes_back_as_it_was";
    in_namespace(test, |place| {
        let world = start(place, &Setup::default(), Situation::Certified, |prosody| prosody);
        let mut juliet = world.juliet(place);
        let mut romeo = world.romeo(place);
        let deadline = Deadline::after_s(20);
        for body in ["first", "second"] {
            juliet.send(&xmpp_user::NewMessage {
                to: ROMEO_JID,
                body: Some(body),
                subject: Some("a\nRoute: <sip:evil.example>"),
                thread: Some("t 1 x"),
                ..Default::default()
            });
        }
        let first = romeo.expect_text("first", deadline);
        let second = romeo.expect_text("second", deadline);
        assert_eq!(first.header("Route"), "", "a subject is no header field");
        assert_eq!(first.header("Subject"), "a Route: <sip:evil.example>");
        let call_id = first.header("Call-ID");
        assert_eq!(call_id, second.header("Call-ID"), "one thread, one Call-ID");
        let sequence = |message: &sip_user::Received| -> u32 {
            let number = message.header("CSeq").split(' ').next();
            number.and_then(|number| number.parse().ok()).expect("CSeq has a number")
        };
        assert!(sequence(&second) > sequence(&first));

        let (to, call_id) = (JULIET_URI, Some(call_id));
        romeo.send(&sip_user::NewMessage { to, body: b"answer", call_id, ..Default::default() });
        let answer = juliet.expect_message("the answer", deadline, |message| {
            message.body.as_deref() == Some("answer")
        });
        assert_eq!(answer.thread.as_deref(), Some("t 1 x"));
    });
}
