//! What it means that a message is the one that a case shows: all that is not volatile is equal.

use std::collections::{BTreeMap, BTreeSet};

use sip_proto::Headers;
use sip_proto::header::{Contact, HeaderName, NameAddr, SubscriptionState};
use sip_proto::message::{Message, Request, Response};
use xmpp_proto::limits::Limits;
use xmpp_proto::xml::{Element, parse_document};

use crate::testing::{header, stanza as parse_stanza};

/// Call-IDs and tags that the gateway draws, by those that the cases show in their place.
#[derive(Default)]
pub(super) struct Names {
    own: BTreeMap<String, String>,
    heard: String,
}

impl Names {
    /// Notes what the gateway was told; names in it are not for the gateway to draw.
    pub(super) fn hear(&mut self, text: &str) {
        self.heard.push_str(text);
    }

    /// Puts the names that the gateway has drawn into the head of a message.
    pub(super) fn translated(&self, text: &str) -> String {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        format!("{}\r\n\r\n{body}", self.in_head(head))
    }

    fn in_head(&self, head: &str) -> String {
        self.own.iter().fold(head.to_owned(), |head, (shown, own)| head.replace(shown, own))
    }

    fn is(&mut self, shown: &str, actual: &str) -> bool {
        if let Some(own) = self.own.get(shown) {
            return own == actual;
        }
        if self.heard.contains(shown) {
            return shown == actual;
        }
        self.own.insert(shown.to_owned(), actual.to_owned());
        true
    }
}

/// Compares a SIP message with the one that a case shows.
pub(super) fn sip(shown: &Message, actual: &Message, names: &mut Names, case: &str) {
    match (shown, actual) {
        (Message::Request(shown), Message::Request(actual)) => request(shown, actual, names, case),
        (Message::Response(shown), Message::Response(actual)) => {
            response(shown, actual, names, case);
        }
        _ => panic!("{case}: {actual:?}"),
    }
}

fn request(shown: &Request, actual: &Request, names: &mut Names, case: &str) {
    assert_eq!(shown.method(), actual.method(), "{case}");
    assert_eq!(shown.uri().to_wire(), actual.uri().to_wire(), "{case}");
    assert_eq!(actual.headers().rows(HeaderName::Via).count(), 1, "{case}");
    assert!(actual.via().branch().unwrap().starts_with("z9hG4bK"), "{case}");
    assert!(actual.cseq().number > 0 && shown.cseq().method == actual.cseq().method, "{case}");
    party(shown.from(), actual.from(), names, case);
    party(shown.to(), actual.to(), names, case);
    let (call_id, own) = (shown.call_id().as_str(), actual.call_id().as_str());
    assert!(names.is(call_id, own), "{case}: Call-ID {own}");
    rows(shown.headers(), actual.headers(), false, case);
    if header(shown.headers(), "Content-Type").contains("+xml") {
        let (shown, mut actual) = (document(shown.body()), document(actual.body()));
        // RFC 3863 s.4.3: a reader ignores elements of namespaces that it does not know, and the
        // activity of the person is for readers that know RPID and no show.
        actual.remove_children(|child| child.local() == "person");
        assert_eq!(Tree::of(&shown), Tree::of(&actual), "{case}");
    } else {
        assert_eq!(shown.body(), actual.body(), "{case}");
    }
}

fn response(shown: &Response, actual: &Response, names: &mut Names, case: &str) {
    assert_eq!(shown.status(), actual.status(), "{case}");
    let copied = ["Via", "From", "Call-ID", "CSeq"];
    // A case shows these of the request; the request itself had our names in their place.
    for name in copied {
        let shown = names.in_head(header(shown.headers(), name));
        assert_eq!(shown, header(actual.headers(), name), "{case}");
    }
    party(shown.to(), actual.to(), names, case);
    // RFC 3261 s.12.1.1: what begins a dialog has a Contact, also where the dialog ends at once.
    let may_have_contact =
        actual.status().is_success() && shown.cseq().method.as_str() == "SUBSCRIBE";
    rows(shown.headers(), actual.headers(), may_have_contact, case);
    assert!(actual.body().is_empty(), "{case}");
}

fn party(shown: &NameAddr, actual: &NameAddr, names: &mut Names, case: &str) {
    assert_eq!(shown.uri().to_wire(), actual.uri().to_wire(), "{case}");
    match (shown.tag(), actual.tag()) {
        (Some(tag), Some(own)) => assert!(names.is(tag, own), "{case}: tag {own} for {tag}"),
        (shown, actual) => assert_eq!(shown, actual, "{case}"),
    }
}

/// Compares all other header fields; none may be missing and none may be added.
fn rows(shown: &Headers, actual: &Headers, may_have_contact: bool, case: &str) {
    let (shown, mut actual) = (fields(shown), fields(actual));
    if may_have_contact && !shown.contains_key("contact") {
        actual.remove("contact");
    }
    assert_eq!(shown, actual, "{case}");
}

/// Returns what is not volatile of the header fields that a message need not have.
fn fields(headers: &Headers) -> BTreeMap<String, Vec<String>> {
    let elsewhere = [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::To,
        HeaderName::CallId,
        HeaderName::CSeq,
        HeaderName::ContentLength,
        HeaderName::Date,
        HeaderName::UserAgent,
    ];
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in headers.iter().filter(|row| !elsewhere.contains(&row.name)) {
        let value = match row.name {
            HeaderName::SubscriptionState => {
                let state = headers.typed::<SubscriptionState>().unwrap().unwrap();
                // The seconds that are left are those of the clock.
                format!("{:?} {}", state.status, state.expires_seconds.is_some())
            }
            HeaderName::Contact => {
                let contact = headers.typed::<Contact>().unwrap().unwrap();
                let uri = contact.only_address().unwrap().uri().clone();
                format!("{:?} {:?} gr {}", uri.scheme(), uri.user(), uri.has_parameter("gr"))
            }
            HeaderName::ContentType => {
                row.value.split(';').next().unwrap().trim().to_ascii_lowercase()
            }
            // The agent that warns is ours.
            HeaderName::Warning => {
                let words: Vec<_> = row.value.splitn(3, ' ').collect();
                format!("{} {}", words[0], words[2])
            }
            _ => row.value.to_owned(),
        };
        fields.entry(row.spelling.to_ascii_lowercase()).or_default().push(value);
    }
    fields
}

/// Compares a stanza with the one that a case shows.
pub(super) fn stanza(shown: &str, actual: &Element, case: &str) {
    let (mut shown, mut actual) = (parse_stanza(shown), actual.clone());
    if shown.attribute("id").is_none() {
        actual.remove_attribute("id");
    }
    // RFC 6121 s.5.2.2: a message without a type is a normal one.
    if actual.attribute("type") == Some("normal") {
        actual.remove_attribute("type");
    }
    // XEP-0071 is deprecated, and optional in the cases.
    if !actual.children().any(|child| child.local() == "html") {
        shown.remove_children(|child| child.local() == "html");
    }
    // XEP-0115 s.6.1: what we can do, which no case is about.
    actual.remove_children(|child| child.local() == "c");
    let (mut shown, mut actual) = (Tree::of(&shown), Tree::of(&actual));
    shown.children.sort();
    actual.children.sort();
    assert_eq!(shown, actual, "{case}");
}

fn document(body: &[u8]) -> Element {
    parse_document(body, &Limits::AFTER_AUTHENTICATION).unwrap()
}

/// An element, without what does not count in it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tree {
    name: String,
    attributes: BTreeSet<(String, String)>,
    text: String,
    children: Vec<Self>,
}

impl Tree {
    fn of(element: &Element) -> Self {
        let children: Vec<_> = element.children().map(Self::of).collect();
        let text = match children.is_empty() {
            true => element.text().into_owned(),
            false => element.text().trim().to_owned(),
        };
        let attributes = element.attributes().iter();
        let attributes = attributes
            .map(|it| (format!("{}{}", it.namespace(), it.local()), it.value().to_owned()));
        Self {
            name: format!("{} {}", element.namespace(), element.local()),
            attributes: attributes.collect(),
            text,
            children,
        }
    }
}
