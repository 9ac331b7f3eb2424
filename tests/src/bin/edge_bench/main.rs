//! Measures the edge with Prosody beside it: streams set up, stanzas, idle streams, and what one
//! partner notices of another that stands still.
//!
//! The partners are of this process. The servers under test share one core, this process has
//! another. Each figure is a ratio of two that were measured in the same run.

mod idle;
mod partner;
mod set_ups;
mod stanzas;
mod stopped;
mod verdict;

use std::env;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Parser;
use tests::appliance::{Appliance, EDGE, OPEN_POLICY, Setup};
use tests::cores::{allow_descriptors, bind_to_core};
use tests::dns::{Dns, Records};
use tests::namespace::{Place, program_in_namespace};
use tests::prosody::{self, Prosody, Situation};
use tests::test_ca::TestCa;

use partner::{Partner, Target};
use stanzas::Stanzas;
use stopped::{Neighbours, signal};
use verdict::{Bound, Figure, median};

const OURS: Target = Target { domain: "contoso.example", address: SocketAddrV4::new(EDGE, 5269) };
const PROSODY: Target = Target {
    domain: "prosody.example",
    address: SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 6), 5269),
};
/// The partner whose server is stopped.
const STOPPED_DOMAIN: &str = "stopped.example";
const STOPPED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);
/// The partners of ours, `p0.example` and so on, since one may not have that many streams.
const PARTNERS: usize = 4;

/// What all costs of stanzas are given for.
const PER_STANZAS: f64 = 10_000.0;
/// Descriptors of each process: the most streams, and more than enough for the rest.
const MORE_DESCRIPTORS: u32 = 1_000;
const KIB: f64 = 1024.0;

/// Measures the edge against Prosody.
#[derive(Parser)]
#[command(name = "edge_bench")]
struct Arguments {
    /// Rounds of each figure; the medians count.
    #[arg(long, default_value = "3")]
    rounds: NonZeroUsize,
    /// Streams that are set up in a round.
    #[arg(long, default_value_t = 2_000)]
    set_ups: usize,
    /// Stanzas of a round.
    #[arg(long, default_value_t = 50_000)]
    stanzas: usize,
    /// Idle streams at the first look.
    #[arg(long, default_value_t = 2_000)]
    idle_few: u16,
    /// Idle streams at the second look.
    #[arg(long, default_value_t = 12_000)]
    idle_many: u16,
    /// Seconds of messages with the other partner's server running, and again with it stopped.
    #[arg(long, default_value_t = 5)]
    stopped_s: u64,
}

fn main() {
    let arguments = Arguments::parse();
    let given: Vec<String> = env::args().skip(1).collect();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    program_in_namespace("edge_bench", &given, |place| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("the system gives what a runtime needs").block_on(run(place, &arguments));
    });
}

async fn run(place: &Place, arguments: &Arguments) {
    allow_descriptors(u32::from(arguments.idle_many) + MORE_DESCRIPTORS);
    let ca = TestCa::new(place.directory(), "ca");
    let records =
        Records::new().xmpp_server(STOPPED_DOMAIN, STOPPED).xmpp_server(OURS.domain, EDGE);
    let _dns = Dns::start(place, &records);
    let bench = Bench {
        place,
        partners: (0..PARTNERS).map(|it| Partner::new(&ca, &format!("p{it}.example"))).collect(),
        has_two_cores: std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1),
        ca,
        arguments,
    };
    if !bench.has_two_cores {
        verdict::say("there is only one core: this process disturbs the figures");
    }
    verdict::print_head();
    bench.beside_prosody().await;
    bench.idle().await;
    bench.stopped().await;
}

struct Bench<'a> {
    place: &'a Place,
    ca: TestCa,
    partners: Vec<Partner>,
    has_two_cores: bool,
    arguments: &'a Arguments,
}

impl Bench<'_> {
    /// Streams that are set up, and stanzas, by turns of the edge and of Prosody.
    async fn beside_prosody(&self) {
        let mut appliance = self.start_appliance();
        let setup =
            prosody::Setup::new(PROSODY.domain, *PROSODY.address.ip(), Situation::Certified)
                .swallowing_messages()
                .quiet();
        let mut prosody = self.on_first_core(|| setup.start(self.place, &self.ca));
        self.set_ups(&mut appliance, &mut prosody).await;
        self.stanzas(&mut appliance, &mut prosody).await;
    }

    async fn set_ups(&self, appliance: &mut Appliance, prosody: &mut Prosody) {
        let (partner, count) = (&self.partners[0], self.arguments.set_ups);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..self.arguments.rounds.get() {
            ours.push(set_ups::measure(partner, OURS, appliance.edge(), count).await);
            theirs.push(set_ups::measure(partner, PROSODY, prosody.process(), count).await);
        }
        let figure = Figure {
            name: "streams set up with EXTERNAL, TLS 1.3: edge",
            ours: median(ours),
            theirs: median(theirs),
            bound: Bound::AtLeast(3.0),
            unit: "per CPU second; Prosody",
        };
        figure.print();
    }

    async fn stanzas(&self, appliance: &mut Appliance, prosody: &mut Prosody) {
        let count = self.arguments.stanzas;
        let mut to_us = Stanzas::begin(&self.partners[0], OURS).await;
        let mut to_prosody = Stanzas::begin(&self.partners[0], PROSODY).await;
        for stanzas in [&mut to_us, &mut to_prosody] {
            stanzas.send(count / 2).await.expect("all are acknowledged");
        }
        let (mut edge, mut both, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        let cost = |seconds: f64| seconds * PER_STANZAS / count as f64;
        for _ in 0..self.arguments.rounds.get() {
            let before = (appliance.edge().cpu_seconds(), appliance.frontend().cpu_seconds());
            to_us.send(count).await.expect("all are acknowledged");
            let edge_cost = cost(appliance.edge().cpu_seconds() - before.0);
            edge.push(edge_cost);
            both.push(edge_cost + cost(appliance.frontend().cpu_seconds() - before.1));
            let before = prosody.process().cpu_seconds();
            to_prosody.send(count).await.expect("all are acknowledged");
            theirs.push(cost(prosody.process().cpu_seconds() - before));
        }
        let theirs = median(theirs);
        for (name, ours, factor) in [
            ("stanzas to a null inside: edge and front end", median(both), 0.5),
            ("stanzas to a null inside: edge", median(edge), 0.25),
        ] {
            let unit = "CPU seconds per 10,000; Prosody";
            Figure { name, ours, theirs, bound: Bound::AtMost(factor), unit }.print();
        }
    }

    async fn idle(&self) {
        let mut appliance = self.start_appliance();
        let streams = (self.arguments.idle_few.into(), self.arguments.idle_many.into());
        let bytes = idle::measure(&self.partners, OURS, &mut appliance, streams).await;
        let figure = Figure {
            name: "an idle authenticated stream: edge",
            ours: bytes / KIB,
            theirs: 20.0,
            bound: Bound::AtMost(1.0),
            unit: "KiB of memory; the limit",
        };
        figure.print();
    }

    async fn stopped(&self) {
        let _appliance = self.start_appliance();
        let setup = prosody::Setup::new(STOPPED_DOMAIN, STOPPED, Situation::Certified).quiet();
        let mut prosody = self.on_first_core(|| setup.start(self.place, &self.ca));
        let load = Partner::new(&self.ca, STOPPED_DOMAIN);
        let mut neighbours = Neighbours::start(&self.partners[0], &load, OURS).await;
        let length = Duration::from_secs(self.arguments.stopped_s);
        neighbours.p99_s(length).await.expect("all are acknowledged");
        let (mut stopped, mut running) = (Vec::new(), Vec::new());
        for _ in 0..self.arguments.rounds.get() {
            running.push(neighbours.p99_s(length).await.expect("all are acknowledged"));
            signal(prosody.process(), "-STOP");
            stopped.push(neighbours.p99_s(length).await.expect("all are acknowledged"));
            signal(prosody.process(), "-CONT");
        }
        let figure = Figure {
            name: "p99 of a partner, another one stopped",
            ours: median(stopped) * 1000.0,
            theirs: median(running) * 1000.0,
            bound: Bound::AtMost(2.0),
            unit: "ms until acknowledged; the other one running",
        };
        figure.print();
    }

    fn start_appliance(&self) -> Appliance {
        let policy = self.policy();
        // The level of production.
        let setup = Setup { policy: &policy, log_level: "info", ..Setup::default() };
        self.on_first_core(|| setup.start(self.place, &self.ca))
    }

    /// Starts what is measured on a core of its own.
    fn on_first_core<T>(&self, start: impl FnOnce() -> T) -> T {
        if !self.has_two_cores {
            return start();
        }
        bind_to_core("0");
        let started = start();
        bind_to_core("1");
        started
    }

    fn policy(&self) -> String {
        let partners = self.partners.iter().map(Partner::domain).chain([STOPPED_DOMAIN]);
        let partner = |domain| {
            format!(
                "[[xmpp_partner]]\ndomain = \"{domain}\"\npartner_type = \"federated\"\n\
                 allow_private_addresses = true\nconnection_limit = 10000\n\
                 rate = {{ stanzas_per_s = 1000000, bytes_per_s = 1073741824 }}\n"
            )
        };
        let partners: String = partners.map(partner).collect();
        let limits =
            "[xmpp_gateway]\nconnection_limit = 20000\nstream_inactivity_timeout_s = 86400\n";
        format!("{OPEN_POLICY}\n{partners}\n{limits}")
    }
}
