//! Messages of SIP users that fail after their answer: one notice for each, until it is answered.

use link::wire::{Credit, FromEdge};
use sip_proto::message::Request;

use super::{
    A, B, Sent, Stage, Store, acquaint, body, condition_of, error_for, header, message, outcomes,
    said,
};
use crate::testing;

/// Begins with a message that was answered by 202.
fn answered() -> (Stage, Sent) {
    let mut stage = Stage::new();
    stage.sip(&message("c", 1));
    let sent = stage.only_stanza();
    stage.advance_s(2);
    assert_eq!(said(&stage.only_response()), "202 Accepted");
    stage.forget();
    (stage, sent)
}

fn identifiers(request: &Request) -> (String, u32, String) {
    let tag = request.from().tag().unwrap().to_owned();
    (request.call_id().as_str().to_owned(), request.cseq().number, tag)
}

#[test]
fn a_failure_after_202_is_told_by_one_notice_that_is_never_answered_by_another() {
    let mut stage = Stage::new();
    stage.sip(&message("c", 1));
    let sent = stage.only_stanza();
    stage.advance_s(2);
    stage.forget();
    stage.settle(&sent, Err("remote-server-timeout"));
    let notice = stage.only_request();
    assert_eq!(notice.uri().to_wire(), "sip:romeo@example.net");
    assert_eq!(notice.from().uri().to_wire(), "sip:juliet@example.com");
    assert_eq!(
        body(&notice),
        "Your message was not delivered: because of remote-server-timeout\n> Neither, fair saint"
    );
    assert_ne!(header(notice.headers(), "Isthmus-Notice"), "");
    stage.answer(&notice, 480);
    stage.advance_s(300);
    assert!(stage.requests.is_empty() && stage.stanzas.is_empty());
    assert_eq!(outcomes(&stage).len(), 1);
}

#[test]
fn an_error_that_contradicts_a_delivery_corrects_the_outcome_and_is_told_once() {
    let mut stage = Stage::new();
    acquaint(&mut stage);
    stage.sip(&message("c", 1));
    let sent = stage.only_stanza();
    stage.settle(&sent, Ok(()));
    stage.forget();
    let error = error_for(&sent, "recipient-unavailable", "<body>Neither, fair saint</body>");
    stage.stanza(&error);
    let notice = stage.only_request();
    assert_eq!(
        body(&notice),
        "Your message was not delivered: recipient unavailable\n> Neither, fair saint"
    );
    assert_eq!(outcomes(&stage).last().map(|it| condition_of(it)), Some("recipient-unavailable"));
    stage.answer(&notice, 200);
    stage.stanza(&error);
    assert!(stage.requests.is_empty(), "a second error is none");
}

#[test]
fn a_message_that_waits_a_minute_for_an_edge_after_202_fails_with_a_notice() {
    let mut stage = Stage::new();
    stage.sip(&message("c", 1));
    stage.advance_s(2);
    stage.detach(A);
    stage.forget();
    stage.advance_s(60);
    let notice = stage.only_request();
    assert_eq!(
        body(&notice),
        "Your message was not delivered: no edge is attached\n> Neither, fair saint"
    );
    stage.answer(&notice, 200);
    assert_eq!(outcomes(&stage).len(), 1);
    stage.attach(A, "edge-a");
    assert!(stage.stanzas.is_empty());
}

#[test]
fn a_message_that_waits_a_minute_for_credit_after_202_fails_with_a_notice_that_says_so() {
    let (mut stage, _) = answered();
    stage.attach(B, "edge-b");
    let credit = Credit {
        local_domain: "example.net".into(),
        remote_domain: "example.com".into(),
        envelopes_max: 0,
    };
    stage.frame(B, FromEdge { credits: vec![credit], ..FromEdge::default() });
    stage.detach(A);
    stage.advance_ms(59_999);
    assert!(stage.requests.is_empty() && stage.stanzas.is_empty());
    stage.advance_ms(1);
    let notice = stage.only_request();
    assert_eq!(
        body(&notice),
        "Your message was not delivered: the partner takes nothing at present\n\
         > Neither, fair saint"
    );
    stage.answer(&notice, 200);
    assert_eq!(
        outcomes(&stage).into_iter().map(condition_of).collect::<Vec<_>>(),
        ["remote-server-timeout"]
    );
}

#[test]
fn after_a_restart_a_failure_of_an_open_message_is_told_by_a_notice() {
    let mut stage = Stage::new();
    stage.sip(&message("c", 1));
    stage.restart();
    let sent = stage.only_stanza();
    stage.settle(&sent, Err("gone"));
    assert!(body(&stage.only_request()).starts_with("Your message was not delivered"));
}

#[test]
fn a_notice_goes_out_only_once_it_is_decided_and_the_message_is_open_until_it_is_answered() {
    let (mut stage, sent) = answered();
    stage.store = Store::Holds;
    stage.settle(&sent, Err("gone"));
    assert!(stage.requests.is_empty());
    stage.store = Store::Confirms;
    stage.answer_commits(Store::Confirms);
    let notice = stage.only_request();
    assert_eq!((stage.gateway.open_messages(), outcomes(&stage).len()), (1, 0));
    stage.answer(&notice, 200);
    assert_eq!(stage.gateway.open_messages(), 0);
    assert_eq!(outcomes(&stage).into_iter().map(condition_of).collect::<Vec<_>>(), ["gone"]);
}

#[test]
fn a_notice_that_was_owed_when_the_process_died_goes_out_after_it_as_it_was() {
    let (mut stage, sent) = answered();
    stage.settle(&sent, Err("gone"));
    let first = stage.only_request();
    let mut loaded = stage.ledger.load(stage.clock.now);
    stage.gateway = crate::gateway::tests::restored(&mut loaded, stage.clock, 1);
    stage.collect();
    let second = stage.only_request();
    assert_eq!(identifiers(&second), identifiers(&first));
    assert_eq!(
        body(&second),
        "Your message was not delivered: because of gone\n> Neither, fair saint"
    );
    assert!(stage.stanzas.is_empty(), "the message itself is not sent again");
    stage.answer(&second, 200);
    assert_eq!(outcomes(&stage).len(), 1);
}

#[test]
fn a_notice_without_an_answer_is_repeated_as_it_was_and_given_up_in_the_end() {
    let (mut stage, sent) = answered();
    stage.settle(&sent, Err("gone"));
    let first = stage.only_request();
    stage.answer(&first, 503);
    stage.advance_s(2);
    let second = stage.only_request();
    assert_eq!(identifiers(&second), identifiers(&first));
    stage.bytes(&testing::answer(&second, 503, &[("Retry-After", "20")]));
    stage.advance_ms(19_999);
    assert!(stage.requests.is_empty());
    stage.advance_s(1_000);
    let others = stage.take_requests();
    assert_eq!(others.len(), 8, "ten in all");
    assert!(others.iter().all(|it| identifiers(it) == identifiers(&first)));
    assert_eq!((stage.gateway.open_messages(), outcomes(&stage).len()), (0, 1));
    assert!(stage.stanzas.is_empty(), "a notice has no notice");
}

#[test]
fn a_message_whose_notice_is_on_its_way_stays_failed_whatever_comes() {
    let (mut stage, sent) = answered();
    stage.stanza(&error_for(&sent, "gone", ""));
    let notice = stage.only_request();
    stage.settle(&sent, Ok(()));
    stage.stanza(&error_for(&sent, "item-not-found", ""));
    assert!(stage.requests.is_empty());
    stage.sip(&message("c", 1));
    assert_eq!(stage.only_response().status().code(), 410, "a repetition is told the same");
    stage.answer(&notice, 200);
    assert_eq!(outcomes(&stage).into_iter().map(condition_of).collect::<Vec<_>>(), ["gone"]);
}

#[test]
fn a_late_notice_is_about_what_was_sent_and_not_about_what_the_error_claims() {
    let (mut stage, sent) = answered();
    stage.settle(&sent, Ok(()));
    let error = error_for(&sent, "gone", "<body>something else</body>");
    stage.stanza(&error.replace("to='romeo@", "to='benvolio@"));
    let notice = stage.only_request();
    assert_eq!(notice.uri().to_wire(), "sip:romeo@example.net");
    assert_eq!(body(&notice), "Your message was not delivered: gone\n> Neither, fair saint");
}

#[test]
fn a_late_notice_after_a_restart_has_no_text_and_is_sent_all_the_same() {
    let (mut stage, sent) = answered();
    stage.settle(&sent, Ok(()));
    stage.restart();
    stage.stanza(&error_for(&sent, "gone", "<body>something else</body>"));
    let notice = stage.only_request();
    assert_eq!(notice.uri().to_wire(), "sip:romeo@example.net");
    assert_eq!(body(&notice), "Your message was not delivered: gone");
}

#[test]
fn a_notice_has_the_first_eighty_characters_on_one_line() {
    for (text, expected) in [
        ("two\nlines", "two lines".to_owned()),
        (&"é".repeat(80), "é".repeat(80)),
        (&"é".repeat(81), format!("{}…", "é".repeat(80))),
        (&"ab ".repeat(200), format!("{}ab…", "ab ".repeat(26))),
    ] {
        let mut stage = Stage::new();
        let text = message("c", 1).replace("Neither, fair saint", text);
        stage.sip(&text);
        let sent = stage.only_stanza();
        stage.advance_s(2);
        stage.settle(&sent, Err("gone"));
        let notice = stage.only_request();
        assert_eq!(body(&notice).split_once("> ").unwrap().1, expected);
    }
}
