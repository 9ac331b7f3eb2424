//! ejabberd 23.01: no bidi, no stream management between servers, and EXTERNAL from us only with a
//! certificate that is also a client's.

use std::net::Ipv4Addr;

use tests::ejabberd::{Ejabberd, Setup, Tls as Offer};
use tests::namespace::in_namespace;
use tests::test_ca::Usage;
use tests::wait::{Deadline, until};

use super::cell::{Cell, Impossible, Method, Opener, Proof, Security, Server, Trial};
use super::estate::{Estate, PASSWORD, USER, public_leaf};
use super::table;

const EJABBERD: Server = Server {
    title: "ejabberd",
    domain: "ejabberd.example",
    methods: &[
        Method(Proof::External(Usage::Server), Security::StartTls),
        Method(Proof::External(Usage::Server), Security::Direct),
        Method(Proof::External(Usage::Both), Security::StartTls),
        Method(Proof::External(Usage::Both), Security::Direct),
        Method(Proof::Dialback, Security::StartTls),
        Method(Proof::Dialback, Security::Direct),
        Method(Proof::Dialback, Security::Clear),
    ],
    why_impossible,
};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn why_impossible(cell: &Cell) -> Option<Impossible> {
    let is_server_only = cell.method.0 == Proof::External(Usage::Server);
    if cell.has_bidi {
        Some(Impossible { reason: "ejabberd 23.01 has no bidi", instead: None })
    } else if cell.has_acks {
        let reason = "ejabberd 23.01 has no stream management between servers";
        Some(Impossible { reason, instead: None })
    } else if is_server_only && cell.opener == Opener::We {
        let reason = "ejabberd 23.01 refuses certificates that are only a server's: dialback";
        let instead = Cell { method: Method(Proof::Dialback, cell.method.1), ..*cell };
        Some(Impossible { reason, instead: Some(instead) })
    } else {
        None
    }
}

#[test]
fn messages_cross_in_every_cell() {
    in_namespace("interop::ejabberd::messages_cross_in_every_cell", |place| {
        let estate = &mut Estate::start(place, &EJABBERD, |_| ADDRESS);
        let trials = EJABBERD.trials();
        let setup = Setup::new("ejabberd", ADDRESS).user(USER, PASSWORD);
        let setup = trials.iter().fold(setup, |setup, Trial { wanted, .. }| {
            let offer = match wanted.method {
                Method(_, Security::Clear) => Offer::Off,
                // A certificate that verifies would be proof enough.
                Method(Proof::Dialback, _) => Offer::SelfSigned,
                Method(Proof::External(_), _) => Offer::Certified,
            };
            setup.host(&EJABBERD.domain_of(wanted), offer)
        });
        let ejabberd = setup.start(place, &estate.ca);
        let cross = |estate: &mut Estate, trial: &Trial| {
            estate.cross(place, trial, ADDRESS);
            verify(&ejabberd, trial);
        };
        let is_later = |trial: &&Trial| trial.wanted.method.0 == Proof::External(Usage::Both);
        trials.iter().filter(|trial| !is_later(trial)).for_each(|trial| cross(estate, trial));
        estate.ca.issue(&public_leaf().usage(Usage::Both), "edge-public");
        estate.appliance.edge().hang_up();
        estate.appliance.edge().wait_for_line("a certificate was read anew", Deadline::after_s(10));
        trials.iter().filter(is_later).for_each(|trial| cross(estate, trial));
        table::show(&EJABBERD, &trials);
    });
}

/// Verifies by ejabberd's log how the side that connected has proven itself, and over what.
fn verify(ejabberd: &Ejabberd, Trial { wanted, outcome }: &Trial) {
    let (theirs, ours) = (EJABBERD.domain_of(wanted), outcome.local());
    let (direction, pair) = match outcome.opener {
        Opener::We => ("inbound", format!("{ours} -> {theirs}")),
        Opener::They => ("outbound", format!("{theirs} -> {ours}")),
    };
    let Method(proof, tls) = outcome.method;
    let proof = if proof == Proof::Dialback { "dialback" } else { "EXTERNAL" };
    let accepted = format!("Accepted {direction} s2s {proof} authentication {pair} ");
    let transport = if tls == Security::Clear { "(tcp|" } else { "(tls|" };
    until(&accepted, Deadline::after_s(10), || {
        let lines = ejabberd.log_lines(&pair);
        let is_there = lines.iter().any(|it| it.contains(&accepted) && it.contains(transport));
        if is_there { Ok(()) } else { Err(lines.join("\n")) }
    });
}
