//! The scripted SIP user on Kamailio: digest, texts, subscriptions, publication, answers by hand.

use std::net::{Ipv4Addr, SocketAddrV4};

use tests::account::Account;
use tests::kamailio::Digest;
use tests::namespace::in_namespace;
use tests::sip_user::{Event, NewMessage, Received, SipUser, Transport, pidf};
use tests::test_ca::TestCa;
use tests::wait::Deadline;

use super::sip_domain::{ALICE, ALICE_URI, BOB, BOB_URI, DOMAIN, start_kamailio, start_registered};

const SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
const TCP: SocketAddrV4 = SocketAddrV4::new(SERVER, 5060);
const TLS: SocketAddrV4 = SocketAddrV4::new(SERVER, 5061);

#[test]
fn registers_with_the_digest_that_it_is_asked_for() {
    let test = "peers::sip_user::registers_with_the_digest_that_it_is_asked_for";
    in_namespace(test, |place| {
        let ca = TestCa::new(place.directory(), "ca");
        let other_ca = TestCa::new(place.directory(), "other-ca");
        for (digest, algorithm) in [(Digest::Md5, "MD5"), (Digest::Sha256, "SHA-256")] {
            let _kamailio = start_kamailio(place, &ca, SERVER, digest);
            let mut alice = SipUser::start(place, &ALICE);
            let trusting = |ca| Transport::Tls { server_name: DOMAIN, ca: Some(ca) };
            alice.try_connect(TLS, trusting(other_ca.certificate())).expect_err("it is unknown");
            alice.connect(TLS, trusting(ca.certificate()));
            let response = alice.register(600);
            assert_eq!((response.status, response.algorithm.as_str()), (200, algorithm));
            assert_eq!(alice.register(0).status, 200, "the binding is removed");
            alice.close();
            alice.expect_disconnect(Deadline::after_s(5));
            alice.reconnect();
            assert_eq!(alice.register(600).status, 200, "over a connection like the first");
            let mut intruder = SipUser::start(place, &Account { password: "guess", ..BOB });
            intruder.connect(TCP, Transport::Tcp);
            assert_eq!(intruder.register(600).status, 401);
            intruder.limit_algorithms(&["none"]);
            let refused = intruder.register(600);
            assert_eq!((refused.status, refused.algorithm.as_str()), (401, ""));
        }
    });
}

#[test]
fn texts_arrive_exactly_and_are_answered_as_told() {
    let test = "peers::sip_user::texts_arrive_exactly_and_are_answered_as_told";
    in_namespace(test, |place| {
        let ca = TestCa::new(place.directory(), "ca");
        let _kamailio = start_kamailio(place, &ca, SERVER, Digest::Sha256);
        let (mut alice, mut bob) =
            (start_registered(place, &ALICE, SERVER), start_registered(place, &BOB, SERVER));
        let deadline = Deadline::after_s(20);
        // RFC 5626 s.4.4.1: a double CRLF is a ping, a single one its answer.
        alice.send_raw(b"\r\n\r\n");
        alice.expect_pong(deadline);
        let long = "\u{1f339} ".repeat(12_000);
        for text in ["a", "<&\"'> \u{5d0}\u{5d1}\r\n two lines", &long] {
            assert_eq!(alice.say(BOB_URI, text).status, 200);
            let message = bob.expect_text(text, deadline);
            assert_eq!(message.header("content-type"), "text/plain");
        }
        let message = NewMessage {
            to: BOB_URI,
            body: b"caf\xe9",
            content_type: Some("text/plain; charset=iso-8859-1"),
            headers: &[("Subject", "coffee"), ("Content-Language", "fr")],
            call_id: Some("given"),
            ..NewMessage::default()
        };
        bob.leave_unanswered("MESSAGE");
        let begun = alice.begin_send(&message);
        let received = bob.expect_request("MESSAGE", "coffee", deadline, |_| true);
        assert_eq!(received.body_hex.as_deref(), Some("636166e9"));
        assert_eq!(received.header("Subject"), "coffee");
        assert_eq!(received.header("Content-Language"), "fr");
        assert_eq!(received.header("Call-ID"), "given");
        bob.respond(&received, 486, &[("Retry-After", "5")]);
        let response = alice.finish(begun, deadline);
        assert_eq!((response.status, response.received.header("Retry-After")), (486, "5"));
        bob.answer("MESSAGE", 603, 10);
        assert_eq!(alice.say(BOB_URI, "again").status, 603);
        assert_eq!(alice.say("sip:carol@sip.example", "hello").status, 404);
        let requests = |event: &Event| matches!(event, Event::Request(_));
        assert_eq!(bob.waiting_events().iter().filter(|event| requests(event)).count(), 1);
    });
}

#[test]
fn presence_is_published_and_seen_by_subscribers() {
    let test = "peers::sip_user::presence_is_published_and_seen_by_subscribers";
    in_namespace(test, |place| {
        let ca = TestCa::new(place.directory(), "ca");
        let _kamailio = start_kamailio(place, &ca, SERVER, Digest::Md5);
        let (mut alice, mut bob) =
            (start_registered(place, &ALICE, SERVER), start_registered(place, &BOB, SERVER));
        let deadline = Deadline::after_s(20);
        let subscription = alice.subscribe(BOB_URI, 600);
        assert_eq!(subscription.response.status, 200);
        alice.expect_notify(&subscription, "the first", deadline, |notify| {
            notify.header("Subscription-State").starts_with("active")
        });
        for (is_open, basic) in [(true, "open"), (false, "closed")] {
            assert_eq!(bob.publish(&pidf(BOB_URI, is_open, "in town"), 600).status, 200);
            let notify = alice.expect_notify(&subscription, basic, deadline, |notify| {
                notify.body.contains(&format!("<basic>{basic}</basic>"))
            });
            assert!(notify.body.contains("<note>in town</note>"), "{}", notify.body);
        }
        assert_eq!(bob.republish(600).status, 200);
        assert_eq!(bob.republish(0).status, 200);
        assert_eq!(bob.republish(600).status, 400, "there is nothing to refresh");
        assert_eq!(alice.resubscribe(&subscription, 600).status, 200);
        assert_eq!(alice.resubscribe(&subscription, 0).status, 200);
        let ended =
            |notify: &Received| notify.header("Subscription-State").starts_with("terminated");
        alice.expect_notify(&subscription, "the end", deadline, ended);
        let poll = bob.subscribe(ALICE_URI, 0);
        bob.expect_notify(&poll, "the answer to the poll", deadline, ended);
    });
}

#[test]
fn two_users_talk_without_a_server_and_see_each_other_go() {
    let test = "peers::sip_user::two_users_talk_without_a_server_and_see_each_other_go";
    in_namespace(test, |place| {
        let (mut alice, mut bob) = (SipUser::start(place, &ALICE), SipUser::start(place, &BOB));
        let deadline = Deadline::after_s(20);
        bob.listen(TCP);
        alice.connect(TCP, Transport::Tcp);
        let options =
            alice.request("OPTIONS", "sip:bob@127.0.0.5", &[("Accept", "text/plain")], "");
        assert_eq!(options.status, 200);
        let stray = alice.request("NOTIFY", "sip:bob@127.0.0.5", &[("Event", "presence")], "");
        assert_eq!(stray.status, 481);
        assert_eq!(alice.request("FLY", "sip:bob@127.0.0.5", &[], "").status, 501);
        bob.process().kill_9();
        alice.expect_disconnect(deadline);
    });
}
