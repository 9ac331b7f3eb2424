//! The two organisations of the stories: contoso.example behind Isthmus, fabrikam.example with
//! Prosody.

use std::net::Ipv4Addr;

use tests::account::Account;
use tests::appliance::{Appliance, EDGE, Setup};
use tests::dns::{Dns, Records};
use tests::namespace::Place;
use tests::prosody::{self, Prosody, Situation};
use tests::sip_user::{SipUser, Transport};
use tests::test_ca::TestCa;
use tests::xmpp_user::XmppUser;

pub(super) const PARTNER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

pub(super) const ROMEO: Account<'static> =
    Account { user: "romeo", domain: "contoso.example", password: "romeo-secret" };
pub(super) const ROMEO_JID: &str = "romeo@contoso.example";
pub(super) const JULIET_JID: &str = "juliet@fabrikam.example";
pub(super) const JULIET_URI: &str = "sip:juliet@fabrikam.example";
pub(super) const JULIET_PASSWORD: &str = "juliet-secret";

/// Both organisations, running.
pub(super) struct World {
    pub(super) appliance: Appliance,
    pub(super) prosody: Prosody,
    pub(super) ca: TestCa,
    _dns: Dns,
}

/// Starts both organisations; `change` changes the partner's server before.
pub(super) fn start(
    place: &Place,
    setup: &Setup<'_>,
    situation: Situation,
    change: impl FnOnce(prosody::Setup) -> prosody::Setup,
) -> World {
    let ca = TestCa::new(place.directory(), "ca");
    let records = Records::new()
        .xmpp_server("fabrikam.example", PARTNER)
        .xmpp_server("contoso.example", EDGE);
    let dns = Dns::start(place, &records);
    let partner =
        prosody::Setup::new("fabrikam.example", PARTNER, situation).user("juliet", JULIET_PASSWORD);
    let prosody = change(partner).start(place, &ca);
    let is_certified = situation != Situation::Unrelated;
    let appliance = Setup { is_certified, ..setup.clone() }.start(place, &ca);
    World { appliance, prosody, ca, _dns: dns }
}

impl World {
    /// Connects Juliet, available.
    pub(super) fn juliet(&self, place: &Place) -> XmppUser {
        let mut juliet = XmppUser::connect(place, JULIET_JID, JULIET_PASSWORD, PARTNER);
        juliet.be_available();
        juliet
    }

    /// Adds Romeo to the home, and registers his device over TCP.
    pub(super) fn romeo(&self, place: &Place) -> SipUser {
        self.appliance.add_user(&ROMEO);
        let mut romeo = SipUser::start(place, &ROMEO);
        romeo.connect(self.appliance.sip(), Transport::Tcp);
        assert_eq!(romeo.register(600).status, 200);
        romeo
    }
}
