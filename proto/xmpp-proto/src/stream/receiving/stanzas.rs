//! An open stream: stanzas with their addresses checked, and their acknowledgements.

use crate::stanza::error::StanzaCondition;
use crate::stream::admission::Proof;
use crate::stream::close::{CloseCause, CloseReason};
use crate::stream::dialback::DomainPair;
use crate::stream::error::StreamCondition;
use crate::stream::intake::Taken;
use crate::stream::receiving::{Context, Open, ReceivingEvent, State};
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
    fn handle_stanza(&mut self, open: &mut Open, element: Element) -> Result<(), CloseCause> {
        self.events.push_back(match open.intake.take(element, self.admission)? {
            Taken::Stanza(stanza) => ReceivingEvent::Stanza(stanza),
            Taken::Bounce(reply) => ReceivingEvent::Bounce(reply),
        });
        Ok(())
    }

    /// Why policy lets no pair of the stream use it, if it does not.
    pub(super) fn cause_to_leave(&self, open: &Open) -> Option<CloseCause> {
        // What proved a domain may not be trusted any more.
        let is_proven = |pair: &DomainPair, proof: Proof| match proof {
            Proof::External | Proof::Certificate => open.peer.proves(&pair.remote),
            Proof::Dialback | Proof::DialbackInClear => true,
        };
        if open.intake.is_admitted_by(self.admission, is_proven) {
            return None;
        }
        let mut pairs = open.intake.pairs.keys();
        let may_return =
            pairs.any(|pair| self.admission.terms(&pair.local, &pair.remote).is_some());
        Some(match may_return {
            true => CloseCause::Requested(Some(StreamCondition::Reset)),
            false => CloseCause::NotAdmitted,
        })
    }

    /// Stream management, which counts both directions of a bidirectional stream.
    fn handle_management(&mut self, open: &mut Open, element: &Element) -> Result<(), CloseCause> {
        match element.local() {
            "enable" => {
                // XEP-0198 s.3: a second attempt is answered by a stream error.
                if !open.intake.received.enable() {
                    return Err(CloseCause::EnabledTwice);
                }
                self.outbox.begin_acknowledgements();
                // Without resumption, whatever was asked for.
                self.wire.send(&stream_management::element("enabled"));
            }
            "resume" => {
                let condition = StanzaCondition::FeatureNotImplemented;
                self.wire.send(&stream_management::failed(condition));
            }
            "r" => open.intake.answer(self.wire),
            "a" if open.intake.received.is_enabled() => {
                self.handle_acknowledgement(element, true)?;
            }
            "a" => {
                read_handled(element).ok_or(CloseCause::AcknowledgementMalformed)?;
            }
            _ => return Err(CloseCause::UnsupportedElement),
        }
        Ok(())
    }
}
