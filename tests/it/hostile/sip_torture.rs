//! Every message of RFC 4475, sent to the home of example.com.

use std::net::SocketAddrV4;

use tests::account::Account;
use tests::appliance::{Appliance, Setup};
use tests::namespace::{Place, in_namespace};
use tests::process::Mark;
use tests::sip_user::{SipUser, Transport};
use tests::test_ca::TestCa;
use tests::wait::Deadline;

use super::corpus::{End, SipRow, sip_rows};
use super::delivery::Delivery;
use super::wire::Wire;

/// RFC 5626 s.4.4.1: a ping is answered by a pong, behind every answer before.
const PING: &[u8] = b"\r\n\r\n";
const PONG: &[u8] = b"\r\n";

/// What the front end may hold more after the attack than before.
const GROWTH_BYTES_MAX: u64 = 24 * 1024 * 1024;

const POLICY: &str = "[[local_domain]]\ndomain = \"example.com\"\n\
    [[external_access_policy]]\nscope = \"global\"\n";
const ALICE: Account<'static> =
    Account { user: "alice", domain: "example.com", password: "alice-secret" };
const BOB: Account<'static> =
    Account { user: "bob", domain: "example.com", password: "bob-secret" };
const CAROL: Account<'static> =
    Account { user: "carol", domain: "example.com", password: "carol-secret" };

#[test]
fn every_message_of_rfc_4475_is_answered_and_harms_nobody() {
    let test = "hostile::sip_torture::every_message_of_rfc_4475_is_answered_and_harms_nobody";
    in_namespace(test, |place| {
        let ca = TestCa::new(place.directory(), "ca");
        let setup = Setup { domain: "example.com", policy: POLICY, ..Setup::default() };
        let mut appliance = setup.start(place, &ca);
        let mut alice = user(place, &appliance, &ALICE);
        let mut bob = user(place, &appliance, &BOB);
        send_text(&mut alice, &mut bob, &BOB, "before");
        let bytes_before = appliance.frontend().resident_bytes();

        let home = appliance.sip();
        let (stalled, answered): (Vec<SipRow>, Vec<SipRow>) =
            sip_rows().into_iter().partition(|row| row.end == End::Stalled);
        // All wait at the same time, and everybody else is served meanwhile.
        let waiting: Vec<(&SipRow, Delivery, Wire)> =
            stalled.iter().flat_map(|row| send_each_way(row, home)).collect();
        let at_once = answered.iter().flat_map(|row| send_each_way(row, home));
        let differences: Vec<String> = at_once
            .chain(waiting)
            .filter_map(|(row, delivery, wire)| difference(row, delivery, wire))
            .collect();
        assert!(differences.is_empty(), "{}", differences.join("\n"));

        let growth = appliance.frontend().resident_bytes().saturating_sub(bytes_before);
        assert!(growth <= GROWTH_BYTES_MAX, "the front end grew by {growth} bytes");
        assert_eq!(appliance.frontend().lines_with(Mark::START, "panicked"), [""; 0]);
        send_text(&mut bob, &mut alice, &ALICE, "after");
        let mut carol = user(place, &appliance, &CAROL);
        send_text(&mut carol, &mut alice, &ALICE, "from a newcomer");
    });
}

fn user(place: &Place, appliance: &Appliance, account: &Account<'_>) -> SipUser {
    appliance.add_user(account);
    let mut user = SipUser::start(place, account);
    user.connect(appliance.sip(), Transport::Tcp);
    assert_eq!(user.register(3600).status, 200);
    user
}

fn send_text(from: &mut SipUser, to: &mut SipUser, account: &Account<'_>, text: &str) {
    assert_eq!(from.say(&account.aor(), text).status, 200);
    to.expect_text(text, Deadline::after_s(10));
}

/// Sends the message in every way, each on a connection of its own.
fn send_each_way(row: &SipRow, home: SocketAddrV4) -> Vec<(&SipRow, Delivery, Wire)> {
    let send = |delivery: Delivery| {
        let mut wire = Wire::connect(home);
        wire.send(&delivery.pieces(&row.input));
        (row, delivery, wire)
    };
    Delivery::all(row.number).into_iter().map(send).collect()
}

/// Compares what the home answers, and what it does with the connection, with the index.
fn difference(row: &SipRow, delivery: Delivery, mut wire: Wire) -> Option<String> {
    if row.end == End::Open {
        wire.read_until(|bytes| responses(bytes).0.len() >= row.statuses.len());
        wire.send(&[PING]);
        wire.read_until(|bytes| responses(bytes).1 == PONG);
        wire.finish();
    }
    let what = format!("{} {delivery}", row.file);
    let Some(said) = wire.read_to_end() else { return Some(format!("{what}: stays connected")) };
    let (answers, rest) = responses(said);
    let statuses: Vec<u16> = answers.iter().map(|answer| status(answer)).collect();
    let expected_rest = if row.end == End::Open { PONG } else { b"" };
    let holds = |text: &String| answers.iter().any(|answer| answer.contains(text));
    let is_right =
        statuses == row.statuses && rest == expected_rest && row.holds.as_ref().is_none_or(holds);
    (!is_right).then(|| {
        let rest = String::from_utf8_lossy(rest);
        format!("{what}: {answers:#?} {rest:?}, but not {:?} {:?}", row.statuses, row.holds)
    })
}

/// The complete responses in `bytes`, and what follows them.
fn responses(bytes: &[u8]) -> (Vec<String>, &[u8]) {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while let Some(length) = response_length(rest) {
        let (response, after) = rest.split_at(length);
        found.push(String::from_utf8_lossy(response).into_owned());
        rest = after;
    }
    (found, rest)
}

fn response_length(bytes: &[u8]) -> Option<usize> {
    if !bytes.starts_with(b"SIP/2.0 ") {
        return None;
    }
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]);
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let body: usize = length.expect("every answer has a length").parse().expect("a number");
    (bytes.len() >= head + body).then_some(head + body)
}

fn status(response: &str) -> u16 {
    let code = response.split(' ').nth(1).expect("a response has a status");
    code.parse().expect("a status is a number")
}
