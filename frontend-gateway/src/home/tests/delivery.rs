//! Messages for users of the home: forked, answered once, kept, brought later, given up.

use sip_proto::header::{Date, TypedHeader};
use sip_proto::message::{Message, Request};

use super::{CELL, DESK, GATEWAY, PARIS, READ_MAX, Stage, Store};
use crate::home::message_store::MessageLimits;
use crate::store::Write;
use crate::testing::{BEGIN_MS, Timed as _, body, header, said};

const DAY_S: u64 = 86_400;

/// A message of an XMPP user, as the gateway sends it.
fn message(text: &str) -> String {
    format!(
        "MESSAGE sip:romeo@example.net SIP/2.0\nFrom: <sip:juliet@example.com;gr=b>;tag=1\n\
         To: <sip:romeo@example.net>\nCall-ID: {text}\nCSeq: 1 MESSAGE\n\
         Content-Type: text/plain\n\n{text}"
    )
}

/// Begins with two devices of romeo.
fn two_devices() -> Stage {
    let mut stage = Stage::new();
    stage.register(DESK, "romeo");
    stage.register(CELL, "romeo");
    stage
}

#[test]
fn a_message_goes_to_every_device_on_its_own_flow() {
    let mut stage = two_devices();
    stage.send(GATEWAY, &message("1"));
    let (desk, cell) = (stage.only_request(DESK), stage.only_request(CELL));
    assert_eq!(desk.uri().to_wire(), "sip:romeo@192.0.2.1:40001");
    assert_eq!(cell.uri().to_wire(), "sip:romeo@192.0.2.1:40002");
    assert_eq!((body(&desk), body(&cell)), ("1", "1"));
    assert!(stage.is_silent(), "nobody has taken it yet");
}

#[test]
fn a_message_that_was_answered_leaves_nothing_to_wake_up_for() {
    let mut stage = two_devices();
    let before = stage.due();
    stage.send(GATEWAY, &message("1"));
    let (desk, cell) = (stage.only_request(DESK), stage.only_request(CELL));
    assert!(stage.due() < before);
    stage.answer(DESK, &desk, 200);
    stage.answer(CELL, &cell, 200);
    stage.advance_s(1);
    assert_eq!(stage.due(), before);
}

#[test]
fn a_provisional_answer_of_a_device_is_no_outcome() {
    let mut stage = Stage::new();
    stage.register(DESK, "romeo");
    stage.send(GATEWAY, &message("1"));
    let desk = stage.only_request(DESK);
    stage.answer(DESK, &desk, 180);
    assert!(stage.is_silent());
    stage.answer(DESK, &desk, 200);
    assert_eq!(said(&stage.only_response(GATEWAY)), "200 OK");
}

#[test]
fn the_first_device_that_takes_a_message_counts_whatever_the_other_says() {
    for other in [200, 486, 603] {
        let mut stage = two_devices();
        stage.send(GATEWAY, &message("1"));
        let (desk, cell) = (stage.only_request(DESK), stage.only_request(CELL));
        stage.answer(CELL, &cell, 200);
        assert_eq!(said(&stage.only_response(GATEWAY)), "200 OK");
        stage.answer(DESK, &desk, other);
        stage.advance_s(60);
        assert!(stage.is_silent(), "{other}");
        assert_eq!(stage.kept("romeo@example.net"), 0);
    }
}

#[test]
fn a_refusal_counts_only_when_no_other_device_takes_the_message() {
    let mut stage = two_devices();
    stage.send(GATEWAY, &message("1"));
    let (desk, cell) = (stage.only_request(DESK), stage.only_request(CELL));
    stage.answer(DESK, &desk, 603);
    assert!(stage.is_silent());
    stage.answer(CELL, &cell, 480);
    assert_eq!(stage.only_response(GATEWAY).status().code(), 603);
    assert_eq!(stage.kept("romeo@example.net"), 0);
}

#[test]
fn a_message_that_every_device_leaves_unanswered_or_declines_for_now_is_kept() {
    // Busy, gone with its connection, silent.
    let fates: [fn(&mut Stage, &Request); 3] = [
        |stage, request| stage.answer(DESK, request, 486),
        |stage, _| stage.close(DESK),
        |stage, _| stage.advance_s(10),
    ];
    for fate in fates {
        let mut stage = Stage::new();
        stage.register(DESK, "romeo");
        stage.send(GATEWAY, &message("1"));
        let request = stage.only_request(DESK);
        fate(&mut stage, &request);
        assert_eq!(said(&stage.only_response(GATEWAY)), "202 Accepted");
        assert_eq!(stage.kept("romeo@example.net"), 1);
    }
}

#[test]
fn a_device_that_answers_after_its_message_was_kept_has_it_and_does_not_get_it_again() {
    for (code, kept) in [(200, 0), (480, 1)] {
        let mut stage = Stage::new();
        stage.register(DESK, "romeo");
        stage.send(GATEWAY, &message("1"));
        let request = stage.only_request(DESK);
        stage.advance_s(10);
        assert_eq!(said(&stage.only_response(GATEWAY)), "202 Accepted");
        stage.answer(DESK, &request, code);
        assert_eq!(stage.kept("romeo@example.net"), kept, "{code}");
        stage.register(DESK, "romeo");
        assert_eq!(stage.sent.remove(&DESK).map_or(0, |sent| sent.len()), kept, "{code}");
    }
}

#[test]
fn a_device_whose_connection_is_lost_is_reached_by_one_that_is_opened_to_it() {
    let mut stage = Stage::new();
    stage.register(DESK, "romeo");
    stage.close(DESK);
    stage.send(GATEWAY, &message("1"));
    stage.send(GATEWAY, &message("2"));
    let [(flow, uri)] = &stage.connects[..] else { panic!("{:?}", stage.connects) };
    assert_eq!(uri.to_wire(), "sip:romeo@192.0.2.1:40001");
    let flow = *flow;
    stage.open(flow);
    let sent = stage.sent.remove(&flow).unwrap();
    assert_eq!(sent.len(), 2, "both wait for the same connection");
}

#[test]
fn a_device_that_cannot_be_connected_to_has_its_messages_kept() {
    let mut stage = Stage::new();
    stage.register(DESK, "romeo");
    stage.close(DESK);
    stage.send(GATEWAY, &message("1"));
    let flow = stage.connects[0].0;
    stage.close(flow);
    assert_eq!(said(&stage.only_response(GATEWAY)), "202 Accepted");
    assert_eq!(stage.kept("romeo@example.net"), 1);
}

#[test]
fn kept_messages_come_at_the_next_registration_in_order_with_the_time_they_were_sent() {
    let mut stage = Stage::new();
    for (text, wait) in [("1", 60), ("2", 3_600), ("3", 0)] {
        stage.send(GATEWAY, &message(text));
        assert_eq!(said(&stage.only_response(GATEWAY)), "202 Accepted");
        stage.advance_s(wait);
    }
    stage.restart();
    stage.register(DESK, "romeo");
    let mut expected_s = BEGIN_MS / 1000;
    for (text, wait) in [("1", 60), ("2", 3_600), ("3", 0)] {
        let request = stage.only_request(DESK);
        assert_eq!(body(&request), text);
        let mut date = String::new();
        Date::from_unix_seconds(expected_s).write(&mut date);
        assert_eq!(header(request.headers(), "Date"), date);
        expected_s += wait;
        stage.answer(DESK, &request, 200);
    }
    assert!(stage.is_silent());
    assert_eq!(stage.kept("romeo@example.net"), 0);
}

#[test]
fn a_message_that_reaches_the_store_after_its_user_came_for_it_comes_at_once() {
    let mut stage = Stage::new();
    stage.store = Store::Holds;
    stage.send(GATEWAY, &message("1"));
    stage.store = Store::Confirms;
    stage.register(DESK, "romeo");
    assert!(stage.is_silent(), "it is nowhere yet");
    stage.store_confirms();
    assert_eq!(said(&stage.only_response(GATEWAY)), "202 Accepted");
    let request = stage.only_request(DESK);
    assert_eq!(body(&request), "1");
    stage.answer(DESK, &request, 200);
    assert_eq!(stage.kept("romeo@example.net"), 0);
}

#[test]
fn a_kept_message_that_was_taken_does_not_come_again_however_slow_the_store_is() {
    for store in [Store::Holds, Store::Fails] {
        let mut stage = Stage::new();
        for text in ["1", "2", "3"] {
            stage.send(GATEWAY, &message(text));
            stage.only_response(GATEWAY);
        }
        stage.register(DESK, "romeo");
        stage.store = store;
        for text in ["1", "2"] {
            let request = stage.only_request(DESK);
            assert_eq!(body(&request), text);
            stage.answer(DESK, &request, 200);
        }
        stage.register(DESK, "romeo");
        stage.advance_s(10);
        assert!(stage.is_silent(), "{store:?}");
        stage.store_confirms();
        stage.advance_s(1);
        let request = stage.only_request(DESK);
        assert_eq!(body(&request), "3", "{store:?}");
        stage.answer(DESK, &request, 200);
        assert!(stage.is_silent());
        assert_eq!(stage.kept("romeo@example.net"), 0);
    }
}

#[test]
fn a_kept_message_that_no_device_takes_waits_for_the_next_registration() {
    let mut stage = Stage::new();
    stage.send(GATEWAY, &message("1"));
    stage.only_response(GATEWAY);
    stage.register(DESK, "romeo");
    let request = stage.only_request(DESK);
    stage.answer(DESK, &request, 480);
    stage.advance_s(60);
    assert!(stage.is_silent());
    assert_eq!(stage.kept("romeo@example.net"), 1);
    stage.close(DESK);
    stage.register(DESK, "romeo");
    assert_eq!(body(&stage.only_request(DESK)), "1");
}

#[test]
fn a_kept_message_that_is_refused_for_good_is_told_to_its_sender() {
    let mut stage = Stage::new();
    stage.send(GATEWAY, &message("1"));
    stage.only_response(GATEWAY);
    stage.register(DESK, "romeo");
    let request = stage.only_request(DESK);
    stage.answer(DESK, &request, 415);
    let notice = stage.only_request(GATEWAY);
    assert_eq!(notice.uri().to_wire(), "sip:juliet@example.com");
    assert_eq!(body(&notice), "Your message was refused (Unsupported Media Type).\n> 1");
    assert_ne!(header(notice.headers(), "Isthmus-Notice"), "");
    assert_eq!(stage.kept("romeo@example.net"), 0);
}

#[test]
fn a_message_that_nobody_collects_in_fourteen_days_is_given_up_and_its_sender_told_once() {
    let mut stage = Stage::new();
    // One more than are read at once.
    for number in 0..=READ_MAX {
        stage.send(GATEWAY, &message(&number.to_string()));
        stage.only_response(GATEWAY);
    }
    stage.advance_s(14 * DAY_S - 1);
    assert!(stage.is_silent());
    stage.advance_s(1);
    let notices = stage.sent.remove(&GATEWAY).unwrap();
    assert_eq!(notices.len(), READ_MAX + 1);
    for (number, notice) in notices.into_iter().enumerate() {
        let Message::Request(notice) = notice else { panic!("{notice:?}") };
        assert_eq!(notice.from().uri().to_wire(), "sip:romeo@example.net");
        let expected = format!("Your message was not collected in time.\n> {number}");
        assert_eq!(body(&notice), expected);
        stage.answer(GATEWAY, &notice, 404);
    }
    assert_eq!(stage.kept("romeo@example.net"), 0);
    stage.advance_s(DAY_S);
    assert!(stage.is_silent());
}

#[test]
fn a_notice_that_nobody_collects_is_not_answered_by_another() {
    let mut stage = Stage::new();
    let notice = message("1").replace("Content-Type", "Isthmus-Notice: failure\nContent-Type");
    stage.send(GATEWAY, &notice);
    stage.only_response(GATEWAY);
    stage.advance_s(15 * DAY_S);
    assert!(stage.is_silent());
    assert_eq!(stage.kept("romeo@example.net"), 0);
}

#[test]
fn a_message_without_hops_left_is_refused_and_never_kept() {
    let no_hops = message("1").replace("Content-Type", "Max-Forwards: 0\nContent-Type");
    for is_away in [true, false] {
        let mut stage = Stage::new();
        if !is_away {
            stage.register(DESK, "romeo");
        }
        stage.send(GATEWAY, &no_hops);
        assert_eq!(said(&stage.only_response(GATEWAY)), "483 Too Many Hops");
        assert!(stage.is_silent());
        assert_eq!(stage.kept("romeo@example.net"), 0);
    }
}

#[test]
fn a_kept_message_that_cannot_be_sent_is_told_to_its_sender_and_does_not_block_the_next() {
    let mut stage = Stage::new();
    for text in ["1", "2"] {
        stage.send(GATEWAY, &message(text));
        stage.only_response(GATEWAY);
    }
    // What somebody else than this program has put into the store.
    for write in &mut stage.ledger.writes {
        if let Write::KeepMessage(kept) = write
            && kept.request.ends_with(b"\r\n\r\n1")
        {
            let text = String::from_utf8(kept.request.clone()).unwrap();
            kept.request = text.replace("Max-Forwards: 70", "Max-Forwards: 0").into_bytes();
        }
    }
    stage.restart();
    stage.register(DESK, "romeo");
    let notice = stage.only_request(GATEWAY);
    assert_eq!(notice.uri().to_wire(), "sip:juliet@example.com");
    assert_eq!(body(&notice), "Your message was refused (Too Many Hops).\n> 1");
    let next = stage.only_request(DESK);
    assert_eq!(body(&next), "2");
    stage.answer(DESK, &next, 200);
    assert!(stage.is_silent());
    assert_eq!(stage.kept("romeo@example.net"), 0);
}

/// A message of paris to romeo.
fn colleague_says(text: &str) -> String {
    message(text).replace("juliet@example.com;gr=b", "paris@example.net")
}

#[test]
fn a_user_here_is_told_of_a_message_to_a_colleague_that_failed_after_it_was_kept() {
    for (code, expected) in [
        (Some(415), "Your message was refused (Unsupported Media Type).\n> 1"),
        (None, "Your message was not collected in time.\n> 1"),
    ] {
        let mut stage = Stage::new();
        stage.register(PARIS, "paris");
        stage.send(PARIS, &colleague_says("1"));
        assert_eq!(said(&stage.only_response(PARIS)), "202 Accepted");
        match code {
            Some(code) => {
                stage.register(DESK, "romeo");
                let request = stage.only_request(DESK);
                stage.answer(DESK, &request, code);
            }
            None => {
                stage.advance_s(14 * DAY_S - 60);
                stage.register(PARIS, "paris");
                stage.advance_s(60);
            }
        }
        let notice = stage.only_request(PARIS);
        assert_eq!(notice.from().uri().to_wire(), "sip:romeo@example.net");
        assert_eq!(body(&notice), expected);
        assert_eq!(header(notice.headers(), "Isthmus-Notice"), "", "it is between us alone");
        stage.answer(PARIS, &notice, 200);
        assert!(stage.is_silent(), "{:?}", stage.sent);
        assert_eq!(stage.ledger.load(stage.clock.now).messages, []);
    }
}

#[test]
fn a_notice_waits_for_a_user_who_is_away_and_is_never_answered_by_another() {
    // Its sender goes away, or has a device that says nothing.
    for is_silent in [false, true] {
        let mut stage = Stage::new();
        stage.register(PARIS, "paris");
        stage.send(PARIS, &colleague_says("1"));
        stage.only_response(PARIS);
        stage.register_for(PARIS, "paris", if is_silent { 3600 } else { 60 });
        if !is_silent {
            stage.advance_s(60);
        }
        stage.register(DESK, "romeo");
        let request = stage.only_request(DESK);
        stage.answer(DESK, &request, 415);
        if is_silent {
            stage.only_request(PARIS);
            stage.advance_s(10);
        }
        assert_eq!(stage.kept("paris@example.net"), 1);
        stage.restart();
        stage.register(PARIS, "paris");
        let notice = stage.only_request(PARIS);
        assert_eq!(body(&notice), "Your message was refused (Unsupported Media Type).\n> 1");
        stage.answer(PARIS, &notice, 415);
        assert!(stage.is_silent(), "{:?}", stage.sent);
        assert_eq!(stage.ledger.load(stage.clock.now).messages, []);
    }
}

#[test]
fn a_flood_of_one_device_is_refused_to_that_device_alone() {
    let mut stage = Stage::new();
    stage.open(CELL);
    let invite = |number: u32| {
        format!(
            "INVITE sip:romeo@example.net SIP/2.0\nFrom: <sip:x@example.net>;tag={number}\n\
             To: <sip:romeo@example.net>\nCall-ID: {number}\nCSeq: 1 INVITE\n\
             Contact: <sip:x@192.0.2.1>"
        )
    };
    for number in 0..100 {
        stage.send(CELL, &invite(number));
        let expected = if number < 64 { 488 } else { 503 };
        assert_eq!(stage.only_response(CELL).status().code(), expected, "{number}");
    }
    stage.register(DESK, "romeo");
    stage.register(PARIS, "paris");
    for number in 0..100 {
        stage.send(PARIS, &colleague_says(&number.to_string()));
        assert_eq!(body(&stage.only_request(DESK)), number.to_string(), "all wait for an answer");
    }
    stage.advance_s(32);
    stage.sent.clear();
    stage.send(CELL, &invite(100));
    assert_eq!(stage.only_response(CELL).status().code(), 488, "nobody waits for the ACKs");
}

#[test]
fn the_gateway_may_have_as_many_messages_under_way_as_one_partner_can() {
    let open_max = crate::gateway::GatewaySettings::new(sip_proto::header::SentBy {
        host: sip_proto::uri::Host::parse("gateway.example.net").unwrap(),
        port: None,
    })
    .open_per_partner_max;
    let mut stage = Stage::new();
    stage.register(DESK, "romeo");
    for number in 0..=open_max {
        stage.send(GATEWAY, &message(&number.to_string()));
    }
    assert_eq!(stage.sent[&DESK].len(), open_max + 1);
    assert!(stage.sent.get(&GATEWAY).is_none_or(Vec::is_empty), "nothing is refused");
}

#[test]
fn a_store_that_is_full_or_off_or_broken_says_so_to_the_sender() {
    let off = MessageLimits { per_user_max: 0, ..MessageLimits::default() };
    let one = MessageLimits { per_user_max: 1, ..MessageLimits::default() };
    for (limits, before, expected) in [
        (off, 0, "480 the user is away, and messages are not kept"),
        (one, 1, "480 the user is away, and the message store for the user is full"),
    ] {
        let mut stage = Stage::with_limits(limits);
        for number in 0..before {
            stage.send(GATEWAY, &message(&format!("before-{number}")));
            assert_eq!(said(&stage.only_response(GATEWAY)), "202 Accepted");
        }
        stage.send(GATEWAY, &message("1"));
        assert_eq!(said(&stage.only_response(GATEWAY)), expected);
        assert_eq!(stage.kept("romeo@example.net"), before);
    }
    let mut stage = Stage::new();
    stage.store = Store::Fails;
    stage.send(GATEWAY, &message("1"));
    assert_eq!(said(&stage.only_response(GATEWAY)), "500 Message Store Failed");
    stage.store = Store::Confirms;
    stage.send(GATEWAY, &message("2"));
    assert_eq!(said(&stage.only_response(GATEWAY)), "202 Accepted");
    assert_eq!(stage.kept("romeo@example.net"), 1);
}

#[test]
fn a_message_for_nobody_is_refused_and_between_two_users_needs_no_gateway() {
    let mut stage = Stage::new();
    stage.send(GATEWAY, &message("1").replace("romeo@example.net", "nobody@example.net"));
    assert_eq!(stage.only_response(GATEWAY).status().code(), 404);
    stage.register(DESK, "romeo");
    stage.register(PARIS, "paris");
    stage.send(PARIS, &message("2").replace("juliet@example.com;gr=b", "paris@example.net"));
    let request = stage.only_request(DESK);
    stage.answer(DESK, &request, 200);
    assert_eq!(said(&stage.only_response(PARIS)), "200 OK");
    assert!(stage.is_silent());
}
