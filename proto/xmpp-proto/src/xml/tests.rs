//! The reader against hostile input and against every way to cut it.

mod oracle;

use super::*;
use crate::limits::Limits;
use crate::ns;

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
    from='peer.example' to='gw.example' version='1.0'>";

/// What a framer made of some bytes: each frame written out, then the error if there was one.
type Outcome = (Vec<String>, Option<XmlError>);

fn describe(frame: &Frame) -> String {
    match frame {
        Frame::Header(tag) => format!("header {}", outline(tag.element())),
        Frame::Element(element) => outline(element),
        Frame::End => "end".to_owned(),
    }
}

/// The tree of an element in a form that shows every name in full.
fn outline(element: &Element) -> String {
    let mut attributes: Vec<String> = element
        .attributes()
        .iter()
        .map(|a| format!("{{{}}}{}={:?}", a.namespace(), a.local(), a.value()))
        .collect();
    attributes.sort();
    let content: String = element
        .nodes()
        .iter()
        .map(|node| match node {
            Node::Element(child) => outline(child),
            Node::Text(text) => format!("{text:?}"),
        })
        .collect();
    let (namespace, local) = (element.namespace(), element.local());
    format!("({{{namespace}}}{local} {} {content})", attributes.join(" "))
}

fn run<'a>(mut framer: Framer, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut frames = Vec::new();
    for chunk in chunks {
        let mut input = chunk;
        loop {
            match framer.next_frame(&mut input) {
                Ok(Some(frame)) => frames.push(describe(&frame)),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Runs `input` in one piece, byte by byte and cut in two at every place, and expects one outcome.
fn run_every_way(new: fn() -> Framer, input: &[u8]) -> Outcome {
    let whole = run(new(), [input]);
    assert_eq!(run(new(), input.chunks(1)), whole, "byte by byte: {:?}", input.escape_ascii());
    for at in 0..input.len() {
        let (first, second) = input.split_at(at);
        assert_eq!(run(new(), [first, second]), whole, "cut at {at}: {:?}", input.escape_ascii());
    }
    whole
}

fn authenticated() -> Framer {
    Framer::new(Limits::AFTER_AUTHENTICATION)
}

fn unauthenticated() -> Framer {
    Framer::cumulative(Limits::BEFORE_AUTHENTICATION)
}

/// The outcome of `content` inside an open stream, without the header.
fn inside(content: impl AsRef<[u8]>) -> Outcome {
    let input = [HEADER.as_bytes(), content.as_ref()].concat();
    let (mut frames, error) = run_every_way(authenticated, &input);
    assert!(frames.remove(0).starts_with("header"));
    (frames, error)
}

fn refused(content: impl AsRef<[u8]>) -> XmlError {
    let shown = content.as_ref().escape_ascii().to_string();
    inside(content).1.unwrap_or_else(|| panic!("{shown} is not refused"))
}

fn body(text: &str) -> String {
    let document = format!("<body xmlns='jabber:server'>{text}</body>");
    outline(&parse_document(document.as_bytes(), &Limits::AFTER_AUTHENTICATION).unwrap())
}

#[test]
fn a_stream_is_its_header_its_elements_and_its_end() {
    let (frames, error) = inside(
        " \n<message from='a' to='b'><body>hi</body></message>\t<presence/></stream:stream>junk<",
    );

    assert_eq!(error, None);
    assert_eq!(
        frames,
        [
            "({jabber:server}message {}from=\"a\" {}to=\"b\" ({jabber:server}body  \"hi\"))",
            "({jabber:server}presence  )",
            "end"
        ]
    );
}

#[test]
fn the_header_tells_its_namespaces() {
    let mut framer = authenticated();
    let mut input = HEADER.as_bytes();

    let Some(Frame::Header(tag)) = framer.next_frame(&mut input).unwrap() else {
        panic!("a header is complete");
    };

    assert!(tag.element().is(ns::STREAM, "stream"));
    assert_eq!(tag.element().attribute("from"), Some("peer.example"));
    assert_eq!(tag.default_namespace(), Some(ns::SERVER));
    assert!(tag.declares_prefix_of(ns::DIALBACK));
    assert!(!tag.declares_prefix_of(ns::SERVER));
}

#[test]
fn a_stream_that_ends_where_it_begins_has_a_header_and_an_end() {
    let (frames, error) =
        run_every_way(authenticated, b"<stream xmlns='http://etherx.jabber.org/streams'/>");

    assert_eq!(frames, ["header ({http://etherx.jabber.org/streams}stream  )", "end"]);
    assert_eq!(error, None);
}

#[test]
fn references_sections_and_line_ends_are_read_as_text() {
    assert_eq!(body("&lt;&gt;&amp;&quot;&apos;&#60;&#x3e;"), body("<![CDATA[<>&\"'<>]]>"));
    assert_eq!(body("a<![CDATA[]]>b<![CDATA[]]]]>c"), body("ab]]c"));
    assert_eq!(body("a\r\nb\rc"), body("a\nb\nc"));
    assert_ne!(body("a&#13;&#10;b"), body("a\nb"));
    assert_ne!(body("a&#13;b"), body("a\nb"));
}

#[test]
fn attribute_values_are_normalised_but_references_in_them_are_kept() {
    let element = parse_document(
        b"<a b='1\t2\r\n3' c='1&#9;2&#10;3' d=\"'&quot;\"/>",
        &Limits::AFTER_AUTHENTICATION,
    )
    .unwrap();

    assert_eq!(element.attribute("b"), Some("1 2 3"));
    assert_eq!(element.attribute("c"), Some("1\t2\n3"));
    assert_eq!(element.attribute("d"), Some("'\""));
}

#[test]
fn restricted_xml_is_refused_as_such() {
    for content in [
        "<message><!--x--></message>",
        "<message>a<!---->b</message>",
        "<!-- between -->",
        "<?php echo 1?>",
        "<message><?xml-stylesheet href='a'?></message>",
        "<?xm l?>",
        "<!DOCTYPE a>",
        "<message><!ENTITY a 'b'></message>",
        "<message>&nbsp;</message>",
        "<message a='&foo;'/>",
    ] {
        assert!(matches!(refused(content), XmlError::Restricted(_)), "{content}");
    }
    for prolog in [
        "<!DOCTYPE a [<!ENTITY b 'c'>]>",
        "<?xml version='1.0'?><!DOCTYPE a SYSTEM 'file:///etc/passwd'>",
        "<!--a-->",
        "<?a b?>",
    ] {
        let (_, error) = run_every_way(unauthenticated, prolog.as_bytes());
        assert!(matches!(error, Some(XmlError::Restricted(_))), "{prolog}");
    }
}

#[test]
fn a_document_type_is_refused_at_its_first_letter() {
    let (_, error) = run(unauthenticated(), [b"<!D".as_slice()]);

    assert_eq!(error, Some(XmlError::Restricted(Construct::DocumentType)));
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for content in [
        "<message><body>a ]]> b</body></message>",
        "<message>&#0;</message>",
        "<message>&#1;</message>",
        "<message>&#xD800;</message>",
        "<message>&#xFFFE;</message>",
        "<message>&#x110000;</message>",
        "<message>&#+65;</message>",
        "<message>&#X41;</message>",
        "<message>&#;</message>",
        "<message>a & b</message>",
        "<message>a & b;</message>",
        "<message>&amp</message>",
        "<message a='&#1;'/>",
        "<message a='<'/>",
        "<message a='b' a='c'/>",
        "<message a='b'c='d'/>",
        "<message a=b/>",
        "<message a/>",
        "<message\u{A0}a='b'/>",
        "<message / >",
        "<message></messag></message>",
        "<message><body></message></body>",
        "</message>",
        "<1m/>",
        "<m!/>",
        "< message/>",
        "<>",
        "<message></ message>",
        "<message></message a='b'>",
        "<message><![CDATA[\u{1}]]></message>",
        "<message><![cdata[a]]></message>",
        "<message><!a></message>",
        "<?xml version='1.0'?>",
        "<message><?xml version='1.0'?></message>",
        "<?XML ?>",
        "<a:b:c/>",
        "<a:b/>",
        "<message a:b='c'/>",
        "<message><body xmlns:p=''/></message>",
        "<message xmlns:xmlns='urn:a'/>",
        "<message xmlns:xml='urn:a'/>",
        "<message xmlns='http://www.w3.org/XML/1998/namespace'/>",
        "<message xmlns:a='http://www.w3.org/2000/xmlns/'/>",
        "<message xmlns='urn:a' xmlns='urn:b'/>",
        "<message xmlns:a='urn:n' xmlns:b='urn:n' a:q='1' b:q='2'/>",
        "<message><a xmlns:p='urn:a'/><p:b/></message>",
    ] {
        assert!(matches!(refused(content), XmlError::NotWellFormed(_)), "{content}");
    }
}

#[test]
fn every_byte_that_xml_cannot_carry_is_refused_wherever_it_stands() {
    for byte in (0..0x20_u8).filter(|byte| !b"\t\n\r".contains(byte)) {
        for (before, after) in [
            ("<message><body>a", "b</body></message>"),
            ("<message a='b", "'/>"),
            ("<message", "/>"),
            ("<message></message", ">"),
            ("", "<message/>"),
        ] {
            let content = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            assert!(matches!(refused(&content), XmlError::NotWellFormed(_)), "{byte:#x} {before}");
        }
    }
}

#[test]
fn what_is_not_utf_8_is_refused_before_it_can_hide_markup() {
    for bytes in [
        b"\xC0\x80".as_slice(),
        b"\xE0\x80\xBC",
        b"\xF0\x80\x80\xBC",
        b"\xED\xA0\x80",
        b"\xED\xA0\xBD\xED\xB8\x80",
        b"\xF4\x90\x80\x80",
        b"\xFE\xFF",
        b"\x80",
        b"\xE2\x82",
        b"\xEF\xBF\xBE",
        b"\xEF\xBF\xBF",
    ] {
        let content = [b"<message><body>a", bytes, b"b</body></message>"].concat();
        assert!(matches!(refused(content), XmlError::NotWellFormed(_)), "{bytes:?}");
    }
    for lead in [b"\xC2".as_slice(), b"\xE2", b"\xF0"] {
        let content = [b"<message><foo".as_slice(), lead, b"></message><message>"].concat();
        assert_eq!(refused(content), XmlError::NotWellFormed(Defect::Encoding), "{lead:?}");
    }
}

#[test]
fn a_fault_shows_although_its_element_never_ends() {
    assert_eq!(refused("<message></body>"), XmlError::NotWellFormed(Defect::EndTag));
    assert_eq!(refused("<message><a:b>"), XmlError::NotWellFormed(Defect::UndeclaredPrefix));
    assert_eq!(refused("<message a='b<"), XmlError::NotWellFormed(Defect::Attribute));
}

#[test]
fn only_white_space_stands_between_elements() {
    assert_eq!(refused("hello<message/>"), XmlError::TextBetweenStanzas);
    assert_eq!(refused("<message/>&amp;"), XmlError::TextBetweenStanzas);
    assert_eq!(refused("<![CDATA[ ]]>"), XmlError::TextBetweenStanzas);
    assert_eq!(refused("\u{FEFF}<message/>"), XmlError::TextBetweenStanzas);
    assert_eq!(refused(b"\xFF"), XmlError::NotWellFormed(Defect::Encoding));
    assert_eq!(refused("\0"), XmlError::NotWellFormed(Defect::Character));
}

#[test]
fn a_stream_inside_the_stream_is_refused_at_any_depth() {
    for content in [
        "<stream:stream>",
        "<message><stream:stream/></message>",
        "<message><x xmlns='urn:x'><s:stream xmlns:s='http://etherx.jabber.org/streams'>",
    ] {
        assert_eq!(refused(content), XmlError::NestedStream, "{content}");
    }
}

#[test]
fn a_stanza_has_no_prefix_but_what_it_carries_may() {
    assert_eq!(refused("<j:message xmlns:j='jabber:server'>"), XmlError::PrefixedStanza);

    let (frames, error) = inside("<message><j:body xmlns:j='jabber:server'>x</j:body></message>");
    assert_eq!(frames, ["({jabber:server}message  ({jabber:server}body  \"x\"))"]);
    assert_eq!(error, None);
}

#[test]
fn a_declaration_says_1_x_and_utf_8_at_the_very_start() {
    let header = "<stream:stream xmlns='jabber:server' \
        xmlns:stream='http://etherx.jabber.org/streams'>";
    let first_error =
        |prolog: &[u8]| run_every_way(unauthenticated, &[prolog, header.as_bytes()].concat()).1;
    for prolog in [
        "",
        " \r\n",
        "\u{FEFF}",
        "<?xml version='1.0'?>",
        "<?xml version=\"1.1\" ?>\n",
        "\u{FEFF}<?xml version='1.0' encoding='utf-8'?>",
        "<?xml  version = '1.0'\tencoding='UTF-8' standalone='no'?>",
    ] {
        assert_eq!(first_error(prolog.as_bytes()), None, "{prolog:?}");
    }
    for prolog in [
        "  <?xml version='1.0'?>",
        "<?xml version='1.0'?><?xml version='1.0'?>",
        "<?xml?>",
        "<?xml encoding='UTF-8'?>",
        "<?xml version='2.0'?>",
        "<?xml version='1.'?>",
        "<?xml version='1.0' standalone='maybe'?>",
        "<?xml version='1.0' standalone='no' encoding='UTF-8'?>",
        "<?xml version='1.0'encoding='UTF-8'?>",
        "<?xml version='1.0' a='b'?>",
        "<?XML version='1.0'?>",
        "\u{FEFF}\u{FEFF}",
        "GET / HTTP/1.1\r\n",
    ] {
        let error = first_error(prolog.as_bytes());
        assert!(matches!(error, Some(XmlError::NotWellFormed(_))), "{prolog:?} {error:?}");
    }
    for prolog in [
        b"<?xml version='1.0' encoding='ISO-8859-1'?>".as_slice(),
        b"<?xml version='1.0' encoding='UTF-16'?>",
        b"\xFF\xFE<\0",
        b"\xFE\xFF\0<",
        b"\0<\0?",
        b"<\0?\0",
        b"\0\0\xFE\xFF",
    ] {
        assert_eq!(first_error(prolog), Some(XmlError::UnsupportedEncoding), "{prolog:?}");
    }
}

/// `content` at and one past a limit: the outcome must turn from accepted to exceeded.
fn assert_limit(limits: Limits, limit: Limit, content: impl Fn(usize) -> String, max: usize) {
    let outcome = |size: usize| {
        let mut framer = Framer::new(Limits::AFTER_AUTHENTICATION);
        let mut header = HEADER.as_bytes();
        while framer.next_frame(&mut header).unwrap().is_some() {}
        framer.set_limits(limits);
        run(framer, [content(size).as_bytes()])
    };
    assert_eq!(outcome(max).1, None, "{limit:?} at {max}");
    assert_eq!(outcome(max).0.len(), 1, "{limit:?} at {max}");
    assert_eq!(outcome(max + 1).1, Some(XmlError::LimitExceeded(limit)), "{limit:?} past {max}");
}

#[test]
fn each_limit_admits_its_value_and_refuses_one_more() {
    fn element(size: usize) -> String {
        format!("<m>{}</m>", "a".repeat(size - "<m></m>".len()))
    }
    fn tag(size: usize) -> String {
        format!("<m a='{}'/>", "a".repeat(size - "<m a=''/>".len()))
    }
    fn elements(size: usize) -> String {
        format!("<m>{}</m>", "<a/>".repeat(size - 1))
    }
    fn nested(size: usize) -> String {
        "<m>".repeat(size) + &"</m>".repeat(size)
    }
    fn attributes(size: usize) -> String {
        let attributes: String = (0..size).map(|index| format!(" a{index}=''")).collect();
        format!("<m{attributes}/>")
    }
    fn declarations(size: usize) -> String {
        let declarations: String = (0..size).map(|index| format!(" xmlns:a{index}='u'")).collect();
        format!("<m{declarations}/>")
    }
    fn scopes(size: usize) -> String {
        // The header has declared three.
        let nested = size - 3;
        let open: String = (0..nested).map(|index| format!("<m xmlns:a{index}='u'>")).collect();
        open + &"</m>".repeat(nested)
    }
    fn namespace(size: usize) -> String {
        format!("<m><a xmlns='{}'/></m>", "a".repeat(size - ns::SERVER.len()))
    }
    for limits in [Limits::BEFORE_AUTHENTICATION, Limits::AFTER_AUTHENTICATION] {
        let Limits { stanza_bytes_max, tag_bytes_max, elements_max, depth_max, .. } = limits;
        let Limits { attributes_max, namespace_declarations_max, .. } = limits;
        assert_limit(limits, Limit::StanzaBytes, element, stanza_bytes_max);
        let long = Limits { stanza_bytes_max: 2 * tag_bytes_max, ..limits };
        assert_limit(long, Limit::TagBytes, tag, tag_bytes_max);
        assert_limit(limits, Limit::Elements, elements, elements_max);
        assert_limit(limits, Limit::Depth, nested, depth_max);
        assert_limit(limits, Limit::Attributes, attributes, attributes_max);
        assert_limit(
            limits,
            Limit::NamespaceDeclarations,
            declarations,
            namespace_declarations_max,
        );
        let deep = Limits { depth_max: 100, ..limits };
        assert_limit(deep, Limit::NamespacesInScope, scopes, limits.namespaces_in_scope_max);
        let short = Limits { namespace_bytes_max: 1000, ..limits };
        assert_limit(short, Limit::NamespaceBytes, namespace, 1000);
    }
}

#[test]
fn a_limit_is_met_before_the_element_is_complete() {
    let endless_tag = format!("{HEADER}<m a='{}", "a".repeat(70_000));
    let endless_text = format!("{HEADER}<m>{}", "a".repeat(600_000));

    let (_, error) = run(authenticated(), [endless_tag.as_bytes()]);
    assert_eq!(error, Some(XmlError::LimitExceeded(Limit::TagBytes)));
    let (_, error) = run(authenticated(), [endless_text.as_bytes()]);
    assert_eq!(error, Some(XmlError::LimitExceeded(Limit::StanzaBytes)));
}

#[test]
fn before_authentication_bytes_and_elements_add_up_across_restarts() {
    let mut framer = unauthenticated();
    let mut spent = 0;
    loop {
        framer.restart();
        let mut input = HEADER.as_bytes();
        spent += HEADER.len();
        match framer.next_frame(&mut input) {
            Ok(frame) => assert!(frame.is_some()),
            Err(error) => break assert_eq!(error, XmlError::LimitExceeded(Limit::Elements)),
        }
        assert_eq!(framer.usage().0, spent);
        assert!(framer.usage().1 <= 32);
    }

    let mut framer = unauthenticated();
    let (mut header, spaces) = (HEADER.as_bytes(), vec![b' '; 8192]);
    assert!(framer.next_frame(&mut header).unwrap().is_some());
    let error = framer.next_frame(&mut spaces.as_slice()).unwrap_err();
    assert_eq!(error, XmlError::LimitExceeded(Limit::StanzaBytes));
}

#[test]
fn after_authentication_each_element_is_counted_alone() {
    let stanza = format!("<message>{}</message> ", "a".repeat(500_000));
    let (frames, error) = run(authenticated(), [HEADER.as_bytes(), stanza.repeat(3).as_bytes()]);

    assert_eq!((frames.len(), error), (4, None));
}

#[test]
fn a_restart_drops_what_was_unfinished_and_forgets_the_header() {
    let mut framer = authenticated();
    let mut input = HEADER.as_bytes();
    assert!(framer.next_frame(&mut input).unwrap().is_some());
    assert!(framer.next_frame(&mut b"<message".as_slice()).unwrap().is_none());

    assert_eq!(framer.restart(), 8);
    let error = framer.next_frame(&mut b"<db:result/>".as_slice()).unwrap_err();
    assert_eq!(error, XmlError::NotWellFormed(Defect::UndeclaredPrefix));
}

#[test]
fn an_error_stays_an_error() {
    let mut framer = authenticated();
    let mut input = b"x<stream/>".as_slice();

    let error = framer.next_frame(&mut input).unwrap_err();
    assert_eq!(framer.next_frame(&mut input).unwrap_err(), error);
}

#[test]
fn a_namespace_is_not_written_out_without_bound() {
    let name = "u".repeat(4000);
    let uses = "<p:a/>".repeat(4000);
    let content = format!("<message xmlns:p='{name}'>{uses}</message>");
    let (_, error) = run(authenticated(), [HEADER.as_bytes(), content.as_bytes()]);

    assert_eq!(error, Some(XmlError::LimitExceeded(Limit::NamespaceBytes)));
}

#[test]
fn what_we_write_of_the_worst_admitted_element_can_be_read_again() {
    let limits = Limits::AFTER_AUTHENTICATION;
    let quotes = "\"".repeat(60_000);
    let attributes: String = (0..63).map(|i| format!(" p:a{i}='>'")).collect();
    let text = ">".repeat(400_000);
    let document = format!("<p:m xmlns:p='urn:n' q='{quotes}'{attributes}><p:n>{text}</p:n></p:m>");
    let element = parse_document(document.as_bytes(), &limits).unwrap();

    let again = parse_document(&write_document(&element), &limits.of_written_form());
    assert!(again == Ok(element));
}

#[test]
fn a_document_may_have_comments_and_instructions_but_no_document_type() {
    let read = |text: &str| parse_document(text.as_bytes(), &Limits::AFTER_AUTHENTICATION);
    let document = "\u{FEFF}<?xml version='1.0' encoding='UTF-8'?><!-- a > ' b -->\
        <?pi > '?><a>b<!-- - -->c<?x?></a><!---->\n";

    assert_eq!(outline(&read(document).unwrap()), "({}a  \"bc\")");
    for (text, error) in [
        ("<!DOCTYPE a><a/>", XmlError::Restricted(Construct::DocumentType)),
        ("<a>&b;</a>", XmlError::Restricted(Construct::EntityReference)),
        ("<a/><b/>", XmlError::NotWellFormed(Defect::SecondRoot)),
        ("<a/>b", XmlError::NotWellFormed(Defect::TextOutsideRoot)),
        ("b<a/>", XmlError::NotWellFormed(Defect::TextOutsideRoot)),
        ("<a/><![CDATA[]]>", XmlError::NotWellFormed(Defect::TextOutsideRoot)),
        ("<!--a--><?xml version='1.0'?><a/>", XmlError::NotWellFormed(Defect::Declaration)),
        ("<a><!-- -- --></a>", XmlError::NotWellFormed(Defect::Markup)),
        ("<a><!-- --- --></a>", XmlError::NotWellFormed(Defect::Markup)),
        ("<a><!-- \u{1} --></a>", XmlError::NotWellFormed(Defect::Character)),
        ("<a><!--></a>", XmlError::NotWellFormed(Defect::Truncated)),
        ("<a><? ?></a>", XmlError::NotWellFormed(Defect::Name)),
        ("<a>", XmlError::NotWellFormed(Defect::Truncated)),
        ("<a/><", XmlError::NotWellFormed(Defect::Truncated)),
        ("", XmlError::NotWellFormed(Defect::Truncated)),
    ] {
        assert!(read(text) == Err(error), "{text}");
    }
}
