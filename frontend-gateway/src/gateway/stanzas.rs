//! Stanzas that come from partners: checked again, judged, and given to whoever they are for.

use host::log::identity;
use link::wire::{Bounced, Envelope, StreamReport, stream_report};
use xmpp_proto::jid::{Domain, Jid};
use xmpp_proto::limits::Limits;
use xmpp_proto::ns;
use xmpp_proto::stanza::error::{StanzaCondition, StanzaError};
use xmpp_proto::stanza::{Stanza, StanzaKind};
use xmpp_proto::xml::{Element, parse_document};

use super::{Gateway, Purpose};
use crate::clock::Now;
use crate::facts::Facts;
use crate::links::EdgeId;
use crate::policy::{Direction, Permit, Refusal, Subject};

/// A stanza from a partner whose addresses were checked.
pub(super) struct Arrived<'a> {
    /// The edge to settle it with.
    pub(super) edge: EdgeId,
    /// The envelope that it came in.
    pub(super) envelope: &'a Envelope,
    /// The stanza.
    pub(super) element: &'a Element,
    /// Who sent it.
    pub(super) from: Jid,
    /// Who it is for.
    pub(super) to: Jid,
}

impl Arrived<'_> {
    /// Returns the language of the sender's stream, if its header named one.
    pub(super) fn stream_language(&self) -> Option<&str> {
        let facts = self.envelope.facts.as_ref()?;
        Some(facts.language.as_str()).filter(|language| !language.is_empty())
    }
}

/// What becomes of a stanza's envelope.
pub(super) enum Verdict {
    /// We have done with it what there is to do.
    Done,
    /// It will be settled when a commit has succeeded or failed.
    Later,
    /// Its sender gets an error.
    Refused(StanzaError),
}

impl Gateway {
    pub(super) fn handle_envelope(
        &mut self,
        edge: EdgeId,
        envelope: &Envelope,
        facts: Facts<'_>,
        now: Now,
    ) {
        let verdict = match self.read(envelope, facts) {
            Ok((element, from, to)) => {
                let arrived = Arrived { edge, envelope, element: &element, from, to };
                self.judge(&arrived, facts, now)
            }
            Err(reason) => {
                metrics::counter!("gateway_edge_distrusted_total").increment(1);
                let correlation_id = &envelope.correlation_id;
                tracing::error!(correlation_id, reason, "an edge sent what it must not send");
                let condition = StanzaCondition::Forbidden;
                Verdict::Refused(StanzaError::new(condition).with_text("not allowed"))
            }
        };
        match verdict {
            Verdict::Done => self.links.settle(edge, envelope.sequence, Ok(())),
            Verdict::Later => {}
            Verdict::Refused(error) => {
                self.links.settle(edge, envelope.sequence, Err(bounced(&error)));
            }
        }
    }

    /// Reads and checks again what the edge has checked: the front end does not trust it.
    fn read(
        &self,
        envelope: &Envelope,
        facts: Facts<'_>,
    ) -> Result<(Element, Jid, Jid), &'static str> {
        let limits = Limits::AFTER_AUTHENTICATION.of_written_form();
        let element =
            parse_document(&envelope.stanza, &limits).map_err(|_| "XML that is not acceptable")?;
        let stanza = Stanza::of(&element).ok_or("an element that is no stanza")?;
        let from = stanza.from().ok().flatten().ok_or("a stanza without a sender")?;
        let to = stanza.to().ok().flatten().ok_or("a stanza without a recipient")?;
        if from.domain().as_str() != envelope.remote_domain
            || to.domain().as_str() != envelope.local_domain
        {
            return Err("a stanza of other domains than its envelope");
        }
        if facts.policy.served_by(to.domain()).is_none() {
            return Err("a stanza for a domain that is not ours");
        }
        if facts.policy.partner(from.domain()).is_none() {
            return Err("a stanza from a domain that is no partner's");
        }
        Ok((element, from, to))
    }

    fn judge(&mut self, arrived: &Arrived<'_>, facts: Facts<'_>, now: Now) -> Verdict {
        let Some(stanza) = Stanza::of(arrived.element) else { return Verdict::Done };
        self.counters.received(stanza.kind()).increment(1);
        self.x2s.seen(&arrived.from.bare(), now);
        match stanza.kind() {
            StanzaKind::Message => self.handle_message(arrived, facts, now),
            StanzaKind::Presence => self.handle_presence(arrived, facts, now),
            StanzaKind::Iq => self.handle_iq(arrived, now),
        }
    }

    fn handle_presence(&mut self, arrived: &Arrived<'_>, facts: Facts<'_>, now: Now) -> Verdict {
        if arrived.to.localpart().is_none() {
            // Presence of the domain itself is of no use to anybody here.
            return Verdict::Done;
        }
        match arrived.element.attribute("type") {
            Some("subscribe") => self.handle_subscribe(arrived, facts, now),
            Some("unsubscribe") => self.handle_unsubscribe(arrived, now),
            Some("probe") => self.handle_probe(arrived, facts, now),
            Some("subscribed") => self.handle_subscribed(arrived, now),
            Some("unsubscribed") => self.handle_unsubscribed(arrived),
            None | Some("unavailable") => self.handle_announcement(arrived, facts),
            Some("error") => self.handle_presence_error(arrived, now),
            Some(_) => refused(StanzaCondition::BadRequest, "unknown type of presence"),
        }
    }

    /// Asks the policy; a refusal is counted, logged with its rule, and told to the sender.
    pub(super) fn permit<'p>(
        &self,
        arrived: &Arrived<'_>,
        subject: Subject,
        facts: Facts<'p>,
    ) -> Result<Permit<'p>, StanzaError> {
        let (user, contact) = (arrived.to.bare(), arrived.from.bare());
        facts.decide(&user, &contact, Direction::X2s, subject).map_err(|refusal| {
            record_refusal(&refusal, &arrived.envelope.correlation_id, "x2s");
            StanzaError::new(StanzaCondition::Forbidden).with_text(refusal.to_string())
        })
    }

    pub(super) fn handle_report(&mut self, report: &StreamReport, now: Now) {
        let state = match report.state() {
            stream_report::State::Established => "established",
            stream_report::State::Closed => "closed",
            stream_report::State::Failed => "failed",
            stream_report::State::Unknown => "unknown",
        };
        metrics::counter!("gateway_streams_total", "state" => state).increment(1);
        tracing::info!(
            partner = report.remote_domain,
            local = report.local_domain,
            state,
            reason = report.reason,
            "a stream with a partner"
        );
        let Ok(domain) = Domain::parse(&report.remote_domain) else { return };
        match report.state() {
            stream_report::State::Established => self.partner_found(&domain, now),
            stream_report::State::Failed => self.partner_lost(&domain, now),
            stream_report::State::Closed | stream_report::State::Unknown => {}
        }
    }

    /// Sends a presence stanza of a type between two users.
    pub(super) fn send_presence(
        &mut self,
        kind: &str,
        from: &Jid,
        to: &Jid,
        purpose: Purpose,
        now: Now,
    ) {
        let stanza = Element::new(ns::SERVER, "presence")
            .with_attribute("from", from.bare().as_str())
            .with_attribute("to", to.bare().as_str())
            .with_attribute("type", kind);
        self.send_state(&stanza, from, to, purpose, now);
    }
}

/// Writes down that policy refused something: which rule, and what would change it.
pub(super) fn record_refusal(refusal: &Refusal, correlation_id: &str, direction: &'static str) {
    let rule = refusal.gate().name();
    metrics::counter!("gateway_policy_refused_total", "rule" => rule, "direction" => direction)
        .increment(1);
    let remedy = refusal.remedy(|user| identity(user.as_str()).to_string());
    tracing::info!(correlation_id, rule, direction, remedy, "policy refused it");
}

pub(super) fn refused(condition: StanzaCondition, text: &str) -> Verdict {
    Verdict::Refused(StanzaError::new(condition).with_text(text))
}

pub(super) fn bounced(error: &StanzaError) -> Bounced {
    Bounced {
        condition: error.condition.name().to_owned(),
        text: error.text.clone().unwrap_or_default(),
        possibly_delivered: false,
    }
}
