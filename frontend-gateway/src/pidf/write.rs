//! Writes a presence document: always the full state, valid against the schema of RFC 3863.

use bytes::Bytes;
use xmpp_proto::xml::{Element, write_document};

use super::{Activity, Basic, DATA_MODEL, Document, JABBER_CLIENT, Note, PIDF, RPID, Tuple};

/// Writes the document with its XML declaration.
pub fn write(document: &Document) -> Bytes {
    let mut root = Element::new(PIDF, "presence").with_attribute("entity", &document.entity);
    for tuple in &document.tuples {
        root.push_child(write_tuple(tuple));
    }
    for note in &document.notes {
        root.push_child(write_note(note));
    }
    if let Some(name) = person_activity(document) {
        let activities = Element::new(RPID, "activities").with_child(Element::new(RPID, name));
        let person = Element::new(DATA_MODEL, "person").with_attribute("id", "person");
        root.push_child(person.with_child(activities));
    }
    let mut bytes = b"<?xml version='1.0' encoding='UTF-8'?>\n".to_vec();
    bytes.extend_from_slice(&write_document(&root));
    bytes.into()
}

/// Returns the RPID activity that goes with the shows, for devices that know no show.
///
/// A person has one: it is that of the tuple with the highest priority, as an XMPP user's most
/// important resource speaks for the user.
fn person_activity(document: &Document) -> Option<&'static str> {
    let open = document.tuples.iter().filter(|tuple| tuple.basic == Some(Basic::Open));
    let priority = |tuple: &&Tuple| (tuple.priority.unwrap_or_default() * 1000.0) as u32;
    // The first of equals, as `max_by_key` would take the last.
    let first = open.rev().max_by_key(priority)?;
    Activity::name_for(first.show?)
}

fn write_tuple(tuple: &Tuple) -> Element {
    let basic = match tuple.basic {
        Some(Basic::Open) => "open",
        Some(Basic::Closed) | None => "closed",
    };
    let mut status =
        Element::new(PIDF, "status").with_child(Element::new(PIDF, "basic").with_text(basic));
    if let Some(show) = tuple.show {
        status.push_child(Element::new(JABBER_CLIENT, "show").with_text(show.word()));
    }
    let mut element =
        Element::new(PIDF, "tuple").with_attribute("id", &tuple.id).with_child(status);
    if let Some(uri) = &tuple.contact {
        let mut contact = Element::new(PIDF, "contact");
        if let Some(priority) = tuple.priority {
            contact.set_attribute("priority", written_priority(priority));
        }
        element.push_child(contact.with_text(uri));
    }
    for note in &tuple.notes {
        element.push_child(write_note(note));
    }
    element
}

fn write_note(note: &Note) -> Element {
    let element = Element::new(PIDF, "note").with_text(&note.text);
    match &note.language {
        Some(language) => element.with_lang(language),
        None => element,
    }
}

// RFC 8048 s.6.2 (6): 0 is 0, 127 is 1, what lies between has three decimals.
fn written_priority(priority: f32) -> String {
    match priority {
        0.0 => "0".into(),
        1.0 => "1".into(),
        _ => format!("{priority:.3}"),
    }
}
