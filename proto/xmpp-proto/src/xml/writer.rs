//! Elements to bytes: the one place that writes XML.

use bytes::Bytes;

use crate::ns;
use crate::xml::element::{Attribute, Element, Node};

/// Bytes of a text that are looked at side by side.
const PIECE_BYTES: usize = 32;

/// Writes a first-level element of a stream whose header we sent.
///
/// The header declares the content namespace as the default and the prefixes `stream` and `db`;
/// every other namespace is declared where it is used.
pub fn write_stanza(element: &Element) -> Bytes {
    let mut output = Vec::with_capacity(512);
    append_stanza(&mut output, element);
    Bytes::from(output)
}

/// Writes an element that stands alone and declares every namespace that it uses.
pub fn write_document(element: &Element) -> Bytes {
    let mut output = Vec::with_capacity(512);
    append(&mut output, element, "", Prefixes::None);
    Bytes::from(output)
}

/// Appends a first-level element to bytes of a stream.
pub(crate) fn append_stanza(output: &mut Vec<u8>, element: &Element) {
    append(output, element, ns::SERVER, Prefixes::OfStream);
}

/// Appends ` name='value'`, escaped.
pub(crate) fn append_attribute(output: &mut Vec<u8>, name: &str, value: &str) {
    output.push(b' ');
    output.extend_from_slice(name.as_bytes());
    append_value(output, value);
}

/// Which prefixes are in scope besides `xml`.
#[derive(Clone, Copy)]
enum Prefixes {
    None,
    OfStream,
}

impl Prefixes {
    fn of(self, namespace: &str) -> Option<&'static str> {
        match (self, namespace) {
            (Self::OfStream, ns::STREAM) => Some("stream"),
            (Self::OfStream, ns::DIALBACK) => Some("db"),
            (_, ns::XML) => Some("xml"),
            _ => None,
        }
    }
}

fn append(output: &mut Vec<u8>, element: &Element, default_namespace: &str, prefixes: Prefixes) {
    let prefix = prefixes.of(element.namespace());
    let declared = match prefix {
        Some(_) => default_namespace,
        None => element.namespace(),
    };

    output.push(b'<');
    append_name(output, prefix, element.local());
    if declared != default_namespace {
        append_attribute(output, "xmlns", declared);
    }
    for attribute in element.attributes() {
        append_one_attribute(output, element, attribute);
    }
    if element.nodes().is_empty() {
        output.extend_from_slice(b"/>");
        return;
    }
    output.push(b'>');
    for node in element.nodes() {
        match node {
            Node::Element(child) => append(output, child, declared, prefixes),
            Node::Text(text) => append_escaped(output, text, is_escaped_in_text),
        }
    }
    output.extend_from_slice(b"</");
    append_name(output, prefix, element.local());
    output.push(b'>');
}

/// Writes an attribute; each namespace of attributes gets a prefix of its own, declared once.
fn append_one_attribute(output: &mut Vec<u8>, element: &Element, attribute: &Attribute) {
    match attribute.namespace() {
        "" => append_attribute(output, attribute.local(), attribute.value()),
        ns::XML => {
            output.push(b' ');
            append_name(output, Some("xml"), attribute.local());
            append_value(output, attribute.value());
        }
        namespace => {
            let mut sharing = element
                .attributes()
                .iter()
                .enumerate()
                .filter(|(_, other)| other.namespace() == namespace);
            let (index, first) = sharing.next().unwrap_or((0, attribute));
            if first.local() == attribute.local() {
                append_attribute(output, &format!("xmlns:a{index}"), namespace);
            }
            append_attribute(output, &format!("a{index}:{}", attribute.local()), attribute.value());
        }
    }
}

fn append_name(output: &mut Vec<u8>, prefix: Option<&str>, local: &str) {
    if let Some(prefix) = prefix {
        output.extend_from_slice(prefix.as_bytes());
        output.push(b':');
    }
    output.extend_from_slice(local.as_bytes());
}

fn append_value(output: &mut Vec<u8>, value: &str) {
    output.extend_from_slice(b"='");
    append_escaped(output, value, is_escaped_in_attribute);
    output.push(b'\'');
}

fn append_escaped(output: &mut Vec<u8>, text: &str, is_escaped: impl Fn(u8) -> bool) {
    for piece in text.as_bytes().chunks(PIECE_BYTES) {
        // Without an early end, so that the bytes of a piece are looked at side by side.
        if !piece.iter().fold(false, |any, &byte| any | is_escaped(byte)) {
            output.extend_from_slice(piece);
            continue;
        }
        let mut plain = 0;
        for (at, &byte) in piece.iter().enumerate() {
            if is_escaped(byte) {
                output.extend_from_slice(piece.get(plain..at).unwrap_or_default());
                output.extend_from_slice(reference(byte));
                plain = at + 1;
            }
        }
        output.extend_from_slice(piece.get(plain..).unwrap_or_default());
    }
}

/// What must not stand in a value, or would not be read back as written (XML s.3.3.3).
const fn is_escaped_in_attribute(byte: u8) -> bool {
    is_escaped_in_text(byte) | matches!(byte, b'\'' | b'"' | b'\t' | b'\n')
}

/// What must not stand in a text, or would not be read back as written (XML s.2.11).
const fn is_escaped_in_text(byte: u8) -> bool {
    matches!(byte, b'&' | b'<' | b'>' | b'\r')
}

/// The reference to a character that is escaped.
const fn reference(byte: u8) -> &'static [u8] {
    match byte {
        b'&' => b"&amp;",
        b'<' => b"&lt;",
        b'>' => b"&gt;",
        b'\'' => b"&apos;",
        b'"' => b"&quot;",
        b'\t' => b"&#9;",
        b'\n' => b"&#10;",
        _ => b"&#13;",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(element: &Element) -> String {
        String::from_utf8(write_stanza(element).to_vec()).unwrap()
    }

    #[test]
    fn the_content_namespace_is_never_prefixed_nor_declared() {
        let element = Element::new(ns::SERVER, "message")
            .with_child(Element::new(ns::SERVER, "body").with_text("hi"));

        assert_eq!(stanza(&element), "<message><body>hi</body></message>");
    }

    #[test]
    fn stream_and_dialback_elements_carry_the_prefixes_of_our_header() {
        let result = Element::new(ns::DIALBACK, "result")
            .with_attribute("type", "error")
            .with_child(Element::new(ns::SERVER, "error"));
        let features =
            Element::new(ns::STREAM, "features").with_child(Element::new(ns::TLS, "starttls"));

        assert_eq!(stanza(&result), "<db:result type='error'><error/></db:result>");
        assert_eq!(
            stanza(&features),
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
        );
    }

    #[test]
    fn an_element_that_stands_alone_declares_its_namespaces() {
        let element = Element::new(ns::SERVER, "message")
            .with_lang("en")
            .with_child(Element::new(ns::DIALBACK, "result"))
            .with_child(Element::new("", "plain"));

        assert_eq!(
            write_document(&element),
            "<message xmlns='jabber:server' xml:lang='en'>\
             <result xmlns='jabber:server:dialback'/><plain xmlns=''/></message>"
        );
    }

    #[test]
    fn markup_and_line_ends_are_escaped_where_a_parser_would_change_them() {
        let element = Element::new(ns::SERVER, "body")
            .with_attribute("a", "'\"<>&\t\n\r")
            .with_text("'\"<>&\t\n\r]]>");

        assert_eq!(
            stanza(&element),
            "<body a='&apos;&quot;&lt;&gt;&amp;&#9;&#10;&#13;'>\
             '\"&lt;&gt;&amp;\t\n&#13;]]&gt;</body>"
        );
    }

    #[test]
    fn what_is_escaped_is_found_wherever_it_stands() {
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES] {
            let plain = "a".repeat(length);
            let element = Element::new(ns::SERVER, "body").with_text(format!("{plain}<{plain}"));

            assert_eq!(stanza(&element), format!("<body>{plain}&lt;{plain}</body>"));
        }
    }

    #[test]
    fn attributes_of_a_namespace_get_a_declared_prefix() {
        let element = Element::new(ns::SERVER, "message")
            .with_attribute("from", "a")
            .with_namespaced_attribute("urn:n", "from", "b")
            .with_namespaced_attribute("urn:n", "to", "c");

        assert_eq!(stanza(&element), "<message from='a' xmlns:a1='urn:n' a1:from='b' a1:to='c'/>");
    }
}
