//! A partner whose server stops under load: others notice nothing, and what is for it comes back.

use std::net::Ipv4Addr;

use tests::account::Account;
use tests::appliance::{OPEN_POLICY, Setup};
use tests::contoso::{self, JULIET_URI, ROMEO_JID, World, start_with_records};
use tests::evidence::{BulkOrder, Ledger, show};
use tests::namespace::{Place, in_namespace};
use tests::prosody::{self, Prosody, Situation};
use tests::sip_user::{SipUser, Transport};
use tests::wait::{Deadline, until};
use tests::xmpp_user::XmppUser;

/// Where the server of litware.example is reached.
const LITWARE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);
const LIZ_URI: &str = "sip:liz@litware.example";
const MERCUTIO: Account<'static> =
    Account { user: "mercutio", domain: "contoso.example", password: "mercutio-secret" };

/// What may wait for litware.example, in stanzas.
const WAITING_MAX: u32 = 50;
/// Conversations with it, more than may wait.
const CONVERSATIONS: usize = 120;
const TO_STOPPED: u64 = 360;
/// Messages in each direction between the others.
const BETWEEN_OTHERS: u64 = 400;
const RATE_PER_S: f64 = 20.0;
/// A peer that confirms nothing is given up after a minute, and what waits meanwhile after ten
/// seconds; a message may then wait once more.
const OUTCOME_S_MAX: u64 = 110;
/// What each process may hold more while the partner stands.
const GROWTH_BYTES_MAX: u64 = 24 * 1024 * 1024;

struct Scene {
    world: World,
    litware: Prosody,
    romeo: SipUser,
    mercutio: SipUser,
    juliet: XmppUser,
    liz: XmppUser,
}

impl Scene {
    fn start(place: &Place) -> Self {
        let policy = format!(
            "{OPEN_POLICY}\n[[xmpp_partner]]\ndomain = \"litware.example\"\n\
             partner_type = \"federated\"\nallow_private_addresses = true\n\
             [xmpp_partner.queue]\nitems_max = {WAITING_MAX}\nage_s_max = 10\n"
        );
        let setup = Setup { policy: &policy, log_level: "info", ..Setup::default() };
        let records = contoso::records().xmpp_server("litware.example", LITWARE);
        let world = start_with_records(
            place,
            &setup,
            Situation::Certified,
            prosody::Setup::quiet,
            &records,
        );
        let litware = prosody::Setup::new("litware.example", LITWARE, Situation::Certified)
            .user("liz", "liz-secret")
            .quiet()
            .start(place, &world.ca);
        let (romeo, juliet) = (world.romeo(place), world.juliet(place));
        world.appliance.add_user(&MERCUTIO);
        let mut mercutio = SipUser::start(place, &MERCUTIO);
        mercutio.connect(world.appliance.sip(), Transport::Tcp);
        assert_eq!(mercutio.register(3600).status, 200);
        let mut liz = XmppUser::connect(place, "liz@litware.example", "liz-secret", LITWARE);
        liz.be_available();
        let mut scene = Self { world, litware, romeo, mercutio, juliet, liz };
        exchange(&mut scene.juliet, &mut scene.romeo, JULIET_URI, "with fabrikam");
        exchange(&mut scene.liz, &mut scene.romeo, LIZ_URI, "with litware");
        scene
    }

    fn begin(&mut self) {
        let order = |tag, to, count, rate_per_s| BulkOrder {
            tag,
            to,
            count,
            rate_per_s,
            body_bytes: 1_000,
        };
        self.romeo.expect_bulk("to-sip");
        self.juliet.expect_bulk("to-xmpp");
        let uri = |number| format!("sip:liz{number}@litware.example");
        let uris: Vec<String> = (0..CONVERSATIONS).map(uri).collect();
        let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
        self.mercutio.send_bulk(&order("to-stopped", &uris, TO_STOPPED, 60.0), 40, 100);
        self.juliet.send_bulk(&order("to-sip", &[ROMEO_JID], BETWEEN_OTHERS, RATE_PER_S));
        let to_xmpp = order("to-xmpp", &[JULIET_URI], BETWEEN_OTHERS, RATE_PER_S);
        self.romeo.send_bulk(&to_xmpp, 5, 60);
    }

    /// Asserts that no more waits than may.
    fn look(&self) -> f64 {
        let waiting = self.world.appliance.edge_counter("edge_xmpp_waiting_stanzas", "");
        // What is on its way to Juliet is one stanza of each conversation at most, and errors.
        assert!(waiting <= f64::from(WAITING_MAX) + 10.0, "{waiting} stanzas wait");
        waiting
    }

    fn memory(&mut self) -> [u64; 2] {
        let appliance = &mut self.world.appliance;
        [appliance.edge().peak_resident_bytes(), appliance.frontend().peak_resident_bytes()]
    }
}

fn exchange(user: &mut XmppUser, romeo: &mut SipUser, uri: &str, text: &str) {
    user.say(ROMEO_JID, text);
    romeo.expect_text(text, Deadline::after_s(60));
    assert!(matches!(romeo.say(uri, text).status, 200 | 202));
    user.expect_message("the text", Deadline::after_s(60), |message| {
        message.is_from(ROMEO_JID) && message.body.as_deref() == Some(text)
    });
}

#[test]
fn a_partner_that_stops_under_load_delays_nobody_else() {
    let test = "hostile::stopped_partner::a_partner_that_stops_under_load_delays_nobody_else";
    in_namespace(test, |place| {
        let mut scene = Scene::start(place);
        let before = scene.memory();
        scene.litware.process().freeze();
        scene.begin();

        // As long as the run itself takes, and no longer: the others do not wait for the stopped.
        let mut most = 0.0_f64;
        let run_s = (BETWEEN_OTHERS as f64 / RATE_PER_S) as u64;
        until("all messages of the others", Deadline::after_s(run_s + 15), || {
            most = most.max(scene.look());
            let progress = [scene.romeo.bulk_progress(), scene.juliet.bulk_progress()];
            match progress.iter().all(|it| it.arrived_count == BETWEEN_OTHERS) {
                true => Ok(()),
                false => Err(format!("{progress:?}")),
            }
        });
        assert!(most >= f64::from(WAITING_MAX), "the queue was full: {most}");
        let ledgers = [
            Ledger::join(scene.juliet.bulk_log(), &scene.romeo.bulk_log()),
            Ledger::join(scene.romeo.bulk_log(), &scene.juliet.bulk_log()),
        ];
        for ledger in &ledgers {
            assert_eq!(ledger.arrived().len() as u64, BETWEEN_OTHERS);
            assert_eq!((ledger.duplicate_count(), ledger.contradicted().len()), (0, 0));
        }

        let returned = until("errors for the rest", Deadline::after_s(OUTCOME_S_MAX), || {
            scene.look();
            let log = scene.mercutio.bulk_log();
            let sent = log.sent.len() as u64;
            let ledger = Ledger::join(log.clone(), &log);
            let vanished = ledger.vanished();
            match sent == TO_STOPPED && vanished.is_empty() {
                true => Ok(&ledger.returned() | &ledger.refused()),
                false => Err(format!("{sent} were sent, no outcome of {vanished:?}")),
            }
        });
        assert_eq!(returned.len() as u64, TO_STOPPED);
        let growth = [scene.memory(), before];
        show(&format!("at most {most} waited; peak memory after and before: {growth:?}"));
        for (after, before) in growth[0].iter().zip(growth[1]) {
            assert!(after.saturating_sub(before) <= GROWTH_BYTES_MAX, "{growth:?}");
        }

        scene.litware.process().thaw();
        exchange(&mut scene.liz, &mut scene.romeo, LIZ_URI, "with litware again");
        exchange(&mut scene.juliet, &mut scene.romeo, JULIET_URI, "still with fabrikam");
    });
}
