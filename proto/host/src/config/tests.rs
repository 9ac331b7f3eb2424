//! Tests of the configuration reader: all errors at once, each in its place.

use std::net::SocketAddr;
use std::path::Path;

use super::{Diagnostic, Read, Severity, Table, parse};

#[derive(Debug, PartialEq)]
struct Sample {
    listen: SocketAddr,
    level: u8,
    streams_max: u64,
    partners: Vec<String>,
}

fn read(root: &mut Table<'_, '_>) -> Read<Sample> {
    let listen = root.required("listen");
    let level = root.word("level", &[("low", 1), ("high", 2)], 1);
    let streams_max = root.table("limits", |limits| limits.number("streams_max", 1..=100, 20));
    let partners = root.tables("partner", |partner| partner.required("domain"));
    Ok(Sample { listen: listen?, level: level?, streams_max: streams_max?, partners: partners? })
}

fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(|found| found.display(Path::new("f.toml")).to_string()).collect()
}

#[test]
fn a_right_file_gives_its_values_and_the_defaults() {
    let text = "listen = '192.0.2.1:5269'\n[[partner]]\ndomain = 'a.example'\n";
    let (sample, diagnostics) = parse(text, read);
    assert_eq!(diagnostics, []);
    let expected = Sample {
        listen: "192.0.2.1:5269".parse().unwrap(),
        level: 1,
        streams_max: 20,
        partners: vec!["a.example".into()],
    };
    assert_eq!(sample, Some(expected));
}

#[test]
fn every_error_is_reported_at_once_with_line_and_column() {
    let text = "listen = 'nowhere'\nlevel = 'middle'\n\n[limit]\n\n[[partner]]\nx = 1\n\
                [[partner]]\ndomain = 3\n";
    let (sample, diagnostics) = parse(text, read);
    assert_eq!(sample, None);
    assert_eq!(
        lines(&diagnostics),
        [
            "f.toml:1:10: error: `listen` must be an address with a port, such as \
             \"192.0.2.1:5269\", not \"nowhere\"",
            "f.toml:2:9: error: `level` is \"middle\"; it must be \"low\" or \"high\"",
            "f.toml:4:2: error: unknown key `limit`; did you mean `limits`?",
            "f.toml:6:1: error: `domain` is missing in `partner`",
            "f.toml:7:1: error: unknown key `partner.x`",
            "f.toml:9:10: error: `domain` must be a string, not a whole number",
        ]
    );
}

#[test]
fn a_number_outside_its_range_is_refused() {
    for (number, accepted) in [(0, false), (1, true), (100, true), (101, false)] {
        let text = format!("listen = '[::1]:1'\n[limits]\nstreams_max = {number}");
        assert_eq!(parse(&text, read).0.is_some(), accepted, "{number}");
    }
}

#[test]
fn syntax_errors_come_together_with_the_others() {
    let (sample, diagnostics) = parse("listen = \nlevel = 'middle'\n", read);
    assert_eq!(sample, None);
    assert!(diagnostics.iter().any(|found| found.line == 1), "{diagnostics:?}");
    assert!(diagnostics.iter().any(|found| found.line == 2), "{diagnostics:?}");
}

#[test]
fn a_warning_does_not_refuse_the_file() {
    let (value, diagnostics) = parse("a = 1", |root| {
        root.warn("a", "odd");
        root.required::<u64>("a")
    });
    assert_eq!(value, Some(1));
    assert_eq!(diagnostics.len(), 1);
    assert_eq!(diagnostics[0].severity, Severity::Warning);
}
