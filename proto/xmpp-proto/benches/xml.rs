//! How many stanzas a second one core frames, parses and writes, and what the most expensive
//! stanzas that the limits admit cost it.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use xmpp_proto::limits::Limits;
use xmpp_proto::xml::{Element, Frame, Framer, parse_document, write_stanza};

const HEADER: &str = "<stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
    from='peer.example' to='gw.example' version='1.0'>";

/// A chat message as clients send it, of 435 bytes.
const MESSAGE: &str = "<message from='juliet@capulet.example/balcony-4711' \
    to='romeo@montague.example' id='0b7c6f1e-5a1d-4f0e-9a55-5d9d4b3c2f10' type='chat' \
    xml:lang='en'><body>Wherefore art thou, Romeo? &lt;3 Deny thy father &amp; refuse thy \
    name; or, if thou wilt not, be but sworn my love, and I.</body>\
    <active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>\
    <origin-id xmlns='urn:xmpp:sid:0' id='0b7c6f1e5a'/></message>";

const STANZAS: usize = 64;

fn main() {
    assert_eq!(MESSAGE.len(), 435);
    divan::main();
}

fn open_framer() -> Framer {
    let mut framer = Framer::new(Limits::AFTER_AUTHENTICATION);
    let mut header = HEADER.as_bytes();
    assert!(matches!(framer.next_frame(&mut header), Ok(Some(Frame::Header(_)))));
    framer
}

/// Framing and strict parsing are one pass.
#[divan::bench(args = [73, 1460, 16_384])]
fn frame_and_parse(bencher: Bencher<'_, '_>, chunk_bytes: usize) {
    let input = MESSAGE.repeat(STANZAS);
    let mut framer = open_framer();
    bencher.counter(ItemsCount::new(STANZAS)).bench_local(|| {
        for mut chunk in input.as_bytes().chunks(chunk_bytes) {
            while let Ok(Some(frame)) = framer.next_frame(&mut chunk) {
                black_box(frame);
            }
        }
    });
}

/// The parts of which a peer can make an admitted stanza that is expensive to parse.
const COSTLY: [&str; 4] = [
    "<a/>",
    "<x xmlns='urn:a'><p:y xmlns:p='urn:b' p:c='' d=''/></x>",
    "&#x10FFFD;&lt;",
    "<![CDATA[]]>a\r",
];

#[divan::bench(args = COSTLY)]
fn parse_a_costly_stanza(bencher: Bencher<'_, '_>, part: &str) {
    let stanza = costly_stanza(part);
    let mut framer = open_framer();
    bencher.counter(BytesCount::of_str(&stanza)).bench_local(|| {
        let mut input = stanza.as_bytes();
        framer.next_frame(&mut input).is_ok_and(|frame| frame.is_some())
    });
}

/// Repeats the part as often as the limits admit.
fn costly_stanza(part: &str) -> String {
    let limits = Limits::AFTER_AUTHENTICATION;
    let room = limits.stanza_bytes_max - "<message></message>".len();
    let elements = part.matches("/>").count() + part.matches("</").count();
    let by_elements = (limits.elements_max - 1).checked_div(elements).unwrap_or(usize::MAX);
    let stanza = format!("<message>{}</message>", part.repeat(by_elements.min(room / part.len())));
    let frame = open_framer().next_frame(&mut stanza.as_bytes());
    assert!(matches!(frame, Ok(Some(Frame::Element(_)))), "{part} is refused");
    stanza
}

#[divan::bench]
fn parse_one_document(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench(|| parse_document(black_box(MESSAGE.as_bytes()), &Limits::AFTER_AUTHENTICATION));
}

#[divan::bench]
fn write(bencher: Bencher<'_, '_>) {
    let message = message();
    bencher.counter(ItemsCount::new(1_usize)).bench(|| write_stanza(black_box(&message)));
}

fn message() -> Element {
    let mut framer = open_framer();
    let mut input = MESSAGE.as_bytes();
    match framer.next_frame(&mut input) {
        Ok(Some(Frame::Element(element))) => element,
        other => unreachable!("the message is one element, not {other:?}"),
    }
}
