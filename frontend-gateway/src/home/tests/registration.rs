//! Who may register and act for a user: challenges, credentials, replays, what is remembered.

use sip_proto::auth::{Algorithm, Challenge};
use sip_proto::transaction::FlowId;

use super::{
    CELL, DESK, GATEWAY, PARIS, PASSWORD, Stage, algorithms, challenges, contacts, registration,
    with_answer, with_credentials,
};
use crate::testing::{Timed, header, jid, said};

const MESSAGE: &str = "MESSAGE sip:juliet@example.com SIP/2.0\n\
    From: <sip:romeo@example.net>;tag=1\nTo: <sip:juliet@example.com>\nCall-ID: m\n\
    CSeq: 1 MESSAGE\nContent-Type: text/plain\n\nhello";

#[test]
fn sha_256_is_offered_first_and_legacy_users_are_offered_md5_alone() {
    for (user, expected) in [
        ("romeo", vec![Algorithm::Sha256, Algorithm::Md5]),
        ("old", vec![Algorithm::Md5]),
        ("nobody", vec![Algorithm::Sha256, Algorithm::Md5]),
    ] {
        let mut stage = Stage::new();
        stage.open(DESK);
        stage.send(DESK, &registration(user, DESK, 3600));
        let response = stage.only_response(DESK);
        assert_eq!(algorithms(&response), expected, "{user}");
        assert!(challenges(&response).iter().all(|it| it.realm() == "example.net"));
    }
}

#[test]
fn every_algorithm_that_is_offered_can_be_answered() {
    for (user, index) in [("romeo", 0), ("romeo", 1), ("old", 0)] {
        let mut stage = Stage::new();
        stage.open(DESK);
        let text = registration(user, DESK, 3600);
        stage.send(DESK, &text);
        let challenge = challenges(&stage.only_response(DESK)).remove(index);
        stage.send(DESK, &with_answer(&text, &challenge, user, PASSWORD, 1));
        let response = stage.only_response(DESK);
        assert_eq!(said(&response), "200 OK", "{user} {index}");
        assert_eq!(contacts(response.headers()), 1);
        let address = jid(&format!("{user}@example.net"));
        assert!(stage.home.is_registered(&address, stage.clock.now));
    }
}

#[test]
fn wrong_credentials_are_refused_alike_for_users_that_exist_and_that_do_not() {
    // Each case: the user, who answers the challenge, and with which password.
    for (user, name, password) in [
        ("romeo", "romeo", "wrong horse"),
        ("nobody", "nobody", PASSWORD),
        ("romeo", "paris", PASSWORD),
        ("old", "old", "wrong horse"),
    ] {
        let mut stage = Stage::new();
        stage.open(DESK);
        let text = registration(user, DESK, 3600);
        stage.send(DESK, &text);
        let challenged = stage.only_response(DESK);
        stage.send(DESK, &with_credentials(&text, &challenged, name, password, 1));
        assert_eq!(said(&stage.only_response(DESK)), "403 Wrong Credentials", "{user} {name}");
        assert!(!stage.home.is_registered(&jid(&format!("{user}@example.net")), stage.clock.now));
    }
}

#[test]
fn a_legacy_user_cannot_be_made_to_use_an_algorithm_that_has_no_hash() {
    let mut stage = Stage::new();
    stage.open(DESK);
    stage.send(DESK, &registration("romeo", DESK, 3600));
    let strong = challenges(&stage.only_response(DESK)).remove(0);
    stage.send(DESK, &with_answer(&registration("old", DESK, 3600), &strong, "old", PASSWORD, 1));
    assert_eq!(stage.only_response(DESK).status().code(), 403);
}

#[test]
fn credentials_are_good_once_and_a_replay_gets_a_stale_challenge() {
    let mut stage = Stage::new();
    stage.open(DESK);
    let text = registration("romeo", DESK, 3600);
    stage.send(DESK, &text);
    let challenged = stage.only_response(DESK);
    let good = with_credentials(&text, &challenged, "romeo", PASSWORD, 1);
    stage.send(DESK, &good);
    assert_eq!(said(&stage.only_response(DESK)), "200 OK");

    // Somebody who saw it sends it on another connection, to be found there.
    stage.open(CELL);
    stage.send(CELL, &good.replace("192.0.2.1:40001", "203.0.113.66"));
    let response = stage.only_response(CELL);
    assert!(challenges(&response).iter().all(Challenge::is_stale));
    stage.send(CELL, MESSAGE);
    assert_eq!(stage.only_response(CELL).status().code(), 401, "the flow is not romeo's");

    stage.send(DESK, &with_credentials(&text, &challenged, "romeo", PASSWORD, 2));
    assert_eq!(said(&stage.only_response(DESK)), "200 OK", "the next count is fresh");
}

#[test]
fn a_nonce_is_good_for_five_minutes() {
    for (seconds, code) in [(299, 200), (301, 401)] {
        let mut stage = Stage::new();
        stage.open(DESK);
        let text = registration("romeo", DESK, 3600);
        stage.send(DESK, &text);
        let challenged = stage.only_response(DESK);
        stage.advance_s(seconds);
        stage.send(DESK, &with_credentials(&text, &challenged, "romeo", PASSWORD, 1));
        let response = stage.only_response(DESK);
        assert_eq!(response.status().code(), code, "{seconds}");
        if code == 401 {
            assert!(challenges(&response)[0].is_stale());
        }
    }
}

#[test]
fn a_nonce_of_another_process_is_stale_and_one_made_up_too() {
    let mut stage = Stage::new();
    stage.open(DESK);
    let text = registration("romeo", DESK, 3600);
    stage.send(DESK, &text);
    let challenged = stage.only_response(DESK);
    stage.restart();
    stage.open(DESK);
    stage.send(DESK, &with_credentials(&text, &challenged, "romeo", PASSWORD, 1));
    assert!(challenges(&stage.only_response(DESK))[0].is_stale());
}

#[test]
fn what_a_user_does_on_its_own_flow_needs_no_proof_and_elsewhere_it_does() {
    let mut stage = Stage::new();
    stage.register(DESK, "romeo");
    stage.send(DESK, MESSAGE);
    assert_eq!(stage.only_request(GATEWAY).uri().to_wire(), "sip:juliet@example.com");
    stage.register(PARIS, "paris");
    stage.send(PARIS, MESSAGE);
    let challenged = stage.only_response(PARIS);
    stage.send(PARIS, &with_credentials(MESSAGE, &challenged, "paris", PASSWORD, 1));
    assert_eq!(stage.only_response(PARIS).status().code(), 403, "paris is not romeo");
    stage.send(PARIS, &with_credentials(MESSAGE, &challenged, "romeo", PASSWORD, 1));
    let onward = stage.only_request(GATEWAY);
    assert_eq!(header(onward.headers(), "Authorization"), "", "credentials go no further");
}

#[test]
fn a_sender_of_another_domain_and_a_domain_that_is_not_served_are_refused() {
    let mut stage = Stage::new();
    stage.open(DESK);
    stage.send(DESK, &MESSAGE.replace("romeo@example.net", "romeo@evil.example"));
    assert_eq!(said(&stage.only_response(DESK)), "403 Sender Is Not A User Here");
    stage.send(DESK, &registration("romeo", DESK, 60).replace("example.net", "other.example"));
    assert_eq!(said(&stage.only_response(DESK)), "404 Domain Not Served Here");
    assert!(stage.is_silent());
}

#[test]
fn a_registration_ends_when_it_runs_out_and_when_it_is_removed() {
    let mut stage = Stage::new();
    stage.register(DESK, "romeo");
    stage.advance_s(3_599);
    assert!(stage.home.is_registered(&jid("romeo@example.net"), stage.clock.now));
    stage.advance_s(1);
    assert!(!stage.home.is_registered(&jid("romeo@example.net"), stage.clock.now));
    assert!(stage.ledger.load(stage.clock.now).bindings.is_empty());

    stage.register(CELL, "romeo");
    let removal = registration("romeo", CELL, 0).replace("CSeq: 1 ", "CSeq: 9 ");
    stage.send(CELL, &removal);
    let challenged = stage.only_response(CELL);
    stage.send(CELL, &with_credentials(&removal, &challenged, "romeo", PASSWORD, 1));
    assert_eq!(contacts(stage.only_response(CELL).headers()), 0);
    assert!(!stage.home.is_registered(&jid("romeo@example.net"), stage.clock.now));
    stage.send(CELL, MESSAGE);
    assert_eq!(stage.only_response(CELL).status().code(), 401, "the flow is nobody's");
}

#[test]
fn a_flow_is_a_users_only_while_a_binding_of_the_user_is_on_it() {
    type Change = fn(&mut Stage);
    let changes: [(&str, Change); 5] = [
        ("it runs out while another flow has one", |stage| {
            stage.register(CELL, "romeo");
            stage.advance_s(60);
        }),
        ("it runs out and is the last", |stage| stage.advance_s(60)),
        ("it is removed from another flow", |stage| {
            stage.open(CELL);
            let removal = registration("romeo", DESK, 0).replace("Call-ID: ", "Call-ID: other-");
            stage.send(CELL, &removal);
            let challenged = stage.only_response(CELL);
            stage.send(CELL, &with_credentials(&removal, &challenged, "romeo", PASSWORD, 1));
            assert_eq!(said(&stage.only_response(CELL)), "200 OK");
        }),
        ("the user gets another password", |stage| {
            let address = jid("romeo@example.net");
            let user = super::super::accounts::record(&address, "another one", false).unwrap();
            stage.home.insert_user(&user);
        }),
        ("the user is removed", |stage| {
            stage.home.remove_user(&jid("romeo@example.net"), stage.clock.now);
        }),
    ];
    for (why, change) in changes {
        let mut stage = Stage::new();
        stage.register_for(DESK, "romeo", 60);
        stage.send(DESK, MESSAGE);
        stage.only_request(GATEWAY);
        change(&mut stage);
        stage.sent.clear();
        stage.send(DESK, MESSAGE);
        assert_eq!(stage.only_response(DESK).status().code(), 401, "{why}");
    }
}

#[test]
fn a_flow_stays_a_users_while_one_of_two_bindings_on_it_does() {
    let mut stage = Stage::new();
    stage.register_for(DESK, "romeo", 3600);
    let second = registration("romeo", CELL, 60).replace("Call-ID: ", "Call-ID: second-");
    stage.send(DESK, &second);
    let challenged = stage.only_response(DESK);
    stage.send(DESK, &with_credentials(&second, &challenged, "romeo", PASSWORD, 1));
    let registered = stage.only_response(DESK);
    assert_eq!(header(registered.headers(), "Contact").matches("<sip:romeo@").count(), 2);
    stage.advance_s(60);
    stage.send(DESK, MESSAGE);
    stage.only_request(GATEWAY);
}

#[test]
fn a_device_that_stops_in_the_middle_of_a_message_is_cut_off_after_ten_seconds() {
    let mut stage = Stage::new();
    stage.open(DESK);
    stage.bytes(DESK, b"REGISTER sip:example.net SIP/2.0\r\nVia: ");
    stage.advance(std::time::Duration::from_millis(9_999));
    assert!(stage.closed.is_empty());
    stage.advance(std::time::Duration::from_millis(1));
    assert!(stage.closed.contains(&DESK));
}

#[test]
fn a_message_in_pieces_has_ten_seconds_from_its_first_one_on_its_own_flow() {
    let mut stage = Stage::new();
    let anew = FlowId(4);
    for flow in [DESK, CELL, PARIS, anew] {
        stage.open(flow);
        stage.bytes(flow, b"OPTIONS sip:example.net SIP/2.0\r\nVia: ");
    }
    stage.advance_s(6);
    stage.bytes(DESK, b"SIP/2.0/TCP ");
    let rest = "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
        From: <sip:romeo@example.net>;tag=1\r\nTo: <sip:example.net>\r\nCall-ID: o\r\n\
        CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    stage.bytes(CELL, rest.as_bytes());
    assert_eq!(said(&stage.only_response(CELL)), "200 OK");
    stage.close(PARIS);
    stage.open(anew);
    stage.advance(std::time::Duration::from_millis(3_999));
    assert!(stage.closed.is_empty());
    stage.advance(std::time::Duration::from_millis(1));
    assert!(!stage.closed.is_empty() && stage.closed.iter().all(|flow| *flow == DESK));
    stage.advance_s(60);
    assert_eq!(stage.home.framing.poll_timeout(), None, "it is closed once");
}

#[test]
fn a_device_whose_messages_overlap_in_its_writes_is_not_taken_for_one_that_stalls() {
    let mut stage = Stage::new();
    stage.open(DESK);
    let (begin, rest) = ("OPTIONS sip:example.net SIP/2.0\r\nVia: ", |number: u32| {
        format!(
            "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:romeo@example.net>;tag=1\r\nTo: <sip:example.net>\r\nCall-ID: o\r\n\
             CSeq: {number} OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
    });
    stage.bytes(DESK, begin.as_bytes());
    for number in 1..=4 {
        stage.advance_s(6);
        stage.bytes(DESK, format!("{}{begin}", rest(number)).as_bytes());
        assert_eq!(said(&stage.only_response(DESK)), "200 OK");
    }
    stage.advance_s(9);
    assert!(stage.closed.is_empty());
    stage.advance_s(1);
    assert!(!stage.closed.is_empty(), "the last one is not finished");
}
