//! Counters of what happens with every message: found once, and not anew for each.

use metrics::{Counter, counter};
use xmpp_proto::stanza::StanzaKind;

use crate::store::record::{Direction, Outcome};

/// Counters of the recorder that is installed when they are made.
pub(super) struct Counters {
    messages: Counter,
    presences: Counter,
    iqs: Counter,
    x2s: Outcomes,
    s2x: Outcomes,
}

struct Outcomes {
    delivered: Counter,
    bounced: Counter,
}

impl Default for Counters {
    fn default() -> Self {
        let received =
            |kind: StanzaKind| counter!("gateway_stanzas_received_total", "kind" => kind.name());
        let outcomes = |direction: &'static str| {
            let outcome = |outcome: &'static str| counter!("gateway_messages_total", "direction" => direction, "outcome" => outcome);
            Outcomes { delivered: outcome("delivered"), bounced: outcome("bounced") }
        };
        Self {
            messages: received(StanzaKind::Message),
            presences: received(StanzaKind::Presence),
            iqs: received(StanzaKind::Iq),
            x2s: outcomes("x2s"),
            s2x: outcomes("s2x"),
        }
    }
}

impl Counters {
    /// Returns the counter of stanzas from partners.
    pub(super) fn received(&self, kind: StanzaKind) -> &Counter {
        match kind {
            StanzaKind::Message => &self.messages,
            StanzaKind::Presence => &self.presences,
            StanzaKind::Iq => &self.iqs,
        }
    }

    /// Returns the counter of messages that had an outcome.
    pub(super) fn settled(&self, direction: Direction, outcome: &Outcome) -> &Counter {
        let outcomes = match direction {
            Direction::X2s => &self.x2s,
            Direction::S2x => &self.s2x,
        };
        match outcome {
            Outcome::Delivered => &outcomes.delivered,
            Outcome::Bounced(_) => &outcomes.bounced,
        }
    }
}
