//! Presence documents and presence stanzas (RFC 8048 s.6).

use xmpp_proto::jid::Jid;
use xmpp_proto::ns;
use xmpp_proto::xml::Element;

use super::language;
use crate::address::{AddressError, x2s_address};
use crate::pidf::{
    Activity, Basic, Document, Note, Show, Tuple, resource_of_tuple_id, tuple_id_of_resource,
};

/// The state of one resource, as it goes to an XMPP user.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourcePresence {
    /// The resource; none when the document has no tuple.
    pub resource: Option<String>,
    /// What it announces, or nothing when it is unavailable.
    pub available: Option<Available>,
    /// The status text that it left when it became unavailable.
    pub farewell: Option<Note>,
}

impl ResourcePresence {
    /// Makes the state of a resource that is unavailable without a word.
    pub fn gone(resource: Option<String>) -> Self {
        Self { resource, available: None, farewell: None }
    }
}

/// What an available resource announces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Available {
    /// The show.
    pub show: Option<Show>,
    /// The status text.
    pub status: Option<Note>,
    /// The priority.
    pub priority: Option<i8>,
}

/// Reads the state of each resource out of a document (RFC 8048 Table 2).
pub fn s2x_presence(document: &Document) -> Vec<ResourcePresence> {
    let any_open = document.tuples.iter().any(|tuple| tuple.basic == Some(Basic::Open));
    // RFC 3863 s.4.1.4 lets the basic status be absent; that is closed, unless another tuple
    // says that the presentity is open.
    let says_something = |tuple: &&Tuple| tuple.basic.is_some() || !any_open;
    let tuples = document.tuples.iter().filter(says_something);
    tuples
        .map(|tuple| {
            let is_open = tuple.basic == Some(Basic::Open);
            let resource = Some(resource_of_tuple_id(&tuple.id));
            ResourcePresence {
                resource: resource.filter(|resource| !resource.is_empty()),
                available: is_open.then(|| s2x_available(document, tuple)),
                farewell: s2x_status(document, tuple).filter(|_| !is_open),
            }
        })
        .collect()
}

fn s2x_available(document: &Document, tuple: &Tuple) -> Available {
    let activity = tuple.activity.or(document.activity);
    Available {
        show: tuple.show.or_else(|| activity.and_then(Activity::show)),
        status: s2x_status(document, tuple),
        priority: tuple.priority.map(|priority| (priority * 127.0).round() as i8),
    }
}

fn s2x_status(document: &Document, tuple: &Tuple) -> Option<Note> {
    tuple.notes.first().or_else(|| document.notes.first()).cloned()
}

/// Writes the stanza that announces the state of a resource of `presentity` to `watcher`.
pub fn s2x_stanza(presence: &ResourcePresence, presentity: &Jid, watcher: &Jid) -> Element {
    let from = presence
        .resource
        .as_ref()
        .and_then(|resource| Jid::parse(&format!("{}/{resource}", presentity.bare())).ok())
        .unwrap_or_else(|| presentity.bare());
    let stanza = Element::new(ns::SERVER, "presence")
        .with_attribute("from", from.as_str())
        .with_attribute("to", watcher.as_str());
    let Some(available) = &presence.available else {
        let mut stanza = stanza.with_attribute("type", "unavailable");
        if let Some(note) = &presence.farewell {
            stanza.push_child(status(note));
        }
        return stanza;
    };
    let mut stanza = stanza;
    if let Some(show) = available.show {
        stanza.push_child(Element::new(ns::SERVER, "show").with_text(show.word()));
    }
    if let Some(note) = &available.status {
        stanza.push_child(status(note));
    }
    if let Some(priority) = available.priority {
        let priority = priority.to_string();
        stanza.push_child(Element::new(ns::SERVER, "priority").with_text(priority));
    }
    stanza
}

fn status(note: &Note) -> Element {
    let status = Element::new(ns::SERVER, "status").with_text(&note.text);
    match note.language.as_deref().and_then(language::tag) {
        Some(tag) => status.with_lang(tag),
        None => status,
    }
}

/// Reads what a presence stanza without a type announces; what is unknown is left out. In one of
/// type `unavailable` the status alone has a meaning.
pub fn x2s_available(stanza: &Element, stream_language: Option<&str>) -> Available {
    let text = |name| stanza.child(ns::SERVER, name).map(|child| child.text().trim().to_owned());
    let language = |status: &Element| {
        let tag = status.lang().or(stanza.lang()).or(stream_language);
        tag.and_then(language::tag).map(str::to_owned)
    };
    let status = stanza
        .child(ns::SERVER, "status")
        .map(|status| Note { language: language(status), text: status.text().trim().to_owned() });
    Available {
        show: text("show").and_then(|word| Show::from_word(&word)),
        status: status.filter(|note| !note.text.is_empty()),
        priority: text("priority").and_then(|text| text.parse().ok()),
    }
}

/// Writes the tuple for a resource of an XMPP user (RFC 8048 Table 1).
///
/// # Errors
/// Fails when the user has no SIP address.
pub fn x2s_tuple(jid: &Jid, available: Option<&Available>) -> Result<Tuple, AddressError> {
    let id = tuple_id_of_resource(jid.resourcepart().unwrap_or_default());
    let Some(available) = available else {
        return Ok(Tuple { id, basic: Some(Basic::Closed), ..Tuple::default() });
    };
    // Table 1 (6): a negative priority is not mapped.
    let priority = available.priority.filter(|priority| *priority >= 0);
    let contact = x2s_address(jid)?.to_wire();
    Ok(Tuple {
        id,
        basic: Some(Basic::Open),
        show: available.show,
        activity: None,
        contact: priority.map(|_| contact),
        priority: priority.map(|priority| f32::from(priority) / 127.0),
        notes: available.status.iter().cloned().collect(),
    })
}

/// Writes the document that says all about an XMPP user, from the tuples of its resources.
///
/// # Errors
/// Fails when the user has no SIP address.
pub fn x2s_document(presentity: &Jid, tuples: Vec<Tuple>) -> Result<Document, AddressError> {
    let address = x2s_address(&presentity.bare())?.to_wire();
    let entity = format!("pres:{}", address.trim_start_matches("sip:"));
    Ok(Document { entity, tuples, ..Document::default() })
}

#[cfg(test)]
mod tests;
