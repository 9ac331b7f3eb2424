//! Hostile peers on the port where connections begin with TLS (XEP-0368).

use std::net::SocketAddrV4;
use std::sync::Arc;

use rustls::ClientConfig;
use tests::appliance::{EDGE, Setup};
use tests::namespace::{Place, in_namespace};
use tests::process::Mark;
use tests::wait::{Deadline, until};

use super::corpus::{Peer, xmpp_rows};
use super::delivery::Delivery;
use super::estate::{Estate, PEER, POLICY};
use super::wire::Wire;
use super::xmpp_receiving::{Configs, HEADER, assert_answer, authenticate};

/// Connections of one address that the edge takes while none of them has proven a domain.
const UNPROVEN_PER_ADDRESS_MAX: usize = 50;

/// The file whose answer ends where the bound of elements does, which counts STARTTLS where it was.
const COUNTED: &str = "181-db-result-flood-domains.xmpp";

fn start(place: &Place) -> Estate {
    let setup = Setup { policy: POLICY, has_direct_tls: true, ..Setup::default() };
    Estate::start_setup(place, PEER, &setup)
}

pub(super) fn connect() -> Wire {
    Wire::connect(SocketAddrV4::new(EDGE, 5270))
}

/// The TLS of a peer that offers these protocols.
fn offering(config: &Arc<ClientConfig>, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[test]
fn only_peers_that_can_mean_us_get_through_the_handshake() {
    let test = "hostile::direct_tls::only_peers_that_can_mean_us_get_through_the_handshake";
    in_namespace(test, |place| {
        let mut estate = start(place);
        let before = estate.look();
        let certified = Configs::new(&estate).of(Peer::Certified);
        let mut silent = connect();
        let mut clear = connect();
        clear.send(&[HEADER]);
        let said = clear.read_to_end().expect("the edge closes the connection");
        assert!(!said.contains(&b'<'), "{}", String::from_utf8_lossy(said));

        for protocols in [&["h2"][..], &["http/1.1", "xmpp-client"]] {
            let refused = connect().try_connect_tls(offering(&certified, protocols), "gw.example");
            let error = refused.err().expect("it is refused").to_string();
            assert!(error.contains("NoApplicationProtocol"), "{protocols:?}: {error}");
        }
        for (protocols, chosen) in [
            (&[][..], None),
            (&["xmpp-server"], Some("xmpp-server")),
            (&["h2", "xmpp-server"], Some("xmpp-server")),
        ] {
            let wire = connect().connect_tls(offering(&certified, protocols), "gw.example");
            assert_eq!(wire.protocol(), chosen.map(str::as_bytes), "{protocols:?}");
            authenticate(wire);
        }
        silent.read_to_end().expect("the edge closes the connection that says nothing");
        estate.assert_unharmed_since(&before);
        estate.exchange_texts();
    });
}

#[test]
fn what_comes_over_direct_tls_is_answered_as_after_starttls() {
    let test = "hostile::direct_tls::what_comes_over_direct_tls_is_answered_as_after_starttls";
    in_namespace(test, |place| {
        let mut estate = start(place);
        let configs = Configs::new(&estate);
        estate.exchange_texts();
        let before = estate.look();
        estate.talk_during(|| {
            for row in xmpp_rows("post-tls").into_iter().filter(|row| row.file != COUNTED) {
                for delivery in Delivery::all(row.number) {
                    let wire = connect().connect_tls(configs.of(row.peer), "gw.example");
                    let is_authenticated = row.peer == Peer::Authenticated;
                    let wire = if is_authenticated { authenticate(wire) } else { wire };
                    assert_answer(&row, delivery, wire);
                }
            }
        });
        estate.assert_unharmed_since(&before);
        estate.exchange_texts();
    });
}

#[test]
fn peers_that_stall_in_the_handshake_are_few_and_keep_nobody_from_ending() {
    let test = "hostile::direct_tls::\
        peers_that_stall_in_the_handshake_are_few_and_keep_nobody_from_ending";
    in_namespace(test, |place| {
        let setup = Setup {
            policy: POLICY,
            has_direct_tls: true,
            xmpp_limits: "new_per_minute_per_address = 1000\nhandshakes_per_s_per_address = 100",
            ..Setup::default()
        };
        let mut estate = Estate::start_setup(place, PEER, &setup);
        let mut stalled: Vec<Wire> = (0..UNPROVEN_PER_ADDRESS_MAX).map(|_| connect()).collect();
        let mut next = connect();
        assert_eq!(next.read_to_end().map(<[u8]>::len), Some(0), "one is too many");
        until("the count of refusals", Deadline::after_s(5), || {
            match estate.appliance.edge_counter("edge_xmpp_refused_total", "") {
                1.0 => Ok(()),
                count => Err(format!("{count}")),
            }
        });
        for wire in &mut stalled {
            wire.read_to_end().expect("the edge closes the connection");
        }
        estate.exchange_texts();

        let _stalled: Vec<Wire> = (0..UNPROVEN_PER_ADDRESS_MAX / 2).map(|_| connect()).collect();
        let status = estate.appliance.edge().terminate(Deadline::after_s(10));
        assert_eq!(status.code(), Some(0));
        assert_eq!(estate.appliance.edge().lines_with(Mark::START, "cut off"), [""; 0]);
    });
}
