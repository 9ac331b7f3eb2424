//! The table of Subscription-State values: what each tells an XMPP user, and what follows.

use sip_proto::message::Request;

use super::{GONE, HERE, SUBSCRIBED, Stage, UNSUBSCRIBED, asked, is_authorised, open, watching};
use crate::testing::header;

const TABLE: &str = include_str!("../../../../../tests/vectors/substate-map.tsv");

/// What a row asks for: what is told, and after how many seconds another SUBSCRIBE is sent, if
/// ever.
fn expected(action: &str) -> (&'static [&'static str], Option<u64>) {
    match action {
        "none (answer 200)" => (&[], None),
        "subscribed, then availability (or unavailable when no body)" => {
            (&[SUBSCRIBED, HERE], None)
        }
        "availability per tuple" => {
            (&[GONE, "presence  romeo@example.net/desk > juliet@example.com"], None)
        }
        "none; new SUBSCRIBE immediately" => (&[], Some(0)),
        "unavailable after grace; timer" => (&[GONE], Some(60)),
        "unavailable for all resources, then unsubscribed" | "unavailable, then unsubscribed" => {
            (&[GONE, UNSUBSCRIBED], None)
        }
        // The watcher of these tests is.
        "re-subscribe when the XMPP user is online" => (&[], Some(0)),
        "none; retry with retry-after or back-off" => (&[], Some(60)),
        "final state stays; no SUBSCRIBE until user action" => (&[], None),
        "as timeout with back-off" => (&[], Some(5)),
        other => panic!("the table asks for what is not known: {other}"),
    }
}

/// Brings the NOTIFY of a row in the situation that the row is about.
fn notified(row: &str, state: &str) -> Stage {
    let (mut stage, subscribe): (Stage, Request) = match row {
        "pending" | "active (first)" => asked(),
        _ => watching(),
    };
    let document = match row {
        "active (first)" => open(&["phone"]),
        "active (later)" => open(&["desk"]),
        _ => String::new(),
    };
    stage.notified(&subscribe, 2, state, &document);
    stage
}

#[test]
fn every_row_is_acted_on() {
    let mut rows = 0;
    for line in TABLE.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [row, _meaning, action, kept] = columns[..] else { panic!("not a row: {line}") };
        let states = match row {
            "terminated (no reason / unknown)" => vec!["terminated", "terminated;reason=odd"],
            "terminated;reason=probation" => vec!["terminated;reason=probation;retry-after=60"],
            "terminated;reason=giveup" => vec!["terminated;reason=giveup;retry-after=60"],
            _ => vec![row.split(' ').next().unwrap()],
        };
        for state in states {
            check(row, state, expected(action));
            assert_eq!(is_authorised(notified(row, state)), kept != "no", "{row}");
        }
        rows += 1;
    }
    assert_eq!(rows, 11);
}

fn check(row: &str, state: &str, (told, again): (&[&str], Option<u64>)) {
    let mut stage = notified(row, state);
    assert_eq!(stage.told(), told, "{row}");
    let Some(again) = again else {
        stage.advance_s(600);
        return assert!(stage.requests.is_empty(), "{row}");
    };
    if again > 0 {
        stage.advance_ms(again * 1000 - 1);
        assert!(stage.requests.is_empty(), "{row}");
    }
    stage.advance_ms(1);
    let subscribe = stage.only_request();
    assert!(!subscribe.is_in_dialog(), "{row}");
    assert_eq!(header(subscribe.headers(), "Expires"), "3600");
}
