//! Errors and results end what they answer: no sequence of them brings a partner anything.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::presence_x2s::watching;
use super::{Sent, Stage};

const SUBSCRIBE: &str = "SUBSCRIBE sip:nurse@example.com SIP/2.0\n\
    From: <sip:romeo@example.net>;tag=r1\nTo: <sip:nurse@example.com>\nCall-ID: watch\n\
    CSeq: 1 SUBSCRIBE\nEvent: presence\nExpires: 600\nContact: <sip:romeo@192.0.2.1>";
const MESSAGE: &str = "MESSAGE sip:juliet@example.com SIP/2.0\n\
    From: <sip:romeo@example.net>;tag=r1\nTo: <sip:juliet@example.com>\nCall-ID: text\n\
    CSeq: 1 MESSAGE\nContent-Type: text/plain\n\nNeither, fair saint";

/// What answers a message of ours; in the place of the word goes its id.
const ID_OF_A_MESSAGE: &str = "OURS";

/// Begins with everything that an error may be about: a message under way, a question that waits,
/// a watcher who sees a device.
fn stage() -> (Stage, String) {
    let (mut stage, _) = watching();
    stage.sip(SUBSCRIBE);
    stage.sip(MESSAGE);
    let sent = stage.take_stanzas();
    let kinds: Vec<_> = sent.iter().map(Sent::summary).collect();
    let question = "presence subscribe romeo@example.net > nurse@example.com";
    assert!(kinds.iter().any(|it| it == question), "{kinds:?}");
    let message = sent.iter().find(|it| it.element.local() == "message").unwrap();
    let id = message.attribute("id").to_owned();
    stage.settle(message, Ok(()));
    (stage, id)
}

fn condition() -> impl Strategy<Value = String> {
    let names = ["service-unavailable", "item-not-found", "bad-request", "gone", "undefined"];
    select(names.to_vec()).prop_map(|name| {
        format!(
            "<error type='cancel'><{name} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        )
    })
}

fn content() -> impl Strategy<Value = String> {
    let payloads = [
        "",
        "<ping xmlns='urn:xmpp:ping'/>",
        "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        "<query xmlns='jabber:iq:last'/>",
        "<body>Art thou not Romeo?</body>",
        "<show>away</show>",
    ];
    (select(payloads.to_vec()), prop_oneof![Just(String::new()), condition()])
        .prop_map(|(payload, error)| format!("{payload}{error}"))
}

/// A stanza that only answers: an error of any kind, or a result.
fn answer() -> impl Strategy<Value = String> {
    let kinds = [("message", "error"), ("presence", "error"), ("iq", "error"), ("iq", "result")];
    let senders =
        ["example.com", "juliet@example.com", "juliet@example.com/b", "nurse@example.com"];
    let recipients = [
        "example.net",
        "romeo@example.net",
        "romeo@example.net/phone",
        "nobody@example.net",
        "hermit@example.net/x",
    ];
    let ids = ["", " id='i1'", " id='OURS'"];
    let attributes = (
        select(kinds.to_vec()),
        select(senders.to_vec()),
        select(recipients.to_vec()),
        select(ids.to_vec()),
    );
    (attributes, vec(content(), 0..3)).prop_map(|(((name, kind), from, to, id), content)| {
        let content = content.concat();
        format!("<{name} type='{kind}' from='{from}' to='{to}'{id}>{content}</{name}>")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn errors_and_results_are_never_answered(answers in vec(answer(), 1..20)) {
        let (mut stage, id) = stage();
        for text in &answers {
            let sequence = stage.stanza(&text.replace(ID_OF_A_MESSAGE, &id));
            prop_assert_eq!(stage.outcome(sequence), Some(&Ok(())), "{}", text);
        }
        let sent: Vec<_> = stage.stanzas.iter().map(Sent::summary).collect();
        prop_assert!(sent.is_empty(), "{:?} after {:?}", sent, answers);
    }
}

#[test]
fn one_of_these_errors_fails_the_message_and_the_question_that_it_is_about() {
    let (mut stage, id) = stage();
    stage.responses.clear();
    let error = "<error type='cancel'>\
        <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
    stage.stanza(&format!(
        "<message type='error' from='juliet@example.com' to='romeo@example.net' id='{id}'>{error}\
         </message>"
    ));
    assert_eq!(stage.only_response().status().code(), 604);
    stage.stanza(&format!(
        "<presence type='error' from='nurse@example.com' to='romeo@example.net'>{error}</presence>"
    ));
    let notify = stage.take_requests().pop().unwrap();
    assert_eq!(
        crate::testing::header(notify.headers(), "Subscription-State"),
        "terminated;reason=noresource"
    );
}
