//! The two organisations of most scenarios: contoso.example behind Isthmus, fabrikam.example with
//! Prosody.

use std::net::Ipv4Addr;

use crate::account::Account;
use crate::appliance::{Appliance, EDGE, OPEN_POLICY, Setup};
use crate::dns::{Dns, Records};
use crate::namespace::Place;
use crate::prosody::{self, Prosody, Situation};
use crate::sip_user::{SipUser, Transport};
use crate::test_ca::TestCa;
use crate::xmpp_user::XmppUser;

/// Where Prosody is reached.
pub const PARTNER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The account of Romeo, a SIP user of contoso.example.
pub const ROMEO: Account<'static> =
    Account { user: "romeo", domain: "contoso.example", password: "romeo-secret" };
/// Romeo as XMPP users know him.
pub const ROMEO_JID: &str = "romeo@contoso.example";
/// Juliet, an XMPP user of fabrikam.example.
pub const JULIET_JID: &str = "juliet@fabrikam.example";
/// Juliet as SIP users know her.
pub const JULIET_URI: &str = "sip:juliet@fabrikam.example";
/// Her password at Prosody.
pub const JULIET_PASSWORD: &str = "juliet-secret";

/// The policy in which next hop `kamailio` serves contoso.example, with these servers.
pub fn next_hop_policy(transport: &str, servers: &[Ipv4Addr]) -> String {
    let (terms, port) = match transport {
        "tls" => ("certificate_name = \"sip.contoso.example\"\ncongestion_safe = true", 5061),
        _ => ("transport = \"tcp\"", 5060),
    };
    let servers = servers.iter().enumerate().map(|(priority, address)| {
        format!("[[next_hop.server]]\naddress = \"{address}:{port}\"\npriority = {priority}\n")
    });
    let served = OPEN_POLICY.replace(
        "domain = \"contoso.example\"",
        "domain = \"contoso.example\"\nserved_by = \"kamailio\"",
    );
    format!(
        "{served}\n[[next_hop]]\nname = \"kamailio\"\nprobe_interval_s = 5\n{terms}\n{}",
        servers.collect::<String>()
    )
}

/// Both organisations, running.
pub struct World {
    /// Isthmus, for contoso.example.
    pub appliance: Appliance,
    /// The server of fabrikam.example.
    pub prosody: Prosody,
    /// The authority that issued the certificates of both.
    pub ca: TestCa,
    /// The name server of both.
    pub dns: Dns,
}

/// Starts both organisations; `change` changes the partner's server before.
///
/// # Panics
///
/// When one of them does not start.
pub fn start(
    place: &Place,
    setup: &Setup<'_>,
    situation: Situation,
    change: impl FnOnce(prosody::Setup) -> prosody::Setup,
) -> World {
    start_with_records(place, setup, situation, change, &records())
}

/// The records that both organisations publish.
pub fn records() -> Records {
    Records::new().xmpp_server("fabrikam.example", PARTNER).xmpp_server("contoso.example", EDGE)
}

/// Starts both organisations, with other records.
///
/// # Panics
///
/// When one of them does not start.
pub fn start_with_records(
    place: &Place,
    setup: &Setup<'_>,
    situation: Situation,
    change: impl FnOnce(prosody::Setup) -> prosody::Setup,
    records: &Records,
) -> World {
    let ca = TestCa::new(place.directory(), "ca");
    let dns = Dns::start(place, records);
    let partner =
        prosody::Setup::new("fabrikam.example", PARTNER, situation).user("juliet", JULIET_PASSWORD);
    let prosody = change(partner).start(place, &ca);
    let is_certified = situation != Situation::Unrelated;
    let appliance = Setup { is_certified, ..setup.clone() }.start(place, &ca);
    World { appliance, prosody, ca, dns }
}

impl World {
    /// Connects Juliet, available.
    ///
    /// # Panics
    ///
    /// When she cannot log in.
    pub fn juliet(&self, place: &Place) -> XmppUser {
        let mut juliet = XmppUser::connect(place, JULIET_JID, JULIET_PASSWORD, PARTNER);
        juliet.be_available();
        juliet
    }

    /// Adds Romeo to the home, and registers his device over TCP.
    ///
    /// # Panics
    ///
    /// When the home refuses him.
    pub fn romeo(&self, place: &Place) -> SipUser {
        self.appliance.add_user(&ROMEO);
        let mut romeo = SipUser::start(place, &ROMEO);
        romeo.connect(self.appliance.sip(), Transport::Tcp);
        assert_eq!(romeo.register(600).status, 200);
        romeo
    }
}
