//! Prosody 0.12: everything but resumption.

use std::net::Ipv4Addr;

use tests::namespace::in_namespace;
use tests::process::Mark;
use tests::prosody::{Prosody, Setup, Situation};
use tests::wait::{Deadline, until};

use super::cell::{Cell, Impossible, METHODS, Method, Opener, Proof, Security, Server, Trial};
use super::estate::{Estate, PASSWORD, USER};
use super::table;

const PROSODY: Server =
    Server { title: "Prosody", domain: "prosody.example", methods: METHODS, why_impossible };

/// The server whose certificate verifies.
const CERTIFIED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The one whose certificate does not.
const SELF_SIGNED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
/// The one that does not ask for TLS.
const CLEAR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

fn why_impossible(cell: &Cell) -> Option<Impossible> {
    let is_dialback = cell.method.0 == Proof::Dialback;
    (is_dialback && cell.has_acks).then_some(Impossible {
        reason: "Prosody 0.12 offers and enables stream management only after SASL",
        instead: Some(Cell { has_acks: false, ..*cell }),
    })
}

fn address(cell: &Cell) -> Ipv4Addr {
    match (cell.method, cell.opener) {
        (Method(_, Security::Clear), _) => CLEAR,
        // A certificate that verifies would be proof enough.
        (Method(Proof::Dialback, _), Opener::They) => SELF_SIGNED,
        _ => CERTIFIED,
    }
}

/// A server with the domains of the cells that it has, each with the modules of its cell.
fn setup(name: &str, own: Ipv4Addr, situation: Situation) -> Setup {
    let begin = Setup::new(&format!("{name}.{}", PROSODY.domain), own, situation)
        .allowing_dialback()
        .with_direct_tls()
        .with_bidi()
        .user(USER, PASSWORD);
    let cells = PROSODY.trials().into_iter().map(|trial| trial.wanted);
    cells.filter(|cell| address(cell) == own).fold(begin, |setup, cell| {
        let acks = (!cell.has_acks).then_some("smacks");
        let bidi = (!cell.has_bidi).then_some("s2s_bidi");
        let without: Vec<&str> = acks.into_iter().chain(bidi).collect();
        setup.virtual_host(&PROSODY.domain_of(&cell), &without)
    })
}

#[test]
fn messages_cross_in_every_cell() {
    in_namespace("interop::prosody::messages_cross_in_every_cell", |place| {
        let mut estate = Estate::start(place, &PROSODY, address);
        let certified = setup("certified", CERTIFIED, Situation::Certified);
        let self_signed = setup("self-signed", SELF_SIGNED, Situation::SelfSigned);
        let clear = setup("clear", CLEAR, Situation::Certified).without_required_tls();
        let mut servers = [
            (CERTIFIED, certified.start(place, &estate.ca)),
            (SELF_SIGNED, self_signed.start(place, &estate.ca)),
            (CLEAR, clear.start(place, &estate.ca)),
        ];
        let trials = PROSODY.trials();
        for trial in &trials {
            let address = address(&trial.wanted);
            estate.cross(place, trial, address);
            let (_, own) = servers.iter_mut().find(|(it, _)| *it == address).expect("it has one");
            verify(own, trial);
        }
        table::show(&PROSODY, &trials);
    });
}

/// Verifies by Prosody's log how the stream was proven, and whether it has acknowledgements.
fn verify(prosody: &mut Prosody, Trial { wanted, outcome }: &Trial) {
    let domain = PROSODY.domain_of(wanted);
    let mut wait_for = |module: &str, text: &str| {
        until(&format!("{domain}: {text}"), Deadline::after_s(10), || {
            let lines = prosody.process().lines_with(Mark::START, &format!("{domain}:{module} "));
            let is_there = lines.iter().any(|line| line.contains(text));
            if is_there { Ok(()) } else { Err(lines.join("\n")) }
        });
    };
    match (outcome.method.0, outcome.opener) {
        (Proof::External(_), Opener::We) => {
            wait_for(
                "saslauth",
                &format!("Accepting SASL EXTERNAL identity from {}", outcome.local()),
            );
        }
        (Proof::External(_), Opener::They) => {
            wait_for("saslauth", &format!("SASL EXTERNAL with {} succeeded", outcome.local()));
        }
        (Proof::Dialback, Opener::We) => {}
        (Proof::Dialback, Opener::They) => wait_for("dialback", "Initiating dialback"),
    }
    let enabling = "Enabling stream management";
    if outcome.has_acks {
        wait_for("smacks", enabling);
    } else {
        let smacks = prosody.process().lines_with(Mark::START, &format!("{domain}:smacks "));
        assert!(!smacks.iter().any(|line| line.contains(enabling)), "{smacks:?}");
    }
}
