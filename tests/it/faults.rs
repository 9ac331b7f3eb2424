//! Promise 1 under faults: what was accepted arrives or comes back, whatever dies meanwhile.

use std::collections::BTreeMap;

use rusqlite::{Connection, OpenFlags};
use tests::appliance::{LINK_PORT, Setup};
use tests::contoso::{JULIET_URI, PARTNER, ROMEO_JID, World, start};
use tests::evidence::{BulkLog, BulkOrder, Ledger, now_ms, show};
use tests::namespace::{Cut, Place, in_namespace};
use tests::prosody::Situation;
use tests::sip_user::SipUser;
use tests::wait::{Deadline, until};
use tests::xmpp_user::XmppUser;

/// Juliet's colleagues, who get messages too: a conversation has one message in flight.
const COLLEAGUES: [&str; 2] = ["nurse", "rosaline"];
const PASSWORD: &str = "fabrikam-secret";
const TAGS: [&str; 2] = ["to-sip", "to-xmpp"];
/// The pace of each direction, in messages a second.
const RATE_PER_S: f64 = 20.0;
/// How many messages pass while the link is cut.
const CUT_MESSAGES: u64 = 40;
/// How much later than the appliance a driver may note an answer, in milliseconds.
const NOTING_MS: u64 = 250;
/// How long after the last message everything may still be under way, in seconds: more than the
/// time for which a request is repeated.
const SETTLE_S_MAX: u64 = 120;

struct Run {
    count: u64,
    strike: fn(&Place, &mut World, &mut Users, &Self) -> Vec<u64>,
    faults_each: u64,
    with_acks: bool,
    /// Whether one stream carries both directions.
    with_bidi: bool,
    edge: Edge,
}

/// What the edge goes through, and so what the partner returns by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    /// The partner always finds it, and returns nothing.
    Runs,
    /// The partner returns what it cannot deliver meanwhile.
    IsRestarted,
    /// The partner returns as well what has crossed without its hearing of it.
    IsKilled,
}

/// The users of one run.
struct Users {
    juliet: XmppUser,
    colleagues: Vec<XmppUser>,
    romeo: SipUser,
}

impl Users {
    fn connect(place: &Place, world: &World) -> Self {
        let colleague = |name: &&str| {
            let address = format!("{name}@fabrikam.example");
            let mut user = XmppUser::connect(place, &address, PASSWORD, PARTNER);
            user.be_available();
            user
        };
        Self {
            juliet: world.juliet(place),
            colleagues: COLLEAGUES.iter().map(colleague).collect(),
            romeo: world.romeo(place),
        }
    }

    fn begin(&mut self, count: u64) {
        let [to_sip, to_xmpp] = TAGS;
        self.romeo.stay_registered();
        self.romeo.expect_bulk(to_sip);
        self.juliet.expect_bulk(to_xmpp);
        for user in &mut self.colleagues {
            user.expect_bulk(to_xmpp);
        }
        let order = |tag, to| BulkOrder { tag, to, count, rate_per_s: RATE_PER_S, body_bytes: 100 };
        self.juliet.send_bulk(&order(to_sip, &[ROMEO_JID]));
        let uris = COLLEAGUES.map(|name| format!("sip:{name}@fabrikam.example"));
        let to = [JULIET_URI, uris[0].as_str(), uris[1].as_str()];
        self.romeo.send_bulk(&order(to_xmpp, &to), 5, 60);
    }

    /// Waits until Juliet has sent so many messages.
    fn wait_until_sent(&mut self, count: u64) {
        until(&format!("{count} messages sent"), Deadline::after_s(60), || {
            match self.juliet.bulk_progress().sent_count {
                sent if sent >= count => Ok(()),
                sent => Err(format!("{sent} were sent")),
            }
        });
    }

    /// Waits until every message has become something at both ends; gives the two ledgers.
    fn wait_for_outcomes(&mut self, count: u64) -> [Ledger; 2] {
        let deadline = Deadline::after_s(SETTLE_S_MAX);
        until("the end of the run", deadline, || match self.romeo.bulk_progress().settled_count {
            settled if settled == count => Ok(()),
            settled => Err(format!("{settled} of {count} were answered")),
        });
        until("an outcome of every message", deadline, || {
            let ledgers = self.ledgers();
            let missing: Vec<_> =
                ledgers.iter().zip(TAGS).map(|(it, tag)| (tag, it.vanished())).collect();
            match missing.iter().all(|(_, vanished)| vanished.is_empty()) {
                true => Ok(ledgers),
                false => Err(format!("{missing:?} are missing")),
            }
        })
    }

    fn ledgers(&mut self) -> [Ledger; 2] {
        let [juliet, romeo] = [self.juliet.bulk_log(), self.romeo.bulk_log()];
        let arrived_at_colleagues = self.colleagues.iter_mut().flat_map(|it| it.bulk_log().arrived);
        let arrived = juliet.arrived.iter().copied().chain(arrived_at_colleagues).collect();
        let at_fabrikam = BulkLog { arrived, ..juliet.clone() };
        [Ledger::join(juliet, &romeo), Ledger::join(romeo, &at_fabrikam)]
    }
}

/// How many messages have each direction and state in the journal.
fn journal(place: &Place) -> BTreeMap<(u8, u8), usize> {
    let file = place.directory().join("store.sqlite");
    let read = || -> rusqlite::Result<_> {
        let store = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let query = "SELECT direction, state, count(*) FROM journal GROUP BY 1, 2";
        let mut statement = store.prepare(query)?;
        let rows = statement.query_map([], |row| {
            let count: usize = row.get(2)?;
            Ok(((row.get(0)?, row.get(1)?), count))
        })?;
        rows.collect()
    };
    read().expect("the journal can be read beside its owner")
}

fn survive(name: &str, run: &Run) {
    in_namespace(&format!("faults::{name}"), |place| {
        let setup = Setup { log_level: "info", ..Setup::default() };
        let mut world = start(place, &setup, Situation::Certified, |prosody| {
            let prosody = COLLEAGUES.iter().fold(prosody, |it, name| it.user(name, PASSWORD));
            let prosody = prosody.quiet();
            let prosody = if run.with_bidi { prosody.with_bidi() } else { prosody };
            if run.with_acks { prosody } else { prosody.without_stream_management() }
        });
        let mut users = Users::connect(place, &world);
        users.begin(run.count);
        let faults_ms = (run.strike)(place, &mut world, &mut users, run);
        let [to_sip, to_xmpp] = users.wait_for_outcomes(run.count);
        for (tag, ledger) in [("to SIP", &to_sip), ("to XMPP", &to_xmpp)] {
            let in_flight = ledger.in_flight_at(&faults_ms, NOTING_MS);
            let duplicates = ledger.duplicate_count();
            show(&format!(
                "{tag}: {} arrived, {} returned, {} refused, {duplicates} twice, {} in flight",
                ledger.arrived().len(),
                ledger.returned().len(),
                ledger.refused().len(),
                in_flight.len()
            ));
            assert!(duplicates <= in_flight.len(), "{tag}: {duplicates} arrived twice");
            assert!(ledger.contradicted().is_subset(&in_flight), "{:?}", ledger.contradicted());
        }
        assert_journal_tells(place, run, &to_sip, &to_xmpp);
    });
}

/// Kills the front end and cuts the link while the run goes on, spread over it; returns when.
fn kill_and_cut(place: &Place, world: &mut World, users: &mut Users, run: &Run) -> Vec<u64> {
    let mut faults_ms = Vec::new();
    let between = run.count / (2 * run.faults_each + 1);
    for fault in 0..run.faults_each {
        let first = (2 * fault + 1) * between;
        users.wait_until_sent(first);
        faults_ms.push(now_ms());
        world.appliance.restart_frontend();
        users.wait_until_sent(first + between);
        faults_ms.push(now_ms());
        let how = if fault % 2 == 0 { Cut::Silent } else { Cut::Reset };
        let cut = place.cut_port(LINK_PORT, how);
        users.wait_until_sent(first + between + CUT_MESSAGES);
        cut.mend();
    }
    faults_ms
}

/// Stops the edge as an administrator would and starts it again, spread over the run; returns
/// when.
fn restart_the_edge(_: &Place, world: &mut World, users: &mut Users, run: &Run) -> Vec<u64> {
    let mut faults_ms = Vec::new();
    for fault in 1..=run.faults_each {
        users.wait_until_sent(fault * run.count / (run.faults_each + 1));
        faults_ms.push(now_ms());
        let status = world.appliance.edge().terminate(Deadline::after_s(12));
        assert_eq!(status.code(), Some(0));
        world.appliance.restart_edge();
    }
    faults_ms
}

/// Kills the edge while it works, and puts another in its place, spread over the run; returns when.
fn kill_the_edge(_: &Place, world: &mut World, users: &mut Users, run: &Run) -> Vec<u64> {
    let mut faults_ms = Vec::new();
    for fault in 1..=run.faults_each {
        users.wait_until_sent(fault * run.count / (run.faults_each + 1));
        faults_ms.push(now_ms());
        world.appliance.restart_edge();
    }
    faults_ms
}

/// The journal says of each message what the drivers saw.
fn assert_journal_tells(place: &Place, run: &Run, to_sip: &Ledger, to_xmpp: &Ledger) {
    const DELIVERED: u8 = 2;
    const BOUNCED: u8 = 3;
    let recorded = until("a journal without open messages", Deadline::after_s(20), || {
        let recorded = journal(place);
        match recorded.keys().all(|(_, state)| *state >= DELIVERED) {
            true => Ok(recorded),
            false => Err(format!("{recorded:?}")),
        }
    });
    let count = |direction: u8, state: u8| recorded.get(&(direction, state)).copied().unwrap_or(0);
    let returned = to_sip.returned();
    if run.edge == Edge::Runs {
        assert_eq!(count(0, BOUNCED), returned.len(), "{recorded:?}");
    }
    let arrived = to_sip.arrived();
    match run.edge {
        Edge::IsKilled => assert_eq!(count(0, DELIVERED), arrived.len(), "{recorded:?}"),
        _ => assert_eq!(count(0, DELIVERED), (&arrived - &returned).len(), "{recorded:?}"),
    }
    let returned = &to_xmpp.returned() | &to_xmpp.refused();
    assert_eq!(count(1, BOUNCED), returned.len(), "{recorded:?}");
    assert_eq!(count(1, DELIVERED), (&to_xmpp.arrived() - &returned).len(), "{recorded:?}");
}

#[test]
fn nothing_accepted_vanishes() {
    let run = Run {
        count: 2_000,
        strike: kill_and_cut,
        faults_each: 5,
        with_acks: true,
        with_bidi: false,
        edge: Edge::Runs,
    };
    survive("nothing_accepted_vanishes", &run);
}

#[test]
fn nothing_accepted_vanishes_where_the_partner_has_no_acks() {
    let run = Run {
        count: 600,
        strike: kill_and_cut,
        faults_each: 2,
        with_acks: false,
        with_bidi: false,
        edge: Edge::Runs,
    };
    survive("nothing_accepted_vanishes_where_the_partner_has_no_acks", &run);
}

#[test]
fn nothing_accepted_vanishes_when_the_edge_is_restarted() {
    let run = Run {
        count: 400,
        strike: restart_the_edge,
        faults_each: 2,
        with_acks: true,
        with_bidi: false,
        edge: Edge::IsRestarted,
    };
    survive("nothing_accepted_vanishes_when_the_edge_is_restarted", &run);
}

#[test]
fn nothing_vanishes_when_the_edge_is_killed() {
    let run = Run {
        count: 2_000,
        strike: kill_the_edge,
        faults_each: 3,
        with_acks: true,
        with_bidi: false,
        edge: Edge::IsKilled,
    };
    survive("nothing_vanishes_when_the_edge_is_killed", &run);
}

#[test]
fn nothing_accepted_vanishes_where_one_stream_carries_both_directions() {
    let run = Run {
        count: 600,
        strike: kill_and_cut,
        faults_each: 2,
        with_acks: true,
        with_bidi: true,
        edge: Edge::Runs,
    };
    survive("nothing_accepted_vanishes_where_one_stream_carries_both_directions", &run);
}

#[test]
fn nothing_accepted_vanishes_when_the_edge_of_such_streams_is_restarted() {
    let run = Run {
        count: 400,
        strike: restart_the_edge,
        faults_each: 2,
        with_acks: true,
        with_bidi: true,
        edge: Edge::IsRestarted,
    };
    survive("nothing_accepted_vanishes_when_the_edge_of_such_streams_is_restarted", &run);
}
