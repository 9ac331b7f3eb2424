//! Support for the tests of the whole appliance: real peers, isolated networks, users that obey.
//!
//! A scenario runs in [`namespace::in_namespace`], starts the peers that it needs, drives users,
//! and waits for what they see.
//!
//! ```no_run
//! # use std::net::Ipv4Addr;
//! # use tests::{dns, namespace, prosody, test_ca, wait, xmpp_user};
//! namespace::in_namespace("stories::a_text_arrives", |place| {
//!     let address = Ipv4Addr::new(127, 0, 0, 2);
//!     let ca = test_ca::TestCa::new(place.directory(), "ca");
//!     let records = dns::Records::new().xmpp_server("fabrikam.example", address);
//!     let _dns = dns::Dns::start(place, &records);
//!     let certified = prosody::Situation::Certified;
//!     let _prosody = prosody::Setup::new("fabrikam.example", address, certified)
//!         .user("juliet", "secret")
//!         .start(place, &ca);
//!     let mut juliet =
//!         xmpp_user::XmppUser::connect(place, "juliet@fabrikam.example", "secret", address);
//!     juliet.be_available();
//!     juliet.say("juliet@fabrikam.example", "Art thou not Romeo?");
//!     juliet.expect_message("her own question", wait::Deadline::after_s(10), |message| {
//!         message.body.as_deref() == Some("Art thou not Romeo?")
//!     });
//! });
//! ```
//!
//! # Layout
//!
//! | module | duty |
//! |---|---|
//! | [`wait`] | deadlines, and waiting for what has no event of its own |
//! | [`namespace`] | a network, processes and files of its own for each test; paths to cut |
//! | [`process`] | a program: its output captured, its death arranged, its cost measured |
//! | [`cores`] | the core and the descriptors that a program may use |
//! | [`test_ca`] | certificate authorities and the certificates of every role |
//! | [`dns`], [`lying_dns`] | the name server of the test's zones, and a hostile one |
//! | [`appliance`] | the two processes under test |
//! | [`contoso`] | two organisations, one behind the appliance and one with Prosody |
//! | [`prosody`], [`ejabberd`], [`jabberd2`], [`kamailio`] | servers that partners run |
//! | [`driver`] | a script that obeys JSON lines; under [`xmpp_user`] and [`sip_user`] |
//! | [`account`] | the account of a SIP user |
//! | [`sipp`], [`baresip`], [`linphonec`] | SIP user agents that others wrote |
//! | [`evidence`] | what became of each message of a bulk run |

pub mod account;
pub mod appliance;
pub mod baresip;
pub mod contoso;
pub mod cores;
pub mod dns;
pub mod driver;
pub mod ejabberd;
pub mod evidence;
pub mod jabberd2;
pub mod kamailio;
pub mod linphonec;
pub mod lying_dns;
pub mod namespace;
pub mod process;
pub mod prosody;
pub mod sip_user;
pub mod sipp;
pub mod test_ca;
pub mod wait;
pub mod xmpp_user;
