//! Messages of SIP users: journalled, brought to an edge, answered once by what is known.

mod notices;

use super::{A, B, Sent, Stage, Store};
use crate::store::Write;
use crate::store::record::Outcome;
use crate::testing::{body, header, said};

fn message(call_id: &str, sequence: u32) -> String {
    message_to("juliet", call_id, sequence)
}

fn message_to(user: &str, call_id: &str, sequence: u32) -> String {
    format!(
        "MESSAGE sip:{user}@example.com SIP/2.0\n\
         From: <sip:romeo@example.net>;tag=r1\n\
         To: <sip:{user}@example.com>\n\
         Call-ID: {call_id}\n\
         CSeq: {sequence} MESSAGE\n\
         Content-Type: text/plain\n\nNeither, fair saint"
    )
}

/// Returns an error stanza in answer to a message that the gateway sent.
fn error_for(sent: &Sent, condition: &str, content: &str) -> String {
    format!(
        "<message type='error' id='{}' from='{}' to='{}'>{content}<error type='cancel'>\
         <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
        sent.attribute("id"),
        sent.attribute("to"),
        sent.attribute("from"),
    )
}

/// Returns the outcomes in the order in which they were written.
fn outcomes(stage: &Stage) -> Vec<&Outcome> {
    let writes = stage.ledger.writes.iter();
    writes
        .filter_map(|write| match write {
            Write::Settle { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect()
}

fn condition_of(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Bounced(reason) => &reason.condition,
    }
}

/// Brings juliet a message, so that it is known that she exists.
fn acquaint(stage: &mut Stage) {
    stage.sip(&message("first", 1));
    let sent = stage.only_stanza();
    stage.settle(&sent, Ok(()));
    stage.advance_ms(500);
    assert_eq!(said(&stage.only_response()), "200 OK");
}

#[test]
fn a_message_goes_to_an_edge_only_once_it_is_in_the_journal() {
    let mut stage = Stage::new();
    stage.store = Store::Holds;
    stage.sip(&message("c", 1));
    assert!(stage.stanzas.is_empty() && stage.responses.is_empty());
    stage.answer_commits(Store::Confirms);
    let sent = stage.only_stanza();
    assert_eq!(sent.summary(), "message  romeo@example.net > juliet@example.com");
    assert_eq!(
        (sent.text("body").as_str(), sent.text("thread").as_str()),
        ("Neither, fair saint", "c")
    );
    assert!(stage.responses.is_empty());
}

#[test]
fn a_message_that_cannot_be_stored_is_answered_by_500_and_not_sent() {
    let mut stage = Stage::new();
    stage.store = Store::Holds;
    stage.sip(&message("c", 1));
    stage.answer_commits(Store::Fails);
    assert_eq!(said(&stage.only_response()), "500 The Message Could Not Be Stored");
    stage.advance_s(120);
    assert!(stage.stanzas.is_empty());
    // It was never ours, so that the sender's next attempt is a fresh one.
    stage.sip(&message("c", 1));
    stage.answer_commits(Store::Confirms);
    assert_eq!(stage.take_stanzas().len(), 1);
}

#[test]
fn the_first_confirmed_message_to_a_recipient_waits_for_an_error_and_the_next_does_not() {
    let mut stage = Stage::new();
    stage.sip(&message("c", 1));
    let sent = stage.only_stanza();
    stage.settle(&sent, Ok(()));
    stage.advance_ms(499);
    assert!(stage.responses.is_empty());
    stage.advance_ms(1);
    assert_eq!(said(&stage.only_response()), "200 OK");
    assert_eq!(outcomes(&stage), [&Outcome::Delivered]);

    stage.sip(&message("c", 2));
    let sent = stage.only_stanza();
    stage.settle(&sent, Ok(()));
    assert_eq!(said(&stage.only_response()), "200 OK");
    assert_eq!(stage.gateway.open_messages(), 0);
}

#[test]
fn an_error_within_the_grace_of_the_first_contact_is_the_answer() {
    for (condition, expected) in [
        ("item-not-found", "604 "),
        ("service-unavailable", "403 "),
        ("recipient-unavailable", "600 "),
        ("forbidden", "603 "),
        ("remote-server-timeout", "408 "),
        ("gone", "410 "),
    ] {
        let mut stage = Stage::new();
        stage.sip(&message("c", 1));
        let sent = stage.only_stanza();
        stage.settle(&sent, Ok(()));
        stage.advance_ms(499);
        stage.stanza(&error_for(&sent, condition, ""));
        let response = said(&stage.only_response());
        assert!(response.starts_with(expected), "{condition}: {response}");
        assert_eq!(outcomes(&stage).into_iter().map(condition_of).collect::<Vec<_>>(), [condition]);
        stage.advance_s(60);
        assert!(stage.responses.is_empty() && stage.requests.is_empty());
    }
}

#[test]
fn a_recipient_that_once_failed_is_waited_for_again() {
    let mut stage = Stage::new();
    acquaint(&mut stage);
    stage.sip(&message("c", 1));
    let sent = stage.only_stanza();
    stage.settle(&sent, Ok(()));
    assert_eq!(said(&stage.only_response()), "200 OK");
    stage.stanza(&error_for(&sent, "item-not-found", ""));
    stage.sip(&message("c", 2));
    let sent = stage.only_stanza();
    stage.settle(&sent, Ok(()));
    assert!(stage.responses.is_empty());
    stage.stanza(&error_for(&sent, "item-not-found", ""));
    assert_eq!(stage.only_response().status().code(), 604);
}

#[test]
fn a_refusal_of_the_edge_is_the_answer() {
    let mut stage = Stage::new();
    stage.sip(&message("c", 1));
    let sent = stage.only_stanza();
    stage.settle(&sent, Err("remote-server-not-found"));
    let response = stage.only_response();
    assert_eq!(said(&response), "404 because of remote-server-not-found");
}

#[test]
fn without_a_confirmation_in_time_the_answer_is_202_and_a_later_one_changes_nothing() {
    let mut stage = Stage::new();
    stage.sip(&message("c", 1));
    let sent = stage.only_stanza();
    stage.advance_ms(1_999);
    assert!(stage.responses.is_empty());
    stage.advance_ms(1);
    assert_eq!(said(&stage.only_response()), "202 Accepted");
    assert_eq!(stage.gateway.open_messages(), 1);
    stage.settle(&sent, Ok(()));
    stage.advance_s(10);
    assert!(stage.responses.is_empty() && stage.requests.is_empty());
    assert_eq!(outcomes(&stage), [&Outcome::Delivered]);
}

#[test]
fn an_error_for_a_message_that_was_never_sent_is_ignored() {
    let mut stage = Stage::new();
    stage.sip(&message("c", 1));
    let sent = stage.only_stanza();
    let id = sent.attribute("id").to_owned();
    let (number, rest) = id.split_once('-').unwrap();
    for wrong in [format!("{number}-0000"), format!("7-{rest}"), "x".into(), String::new()] {
        let error = error_for(&sent, "gone", "").replace(&id, &wrong);
        let sequence = stage.stanza(&error);
        assert_eq!(stage.outcome(sequence), Some(&Ok(())), "never answered by an error");
    }
    assert!(stage.responses.is_empty());
    assert_eq!(stage.gateway.open_messages(), 1);
}

#[test]
fn an_error_counts_only_from_the_domain_that_the_message_went_to() {
    let mut stage = Stage::new();
    stage.sip(&message("c", 1));
    let sent = stage.only_stanza();
    let error = error_for(&sent, "gone", "").replace("@example.com", "@public.example");
    stage.stanza(&error);
    assert!(stage.responses.is_empty());
    assert_eq!(stage.gateway.open_messages(), 1);
}

#[test]
fn without_an_edge_the_answer_is_503_and_when_to_come_again() {
    let mut stage = Stage::without_edge();
    stage.sip(&message("c", 1));
    stage.advance_ms(1_999);
    assert!(stage.responses.is_empty());
    stage.advance_ms(1);
    let response = stage.only_response();
    assert_eq!(said(&response), "503 No Way To The Partner At Present");
    assert_eq!(header(response.headers(), "Retry-After"), "10");
    stage.attach(A, "edge-a");
    assert!(stage.stanzas.is_empty(), "what was refused does not go out");
    assert_eq!(outcomes(&stage).len(), 1);
}

#[test]
fn an_edge_that_comes_in_time_takes_the_message() {
    let mut stage = Stage::without_edge();
    stage.sip(&message("c", 1));
    stage.advance_ms(1_500);
    stage.attach(A, "edge-a");
    let sent = stage.only_stanza();
    stage.settle(&sent, Ok(()));
    stage.advance_ms(499);
    assert!(stage.responses.is_empty());
    stage.advance_ms(1);
    assert_eq!(said(&stage.only_response()), "200 OK");
}

#[test]
fn a_message_moves_to_another_edge_under_the_same_id_when_its_edge_is_lost() {
    let mut stage = Stage::new();
    stage.sip(&message("c", 1));
    let first = stage.only_stanza();
    stage.advance_s(2);
    stage.detach(A);
    stage.attach(B, "edge-b");
    let second = stage.only_stanza();
    assert_eq!((second.edge, &second.envelope.id), (B, &first.envelope.id));
    stage.settle(&second, Ok(()));
    assert_eq!(outcomes(&stage), [&Outcome::Delivered]);
}

#[test]
fn a_repeated_request_gets_the_same_answer_and_no_second_stanza() {
    // Each case: what the edge says, and the answer to both requests.
    for (outcome, expected) in [
        (Some(Ok(())), "200 OK"),
        (None, "202 Accepted"),
        (Some(Err("item-not-found")), "604 because of item-not-found"),
    ] {
        let mut stage = Stage::new();
        stage.sip(&message("c", 1));
        let sent = stage.only_stanza();
        if let Some(outcome) = outcome {
            stage.settle(&sent, outcome);
        }
        stage.advance_s(2);
        assert_eq!(said(&stage.only_response()), expected);
        stage.sip(&message("c", 1));
        assert_eq!(said(&stage.only_response()), expected);
        assert!(stage.stanzas.is_empty());
    }
}

#[test]
fn a_repetition_of_what_no_edge_could_take_gets_503_again() {
    let mut stage = Stage::without_edge();
    for _ in 0..2 {
        stage.sip(&message("c", 1));
        stage.advance_s(2);
        let response = stage.only_response();
        assert_eq!(response.status().code(), 503);
        assert_eq!(header(response.headers(), "Retry-After"), "10");
    }
    assert_eq!(outcomes(&stage).len(), 1);
}

#[test]
fn a_repeated_request_takes_the_place_of_one_that_is_not_answered() {
    let mut stage = Stage::new();
    stage.sip(&message("c", 1));
    let sent = stage.only_stanza();
    stage.sip(&message("c", 1));
    assert!(stage.responses.is_empty());
    stage.settle(&sent, Ok(()));
    stage.advance_ms(500);
    let response = stage.only_response();
    assert_eq!(said(&response), "200 OK");
    assert!(response.via().branch().unwrap().ends_with(&stage.serial.to_string()));
}

#[test]
fn only_the_same_call_id_number_tag_recipient_and_text_make_a_repetition() {
    let mut stage = Stage::new();
    let first = message("c", 1);
    let others = [
        message("c", 2),
        message("d", 1),
        first.replace("tag=r1", "tag=r2"),
        message_to("nurse", "c", 1),
        first.replace("juliet@example.com SIP", "juliet@example.com;gr=x SIP"),
        first.replace("saint", "saint, if"),
    ];
    stage.sip(&first);
    for other in &others {
        stage.sip(other);
    }
    assert_eq!(stage.take_stanzas().len(), 1 + others.len());
}

#[test]
fn after_a_restart_an_open_message_goes_out_again_under_the_same_ids_and_its_repetition_is_known() {
    let mut stage = Stage::new();
    stage.sip(&message("c", 1));
    let first = stage.only_stanza();
    stage.restart();
    let second = stage.only_stanza();
    assert_eq!(second.envelope.id, first.envelope.id);
    assert_eq!(second.element, first.element);
    stage.sip(&message("c", 1));
    assert!(stage.stanzas.is_empty());
    stage.settle(&second, Ok(()));
    stage.advance_ms(500);
    assert_eq!(said(&stage.only_response()), "200 OK");
    assert_eq!(outcomes(&stage), [&Outcome::Delivered]);
}

#[test]
fn after_a_restart_a_settled_message_is_answered_as_before() {
    for (outcome, expected) in [(Ok(()), "200 OK"), (Err("gone"), "410 because of gone")] {
        let mut stage = Stage::new();
        stage.sip(&message("c", 1));
        let sent = stage.only_stanza();
        stage.settle(&sent, outcome);
        stage.advance_s(1);
        stage.restart();
        stage.sip(&message("c", 1));
        assert_eq!(said(&stage.only_response()), expected);
        assert!(stage.stanzas.is_empty());
    }
}

#[test]
fn after_a_restart_what_is_owed_to_the_inside_goes_out_without_an_edge() {
    let mut stage = Stage::new();
    stage.stanza(
        "<message from='juliet@example.com/b' to='romeo@example.net'><body>x</body></message>",
    );
    let mut loaded = stage.ledger.load(stage.clock.now);
    stage.take_requests();
    stage.gateway = super::restored(&mut loaded, stage.clock, 1);
    stage.collect();
    assert_eq!(body(&stage.only_request()), "x");
}

#[test]
fn the_thread_of_an_xmpp_user_comes_back_in_the_reply() {
    let mut stage = Stage::new();
    stage.stanza(
        "<message from='juliet@example.com/b' to='romeo@example.net'>\
         <thread>t 1&#10;x</thread><body>x</body></message>",
    );
    let call_id = stage.only_request().call_id().as_str().to_owned();
    assert_ne!(call_id, "t 1\nx");
    stage.sip(&message(&call_id, 1));
    assert_eq!(stage.only_stanza().text("thread"), "t 1\nx");
    stage.sip(&message_to("nurse", &call_id, 2));
    assert_eq!(stage.only_stanza().text("thread"), call_id, "somebody else has no part in it");
}

#[test]
fn a_notice_of_the_home_goes_to_the_xmpp_user_and_is_never_bounced() {
    let mut stage = Stage::new();
    stage.sip(&message("c", 1).replace("Content-Type", "Isthmus-Notice: failure\nContent-Type"));
    assert_eq!(said(&stage.only_response()), "200 OK");
    let sent = stage.only_stanza();
    assert_eq!(sent.text("body"), "Neither, fair saint");
    stage.settle(&sent, Err("item-not-found"));
    stage.stanza(&error_for(&sent, "item-not-found", ""));
    stage.advance_s(120);
    assert!(stage.requests.is_empty() && stage.stanzas.is_empty());
    assert_eq!(stage.gateway.open_messages(), 0);
}

#[test]
fn both_kinds_of_405_and_moved_answers_carry_what_they_must() {
    let mut stage = Stage::new();
    let full = message("c", 1).replace("juliet@example.com SIP", "juliet@example.com;gr=b SIP");
    stage.sip(&full);
    let sent = stage.only_stanza();
    stage.settle(&sent, Ok(()));
    stage.stanza(&error_for(&sent, "feature-not-implemented", ""));
    let response = stage.only_response();
    assert_eq!(response.status().code(), 405);
    assert!(header(response.headers(), "Allow").contains("MESSAGE"));

    stage.sip(&message("c", 2));
    let sent = stage.only_stanza();
    let moved = error_for(&sent, "gone", "").replace(
        "<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>",
        "<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:j%5C20c@example.com</gone>",
    );
    stage.stanza(&moved);
    let response = stage.only_response();
    assert_eq!(response.status().code(), 301);
    assert_eq!(header(response.headers(), "Contact"), "<sip:j%20c@example.com>");
}

#[test]
fn a_gruu_is_one_resource_whose_errors_are_its_own_and_that_of_the_gateway_is_none() {
    for (gr, to, code) in [
        ("", "juliet@example.com", 604),
        (";gr=balcony", "juliet@example.com/balcony", 404),
        (";gr=isthmus", "juliet@example.com", 604),
    ] {
        let mut stage = Stage::new();
        let uri = format!("juliet@example.com{gr} SIP");
        stage.sip(&message("c", 1).replace("juliet@example.com SIP", &uri));
        let sent = stage.only_stanza();
        assert_eq!(sent.attribute("to"), to);
        stage.settle(&sent, Ok(()));
        stage.stanza(&error_for(&sent, "item-not-found", ""));
        assert_eq!(stage.only_response().status().code(), code, "{gr}");
    }
}

#[test]
fn a_reply_to_a_message_without_a_thread_has_its_call_id_as_thread_which_comes_back() {
    let mut stage = Stage::new();
    let hello = "<message from='juliet@example.com/b' to='romeo@example.net'><body>x</body>";
    stage.stanza(&format!("{hello}</message>"));
    let first = stage.only_request();
    stage.answer(&first, 200);
    let call_id = first.call_id().as_str();
    stage.sip(&message(call_id, 1));
    assert_eq!(stage.only_stanza().text("thread"), call_id);
    stage.stanza(&format!("{hello}<thread>{call_id}</thread></message>"));
    assert_eq!(stage.only_request().call_id(), first.call_id());
}
