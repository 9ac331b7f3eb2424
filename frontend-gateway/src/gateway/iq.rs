//! Requests for information from partners' servers and users.

use xmpp_proto::ns;
use xmpp_proto::stanza::error::StanzaCondition;
use xmpp_proto::xml::Element;

use super::stanzas::{Arrived, Verdict, refused};
use super::{Gateway, Purpose};
use crate::clock::Now;

const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";

/// What the domain can do (XEP-0030 s.3); the list grows with what is translated.
const FEATURES: [&str; 3] = [DISCO_INFO, ns::PING, "jid\\20escaping"];

impl Gateway {
    pub(super) fn handle_iq(&mut self, arrived: &Arrived<'_>, now: Now) -> Verdict {
        let iq = arrived.element;
        match iq.attribute("type") {
            Some("get" | "set") => self.answer_iq(arrived, now),
            Some("result" | "error") => {
                // The answer to a ping may have come to another edge than the one that asked.
                if let (None, None, Some(id)) =
                    (arrived.from.localpart(), arrived.to.localpart(), iq.attribute("id"))
                {
                    self.links.pass_barrier_answer(id);
                }
                Verdict::Done
            }
            _ => refused(StanzaCondition::BadRequest, "an iq needs a type"),
        }
    }

    fn answer_iq(&mut self, arrived: &Arrived<'_>, now: Now) -> Verdict {
        let iq = arrived.element;
        let mut children = iq.children();
        // RFC 6120 s.8.2.3: exactly one child, and an id.
        let (Some(payload), None, Some(id)) =
            (children.next(), children.next(), iq.attribute("id"))
        else {
            return refused(StanzaCondition::BadRequest, "an iq needs an id and one child");
        };
        let for_domain = arrived.to.localpart().is_none();
        let is_get = iq.attribute("type") == Some("get");
        let content = match (payload.namespace(), payload.local()) {
            (ns::PING, "ping") if is_get && for_domain => None,
            (DISCO_INFO, "query") if is_get && for_domain => Some(disco_info()),
            (DISCO_ITEMS, "query") if is_get && for_domain => {
                Some(Element::new(DISCO_ITEMS, "query"))
            }
            // RFC 6121 s.8.5.1: the same for a user that exists and for one that does not.
            _ => return refused(StanzaCondition::ServiceUnavailable, "not available here"),
        };
        let mut result = Element::new(ns::SERVER, "iq")
            .with_attribute("type", "result")
            .with_attribute("id", id)
            .with_attribute("from", arrived.to.as_str())
            .with_attribute("to", arrived.from.as_str());
        if let Some(content) = content {
            result.push_child(content);
        }
        self.send_state(&result, &arrived.to, &arrived.from, Purpose::State, now);
        Verdict::Done
    }
}

fn disco_info() -> Element {
    let identity = Element::new(DISCO_INFO, "identity")
        .with_attribute("category", "gateway")
        .with_attribute("type", "simple")
        .with_attribute("name", "Isthmus");
    let query = Element::new(DISCO_INFO, "query").with_child(identity);
    FEATURES.iter().fold(query, |query, feature| {
        query.with_child(Element::new(DISCO_INFO, "feature").with_attribute("var", *feature))
    })
}
