//! Edges with a right certificate that break the rules of the link in every way.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use host::tls::{Identity, TrustAnchors, link_server_config};
use link::wire::{Accepted, Credit, Envelope, FromEdge, Settlement, StreamReport, settlement};
use tests::appliance::{LINK_PORT, OWN_EDGE, Setup};
use tests::namespace::in_namespace;
use tests::process::{Mark, Process};
use tests::wait::{Deadline, until};

use super::estate::{Estate, PEER, POLICY};
use super::false_edge::{Deed, FalseEdge, greeting_of};

/// The front end gives an edge two seconds to end a link; far less than what a keep-alive takes.
const ENDING_MAX: Duration = Duration::from_secs(10);

/// What the front end may hold more afterwards: less than one of the frames that it must not read.
const GROWTH_BYTES_MAX: u64 = 48 * 1024 * 1024;

fn address(number: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11 + number), LINK_PORT)
}

fn envelope(sequence: u64) -> Envelope {
    Envelope {
        sequence,
        id: vec![0; 16].into(),
        local_domain: "gw.example".into(),
        remote_domain: "peer.example".into(),
        ..Envelope::default()
    }
}

fn with_envelopes(envelopes: Vec<Envelope>) -> FromEdge {
    FromEdge { envelopes, ..FromEdge::default() }
}

fn with_settlement(settlement: Settlement) -> FromEdge {
    FromEdge { settlements: vec![settlement], ..FromEdge::default() }
}

fn with_hello(replica: u8, change: impl Fn(&mut link::wire::Hello)) -> FromEdge {
    let mut greeting = greeting_of(replica);
    greeting.hello.as_mut().map(change).expect("it has one");
    greeting
}

/// What an edge sends, after its greeting or in its place, and what the front end records.
fn violations() -> Vec<(Vec<FromEdge>, &'static str)> {
    let accepted = Some(settlement::Outcome::Accepted(Accepted {}));
    let malformed = Credit { local_domain: "a b".into(), ..Credit::default() };
    let greeted = |replica, frame| vec![greeting_of(replica), frame];
    vec![
        (vec![with_envelopes(vec![envelope(1)])], "a hello that is missing or out of place"),
        (greeted(1, greeting_of(1)), "a hello that is missing or out of place"),
        (vec![with_hello(2, |it| it.version = 9)], "contract version 9 is not 2"),
        (vec![with_hello(3, |it| it.name = "edge1".into())], "calls itself \\\"edge1\\\""),
        (
            vec![with_hello(4, |it| it.instance = vec![0; 1 << 20].into())],
            "an instance of 1048576 bytes",
        ),
        (
            greeted(5, with_envelopes([1, 3].map(envelope).into())),
            "envelope 3 came where 2 was due",
        ),
        (
            greeted(6, with_settlement(Settlement { sequence: 7, outcome: accepted })),
            "settlement of envelope 7, which is not outstanding",
        ),
        (
            greeted(7, with_settlement(Settlement { sequence: 1, outcome: None })),
            "a settlement without an outcome",
        ),
        (
            greeted(8, with_envelopes((1..=257).map(envelope).collect())),
            "more unsettled envelopes of a pair than it has credit for",
        ),
        (
            greeted(9, FromEdge { credits: vec![malformed], ..FromEdge::default() }),
            "a malformed domain",
        ),
        (
            greeted(
                10,
                with_envelopes(vec![Envelope {
                    correlation_id: "a\u{1b}[2J".into(),
                    ..envelope(1)
                }]),
            ),
            "a correlation id that is too long or not printable",
        ),
    ]
}

/// Frames that are not even read, and what the front end records.
fn unreadable() -> Vec<(FromEdge, &'static str)> {
    let stanza = vec![b'x'; link::FRAME_BYTES_MAX + 1].into();
    let reports = vec![StreamReport::default(); 4_000_000];
    vec![
        (with_envelopes(vec![Envelope { stanza, ..envelope(1) }]), "message length too large"),
        (FromEdge { stream_reports: reports, ..FromEdge::default() }, "more than 4096 fields"),
    ]
}

fn wait_for_record(frontend: &mut Process, records: &str, words: &str) {
    until(words, Deadline::after_s(40), || {
        let lines = frontend.lines_with(Mark::START, records);
        match lines.iter().any(|line| line.contains(words)) {
            true => Ok(()),
            false => Err(lines.join("\n")),
        }
    });
}

#[test]
fn every_broken_rule_ends_the_link_is_recorded_and_harms_nobody() {
    let test = "hostile::edge_rules::every_broken_rule_ends_the_link_is_recorded_and_harms_nobody";
    in_namespace(test, |place| {
        let (violations, unreadable) = (violations(), unreadable());
        let count = u8::try_from(violations.len() + unreadable.len()).expect("there are few");
        let names: Vec<String> = (0..count).map(|it| address(it).to_string()).collect();
        let edges: Vec<&str> =
            [OWN_EDGE].into_iter().chain(names.iter().map(String::as_str)).collect();
        let setup = Setup { policy: POLICY, edges: &edges, ..Setup::default() };
        let mut estate = Estate::start_setup(place, PEER, &setup);
        estate.exchange_texts();
        let before = estate.look();
        let violations_count = violations.len();
        let broken =
            violations.into_iter().map(|(frames, words)| (frames, "broke the rules", words));
        let unread = unreadable.into_iter().zip(100..).map(|((frame, words), replica)| {
            (vec![greeting_of(replica), frame], "no link to the edge", words)
        });
        // All at once: an edge that says nothing at first is given up.
        let edges: Vec<_> = broken
            .chain(unread)
            .zip(0..)
            .map(|((frames, records, words), number)| {
                let edge = FalseEdge::start(place.directory(), address(number));
                edge.tell(Deed::Send(frames));
                (edge, records, words)
            })
            .collect();
        for (edge, records, words) in edges {
            edge.wait_for_attachment(Deadline::after_s(60));
            let sent = edge.wait_until_sent(Deadline::after_s(20));
            let lasted = edge.wait_for_end(Deadline::after_s(20)).duration_since(sent);
            assert!(lasted < ENDING_MAX, "{words}: {lasted:?}");
            wait_for_record(estate.appliance.frontend(), records, words);
        }
        let counted = estate.appliance.frontend_counter("gateway_link_violations_total", "");
        assert_eq!(counted, violations_count as f64);
        estate.assert_unharmed_within(&before, GROWTH_BYTES_MAX);
        let lost = estate.appliance.frontend().lines_with(Mark::START, "the link is lost");
        assert!(!lost.iter().any(|line| line.contains("\"edge\":\"edge1\"")), "{lost:?}");
        estate.reconnect_romeo();
        estate.exchange_texts();
    });
}

/// Answers every connection of a front end with what is no HTTP/2, once TLS stands.
fn speak_garbage(directory: &Path, address: SocketAddrV4) {
    let file = |name: &str| directory.join(name);
    let identity = Identity::load(&file("other-edge.pem"), &file("other-edge.key"));
    let mut trust = TrustAnchors::default();
    trust.add_file(&file("link-ca.pem")).expect("the authority is written");
    let tls = link_server_config(&identity.expect("the certificate is written"), trust);
    let tls = Arc::new(tls.expect("the configuration is right"));
    let listener = TcpListener::bind(address).expect("the port is free");
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let mut connection =
                rustls::ServerConnection::new(Arc::clone(&tls)).expect("it can be served");
            let mut socket = socket;
            let mut stream = rustls::Stream::new(&mut connection, &mut socket);
            // The front end may have gone, and comes again.
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n\0\xff\xff\xff\xff\xff\xff\xff");
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
}

#[test]
fn an_edge_that_speaks_no_http_or_says_nothing_at_all_is_recorded_and_harms_nobody() {
    let test = "hostile::edge_rules::\
        an_edge_that_speaks_no_http_or_says_nothing_at_all_is_recorded_and_harms_nobody";
    in_namespace(test, |place| {
        let names: Vec<String> = (0..3).map(|it| address(it).to_string()).collect();
        let edges: Vec<&str> =
            [OWN_EDGE].into_iter().chain(names.iter().map(String::as_str)).collect();
        let setup = Setup { policy: POLICY, edges: &edges, ..Setup::default() };
        let mut estate = Estate::start_setup(place, PEER, &setup);
        let before = estate.look();
        speak_garbage(place.directory(), address(0));
        let silent = FalseEdge::start(place.directory(), address(1));
        // It accepts connections and answers no handshake.
        let deaf = TcpListener::bind(address(2)).expect("the port is free");
        silent.wait_for_attachment(Deadline::after_s(60));
        let frontend = estate.appliance.frontend();
        let failures = [
            (0, ["http2 error", "frame with invalid size"].as_slice()),
            (1, ["the edge sent no frame in time"].as_slice()),
            (2, ["deadline has elapsed", "timed out", "connect timed out"].as_slice()),
        ];
        for (number, words) in failures {
            let of_address = format!("\"address\":\"{}\"", address(number));
            until(words[0], Deadline::after_s(60), || {
                let mut lines = frontend.lines_with(Mark::START, "no link to the edge");
                lines.retain(|line| line.contains(&of_address));
                match lines.iter().any(|line| words.iter().any(|word| line.contains(word))) {
                    true => Ok(()),
                    false => Err(lines.join("\n")),
                }
            });
        }
        drop(deaf);
        estate.assert_unharmed_since(&before);
        estate.reconnect_romeo();
        estate.exchange_texts();
    });
}
