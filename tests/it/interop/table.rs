//! The table of a server's cells, as it is shown to whoever runs the tests.

use std::collections::BTreeSet;
use std::fmt::Write;

use tests::namespace::publish;
use tests::test_ca::Usage;

use super::cell::{Cell, Method, Proof, Security, Server, Trial};

/// What each line begins with, in columns.
const LABEL_WIDTH: usize = 44;

/// Shows which cells messages have crossed in.
pub(super) fn show(server: &Server, trials: &[Trial]) {
    let crossed: Vec<Cell> = trials.iter().map(|trial| trial.wanted).collect();
    let mut text = format!(
        "{:LABEL_WIDTH$}| we connect            | they connect\n{:LABEL_WIDTH$}\
         | -   acks bidi both    | -   acks bidi both\n",
        server.title, ""
    );
    let mut reasons = BTreeSet::new();
    for method in server.methods {
        let marks: Vec<&str> =
            method.cells().map(|cell| mark(server, &cell, &crossed, &mut reasons)).collect();
        write!(text, "{:LABEL_WIDTH$}", label(*method)).expect("a text takes every line");
        for [none, acks, bidi, both] in marks.as_chunks().0 {
            write!(text, "| {none:4}{acks:5}{bidi:5}{both:8}").expect("a text takes every line");
        }
        text.push('\n');
    }
    for reason in reasons {
        writeln!(text, "  -  {reason}").expect("a text takes every line");
    }
    publish(&text);
}

fn mark(
    server: &Server,
    cell: &Cell,
    crossed: &[Cell],
    reasons: &mut BTreeSet<&'static str>,
) -> &'static str {
    match server.impossible(cell) {
        Some(impossible) => {
            reasons.insert(impossible.reason);
            "-"
        }
        None if crossed.contains(cell) => "ok",
        None => "",
    }
}

fn label(Method(proof, tls): Method) -> String {
    let proof = match proof {
        Proof::External(Usage::Both) => "EXTERNAL, as server and client",
        Proof::External(_) => "EXTERNAL",
        Proof::Dialback => "dialback",
    };
    let tls = match tls {
        Security::Clear => "no TLS",
        Security::StartTls => "STARTTLS",
        Security::Direct => "direct TLS",
    };
    format!("  {tls:11}{proof}")
}
