//! Stanzas that come from partners: checked again, judged, and given to whoever they are for.

use host::log::identity;
use link::wire::stream_report::State;
use link::wire::{Bounced, Envelope, StreamReport};
use xmpp_proto::jid::Jid;
use xmpp_proto::limits::Limits;
use xmpp_proto::ns;
use xmpp_proto::stanza::error::{StanzaCondition, StanzaError};
use xmpp_proto::stanza::{Stanza, StanzaKind};
use xmpp_proto::stream::DomainPair;
use xmpp_proto::xml::{Element, parse_document};

use super::{Gateway, Purpose};
use crate::clock::Now;
use crate::edges::Recording;
use crate::facts::Facts;
use crate::links::{EdgeId, domain_pair};
use crate::policy::{Direction, Permit, Refusal, Subject};
use crate::translate::language;

/// The longest reason of an edge that is written down, in characters.
const REASON_CHARACTERS_MAX: usize = 300;

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
        language::tag(&self.envelope.facts.as_ref()?.language)
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
                self.distrust(edge, reason, &envelope.correlation_id, now);
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
        let verdict = match stanza.kind() {
            StanzaKind::Message => self.handle_message(arrived, facts, now),
            StanzaKind::Presence => self.handle_presence(arrived, facts, now),
            StanzaKind::Iq => self.handle_iq(arrived, facts, now),
        };
        match verdict {
            // RFC 6120 s.8.3.1: whatever is wrong with an error or a result, nobody is told.
            Verdict::Refused(_) if !stanza.may_be_answered_by_error() => Verdict::Done,
            verdict => verdict,
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

    /// Takes what an edge says of a stream, and believes it where the policy names both domains.
    pub(super) fn handle_report(
        &mut self,
        edge: EdgeId,
        report: &StreamReport,
        facts: Facts<'_>,
        now: Now,
    ) {
        let state = report.state();
        let Ok(pair) = domain_pair(&report.local_domain, &report.remote_domain) else {
            return self.distrust(edge, "a report of a stream without domains", "", now);
        };
        // A stream may outlive the partner's row.
        if state != State::Closed && facts.stanzas_max(&pair).is_none() {
            let reason = "a report of a stream of domains that the policy does not name";
            return self.distrust(edge, reason, "", now);
        }
        self.edges.handle_report(edge, pair.clone(), report, now.instant);
        if state == State::Open || !self.record_stream(edge, &pair, report, now) {
            return;
        }
        match state {
            State::Established => self.partner_found(&pair.remote, now),
            State::Failed => self.partner_lost(&pair.remote, now),
            State::Closed | State::Open | State::Unknown => {}
        }
    }

    /// Counts an event of a stream, and writes it down unless its edge tells too many; returns
    /// whether it was.
    fn record_stream(
        &mut self,
        edge: EdgeId,
        pair: &DomainPair,
        report: &StreamReport,
        now: Now,
    ) -> bool {
        let state = match report.state() {
            State::Established => "established",
            State::Closed => "closed",
            State::Failed => "failed",
            State::Open | State::Unknown => "unknown",
        };
        metrics::counter!("gateway_streams_total", "state" => state).increment(1);
        let may_record = self.may_record(edge, now);
        if may_record {
            let edge = self.edges.name(edge);
            let reason: String = report.reason.chars().take(REASON_CHARACTERS_MAX).collect();
            tracing::info!(
                edge, partner = %pair.remote, local = %pair.local, state, reason,
                "a stream with a partner"
            );
        }
        may_record
    }

    /// Records that an edge sent what an honest one does not send, or only while a policy changes.
    pub(super) fn distrust(
        &mut self,
        edge: EdgeId,
        reason: &'static str,
        correlation_id: &str,
        now: Now,
    ) {
        metrics::counter!("gateway_edge_distrusted_total").increment(1);
        if self.may_record(edge, now) {
            let edge = self.edges.name(edge);
            tracing::error!(edge, correlation_id, reason, "an edge sent what it must not send");
        }
    }

    /// Says whether one more event of an edge may be written down.
    fn may_record(&mut self, edge: EdgeId, now: Now) -> bool {
        let recording = self.edges.record(edge, now.instant);
        if recording == Recording::Full {
            return true;
        }
        metrics::counter!("gateway_edge_events_left_out_total").increment(1);
        if recording == Recording::FirstLeftOut {
            let edge = self.edges.name(edge);
            tracing::warn!(edge, "an edge tells too much: what it tells is counted only");
        }
        false
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
