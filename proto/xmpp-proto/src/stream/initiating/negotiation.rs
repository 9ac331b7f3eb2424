//! From the first header to a stream that is ready: TLS, SASL EXTERNAL or dialback, and what is
//! offered behind them.

use std::sync::Arc;

use crate::ns;
use crate::stanza::error::StanzaCondition;
use crate::stream::admission::{Admission, Proof};
use crate::stream::announced_limits::AnnouncedLimits;
use crate::stream::close::CloseCause;
use crate::stream::confirming::Confirmation;
use crate::stream::dialback::{Content, DialbackElement, Step, Verdict, answer, request};
use crate::stream::features::{Features, StartTls};
use crate::stream::header::{Header, HeaderError, Version};
use crate::stream::initiating::{
    Authenticated, InitiatingEvent, InitiatingStream, Layer, Protection, Proving, ResponseHeader,
    State,
};
use crate::stream::sasl::{SaslCondition, external_request};
use crate::stream::stream_management;
use crate::stream::terms::{Method, StreamTerms, TlsTerms};
use crate::stream::timer::Timer;
use crate::stream::wire::FirstLevel;
use crate::xml::{Element, OpenTag};

impl InitiatingStream {
    /// Takes the response header.
    pub(super) fn handle_header(&mut self, tag: &OpenTag, admission: &Admission) {
        let header = match Header::read(tag) {
            Ok(header) => header,
            Err(error) => return self.fail(CloseCause::Header(error)),
        };
        let State::AwaitHeader(layer) = self.state else { return };
        let response = ResponseHeader {
            id: header.id,
            declares_dialback: header.declares_dialback,
            language: header.language,
        };
        if header.version >= Version::SUPPORTED {
            return self.expect(State::AwaitFeatures(layer, response));
        }
        // RFC 3920 s.8.3: a server that sends no version has dialback and nothing else.
        let (local, remote) = (&self.pair.local, &self.pair.remote);
        match layer {
            Layer::Plain if admission.lets_dialback_in_clear(local, Some(remote)) => {
                self.prove_in_clear(response, Features::default(), admission);
            }
            _ => self.fail(CloseCause::Header(HeaderError::Version)),
        }
    }

    /// Takes the next step of the negotiation; what is no step ends the stream.
    pub(super) fn negotiate(
        &mut self,
        first_level: FirstLevel,
        element: &Element,
        admission: &Admission,
    ) {
        match (std::mem::replace(&mut self.state, State::Closed), first_level, element.local()) {
            (State::AwaitFeatures(layer, header), FirstLevel::Features, _) => {
                self.handle_features(layer, header, Features::read(element), admission);
            }
            (State::AwaitProceed, FirstLevel::Tls, "proceed") => self.expect(State::AwaitTls),
            (State::AwaitProceed, FirstLevel::Tls, "failure") => {
                self.refuse(CloseCause::TlsRefused);
            }
            (State::AwaitSasl(proving), FirstLevel::Sasl, "success") => {
                let peer_proven = proving.protection.peer_proven();
                self.restart(Layer::Authenticated { peer_proven });
            }
            (State::AwaitSasl(proving), FirstLevel::Sasl, "failure") => {
                self.fall_back(proving, SaslCondition::read(element), admission);
            }
            (State::AwaitEnabled(authenticated), FirstLevel::Management, "enabled") => {
                self.intake.received.enable();
                self.ready(&authenticated, Confirmation::Acknowledgements);
            }
            (State::AwaitEnabled(authenticated), FirstLevel::Management, "failed") => {
                self.ready(&authenticated, Confirmation::Barriers);
            }
            // RFC 6120 s.4.3.5: features may come once more and then say nothing.
            (
                state @ (State::AwaitDialback(_) | State::AwaitEnabled(_)),
                FirstLevel::Features,
                _,
            ) => self.state = state,
            _ => self.refuse(CloseCause::UnsupportedElement),
        }
    }

    fn handle_features(
        &mut self,
        layer: Layer,
        header: ResponseHeader,
        features: Features,
        admission: &Admission,
    ) {
        match layer {
            Layer::Plain => self.begin_tls_or_go_without(header, features, admission),
            Layer::Secured { peer_proven } => {
                let protection = Protection::Tls { peer_proven };
                self.authenticate(Proving { protection, header, features }, admission);
            }
            Layer::Authenticated { peer_proven } => {
                let authenticated = Authenticated { peer_proven, proof: Proof::External };
                self.authenticated(authenticated, features, header.language);
            }
        }
    }

    /// TLS wherever the peer offers it and policy supports it; without it only where policy lets.
    fn begin_tls_or_go_without(
        &mut self,
        header: ResponseHeader,
        features: Features,
        admission: &Admission,
    ) {
        let Some(terms) = admission.terms(&self.pair.local, &self.pair.remote) else {
            return self.refuse(CloseCause::NotAdmitted);
        };
        let goes_in_clear = terms.allows(Method::DialbackInClear);
        let wants_tls = terms.tls() != TlsTerms::NotSupported && (self.wants_tls || !goes_in_clear);
        match features.starttls {
            Some(_) if wants_tls => {
                self.wire.send(&Element::new(ns::TLS, "starttls"));
                self.expect(State::AwaitProceed);
            }
            // It would take no key in the clear.
            Some(StartTls::Required) if terms.tls() == TlsTerms::NotSupported => {
                self.refuse(CloseCause::TlsNotSupported);
            }
            _ if goes_in_clear => self.prove_in_clear(header, features, admission),
            // RFC 7590 s.3.1: TLS is not given up because somebody left it out.
            _ => self.refuse(CloseCause::TlsNotOffered),
        }
    }

    /// Proves our domain without TLS, where policy allows that.
    fn prove_in_clear(
        &mut self,
        header: ResponseHeader,
        features: Features,
        admission: &Admission,
    ) {
        let proving = Proving { protection: Protection::Nothing, header, features };
        if proving.offers_dialback() {
            self.send_key(proving, admission);
        } else {
            self.refuse(CloseCause::NothingOffered);
        }
    }

    /// Proves our domain over TLS by the best way that the peer offers and policy allows.
    fn authenticate(&mut self, proving: Proving, admission: &Admission) {
        let Some(terms) = admission.terms(&self.pair.local, &self.pair.remote) else {
            return self.refuse(CloseCause::NotAdmitted);
        };
        // XEP-0288 s.2.2: before we authenticate, and only with a peer whose stanzas we would take
        // on a stream of its own.
        if terms.bidi() && proving.protection.peer_proven() && proving.features.bidi {
            self.peer_proof = terms.certificate_proof();
            let limits = AnnouncedLimits::of(&self.wire.limits).element();
            self.wire.send(&Element::new(ns::BIDI, "bidi").with_child(limits));
        }
        if terms.allows(Method::ExternalOverTls) && proving.features.external {
            self.wire.send(&external_request(&self.pair.local));
            self.expect(State::AwaitSasl(proving));
        } else if terms.allows(Method::DialbackOverTls) && proving.offers_dialback() {
            self.send_key(proving, admission);
        } else {
            self.refuse(CloseCause::NothingOffered);
        }
    }

    /// XEP-0178 s.3: a failed EXTERNAL may be followed by dialback, where both sides allow it.
    fn fall_back(&mut self, proving: Proving, condition: SaslCondition, admission: &Admission) {
        let terms = admission.terms(&self.pair.local, &self.pair.remote);
        let allows = |terms: StreamTerms| terms.allows(Method::DialbackOverTls);
        if terms.is_some_and(allows) && proving.offers_dialback() {
            self.send_key(proving, admission);
        } else {
            self.refuse(CloseCause::SaslFailed(condition));
        }
    }

    /// XEP-0220 s.2.1.1: sends our key and waits, for as long as the peer needs to verify it.
    fn send_key(&mut self, proving: Proving, admission: &Admission) {
        let (local, remote) = (&self.pair.local, &self.pair.remote);
        let Some(stream_id) = &proving.header.id else {
            return self.refuse(CloseCause::StreamIdMissing);
        };
        let Some(key) = admission.dialback_secrets.key(remote, local, stream_id) else {
            return self.refuse(CloseCause::DialbackSecretMissing);
        };
        self.wire.send(&request(Step::Result, local, remote, None, &key));
        self.wire.timers.stop(Timer::Negotiation);
        self.state = State::AwaitDialback(proving);
        self.send_verifications();
    }

    /// Takes a dialback element: the answer to our key, or the verdict on another.
    ///
    /// XEP-0220 s.3.1: what answers no question of this stream is dropped.
    pub(super) fn handle_dialback(&mut self, element: &Element) {
        let Ok(answer) = DialbackElement::read(element) else { return };
        let verdict = match answer.content {
            Content::Verdict(verdict) => verdict,
            Content::Key(_) => return self.refuse_key(&answer),
            Content::Unknown => return,
        };
        match answer.step {
            Step::Verify => self.handle_verdict(&answer, verdict),
            Step::Result => {
                if answer.from == self.pair.remote && answer.to == self.pair.local {
                    self.handle_result(verdict);
                }
            }
        }
    }

    /// XEP-0288 s.2.2: the peer of a bidirectional stream may ask for a further pair. None is taken
    /// on a stream of ours, and it is told so, instead of being left to wait.
    fn refuse_key(&mut self, key: &DialbackElement) {
        if key.step == Step::Result && self.is_bidirectional() {
            let refusal = Verdict::Error(StanzaCondition::NotAuthorized);
            self.wire.send(&answer(Step::Result, &key.to, &key.from, None, refusal));
        }
    }

    fn handle_result(&mut self, verdict: Verdict) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::AwaitDialback(proving) => match verdict {
                Verdict::Valid => {
                    let Proving { protection, features, header } = proving;
                    let peer_proven = protection.peer_proven();
                    let proof = match protection {
                        Protection::Tls { .. } => Proof::Dialback,
                        Protection::Nothing => Proof::DialbackInClear,
                    };
                    let authenticated = Authenticated { peer_proven, proof };
                    self.authenticated(authenticated, features, header.language);
                }
                Verdict::Invalid => self.refuse(CloseCause::DialbackInvalid),
                Verdict::Error(condition) => self.refuse(CloseCause::DialbackRefused(condition)),
            },
            state => self.state = state,
        }
    }

    /// We have proven our domain: acknowledgements are negotiated where the peer offers them.
    fn authenticated(
        &mut self,
        authenticated: Authenticated,
        features: Features,
        language: Option<Arc<str>>,
    ) {
        self.wire.lift_limits();
        self.peer_limits = features.limits;
        // Where it is as long as the stream may be idle, the peer is to be left alone.
        if self.wire.limits.keep_alive < self.wire.limits.inactivity_max {
            let keep_alive = features.limits.keep_alive(self.wire.limits.keep_alive);
            self.wire.limits.keep_alive = keep_alive;
        }
        self.intake.language = language;
        self.intake.pairs.extend(self.peer_proof.map(|proof| (self.pair.clone(), proof)));
        self.wire.timers.stop(Timer::Establishment);
        if features.stream_management {
            self.wire.send(&stream_management::element("enable"));
            self.expect(State::AwaitEnabled(authenticated));
            self.send_verifications();
        } else {
            self.ready(&authenticated, Confirmation::Barriers);
        }
    }

    /// The stream is ready: what waited goes out.
    fn ready(&mut self, authenticated: &Authenticated, confirmation: Confirmation) {
        self.state = State::Open(confirmation);
        self.wire.timers.stop(Timer::Negotiation);
        self.wire.set_timer(Timer::KeepAlive, self.wire.limits.keep_alive, self.now);
        self.wire.set_timer(Timer::Inactivity, self.wire.limits.inactivity_max, self.now);
        let Authenticated { peer_proven, proof } = *authenticated;
        self.events.push_back(InitiatingEvent::Ready { peer_proven, proof, confirmation });
        self.send_verifications();
        let limits = self.peer_limits;
        let too_large = self.outbox.take_waiting(|bytes| !limits.takes(bytes));
        let too_large = too_large.into_iter();
        self.events.extend(too_large.map(|token| InitiatingEvent::TooLarge { token }));
        while let Some(bytes) = self.outbox.next_waiting() {
            self.wire.send_written(&bytes);
        }
    }

    /// Ends the stream where the state that led here has been consumed.
    pub(super) fn refuse(&mut self, cause: CloseCause) {
        let reason = self.wire.send_close(cause);
        self.closed(reason);
    }
}

impl Protection {
    const fn peer_proven(self) -> bool {
        matches!(self, Self::Tls { peer_proven: true })
    }
}

impl Proving {
    /// XEP-0220 s.2.4: a feature, or the namespace declaration of older servers.
    fn offers_dialback(&self) -> bool {
        self.features.dialback || self.header.declares_dialback
    }
}
