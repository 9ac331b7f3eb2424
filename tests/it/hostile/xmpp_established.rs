//! Hostile peers that have authenticated: each file of the corpus on a stream of its own, while
//! the good users of the same domain go on talking.

use tests::appliance::Setup;
use tests::namespace::{Place, in_namespace};
use tests::process::Mark;
use tests::wait::{Deadline, until};

use super::corpus::{Peer, XmppRow, xmpp_rows};
use super::delivery::Delivery;
use super::direct_tls;
use super::estate::{Estate, GROWTH_BYTES_MAX, PEER, POLICY};
use super::wire::Wire;
use super::xmpp_answers::words;
use super::xmpp_receiving::{Configs, authenticate, begin_tls, connect};

/// The header after authentication, which lets a peer bring keys of other domains.
const OWN_HEADER: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
    from='peer.example' to='gw.example' version='1.0'>";
const ENABLE: &[u8] = b"<enable xmlns='urn:xmpp:sm:3'/>";

/// Files of so many bytes are cut less often, as they would take minutes byte by byte.
const BYTE_BY_BYTE_MAX: usize = 128 * 1024;

#[test]
fn whatever_comes_after_authentication_is_answered_and_harms_nobody() {
    let test = "hostile::xmpp_established::\
        whatever_comes_after_authentication_is_answered_and_harms_nobody";
    in_namespace(test, |place| {
        let mut estate = start(place, false);
        let configs = Configs::new(&estate);
        attack(&mut estate, || begin_tls(connect(), configs.of(Peer::Authenticated)));
    });
}

#[test]
fn the_same_comes_over_direct_tls() {
    let test = "hostile::xmpp_established::the_same_comes_over_direct_tls";
    in_namespace(test, |place| {
        let mut estate = start(place, true);
        let configs = Configs::new(&estate);
        let config = || configs.of(Peer::Authenticated);
        attack(&mut estate, || direct_tls::connect().connect_tls(config(), "gw.example"));
    });
}

/// A stream counts until its stanzas are settled, and here one follows the other at once. The
/// partner's rate would have the floods among the files wait.
fn start(place: &Place, has_direct_tls: bool) -> Estate {
    let patient = "domain = \"peer.example\"\nconnection_limit = 1000\n\
        rate = { stanzas_per_s = 1000000, bytes_per_s = 1073741824 }";
    let policy = POLICY.replace("domain = \"peer.example\"", patient);
    Estate::start_setup(place, PEER, &Setup { policy: &policy, has_direct_tls, ..Setup::default() })
}

/// First the files of which nothing may cross the link, then the others.
fn attack(estate: &mut Estate, open: impl Fn() -> Wire + Sync) {
    estate.exchange_texts();
    let (refused, crossing): (Vec<XmppRow>, Vec<XmppRow>) =
        xmpp_rows("post-auth").into_iter().partition(|row| row.stanzas() == 0);
    assert!(refused.len() > 60 && crossing.len() > 30, "the corpus is whole");
    let before = estate.look();
    estate.talk_during(|| send_all(&refused, &open));
    estate.assert_unharmed_since(&before);

    let before = estate.look();
    let sent = estate.talk_during(|| send_all(&crossing, &open));
    let counts = |estate: &Estate| {
        let edge = estate.appliance.edge_counter("edge_xmpp_stanzas_received_total", "");
        (edge, estate.appliance.frontend_counter("gateway_stanzas_received_total", ""))
    };
    until("every stanza at the front end", Deadline::after_s(60), || match counts(estate) {
        (edge, frontend) if edge.to_bits() == frontend.to_bits() => Ok(()),
        (edge, frontend) => Err(format!("{frontend} of {edge}")),
    });
    estate.assert_unharmed_but_for(&before, sent, GROWTH_BYTES_MAX);
    estate.exchange_texts();
    assert_eq!(estate.appliance.edge().lines_with(Mark::START, "panicked"), [""; 0]);
}

/// Sends each file in every way; returns how many stanzas were to cross the link.
fn send_all(rows: &[XmppRow], open: &impl Fn() -> Wire) -> u32 {
    let (mut sent, mut wrong) = (0, Vec::new());
    for row in rows {
        for delivery in Delivery::all(row.number) {
            if delivery == Delivery::ByteByByte && row.input.len() > BYTE_BY_BYTE_MAX {
                continue;
            }
            wrong.extend(send(row, delivery, authenticate(open())));
            sent += row.stanzas();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    sent
}

/// Sends a file, and compares our answer with that of the index; returns how they differ.
fn send(row: &XmppRow, delivery: Delivery, mut wire: Wire) -> Option<String> {
    let what = format!("{} {delivery}", row.file);
    let enables = row.answer.first().is_some_and(|answer| answer == "enabled");
    let mut expected = ["header", "features"].map(str::to_owned).to_vec();
    expected.extend_from_slice(&row.answer);
    wire.send(&[OWN_HEADER]);
    wire.read_until(|bytes| words(bytes).len() >= 2);
    if enables {
        wire.send(&[ENABLE]);
        wire.read_until(|bytes| words(bytes).len() >= 3);
    }
    wire.send(&delivery.pieces(&row.input));
    wire.read_until(|bytes| words(bytes).len() >= expected.len());
    wire.finish();
    let said = wire.read_to_end().unwrap_or_else(|| panic!("{what}: it stays connected"));
    let said = words(said);
    (said != expected).then(|| format!("{what}: {said:?}, not {expected:?}"))
}
