//! An open stream: stanzas with their addresses checked, and their acknowledgements.

use crate::jid::Jid;
use crate::stanza::Stanza;
use crate::stanza::error::{StanzaCondition, StanzaError};
use crate::stream::admission::Proof;
use crate::stream::close::{CloseCause, CloseReason};
use crate::stream::dialback::DomainPair;
use crate::stream::error::StreamCondition;
use crate::stream::receiving::{Context, Open, ReceivedStanza, ReceivingEvent, State};
use crate::stream::stream_management::{self, read_handled};
use crate::stream::timer::Timer;
use crate::stream::wire::FirstLevel;
use crate::xml::Element;

impl Context<'_> {
    /// Handles an element on an open stream.
    pub(super) fn handle_element(&mut self, mut open: Open, element: Element) -> State {
        self.wire.set_timer(Timer::Inactivity, self.wire.limits.inactivity_max, self.now);
        match FirstLevel::of(&element) {
            FirstLevel::Stanza => match self.handle_stanza(&mut open, element) {
                Ok(()) => State::Open(open),
                Err(cause) => self.fail(State::Open(open), cause),
            },
            FirstLevel::Dialback => self.handle_further_dialback(open, &element),
            FirstLevel::Management => match self.handle_management(&mut open, &element) {
                Ok(()) => State::Open(open),
                Err(cause) => self.fail(State::Open(open), cause),
            },
            first_level => self.handle_unwelcome(State::Open(open), first_level, &element),
        }
    }

    /// Handles what the peer sent before it saw the end of our stream.
    pub(super) fn handle_late_element(
        &mut self,
        reason: CloseReason,
        mut open: Open,
        element: Element,
    ) -> State {
        if FirstLevel::of(&element) != FirstLevel::Stanza {
            return State::Ending { reason, open: Some(open) };
        }
        match self.handle_stanza(&mut open, element) {
            Ok(()) => State::Ending { reason, open: Some(open) },
            Err(cause) => {
                let reason = self.wire.close_silently(cause);
                self.closed(reason)
            }
        }
    }

    /// Hands a stanza out if its addresses are those of an authenticated pair.
    fn handle_stanza(&mut self, open: &mut Open, mut element: Element) -> Result<(), CloseCause> {
        let Some(stanza) = Stanza::of(&element) else {
            return Err(CloseCause::UnsupportedElement);
        };
        // RFC 6120 s.8.1.2.2: the sender is named, and of a domain that the peer has proven.
        let Ok(Some(from)) = stanza.from() else {
            return Err(CloseCause::StanzaAddressing);
        };
        let Some(known) = open.pairs.keys().find(|pair| pair.remote == *from.domain()) else {
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
            open.received.count();
            self.events.push_back(ReceivingEvent::Bounce(reply));
            return Ok(());
        };
        self.check_pair(open, &from, &to)?;
        // What goes on from here bears the prepared addresses alone.
        element.set_attribute("from", from.as_str());
        element.set_attribute("to", to.as_str());
        open.received.count();
        self.events.push_back(ReceivingEvent::Stanza(Box::new(ReceivedStanza {
            element,
            from,
            to,
            stream_language: open.peer.language.clone(),
        })));
        Ok(())
    }

    /// RFC 6120 s.8.1.1.2: the recipient is of the domain that the pair was authenticated for, and
    /// policy still lets that count.
    fn check_pair(&self, open: &Open, from: &Jid, to: &Jid) -> Result<(), CloseCause> {
        let pair = DomainPair { local: to.domain().clone(), remote: from.domain().clone() };
        let Some(proof) = open.pairs.get(&pair) else {
            return Err(CloseCause::StanzaTo);
        };
        if self.admits(&pair, *proof) { Ok(()) } else { Err(CloseCause::NotAdmitted) }
    }

    /// Why policy lets no pair of the stream use it, if it does not.
    pub(super) fn cause_to_leave(&self, open: &Open) -> Option<CloseCause> {
        if open.pairs.iter().any(|(pair, proof)| self.admits(pair, *proof)) {
            return None;
        }
        let mut pairs = open.pairs.keys();
        let may_return =
            pairs.any(|pair| self.admission.terms(&pair.local, &pair.remote).is_some());
        Some(match may_return {
            true => CloseCause::Requested(Some(StreamCondition::Reset)),
            false => CloseCause::NotAdmitted,
        })
    }

    fn admits(&self, pair: &DomainPair, proof: Proof) -> bool {
        let terms = self.admission.terms(&pair.local, &pair.remote);
        terms.is_some_and(|terms| terms.accepts(proof))
    }

    /// Stream management of a peer that sends stanzas and receives none.
    fn handle_management(&mut self, open: &mut Open, element: &Element) -> Result<(), CloseCause> {
        match element.local() {
            "enable" => {
                // XEP-0198 s.3: a second attempt is answered by a stream error.
                if !open.received.enable() {
                    return Err(CloseCause::EnabledTwice);
                }
                // Without resumption, whatever was asked for.
                self.wire.send(&stream_management::element("enabled"));
            }
            "resume" => {
                let condition = StanzaCondition::FeatureNotImplemented;
                self.wire.send(&stream_management::failed(condition));
            }
            "r" => {
                if let Some(answer) = open.received.answer() {
                    self.wire.timers.stop(Timer::Acknowledgement);
                    self.wire.send(&answer);
                }
            }
            "a" => {
                let handled = read_handled(element).ok_or(CloseCause::AcknowledgementMalformed)?;
                // XEP-0198 s.4: no stanza flows from here to the peer.
                if open.received.is_enabled() && handled != 0 {
                    return Err(CloseCause::AcknowledgementTooHigh { handled, sent: 0 });
                }
            }
            _ => return Err(CloseCause::UnsupportedElement),
        }
        Ok(())
    }
}
