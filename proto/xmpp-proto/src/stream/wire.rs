//! The two directions of one connection: frames of the peer, bytes for it, and the waits between.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::limits::{Limits, StreamLimits};
use crate::ns;
use crate::stanza::Stanza;
use crate::stream::close::{CloseCause, CloseReason};
use crate::stream::header::OwnHeader;
use crate::stream::identifier::Identifiers;
use crate::stream::timer::{Timer, Timers};
use crate::xml::{Element, Framer, append_stanza};

/// A queue above this size is not kept when it has run empty.
const IDLE_EVENTS_MAX: usize = 16;

/// Takes the next event, and gives back the memory of a burst when it is over.
pub(super) fn next_event<E>(events: &mut VecDeque<E>) -> Option<E> {
    let event = events.pop_front();
    if event.is_none() && events.capacity() > IDLE_EVENTS_MAX {
        *events = VecDeque::new();
    }
    event
}

/// What a first-level element is to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstLevel {
    Stanza,
    Error,
    Features,
    Tls,
    Sasl,
    Dialback,
    Management,
    Bidi,
    /// Of the content namespace of another kind of stream.
    ForeignContent,
    /// Of a namespace that we speak, but not a part of it.
    Unsupported,
    /// Of a namespace that we do not speak.
    Unknown,
}

impl FirstLevel {
    pub(super) fn of(element: &Element) -> Self {
        match (element.namespace(), element.local()) {
            (ns::SERVER, _) if Stanza::of(element).is_some() => Self::Stanza,
            (ns::STREAM, "error") => Self::Error,
            (ns::STREAM, "features") => Self::Features,
            (ns::TLS, _) => Self::Tls,
            (ns::SASL, _) => Self::Sasl,
            (ns::DIALBACK, "result" | "verify") => Self::Dialback,
            (ns::STREAM_MANAGEMENT, _) => Self::Management,
            (ns::BIDI, "bidi") => Self::Bidi,
            (ns::CLIENT | ns::COMPONENT, _) => Self::ForeignContent,
            (ns::SERVER | ns::STREAM | ns::DIALBACK, _) => Self::Unsupported,
            // RFC 6120 s.4.8.4: ignored, like what comes too late of a feature not offered.
            _ => Self::Unknown,
        }
    }
}

/// The parts of a machine that do not depend on its state.
pub(super) struct Wire {
    pub(super) limits: StreamLimits,
    pub(super) framer: Framer,
    pub(super) timers: Timers,
    pub(super) identifiers: Identifiers,
    output: Vec<u8>,
}

impl Wire {
    /// A connection that has just begun, with a random seed of its own.
    pub(super) fn new(limits: StreamLimits, seed: [u8; 32], now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Negotiation, now + limits.negotiation_max);
        timers.set(Timer::Establishment, now + limits.establishment_max);
        Self {
            limits,
            framer: Framer::cumulative(limits.before_authentication),
            timers,
            identifiers: Identifiers::new(seed),
            output: Vec::new(),
        }
    }

    /// Lets the peer send what a proven peer may.
    pub(super) fn lift_limits(&mut self) {
        let limits: Limits = self.limits.after_authentication;
        self.framer.set_limits(limits);
    }

    pub(super) fn set_timer(&mut self, timer: Timer, wait: Duration, now: Instant) {
        self.timers.set(timer, now + wait);
    }

    pub(super) fn send(&mut self, element: &Element) {
        append_stanza(&mut self.output, element);
    }

    pub(super) fn send_header(&mut self, header: &OwnHeader<'_>) {
        header.append(&mut self.output);
    }

    /// Sends bytes that our writer made.
    pub(super) fn send_written(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Sends the end of our stream.
    pub(super) fn send_end(&mut self) {
        self.output.extend_from_slice(b"</stream:stream>");
    }

    /// Sends the stream error that the cause calls for, and the end of our stream.
    pub(super) fn send_close(&mut self, cause: CloseCause) -> CloseReason {
        let told = cause.condition();
        if let Some(condition) = told {
            let mut error = condition.error(&cause.to_string());
            if let CloseCause::AcknowledgementTooHigh { handled, sent } = cause {
                // XEP-0198 s.6: the application-specific condition.
                error.push_child(
                    Element::new(ns::STREAM_MANAGEMENT, "handled-count-too-high")
                        .with_attribute("h", handled.to_string())
                        .with_attribute("send-count", sent.to_string()),
                );
            }
            self.send(&error);
        }
        self.send_end();
        self.timers.stop_all();
        CloseReason { cause, told }
    }

    /// Ends the stream without a word to the peer.
    pub(super) fn close_silently(&mut self, cause: CloseCause) -> CloseReason {
        self.timers.stop_all();
        CloseReason { cause, told: None }
    }

    /// Gives a peer whose answer the owner does not read the whole time to answer once more.
    pub(super) fn excuse_silence(&mut self, now: Instant) {
        if self.timers.is_running(Timer::DeadPeer) {
            self.set_timer(Timer::DeadPeer, self.limits.dead_peer_max, now);
        }
    }

    /// The bytes that wait for the peer.
    pub(super) fn output_bytes(&self) -> usize {
        self.output.len()
    }

    pub(super) fn take_output(&mut self) -> Option<Bytes> {
        if self.output.is_empty() {
            return None;
        }
        Some(Bytes::from(std::mem::take(&mut self.output)))
    }
}
