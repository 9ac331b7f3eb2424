//! jabberd2 2.7: dialback, with STARTTLS or without TLS, and nothing that is younger.

use std::net::Ipv4Addr;

use tests::jabberd2::{Jabberd2, Setup};
use tests::namespace::in_namespace;
use tests::test_ca::TestCa;
use tests::wait::Deadline;

use super::cell::{Cell, Impossible, METHODS, Method, Opener, Proof, Security, Server};
use super::estate::{Estate, PASSWORD, USER};
use super::table;

const JABBERD2: Server =
    Server { title: "jabberd2", domain: "jabberd2.example", methods: METHODS, why_impossible };

/// Where the server is that requires TLS.
const TLS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Where the one is that has none.
const CLEAR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);

fn why_impossible(cell: &Cell) -> Option<Impossible> {
    let Method(proof, tls) = cell.method;
    let reason = if proof != Proof::Dialback {
        "jabberd2 has no EXTERNAL"
    } else if tls == Security::Direct {
        "jabberd2 has no direct TLS"
    } else if cell.has_bidi {
        "jabberd2 has no bidi"
    } else if cell.has_acks {
        "jabberd2 has no stream management between servers"
    } else {
        return None;
    };
    Some(Impossible { reason, instead: None })
}

fn address(cell: &Cell) -> Ipv4Addr {
    if cell.method.1 == Security::Clear { CLEAR } else { TLS }
}

fn setup(name: &str, own: Ipv4Addr) -> Setup {
    let begin = Setup::new(name, own).user(USER, PASSWORD);
    let cells = JABBERD2.trials().into_iter().map(|trial| trial.wanted);
    let own_cells = cells.filter(|cell| address(cell) == own);
    own_cells.fold(begin, |setup, cell| setup.host(&JABBERD2.domain_of(&cell)))
}

#[test]
fn messages_cross_in_every_cell() {
    in_namespace("interop::jabberd2::messages_cross_in_every_cell", |place| {
        let mut estate = Estate::start(place, &JABBERD2, address);
        // A certificate that verifies would be proof enough.
        let unknown = TestCa::new(place.directory(), "unknown-ca");
        let mut tls = setup("jabberd2-tls", TLS).start(place, &unknown);
        let mut clear = setup("jabberd2-clear", CLEAR).without_tls().start(place, &unknown);
        let trials = JABBERD2.trials();
        for trial in &trials {
            let address = address(&trial.wanted);
            estate.cross(place, trial, address);
            verify(if address == TLS { &mut tls } else { &mut clear }, &trial.outcome);
        }
        table::show(&JABBERD2, &trials);
    });
}

/// Verifies by jabberd2's log that dialback was how the stream came about, and over what.
fn verify(jabberd2: &mut Jabberd2, cell: &Cell) {
    let direction = match cell.opener {
        Opener::We => "incoming",
        Opener::They => "outgoing",
    };
    let route = format!("{}/{}", JABBERD2.domain_of(cell), cell.local());
    let valid = format!("{direction} route '{route}' is now valid");
    let line = jabberd2.servers().wait_for_line(&valid, Deadline::after_s(10));
    assert_eq!(line.contains("TLS"), cell.method.1 == Security::StartTls, "{line}");
}
