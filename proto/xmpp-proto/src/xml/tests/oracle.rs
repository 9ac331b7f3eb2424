//! The reader and the writer against each other and against a second parser.

use proptest::prelude::*;
use rxml::{Event, Parse, Parser as OracleParser};

use super::*;

/// The outlines of the first-level elements as the second parser reads them.
fn oracle(bytes: &[u8]) -> Option<Vec<String>> {
    let mut parser = OracleParser::default();
    let mut input = bytes;
    let mut open: Vec<(String, String)> = Vec::new();
    let mut elements = Vec::new();
    while let Some(event) = parser.parse(&mut input, true).ok()? {
        match event {
            Event::XmlDeclaration(..) => {}
            Event::StartElement(_, (namespace, local), attributes) => {
                let mut attributes: Vec<String> = attributes
                    .iter()
                    .map(|((namespace, name), value)| format!("{{{namespace}}}{name}={value:?}"))
                    .collect();
                attributes.sort();
                let start = format!("({{{namespace}}}{local} {} ", attributes.join(" "));
                open.push((start, String::new()));
            }
            Event::Text(_, text) => open.last_mut()?.1.push_str(&text),
            Event::EndElement(_) => {
                let (outline, text) = open.pop()?;
                let done = outline + &quoted(&text) + ")";
                match open.last_mut() {
                    Some((parent, text)) if open_is_deep(parent) => {
                        let text = std::mem::take(text);
                        parent.push_str(&(quoted(&text) + &done));
                    }
                    Some((_, text)) => {
                        text.clear();
                        elements.push(done);
                    }
                    None => {}
                }
            }
        }
    }
    Some(elements)
}

/// Whether the open element is not the root of the stream.
fn open_is_deep(start: &str) -> bool {
    !start.starts_with("({http://etherx.jabber.org/streams}stream ")
}

fn quoted(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text:?}") }
}

const LOCAL_NAMES: &[&str] = &["message", "body", "x", "_y-z.1", "é", "名前"];
const NAMESPACES: &[&str] =
    &[ns::SERVER, ns::DIALBACK, ns::STREAM, ns::CLIENT, "", "urn:x", "a'b<c>&\"d", "urn:\u{1F600}"];
const ATTRIBUTE_NAMES: &[&str] = &["from", "to", "id", "type", "lang", "é"];

fn texts() -> impl Strategy<Value = String> {
    let characters = prop_oneof![
        4 => proptest::char::range(' ', '~'),
        2 => proptest::sample::select(vec!['\t', '\n', '\r', '<', '>', '&', '\'', '"', ']']),
        1 => any::<char>(),
    ];
    proptest::collection::vec(characters, 0..20).prop_map(|characters| characters.iter().collect())
}

fn attributes_of(
    mut element: Element,
    attributes: Vec<(&'static str, &'static str, String)>,
) -> Element {
    for (namespace, name, value) in attributes {
        element = element.with_namespaced_attribute(namespace, name, value);
    }
    element
}

fn elements() -> impl Strategy<Value = Element> {
    let names = (
        proptest::sample::select(NAMESPACES),
        proptest::sample::select(LOCAL_NAMES),
        proptest::collection::vec(
            (
                proptest::sample::select(&["", "", "urn:x", "urn:y", ns::XML, ns::SERVER][..]),
                proptest::sample::select(ATTRIBUTE_NAMES),
                texts(),
            ),
            0..4,
        ),
    );
    let empty = names
        .prop_map(|(namespace, local, attributes)| {
            attributes_of(Element::new(namespace, local), attributes)
        })
        .boxed();
    empty.clone().prop_recursive(4, 24, 5, move |inner| {
        let content = prop_oneof![texts().prop_map(Err), inner.prop_map(Ok)];
        (empty.clone(), proptest::collection::vec(content, 0..5)).prop_map(|(element, content)| {
            content.into_iter().fold(element, |element, part| match part {
                Ok(child) => element.with_child(child),
                Err(text) => element.with_text(text),
            })
        })
    })
}

/// No CR is among them: the oracle refuses a lone one in a value, which XML s.3.3.3 reads as space.
const WELL_KNOWN_PIECES: &str = "<message>|</message>|<body>|</body>|<a|>|/>| |\n|<presence/>|\
    <iq id='1'/>| b='c'| b=\"c\"|'|\"|=|&amp;|&#60;| xmlns='urn:a'| xmlns:p='urn:p'| p:q='r'|<p:z|\
    </p:z>| xml:lang='en'|text|é|<![CDATA[|]]>|</stream:stream>";
const ODD_PIECES: &str = "&#1;|&x;|&|;|]]|<!--|-->|<?a|?>| xmlns:p=''|:|1|<x xmlns='' y='|\
    <stream:stream>|<!DOCTYPE|\u{A0}|<?xml ?>|<j:m xmlns:j='jabber:server'/>|\u{FEFF}";

/// Pieces of markup, right and wrong, out of which hostile input is put together.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<Vec<u8>> = [WELL_KNOWN_PIECES, ODD_PIECES]
        .iter()
        .flat_map(|pieces| pieces.split('|'))
        .map(|piece| piece.as_bytes().to_vec())
        .chain([b"\xC3".to_vec(), b"\0".to_vec(), b"\x0B".to_vec(), b"\xEF\xBF\xBE".to_vec()])
        .collect();
    proptest::collection::vec(proptest::sample::select(pieces), 0..16)
        .prop_map(|pieces| pieces.concat())
}

/// Loose pieces, and well-formed elements with pieces put into them.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let spoilt = (elements(), fragments(), any::<proptest::sample::Index>()).prop_map(
        |(element, pieces, place)| {
            let mut written = write_stanza(&element).to_vec();
            let place = place.index(written.len());
            written.splice(place..place, pieces.into_iter().take(12));
            written
        },
    );
    prop_oneof![fragments(), spoilt]
}

/// Failing cases are not kept in files beside the sources.
fn without_files(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// Compares what we read of a stream with what the second parser reads, as far as we accept it.
///
/// Says whether there was anything to compare.
fn compare(input: &[u8]) -> Result<bool, String> {
    let (frames, error) = run(authenticated(), [input]);
    let end = frames.iter().position(|frame| frame == "end");
    let (None, Some(end)) = (error, end) else { return Ok(false) };
    // Nothing behind the end of the stream is read, so the oracle is not shown it.
    let (ours, theirs) = (&frames[1..end], oracle(oracle_input(input)));
    match theirs.as_deref() == Some(ours) {
        true => Ok(true),
        false => Err(format!("{}: {ours:?}, not {theirs:?}", input.escape_ascii())),
    }
}

/// Every file of the corpus of hostile streams, as the content of an open stream; files that bring
/// a header of their own as they are.
fn corpus() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/xmpp-bad");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "xmpp"))
        .collect();
    files.sort();
    let contents = files.into_iter().map(|path| std::fs::read(path).unwrap());
    contents
        .map(|content| match content.windows(14).any(|it| it == b"<stream:stream") {
            true => content,
            false => [HEADER.as_bytes(), &content, b"</stream:stream>"].concat(),
        })
        .collect()
}

/// A file of the corpus that is small, with some bytes of it changed, repeated or left out.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let files: Vec<Vec<u8>> = corpus().into_iter().filter(|it| it.len() < 2048).collect();
    let change = (any::<proptest::sample::Index>(), 0..4_u8, any::<u8>(), fragments());
    (proptest::sample::select(files), proptest::collection::vec(change, 1..4)).prop_map(
        |(mut file, changes)| {
            for (place, kind, byte, pieces) in changes {
                if file.is_empty() {
                    continue;
                }
                // What is before is mostly the header that all share.
                let from = HEADER.len().min(file.len() - 1);
                let at = from + place.index(file.len() - from);
                match kind {
                    0 => file[at] = byte,
                    1 => drop(file.remove(at)),
                    2 => file.insert(at, file[at]),
                    _ => drop(file.splice(at..at, pieces)),
                }
            }
            file
        },
    )
}

#[test]
fn what_we_accept_of_the_corpus_the_oracle_reads_as_the_same_trees() {
    let files = corpus();
    assert!(files.len() >= 190, "the corpus is whole");
    let compared = files.iter().filter(|file| compare(file).unwrap()).count();
    assert!(compared > 50, "{compared} files could be compared");
}

proptest! {
    #![proptest_config(without_files(512))]

    #[test]
    fn what_we_accept_of_a_changed_file_the_oracle_reads_as_the_same_trees(input in mutated()) {
        prop_assert_eq!(compare(&input).map(|_| ()), Ok(()));
    }

    #[test]
    fn what_is_written_alone_is_read_back_by_us_and_by_the_oracle(element in elements()) {
        let written = write_document(&element);
        let read = parse_document(&written, &Limits::AFTER_AUTHENTICATION.of_written_form());
        prop_assert_eq!(read.as_ref().map(outline), Ok(outline(&element)));
        let wrapped = [
            b"<s:stream xmlns:s='http://etherx.jabber.org/streams'>".as_slice(),
            &written,
            b"</s:stream>",
        ].concat();
        if !outline(&element).contains("streams}stream") {
            prop_assert_eq!(oracle(&wrapped), Some(vec![outline(&element)]));
        }
    }

    #[test]
    fn what_is_written_on_a_stream_is_read_back_there(element in elements()) {
        let written = [HEADER.as_bytes(), &write_stanza(&element), b"</stream:stream>"].concat();
        let (frames, error) = run(authenticated(), [written.as_slice()]);
        prop_assert_eq!(error, None);
        prop_assert_eq!(&frames[1], &outline(&element));
        prop_assert_eq!(oracle(&written), Some(vec![outline(&element)]));
    }

    #[test]
    fn what_we_accept_the_oracle_reads_as_the_same_trees(hostile in hostile()) {
        let input = [HEADER.as_bytes(), &hostile, b"</stream:stream>"].concat();
        prop_assert_eq!(compare(&input).map(|_| ()), Ok(()));
    }

    #[test]
    fn cuts_do_not_change_what_is_read(
        hostile in hostile(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
    ) {
        let input = [HEADER.as_bytes(), &hostile, b"<presence/>"].concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len())).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|ends| &input[ends[0]..ends[1]]);
        let whole = run(authenticated(), [input.as_slice()]);
        prop_assert_eq!(run(authenticated(), pieces), whole.clone());
        prop_assert_eq!(run(authenticated(), input.chunks(1)), whole);
    }
}

/// `input` up to and with the end tag of the stream, as the framer finds it.
fn oracle_input(input: &[u8]) -> &[u8] {
    let mut framer = authenticated();
    for (at, byte) in input.iter().enumerate() {
        let mut one = std::slice::from_ref(byte);
        while let Ok(Some(frame)) = framer.next_frame(&mut one) {
            if matches!(frame, Frame::End) {
                return &input[..=at];
            }
        }
    }
    input
}
