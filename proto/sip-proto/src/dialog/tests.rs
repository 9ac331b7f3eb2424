//! Tests of dialogs: making them, requests both ways, order, routes, and keeping them.

use super::*;
use crate::header::{HeaderName, Route};
use crate::testing::{delivered, request};

fn subscribe(rows: &str) -> Request {
    request(
        format!(
            "SUBSCRIBE sip:juliet@example.com SIP/2.0\r\n\
             Via: SIP/2.0/TLS sip.example.net;branch=z9hG4bKx\r\n\
             From: \"Romeo\" <sip:romeo@example.net>;tag=xfg9\r\nTo: <sip:juliet@example.com>\r\n\
             Call-ID: AA5A8BE5\r\nCSeq: 5 SUBSCRIBE\r\n{rows}\r\n"
        )
        .as_bytes(),
    )
}

fn dialog(rows: &str) -> Dialog {
    Dialog::from_request(&subscribe(rows), "ur93").unwrap()
}

const CONTACT: &str = "Contact: <sip:romeo@example.net;gr=dr4hcr0st3lup4c>\r\n";

/// A request of the other end with the given CSeq and Contact.
fn from_remote(cseq: u32, contact: &str) -> Request {
    let text = String::from_utf8(subscribe(contact).to_bytes().to_vec()).unwrap();
    let text = text.replace("CSeq: 5", &format!("CSeq: {cseq}"));
    request(text.replace("To: <sip:juliet@example.com>", "To: <sip:j@x>;tag=ur93").as_bytes())
}

#[test]
fn requests_swap_the_ends_and_count_up() {
    let mut dialog = dialog(CONTACT);
    for number in 1..=2 {
        let notify = delivered(&dialog.request(Method::Notify));
        assert_eq!(notify.uri().to_wire(), "sip:romeo@example.net;gr=dr4hcr0st3lup4c");
        assert_eq!(notify.from().tag(), Some("ur93"));
        assert_eq!(notify.to().to_wire(), "\"Romeo\" <sip:romeo@example.net>;tag=xfg9");
        assert_eq!((notify.call_id().as_str(), notify.cseq().number), ("AA5A8BE5", number));
        assert!(!notify.headers().has(HeaderName::Route));
    }
}

#[test]
fn loose_routes_keep_the_target_and_strict_routes_carry_it() {
    let route = |dialog: &mut Dialog| {
        let request = dialog.request(Method::Notify);
        let route = request.headers().first(HeaderName::Route).unwrap().to_owned();
        (request.uri().to_wire(), route)
    };
    let rows =
        "Record-Route: <sip:p1;lr>\r\nContact: <sip:user@remoteua>\r\nRecord-Route: <sip:p2>\r\n";
    assert_eq!(
        route(&mut dialog(rows)),
        ("sip:user@remoteua".to_owned(), "<sip:p1;lr>, <sip:p2>".to_owned()),
    );
    let rows = "Record-Route: <sip:proxy1>,<sip:proxy2>,<sip:proxy3;lr>,<sip:proxy4>\r\n\
                Contact: <sip:user@remoteua>\r\n";
    assert_eq!(
        route(&mut dialog(rows)),
        (
            "sip:proxy1".to_owned(),
            "<sip:proxy2>, <sip:proxy3;lr>, <sip:proxy4>, <sip:user@remoteua>".to_owned(),
        ),
    );
}

#[test]
fn order_is_kept_and_only_accepted_requests_change_the_target() {
    let mut dialog = dialog(CONTACT);
    let other = "Contact: <sip:romeo@other.example>\r\n";
    let low = dialog.handle_request(&from_remote(4, other)).unwrap_err();
    assert_eq!(low.status, StatusCode::SERVER_INTERNAL_ERROR);
    let bad = dialog.handle_request(&from_remote(6, "Contact: *\r\n")).unwrap_err();
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    assert_eq!(dialog.remote_target().host().unwrap().to_string(), "example.net");
    dialog.handle_request(&from_remote(9, other)).unwrap();
    assert_eq!(dialog.remote_target().host().unwrap().to_string(), "other.example");
    dialog.handle_request(&from_remote(9, "")).unwrap();
    assert!(dialog.handle_request(&from_remote(8, "")).is_err());
    let stray = dialog.handle_request(&subscribe(CONTACT)).unwrap_err();
    assert_eq!(stray.status, StatusCode::DOES_NOT_EXIST);
}

#[test]
fn a_request_without_usable_contact_makes_no_dialog() {
    for rows in ["", "Contact: *\r\n", "Contact: <tel:+1>\r\n", "Contact: <sip:a>, <sip:b>\r\n"] {
        let refusal = Dialog::from_request(&subscribe(rows), "t").unwrap_err();
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{rows}");
    }
}

#[test]
fn header_fields_in_a_contact_never_become_ours() {
    let mut dialog = dialog("Contact: <sip:a@b.example?Route=%3Csip:evil%3E&Subject=x>\r\n");
    let request = dialog.request(Method::Notify);
    assert_eq!(request.uri().to_wire(), "sip:a@b.example");
    assert!(!request.headers().has(HeaderName::Subject) && !request.headers().has(Route::NAME));
}

#[test]
fn a_restored_dialog_goes_on_where_it_was() {
    let mut dialog = dialog(&format!("Record-Route: <sip:p1;lr>;x=y\r\n{CONTACT}"));
    dialog.request(Method::Notify);
    let mut restored = Dialog::restore(&dialog.snapshot()).unwrap();
    assert_eq!(restored, dialog);
    assert_eq!(restored.id(), dialog.id());
    let next = |dialog: &mut Dialog| delivered(&dialog.request(Method::Notify)).to_bytes();
    assert_eq!(next(&mut restored), next(&mut dialog));
    let damaged = DialogSnapshot { remote_target: "x".to_owned(), ..dialog.snapshot() };
    assert!(Dialog::restore(&damaged).is_err());
}
