//! Tests of the notifier: what it accepts, what it tells, and how it ends.

use super::*;
use crate::header::MinExpires;
use crate::testing::{epoch, request};

const RULES: NotifierRules = NotifierRules {
    packages: &["presence"],
    generated: &["application/pidf+xml", "text/plain"],
    expires_seconds_min: 60,
    expires_seconds_default: 3600,
    expires_seconds_max: 7200,
};

/// A SUBSCRIBE with Event presence unless the rows name another one.
fn subscribe(cseq: u32, to_tag: &str, rows: &str) -> Request {
    let event = if rows.contains("Event:") { "" } else { "Event: presence;id=7\r\n" };
    request(
        format!(
            "SUBSCRIBE sip:juliet@example.com SIP/2.0\r\n\
             Via: SIP/2.0/TLS sip.example.net;branch=z9hG4bKx{cseq}\r\n\
             From: <sip:romeo@example.net>;tag=xfg9\r\nTo: <sip:juliet@example.com>{to_tag}\r\n\
             Call-ID: AA5A8BE5\r\nCSeq: {cseq} SUBSCRIBE\r\n\
             Contact: <sip:romeo@example.net;gr=dr4hcr0st3lup4c>\r\n{event}{rows}\r\n"
        )
        .as_bytes(),
    )
}

fn refresh(cseq: u32, rows: &str) -> Request {
    subscribe(cseq, ";tag=ur93", rows)
}

fn accept(
    rows: &str,
    standing: Standing,
    now: Instant,
) -> Result<(Notifier, OutgoingResponse), Refusal> {
    let contact = NameAddr::parse("<sip:gw.example.com;gr=yn0cl4bnw0yr3vym>").unwrap();
    let terms = NotifierTerms { local_tag: "ur93", contact: &contact, standing };
    Notifier::accept(&subscribe(1, "", rows), &RULES, &terms, now)
}

fn active(now: Instant) -> Notifier {
    accept("", Standing::Active, now).unwrap().0
}

/// The Subscription-State of the NOTIFY sent next.
fn state(notifier: &mut Notifier, now: Instant) -> String {
    let request = notifier.notify(None, now);
    request.headers().first(HeaderName::SubscriptionState).unwrap().to_owned()
}

#[test]
fn an_accepted_subscribe_is_answered_and_owes_a_notify() {
    let now = epoch();
    let (mut notifier, response) = accept("Expires: 10000\r\n", Standing::Pending, now).unwrap();
    assert_eq!(response.headers().first(HeaderName::Expires), Some("7200"));
    assert_eq!(
        response.headers().first(HeaderName::Contact),
        Some("<sip:gw.example.com;gr=yn0cl4bnw0yr3vym>"),
    );
    assert_eq!(response.headers().first(HeaderName::To), Some("<sip:juliet@example.com>;tag=ur93"));
    assert!(notifier.owes_notify());
    let notify = notifier.notify(None, now + Duration::from_secs(29));
    assert_eq!(notify.uri().to_wire(), "sip:romeo@example.net;gr=dr4hcr0st3lup4c");
    assert_eq!(notify.headers().first(HeaderName::Event), Some("presence;id=7"));
    assert_eq!(notify.headers().first(HeaderName::SubscriptionState), Some("pending;expires=7171"));
    assert!(notify.headers().has(HeaderName::Contact));
    assert!(!notifier.owes_notify());
}

#[test]
fn the_answer_copies_the_record_route_in_order() {
    let rows = "Record-Route: <sip:p2.example;lr>;x=y\r\nRecord-Route: <sip:p1.example;lr>\r\n";
    let (mut notifier, response) = accept(rows, Standing::Active, epoch()).unwrap();
    let copied: Vec<&str> = response.headers().rows(HeaderName::RecordRoute).collect();
    assert_eq!(copied, ["<sip:p2.example;lr>;x=y", "<sip:p1.example;lr>"]);
    let notify = notifier.notify(None, epoch());
    let route = notify.headers().first(HeaderName::Route);
    assert_eq!(route, Some("<sip:p2.example;lr>;x=y, <sip:p1.example;lr>"));
}

#[test]
fn approval_is_told_once_with_the_state_in_the_accepted_type() {
    let now = epoch();
    let (mut notifier, _) = accept("Accept: text/*\r\n", Standing::Pending, now).unwrap();
    notifier.notify(None, now);
    notifier.approve();
    assert!(notifier.owes_notify());
    let notify = notifier.notify(Some(Bytes::from_static(b"open")), now);
    assert_eq!(notify.headers().first(HeaderName::SubscriptionState), Some("active;expires=3600"));
    assert_eq!(notify.headers().first(HeaderName::ContentType), Some("text/plain"));
    notifier.approve();
    assert!(!notifier.owes_notify());
    assert_eq!(notifier.standing(), Some(Standing::Active));
}

#[test]
fn what_is_not_offered_is_refused() {
    let status = |rows: &str| {
        accept(rows, Standing::Active, epoch()).map_err(|refusal| refusal.status.code()).err()
    };
    assert_eq!(status("Event: presence.winfo\r\n"), Some(489));
    assert_eq!(status("Accept: text/xml+msrtc.pidf\r\n"), Some(406));
    assert_eq!(status("Expires: 1\r\n"), Some(423));
    assert_eq!(status("Expires: 59\r\n"), Some(423));
    assert_eq!(status("Expires: 60\r\n"), None);
    assert_eq!(status("Expires: x\r\n"), Some(400));
    assert_eq!(status("Contact: <sip:second@h>\r\n"), Some(400));
    let request = subscribe(1, "", "Event: foo\r\n");
    let answer = check_event(&request, &RULES).unwrap_err().response(&request, "t");
    assert_eq!(answer.headers().first(HeaderName::AllowEvents), Some("presence"));
    let request = subscribe(1, "", "Expires: 1\r\n");
    let answer = choose_interval(&request, &RULES).unwrap_err().response(&request, "t");
    assert_eq!(answer.headers().typed::<MinExpires>(), Ok(Some(MinExpires(60))));
}

#[test]
fn a_fetch_gets_one_notify_that_ends() {
    let now = epoch();
    let (mut notifier, response) = accept("Expires: 0\r\n", Standing::Active, now).unwrap();
    assert_eq!(response.headers().first(HeaderName::Expires), Some("0"));
    assert!(notifier.owes_notify());
    assert_eq!(state(&mut notifier, now), "terminated;reason=timeout");
    assert_eq!((notifier.poll_timeout(), notifier.standing()), (None, None));
    assert!(!notifier.handle_notify_response(Some(StatusCode::OK)));
}

#[test]
fn a_refresh_extends_and_expires_0_ends() {
    let now = epoch();
    let mut notifier = active(now);
    notifier.notify(None, now);
    let later = now + Duration::from_secs(3000);
    let response =
        notifier.handle_subscribe(&refresh(2, "Expires: 600\r\n"), &RULES, later).unwrap();
    assert_eq!(response.headers().first(HeaderName::Expires), Some("600"));
    assert!(notifier.owes_notify());
    assert_eq!(state(&mut notifier, later), "active;expires=600");
    assert_eq!(notifier.poll_timeout(), Some(later + Duration::from_secs(600)));
    notifier.handle_subscribe(&refresh(3, "Expires: 0\r\n"), &RULES, later).unwrap();
    assert_eq!(state(&mut notifier, later), "terminated;reason=timeout");
    let again = notifier.handle_subscribe(&refresh(4, ""), &RULES, later).unwrap_err();
    assert_eq!(again.status, StatusCode::DOES_NOT_EXIST);
}

#[test]
fn a_refused_refresh_changes_nothing() {
    let now = epoch();
    let mut notifier = active(now);
    notifier.notify(None, now);
    notifier.handle_subscribe(&refresh(5, ""), &RULES, now).unwrap();
    notifier.notify(None, now);
    let before = notifier.clone();
    for (cseq, rows, status) in [
        (4, "", 500),
        (6, "Event: presence;id=8\r\n", 481),
        (6, "Event: dialog\r\n", 489),
        (6, "Expires: 1\r\n", 423),
    ] {
        let refusal = notifier.handle_subscribe(&refresh(cseq, rows), &RULES, now).unwrap_err();
        assert_eq!(refusal.status.code(), status);
        assert_eq!(notifier, before);
    }
}

#[test]
fn expiry_and_policy_end_with_a_reason() {
    let now = epoch();
    let mut notifier = active(now);
    notifier.notify(None, now);
    notifier.handle_timeout(now + Duration::from_secs(3599));
    assert!(!notifier.owes_notify());
    notifier.handle_timeout(now + Duration::from_secs(3600));
    assert!(notifier.owes_notify());
    assert_eq!(state(&mut notifier, now), "terminated;reason=timeout");
    let mut notifier = active(now);
    notifier.terminate(TerminationReason::Probation, Some(Duration::from_secs(30)));
    notifier.terminate(TerminationReason::Rejected, None);
    assert_eq!(state(&mut notifier, now), "terminated;reason=probation;retry-after=30");
}

#[test]
fn failures_of_notify_remove_the_subscription() {
    let notifier = active(epoch());
    for code in 300..700 {
        let lives = notifier.handle_notify_response(StatusCode::new(code).ok());
        let ends = [404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604];
        assert_eq!(lives, !ends.contains(&code), "{code}");
    }
    assert!(notifier.handle_notify_response(Some(StatusCode::OK)));
    assert!(!notifier.handle_notify_response(None));
}

#[test]
fn a_restored_subscription_goes_on_where_it_was() {
    let now = epoch();
    let mut notifier = active(now);
    notifier.notify(None, now);
    let snapshot = notifier.snapshot(now, 1_700_000_000).unwrap();
    let restored = Notifier::restore(&snapshot, &RULES, now, 1_700_000_000).unwrap();
    assert_eq!(restored, notifier);
    let later = Notifier::restore(&snapshot, &RULES, now, 1_700_000_600).unwrap();
    assert_eq!(later.poll_timeout(), Some(now + Duration::from_secs(3000)));
    let other = NotifierSnapshot { media_type: "x/y".to_owned(), ..snapshot };
    assert!(Notifier::restore(&other, &RULES, now, 0).is_err());
    notifier.terminate(TerminationReason::Rejected, None);
    assert_eq!(notifier.snapshot(now, 0), None);
}
