//! The receiving entity: a peer connected to us, and we take its stanzas.

mod authentication;
mod carrying;
mod opening;
mod stanzas;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::jid::Domain;
use crate::limits::StreamLimits;
use crate::stream::Disconnect;
use crate::stream::admission::{Admission, PeerCertificate, Proof};
use crate::stream::announced_limits::AnnouncedLimits;
use crate::stream::close::{CloseCause, CloseReason};
use crate::stream::dialback::{DomainPair, Verdict, VerifyRequest};
use crate::stream::error::StreamCondition;
use crate::stream::intake::{Intake, ReceivedStanza};
use crate::stream::outbox::Outbox;
use crate::stream::sasl::SaslServer;
use crate::stream::timer::Timer;
use crate::stream::wire::{Wire, next_event};
use crate::xml::{Element, Frame};

/// What happened on a stream that a peer opened.
#[derive(Debug)]
pub enum ReceivingEvent {
    /// TLS begins, with us as the server: answer with [`ReceivingStream::handle_tls`].
    ///
    /// [`ReceivingStream::tls_domain`] tells for which domain, where that is known.
    StartTls,
    /// A domain pair is authenticated; the first one makes the stream usable.
    Authenticated {
        /// The pair.
        pair: DomainPair,
        /// How the peer proved its domain.
        proof: Proof,
    },
    /// A dialback key wants to be verified: answer with [`ReceivingStream::handle_verdict`].
    VerifyDialback(VerifyRequest),
    /// A stanza of an authenticated pair.
    Stanza(Box<ReceivedStanza>),
    /// A stanza that cannot be delivered; its error goes to the sender on our own stream.
    ///
    /// It counts as a stanza for [`ReceivingStream::acknowledge`].
    Bounce(Element),
    /// The peer has confirmed a stanza of ours, on a bidirectional stream. Confirmations come in the
    /// order of the stanzas.
    Delivered {
        /// What the owner calls the stanza.
        token: u64,
    },
    /// The stream is over; see [`ReceivingStream::take_unconfirmed`].
    Closed(CloseReason),
}

/// The receiving side of one stream; the module documentation of [`crate::stream`] tells how to
/// drive it.
pub struct ReceivingStream {
    wire: Wire,
    state: State,
    events: VecDeque<ReceivingEvent>,
    /// Our stanzas on a bidirectional stream.
    outbox: Outbox,
    /// The time of the last call that told it.
    now: Instant,
    claim: Claim,
}

/// Whom the peer speaks for, as it says itself, whatever it has proven: for reports, not for
/// decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Its domain, as its last header or dialback key has it.
    pub remote: Option<Domain>,
    /// The domain of ours that it asks for there.
    pub local: Option<Domain>,
    /// What its last dialback key was answered with.
    pub key: Option<Verdict>,
    /// Whether it asked about a key of ours, for which some servers open a stream of its own.
    pub has_asked: bool,
}

/// ```text
///             header         starttls           TLS done
/// AwaitHeader ------> InClear ----> AwaitTls ----> AwaitHeader
///  (Plain)               |                          (Secured)
///                        | dialback: valid,                   |
///                        | where policy allows it             |
///                        +-----> Open                         | header
///                                success                      v
///             AwaitHeader <----------------------------- Negotiating
///           (Authenticated)          EXTERNAL                 |
///                  | header                                   | dialback: valid
///                  v                                          v
///                Open <---------------------------------------+
///                  | end of the peer, close by us             |
///                  v                                          | nothing is
///              Draining                                       | owed
///   acknowledged   | our end                                  v
///                  +--------> Closed (the peer has ended) or Ending -----> Closed
/// ```
///
/// An error leads to `Closed` from everywhere. A connection that begins with TLS begins with
/// `AwaitTls`.
enum State {
    AwaitHeader(Layer),
    InClear(InClear),
    /// With the domain of ours that was asked for in the clear.
    AwaitTls(Option<Domain>),
    Negotiating(Negotiating),
    Open(Open),
    /// The stream is about to end, but acknowledgements are still to be given.
    Draining {
        open: Open,
        cause: CloseCause,
    },
    /// We ended our stream; what the peer sent before it saw that still counts.
    Ending {
        reason: CloseReason,
        open: Option<Open>,
    },
    Closed,
}

/// What protects the stream whose header comes next.
enum Layer {
    Plain,
    Secured(Certificate),
    Authenticated { pair: DomainPair, certificate: Certificate, bidi: Option<AnnouncedLimits> },
}

type Certificate = Box<dyn PeerCertificate>;

/// A stream that nothing protects, or nothing yet, without an authenticated pair.
struct InClear {
    peer: Peer,
    /// The domain of ours that was asked for.
    to: Domain,
    /// Whether TLS may begin.
    offers_tls: bool,
    sasl_failures: u32,
}

/// What the header of a stream said, and what else its pairs rest on.
struct Peer {
    stream_id: String,
    language: Option<Arc<str>>,
    /// `None` without TLS.
    certificate: Option<Certificate>,
    verifications: BTreeMap<DomainPair, Instant>,
    /// What the peer announced when it took up our offer to carry our stanzas too.
    bidi: Option<AnnouncedLimits>,
}

/// A protected stream without an authenticated pair.
struct Negotiating {
    peer: Peer,
    /// The domains of the header.
    pair: DomainPair,
    offers_bidi: bool,
    sasl: SaslServer,
    sasl_failures: u32,
}

/// A stream with at least one authenticated pair.
struct Open {
    peer: Peer,
    intake: Intake,
    /// The pair of our last stanza, between which the peer is asked to confirm it.
    carried: Option<DomainPair>,
}

/// What every transition is given.
struct Context<'a> {
    wire: &'a mut Wire,
    events: &'a mut VecDeque<ReceivingEvent>,
    outbox: &'a mut Outbox,
    claim: &'a mut Claim,
    admission: &'a Admission,
    now: Instant,
}

impl Peer {
    /// What a key that the authoritative server has verified is worth on this stream.
    const fn dialback_proof(&self) -> Proof {
        match self.certificate {
            Some(_) => Proof::Dialback,
            None => Proof::DialbackInClear,
        }
    }

    /// Whether TLS showed a certificate that proves the domain.
    fn proves(&self, domain: &Domain) -> bool {
        self.certificate.as_ref().is_some_and(|certificate| certificate.proves(domain))
    }
}

impl State {
    /// The peer, while keys of it may be verified.
    const fn peer_mut(&mut self) -> Option<&mut Peer> {
        match self {
            Self::InClear(InClear { peer, .. })
            | Self::Negotiating(Negotiating { peer, .. })
            | Self::Open(Open { peer, .. }) => Some(peer),
            _ => None,
        }
    }
}

impl ReceivingStream {
    /// A connection that begins in the clear.
    ///
    /// `seed` must be random and used for this stream only.
    pub fn new(limits: StreamLimits, seed: [u8; 32], now: Instant) -> Self {
        Self::begin(State::AwaitHeader(Layer::Plain), VecDeque::new(), limits, seed, now)
    }

    /// A connection that begins with TLS (XEP-0368): its first event is
    /// [`ReceivingEvent::StartTls`], and the time of the handshake counts like that of any step.
    ///
    /// `seed` must be random and used for this stream only.
    pub fn direct_tls(limits: StreamLimits, seed: [u8; 32], now: Instant) -> Self {
        let (state, events) = (State::AwaitTls(None), VecDeque::from([ReceivingEvent::StartTls]));
        Self::begin(state, events, limits, seed, now)
    }

    fn begin(
        state: State,
        events: VecDeque<ReceivingEvent>,
        limits: StreamLimits,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let wire = Wire::new(limits, seed, now);
        let (outbox, claim) = (Outbox::default(), Claim::default());
        Self { wire, state, events, outbox, now, claim }
    }

    /// Takes bytes of the peer: in the clear before TLS, decrypted behind it.
    pub fn handle_bytes(&mut self, bytes: &[u8], admission: &Admission, now: Instant) {
        self.keep_alive(now);
        let mut input = bytes;
        loop {
            match self.state {
                // RFC 6120 s.5.4.3.3: nothing in the clear counts once TLS has begun.
                State::AwaitTls(_) if !input.is_empty() => {
                    self.closed(|wire| wire.close_silently(CloseCause::PlaintextBeforeTls));
                }
                State::AwaitTls(_) | State::Closed => return,
                _ => {}
            }
            let frame = match self.wire.framer.next_frame(&mut input) {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(error) => {
                    self.step(admission, now, |state, context| {
                        context.fail(state, CloseCause::Xml(error))
                    });
                    return;
                }
            };
            self.step(admission, now, |state, context| context.handle_frame(state, frame));
            if matches!(self.state, State::AwaitTls(_)) && input.is_empty() {
                self.events.push_back(ReceivingEvent::StartTls);
            }
        }
    }

    /// While TLS is to begin: the domain of ours that the peer asked for in the clear, if anything
    /// was said there.
    ///
    /// It tells which certificate to show where the handshake itself does not
    /// (RFC 6120 s.5.4.3.1).
    pub const fn tls_domain(&self) -> Option<&Domain> {
        match &self.state {
            State::AwaitTls(domain) => domain.as_ref(),
            _ => None,
        }
    }

    /// Returns whom the peer says that it speaks for.
    pub const fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Takes the outcome of a TLS handshake that succeeded.
    ///
    /// RFC 6120 s.5.4.3.3: everything learnt before is forgotten.
    pub fn handle_tls(&mut self, certificate: Box<dyn PeerCertificate>, now: Instant) {
        if matches!(self.state, State::AwaitTls(_)) {
            self.wire.framer.restart();
            self.wire.set_timer(Timer::Negotiation, self.wire.limits.negotiation_max, now);
            self.state = State::AwaitHeader(Layer::Secured(certificate));
        }
    }

    /// Takes the answer to a [`ReceivingEvent::VerifyDialback`] of this stream.
    ///
    /// An answer that nothing waits for is dropped.
    pub fn handle_verdict(
        &mut self,
        pair: &DomainPair,
        stream_id: &str,
        verdict: Verdict,
        admission: &Admission,
        now: Instant,
    ) {
        self.step(admission, now, |state, context| {
            context.handle_verdict(state, pair, stream_id, verdict)
        });
    }

    /// Takes another admission: a stream that it leaves without a pair that may use it ends, with
    /// `policy-violation` where no pair may federate, and with `reset` where one may do so in
    /// another way (RFC 6120 s.4.9.3.16).
    ///
    /// Where another pair lives on the stream, a stanza of the one that may not ends it.
    pub fn handle_admission(&mut self, admission: &Admission, now: Instant) {
        self.step(admission, now, |state, context| match state {
            State::Open(open) => match context.cause_to_leave(&open) {
                // The peer may come back, and is told before of all that it sent here.
                Some(cause @ CloseCause::Requested(_)) => context.leave(open, cause),
                Some(cause) => context.fail(State::Open(open), cause),
                None => State::Open(open),
            },
            state => state,
        });
    }

    /// Takes the end of the connection.
    pub fn handle_disconnect(&mut self, disconnect: Disconnect) {
        if matches!(self.state, State::Closed) {
            return;
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Ending { reason, .. } => {
                self.wire.timers.stop_all();
                self.events.push_back(ReceivingEvent::Closed(reason));
            }
            State::Draining { cause, .. } => {
                self.closed(|wire| wire.close_silently(cause));
            }
            _ => self.closed(|wire| wire.close_silently(CloseCause::from(disconnect))),
        }
    }

    /// Ends the waits whose time is over.
    pub fn handle_timeout(&mut self, admission: &Admission, now: Instant) {
        while let Some(timer) = self.wire.timers.expire(now) {
            self.step(admission, now, |state, context| context.handle_timer(state, timer));
        }
    }

    /// Takes responsibility for the next `count` stanzas, in the order of their events.
    ///
    /// Where the peer uses stream management it is told, at the latest after
    /// [`StreamLimits::acknowledgement_delay`].
    pub fn acknowledge(&mut self, count: u64, now: Instant) {
        self.now = now;
        if let State::Open(open) | State::Draining { open, .. } = &mut self.state {
            open.intake.acknowledge(count, &mut self.wire, now);
        }
        if matches!(&self.state, State::Draining { open, .. } if !open.intake.owes_acknowledgements())
        {
            let state = std::mem::replace(&mut self.state, State::Closed);
            if let State::Draining { open, cause } = state {
                self.state = end_stream(&mut self.wire, &mut self.events, open, cause, now);
            }
        }
    }

    /// Closes the stream: with a stream error at once, without one when the peer has closed too.
    ///
    /// What was handed out can still be acknowledged, for [`StreamLimits::close_max`]. Stanzas
    /// that the peer sends before it has seen the end are still handed out, but for those that it
    /// will send again because they are not acknowledged.
    pub fn close(
        &mut self,
        condition: Option<StreamCondition>,
        admission: &Admission,
        now: Instant,
    ) {
        let cause = CloseCause::Requested(condition);
        self.step(admission, now, |state, context| match state {
            State::Open(open) if condition.is_none() => context.leave(open, cause),
            state @ State::Draining { .. } if condition.is_none() => state,
            state => context.fail(state, cause),
        });
    }

    /// Bytes for the peer, with a request to confirm our stanzas where one is in order.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.request_confirmation();
        let output = self.wire.take_output();
        self.outbox.mark_written();
        output
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ReceivingEvent> {
        next_event(&mut self.events)
    }

    /// When to call [`ReceivingStream::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wire.timers.next()
    }

    /// Runs one transition, which consumes the state and returns the next.
    fn step(
        &mut self,
        admission: &Admission,
        now: Instant,
        transition: impl FnOnce(State, &mut Context<'_>) -> State,
    ) {
        self.now = now;
        let state = std::mem::replace(&mut self.state, State::Closed);
        let Self { wire, events, outbox, claim, .. } = self;
        let mut context = Context { wire, events, outbox, claim, admission, now };
        self.state = transition(state, &mut context);
    }

    fn closed(&mut self, close: impl FnOnce(&mut Wire) -> CloseReason) {
        self.state = State::Closed;
        let reason = close(&mut self.wire);
        self.events.push_back(ReceivingEvent::Closed(reason));
    }
}

impl Context<'_> {
    fn handle_frame(&mut self, state: State, frame: Frame) -> State {
        match (state, frame) {
            (State::AwaitHeader(layer), Frame::Header(tag)) => self.answer_header(layer, &tag),
            (State::InClear(in_clear), Frame::Element(element)) => {
                self.handle_before_tls(in_clear, &element)
            }
            (State::Negotiating(negotiating), Frame::Element(element)) => {
                self.negotiate(negotiating, &element)
            }
            (State::Open(open), Frame::Element(element)) => self.handle_element(open, element),
            (State::Ending { reason, open: Some(open) }, Frame::Element(element)) => {
                self.handle_late_element(reason, open, element)
            }
            (State::Ending { reason, .. }, Frame::End) => self.closed(reason),
            (State::Open(open), Frame::End) => self.leave(open, CloseCause::PeerClosed),
            (State::Draining { open, .. }, Frame::End) => {
                State::Draining { open, cause: CloseCause::PeerClosed }
            }
            (state @ State::Draining { .. }, Frame::Element(element)) => {
                self.handle_late_acknowledgement(state, &element)
            }
            (state @ State::Ending { open: None, .. }, Frame::Element(element)) => {
                self.handle_late_acknowledgement(state, &element)
            }
            (state @ State::Draining { .. }, _) => state,
            (state @ (State::Ending { .. } | State::AwaitTls(_) | State::Closed), _) => state,
            (state, Frame::End) => self.fail(state, CloseCause::PeerClosed),
            // The framer gives a header once, before anything else.
            (state, Frame::Header(_) | Frame::Element(_)) => {
                self.fail(state, CloseCause::UnsupportedElement)
            }
        }
    }

    fn handle_timer(&mut self, state: State, timer: Timer) -> State {
        match (timer, state) {
            (Timer::Negotiation, state) => self.fail(state, CloseCause::NegotiationTimeout),
            (Timer::Establishment, state) => self.fail(state, CloseCause::EstablishmentTimeout),
            (Timer::Verification, state) => self.expire_verifications(state),
            (Timer::Acknowledgement, mut state) => {
                if let State::Open(open) | State::Draining { open, .. } = &mut state {
                    open.intake.report(self.wire);
                }
                state
            }
            (Timer::DeadPeer, state) => self.fail(state, CloseCause::DeadPeer),
            (Timer::KeepAlive | Timer::Request, State::Open(open)) => self.probe(open, timer),
            (Timer::Inactivity, State::Open(open)) if self.outbox.unconfirmed() == 0 => {
                self.leave(open, CloseCause::Idle)
            }
            (Timer::Inactivity, state @ State::Open(_)) => {
                self.wire.set_timer(timer, self.wire.limits.inactivity_max, self.now);
                state
            }
            (Timer::Close, State::Ending { reason, .. }) => self.closed(reason),
            (Timer::Close, State::Draining { open, cause }) => {
                end_stream(self.wire, self.events, open, cause, self.now)
            }
            (_, state) => state,
        }
    }

    /// Ends the stream in any state, with as many words as the state lets us send.
    fn fail(&mut self, state: State, cause: CloseCause) -> State {
        let reason = match state {
            State::Closed => return State::Closed,
            // RFC 6120 s.5.4.3.2: no XML where TLS is being negotiated, nor behind our end.
            State::AwaitTls(_) => {
                // What is over before the owner has heard of TLS does not begin it.
                self.events.retain(|event| !matches!(event, ReceivingEvent::StartTls));
                self.wire.close_silently(cause)
            }
            State::Ending { .. } => self.wire.close_silently(cause),
            // RFC 6120 s.4.9.1.2: a header comes before the error.
            State::AwaitHeader(_) => {
                self.send_header(None, None, true);
                self.wire.send_close(cause)
            }
            State::Open(mut open) | State::Draining { mut open, .. } => {
                open.intake.report(self.wire);
                self.wire.send_close(cause)
            }
            State::InClear(_) | State::Negotiating(_) => self.wire.send_close(cause),
        };
        self.closed(reason)
    }

    /// Ends a stream whose header has been answered, with the stream error that the cause calls
    /// for.
    fn refuse(&mut self, cause: CloseCause) -> State {
        let reason = self.wire.send_close(cause);
        self.closed(reason)
    }

    fn closed(&mut self, reason: CloseReason) -> State {
        self.wire.timers.stop_all();
        self.events.push_back(ReceivingEvent::Closed(reason));
        State::Closed
    }

    /// Ends our stream, once the acknowledgements that the peer waits for can be given.
    fn leave(&mut self, open: Open, cause: CloseCause) -> State {
        if open.intake.owes_acknowledgements() {
            self.wire.timers.stop_all();
            self.wire.set_timer(Timer::Close, self.wire.limits.close_max, self.now);
            return State::Draining { open, cause };
        }
        end_stream(self.wire, self.events, open, cause, self.now)
    }
}

/// Ends our stream; unless the peer has ended its own, it is waited for (RFC 6120 s.4.4).
fn end_stream(
    wire: &mut Wire,
    events: &mut VecDeque<ReceivingEvent>,
    mut open: Open,
    cause: CloseCause,
    now: Instant,
) -> State {
    open.intake.report(wire);
    let peer_has_ended = cause == CloseCause::PeerClosed;
    let reason = wire.send_close(cause);
    if peer_has_ended {
        events.push_back(ReceivingEvent::Closed(reason));
        return State::Closed;
    }
    wire.set_timer(Timer::Close, wire.limits.close_max, now);
    // XEP-0198 s.4: what goes unacknowledged stays with the peer.
    let open = (!open.intake.received.is_enabled()).then_some(open);
    State::Ending { reason, open }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_can_be_moved_to_another_thread() {
        const fn can_be_moved<T: Send>() {}
        can_be_moved::<ReceivingStream>();
        can_be_moved::<crate::stream::InitiatingStream>();
    }
}
