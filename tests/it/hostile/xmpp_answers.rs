//! What an XMPP server said on a stream, told in words.

use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// The answers in `bytes`, in order; what is not complete is left out.
///
/// `header` stands for the beginning of a stream, `end` for its end; an element is told by its
/// name and what it says first, such as `error not-authorized`.
///
/// # Panics
///
/// When there is something readable behind an element that begins TLS.
pub(super) fn words(bytes: &[u8]) -> Vec<String> {
    let mut reader = Reader::from_reader(bytes);
    reader.config_mut().allow_unmatched_ends = true;
    reader.config_mut().check_end_names = false;
    let (mut words, mut depth) = (Vec::new(), 0);
    let mut told = Told::default();
    loop {
        let Ok(event) = reader.read_event() else { return words };
        match event {
            Event::Decl(_) => depth = 0,
            Event::Start(tag) => {
                match depth {
                    0 => words.push(header(&tag)),
                    1 => told = Told::new(&tag),
                    _ => told.take(depth, &tag),
                }
                depth += 1;
            }
            Event::Empty(tag) => match depth {
                0 => words.push(header(&tag)),
                1 => words.push(Told::new(&tag).word()),
                _ => told.take(depth, &tag),
            },
            Event::End(_) => {
                depth -= 1;
                match depth {
                    0 => words.push("end".to_owned()),
                    1 => words.push(std::mem::take(&mut told).word()),
                    _ => {}
                }
            }
            Event::Text(text) if depth > 2 => told.take_text(&text),
            Event::Eof => return words,
            _ => {}
        }
        if words.last().is_some_and(|word| word == "proceed") {
            let at = usize::try_from(reader.buffer_position()).expect("it is in memory");
            assert!(!bytes[at..].contains(&b'<'), "nothing readable follows <proceed/>");
            return words;
        }
    }
}

/// One element at the first level of a stream, as far as it was read.
#[derive(Default)]
struct Told {
    name: String,
    kind: Option<String>,
    id: Option<String>,
    /// What stands in it, or in the error in it.
    children: Vec<String>,
    has_external: bool,
}

impl Told {
    fn new(tag: &BytesStart<'_>) -> Self {
        Self {
            name: local_name(tag),
            kind: attribute(tag, "type"),
            id: attribute(tag, "id"),
            children: Vec::new(),
            has_external: false,
        }
    }

    fn take(&mut self, depth: usize, tag: &BytesStart<'_>) {
        let is_error_in_dialback = self.kind.is_some() && local_name(tag) == "error";
        if depth <= 3 && !is_error_in_dialback {
            self.children.push(local_name(tag));
        }
    }

    fn take_text(&mut self, text: &str) {
        self.has_external |= text == "EXTERNAL";
    }

    fn word(self) -> String {
        let Self { name, kind, id, children, has_external } = self;
        let first = children.first().map_or("", String::as_str);
        match (name.as_str(), kind.as_deref()) {
            ("features", _) => {
                let starttls = if first == "starttls" { " starttls" } else { "" };
                let external = if has_external { " external" } else { "" };
                format!("features{starttls}{external}")
            }
            ("error" | "failure" | "failed", _) => format!("{name} {first}"),
            ("result" | "verify", Some("error")) => format!("{name} error {first}"),
            ("result" | "verify", Some(kind)) => {
                let id = id.map_or_else(String::new, |id| format!(" {id}"));
                format!("{name} {kind}{id}")
            }
            _ => name,
        }
    }
}

/// The header says who we are, or nothing; never what the peer wanted us to be.
fn header(tag: &BytesStart<'_>) -> String {
    let from = attribute(tag, "from").unwrap_or_default();
    assert!(from.is_empty() || from == "gw.example", "a header is from {from:?}");
    "header".to_owned()
}

fn local_name(tag: &BytesStart<'_>) -> String {
    tag.local_name().as_ref().to_owned()
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = tag.attributes().flatten().find(|found| found.key.as_ref() == name);
    found.map(|found| found.value.into_owned())
}

#[test]
fn answers_are_told_in_words_as_far_as_they_came() {
    let said = "<?xml version='1.0'?><stream:stream from='gw.example' id='1'>\
        <stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
        </stream:features>\
        <db:result type='error'><error type='cancel'><forbidden/></error></db:result>\
        <db:verify type='invalid' id='x'/>\
        <stream:error><not-authorized/><text>no</text></stream:error></stream:stream>";
    let all = [
        "header",
        "features starttls",
        "result error forbidden",
        "verify invalid x",
        "error not-authorized",
        "end",
    ];
    assert_eq!(words(said.as_bytes()), all);
    let cut = said.find("<text>").expect("it is there");
    assert_eq!(words(&said.as_bytes()[..cut]), all[..4]);
    let offered = "<?xml version='1.0'?><s><features><mechanisms><mechanism>EXTERNAL</mechanism>\
        </mechanisms></features>";
    assert_eq!(words(offered.as_bytes()), ["header", "features external"]);
    assert_eq!(words(b"<?xml version='1.0'?><s><proceed/>\x15\x03"), ["header", "proceed"]);
}
