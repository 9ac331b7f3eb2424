//! Tests of the subscriber against a notifier that is written by hand, on a virtual clock.

use super::notify::FORKS_MAX;
use super::*;
use crate::header::{HeaderName, TypedHeader};
use crate::message::OutgoingResponse;
use crate::testing::{answered, delivered, epoch, request};

const MINUTE: Duration = Duration::from_secs(60);

fn terms(expires_seconds: u32) -> SubscriberTerms {
    let address = |text| NameAddr::parse(text).unwrap();
    SubscriberTerms {
        target: Uri::parse("sip:romeo@example.net").unwrap(),
        local: address("<sip:juliet@example.com>"),
        contact: address("<sip:juliet@example.com;gr=yn0cl4bnw0yr3vym>"),
        event: Event::of_package("presence"),
        accept: Accept::parse("application/pidf+xml").unwrap(),
        expires_seconds,
        refresh_permille: 800,
    }
}

/// A subscriber and what the other end knows of it.
struct Run {
    subscriber: Subscriber,
    now: Instant,
    last: Option<(SubscribeId, Request)>,
}

impl Run {
    /// Subscribes and takes the SUBSCRIBE.
    fn begin(expires_seconds: u32) -> Self {
        let subscriber = Subscriber::new(terms(expires_seconds), &mut IdSource::new([9; 32]));
        let mut run = Self { subscriber, now: epoch(), last: None };
        run.subscriber.subscribe(run.now);
        assert!(run.take_subscribe());
        run
    }

    /// Subscribes and brings the subscription to active for an hour.
    fn active() -> Self {
        let mut run = Self::begin(3600);
        run.respond(200, "Expires: 3600\r\n");
        run.notify("a", 1, "active;expires=3600").unwrap();
        run
    }

    fn take_subscribe(&mut self) -> bool {
        let taken = self.subscriber.poll_request();
        self.last = taken.map(|(id, outgoing)| (id, delivered(&outgoing))).or(self.last.take());
        self.last.is_some()
    }

    fn last(&self) -> &Request {
        &self.last.as_ref().unwrap().1
    }

    /// Answers the last SUBSCRIBE.
    fn respond(&mut self, status: u16, rows: &str) {
        let (id, request) = self.last.as_ref().unwrap();
        let mut response =
            OutgoingResponse::to(request, StatusCode::new(status).unwrap(), Some("a"));
        for row in rows.split_terminator("\r\n") {
            let (name, value) = row.split_once(": ").unwrap();
            response.headers_mut().push_text(HeaderName::parse(name), value);
        }
        self.subscriber.handle_response(*id, (&answered(&response)).into(), self.now);
    }

    fn notify_with(&mut self, tag: &str, cseq: u32, rows: &str) -> Result<Notified, Refusal> {
        let to = self.last().from().to_wire();
        let call_id = self.last().call_id().as_str();
        let text = format!(
            "NOTIFY sip:juliet@example.com SIP/2.0\r\n\
             Via: SIP/2.0/TLS sip.example.net;branch=z9hG4bKn{cseq}\r\n\
             From: <sip:romeo@example.net>;tag={tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} NOTIFY\r\nContact: <sip:romeo@{tag}.example.net>\r\n{rows}\r\n"
        );
        let notify = request(text.as_bytes());
        assert!(self.subscriber.is_addressed_by(&notify));
        self.subscriber.handle_notify(&notify, self.now)
    }

    fn notify(&mut self, tag: &str, cseq: u32, state: &str) -> Result<Notified, Refusal> {
        self.notify_with(tag, cseq, &format!("Event: presence\r\nSubscription-State: {state}\r\n"))
    }

    /// Moves the clock on, from deadline to deadline.
    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.subscriber.poll_timeout().filter(|due| *due <= end) {
            self.now = due;
            self.subscriber.handle_timeout(due);
        }
        self.now = end;
        self.subscriber.handle_timeout(end);
    }

    fn ended(&mut self) -> Option<(EndCause, Resubscribe)> {
        match self.subscriber.poll_event() {
            Some(SubscriberEvent::Ended { cause, resubscribe, .. }) => Some((cause, resubscribe)),
            Some(other) => panic!("an end expected: {other:?}"),
            None => None,
        }
    }
}

#[test]
fn the_first_subscribe_has_what_it_must() {
    let run = Run::begin(3600);
    let subscribe = run.last();
    assert_eq!(subscribe.uri().to_wire(), "sip:romeo@example.net");
    assert_eq!((subscribe.cseq().number, subscribe.to().tag()), (1, None));
    assert!(subscribe.from().tag().is_some());
    let value = |name| subscribe.headers().first(name).unwrap().to_owned();
    assert_eq!(value(HeaderName::Event), "presence");
    assert_eq!(value(HeaderName::Accept), "application/pidf+xml");
    assert_eq!(value(HeaderName::Expires), "3600");
    assert_eq!(value(HeaderName::Contact), "<sip:juliet@example.com;gr=yn0cl4bnw0yr3vym>");
}

#[test]
fn a_notify_may_come_before_the_response() {
    let mut run = Run::begin(3600);
    let pending = run.notify("a", 1, "pending;expires=3600").unwrap();
    assert_eq!((pending.status, pending.ended), (SubscriptionStatus::Pending, None));
    run.respond(202, "Expires: 3600\r\n");
    let active = run.notify("a", 2, "active;expires=499").unwrap();
    assert_eq!(active.status, SubscriptionStatus::Active);
    assert_eq!(active.dialog, pending.dialog);
    run.wait(Duration::from_secs(399));
    assert!(run.subscriber.poll_request().is_none());
    run.wait(Duration::from_secs(1));
    assert!(run.subscriber.poll_request().is_some());
}

#[test]
fn a_refresh_goes_out_in_the_dialog_and_extends_it() {
    let mut run = Run::active();
    run.wait(MINUTE * 48);
    assert!(run.take_subscribe());
    let refresh = run.last();
    assert_eq!(refresh.uri().to_wire(), "sip:romeo@a.example.net");
    assert_eq!((refresh.to().tag(), refresh.cseq().number), (Some("a"), 2));
    assert_eq!(refresh.headers().typed::<Expires>(), Ok(Some(Expires(3600))));
    run.respond(200, "Expires: 1000\r\n");
    run.notify("a", 2, "active").unwrap();
    run.wait(Duration::from_secs(799));
    assert!(run.subscriber.poll_request().is_none());
    run.wait(Duration::from_secs(1));
    assert!(run.subscriber.poll_request().is_some());
    assert!(run.subscriber.poll_event().is_none());
}

#[test]
fn the_notify_of_a_refresh_may_come_first_and_counts() {
    for (state, seconds) in [("active;expires=100", 80), ("active", 1600)] {
        let mut run = Run::active();
        run.wait(MINUTE * 48);
        run.take_subscribe();
        run.notify("a", 2, state).unwrap();
        run.respond(200, "Expires: 2000\r\n");
        run.wait(Duration::from_secs(seconds - 1));
        assert!(run.subscriber.poll_request().is_none(), "{state}");
        run.wait(Duration::from_secs(1));
        assert!(run.subscriber.poll_request().is_some(), "{state}");
    }
}

#[test]
fn timer_n_ends_what_no_notify_confirms() {
    let mut run = Run::begin(3600);
    run.respond(200, "Expires: 3600\r\n");
    run.wait(Duration::from_secs(31));
    assert_eq!(run.ended(), None);
    run.wait(Duration::from_secs(1));
    assert_eq!(run.ended(), Some((EndCause::NoNotify, Resubscribe::Later(None))));
    assert!(run.subscriber.is_over());
    let late = run.notify("a", 1, "active;expires=3600").unwrap_err();
    assert_eq!(late.status, StatusCode::DOES_NOT_EXIST);
    let mut run = Run::active();
    run.wait(MINUTE * 48);
    run.take_subscribe();
    run.respond(200, "Expires: 3600\r\n");
    run.wait(Duration::from_secs(32));
    assert_eq!(run.ended(), Some((EndCause::NoNotify, Resubscribe::Later(None))));
}

#[test]
fn a_refused_subscribe_ends_the_attempt() {
    let mut run = Run::begin(3600);
    run.respond(480, "Retry-After: 30\r\n");
    let later = Resubscribe::Later(Some(Duration::from_secs(30)));
    let refused = EndCause::Refused(StatusCode::TEMPORARILY_UNAVAILABLE);
    assert_eq!(run.ended(), Some((refused, later)));
    assert!(run.subscriber.is_over());
    let mut run = Run::begin(3600);
    let id = run.last.as_ref().unwrap().0;
    run.subscriber.handle_failure(id, RequestFailure::FlowClosed, run.now);
    assert_eq!(run.ended(), Some((EndCause::NoResponse, Resubscribe::Later(None))));
}

#[test]
fn a_423_is_obeyed_once() {
    let mut run = Run::begin(60);
    run.respond(423, "Min-Expires: 600\r\n");
    assert!(run.take_subscribe());
    assert_eq!(run.last().headers().typed::<Expires>(), Ok(Some(Expires(600))));
    assert_eq!(run.last().cseq().number, 2);
    run.respond(423, "Min-Expires: 6000\r\n");
    assert_eq!(run.ended().unwrap().0, EndCause::Refused(StatusCode::INTERVAL_TOO_BRIEF));
    for rows in ["", "Min-Expires: 60\r\n", "Min-Expires: 4294967295\r\n", "Min-Expires: x\r\n"] {
        let mut run = Run::begin(60);
        run.respond(423, rows);
        assert!(run.ended().is_some(), "{rows}");
    }
    let mut run = Run::active();
    run.wait(MINUTE * 48);
    for (sequence_number, is_sent) in [(2, true), (3, true), (3, false)] {
        assert_eq!(
            run.subscriber
                .poll_request()
                .map(|(id, it)| run.last = Some((id, delivered(&it))))
                .is_some(),
            is_sent
        );
        assert_eq!(run.last().cseq().number, sequence_number);
        run.respond(423, "Min-Expires: 7200\r\n");
    }
    assert!(matches!(run.subscriber.poll_event(), Some(SubscriberEvent::RefreshFailed { .. })));
}

#[test]
fn refresh_failures_end_the_subscription_or_leave_it() {
    for code in (300..700).filter(|code| *code != 423) {
        let mut run = Run::active();
        run.wait(MINUTE * 48);
        run.take_subscribe();
        run.respond(code, "");
        let ends = [404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604];
        assert_eq!(run.subscriber.is_over(), ends.contains(&code), "{code}");
        match run.subscriber.poll_event() {
            Some(SubscriberEvent::Ended { resubscribe, .. }) => {
                assert_eq!(resubscribe == Resubscribe::Immediately, code == 481, "{code}");
            }
            event => assert!(matches!(event, Some(SubscriberEvent::RefreshFailed { .. }))),
        }
    }
}

#[test]
fn a_failed_refresh_is_tried_again_while_there_is_time() {
    let mut run = Run::active();
    run.wait(MINUTE * 48);
    run.take_subscribe();
    run.respond(503, "");
    run.wait(MINUTE * 6);
    assert!(run.subscriber.poll_request().is_some());
    let mut run = Run::active();
    run.wait(MINUTE * 48);
    run.take_subscribe();
    for _ in 0..9 {
        let id = run.last.as_ref().unwrap().0;
        run.subscriber.handle_failure(id, RequestFailure::FlowClosed, run.now);
        run.wait(MINUTE * 2);
        run.take_subscribe();
    }
    run.wait(MINUTE * 12);
    let events: Vec<_> = std::iter::from_fn(|| run.subscriber.poll_event()).collect();
    assert!(matches!(
        events.last(),
        Some(SubscriberEvent::Ended { cause: EndCause::NoNotify | EndCause::Expired, .. })
    ));
    assert!(run.subscriber.is_over());
}

#[test]
fn a_refresh_without_any_answer_ends_unless_a_notify_has_come() {
    let mut run = Run::active();
    run.wait(MINUTE * 48);
    run.take_subscribe();
    let id = run.last.as_ref().unwrap().0;
    run.notify("a", 2, "active;expires=3600").unwrap();
    run.subscriber.handle_failure(id, RequestFailure::Timeout, run.now);
    assert!(!run.subscriber.is_over());
    run.wait(MINUTE * 48);
    run.take_subscribe();
    let id = run.last.as_ref().unwrap().0;
    run.subscriber.handle_failure(id, RequestFailure::Timeout, run.now);
    assert_eq!(run.ended(), Some((EndCause::NoNotify, Resubscribe::Later(None))));
}

#[test]
fn every_reason_says_what_may_follow() {
    let wait = Some(Duration::from_secs(30));
    for (reason, expected) in [
        (";reason=deactivated;retry-after=30", Resubscribe::Immediately),
        (";reason=probation;retry-after=30", Resubscribe::Later(wait)),
        (";reason=rejected;retry-after=30", Resubscribe::Never),
        (";reason=timeout;retry-after=30", Resubscribe::Immediately),
        (";reason=giveup;retry-after=30", Resubscribe::Later(wait)),
        (";reason=giveup", Resubscribe::Later(None)),
        (";reason=noresource", Resubscribe::Never),
        (";reason=invariant", Resubscribe::Never),
        (";reason=strange;retry-after=30", Resubscribe::Later(wait)),
        (";retry-after=30", Resubscribe::Later(wait)),
        ("", Resubscribe::Later(None)),
    ] {
        let mut run = Run::active();
        let notified = run.notify("a", 2, &format!("terminated{reason}")).unwrap();
        assert_eq!(notified.ended, Some(expected), "{reason}");
        assert!(run.subscriber.is_over() && run.subscriber.poll_event().is_none());
        let mut run = Run::begin(3600);
        let notified = run.notify("a", 1, &format!("terminated{reason}")).unwrap();
        assert_eq!(notified.ended, Some(expected), "{reason}");
        assert!(run.subscriber.is_over());
    }
}

#[test]
fn unsubscribing_waits_for_the_last_notify() {
    let mut run = Run::active();
    run.subscriber.unsubscribe(run.now);
    run.subscriber.unsubscribe(run.now);
    assert!(run.take_subscribe());
    assert!(run.subscriber.poll_request().is_none());
    assert_eq!(run.last().headers().typed::<Expires>(), Ok(Some(Expires(0))));
    run.respond(200, "Expires: 0\r\n");
    assert!(!run.subscriber.is_over());
    run.notify("a", 2, "active;expires=5").unwrap();
    let last = run.notify("a", 43, "terminated;reason=timeout").unwrap();
    assert_eq!(last.ended, Some(Resubscribe::Never));
    assert!(run.subscriber.is_over());
}

#[test]
fn unsubscribing_ends_whatever_the_notifier_does() {
    let ended = Some((EndCause::Unsubscribed, Resubscribe::Never));
    for status in [200, 403, 481, 500] {
        let mut run = Run::active();
        run.subscriber.unsubscribe(run.now);
        run.take_subscribe();
        run.respond(status, "");
        run.wait(Duration::from_secs(32));
        assert_eq!(run.ended(), ended, "{status}");
        assert!(run.subscriber.is_over());
    }
    let mut run = Run::active();
    run.subscriber.unsubscribe(run.now);
    run.take_subscribe();
    let id = run.last.as_ref().unwrap().0;
    run.subscriber.handle_failure(id, RequestFailure::FlowClosed, run.now);
    assert_eq!(run.ended(), ended);
}

#[test]
fn unsubscribing_before_there_is_a_dialog_waits_for_one() {
    let mut run = Run::begin(3600);
    run.subscriber.unsubscribe(run.now);
    assert!(run.subscriber.poll_request().is_none());
    run.notify("a", 1, "pending;expires=3600").unwrap();
    assert!(run.take_subscribe());
    assert_eq!(run.last().headers().typed::<Expires>(), Ok(Some(Expires(0))));
    let mut run = Run::begin(3600);
    run.subscriber.unsubscribe(run.now);
    run.wait(Duration::from_secs(32));
    assert_eq!(run.ended(), Some((EndCause::Unsubscribed, Resubscribe::Never)));
    let mut run = Run::begin(3600);
    run.subscriber.unsubscribe(run.now);
    let last = run.notify("a", 1, "terminated;reason=deactivated").unwrap();
    assert_eq!(last.ended, Some(Resubscribe::Never));
    let mut idle = Subscriber::new(terms(3600), &mut IdSource::new([1; 32]));
    idle.unsubscribe(run.now);
    idle.subscribe(run.now);
    assert!(idle.is_over() && idle.poll_request().is_none());
}

#[test]
fn forks_are_subscriptions_of_their_own_until_timer_n() {
    let mut run = Run::begin(3600);
    run.respond(200, "");
    let first = run.notify("a", 1, "active;expires=3600").unwrap().dialog;
    let second = run.notify("b", 1, "pending;expires=3600").unwrap().dialog;
    assert_ne!(first, second);
    run.notify("a", 2, "terminated;reason=noresource").unwrap();
    assert!(!run.subscriber.is_over());
    run.wait(Duration::from_secs(32));
    let late = run.notify("c", 1, "active;expires=3600").unwrap_err();
    assert_eq!(late.status, StatusCode::DOES_NOT_EXIST);
    run.notify("b", 2, "active;expires=3600").unwrap();
    assert!(run.subscriber.poll_event().is_none());
}

#[test]
fn the_number_of_forks_is_bounded() {
    let mut run = Run::begin(3600);
    for fork in 0..FORKS_MAX {
        run.notify(&format!("f{fork}"), 1, "active;expires=3600").unwrap();
    }
    assert!(run.notify("more", 1, "active;expires=3600").is_err());
}

#[test]
fn a_fetch_is_over_with_its_notify() {
    for state in ["terminated;reason=timeout", "active;expires=100"] {
        let mut run = Run::begin(0);
        run.respond(200, "Expires: 0\r\n");
        assert!(run.notify("a", 1, state).unwrap().ended.is_some());
        assert!(run.subscriber.is_over());
    }
}

#[test]
fn notifies_that_do_not_fit_are_refused_without_effect() {
    let mut run = Run::active();
    let status = |outcome: Result<Notified, Refusal>| outcome.unwrap_err().status.code();
    run.notify("a", 9, "active;expires=3600").unwrap();
    assert_eq!(status(run.notify("a", 8, "terminated;reason=rejected")), 500);
    assert_eq!(status(run.notify_with("a", 10, "Event: presence\r\n")), 400);
    assert_eq!(status(run.notify_with("a", 10, "Subscription-State: active\r\n")), 400);
    let dialog = "Event: dialog\r\nSubscription-State: active\r\n";
    assert_eq!(status(run.notify_with("a", 10, dialog)), 489);
    let id = "Event: presence;id=1\r\nSubscription-State: active\r\n";
    assert_eq!(status(run.notify_with("a", 10, id)), 481);
    assert_eq!(status(run.notify("a", 10, "active;expires=x")), 400);
    assert!(!run.subscriber.is_over());
    assert!(run.notify("a", 10, "active;expires=3600").is_ok());
}

#[test]
fn a_subscription_that_runs_out_may_begin_again() {
    let mut run = Run::active();
    run.wait(MINUTE * 48);
    run.take_subscribe();
    run.respond(403, "");
    run.subscriber.poll_event();
    run.notify("a", 2, "active;expires=10").unwrap();
    run.wait(Duration::from_secs(8));
    run.take_subscribe();
    run.respond(403, "");
    run.subscriber.poll_event();
    run.wait(Duration::from_secs(2));
    assert_eq!(run.ended(), Some((EndCause::Expired, Resubscribe::Immediately)));
}

#[test]
fn a_restored_subscriber_goes_on_where_it_was() {
    let mut run = Run::active();
    let snapshot = run.subscriber.snapshot(run.now, 1_700_000_000);
    assert!(snapshot.usages[0].is_active);
    run.subscriber = Subscriber::restore(&snapshot, run.now, 1_700_000_600).unwrap();
    assert_eq!(run.subscriber.snapshot(run.now, 1_700_000_600), snapshot);
    run.notify("a", 2, "active").unwrap();
    run.wait(MINUTE * 40);
    assert!(run.take_subscribe());
    assert_eq!((run.last().cseq().number, run.last().to().tag()), (2, Some("a")));
    run.subscriber = Subscriber::restore(&snapshot, run.now, 1_700_009_999).unwrap();
    run.subscriber.handle_timeout(run.now);
    assert_eq!(run.ended(), Some((EndCause::Expired, Resubscribe::Immediately)));
    let damaged = SubscriberSnapshot { event: String::new(), ..snapshot };
    assert!(Subscriber::restore(&damaged, run.now, 0).is_err());
}

#[test]
fn what_is_let_lapse_runs_out_and_a_notify_plans_its_refresh_anew() {
    let mut run = Run::active();
    run.subscriber.let_lapse();
    run.wait(59 * MINUTE);
    assert!(run.subscriber.poll_request().is_none());
    run.wait(MINUTE);
    assert_eq!(run.ended(), Some((EndCause::Expired, Resubscribe::Immediately)));

    let mut run = Run::active();
    run.subscriber.let_lapse();
    run.wait(MINUTE);
    run.notify("a", 2, "active;expires=3600").unwrap();
    run.wait(50 * MINUTE);
    assert!(run.subscriber.poll_request().is_some());
}
