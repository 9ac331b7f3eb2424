//! Peers that misuse a bidirectional stream, or ask for one where they may not.

use super::super::{initiating, receiving};
use super::*;

const OFFER: &str = "<bidi xmlns='urn:xmpp:features:bidi'/></stream:features>";

/// The peer b.example of a stream of a.example that both want to be bidirectional.
fn agreed(behind: &str) -> initiating::Peer {
    let mut peer = initiating::Peer::connect();
    peer.admission.partners.insert(domain("b.example"), BIDI);
    let offer = initiating::EXTERNAL.replace("</stream:features>", OFFER);
    peer = peer.secure(&["b.example"], &offer);
    assert!(peer.hear().contains(OURS));
    for words in [initiating::SUCCESS, initiating::RESPONSE, behind] {
        peer.say(words);
    }
    peer
}

fn stanza(from: &str, to: &str) -> String {
    format!("<message from='{from}' to='{to}'><body>hi</body></message>")
}

#[test]
fn a_peer_of_ours_sends_from_its_domain_to_ours_alone() {
    for (from, to, condition, cause) in [
        ("u@v.example", "m@a.example", "invalid-from", CloseCause::StanzaFrom),
        ("u@sub.b.example", "m@a.example", "invalid-from", CloseCause::StanzaFrom),
        ("u@b.example", "m@c.example", "host-unknown", CloseCause::StanzaTo),
        ("u@b.example", "", "improper-addressing", CloseCause::StanzaAddressing),
        ("", "m@a.example", "improper-addressing", CloseCause::StanzaAddressing),
    ] {
        let mut peer = agreed(initiating::NO_FEATURES);
        peer.admission.local_domains.insert(domain("c.example"));
        peer.admission.partners.insert(domain("v.example"), BIDI);
        let heard = peer.say(&stanza(from, to));
        assert!(heard.contains(&format!("<{condition} ")), "{from} to {to}: {heard}");
        assert_eq!(peer.end(), cause);
    }
}

#[test]
fn a_stanza_before_we_are_authenticated_is_refused_although_we_asked_for_the_stream() {
    let mut peer = initiating::Peer::connect();
    peer.admission.partners.insert(domain("b.example"), BIDI);
    let offer = initiating::EXTERNAL.replace("</stream:features>", OFFER);
    let mut peer = peer.secure(&["b.example"], &offer);
    peer.hear();

    assert!(peer.say(&stanza("u@b.example", "m@a.example")).contains("<not-authorized "));
}

#[test]
fn a_stanza_before_stream_management_is_agreed_on_is_not_counted() {
    let mut peer = agreed("<stream:features><sm xmlns='urn:xmpp:sm:3'/></stream:features>");
    peer.say(&stanza("u@b.example", "m@a.example"));
    peer.say("<enabled xmlns='urn:xmpp:sm:3'/>");
    peer.say(&stanza("u@b.example", "m@a.example"));
    let stanzas = |event: &InitiatingEvent| matches!(event, InitiatingEvent::Stanza(_));
    assert_eq!(peer.events().iter().filter(|event| stanzas(event)).count(), 2);

    peer.stream.acknowledge(2, peer.now);
    assert_eq!(peer.say("<r xmlns='urn:xmpp:sm:3'/>"), "<a xmlns='urn:xmpp:sm:3' h='1'/>");
}

#[test]
fn a_further_domain_of_the_peer_is_refused_and_sends_nothing() {
    let mut peer = agreed(initiating::NO_FEATURES);
    peer.admission.partners.insert(domain("v.example"), BIDI);
    let heard = peer.say("<db:result from='v.example' to='a.example'>key</db:result>");
    let refusal = "<db:result from='a.example' to='v.example' type='error'>";
    assert!(heard.contains(refusal) && heard.contains("<not-authorized "), "{heard}");
    peer.say("<db:result from='v.example' to='a.example' type='valid'/>");
    peer.say(&stanza("u@v.example", "m@a.example"));
    assert_eq!(peer.end(), CloseCause::StanzaFrom);
}

#[test]
fn a_silent_peer_that_carries_our_stanzas_is_probed_unless_it_is_to_be_left_alone() {
    let limits = StreamLimits::default();
    for is_left_alone in [false, true] {
        let mut peer = sent(receiving::ENABLE);
        if is_left_alone {
            peer.stream.forgo_keep_alive();
        }
        peer.hear();
        peer.say("<a xmlns='urn:xmpp:sm:3' h='1'/>");
        let is_probed = peer.pass(limits.keep_alive) == "<r xmlns='urn:xmpp:sm:3'/>";
        assert_eq!(is_probed, !is_left_alone);
    }
}

#[test]
fn an_address_that_is_none_comes_back_to_its_sender() {
    let mut peer = agreed(initiating::NO_FEATURES);
    peer.say(&stanza("u@b.example", "@"));
    let bounced = peer.events().into_iter().find_map(|event| match event {
        InitiatingEvent::Bounce(reply) => Some(write_stanza(&reply)),
        _ => None,
    });
    let bounced = String::from_utf8(bounced.unwrap().to_vec()).unwrap();
    assert!(bounced.contains("to='u@b.example'") && bounced.contains("<jid-malformed "));
}

/// Behind TLS, where b.example offers a bidirectional stream to a.example.
fn offered() -> receiving::Peer {
    let mut peer = receiving::Peer::connect();
    peer.admission.partners.insert(domain("a.example"), BIDI);
    peer.say(HEADER);
    peer.say(ASK);
    peer.say(receiving::STARTTLS);
    peer.stream.handle_tls(Box::new(Names(&["a.example"])), peer.now);
    assert!(peer.say(HEADER).contains("<bidi xmlns='urn:xmpp:features:bidi'/>"));
    peer
}

fn authenticate(peer: &mut receiving::Peer) {
    peer.say(receiving::AUTH);
    peer.say(HEADER);
}

#[test]
fn asking_in_the_clear_or_behind_authentication_changes_nothing() {
    let mut peer = offered();
    authenticate(&mut peer);
    assert_eq!(peer.say(ASK), "");
    assert!(!peer.stream.is_bidirectional());
    peer.say(receiving::MESSAGE);
    assert_eq!(peer.stanzas().len(), 1, "the stream goes on");
}

#[test]
fn asking_for_what_policy_does_not_offer_changes_nothing() {
    let mut peer = receiving::Peer::secured(&["a.example"]);
    assert_eq!(peer.say(ASK), "");
    authenticate(&mut peer);
    peer.admission.partners.insert(domain("a.example"), BIDI);
    assert!(!peer.stream.is_bidirectional());
    let pair = domain_pair("b.example", "a.example");
    let sent = peer.stream.send_stanza(&pair, 1, &reply("no"), &peer.admission, peer.now);
    assert_eq!(sent, Err(SendError::NotCarried));
}

#[test]
fn asking_twice_is_asking_once() {
    let mut peer = offered();
    assert_eq!(peer.say(&ASK.repeat(2)), "");
    authenticate(&mut peer);
    assert!(peer.stream.is_bidirectional());
}

#[test]
fn nothing_is_sent_before_the_peer_is_authenticated() {
    let mut peer = offered();
    peer.say(ASK);
    let pair = domain_pair("b.example", "a.example");
    let sent = peer.stream.send_stanza(&pair, 1, &reply("early"), &peer.admission, peer.now);
    assert_eq!(sent, Err(SendError::Ended));
}

/// A bidirectional stream on which one stanza of ours was sent.
fn sent(before: &str) -> receiving::Peer {
    let mut peer = offered();
    peer.say(ASK);
    authenticate(&mut peer);
    peer.say(before);
    let pair = domain_pair("b.example", "a.example");
    peer.stream.send_stanza(&pair, 1, &reply("hi"), &peer.admission, peer.now).unwrap();
    peer
}

#[test]
fn a_peer_that_never_confirms_is_dead_and_one_that_is_not_read_is_not() {
    let limits = StreamLimits::default();
    for before in ["", receiving::ENABLE] {
        let mut peer = sent(before);
        peer.hear();
        let almost = limits.dead_peer_max.checked_sub(Duration::from_secs(1)).unwrap();
        peer.pass(almost);
        peer.stream.handle_reading_paused(peer.now);
        assert!(!peer.pass(almost).contains("</stream:stream>"));
        let heard = peer.pass(Duration::from_secs(1));
        assert!(heard.contains("<connection-timeout "), "{heard}");
        assert_eq!(peer.end(), CloseCause::DeadPeer);
        let unconfirmed = peer.stream.take_unconfirmed();
        assert_eq!(unconfirmed, [Unconfirmed { token: 1, written: true }]);
    }
}

#[test]
fn a_peer_that_confirms_more_than_was_sent_is_told_so() {
    let mut peer = sent(receiving::ENABLE);
    let heard = peer.hear();
    assert!(heard.ends_with("<r xmlns='urn:xmpp:sm:3'/>"), "{heard}");
    let heard = peer.say("<a xmlns='urn:xmpp:sm:3' h='2'/>");
    assert!(heard.contains("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='2' send-count='1'/>"));
    let unconfirmed = peer.stream.take_unconfirmed();
    assert_eq!(unconfirmed, [Unconfirmed { token: 1, written: true }]);
}

#[test]
fn stream_management_that_comes_later_counts_from_there() {
    let mut peer = sent("");
    assert!(peer.hear().contains("<ping "), "a barrier, as long as nothing else is agreed on");
    assert_eq!(peer.say(receiving::ENABLE), "<enabled xmlns='urn:xmpp:sm:3'/>");
    let pair = domain_pair("b.example", "a.example");
    peer.stream.send_stanza(&pair, 2, &reply("on"), &peer.admission, peer.now).unwrap();
    peer.hear();
    peer.say("<a xmlns='urn:xmpp:sm:3' h='1'/>");
    let delivered = peer.events().into_iter().filter_map(|event| match event {
        ReceivingEvent::Delivered { token } => Some(token),
        _ => None,
    });
    assert_eq!(delivered.collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_waits_to_be_written_when_the_connection_ends_is_said_to_be_unwritten() {
    let mut peer = sent(receiving::ENABLE);
    peer.stream.handle_disconnect(Disconnect::Lost);
    let unconfirmed = peer.stream.take_unconfirmed();
    assert_eq!(unconfirmed, [Unconfirmed { token: 1, written: false }]);
}

#[test]
fn what_the_peer_confirms_while_the_stream_ends_counts() {
    let mut peer = sent(receiving::ENABLE);
    peer.hear();
    peer.stream.close(None, &peer.admission, peer.now);
    peer.hear();
    peer.say("<a xmlns='urn:xmpp:sm:3' h='1'/></stream:stream>");
    let events = peer.events();
    assert!(events.iter().any(|event| matches!(event, ReceivingEvent::Delivered { token: 1 })));
    assert_eq!(peer.stream.take_unconfirmed(), []);
}

#[test]
fn a_stream_with_an_unconfirmed_stanza_is_not_idle() {
    let limits =
        StreamLimits { dead_peer_max: Duration::from_secs(3600), ..StreamLimits::default() };
    let mut peer = offered();
    peer.stream = ReceivingStream::direct_tls(limits, [9; 32], peer.now);
    peer.stream.handle_tls(Box::new(Names(&["a.example"])), peer.now);
    peer.say(HEADER);
    peer.say(ASK);
    authenticate(&mut peer);
    let pair = domain_pair("b.example", "a.example");
    peer.stream.send_stanza(&pair, 1, &reply("hi"), &peer.admission, peer.now).unwrap();
    peer.hear();
    assert!(!peer.pass(limits.inactivity_max).contains("</stream:stream>"));
}
