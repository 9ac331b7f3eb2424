//! The SIP domain of the peers' tests: Kamailio with two users.

use std::net::{Ipv4Addr, SocketAddrV4};

use tests::account::Account;
use tests::kamailio::{Digest, Kamailio, Setup};
use tests::namespace::Place;
use tests::sip_user::{SipUser, Transport};
use tests::test_ca::{Leaf, TestCa};

pub(super) const DOMAIN: &str = "sip.example";
pub(super) const ALICE: Account<'_> =
    Account { user: "alice", domain: DOMAIN, password: "secret-a" };
pub(super) const BOB: Account<'_> = Account { user: "bob", domain: DOMAIN, password: "secret-b" };
pub(super) const ALICE_URI: &str = "sip:alice@sip.example";
pub(super) const BOB_URI: &str = "sip:bob@sip.example";

/// Starts Kamailio at `address`, with a certificate of `ca`.
pub(super) fn start_kamailio(
    place: &Place,
    ca: &TestCa,
    address: Ipv4Addr,
    digest: Digest,
) -> Kamailio {
    let identity = &ca.issue(&Leaf::server(DOMAIN), DOMAIN);
    Setup { domain: DOMAIN, address, accounts: &[ALICE, BOB], digest, identity, gateway: None }
        .start(place)
}

/// Starts a scripted user, registered over TCP.
pub(super) fn start_registered(place: &Place, account: &Account<'_>, server: Ipv4Addr) -> SipUser {
    let mut user = SipUser::start(place, account);
    user.connect(SocketAddrV4::new(server, 5060), Transport::Tcp);
    assert_eq!(user.register(600).status, 200);
    user
}
