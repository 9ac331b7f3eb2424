//! Each row of the negotiation matrix against a scripted peer: what it allows works, in both
//! directions, and what it does not allow is refused.

mod peer;

use std::fmt::Write;

use tests::appliance::Appliance;
use tests::namespace::{Place, in_namespace};
use tests::process::Mark;
use tests::sip_user::NewMessage;
use tests::wait::{Deadline, until};

use super::wire::Wire;
use peer::{Matrix, Offer, answer, call, take_message};

/// A row that can work: its number, TLS, SASL, dialback, and the methods that it allows.
type Row = (u8, &'static str, &'static str, bool, &'static [Method]);

/// A way for a server to prove its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    External,
    TlsDialback,
    TcpDialback,
}
use Method::{External, TcpDialback, TlsDialback};

const ROWS: [Row; 13] = [
    (1, "required", "required", true, &[External]),
    (2, "required", "required", false, &[External]),
    (3, "optional", "required", true, &[External, TlsDialback, TcpDialback]),
    (4, "optional", "required", false, &[External]),
    (5, "not-supported", "required", true, &[TcpDialback]),
    (7, "required", "optional", true, &[External, TlsDialback]),
    (8, "required", "optional", false, &[External]),
    (9, "optional", "optional", true, &[External, TlsDialback, TcpDialback]),
    (10, "optional", "optional", false, &[External]),
    (11, "not-supported", "optional", true, &[TcpDialback]),
    (13, "required", "not-supported", true, &[TlsDialback]),
    (15, "optional", "not-supported", true, &[TlsDialback, TcpDialback]),
    (17, "not-supported", "not-supported", true, &[TcpDialback]),
];

/// The rows that leave no method.
const INVALID_ROWS: [(u8, &str, &str); 5] = [
    (6, "not-supported", "required"),
    (12, "not-supported", "optional"),
    (14, "required", "not-supported"),
    (16, "optional", "not-supported"),
    (18, "not-supported", "not-supported"),
];

/// The domains of a row's partner: one that connects to us, and one for each offer.
fn domains(number: u8) -> [String; 4] {
    ["row", "everything", "no-external", "no-tls"].map(|name| format!("{name}{number}.example"))
}

fn record(domains: &[String], tls: &str, sasl: &str, dialback: bool) -> String {
    let [domain, additional @ ..] = domains else { panic!("a partner has a domain") };
    format!(
        "[[xmpp_partner]]\ndomain = {domain:?}\nadditional_domains = {additional:?}\n\
         partner_type = 'federated'\nallow_private_addresses = true\n\
         tls_negotiation = {tls:?}\nsasl_negotiation = {sasl:?}\n\
         dialback_negotiation = {dialback}\n"
    )
}

fn policy() -> String {
    let partners =
        ROWS.map(|(number, tls, sasl, dialback, _)| record(&domains(number), tls, sasl, dialback));
    format!(
        "[[local_domain]]\ndomain = 'gw.example'\n{}[[external_access_policy]]\n\
         scope = 'global'\nfederation_access = true\nxmpp_access = true\n",
        partners.concat()
    )
}

fn start(place: &Place) -> Matrix {
    let domains: Vec<String> = ROWS.iter().flat_map(|row| domains(row.0)).collect();
    Matrix::start(place, &policy(), &domains)
}

/// What a peer is told that tries a method which its row does not allow.
fn refusal(allowed: &[Method], tried: Method) -> &'static [&'static str] {
    let has_tls = allowed.contains(&External) || allowed.contains(&TlsDialback);
    match tried {
        External | TlsDialback if !has_tls => &["header", "features", "failure ", "end"],
        External => &["header", "features", "failure not-authorized"],
        TlsDialback => &["header", "features external", "result error not-authorized"],
        TcpDialback => &[
            "header",
            "features starttls",
            "result error policy-violation",
            "error policy-violation",
            "end",
        ],
    }
}

#[test]
fn a_peer_that_connects_gets_through_by_the_methods_of_its_row_alone() {
    let test = "hostile::negotiation_matrix::\
        a_peer_that_connects_gets_through_by_the_methods_of_its_row_alone";
    in_namespace(test, |place| {
        let mut matrix = start(place);
        let mut in_clear = Vec::new();
        for (number, _, _, _, allowed) in ROWS {
            let [domain, ..] = domains(number);
            for method in [External, TlsDialback, TcpDialback] {
                let what = format!("row {number}: {method:?}");
                match call(&mut matrix, &domain, method) {
                    Ok(mut wire) => {
                        assert!(allowed.contains(&method), "{what} got through");
                        matrix.say_to_romeo(&mut wire, &domain, &what);
                        if method == TcpDialback {
                            in_clear.push(wire);
                        }
                    }
                    Err(said) => {
                        assert!(!allowed.contains(&method), "{what}: {said:?}");
                        assert_eq!(said, refusal(allowed, method), "{what}");
                    }
                }
            }
        }
        assert_eq!(in_clear.len(), 6);
        assert_alarm(&mut matrix, in_clear);
    });
}

/// Streams without TLS are counted while they last, recorded, and shown.
fn assert_alarm(matrix: &mut Matrix, in_clear: Vec<Wire>) {
    let appliance = &mut matrix.appliance;
    let gauge = |appliance: &Appliance, expected: f64| {
        until("the gauge of streams without TLS", Deadline::after_s(10), || {
            match appliance.edge_counter("edge_xmpp_streams_without_tls", "") {
                count if count == expected => Ok(()),
                count => Err(format!("{count}")),
            }
        });
    };
    gauge(appliance, 6.0);
    let inbound = "direction=\"inbound\",tls=\"none\"";
    assert_eq!(appliance.edge_counter("edge_xmpp_established_total", inbound), 6.0);
    let shown = appliance.edges().concat();
    assert_eq!(shown.matches("dialback\tno TLS").count(), 6, "{shown}");
    let records = appliance.edge().lines_with(Mark::START, "a stream without TLS is open");
    assert_eq!(records.iter().filter(|record| record.contains("WARN")).count(), 6);
    drop(in_clear);
    gauge(appliance, 0.0);
}

/// The method that the edge is to choose, if the row allows one of those that are offered.
fn choice(allowed: &[Method], offer: Offer) -> Option<Method> {
    let has_tls = allowed.contains(&External) || allowed.contains(&TlsDialback);
    let usable: &[Method] = match offer {
        Offer::Everything if has_tls => &[External, TlsDialback],
        Offer::NoExternal if has_tls => &[TlsDialback],
        Offer::Everything | Offer::NoExternal | Offer::NoTls => &[TcpDialback],
    };
    usable.iter().copied().find(|method| allowed.contains(method))
}

#[test]
fn we_get_through_to_a_peer_by_the_methods_of_its_row_alone() {
    let test = "hostile::negotiation_matrix::\
        we_get_through_to_a_peer_by_the_methods_of_its_row_alone";
    in_namespace(test, |place| {
        let mut matrix = start(place);
        for (number, _, _, _, allowed) in ROWS {
            let [_, everything, no_external, no_tls] = domains(number);
            for (domain, offer) in [
                (everything, Offer::Everything),
                (no_external, Offer::NoExternal),
                (no_tls, Offer::NoTls),
            ] {
                let what = format!("row {number}: {offer:?}");
                let to = format!("sip:juliet@{domain}");
                let message =
                    NewMessage { to: &to, body: what.as_bytes(), ..NewMessage::default() };
                let begun = matrix.romeo.begin_send(&message);
                let answered = answer(&matrix, &domain, offer);
                let expected = choice(allowed, offer);
                let status = match answered {
                    Ok((mut wire, method)) => {
                        assert_eq!(Some(method), expected, "{what}");
                        take_message(&mut wire, &what);
                        matrix.romeo.finish(begun, Deadline::after_s(20)).status
                    }
                    Err(said) => {
                        assert_eq!(expected, None, "{what}: {said:?}");
                        let refused = match offer {
                            Offer::NoTls => &["header", "error policy-violation", "end"][..],
                            Offer::Everything | Offer::NoExternal => &["header", "end"],
                        };
                        assert_eq!(said, refused, "{what}");
                        matrix.romeo.finish(begun, Deadline::after_s(20)).status
                    }
                };
                assert_eq!(status, if expected.is_some() { 200 } else { 408 }, "{what}");
            }
        }
    });
}

#[test]
fn rows_are_explained_and_those_that_cannot_work_are_refused_with_line_and_reason() {
    let test = "hostile::negotiation_matrix::\
        rows_are_explained_and_those_that_cannot_work_are_refused_with_line_and_reason";
    in_namespace(test, |place| {
        let matrix = start(place);
        for (number, _, _, _, allowed) in ROWS {
            let methods: Vec<&str> = allowed
                .iter()
                .map(|method| match method {
                    External => "SASL EXTERNAL over TLS",
                    TlsDialback => "dialback over TLS",
                    TcpDialback => "dialback over TCP in the clear",
                })
                .collect();
            let contact = format!("juliet@row{number}.example");
            let (_, text) = matrix.appliance.explain(&contact, "romeo@gw.example");
            let shown = format!("row {number} of the negotiation matrix: {}\n", methods.join(", "));
            assert!(text.contains(&shown), "{text}");
        }
        let mut document = String::from("[[local_domain]]\ndomain = 'gw.example'\n");
        for (number, tls, sasl) in INVALID_ROWS {
            let record = record(&[format!("row{number}.example")], tls, sasl, false);
            write!(document, "{record}").expect("a text takes every line");
        }
        let path = place.write("invalid.toml", &document);
        let path = path.to_str().expect("the test's directory is UTF-8");
        let output = matrix.appliance.command(&["plan", path], "");
        assert!(!output.status.success());
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        for ((number, _, sasl), at) in INVALID_ROWS.into_iter().zip(0..) {
            // Two lines of the local domain, and eight of each partner.
            let line = 2 + 8 * at + 8;
            let reason = match sasl {
                "not-supported" => "one of them must be enabled",
                _ => "SASL needs TLS",
            };
            let place = format!("invalid.toml:{line}:");
            let found = said.lines().any(|told| {
                told.contains(&place)
                    && told.contains(&format!("row {number} of the negotiation matrix is invalid"))
                    && told.contains(reason)
            });
            assert!(found, "row {number}: {said}");
        }
    });
}
