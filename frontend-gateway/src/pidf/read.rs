//! Reads a presence document, leniently where devices differ and strictly where XML is concerned.

use xmpp_proto::limits::Limits;
use xmpp_proto::xml::{Element, XmlError, parse_document};

use super::{
    Activity, Availability, Basic, DATA_MODEL, DOCUMENT_BYTES_MAX, Document, JABBER_CLIENT,
    MICROSOFT_STATE, Note, PIDF, RPID, RPID_DRAFT, Show, TUPLES_MAX, Tuple,
};

/// Why a document is not read. The fault is the sender's; it gets 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PidfError {
    /// It is not XML that we read.
    #[error("the presence document is not acceptable XML: {0}")]
    Xml(#[from] XmlError),
    /// Its root is another element.
    #[error("the document is not a PIDF presence document")]
    NotPidf,
}

/// Reads a document.
pub fn parse(body: &[u8]) -> Result<Document, PidfError> {
    let limits = Limits { stanza_bytes_max: DOCUMENT_BYTES_MAX, ..Limits::AFTER_AUTHENTICATION };
    let root = parse_document(body, &limits)?;
    if !root.is(PIDF, "presence") {
        return Err(PidfError::NotPidf);
    }
    let tuples = root.children().filter(|child| child.is(PIDF, "tuple"));
    let persons: Vec<&Element> =
        root.children().filter(|child| child.is(DATA_MODEL, "person")).collect();
    let mut notes = notes(&root, PIDF);
    notes.extend(persons.iter().flat_map(|person| self::notes(person, DATA_MODEL)));
    Ok(Document {
        entity: root.attribute("entity").unwrap_or_default().trim().to_owned(),
        tuples: tuples.take(TUPLES_MAX).map(tuple).collect(),
        activity: persons.iter().filter_map(|person| activity(person)).max(),
        notes,
    })
}

fn tuple(element: &Element) -> Tuple {
    let status = element.child(PIDF, "status");
    let contact = element.child(PIDF, "contact");
    // RFC 3863 s.4.2.3: what must be understood and is not makes its parent meaningless.
    let status = status.filter(|status| !status.children().any(must_be_understood));
    let availability = status.and_then(microsoft_availability);
    let (basic, shown) = match availability {
        Some(Availability::Offline) => (Some(Basic::Closed), None),
        Some(Availability::Online(show)) => (Some(Basic::Open), show),
        None => (status.and_then(basic), None),
    };
    let show = status.and_then(|status| status.child(JABBER_CLIENT, "show"));
    Tuple {
        id: element.attribute("id").unwrap_or_default().to_owned(),
        basic,
        show: show.and_then(|show| Show::from_word(&show.text())).or(shown),
        activity: status.and_then(activity).max(activity(element)),
        contact: contact.map(|contact| contact.text().trim().to_owned()),
        priority: contact.and_then(|contact| priority(contact.attribute("priority")?)),
        notes: notes(element, PIDF),
    }
}

fn must_be_understood(element: &Element) -> bool {
    let known = [PIDF, JABBER_CLIENT, RPID, RPID_DRAFT, DATA_MODEL, MICROSOFT_STATE];
    let flag = element.namespaced_attribute(PIDF, "mustUnderstand").map(str::trim);
    matches!(flag, Some("true" | "1")) && !known.contains(&element.namespace())
}

fn basic(status: &Element) -> Option<Basic> {
    match status.child(PIDF, "basic")?.text().trim() {
        "open" => Some(Basic::Open),
        "closed" => Some(Basic::Closed),
        _ => None,
    }
}

fn microsoft_availability(status: &Element) -> Option<Availability> {
    let number = status.child(MICROSOFT_STATE, "availability")?.text().trim().parse().ok()?;
    Some(Availability::from_number(number))
}

/// Returns the most restrictive activity of a person, status or tuple (RFC 4480 s.3.2).
fn activity(parent: &Element) -> Option<Activity> {
    let lists = parent
        .children()
        .filter(|child| child.is(RPID, "activities") || child.is(RPID_DRAFT, "activities"));
    let named = lists.flat_map(Element::children).filter_map(|entry| {
        // Microsoft writes <activity>away</activity> where the RFC has <away/>.
        if entry.local() == "activity" {
            Activity::from_name(entry.text().trim())
        } else {
            Activity::from_name(entry.local())
        }
    });
    let idle = parent
        .child(RPID, "user-input")
        .filter(|input| input.text().trim() == "idle")
        .map(|_| Activity::Away);
    named.chain(idle).max()
}

// RFC 3863 s.4.1.5: from 0 to 1 with at most three decimals; anything else is ignored.
fn priority(text: &str) -> Option<f32> {
    let text = text.trim();
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !digits(decimals) {
        return None;
    }
    text.parse().ok().filter(|priority| (0.0..=1.0).contains(priority))
}

fn notes(parent: &Element, namespace: &str) -> Vec<Note> {
    let notes = parent.children().filter(|child| child.is(namespace, "note"));
    notes
        .map(|note| Note {
            language: note.lang().map(str::to_owned),
            text: note.text().trim().to_owned(),
        })
        .filter(|note| !note.text.is_empty())
        .collect()
}
