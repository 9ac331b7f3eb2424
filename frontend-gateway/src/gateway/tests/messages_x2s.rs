//! Messages of XMPP users: accepted once, sent in order, settled or sent back.

use std::time::Duration;

use sip_proto::message::Request;

use super::{A, B, Stage, Store};
use crate::testing::{self, answer, body, header};

const HELLO: &str = "<message from='juliet@example.com/balcony' to='romeo@example.net' id='m1'>\
                     <body>hello</body></message>";

fn message(text: &str) -> String {
    message_to("romeo", text)
}

fn message_to(user: &str, text: &str) -> String {
    format!(
        "<message from='juliet@example.com/balcony' to='{user}@example.net' id='{text}'>\
         <body>{text}</body></message>"
    )
}

fn identifiers(request: &Request) -> (String, u32, String) {
    let tag = request.from().tag().unwrap().to_owned();
    (request.call_id().as_str().to_owned(), request.cseq().number, tag)
}

fn bodies(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(body).collect()
}

#[test]
fn a_message_is_accepted_and_sent_only_once_it_is_in_the_journal() {
    let mut stage = Stage::new();
    stage.store = Store::Holds;
    let sequence = stage.stanza(HELLO);
    assert_eq!(stage.outcome(sequence), None);
    assert!(stage.requests.is_empty(), "nothing goes out that is not ours");
    stage.answer_commits(Store::Confirms);
    assert_eq!(stage.outcome(sequence), Some(&Ok(())));
    assert_eq!(body(&stage.only_request()), "hello");
}

#[test]
fn a_message_that_cannot_be_stored_goes_back_and_was_never_ours() {
    let mut stage = Stage::new();
    stage.store = Store::Holds;
    let sequence = stage.stanza(HELLO);
    stage.answer_commits(Store::Fails);
    assert_eq!(stage.refusal(sequence), "resource-constraint");
    assert_eq!(stage.gateway.open_messages(), 0);
    stage.advance_s(120);
    assert!(stage.requests.is_empty());
    assert!(stage.commits.is_empty(), "there is nothing left to write");
}

#[test]
fn a_repetition_while_the_commit_is_under_way_is_settled_with_the_first() {
    for (store, accepted) in [(Store::Confirms, true), (Store::Fails, false)] {
        let mut stage = Stage::new();
        stage.attach(B, "edge-b");
        stage.store = Store::Holds;
        let first = stage.offer(A, HELLO, 7);
        let second = stage.offer(B, HELLO, 7);
        assert!(stage.settled.is_empty());
        stage.store = Store::Confirms;
        stage.answer_commits(store);
        let settled: Vec<_> = stage.settled.iter().map(|it| (it.0, it.1, it.2.is_ok())).collect();
        assert_eq!(settled, [(A, first, accepted), (B, second, accepted)]);
        assert_eq!(stage.requests.len(), usize::from(accepted));
    }
}

#[test]
fn a_repetition_of_a_message_that_is_ours_is_accepted_and_not_sent_again() {
    let mut stage = Stage::new();
    stage.offer(A, HELLO, 7);
    let request = stage.only_request();
    stage.attach(B, "edge-b");
    stage.offer(B, HELLO, 7);
    assert_eq!(stage.settled.last(), Some(&(B, 1, Ok(()))));
    stage.answer(&request, 200);
    stage.offer(B, HELLO, 7);
    assert_eq!(stage.settled.last(), Some(&(B, 2, Ok(()))));
    assert!(stage.requests.is_empty());
}

#[test]
fn a_repetition_is_recognised_after_a_restart() {
    for delivered in [false, true] {
        let mut stage = Stage::new();
        stage.offer(A, HELLO, 7);
        if delivered {
            let request = stage.only_request();
            stage.answer(&request, 200);
        }
        stage.restart();
        let sent_again = stage.take_requests().len();
        assert_eq!(sent_again, usize::from(!delivered));
        let sequence = stage.offer(A, HELLO, 7);
        assert_eq!(stage.outcome(sequence), Some(&Ok(())));
        assert!(stage.requests.is_empty());
    }
}

#[test]
fn one_message_of_a_conversation_is_under_way_and_the_order_is_kept() {
    let mut stage = Stage::new();
    for text in ["1", "2", "3"] {
        stage.stanza(&message(text));
    }
    stage.stanza(&message_to("mercutio", "other"));
    let under_way = stage.take_requests();
    assert_eq!(bodies(&under_way), ["1", "other"]);
    let mut request = under_way.into_iter().next().unwrap();
    for text in ["2", "3"] {
        stage.answer(&request, 200);
        request = stage.only_request();
        assert_eq!(body(&request), text);
    }
    stage.answer(&request, 202);
    assert_eq!(stage.gateway.open_messages(), 1, "only that to the other recipient");
    assert!(stage.stanzas.is_empty(), "a 2xx produces nothing");
}

#[test]
fn a_failure_lets_the_next_message_have_its_turn() {
    let mut stage = Stage::new();
    stage.stanza(&message("1"));
    stage.stanza(&message("2"));
    let request = stage.only_request();
    stage.answer(&request, 486);
    assert_eq!(body(&stage.only_request()), "2");
    assert_eq!(stage.only_stanza().condition(), "recipient-unavailable");
}

#[test]
fn the_thread_is_the_call_id_and_numbers_rise_within_it() {
    let mut stage = Stage::new();
    let mut highest = 0;
    for (text, thread) in [("1", "t"), ("2", "u"), ("3", "t")] {
        let thread_element = format!("<thread>{thread}</thread><body>");
        stage.stanza(&message(text).replace("<body>", &thread_element));
        let request = stage.only_request();
        let (call_id, number, _) = identifiers(&request);
        assert_eq!(call_id, thread);
        assert!(number > highest, "{number}");
        highest = number;
        stage.answer(&request, 200);
    }
}

#[test]
fn a_failure_goes_back_as_an_error_with_addresses_id_and_words() {
    for (code, reason, contact, condition, address) in [
        (404, "No such user", None, "item-not-found", ""),
        (301, "Moved", Some("<sip:new@example.net>"), "gone", "xmpp:new@example.net"),
        (302, "Elsewhere", Some("<sip:new@example.net>"), "redirect", "xmpp:new@example.net"),
        (410, "Gone", Some("<sip:new@example.net>"), "gone", ""),
        (480, "Away", None, "recipient-unavailable", ""),
        (500, "Broken", None, "internal-server-error", ""),
        (603, "No", None, "recipient-unavailable", ""),
    ] {
        let mut stage = Stage::new();
        stage.stanza(HELLO);
        let request = stage.only_request();
        let extra = contact.map(|contact| ("Contact", contact));
        let extra: Vec<_> = [("Reason", reason)].into_iter().chain(extra).collect();
        stage.bytes(&answer(&request, code, &extra));
        let error = stage.only_stanza();
        assert_eq!(
            error.summary(),
            "message error romeo@example.net > juliet@example.com/balcony",
            "{code}"
        );
        assert_eq!((error.attribute("id"), error.condition()), ("m1", condition), "{code}");
        let of_error = error.element.children().next().unwrap();
        let texts: Vec<_> = of_error.children().map(|it| it.text().into_owned()).collect();
        assert_eq!(texts, [address, reason], "{code}");
        assert_eq!(stage.gateway.open_messages(), 1, "until the sender's server has it");
        stage.settle(&error, Ok(()));
        assert_eq!(stage.gateway.open_messages(), 0);
    }
}

#[test]
fn a_message_that_the_inside_is_too_busy_for_is_repeated_when_it_asks_and_goes_back_in_a_minute() {
    let mut stage = Stage::new();
    stage.stanza(HELLO);
    let first = stage.only_request();
    stage.answer(&first, 503);
    stage.advance_ms(1_999);
    assert!(stage.requests.is_empty() && stage.stanzas.is_empty());
    stage.advance_ms(1);
    let second = stage.only_request();
    assert_eq!(identifiers(&second), identifiers(&first));
    stage.bytes(&answer(&second, 503, &[("Retry-After", "30")]));
    stage.advance_ms(29_999);
    assert!(stage.requests.is_empty());
    stage.advance_ms(1);
    let third = stage.only_request();
    stage.bytes(&answer(&third, 503, &[("Reason", "Busy"), ("Retry-After", "30")]));
    let error = stage.only_stanza();
    assert_eq!(error.condition(), "internal-server-error");
    stage.settle(&error, Ok(()));
    stage.advance_s(300);
    assert!(stage.requests.is_empty());

    stage.stanza(HELLO);
    let first = stage.only_request();
    stage.answer(&first, 503);
    stage.advance_s(2);
    let second = stage.only_request();
    stage.answer(&second, 200);
    assert_eq!(stage.gateway.open_messages(), 0);
}

#[test]
fn a_message_without_an_id_comes_back_without_one() {
    let mut stage = Stage::new();
    stage.stanza(&HELLO.replace(" id='m1'", ""));
    let request = stage.only_request();
    stage.answer(&request, 404);
    let error = stage.only_stanza();
    assert_eq!((error.element.attribute("id"), error.condition()), (None, "item-not-found"));
}

#[test]
fn an_error_that_cannot_be_brought_back_is_not_bounced_itself() {
    let mut stage = Stage::new();
    stage.stanza(HELLO);
    let request = stage.only_request();
    stage.answer(&request, 404);
    let error = stage.only_stanza();
    stage.settle(&error, Err("remote-server-timeout"));
    assert_eq!(stage.gateway.open_messages(), 0);
    stage.advance_s(300);
    assert!(stage.stanzas.is_empty() && stage.requests.is_empty());
}

#[test]
fn a_request_without_an_answer_is_repeated_as_it_was_and_goes_back_after_a_minute() {
    let mut stage = Stage::new();
    stage.stanza(HELLO);
    let first = identifiers(&stage.only_request());
    // Timer F is 32 s; the repetition follows after 2 s.
    stage.advance_s(33);
    assert!(stage.requests.is_empty());
    stage.advance_s(1);
    let second = stage.only_request();
    assert_eq!(identifiers(&second), first);
    assert!(stage.stanzas.is_empty());
    stage.advance_s(32);
    let error = stage.only_stanza();
    assert_eq!(error.condition(), "remote-server-timeout");
    assert!(stage.clock.elapsed() <= Duration::from_secs(66));
    stage.settle(&error, Ok(()));
    stage.answer(&second, 200);
    stage.advance_s(300);
    assert!(stage.requests.is_empty() && stage.stanzas.is_empty());
    assert_eq!(stage.gateway.open_messages(), 0);
}

#[test]
fn a_request_that_is_known_to_have_no_answer_is_repeated_without_waiting_for_its_end() {
    let mut stage = Stage::new();
    stage.stanza(HELLO);
    let first = stage.only_request();
    stage.leave_unanswered(&first);
    assert!(stage.stanzas.is_empty());
    stage.advance_s(2);
    let second = stage.only_request();
    assert_eq!(identifiers(&second), identifiers(&first));
    // The one that was given up has no second end.
    stage.leave_unanswered(&first);
    stage.advance_s(2);
    assert!(stage.requests.is_empty());
    stage.answer(&second, 200);
    assert_eq!(stage.gateway.open_messages(), 0);
}

#[test]
fn a_next_hop_that_may_use_udp_gets_short_messages_alone() {
    for (congestion_safe, longest) in [("false", 1_300), ("true", 8_000)] {
        let mut stage = Stage::new();
        let next_hop = format!(
            "[[next_hop]]\nname = 'pool'\ntransport = 'tcp'\n\
             congestion_safe = {congestion_safe}\n\
             [[next_hop.server]]\naddress = '192.0.2.1:5060'\n"
        );
        let served = "domain = \"example.net\"\nserved_by = \"pool\"";
        let policy = testing::POLICY.replace("domain = \"example.net\"", served);
        stage.policy = testing::policy(&format!("{policy}{next_hop}"));
        stage.gateway.settings.pager_bytes_max = 8_000;
        let mut say = |bytes| {
            let body = "x".repeat(bytes);
            stage.stanza(&format!(
                "<message from='juliet@example.com' to='romeo@example.net' type='chat'>\
                 <body>{body}</body></message>"
            ))
        };
        let [short, long] = [longest - 600, longest].map(&mut say);
        assert_eq!(stage.outcome(short), Some(&Ok(())));
        assert_eq!(stage.refusal(long), "policy-violation");
    }
}

#[test]
fn a_repetition_that_is_answered_is_the_delivery() {
    let mut stage = Stage::new();
    stage.stanza(HELLO);
    stage.stanza(&message("next"));
    stage.take_requests();
    stage.advance_s(34);
    let repeated = stage.only_request();
    stage.answer(&repeated, 200);
    assert_eq!(body(&stage.only_request()), "next");
    assert!(stage.stanzas.is_empty());
}

#[test]
fn after_a_restart_open_messages_go_out_in_order_with_the_same_numbers() {
    let mut stage = Stage::new();
    stage.stanza(HELLO);
    stage.stanza(&message("2"));
    let before = identifiers(&stage.only_request());
    stage.restart();
    let again = stage.only_request();
    assert_eq!(identifiers(&again), before);
    stage.answer(&again, 200);
    assert_eq!(body(&stage.only_request()), "2");
}

#[test]
fn after_a_restart_an_error_that_was_decided_still_goes_back_under_the_same_id() {
    let mut stage = Stage::new();
    stage.stanza(HELLO);
    let request = stage.only_request();
    stage.answer(&request, 404);
    let before = stage.only_stanza();
    stage.restart();
    let after = stage.only_stanza();
    assert_eq!(after.envelope.id, before.envelope.id);
    assert_eq!(after.element, before.element);
    assert!(stage.requests.is_empty());
    stage.settle(&after, Ok(()));
    assert_eq!(stage.gateway.open_messages(), 0);
}

#[test]
fn the_language_of_the_stream_is_that_of_the_message_also_after_a_restart() {
    let mut stage = Stage::new();
    stage.store = Store::Holds;
    stage.stanza(HELLO);
    let (id, mut writes) = stage.commits.pop_front().unwrap();
    assert!(matches!(writes[..], [crate::store::Write::Accept(_)]));
    stage.answer_commit(Store::Confirms, id, std::mem::take(&mut writes));
    stage.store = Store::Confirms;
    stage.collect();
    stage.take_requests();

    let sequence = stage.sequences[&A] + 1;
    let mut envelope = envelope_of(&message("bonjour").replace("romeo", "mercutio"), sequence);
    envelope.facts.as_mut().unwrap().language = "fr".into();
    stage.envelope(A, envelope);
    assert_eq!(header(stage.only_request().headers(), "Content-Language"), "fr");
    stage.restart();
    let languages: Vec<String> = stage
        .take_requests()
        .iter()
        .map(|it| header(it.headers(), "Content-Language").to_owned())
        .collect();
    assert_eq!(languages, ["", "fr"]);
}

#[test]
fn a_stream_language_that_is_none_is_not_kept_with_the_message() {
    for language in ["\u{1}".to_owned(), "'><x/>".to_owned(), "x".repeat(1 << 20)] {
        let mut stage = Stage::new();
        let mut envelope = envelope_of(HELLO, 1);
        envelope.facts.as_mut().unwrap().language = language;
        stage.envelope(A, envelope);
        assert_eq!(header(stage.only_request().headers(), "Content-Language"), "");
        let kept = stage.ledger.writes.iter().find_map(|write| match write {
            crate::store::Write::Accept(record) => Some(record.stanza.clone()),
            _ => None,
        });
        let kept = String::from_utf8(kept.unwrap().to_vec()).unwrap();
        assert!(!kept.contains("xml:lang"), "{} bytes", kept.len());
    }
}

fn envelope_of(text: &str, sequence: u64) -> link::wire::Envelope {
    link::wire::Envelope {
        sequence,
        id: bytes::Bytes::copy_from_slice(&[9; 16]),
        local_domain: "example.net".into(),
        remote_domain: "example.com".into(),
        stanza: xmpp_proto::xml::write_document(&testing::stanza(text)),
        correlation_id: "c".into(),
        facts: Some(link::wire::StreamFacts::default()),
    }
}

#[test]
fn a_message_above_the_limit_is_refused_and_one_at_the_limit_is_sent() {
    let mut stage = Stage::new();
    // The largest body that fits is found by trying, so that the test knows no header field.
    let mut fits = |bytes: usize| {
        let text = format!(
            "<message from='a@example.com' to='b@example.net'><body>{}</body>\
                            </message>",
            "x".repeat(bytes)
        );
        let sequence = stage.stanza(&text);
        match stage.outcome(sequence) {
            Some(Ok(())) => {
                for request in stage.take_requests() {
                    let wire = request.to_bytes().len();
                    assert!(wire <= stage.gateway.settings.pager_bytes_max, "{wire}");
                    stage.answer(&request, 200);
                }
                true
            }
            outcome => {
                let bounced = outcome.unwrap().as_ref().unwrap_err();
                assert_eq!(bounced.condition, "policy-violation");
                assert!(bounced.text.contains("65536"), "{}", bounced.text);
                false
            }
        }
    };
    let (mut low, mut high) = (60_000, 65_536);
    assert!(fits(low) && !fits(high));
    while high - low > 1 {
        let middle = (low + high) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    assert!(low > 64_000, "header fields do not take so much: {low}");
}

#[test]
fn a_partner_has_a_limit_of_its_own_on_messages_without_an_outcome() {
    let mut stage = Stage::new();
    stage.gateway.settings.open_per_partner_max = 2;
    let first = stage.stanza(&message("1"));
    stage.stanza(&message("2"));
    let third = stage.stanza(&message("3"));
    assert_eq!(stage.outcome(first), Some(&Ok(())));
    assert_eq!(stage.refusal(third), "resource-constraint");
    let of_another = message("4").replace("example.com", "also.example.com");
    let fourth = stage.stanza(&of_another);
    assert_eq!(stage.outcome(fourth), Some(&Ok(())), "limits are not shared");
    let requests = stage.take_requests();
    stage.answer(&requests[0], 200);
    let fifth = stage.stanza(&message("5"));
    assert_eq!(stage.outcome(fifth), Some(&Ok(())), "room comes back");
}

#[test]
fn a_message_without_a_body_or_for_nobody_is_not_sent() {
    let mut stage = Stage::new();
    let quiet = [
        "<message from='j@example.com/b' to='romeo@example.net'><composing \
         xmlns='http://jabber.org/protocol/chatstates'/></message>",
        "<message from='j@example.com/b' to='romeo@example.net'><received id='x' \
         xmlns='urn:xmpp:receipts'/></message>",
        "<message from='j@example.com/b' to='romeo@example.net' type='error' id='1-0'>\
         <body>x</body><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         </error></message>",
    ];
    for text in quiet {
        let sequence = stage.stanza(text);
        assert_eq!(stage.outcome(sequence), Some(&Ok(())), "{text}");
    }
    let refused = [
        "<message from='j@example.com/b' to='romeo@example.net' type='groupchat'><body>x</body>\
         </message>",
        "<message from='j@example.com/b' to='example.net'><body>x</body></message>",
    ];
    for text in refused {
        let sequence = stage.stanza(text);
        assert_eq!(stage.refusal(sequence), "service-unavailable", "{text}");
    }
    assert!(stage.requests.is_empty());
}

#[test]
fn a_message_of_an_unknown_type_is_a_normal_one() {
    let mut stage = Stage::new();
    stage.stanza(&HELLO.replace("id=", "type='whisper' id="));
    assert_eq!(body(&stage.only_request()), "hello");
}

#[test]
fn a_failed_decision_to_send_back_is_written_again_and_the_error_goes_back_once() {
    let mut stage = Stage::new();
    stage.stanza(HELLO);
    let request = stage.only_request();
    stage.store = Store::Holds;
    stage.answer(&request, 404);
    stage.answer_commits(Store::Fails);
    stage.store = Store::Confirms;
    stage.advance_s(2);
    let error = stage.only_stanza();
    assert_eq!(error.condition(), "item-not-found");
    stage.settle(&error, Ok(()));
    stage.advance_s(10);
    assert!(stage.stanzas.is_empty());
    let loaded = stage.ledger.load(stage.clock.now);
    assert!(loaded.open.is_empty());
    assert_eq!(loaded.settled.len(), 1);
}

#[test]
fn a_body_without_a_text_is_settled_and_sent_only_for_its_subject() {
    let with_content = |content: &str| HELLO.replace("<body>hello</body>", content);
    let mut stage = Stage::new();
    for empty in ["<body/>", "<subject/><body></body>", "<subject>x</subject>"] {
        let sequence = stage.stanza(&with_content(empty));
        assert_eq!(stage.outcome(sequence), Some(&Ok(())), "{empty}");
        assert!(stage.requests.is_empty(), "{empty}");
    }
    stage.stanza(&with_content("<subject>x</subject><body/>"));
    let request = stage.only_request();
    assert_eq!((header(request.headers(), "Subject"), body(&request)), ("x", ""));
}

#[test]
fn a_thread_counts_for_the_size_of_its_message() {
    let mut stage = Stage::new();
    for (length, is_sent) in [(60_000, true), (70_000, false)] {
        let thread = format!("<body>x</body><thread>{}</thread>", " ".repeat(length));
        let sequence = stage.stanza(&HELLO.replace("<body>hello</body>", &thread));
        assert_eq!(stage.outcome(sequence).is_some_and(Result::is_ok), is_sent, "{length}");
        assert_eq!(stage.take_requests().len(), usize::from(is_sent), "{length}");
        if !is_sent {
            assert_eq!(stage.refusal(sequence), "policy-violation");
        }
    }
}
