//! Measures what messages cost on the whole path: a TLS stream of a partner, the edge, the link,
//! the front end with its journal, SIP over TCP to registered users; and back.
//!
//! Partner and users are of this process, and as cheap as the engines make them. The processes
//! under test share one core, this one has another, so that the figures are those of one core.

mod partner;
mod phones;
mod report;
mod tally;

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Parser, value_parser};
use tests::appliance::{Appliance, EDGE, OPEN_POLICY, Setup};
use tests::cores::bind_to_core;
use tests::dns::{Dns, Records};
use tests::namespace::{Place, program_in_namespace};
use tests::test_ca::TestCa;
use tests::wait::{Deadline, until};
use tokio::sync::mpsc::UnboundedSender;

use report::{Cost, Reading};
use tally::{Direction, Tally};

const LOCAL_DOMAIN: &str = "contoso.example";
const PARTNER_DOMAIN: &str = "fabrikam.example";
const PARTNER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The longest that one round may take.
const ROUND_MAX: Duration = Duration::from_secs(120);

/// Measures the cost of messages between an XMPP partner and SIP users, both ways.
#[derive(Parser)]
#[command(name = "load")]
struct Arguments {
    /// Messages of one round.
    #[arg(long, default_value = "10000")]
    messages: NonZeroUsize,
    /// Rounds of each direction; the medians count.
    #[arg(long, default_value = "3")]
    rounds: NonZeroUsize,
    /// Messages each way before the first round.
    #[arg(long, default_value_t = 10_000)]
    warm_up: usize,
    /// Users on each side; each has one message under way.
    #[arg(long, default_value_t = 512, value_parser = value_parser!(u16).range(1..=1000))]
    users: u16,
    /// Connections that the SIP users share; as many as there are users unless given.
    #[arg(long)]
    connections: Option<u16>,
    /// The length of a body in bytes.
    #[arg(long, default_value_t = 300, value_parser = value_parser!(u16).range(32..=60_000))]
    body_bytes: u16,
}

fn main() {
    let arguments = Arguments::parse();
    let given: Vec<String> = env::args().skip(1).collect();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    program_in_namespace("load", &given, |place| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("the system gives what a runtime needs").block_on(run(place, &arguments));
    });
}

async fn run(place: &Place, arguments: &Arguments) {
    let ca = TestCa::new(place.directory(), "ca");
    let records =
        Records::new().xmpp_server(PARTNER_DOMAIN, PARTNER).xmpp_server(LOCAL_DOMAIN, EDGE);
    let _dns = Dns::start(place, &records);
    // The level of production; whoever looks for a fault looks at the logs of the tests.
    let partner = "domain = \"fabrikam.example\"";
    // A partner that may send as much as it can.
    let rate = "rate = { stanzas_per_s = 1000000, bytes_per_s = 1073741824 }";
    let policy = OPEN_POLICY.replace(partner, &format!("{partner}\n{rate}"));
    let setup = Setup { policy: &policy, log_level: "info", ..Setup::default() };
    let has_two_cores = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    if has_two_cores {
        bind_to_core("0");
    }
    let mut appliance = setup.start(place, &ca);
    if has_two_cores {
        bind_to_core("1");
    } else {
        report::say("there is only one core: this process disturbs the figures");
    }
    let mut load = Load::start(&ca, &appliance, arguments).await;

    load.round(&mut appliance, Direction::X2s, "warmup", arguments.warm_up).await;
    load.round(&mut appliance, Direction::S2x, "warmup", arguments.warm_up).await;
    let (messages, rounds) = (arguments.messages.get(), arguments.rounds.get());
    report::print_head();
    for direction in [Direction::X2s, Direction::S2x] {
        let mut costs = Vec::new();
        for number in 1..=rounds {
            let name = format!("round{number}");
            costs.push(load.round(&mut appliance, direction, &name, messages).await);
        }
        report::print(direction.name(), &costs);
    }
    report::print_memory(&mut appliance);
    let expected = arguments.warm_up + rounds * messages;
    report::print_journal(&place.directory().join("store.sqlite"), expected);
}

/// Both ends.
struct Load {
    tally: Tally,
    users: usize,
    body_bytes: usize,
    partner: partner::Turns,
    lines: Vec<UnboundedSender<usize>>,
}

impl Load {
    async fn start(ca: &TestCa, appliance: &Appliance, arguments: &Arguments) -> Self {
        let users = usize::from(arguments.users);
        for user in 0..users {
            appliance.add_user(&phones::account(&phones::name(user)));
        }
        let tally = Tally::default();
        let partner = partner::start(ca, PARTNER, tally.clone()).await;
        let count = arguments.connections.map_or(users, usize::from).clamp(1, users);
        let home = SocketAddr::V4(appliance.sip());
        let mut lines = Vec::new();
        for line in 0..count {
            let users = (line..users).step_by(count);
            lines.push(phones::connect(home, users, tally.clone(), partner.clone()).await);
        }
        Self { tally, users, body_bytes: arguments.body_bytes.into(), partner, lines }
    }

    /// Sends messages one way, and waits until each has arrived, is confirmed, and is settled.
    async fn round(
        &mut self,
        appliance: &mut Appliance,
        direction: Direction,
        name: &str,
        messages: usize,
    ) -> Cost {
        let before = Reading::take(appliance);
        self.tally.begin(direction, name, messages, self.body_bytes);
        for user in 0..self.users {
            let turns = match direction {
                Direction::X2s => &self.partner,
                Direction::S2x => &self.lines[user % self.lines.len()],
            };
            // The tasks at the other end report their own end.
            let _ = turns.send(user);
        }
        match tokio::time::timeout(ROUND_MAX, self.tally.complete()).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => panic!("{fault}; {}", self.tally.progress()),
            Err(_) => panic!("a round does not end: {}", self.tally.progress()),
        }
        until("no open message", Deadline::after_s(10), || {
            match appliance.frontend_counter("gateway_messages_open", "") {
                0.0 => Ok(()),
                open => Err(format!("{open} are open")),
            }
        });
        Reading::take(appliance).since(&before, messages)
    }
}
