//! What a round costs, and how it is shown.

use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, OpenFlags};
use tests::appliance::Appliance;

/// What all costs are given for.
const PER_MESSAGES: f64 = 10_000.0;

/// The processor time used so far, and when.
pub(crate) struct Reading {
    edge_s: f64,
    frontend_s: f64,
    at: Instant,
}

impl Reading {
    pub(crate) fn take(appliance: &mut Appliance) -> Self {
        let edge_s = appliance.edge().cpu_seconds();
        let frontend_s = appliance.frontend().cpu_seconds();
        Self { edge_s, frontend_s, at: Instant::now() }
    }

    /// What the messages since an earlier reading cost.
    pub(crate) fn since(&self, earlier: &Self, messages: usize) -> Cost {
        let messages = messages as f64;
        let per_10_000 = |seconds: f64| seconds * PER_MESSAGES / messages;
        Cost {
            edge_s: per_10_000(self.edge_s - earlier.edge_s),
            frontend_s: per_10_000(self.frontend_s - earlier.frontend_s),
            messages_per_s: messages / self.at.duration_since(earlier.at).as_secs_f64(),
        }
    }
}

/// What a round cost: seconds of user and system time per 10,000 messages.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    edge_s: f64,
    frontend_s: f64,
    messages_per_s: f64,
}

/// Prints a line for each round and one with the medians.
pub(crate) fn print(direction: &str, rounds: &[Cost]) {
    let median = Cost {
        edge_s: median(rounds, |cost| cost.edge_s),
        frontend_s: median(rounds, |cost| cost.frontend_s),
        messages_per_s: median(rounds, |cost| cost.messages_per_s),
    };
    let names = (1..=rounds.len()).map(|number| number.to_string());
    for (name, cost) in names.zip(rounds).chain([("median".to_owned(), &median)]) {
        say(&format!(
            "{direction:<12} {name:>6} {:>8.3} {:>10.3} {:>8.3} {:>12.0}",
            cost.edge_s,
            cost.frontend_s,
            cost.edge_s + cost.frontend_s,
            cost.messages_per_s
        ));
    }
}

/// Prints the head of the table.
pub(crate) fn print_head() {
    say("CPU seconds (user and system) per 10,000 messages");
    let [direction, round, edge, frontend, both, rate] =
        ["direction", "round", "edge", "front end", "both", "messages/s"];
    say(&format!("{direction:<12} {round:>6} {edge:>8} {frontend:>10} {both:>8} {rate:>12}"));
}

/// Prints the most memory that the processes held.
pub(crate) fn print_memory(appliance: &mut Appliance) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let edge = mib(appliance.edge().peak_resident_bytes());
    let frontend = mib(appliance.frontend().peak_resident_bytes());
    say(&format!("peak memory: edge {edge:.0} MiB, front end {frontend:.0} MiB"));
}

/// Prints how many messages of each direction have which state in the journal.
///
/// # Panics
///
/// When the journal holds anything but `expected` delivered messages of each direction.
pub(crate) fn print_journal(store: &Path, expected: usize) {
    let connection = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("the front end has a store");
    for (direction, name) in ["XMPP to SIP", "SIP to XMPP"].into_iter().enumerate() {
        // 2 is the state of a message that was delivered.
        let sql = "SELECT count(*), coalesce(sum(state = 2), 0) FROM journal WHERE direction = ?1";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let counts: (usize, usize) =
            connection.query_row(sql, [direction], row).expect("the journal can be read");
        say(&format!("journal, {name}: {} rows, {} of them delivered", counts.0, counts.1));
        assert_eq!(counts, (expected, expected), "every message is in the journal, delivered");
    }
}

fn median(rounds: &[Cost], value: impl Fn(&Cost) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::print_stdout, reason = "the product of the command")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
