//! The appliance under attack, and the good users who must not notice.

use std::net::Ipv4Addr;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use tests::account::Account;
use tests::appliance::{Appliance, EDGE, Setup};
use tests::dns::{Dns, Records};
use tests::namespace::Place;
use tests::process::Mark;
use tests::prosody::{self, Prosody, Situation};
use tests::sip_user::{SipUser, Transport};
use tests::test_ca::TestCa;
use tests::wait::Deadline;
use tests::xmpp_user::{Event, XmppUser};

/// Where Prosody serves peer.example.
pub(super) const PEER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Where Prosody serves victim.example.
const VICTIM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// What each process may hold more after the attacks than before: less than one file that was
/// kept for each connection would come to.
pub(super) const GROWTH_BYTES_MAX: u64 = 24 * 1024 * 1024;

/// How long a question and its answer may take while somebody attacks.
const LATE_MAX: Duration = Duration::from_secs(5);

pub(super) const JULIET_URI: &str = "sip:juliet@peer.example";
const JULIET_JID: &str = "juliet@peer.example";
const ROMEO_JID: &str = "romeo@gw.example";
const ROMEO: Account<'static> =
    Account { user: "romeo", domain: "gw.example", password: "romeo-secret" };

/// A policy that admits the corpus's peer and its victim.
pub(super) const POLICY: &str = r#"
[[local_domain]]
domain = "gw.example"

[[xmpp_partner]]
domain = "peer.example"
partner_type = "federated"
allow_private_addresses = true

[[xmpp_partner]]
domain = "victim.example"
partner_type = "federated"
allow_private_addresses = true

[[external_access_policy]]
scope = "global"
federation_access = true
xmpp_access = true
"#;

/// The appliance serving gw.example, Prosody serving peer.example and victim.example, and a user
/// on each side.
pub(super) struct Estate {
    pub(super) appliance: Appliance,
    pub(super) dns: Dns,
    pub(super) victim: Prosody,
    pub(super) ca: TestCa,
    pub(super) romeo: SipUser,
    juliet: XmppUser,
    text_count: u32,
    pub(super) peer: Prosody,
}

/// What the processes had done and held before an attack.
pub(super) struct Before {
    text_count: u32,
    edge_stanzas: f64,
    frontend_stanzas: f64,
    edge_bytes: u64,
    frontend_bytes: u64,
}

impl Before {
    /// What the front end held.
    pub(super) fn frontend_bytes(&self) -> u64 {
        self.frontend_bytes
    }
}

impl Estate {
    /// Starts everything; `peer_at` is where DNS says that peer.example is.
    pub(super) fn start(place: &Place, peer_at: Ipv4Addr) -> Self {
        Self::start_with(place, peer_at, POLICY)
    }

    /// The same under another policy.
    pub(super) fn start_with(place: &Place, peer_at: Ipv4Addr, policy: &str) -> Self {
        Self::start_setup(place, peer_at, &Setup { policy, ..Setup::default() })
    }

    /// The same with another setup.
    pub(super) fn start_setup(place: &Place, peer_at: Ipv4Addr, setup: &Setup<'_>) -> Self {
        let ca = TestCa::new(place.directory(), "ca");
        let records = Records::new()
            .xmpp_server("peer.example", peer_at)
            .xmpp_server("victim.example", VICTIM)
            .xmpp_server("gw.example", EDGE);
        let dns = Dns::start(place, &records);
        let peer = prosody::Setup::new("peer.example", PEER, Situation::Certified)
            .user("juliet", "juliet-secret")
            .start(place, &ca);
        let victim =
            prosody::Setup::new("victim.example", VICTIM, Situation::Certified).start(place, &ca);
        let appliance = Setup { domain: "gw.example", ..setup.clone() }.start(place, &ca);
        appliance.add_user(&ROMEO);
        let mut romeo = SipUser::start(place, &ROMEO);
        romeo.connect(appliance.sip(), Transport::Tcp);
        assert_eq!(romeo.register(3600).status, 200);
        let mut juliet = XmppUser::connect(place, JULIET_JID, "juliet-secret", PEER);
        juliet.be_available();
        Self { appliance, dns, victim, ca, romeo, juliet, text_count: 0, peer }
    }

    /// Lets the good users talk in both directions.
    pub(super) fn exchange_texts(&mut self) {
        self.text_count += 1;
        let (question, answer) =
            (format!("question {}", self.text_count), format!("answer {}", self.text_count));
        self.juliet.say(ROMEO_JID, &question);
        self.romeo.expect_text(&question, Deadline::after_s(20));
        assert_eq!(self.romeo.say(JULIET_URI, &answer).status, 200);
        self.expect_at_juliet(&answer);
    }

    /// Lets the good users talk as long as an attack takes, and once more.
    ///
    /// # Panics
    ///
    /// When the attack does, or a text is late by [`LATE_MAX`].
    pub(super) fn talk_during<T: Send>(&mut self, attack: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let attack = scope.spawn(attack);
            loop {
                let is_over = attack.is_finished();
                let begun = Instant::now();
                self.exchange_texts();
                let taken = begun.elapsed();
                assert!(taken < LATE_MAX, "the good users waited for {taken:?}");
                if is_over {
                    return attack.join().unwrap_or_else(|panic| resume_unwind(panic));
                }
            }
        })
    }

    /// Lets Romeo's device connect and register again.
    pub(super) fn reconnect_romeo(&mut self) {
        self.romeo.reconnect();
        assert_eq!(self.romeo.register(3600).status, 200);
    }

    /// Waits for a text of Romeo's.
    pub(super) fn expect_at_juliet(&mut self, text: &str) {
        self.juliet.expect_message(text, Deadline::after_s(20), |message| {
            message.is_from(ROMEO_JID) && message.body.as_deref() == Some(text)
        });
    }

    /// Asserts that no text came twice, or unexpected.
    pub(super) fn assert_nothing_waits_at_juliet(&mut self) {
        let events = self.juliet.waiting_events();
        let is_text =
            |event: &&Event| matches!(event, Event::Message(message) if message.body.is_some());
        let texts: Vec<&Event> = events.iter().filter(is_text).collect();
        assert!(texts.is_empty(), "{texts:?}");
    }

    /// Notes what the processes have done and hold.
    pub(super) fn look(&mut self) -> Before {
        let (edge_stanzas, frontend_stanzas) = self.stanzas();
        Before {
            text_count: self.text_count,
            edge_stanzas,
            frontend_stanzas,
            edge_bytes: self.appliance.edge().resident_bytes(),
            frontend_bytes: self.appliance.frontend().resident_bytes(),
        }
    }

    /// Asserts that no stanza passed but the good users' texts, and that both processes stand as they stood.
    pub(super) fn assert_unharmed_since(&mut self, before: &Before) {
        self.assert_unharmed_within(before, GROWTH_BYTES_MAX);
    }

    /// The same, where so much memory may stay with a process that had much to read.
    pub(super) fn assert_unharmed_within(&mut self, before: &Before, growth_bytes_max: u64) {
        self.assert_unharmed_but_for(before, 0, growth_bytes_max);
    }

    /// The same, where so many of the stanzas were to pass.
    pub(super) fn assert_unharmed_but_for(
        &mut self,
        before: &Before,
        stanzas: u32,
        growth_bytes_max: u64,
    ) {
        let after = self.look();
        let passed = f64::from(stanzas + after.text_count - before.text_count);
        assert_eq!(after.edge_stanzas, before.edge_stanzas + passed, "the edge took others");
        assert_eq!(after.frontend_stanzas, before.frontend_stanzas + passed, "others got inside");
        for (name, after, before) in [
            ("the edge", after.edge_bytes, before.edge_bytes),
            ("the front end", after.frontend_bytes, before.frontend_bytes),
        ] {
            let growth = after.saturating_sub(before);
            assert!(growth <= growth_bytes_max, "{name} grew by {growth} bytes");
        }
        let edge = self.appliance.edge().lines_with(Mark::START, "panicked");
        let frontend = self.appliance.frontend().lines_with(Mark::START, "panicked");
        assert_eq!([edge, frontend].concat(), [""; 0]);
    }

    fn stanzas(&self) -> (f64, f64) {
        let edge = self.appliance.edge_counter("edge_xmpp_stanzas_received_total", "");
        (edge, self.appliance.frontend_counter("gateway_stanzas_received_total", ""))
    }
}
