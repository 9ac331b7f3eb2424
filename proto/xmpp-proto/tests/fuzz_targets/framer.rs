//! Any bytes on a stream: read the same however they are cut, and as the strict layer can use them.

use xmpp_proto::limits::Limits;
use xmpp_proto::stanza::Stanza;
use xmpp_proto::stanza::error::StanzaError;
use xmpp_proto::xml::{Element, Frame, Framer, parse_document, write_document};

const HEADER: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
    from='peer.example' to='gw.example' version='1.0'>";

/// Reads the bytes on a new stream and on an open one.
///
/// # Panics
///
/// When something does not hold that is to hold for all bytes.
pub(crate) fn check(data: &[u8]) {
    let new = || Framer::cumulative(Limits::BEFORE_AUTHENTICATION);
    let open = || {
        let mut framer = Framer::new(Limits::AFTER_AUTHENTICATION);
        let header = framer.next_frame(&mut &*HEADER);
        assert!(matches!(header, Ok(Some(Frame::Header(_)))), "the header is right");
        framer
    };
    for begin in [&new as &dyn Fn() -> Framer, &open] {
        let whole = read(begin(), [data], true);
        assert_eq!(read(begin(), data.chunks(1), false), whole, "byte by byte");
        // The places are the bytes' own, so that each input has one outcome.
        let at = data.first().map_or(0, |byte| usize::from(*byte) % data.len());
        let (first, second) = data.split_at(at);
        assert_eq!(read(begin(), [first, second], false), whole, "cut at {at}");
    }
}

/// What was read, in words; the last one says why no more was.
fn read<'a>(
    mut framer: Framer,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    judges: bool,
) -> Vec<String> {
    let mut seen = Vec::new();
    for mut piece in pieces {
        loop {
            match framer.next_frame(&mut piece) {
                Ok(Some(frame)) => {
                    if judges && let Frame::Element(element) = &frame {
                        judge(element);
                    }
                    seen.push(format!("{frame:?}"));
                }
                Ok(None) => break,
                Err(error) => {
                    seen.push(format!("{error:?}"));
                    return seen;
                }
            }
        }
    }
    seen
}

/// What was accepted can be written and read again, and asked for everything that a stanza has.
fn judge(element: &Element) {
    let written = write_document(element);
    let again = parse_document(&written, &Limits::AFTER_AUTHENTICATION.of_written_form());
    assert_eq!(again.as_ref().map(write_document), Ok(written), "{element:?}");
    let Some(stanza) = Stanza::of(element) else { return };
    let (from, to) = (stanza.from(), stanza.to());
    if let (Ok(Some(_)), Ok(Some(to))) = (from, to) {
        let error = StanzaError::read(element);
        // A reply, where there is one, is no request for another.
        let reply = error.reply_to(&stanza, to.domain());
        assert!(
            reply
                .as_ref()
                .and_then(Stanza::of)
                .is_none_or(|reply| { error.reply_to(&reply, to.domain()).is_none() })
        );
    }
}
