//! The initiating entity: we connected to a peer, and send it our stanzas.

mod exchange;
mod negotiation;
mod verification;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use thiserror::Error;

use crate::limits::StreamLimits;
use crate::stanza::error::StanzaCondition;
use crate::stream::Disconnect;
use crate::stream::admission::{Admission, PeerCertificate, Proof};
use crate::stream::announced_limits::AnnouncedLimits;
use crate::stream::close::{CloseCause, CloseReason};
use crate::stream::confirming::Confirmation;
use crate::stream::dialback::{DomainPair, Verdict, VerifyRequest};
use crate::stream::error::{PeerStreamError, StreamCondition};
use crate::stream::features::Features;
use crate::stream::header::OwnHeader;
use crate::stream::intake::{Intake, ReceivedStanza};
use crate::stream::outbox::{Outbox, Unconfirmed};
use crate::stream::terms::{Method, TlsTerms};
use crate::stream::timer::Timer;
use crate::stream::wire::{FirstLevel, Wire, next_event};
use crate::xml::{Element, Frame};

use verification::Verifications;

/// What happened on a stream that we opened.
#[derive(Debug)]
pub enum InitiatingEvent {
    /// TLS begins, with us as the client: answer with [`InitiatingStream::handle_tls`].
    StartTls,
    /// The peer takes our stanzas.
    Ready {
        /// Whether the certificate proves the peer's domain; where it does not, or there is none
        /// because there is no TLS, policy allowed to go on.
        peer_proven: bool,
        /// How we proved our domain.
        proof: Proof,
        /// How deliveries are confirmed.
        confirmation: Confirmation,
    },
    /// A stanza that was taken before the peer announced its limits is too large for it, and was not
    /// sent (XEP-0478).
    TooLarge {
        /// What the owner calls the stanza.
        token: u64,
    },
    /// The peer has confirmed a stanza. Confirmations come in the order of the stanzas.
    Delivered {
        /// What the owner calls the stanza.
        token: u64,
    },
    /// A key was verified, or could not be; each request has one verdict.
    Verdict {
        /// The domain that the key was sent to, and the one that it is to prove.
        pair: DomainPair,
        /// The ID of the stream that the key came on.
        stream_id: String,
        /// The outcome.
        verdict: Verdict,
    },
    /// A stanza of the peer, on a bidirectional stream.
    Stanza(Box<ReceivedStanza>),
    /// A stanza of the peer that cannot be delivered; its error goes to the sender.
    ///
    /// It counts as a stanza for [`InitiatingStream::acknowledge`].
    Bounce(Element),
    /// The stream is over; see [`InitiatingStream::take_unconfirmed`].
    Closed(CloseReason),
}

/// Why a stanza was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// Too many stanzas are unconfirmed, or too many bytes wait to be written.
    #[error("the queue of the stream is full")]
    QueueFull,
    /// The stream is over, or about to be.
    #[error("the stream has ended")]
    Ended,
    /// The stream carries no stanzas of the pair in this direction, or policy no longer lets it.
    #[error("the stream does not carry stanzas of the pair")]
    NotCarried,
    /// The peer has announced that it takes no stanza of this size (XEP-0478).
    #[error("the peer takes no stanza of this size")]
    TooLarge,
}

/// The initiating side of one stream, between one domain of ours and one of the peer; the module
/// documentation of [`crate::stream`] tells how to drive it.
pub struct InitiatingStream {
    pair: DomainPair,
    wire: Wire,
    state: State,
    events: VecDeque<InitiatingEvent>,
    outbox: Outbox,
    /// What the certificate of a peer that may send us stanzas counts as, once we have asked for
    /// a bidirectional stream.
    peer_proof: Option<Proof>,
    intake: Intake,
    peer_limits: AnnouncedLimits,
    verifications: Verifications,
    /// Whether TLS is asked for, where the peer offers it and policy does not insist.
    wants_tls: bool,
    /// The time of the last call that told it.
    now: Instant,
}

/// ```text
///               header               features              proceed          TLS done
/// AwaitHeader --------> AwaitFeatures --------> AwaitProceed ----> AwaitTls --------+
///   (Plain)                (Plain)                                                  |
///                                                                                   |
///   +--------------------------------------------------------------------------------+
///   v           header               features
/// AwaitHeader --------> AwaitFeatures --------> AwaitSasl -----------+
///  (Secured)              (Secured)               |   success        |
///                                                 | failure          v
///   AwaitHeader --------> AwaitFeatures           v              AwaitHeader
///  (Authenticated)       (Authenticated)   AwaitDialback       (Authenticated)
///                              |                  | valid
///                              v                  v
///                           AwaitEnabled (where stream management is offered)
///                              |
///                              v     close by us
///                            Open --------------> Ending -----> Closed
/// ```
///
/// On a bidirectional stream `Draining` comes before `Ending` while the peer waits for
/// acknowledgements that the owner still owes.
/// An error leads to `Closed` from everywhere. A connection that begins with TLS begins with
/// `AwaitHeader (Secured)`. Where policy lets a stream go without TLS, features without it lead to
/// `AwaitDialback`, and so does a header without a version, behind which no features come.
enum State {
    AwaitHeader(Layer),
    AwaitFeatures(Layer, ResponseHeader),
    AwaitProceed,
    AwaitTls,
    AwaitSasl(Proving),
    AwaitDialback(Proving),
    AwaitEnabled(Authenticated),
    Open(Confirmation),
    /// The stream is about to end, but acknowledgements are still to be given.
    Draining(CloseCause),
    /// We ended our stream; acknowledgements may still come.
    Ending(CloseReason),
    Closed,
}

/// What protects the stream whose header or features come next.
#[derive(Clone, Copy)]
enum Layer {
    Plain,
    Secured { peer_proven: bool },
    Authenticated { peer_proven: bool },
}

/// What later steps need of the peer's header.
struct ResponseHeader {
    id: Option<String>,
    declares_dialback: bool,
    language: Option<Arc<str>>,
}

/// A stream on which we are proving our domain.
struct Proving {
    protection: Protection,
    header: ResponseHeader,
    features: Features,
}

/// What protects the stream on which we prove our domain.
#[derive(Clone, Copy)]
enum Protection {
    Nothing,
    Tls { peer_proven: bool },
}

/// A stream on which we have proven our domain.
struct Authenticated {
    peer_proven: bool,
    proof: Proof,
}

impl InitiatingStream {
    /// A connection that begins in the clear, for the stanzas from `pair.local` to `pair.remote`.
    ///
    /// `seed` must be random and used for this stream only.
    pub fn new(pair: DomainPair, limits: StreamLimits, seed: [u8; 32], now: Instant) -> Self {
        let mut stream = Self::begin(pair, State::AwaitHeader(Layer::Plain), limits, seed, now);
        stream.send_header();
        stream
    }

    /// A connection that began with TLS (XEP-0368).
    ///
    /// `seed` must be random and used for this stream only.
    pub fn direct_tls(
        pair: DomainPair,
        certificate: &dyn PeerCertificate,
        limits: StreamLimits,
        seed: [u8; 32],
        admission: &Admission,
        now: Instant,
    ) -> Self {
        let mut stream = Self::begin(pair, State::AwaitTls, limits, seed, now);
        stream.handle_tls(certificate, admission, now);
        stream
    }

    fn begin(
        pair: DomainPair,
        state: State,
        limits: StreamLimits,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        Self {
            pair,
            wire: Wire::new(limits, seed, now),
            state,
            events: VecDeque::new(),
            outbox: Outbox::default(),
            peer_proof: None,
            intake: Intake::default(),
            peer_limits: AnnouncedLimits::default(),
            verifications: Verifications::default(),
            wants_tls: true,
            now,
        }
    }

    /// Does without TLS where policy lets the stream, although the peer offers it: on the last
    /// connection it offered TLS and then refused to begin it.
    pub const fn forgo_tls(&mut self) {
        self.wants_tls = false;
    }

    /// Takes bytes of the peer: in the clear before TLS, decrypted behind it.
    pub fn handle_bytes(&mut self, bytes: &[u8], admission: &Admission, now: Instant) {
        self.now = now;
        if !bytes.is_empty() && matches!(self.state, State::Open(_)) {
            self.wire.set_timer(Timer::KeepAlive, self.wire.limits.keep_alive, now);
        }
        let mut input = bytes;
        loop {
            match self.state {
                // RFC 6120 s.5.4.3.3: nothing in the clear counts once TLS has begun.
                State::AwaitTls if !input.is_empty() => {
                    let reason = self.wire.close_silently(CloseCause::PlaintextBeforeTls);
                    self.closed(reason);
                    return;
                }
                State::AwaitTls | State::Closed => return,
                _ => {}
            }
            match self.wire.framer.next_frame(&mut input) {
                Ok(Some(frame)) => self.handle_frame(frame, admission),
                Ok(None) => return,
                Err(error) => return self.fail(CloseCause::Xml(error)),
            }
            if matches!(self.state, State::AwaitTls) && input.is_empty() {
                self.events.push_back(InitiatingEvent::StartTls);
            }
        }
    }

    /// Takes the outcome of a TLS handshake that succeeded, and opens the stream anew.
    ///
    /// RFC 6120 s.5.4.3.3: everything learnt before is forgotten.
    pub fn handle_tls(
        &mut self,
        certificate: &dyn PeerCertificate,
        admission: &Admission,
        now: Instant,
    ) {
        self.now = now;
        if !matches!(self.state, State::AwaitTls) {
            return;
        }
        let peer_proven = certificate.proves(&self.pair.remote);
        let terms = admission.terms(&self.pair.local, &self.pair.remote);
        let Some(terms) = terms else {
            let reason = self.wire.close_silently(CloseCause::NotAdmitted);
            return self.closed(reason);
        };
        if terms.tls() == TlsTerms::NotSupported {
            let reason = self.wire.close_silently(CloseCause::TlsNotSupported);
            return self.closed(reason);
        }
        if !peer_proven && !terms.allows(Method::DialbackOverTls) {
            let reason = self.wire.close_silently(CloseCause::PeerUnproven);
            return self.closed(reason);
        }
        if peer_proven {
            self.wire.lift_limits();
        }
        self.restart(Layer::Secured { peer_proven });
    }

    /// Takes the end of the connection.
    pub fn handle_disconnect(&mut self, disconnect: Disconnect) {
        let reason = match std::mem::replace(&mut self.state, State::Closed) {
            State::Closed => return,
            State::Ending(reason) => reason,
            State::Draining(cause) => self.wire.close_silently(cause),
            _ => self.wire.close_silently(CloseCause::from(disconnect)),
        };
        self.closed(reason);
    }

    /// Ends the waits whose time is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        while let Some(timer) = self.wire.timers.expire(now) {
            self.handle_timer(timer);
        }
    }

    /// Sends a stanza, or keeps it until the stream is ready.
    ///
    /// `bytes` are what [`write_stanza`](crate::xml::write_stanza) made. The stanza is named by
    /// `token` when it is confirmed, or taken out as unconfirmed.
    ///
    /// # Errors
    ///
    /// The stream has ended, or holds as much as its limits allow, or the stanza is too large for
    /// the peer; it was not taken.
    pub fn send_stanza(&mut self, token: u64, bytes: Bytes, now: Instant) -> Result<(), SendError> {
        self.now = now;
        if matches!(self.state, State::Draining(_) | State::Ending(_) | State::Closed) {
            return Err(SendError::Ended);
        }
        let limits = &self.wire.limits;
        let queued = self.outbox.waiting_bytes() + self.wire.output_bytes();
        if self.outbox.unconfirmed() >= limits.unconfirmed_stanzas_max
            || queued + bytes.len() > limits.queued_bytes_max
        {
            return Err(SendError::QueueFull);
        }
        if matches!(self.state, State::Open(_)) {
            if !self.peer_limits.takes(bytes.len()) {
                return Err(SendError::TooLarge);
            }
            self.wire.send_written(&bytes);
            self.outbox.send(token);
            self.wire.set_timer(Timer::Inactivity, self.wire.limits.inactivity_max, now);
        } else {
            self.outbox.wait(token, bytes);
        }
        Ok(())
    }

    /// Asks the peer, as the authoritative server of its domain, to verify a key.
    ///
    /// The answer is one [`InitiatingEvent::Verdict`]. A key of another domain than the peer's, or
    /// one too many, is answered at once by an error.
    pub fn request_verification(&mut self, request: VerifyRequest, now: Instant) {
        self.now = now;
        let over = matches!(self.state, State::Draining(_) | State::Ending(_) | State::Closed);
        let refusal = if over || request.pair.remote != self.pair.remote {
            Some(StanzaCondition::RemoteServerNotFound)
        } else if self.verifications.len() >= self.wire.limits.verifications_max {
            Some(StanzaCondition::ResourceConstraint)
        } else {
            None
        };
        match refusal {
            Some(condition) => self.events.push_back(InitiatingEvent::Verdict {
                pair: request.pair,
                stream_id: request.stream_id,
                verdict: Verdict::Error(condition),
            }),
            None => {
                self.verifications.ask(request, now + self.wire.limits.dead_peer_max);
                self.send_verifications();
            }
        }
    }

    /// Takes the id of an iq of type result or error that the peer sent, on whichever stream.
    ///
    /// Returns whether it answers a ping of ours, which confirms what was sent before it.
    pub fn handle_barrier_answer(&mut self, id: &str, now: Instant) -> bool {
        self.now = now;
        let Some(confirmed) = self.outbox.handle_barrier_answer(id, &mut self.wire) else {
            return false;
        };
        self.delivered(confirmed);
        if matches!(self.state, State::Open(_)) {
            self.wire.set_timer(Timer::KeepAlive, self.wire.limits.keep_alive, now);
        }
        true
    }

    /// Closes the stream, with a stream error or without: an open one when the peer has closed too,
    /// so that it can confirm what is on its way; any other at once.
    pub fn close(&mut self, condition: Option<StreamCondition>, now: Instant) {
        self.now = now;
        let cause = CloseCause::Requested(condition);
        match self.state {
            State::Open(_) => self.leave(cause),
            // It has only the rest of its time.
            State::Draining(_) | State::Ending(_) | State::Closed => {}
            _ => self.fail(cause),
        }
    }

    /// Whether the stream is over; [`InitiatingEvent::Closed`] says why.
    pub const fn has_ended(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Takes out the stanzas that were not confirmed, in order.
    ///
    /// For an ended stream: what may have reached the peer, and what has not.
    pub fn take_unconfirmed(&mut self) -> Vec<Unconfirmed> {
        self.outbox.take_unconfirmed()
    }

    /// Bytes for the peer, with a request to confirm them where one is in order.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        if let State::Open(confirmation) = self.state
            && self.outbox.wants_request()
        {
            self.outbox.request(confirmation, &self.pair, &mut self.wire, self.now);
        }
        let output = self.wire.take_output();
        self.outbox.mark_written();
        output
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<InitiatingEvent> {
        next_event(&mut self.events)
    }

    /// When to call [`InitiatingStream::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wire.timers.next()
    }

    fn handle_frame(&mut self, frame: Frame, admission: &Admission) {
        match frame {
            Frame::Header(tag) => self.handle_header(&tag, admission),
            Frame::Element(element) => self.handle_element(element, admission),
            Frame::End => match std::mem::replace(&mut self.state, State::Closed) {
                State::Ending(reason) => self.closed(reason),
                State::Draining(_) => self.state = State::Draining(CloseCause::PeerClosed),
                State::Open(_) if self.intake.owes_acknowledgements() => {
                    self.leave(CloseCause::PeerClosed);
                }
                state => {
                    self.state = state;
                    self.fail(CloseCause::PeerClosed);
                }
            },
        }
    }

    fn handle_element(&mut self, element: Element, admission: &Admission) {
        let first_level = FirstLevel::of(&element);
        match (first_level, &self.state) {
            (FirstLevel::Error, _) => {
                self.fail(CloseCause::PeerError(PeerStreamError::read(&element)));
            }
            (FirstLevel::Management, State::Open(_) | State::Draining(_) | State::Ending(_)) => {
                self.handle_management(&element);
            }
            (FirstLevel::Stanza, _) => self.handle_stanza(element, admission),
            (_, State::Draining(_) | State::Ending(_))
            | (FirstLevel::Unknown | FirstLevel::Bidi, _) => {}
            (FirstLevel::ForeignContent, _) => self.fail(CloseCause::ForeignContent),
            (FirstLevel::Dialback, _) => self.handle_dialback(&element),
            // RFC 6120 s.4.3.5: features may come once more and then say nothing.
            (FirstLevel::Features, State::Open(_)) => {}
            _ => self.negotiate(first_level, &element, admission),
        }
    }

    fn handle_timer(&mut self, timer: Timer) {
        match (timer, &self.state) {
            (Timer::Negotiation, _) => self.fail(CloseCause::NegotiationTimeout),
            (Timer::Establishment, _) => self.fail(CloseCause::EstablishmentTimeout),
            (Timer::DeadPeer, _) => self.fail(CloseCause::DeadPeer),
            (Timer::Verification, _) => self.expire_verifications(),
            (Timer::Acknowledgement, _) => self.intake.report(&mut self.wire),
            (Timer::KeepAlive | Timer::Request, State::Open(confirmation)) => {
                let confirmation = *confirmation;
                if timer == Timer::KeepAlive {
                    let wait = self.wire.limits.keep_alive;
                    self.wire.set_timer(Timer::KeepAlive, wait, self.now);
                }
                if !self.outbox.is_requested() {
                    self.outbox.request(confirmation, &self.pair, &mut self.wire, self.now);
                }
            }
            (Timer::Inactivity, State::Open(_)) => {
                if self.is_idle() {
                    self.begin_to_end(CloseCause::Idle);
                } else {
                    let wait = self.wire.limits.inactivity_max;
                    self.wire.set_timer(Timer::Inactivity, wait, self.now);
                }
            }
            (Timer::Close, State::Draining(_)) => self.end(),
            (Timer::Close, _) => self.handle_disconnect(Disconnect::Lost),
            _ => {}
        }
    }

    fn send_header(&mut self) {
        self.wire.send_header(&OwnHeader {
            from: Some(&self.pair.local),
            to: Some(&self.pair.remote),
            id: None,
            versioned: true,
        });
    }

    /// Opens the stream anew (RFC 6120 s.4.3.3).
    fn restart(&mut self, layer: Layer) {
        self.wire.framer.restart();
        self.send_header();
        self.expect(State::AwaitHeader(layer));
    }

    /// Waits for the next step of the negotiation.
    fn expect(&mut self, state: State) {
        self.state = state;
        self.wire.set_timer(Timer::Negotiation, self.wire.limits.negotiation_max, self.now);
    }

    /// Ends the stream with the stream error that the cause calls for.
    fn fail(&mut self, cause: CloseCause) {
        let reason = match self.state {
            State::Closed => return,
            // RFC 6120 s.5.4.3.2: no XML where TLS is being negotiated, nor behind our end.
            State::AwaitTls | State::Ending(_) => self.wire.close_silently(cause),
            _ => {
                self.intake.report(&mut self.wire);
                self.wire.send_close(cause)
            }
        };
        self.closed(reason);
    }

    fn closed(&mut self, reason: CloseReason) {
        self.wire.timers.stop_all();
        self.state = State::Closed;
        let open = self.verifications.take_all();
        // XEP-0220 s.2.1.2: what the peer did not answer counts as an error.
        self.events.extend(open.map(|(pair, stream_id)| InitiatingEvent::Verdict {
            pair,
            stream_id,
            verdict: Verdict::Error(StanzaCondition::RemoteServerTimeout),
        }));
        self.events.push_back(InitiatingEvent::Closed(reason));
    }
}
