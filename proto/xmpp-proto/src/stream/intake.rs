//! The stanzas of a peer: their addresses checked, counted, and acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::jid::Jid;
use crate::stanza::Stanza;
use crate::stanza::error::{StanzaCondition, StanzaError};
use crate::stream::admission::{Admission, Proof};
use crate::stream::close::CloseCause;
use crate::stream::dialback::DomainPair;
use crate::stream::stream_management::Received;
use crate::stream::timer::Timer;
use crate::stream::wire::Wire;
use crate::xml::Element;

/// A stanza whose addresses were checked against what the peer proved.
#[derive(Debug)]
pub struct ReceivedStanza {
    /// The stanza; its `from` and `to` are in their prepared form.
    pub element: Element,
    /// The sender, of an authenticated domain.
    pub from: Jid,
    /// The recipient, of the domain of ours that the pair was authenticated for.
    pub to: Jid,
    /// The language of the stream, which holds where the stanza has none of its own
    /// (RFC 6120 s.4.7.4).
    pub stream_language: Option<Arc<str>>,
}

/// What is to be done with a stanza.
pub(super) enum Taken {
    /// It goes to the owner.
    Stanza(Box<ReceivedStanza>),
    /// It cannot be delivered, and this error goes to its sender.
    Bounce(Element),
}

/// What a stream takes of the peer.
#[derive(Default)]
pub(super) struct Intake {
    /// Between whom it takes stanzas, and how the peer proved its domain.
    pub(super) pairs: BTreeMap<DomainPair, Proof>,
    pub(super) language: Option<Arc<str>>,
    pub(super) received: Received,
}

impl Intake {
    /// Takes a stanza if its addresses are those of an authenticated pair, and counts it.
    pub(super) fn take(
        &mut self,
        mut element: Element,
        admission: &Admission,
    ) -> Result<Taken, CloseCause> {
        let Some(stanza) = Stanza::of(&element) else {
            return Err(CloseCause::UnsupportedElement);
        };
        // RFC 6120 s.8.1.2.2: the sender is named, and of a domain that the peer has proven.
        let Ok(Some(from)) = stanza.from() else {
            return Err(CloseCause::StanzaAddressing);
        };
        let Some(known) = self.pairs.keys().find(|pair| pair.remote == *from.domain()) else {
            return Err(CloseCause::StanzaFrom);
        };
        // RFC 6120 s.8.1.1.2: the recipient is named.
        let to = match element.attribute("to") {
            None | Some("") => return Err(CloseCause::StanzaAddressing),
            Some(to) => Jid::parse(to),
        };
        let Ok(to) = to else {
            // RFC 7622 s.4: the sender learns of it, where it may be answered.
            let error = StanzaError::new(StanzaCondition::JidMalformed);
            let reply = error.reply_to(&stanza, &known.local);
            let reply = reply.ok_or(CloseCause::StanzaAddressing)?;
            self.received.count();
            return Ok(Taken::Bounce(reply));
        };
        self.check_pair(&from, &to, admission)?;
        // What goes on from here bears the prepared addresses alone.
        element.set_attribute("from", from.as_str());
        element.set_attribute("to", to.as_str());
        self.received.count();
        let stream_language = self.language.clone();
        Ok(Taken::Stanza(Box::new(ReceivedStanza { element, from, to, stream_language })))
    }

    /// RFC 6120 s.8.1.1.2: the recipient is of the domain that the pair was authenticated for, and
    /// policy still lets that count.
    fn check_pair(&self, from: &Jid, to: &Jid, admission: &Admission) -> Result<(), CloseCause> {
        let pair = DomainPair { local: to.domain().clone(), remote: from.domain().clone() };
        let Some(proof) = self.pairs.get(&pair) else {
            return Err(CloseCause::StanzaTo);
        };
        if admits(admission, &pair, *proof) { Ok(()) } else { Err(CloseCause::NotAdmitted) }
    }

    /// Whether policy lets any pair send that is still proven.
    pub(super) fn is_admitted_by(
        &self,
        admission: &Admission,
        is_proven: impl Fn(&DomainPair, Proof) -> bool,
    ) -> bool {
        let mut pairs = self.pairs.iter();
        pairs.any(|(pair, proof)| admits(admission, pair, *proof) && is_proven(pair, *proof))
    }

    /// Whether the peer waits for acknowledgements that cannot be given yet.
    pub(super) const fn owes_acknowledgements(&self) -> bool {
        self.received.is_enabled() && !self.received.is_complete()
    }

    /// Takes the owner's word for the next `count` stanzas, and tells the peer in time.
    pub(super) fn acknowledge(&mut self, count: u64, wire: &mut Wire, now: Instant) {
        self.received.acknowledge(count);
        let unreported = self.received.unreported();
        let batch_max = u64::from(wire.limits.acknowledgement_batch_max);
        if self.received.is_due() || unreported >= batch_max {
            self.report(wire);
        } else if unreported > 0 {
            let at = now + wire.limits.acknowledgement_delay;
            wire.timers.set_if_stopped(Timer::Acknowledgement, at);
        }
    }

    /// Answers an `<r/>`.
    pub(super) fn answer(&mut self, wire: &mut Wire) {
        if let Some(answer) = self.received.answer() {
            wire.timers.stop(Timer::Acknowledgement);
            wire.send(&answer);
        }
    }

    /// Tells the peer of what was acknowledged since it was told last: the more it knows of when
    /// the stream ends, the less it sends twice.
    pub(super) fn report(&mut self, wire: &mut Wire) {
        if self.received.unreported() > 0
            && let Some(report) = self.received.report()
        {
            wire.timers.stop(Timer::Acknowledgement);
            wire.send(&report);
        }
    }
}

fn admits(admission: &Admission, pair: &DomainPair, proof: Proof) -> bool {
    let terms = admission.terms(&pair.local, &pair.remote);
    terms.is_some_and(|terms| terms.accepts(proof))
}
