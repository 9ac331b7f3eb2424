//! Every RFC 4475 message through framer, parser and the UAS checks, cut in many ways.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use sip_proto::auth::Credentials;
use sip_proto::frame::{Frame, Framer};
use sip_proto::header::{Contact, Date, Expires, HeaderName, NameAddr, TypedHeader};
use sip_proto::inspect::{Capabilities, MethodRules, inspect};
use sip_proto::limits::Limits;
use sip_proto::message::{Message, OutgoingResponse, Request, Response};
use sip_proto::uri::{Host, Scheme};
use sip_proto::{HeaderRow, Method, body, parse, registrar};

/// What a home that serves example.com supports; INVITE is inspected before it is refused.
const HOME: Capabilities = Capabilities {
    methods: &[
        accepting(Method::Register, &[], &[]),
        accepting(Method::Message, &["text/plain", "multipart/mixed"], &[]),
        accepting(Method::Subscribe, &[], &["application/pidf+xml"]),
        accepting(Method::Options, &[], &[]),
        accepting(Method::Invite, &["application/sdp"], &["application/sdp"]),
    ],
    schemes: &[Scheme::Sip, Scheme::Sips],
    extensions: &[],
};

const fn accepting(
    method: Method,
    understood: &'static [&'static str],
    generated: &'static [&'static str],
) -> MethodRules {
    MethodRules { method, understood, generated }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/torture")
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect("a file of the corpus")
}

/// Rows of a table by their first column, the heading left out.
fn table(name: &str) -> BTreeMap<String, Vec<String>> {
    let text = String::from_utf8(file(name)).expect("a table in UTF-8");
    let rows = text.lines().skip(1).map(|line| {
        let mut columns = line.split('\t').map(str::to_owned);
        (columns.next().expect("a first column"), columns.collect())
    });
    rows.collect()
}

/// What the engine decides, in the words of the table, and what it would send.
fn decide(frame: Frame) -> (String, Option<OutgoingResponse>) {
    match frame {
        Frame::Ping => ("ping".to_owned(), None),
        Frame::Message(message) => match message {
            Message::Response(_) => ("response".to_owned(), None),
            Message::Request(request) => match inspect(&request, &HOME) {
                Ok(()) => ("accept".to_owned(), None),
                Err(refusal) => {
                    (refusal.status.to_string(), Some(refusal.response(&request, "tag")))
                }
            },
        },
        Frame::Failure(failure) => {
            let response = failure.response("tag");
            let word = match (&response, failure.close) {
                (Some(_), true) => format!("{}-close", failure.status),
                (Some(_), false) => failure.status.to_string(),
                (None, true) => "close".to_owned(),
                (None, false) => "drop".to_owned(),
            };
            (word, response)
        }
    }
}

/// What comes out of a stream in words, with the bytes of every message and answer.
fn frames<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, Bytes)> {
    let mut framer = Framer::new(Limits::default());
    let mut seen = Vec::new();
    for chunk in chunks {
        framer.handle_bytes(chunk);
        while let Some(frame) = framer.poll_frame() {
            let message = match &frame {
                Frame::Message(message) => message.to_bytes(),
                _ => Bytes::new(),
            };
            let (word, response) = decide(frame);
            seen.push((word, response.map_or(message, |response| response.to_bytes())));
        }
    }
    if let Some(failure) = framer.handle_end() {
        let answer = failure.response("tag").map(|response| response.to_bytes());
        seen.push((format!("{}-at-end", failure.status), answer.unwrap_or_default()));
    }
    seen
}

/// Cuts bytes at places that a small generator draws.
fn cut(bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut state = seed;
    let mut rest = bytes;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = (state >> 33) as usize % 97 + 1;
        let (chunk, after) = rest.split_at(length.min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

fn datagram(name: &str) -> Message {
    let bytes = Bytes::from(file(&format!("rfc4475/{name}.dat")));
    parse::datagram(&bytes, &Limits::default()).expect("a message that can be read")
}

fn request(name: &str) -> Request {
    match datagram(name) {
        Message::Request(request) => *request,
        Message::Response(response) => panic!("a request expected: {response:?}"),
    }
}

fn response(name: &str) -> Response {
    match datagram(name) {
        Message::Response(response) => *response,
        Message::Request(request) => panic!("a response expected: {request:?}"),
    }
}

fn contacts(request: &Request) -> Vec<NameAddr> {
    match request.headers().required::<Contact>().expect("a Contact") {
        Contact::Addresses(addresses) => addresses,
        Contact::Any => panic!("addresses expected"),
    }
}

fn rows(bytes: &[u8], name: HeaderName) -> Vec<String> {
    let message = parse::datagram(&Bytes::copy_from_slice(bytes), &Limits::default());
    let headers = match message.expect("an answer that can be read") {
        Message::Request(request) => request.headers().clone(),
        Message::Response(response) => response.headers().clone(),
    };
    let wanted = |row: &HeaderRow<'_>| row.name == name;
    headers.iter().filter(wanted).map(|row| row.value.to_owned()).collect()
}

#[test]
fn the_corpus_is_complete_and_unchanged() {
    let index = table("index.tsv");
    assert_eq!(index.keys().collect::<Vec<_>>(), table("engine.tsv").keys().collect::<Vec<_>>());
    let files = std::fs::read_dir(folder().join("rfc4475")).unwrap();
    let names: BTreeSet<String> = files
        .map(|entry| format!("rfc4475/{}", entry.unwrap().file_name().into_string().unwrap()))
        .collect();
    assert!(names.iter().eq(index.keys()));
    for (name, columns) in &index {
        let hash: String =
            Sha256::digest(file(name)).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(columns.last(), Some(&hash), "{name}");
    }
}

#[test]
fn every_message_gets_its_decision_however_the_stream_is_cut() {
    for (name, columns) in table("engine.tsv") {
        let bytes = file(&name);
        let whole = frames([bytes.as_slice()]);
        let words: Vec<&str> = whole.iter().map(|(word, _)| word.as_str()).collect();
        assert_eq!(words.join(" "), columns[0], "{name}");
        assert_eq!(frames(bytes.chunks(1)), whole, "{name} byte by byte");
        for seed in [1, 22, 333] {
            assert_eq!(frames(cut(&bytes, seed)), whole, "{name} cut by seed {seed}");
        }
    }
}

#[test]
fn every_answer_copies_what_it_can_and_reads_back() {
    let count = |bytes: &[u8], name| rows(bytes, name).len();
    for (name, columns) in table("engine.tsv") {
        for (word, answer) in frames([file(&name).as_slice()]) {
            if !word.starts_with(['4', '5']) || matches!(name.as_str(), "rfc4475/insuf.dat") {
                continue;
            }
            let status_line = format!("SIP/2.0 {} ", &word[..3]);
            assert!(answer.starts_with(status_line.as_bytes()), "{name} {columns:?}");
            let text = String::from_utf8(answer.to_vec()).unwrap();
            for field in ["Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: "] {
                assert!(text.contains(&format!("\r\n{field}")), "{name} {field}");
            }
            assert!(!text.contains('\0'), "{name}");
        }
    }
    let invalid = frames([file("rfc4475/insuf.dat").as_slice()]).remove(0).1;
    assert!(String::from_utf8(invalid.to_vec()).unwrap().contains("CSeq: 193942 INVITE"));
    let answer = OutgoingResponse::to(&request("longreq"), sip_proto::StatusCode::OK, Some("t"));
    let vias = rows(&answer.to_bytes(), HeaderName::Via);
    assert_eq!(vias.len(), 34);
    assert!(vias.first().unwrap().contains("sip33") && vias.last().unwrap().contains("host"));
    let answer = OutgoingResponse::to(&request("transports"), sip_proto::StatusCode::OK, None);
    assert_eq!(count(&answer.to_bytes(), HeaderName::Via), 5);
}

#[test]
fn refusals_say_what_would_be_accepted() {
    for (name, field, value) in [
        ("bext01", HeaderName::Unsupported, "nothingSupportsThis, nothingSupportsThisEither"),
        ("invut", HeaderName::Accept, "application/sdp"),
        ("intmeth", HeaderName::Allow, "REGISTER, MESSAGE, SUBSCRIBE, OPTIONS, INVITE"),
        ("esc02", HeaderName::Allow, "REGISTER, MESSAGE, SUBSCRIBE, OPTIONS, INVITE"),
    ] {
        let answer = frames([file(&format!("rfc4475/{name}.dat")).as_slice()]).remove(0).1;
        assert_eq!(rows(&answer, field), [value], "{name}");
    }
}

#[test]
fn section_3_1_1_1_tortuous_whitespace_and_folding() {
    let request = request("wsinv");
    assert_eq!((request.method(), request.cseq().number), (&Method::Invite, 9));
    assert!(request.uri().has_parameter("unknownparam"));
    assert_eq!(request.to().tag(), Some("1918181833n"));
    assert_eq!(request.from().display_name(), Some("J Rosenberg \\\""));
    assert_eq!(request.from().tag(), Some("98asjd8"));
    assert_eq!(request.max_forwards().unwrap().0, 68);
    assert_eq!(request.call_id().as_str(), "wsinv.ndaksdj@192.0.2.1");
    assert_eq!(request.via().branch(), Some("390skdjuw"));
    assert_eq!(request.headers().rows(HeaderName::Via).count(), 2);
    assert_eq!(request.headers().first(HeaderName::Subject), Some(""));
    assert_eq!(
        request.headers().first_other("newfangledheader"),
        Some("newfangled value continued newfangled value"),
    );
    assert_eq!(request.headers().first_other("UnknownHeaderWithUnusualValue"), Some(";;,,;;,;"),);
    let contacts = contacts(&request);
    assert_eq!(contacts[0].display_name(), Some("Quoted string \"\""));
    assert_eq!(contacts[0].q_thousandths(), 330);
    assert!(contacts[0].parameters.has("secondparam"));
    assert_eq!(request.body().len(), 150);
}

#[test]
fn section_3_1_1_2_wide_range_of_valid_characters() {
    let request = request("intmeth");
    assert_eq!(request.method().as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    assert_eq!(request.to().display_name(), Some("BEL:\u{7} NUL:\0 DEL:\u{7f}"));
    assert_eq!(request.from().display_name(), Some("token1~` token2'+_ token3*%!.-"));
    let parameter = request.from().parameters.value("fromParam''~+*_!.-%").unwrap();
    assert_eq!(parameter, "работающий");
    assert_eq!(request.from().tag(), Some("_token~1'+`*%!-."));
    assert_eq!(request.via().branch(), Some("z9hG4bK-.!%66*_+`'~"));
    let extension = request.headers().first_other("extensionHeader-!.%*+_`'~");
    assert_eq!(extension, Some("\u{feff}大停電"));
    assert!(!format!("{:?} {}", request.uri(), request.uri()).contains("weird"));
}

#[test]
fn sections_3_1_1_3_to_3_1_1_5_escapes() {
    let escaped = request("esc01");
    assert_eq!(escaped.uri().user_decoded().unwrap().unwrap(), "sips:user@example.com");
    assert_eq!(escaped.to().uri().user_decoded().unwrap().unwrap(), "user");
    let contact = &contacts(&escaped)[0];
    assert_eq!(contact.uri().user_decoded().unwrap().unwrap(), "caller");
    assert!(contact.uri().has_parameter("lr"));
    assert_eq!(contact.uri().parameter("name").unwrap().unwrap(), "value%41");
    let nulls = request("escnull");
    assert_eq!(nulls.to().uri().user_decoded().unwrap().unwrap(), "null-\0-null");
    let bindings = registrar::register(&nulls, &[], &registrar::RegistrarLimits::default(), 0);
    assert_eq!(bindings.unwrap().bindings.len(), 2);
    let unescaped = request("esc02");
    assert!(!unescaped.method().is_known());
    assert_eq!(contacts(&unescaped).len(), 2);
    assert_eq!(unescaped.to().display_name(), Some("%Z%45"));
}

#[test]
fn sections_3_1_1_6_to_3_1_1_10_names_lengths_and_transports() {
    assert_eq!(request("lwsdisp").from().display_name(), Some("caller"));
    assert_eq!(request("longreq").headers().rows(HeaderName::Via).count(), 34);
    let trailing = request("dblreq");
    assert_eq!((trailing.method(), trailing.body().len()), (&Method::Register, 0));
    let semicolons = request("semiuri");
    let user = semicolons.uri().user_decoded().unwrap().unwrap();
    assert_eq!(user, "user;par=u@example.net");
    assert_eq!(semicolons.uri().host().and_then(Host::name), Some("example.com"));
    let transports = request("transports");
    assert_eq!(transports.via().transport(), "UDP");
    assert_eq!(transports.headers().rows(HeaderName::Via).count(), 5);
}

#[test]
fn section_3_1_1_11_multipart_with_binary() {
    let request = request("mpart01");
    let media_type = request.content_type().unwrap().unwrap();
    let parts = body::parts(&media_type, request.body()).unwrap();
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[1].media_type.name(), "application/octet-stream");
    assert!(parts[1].content.contains(&0));
    let text = body::text(&media_type, request.body()).unwrap().unwrap();
    assert_eq!(text.text, "Hello");
    assert_eq!(request.headers().required::<Date>().unwrap().unix_seconds(), 1_129_351_496);
}

#[test]
fn sections_3_1_1_12_and_3_1_1_13_reason_phrases() {
    assert!(response("unreason").reason_phrase().starts_with("= 2**3 * 5**2 но сто"));
    assert_eq!(response("noreason").reason_phrase(), "");
    assert_eq!(response("bcast").via_count(), 2);
}

#[test]
fn section_3_1_2_values_that_may_be_ignored_are_known_to_be_bad() {
    assert!(request("baddate").headers().typed::<Date>().is_err());
    let bytes = String::from_utf8(file("rfc4475/scalar02.dat")).unwrap();
    let mended = bytes.replace("36893488147419103232", "1");
    let message = parse::datagram(&Bytes::from(mended), &Limits::default()).unwrap();
    let Message::Request(request) = message else {
        panic!("a request expected");
    };
    assert_eq!(request.max_forwards().unwrap().0, 70);
    assert_eq!(request.headers().typed::<Expires>(), Ok(Some(Expires(3600))));
    assert_eq!(contacts(&request)[0].expires_seconds(), Some(3600));
}

#[test]
fn sections_3_3_2_to_3_3_14_values_that_are_read_and_not_acted_on() {
    assert_eq!(request("unkscm").uri().opaque(), Some("totallyopaquecontent"));
    assert_eq!(request("unksm2").from().uri().scheme().as_str(), "http");
    let credentials = request("regaut01");
    assert_eq!(credentials.headers().readable_rows::<Credentials>().count(), 0);
    assert!(Credentials::parse("NoOneKnowsThisScheme opaque-data=here").is_err());
    assert_eq!(request("zeromf").max_forwards().unwrap().0, 0);
    let of_header = &contacts(&request("cparam01"))[0];
    assert!(of_header.parameters.has("unknownparam"));
    assert!(!of_header.uri().has_parameter("unknownparam"));
    let of_uri = &contacts(&request("cparam02"))[0];
    assert!(of_uri.uri().has_parameter("unknownparam"));
    assert!(!of_uri.parameters.has("unknownparam"));
    let escaped = request("regescrt");
    assert_eq!(contacts(&escaped)[0].uri().headers(), Some("Route=%3Csip:sip.example.com%3E"));
    assert!(!escaped.headers().has(HeaderName::Route));
}

#[test]
fn section_3_4_1_an_rfc_2543_invite_is_read_where_its_end_is_known() {
    let request = request("inv2543");
    assert_eq!((request.via().branch(), request.from().tag()), (None, None));
    assert_eq!(request.max_forwards().unwrap().0, 70);
    assert_eq!(inspect(&request, &HOME), Ok(()));
}

#[test]
fn section_3_1_2_15_the_display_name_with_a_comma_fails_once_the_head_is_complete() {
    let mut bytes = file("rfc4475/baddn.dat");
    bytes.extend(b"\r\n");
    let seen = frames([bytes.as_slice()]);
    assert_eq!(seen.len(), 1);
    assert!(seen[0].1.starts_with(b"SIP/2.0 400 Malformed From Header Field\r\n"));
}
