//! What a message says never reaches a log that an operator keeps, whatever becomes of it.

use link::wire::stream_report::State;

use super::{Sent, Stage, Store};
use crate::testing::{self, header};

/// Words that stand in bodies, subjects, notes and secrets, and nowhere else.
const MARK: &str = "zqxsecret";

fn x2s(to: &str) -> String {
    format!(
        "<message from='juliet@example.com/b' to='{to}'><subject>{MARK} subject</subject>\
         <thread>{MARK} thread</thread><body>{MARK} body</body></message>"
    )
}

fn s2x(call_id: &str, to: &str) -> String {
    format!(
        "MESSAGE sip:{to} SIP/2.0\nFrom: <sip:romeo@example.net>;tag=1\nTo: <sip:{to}>\n\
         Call-ID: {call_id}\nCSeq: 1 MESSAGE\nSubject: {MARK} subject\n\
         Authorization: Digest response=\"{MARK}\"\nContent-Type: text/plain\n\n{MARK} body"
    )
}

fn error_for(sent: &Sent) -> String {
    format!(
        "<message type='error' id='{}' from='{}' to='{}'><body>{MARK} body</body>\
         <error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         </error></message>",
        sent.attribute("id"),
        sent.attribute("to"),
        sent.attribute("from"),
    )
}

/// Checks that something is logged that says `expected`, and nothing that people wrote.
fn assert_silent_about_contents(expected: &str, run: impl FnOnce(&mut Stage)) {
    let mut stage = Stage::new();
    let log = testing::logged(|| run(&mut stage));
    assert!(log.contains(expected), "{log}");
    assert!(!log.contains(MARK), "{log}");
}

#[test]
fn the_log_that_these_tests_look_at_would_show_it() {
    let log = testing::logged(|| {
        tracing::info!(body = MARK, "said");
        tracing::warn!("{MARK}");
        tracing::error!(error = ?Some(MARK));
        tracing::debug!(body = "quiet");
    });
    assert_eq!(log.matches(MARK).count(), 3, "{log}");
    assert!(!log.contains("quiet"));
}

#[test]
fn a_message_of_an_xmpp_user_that_fails_is_logged_without_what_it_says() {
    assert_silent_about_contents("a message went back", |stage| {
        for code in [404, 486, 603] {
            stage.stanza(&x2s("romeo@example.net"));
            let request = stage.only_request();
            let extra = [("Reason", "No such user")];
            stage.bytes(&testing::answer(&request, code, &extra));
            let error = stage.only_stanza();
            stage.settle(&error, Err("remote-server-not-found"));
        }
        stage.stanza(&x2s("romeo@example.net"));
        stage.advance_s(200);
    });
}

#[test]
fn a_message_that_policy_refuses_is_logged_with_its_rule_alone() {
    assert_silent_about_contents("policy refused it", |stage| {
        stage.stanza(&x2s("hermit@example.net"));
        stage.sip(&s2x("c", "juliet@nowhere.example"));
    });
}

#[test]
fn what_an_edge_must_not_send_is_logged_without_what_it_says() {
    assert_silent_about_contents("an edge sent what it must not send", |stage| {
        let stanza = x2s("romeo@example.net").replace(" from='juliet@example.com/b'", "");
        let envelope = link::wire::Envelope {
            sequence: 1,
            id: bytes::Bytes::copy_from_slice(&[1; 16]),
            local_domain: "example.net".into(),
            remote_domain: "example.com".into(),
            stanza: xmpp_proto::xml::write_document(&testing::stanza(&stanza)),
            correlation_id: "c".into(),
            facts: None,
        };
        stage.envelope(super::A, envelope.clone());
        let mut cut = envelope;
        cut.sequence = 2;
        cut.stanza = cut.stanza.slice(..cut.stanza.len() - 3);
        stage.envelope(super::A, cut);
    });
}

#[test]
fn a_message_of_a_sip_user_that_fails_is_logged_without_what_it_says() {
    assert_silent_about_contents("condition=\"item-not-found\"", |stage| {
        stage.sip(&s2x("in-time", "juliet@example.com"));
        let sent = stage.only_stanza();
        stage.stanza(&error_for(&sent));
        stage.sip(&s2x("late", "juliet@example.com"));
        let sent = stage.only_stanza();
        stage.advance_s(2);
        stage.settle(&sent, Err("remote-server-timeout"));
        stage.sip(&s2x("contradicted", "juliet@example.com"));
        let sent = stage.only_stanza();
        stage.settle(&sent, Ok(()));
        stage.advance_s(2);
        stage.stanza(&error_for(&sent));
    });
}

#[test]
fn a_store_that_fails_does_not_make_the_log_say_what_was_to_be_stored() {
    let mut stage = Stage::new();
    stage.store = Store::Fails;
    let log = testing::logged(|| {
        stage.stanza(&x2s("romeo@example.net"));
        stage.sip(&s2x("c", "juliet@example.com"));
    });
    assert_eq!(stage.only_response().status().code(), 500);
    assert!(!log.contains(MARK), "{log}");
}

#[test]
fn presence_is_logged_without_status_and_notes() {
    assert_silent_about_contents("a SIP user may see an XMPP user's presence", |stage| {
        stage.stanza(
            "<presence type='subscribe' from='juliet@example.com' to='romeo@example.net'/>",
        );
        let subscribe = stage.only_request();
        let notify = |document: &str| {
            format!(
                "NOTIFY sip:juliet@example.com SIP/2.0\nFrom: <sip:romeo@example.net>;tag=home\n\
                 To: {}\nCall-ID: {}\nCSeq: 1 NOTIFY\nEvent: presence\n\
                 Subscription-State: active;expires=600\nContact: <sip:romeo@192.0.2.1>\n\
                 Content-Type: application/pidf+xml\n\n{document}",
                header(subscribe.headers(), "From"),
                subscribe.call_id().as_str(),
            )
        };
        let document = format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:romeo@example.net'>\
             <tuple id='t'><status><basic>open</basic></status><note>{MARK}</note></tuple>\
             </presence>"
        );
        stage.sip(&notify(&document.replace("</tuple>", "")));
        stage.sip(&notify(&document));
        stage.sip(
            "SUBSCRIBE sip:juliet@example.com SIP/2.0\nFrom: <sip:romeo@example.net>;tag=r1\n\
             To: <sip:juliet@example.com>\nCall-ID: c\nCSeq: 1 SUBSCRIBE\nEvent: presence\n\
             Contact: <sip:romeo@192.0.2.1>",
        );
        stage.stanza(
            "<presence type='subscribed' from='juliet@example.com' to='romeo@example.net'/>",
        );
        stage.stanza(&format!(
            "<presence from='juliet@example.com/b' to='romeo@example.net'><status>{MARK}</status>\
             </presence>"
        ));
        stage.report("example.com", State::Failed);
        assert!(stage.requests.iter().any(|it| testing::body(it).contains(MARK)), "it crossed");
    });
}
