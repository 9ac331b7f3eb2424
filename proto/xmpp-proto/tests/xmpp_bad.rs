//! Every file of the corpus of hostile and odd input, against the answer that its index asks for.
//!
//! Each file goes in as one write, byte by byte, and cut at random places; the answers must be the
//! same. Where the index leaves a choice, or wants more said than a condition, the answer is in
//! [`CHOSEN`]. Where it wants an answer that only the front end can give, the engine must hand the
//! stanzas out, which [`FRONT_END`] lists.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use xmpp_proto::jid::Domain;
use xmpp_proto::limits::{Limits, StreamLimits};
use xmpp_proto::ns;
use xmpp_proto::stanza::error::StanzaError;
use xmpp_proto::stream::{
    Admission, DialbackSecret, DialbackSecrets, Disconnect, DomainPair, InitiatingEvent,
    InitiatingStream, PeerCertificate, ReceivingEvent, ReceivingStream, SaslTerms, StreamTerms,
    TlsTerms, Verdict,
};
use xmpp_proto::xml::{Element, Frame, Framer};

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
    from='peer.example' to='gw.example' version='1.0'>";
const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3'/>";
const FEATURES_STARTTLS: &str = "<stream:features><starttls \
    xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// Files that are not sent at the plain point of their phase.
const SENT_AFTER_SASL: &[u16] = &[91];
const SENT_WITHOUT_CERTIFICATE: &[u16] = &[145, 172, 181];
const SENT_WITH_STREAM_MANAGEMENT: &[u16] = &[277];

/// Our whole answer, in order, for files where the index gives no single condition, or a choice.
const CHOSEN: &[(u16, &[&str], &str)] = &[
    // XML and headers.
    (19, STARTTLS_OFFERED, "XML 1.x is read by the rules of 1.0 (XML s.2.8)"),
    (25, STARTTLS_OFFERED, "one byte order mark at the start is tolerated, as XML parsers do"),
    (69, STARTTLS_OFFERED, "prefixes are names for namespaces, whatever they are"),
    (70, STARTTLS_OFFERED, "RFC 6120 s.4.8.2 allows this style"),
    (107, &["header", "error improper-addressing", "end", "closed header"], "the first choice"),
    (112, &["header", "error policy-violation", "end", "closed header"], "no proof can match"),
    (114, &["header", "error unsupported-version", "end", "closed header"], "TLS needs 1.0"),
    // Negotiation.
    (132, TLS_BEGUN_IN_CLEAR, "what follows <starttls/> in the clear is never read"),
    (134, TLS_BEGUN_IN_CLEAR, "what follows <starttls/> in the clear is never read"),
    (138, &["header", "features", "proceed", "closed connection_lost"], "content is ignored"),
    (146, &["header", "features", "challenge", "closed connection_lost"], "asked for (s.6.4.3)"),
    (
        154,
        &[
            "header",
            "features",
            "failure invalid-mechanism",
            "failure invalid-mechanism",
            "failure invalid-mechanism",
            "failure invalid-mechanism",
            "error policy-violation",
            "end",
            "closed sasl_retries_exceeded",
        ],
        "one try and three retries",
    ),
    (159, &["error policy-violation", "end", "closed tls_not_offered"], "abort: clear to explain"),
    (160, &["starttls", "closed plaintext_before_tls"], "what follows <proceed/> is never read"),
    (162, &["error policy-violation", "end", "closed tls_not_offered"], "the first one ends it"),
    (164, &["end", "closed peer_error"], "a redirect before TLS is not followed"),
    (165, &["error unsupported-stanza-type", "end", "closed unsupported_element"], "told why"),
    // Dialback.
    (167, MISADDRESSED, "the first choice"),
    (168, MISADDRESSED, "the first choice"),
    (169, &["header", "features", "result error item-not-found", "closed connection_lost"], "open"),
    (
        170,
        &["header", "features", "result invalid", "end", "closed dialback_invalid"],
        "an empty key is no key",
    ),
    (
        172,
        &[
            "header",
            "features",
            "verify victim.example",
            "result invalid",
            "end",
            "closed dialback_invalid",
        ],
        "the authority says invalid, and no other pair is valid",
    ),
    (173, FORBIDDEN, "we never ask ourselves"),
    (175, &["header", "features", "closed connection_lost"], "nothing was asked"),
    (178, &["header", "features", "verify invalid id=x", "closed connection_lost"], "not our key"),
    (179, &["header", "features", "verify invalid", "closed connection_lost"], "no id, no key"),
    (182, FORBIDDEN, "policy does not admit it"),
    (
        186,
        &["verify victim.example", "result error forbidden", "closed connection_lost"],
        "the pair of peer.example stays usable",
    ),
    // Size and rate.
    (237, &["stanza"; 5000], "the owner reads slower instead"),
    (257, &["stanza"; 500], "the front end limits subscriptions"),
    // Streams.
    (89, &["end", "closed peer_closed"], "the answer to the end of a stream is its end"),
    (97, &["closed connection_lost"], "half a stanza is no stanza"),
    (126, &["end", "closed peer_error"], "an error is not answered by an error"),
    // Stream management.
    (
        275,
        &["header", "features", "failed unexpected-request", "closed connection_lost"],
        "the first choice",
    ),
];

const STARTTLS_OFFERED: &[&str] = &["header", "features", "closed connection_lost"];
const TLS_BEGUN_IN_CLEAR: &[&str] =
    &["header", "features", "proceed", "closed plaintext_before_tls"];
const MISADDRESSED: &[&str] =
    &["header", "features", "error improper-addressing", "end", "closed dialback_addressing"];
const FORBIDDEN: &[&str] =
    &["header", "features", "result error forbidden", "closed connection_lost"];

/// Files whose answer is a matter of what a stanza means, which the front end knows.
const FRONT_END: &[u16] = &[156, 239, 241, 242, 245, 246, 247, 250, 259, 260, 261, 262];

struct Row {
    number: u16,
    file: String,
    phase: String,
    bytes: usize,
    verdict: String,
    behaviour: String,
}

#[test]
fn every_file_gets_the_answer_of_its_index_however_it_is_cut() {
    let rows = read_index();
    assert!(rows.len() >= 190, "the index is whole");
    for row in &rows {
        let input = fs::read(folder().join(&row.file)).unwrap();
        assert_eq!(input.len(), row.bytes, "{}", row.file);
        let whole = observe(row, &input, &[]);
        let every_byte: Vec<usize> = (1..input.len()).collect();
        assert_eq!(observe(row, &input, &every_byte), whole, "{} byte by byte", row.file);
        let mut random = Random(u64::from(row.number) | 1);
        for round in 0..3 {
            let cuts = random.cuts(input.len());
            assert_eq!(observe(row, &input, &cuts), whole, "{} cut, round {round}", row.file);
        }
        check(row, &whole);
    }
}

#[test]
fn the_tables_speak_of_files_that_exist() {
    let known: BTreeSet<u16> = read_index().iter().map(|row| row.number).collect();
    let chosen = CHOSEN.iter().map(|(number, ..)| number);
    for number in chosen.chain(FRONT_END).chain(SENT_WITHOUT_CERTIFICATE) {
        assert!(known.contains(number), "{number}");
    }
}

#[test]
fn a_flood_of_dialback_requests_ends_at_the_limit_of_elements() {
    let row = read_index().into_iter().find(|row| row.number == 181).unwrap();
    let observed = observe(&row, &fs::read(folder().join(&row.file)).unwrap(), &[]);
    let refused = observed.iter().filter(|answer| *answer == "result error forbidden").count();

    // The header in the clear, <starttls/> and the second header are among the 32 elements.
    assert_eq!(refused, 29);
    assert_eq!(observed[observed.len() - 3..], ["error policy-violation", "end", "closed xml"]);
}

/// Compares what we did with what the index asks for.
fn check(row: &Row, observed: &[String]) {
    let file = &row.file;
    if let Some((_, expected, reason)) = CHOSEN.iter().find(|(number, ..)| *number == row.number) {
        let mut expected: Vec<&str> = expected.to_vec();
        if expected.iter().all(|answer| *answer == "stanza") {
            expected.push("closed connection_lost");
        }
        assert_eq!(observed, expected, "{file}: {reason}");
        return;
    }
    if FRONT_END.contains(&row.number) {
        assert_eq!(observed, ["stanza", "closed connection_lost"], "{file}");
        return;
    }
    let condition: String =
        row.behaviour.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
    let last = observed.last().unwrap();
    match row.verdict.as_str() {
        "stream-error" => {
            let error = format!("error {condition}");
            let end = &observed[observed.len().saturating_sub(3)..];
            assert_eq!(end[..2], [error, "end".to_owned()], "{file}");
            assert_ne!(last, "closed connection_lost", "{file}");
            assert!(!observed.iter().any(|answer| answer == "stanza"), "{file}: {observed:?}");
        }
        "sasl-failure" => {
            let expected = [format!("failure {condition}"), "closed connection_lost".to_owned()];
            assert_eq!(observed[observed.len() - 2..], expected, "{file}");
        }
        "stanza-error" => {
            let expected = [format!("bounce {condition}"), "closed connection_lost".to_owned()];
            assert_eq!(observed, expected, "{file}");
        }
        "ignore" => assert_eq!(observed, ["closed connection_lost"], "{file}"),
        "accept" if row.phase == "post-auth" => {
            let (closed, stanzas) = observed.split_last().unwrap();
            assert!(
                !stanzas.is_empty() && stanzas.iter().all(|answer| answer == "stanza"),
                "{file}"
            );
            assert_eq!(closed, "closed connection_lost", "{file}");
        }
        "accept" => assert_eq!(observed, STARTTLS_OFFERED, "{file}"),
        "policy" if row.number == 181 => {}
        verdict => panic!("{file}: no answer is chosen for {verdict}: {observed:?}"),
    }
}

/// What the engine did with the file, told in words.
fn observe(row: &Row, input: &[u8], cuts: &[usize]) -> Vec<String> {
    if row.phase.starts_with("initiator") {
        observe_initiating(row, input, cuts)
    } else {
        observe_receiving(row, input, cuts)
    }
}

fn observe_receiving(row: &Row, input: &[u8], cuts: &[usize]) -> Vec<String> {
    let (now, admission) = (origin(), admission());
    let mut stream = ReceivingStream::new(StreamLimits::default(), [1; 32], now);
    if row.phase != "pre-tls" {
        stream.handle_bytes(HEADER.as_bytes(), &admission, now);
        stream.handle_bytes(STARTTLS.as_bytes(), &admission, now);
        let proven = !SENT_WITHOUT_CERTIFICATE.contains(&row.number);
        stream.handle_tls(Box::new(Names(if proven { &["peer.example"] } else { &[] })), now);
    }
    if row.phase == "post-auth" || SENT_AFTER_SASL.contains(&row.number) {
        stream.handle_bytes(HEADER.as_bytes(), &admission, now);
        stream.handle_bytes(AUTH.as_bytes(), &admission, now);
    }
    if row.phase == "post-auth" {
        stream.handle_bytes(HEADER.as_bytes(), &admission, now);
    }
    if SENT_WITH_STREAM_MANAGEMENT.contains(&row.number) {
        stream.handle_bytes(ENABLE.as_bytes(), &admission, now);
    }
    while stream.poll_transmit().is_some() {}
    while stream.poll_event().is_some() {}

    let mut observed = Observed::new(row);
    for piece in pieces(input, cuts) {
        stream.handle_bytes(piece, &admission, now);
        drain_receiving(&mut stream, &admission, now, &mut observed);
    }
    stream.handle_disconnect(Disconnect::Lost);
    drain_receiving(&mut stream, &admission, now, &mut observed);
    observed.answers
}

fn drain_receiving(
    stream: &mut ReceivingStream,
    admission: &Admission,
    now: Instant,
    observed: &mut Observed,
) {
    loop {
        while let Some(bytes) = stream.poll_transmit() {
            observed.read(&bytes);
        }
        let Some(event) = stream.poll_event() else { return };
        match event {
            // Whether the clear text was seen before TLS began depends on how it was cut.
            ReceivingEvent::StartTls
            | ReceivingEvent::Authenticated { .. }
            | ReceivingEvent::Delivered { .. } => {}
            ReceivingEvent::VerifyDialback(request) => {
                observed.say(format!("verify {}", request.pair.remote));
                let (pair, id) = (request.pair, request.stream_id);
                stream.handle_verdict(&pair, &id, Verdict::Invalid, admission, now);
            }
            ReceivingEvent::Stanza(stanza) => {
                assert_eq!(stanza.from.domain().as_str(), "peer.example");
                assert_eq!(stanza.to.domain().as_str(), "gw.example");
                observed.say("stanza");
            }
            ReceivingEvent::Bounce(reply) => {
                observed.say(format!("bounce {}", StanzaError::read(&reply).condition));
            }
            ReceivingEvent::Closed(reason) => {
                observed.say(format!("closed {}", reason.cause.label()));
            }
        }
    }
}

fn observe_initiating(row: &Row, input: &[u8], cuts: &[usize]) -> Vec<String> {
    let (now, admission) = (origin(), admission());
    let domain = |name| Domain::parse(name).unwrap();
    let pair = DomainPair { local: domain("gw.example"), remote: domain("peer.example") };
    let mut stream = InitiatingStream::new(pair, StreamLimits::default(), [1; 32], now);
    if row.phase == "initiator-post-tls" {
        stream.handle_bytes(HEADER.as_bytes(), &admission, now);
        stream.handle_bytes(FEATURES_STARTTLS.as_bytes(), &admission, now);
        stream.handle_bytes(PROCEED.as_bytes(), &admission, now);
        stream.handle_tls(&Names(&["peer.example"]), &admission, now);
    }
    while stream.poll_transmit().is_some() {}
    while stream.poll_event().is_some() {}

    let mut observed = Observed::new(row);
    for piece in pieces(input, cuts) {
        stream.handle_bytes(piece, &admission, now);
        drain_initiating(&mut stream, &mut observed);
    }
    stream.handle_disconnect(Disconnect::Lost);
    drain_initiating(&mut stream, &mut observed);
    observed.answers
}

fn drain_initiating(stream: &mut InitiatingStream, observed: &mut Observed) {
    while let Some(bytes) = stream.poll_transmit() {
        observed.read(&bytes);
    }
    while let Some(event) = stream.poll_event() {
        match event {
            InitiatingEvent::StartTls => {}
            InitiatingEvent::Closed(reason) => {
                observed.say(format!("closed {}", reason.cause.label()));
            }
            event => panic!("{event:?} in answer to hostile input"),
        }
    }
}

/// Our answers, read with our own parser.
struct Observed {
    answers: Vec<String>,
    framer: Framer,
}

impl Observed {
    /// Where the phase leaves our stream open, its header is known.
    fn new(row: &Row) -> Self {
        let mut framer = Framer::new(Limits::AFTER_AUTHENTICATION);
        let has_header = row.phase == "post-auth" || row.phase.starts_with("initiator");
        if has_header {
            assert!(framer.next_frame(&mut HEADER.as_bytes()).unwrap().is_some());
        }
        Self { answers: Vec::new(), framer }
    }

    fn say(&mut self, answer: impl Into<String>) {
        self.answers.push(answer.into());
    }

    fn read(&mut self, bytes: &[u8]) {
        let mut input = bytes;
        while let Some(frame) = self.framer.next_frame(&mut input).unwrap() {
            let answer = match frame {
                Frame::Header(tag) => {
                    let from = tag.element().attribute("from").unwrap();
                    assert_eq!(from, "gw.example", "the header is of a domain of ours");
                    assert!(tag.element().attribute("id").is_some());
                    "header".to_owned()
                }
                Frame::Element(element) => describe(&element),
                Frame::End => "end".to_owned(),
            };
            self.answers.push(answer);
        }
    }
}

fn describe(element: &Element) -> String {
    let first = element.children().next().map_or("", Element::local);
    match (element.namespace(), element.local()) {
        (
            ns::STREAM | ns::SASL | ns::STREAM_MANAGEMENT,
            name @ ("error" | "failure" | "failed"),
        ) => {
            format!("{name} {first}")
        }
        (ns::DIALBACK, name) => {
            let mut answer = format!("{name} {}", element.attribute("type").unwrap());
            if element.attribute("type") == Some("error") {
                answer += &format!(" {}", StanzaError::read(element).condition);
            }
            if let Some(id) = element.attribute("id") {
                answer += &format!(" id={id}");
            }
            answer
        }
        (_, name) => name.to_owned(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a virtual clock starts somewhere")]
fn origin() -> Instant {
    Instant::now()
}

/// A certificate that proves these domains.
struct Names(&'static [&'static str]);

impl PeerCertificate for Names {
    fn proves(&self, domain: &Domain) -> bool {
        self.0.contains(&domain.as_str())
    }
}

fn admission() -> Admission {
    let domain = |name| Domain::parse(name).unwrap();
    let terms =
        StreamTerms::new(TlsTerms::Required, SaslTerms::Optional, true).unwrap().with_bidi(true);
    Admission {
        local_domains: ["gw.example", "other-hosted.example"].map(domain).into(),
        partners: BTreeMap::from(
            ["peer.example", "victim.example"].map(|name| (domain(name), terms)),
        ),
        dialback_secrets: DialbackSecrets {
            current: Some(DialbackSecret::new(b"secret")),
            previous: None,
        },
    }
}

fn pieces<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&input.len()]) {
        pieces.push(&input[start..cut]);
        start = cut;
    }
    pieces
}

/// Pseudo-random numbers out of a seed, for places to cut at.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn cuts(&mut self, length: usize) -> Vec<usize> {
        let mut cuts: Vec<usize> =
            (0..3).map(|_| usize::try_from(self.next()).unwrap() % length.max(1)).collect();
        cuts.sort_unstable();
        cuts
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/xmpp-bad")
}

fn read_index() -> Vec<Row> {
    let index = fs::read_to_string(folder().join("index.tsv")).unwrap();
    let rows = index.lines().skip(1).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        Row {
            number: columns[0][..3].parse().unwrap(),
            file: columns[0].to_owned(),
            phase: columns[2].to_owned(),
            bytes: columns[4].parse().unwrap(),
            verdict: columns[5].to_owned(),
            behaviour: columns[6].to_owned(),
        }
    });
    rows.collect()
}
