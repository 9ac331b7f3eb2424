//! Two Prosody servers with a user each, who exchange texts and presence in every situation.

use std::net::Ipv4Addr;

use tests::dns::{Dns, Records};
use tests::namespace::Place;
use tests::process::Mark;
use tests::prosody::{Prosody, Setup, Situation};
use tests::test_ca::TestCa;
use tests::wait::Deadline;
use tests::xmpp_user::{NewMessage, NewPresence, XmppUser};

const OURS: &str = "contoso.example";
const PARTNER: &str = "fabrikam.example";
const ROMEO: &str = "romeo@contoso.example";
const JULIET: &str = "juliet@fabrikam.example";

/// Everything that an XML parser or a careless writer may stumble over.
const TEXT: &str = "Art thou not Romeo, <&\"'> \u{1f339} \u{5d0}\u{5d1}\u{2067}\n  and a Montague?";

/// The two servers after their users have talked.
pub(super) struct Pair {
    _dns: Dns,
    ours: Prosody,
    partner: Prosody,
}

/// How a server proved itself on the streams that it opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof {
    External,
    Dialback,
}

impl Pair {
    /// How our server proved itself to the partner's.
    pub(super) fn our_proof(&mut self) -> Proof {
        proof_seen_by(&mut self.partner)
    }

    /// How the partner's server proved itself to ours.
    pub(super) fn partner_proof(&mut self) -> Proof {
        proof_seen_by(&mut self.ours)
    }
}

fn proof_seen_by(receiving: &mut Prosody) -> Proof {
    let log = receiving.process();
    let offers = log.lines_with(Mark::START, "Received[s2sin_unauthed]: <auth ");
    let external = offers.iter().any(|auth| auth.contains("mechanism='EXTERNAL'"));
    let results = log.lines_with(Mark::START, "Received[s2sin_unauthed]: <result ");
    let dialback = !results.is_empty();
    assert_ne!(external, dialback, "a stream is proven in one way");
    if external { Proof::External } else { Proof::Dialback }
}

/// Starts the servers, lets the users talk, and gives the servers for a look at their logs.
pub(super) fn converse(place: &Place, situation: Situation) -> Pair {
    let (our_address, partner_address) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let records =
        Records::new().xmpp_server(OURS, our_address).xmpp_server(PARTNER, partner_address);
    let dns = Dns::start(place, &records);
    let ca = TestCa::new(place.directory(), "ca");
    let ours = Setup::new(OURS, our_address, Situation::Certified)
        .allowing_dialback()
        .user("romeo", "secret-r")
        .start(place, &ca);
    let partner = Setup::new(PARTNER, partner_address, situation)
        .user("juliet", "secret-j")
        .start(place, &ca);
    let mut romeo = XmppUser::connect(place, ROMEO, "secret-r", our_address);
    let mut juliet = XmppUser::connect(place, JULIET, "secret-j", partner_address);
    exchange_texts(&mut romeo, &mut juliet);
    exchange_presence(&mut romeo, &mut juliet);
    Pair { _dns: dns, ours, partner }
}

fn exchange_texts(romeo: &mut XmppUser, juliet: &mut XmppUser) {
    let deadline = Deadline::after_s(20);
    romeo.be_available();
    juliet.be_available();
    juliet.send(&NewMessage {
        to: ROMEO,
        body: Some(TEXT),
        stanza_id: Some("m1"),
        subject: Some("a question"),
        thread: Some("t1"),
        lang: Some("en-GB"),
        extra: "<request xmlns='urn:xmpp:receipts'/>",
        ..NewMessage::default()
    });
    let message = romeo.expect_message("the question", deadline, |m| m.is_from(JULIET));
    assert_eq!(message.body.as_deref(), Some(TEXT));
    assert_eq!(message.kind.as_deref(), Some("chat"));
    assert_eq!(message.id.as_deref(), Some("m1"));
    assert_eq!(message.subject.as_deref(), Some("a question"));
    assert_eq!(message.thread.as_deref(), Some("t1"));
    assert_eq!(message.lang.as_deref(), Some("en-GB"));
    assert!(message.xml.contains("urn:xmpp:receipts"));
    let long = "\u{1f339} ".repeat(12_000);
    for text in ["x", &long] {
        romeo.say(JULIET, text);
        let message = juliet.expect_message("the answer", deadline, |m| m.is_from(ROMEO));
        assert_eq!(message.body.as_deref(), Some(text));
    }
    juliet.say("tybalt@contoso.example", "Peace?");
    let error = juliet.expect_message("an error", deadline, |m| m.error.is_some());
    let error = error.error.expect("it has an error");
    assert_eq!(error.condition.as_deref(), Some("service-unavailable"));
}

fn exchange_presence(romeo: &mut XmppUser, juliet: &mut XmppUser) {
    let deadline = Deadline::after_s(20);
    juliet.send_presence_type(ROMEO, "subscribe");
    romeo.expect_presence_type(JULIET, "subscribe", deadline);
    romeo.send_presence_type(JULIET, "subscribed");
    juliet.expect_presence_type(ROMEO, "subscribed", deadline);
    juliet.expect_presence("Romeo available", deadline, |presence| {
        presence.is_from(ROMEO) && presence.kind.is_none()
    });
    romeo.send_presence(&NewPresence {
        show: Some("dnd"),
        status: Some("in the garden"),
        priority: Some(-3),
        ..NewPresence::default()
    });
    let presence = juliet.expect_presence("Romeo in the garden", deadline, |presence| {
        presence.show.as_deref() == Some("dnd")
    });
    assert_eq!(presence.status.as_deref(), Some("in the garden"));
    assert_eq!(presence.priority.as_deref(), Some("-3"));
    romeo.send_presence(&NewPresence { kind: Some("unavailable"), ..NewPresence::default() });
    juliet.expect_presence_type(ROMEO, "unavailable", deadline);
}
