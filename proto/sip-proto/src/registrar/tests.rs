//! Tests of the registrar rules: order, intervals, removal, and the answer.

use super::*;
use crate::header::{HeaderName, MinExpires};

const NOW: u64 = 1_700_000_000;

fn request(call_id: &str, cseq: u32, rows: &str) -> Request {
    let text = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\n\
         From: <sip:a@example.com>;tag=1\r\nTo: <sip:a@example.com>\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq} REGISTER\r\n{rows}\r\n"
    );
    crate::testing::request(text.as_bytes())
}

fn apply(request: &Request, current: &[Binding]) -> Result<Registration, Refusal> {
    register(request, current, &RegistrarLimits::default(), NOW)
}

fn bound(call_id: &str, cseq: u32, contact: &str) -> Vec<Binding> {
    apply(&request(call_id, cseq, &format!("Contact: {contact}\r\n")), &[]).unwrap().bindings
}

fn contacts(registration: &Registration) -> Vec<&str> {
    registration.bindings.iter().map(|binding| binding.contact.as_str()).collect()
}

#[test]
fn addresses_of_record_are_canonical() {
    let of = |text| AddressOfRecord::of(&Uri::parse(text).unwrap());
    assert_eq!(of("sip:%61lice@Example.COM;user=phone"), of("sips:alice@example.com"));
    assert_eq!(of("sip:null-%00-null@example.com").unwrap().user, "null-\0-null");
    for bad in ["sip:example.com", "isbn:2983792873", "sip:%ff@example.com"] {
        assert!(of(bad).is_err(), "{bad}");
    }
}

#[test]
fn intervals_come_from_the_contact_then_the_request_then_the_default() {
    let rows = "Expires: 200\r\nContact: <sip:a@h1>;expires=100, <sip:a@h2>\r\n";
    let bindings = apply(&request("x", 1, rows), &[]).unwrap().bindings;
    let left: Vec<u64> =
        bindings.iter().map(|binding| binding.expires_at_unix_seconds - NOW).collect();
    assert_eq!(left, [100, 200]);
    assert_eq!(bound("x", 1, "<sip:a@h1>")[0].expires_at_unix_seconds, NOW + 3600);
    assert_eq!(bound("x", 1, "<sip:a@h1>;expires=99999")[0].expires_at_unix_seconds, NOW + 7200);
    let malformed = bound("x", 1, "<sip:a@h1>;expires=280297596632815");
    assert_eq!(malformed[0].expires_at_unix_seconds, NOW + 3600);
}

#[test]
fn an_interval_that_is_too_brief_is_refused_with_the_minimum() {
    let request = request("x", 1, "Contact: <sip:a@h1>;expires=59\r\n");
    let refusal = apply(&request, &[]).unwrap_err();
    let answer = refusal.response(&request, "t");
    assert_eq!(answer.status(), StatusCode::INTERVAL_TOO_BRIEF);
    assert_eq!(answer.headers().typed::<MinExpires>(), Ok(Some(MinExpires(60))));
    assert!(bounded_interval(3600, 9999, 99_999).is_ok());
    assert_eq!(bounded_interval(0, 60, 7200), Ok(0));
}

#[test]
fn equivalent_contacts_are_one_binding() {
    let current = bound("x", 1, "<sip:a@Host.Example;ob>");
    let again = request("y", 1, "Contact: \"A\" <sip:%61@host.example>;q=0.5\r\n");
    let registration = apply(&again, &current).unwrap();
    assert_eq!(contacts(&registration), ["\"A\" <sip:%61@host.example>;q=0.5"]);
    assert_eq!(registration.refreshed, ["\"A\" <sip:%61@host.example>;q=0.5"]);
    let both =
        "Contact: <sip:%00@host5.example.com>\r\nContact: <sip:%00%00@host5.example.com>\r\n";
    assert_eq!(apply(&request("x", 1, both), &[]).unwrap().bindings.len(), 2);
    let twice = "Contact: <sip:a@h>\r\nContact: <sip:a@H>;q=0.1\r\n";
    let registration = apply(&request("x", 1, twice), &[]).unwrap();
    assert_eq!(contacts(&registration), ["<sip:a@h>;q=0.1"]);
    assert_eq!(registration.refreshed, ["<sip:a@h>;q=0.1"]);
    let undone = "Contact: <sip:a@h>, <sip:a@h>;expires=0\r\n";
    let registration = apply(&request("x", 1, undone), &[]).unwrap();
    assert!(registration.bindings.is_empty() && registration.refreshed.is_empty());
}

#[test]
fn an_older_request_of_the_same_series_changes_nothing() {
    let current = bound("x", 5, "<sip:a@h>");
    for (call_id, cseq, succeeds) in
        [("x", 6, true), ("x", 5, false), ("x", 4, false), ("y", 1, true)]
    {
        for rows in [
            "Contact: <sip:a@h>\r\n",
            "Contact: <sip:a@h>;expires=0\r\n",
            "Contact: *\r\nExpires: 0\r\n",
        ] {
            let outcome = apply(&request(call_id, cseq, rows), &current);
            assert_eq!(outcome.is_ok(), succeeds, "{call_id} {cseq} {rows}");
        }
    }
}

#[test]
fn removal_takes_one_contact_or_all() {
    let mut current = bound("x", 1, "<sip:a@h1>");
    current.extend(bound("x", 1, "<sip:a@h2>"));
    let one = apply(&request("x", 2, "Contact: <sip:a@h1>;expires=0\r\n"), &current).unwrap();
    assert_eq!((contacts(&one), one.refreshed.len()), (vec!["<sip:a@h2>"], 0));
    let all = apply(&request("x", 2, "Contact: *\r\nExpires: 0\r\n"), &current).unwrap();
    assert!(all.bindings.is_empty());
    let unknown = apply(&request("x", 2, "m: <sip:a@h9>;expires=0\r\n"), &current).unwrap();
    assert_eq!(unknown.bindings, current);
}

#[test]
fn a_star_needs_expires_0_and_stands_alone() {
    for rows in [
        "Contact: *\r\n",
        "Contact: *\r\nExpires: 1\r\n",
        "Contact: *\r\nContact: <sip:a@h>\r\nExpires: 0\r\n",
    ] {
        let refusal = apply(&request("x", 1, rows), &[]).unwrap_err();
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{rows}");
    }
}

#[test]
fn one_bad_contact_leaves_everything_as_it_was() {
    let current = bound("x", 1, "<sip:a@h1>");
    let rows = "Contact: <sip:a@h2>, <sip:a@h1>\r\n";
    assert!(apply(&request("x", 1, rows), &current).is_err());
    assert!(apply(&request("x", 2, "Contact: <sip:a@h2>, <sip:a@h1\r\n"), &current).is_err());
}

#[test]
fn expired_bindings_are_gone_and_the_number_is_bounded() {
    let mut current = bound("x", 1, "<sip:old@h>;expires=60");
    current[0].expires_at_unix_seconds = NOW;
    assert!(apply(&request("y", 1, ""), &current).unwrap().bindings.is_empty());
    let many = |count: usize| {
        let rows: String = (0..count).map(|index| format!("m: <sip:a@h{index}>\r\n")).collect();
        apply(&request("x", 1, &rows), &current).map(|registration| registration.bindings.len())
    };
    assert_eq!(many(10), Ok(10));
    assert_eq!(many(11).map_err(|refusal| refusal.status), Err(StatusCode::FORBIDDEN));
}

#[test]
fn the_answer_lists_what_is_bound_with_the_time_left() {
    let request =
        request("x", 1, "Contact: <sip:a@h1;transport=tls>;+sip.instance=\"<urn:x>\"\r\n");
    let bindings = apply(&request, &[]).unwrap().bindings;
    let answer = response(&request, &bindings, NOW + 600, "t");
    assert_eq!(
        answer.headers().first(HeaderName::Contact),
        Some("<sip:a@h1;transport=tls>;+sip.instance=\"<urn:x>\";expires=3000"),
    );
    assert_eq!(answer.headers().typed::<Date>(), Ok(Some(Date::from_unix_seconds(NOW + 600))),);
    let empty = response(&request, &[], NOW, "t");
    assert!(!empty.headers().has(HeaderName::Contact));
}
