//! Opening a stream, in each of its three lives: headers, features, STARTTLS.

use std::collections::BTreeMap;

use crate::jid::Domain;
use crate::ns;
use crate::stanza::error::StanzaCondition;
use crate::stream::admission::Proof;
use crate::stream::announced_limits::AnnouncedLimits;
use crate::stream::close::CloseCause;
use crate::stream::dialback::DomainPair;
use crate::stream::error::PeerStreamError;
use crate::stream::features::{Features, StartTls};
use crate::stream::header::{Address, Header, HeaderError, OwnHeader, Version};
use crate::stream::intake::Intake;
use crate::stream::receiving::{
    Certificate, Context, InClear, Layer, Negotiating, Open, Peer, ReceivingEvent, State,
};
use crate::stream::sasl::{SaslCondition, SaslServer};
use crate::stream::stream_management;
use crate::stream::terms::{Method, StreamTerms, TlsTerms};
use crate::stream::timer::Timer;
use crate::stream::wire::FirstLevel;
use crate::xml::{Element, OpenTag};

impl Context<'_> {
    /// Answers the header of the peer with ours, and with features or a stream error.
    pub(super) fn answer_header(&mut self, layer: Layer, tag: &OpenTag) -> State {
        let header = match Header::read(tag) {
            Ok(header) => header,
            Err(error) => return self.refuse_header(None, error),
        };
        self.claim.remote = header.from.domain().cloned().or(self.claim.remote.take());
        self.claim.local = header.to.domain().cloned().or(self.claim.local.take());
        let local = match self.check_to(&header, &layer) {
            Ok(local) => local,
            Err(error) => return self.refuse_header(Some(&header), error),
        };
        if let Err(error) = self.check_from(&header, &layer) {
            return self.refuse_header(Some(&header), error);
        }
        let versioned = header.version >= Version::SUPPORTED;
        let stream_id = self.send_header(Some(&local), header.from.domain(), versioned);
        self.wire.set_timer(Timer::Negotiation, self.wire.limits.negotiation_max, self.now);
        let peer = |certificate, bidi| Peer {
            stream_id,
            language: header.language,
            certificate,
            verifications: BTreeMap::new(),
            bidi,
        };
        match (layer, header.from) {
            (Layer::Secured(certificate), Address::Domain(remote)) => {
                let pair = DomainPair { local, remote };
                self.offer_authentication(peer(Some(certificate), None), pair)
            }
            (Layer::Authenticated { pair, certificate, bidi }, _) => {
                self.offer_the_rest(peer(Some(certificate), bidi), pair)
            }
            (Layer::Plain | Layer::Secured(_), from) => {
                self.offer_tls(peer(None, None), local, from.domain(), versioned)
            }
        }
    }

    /// Offers TLS as far as the terms say, and dialback where they allow it without.
    fn offer_tls(
        &mut self,
        peer: Peer,
        to: Domain,
        from: Option<&Domain>,
        versioned: bool,
    ) -> State {
        // A peer that has not said who it is, or is no partner, has no terms: TLS is required.
        let terms = from.and_then(|from| self.admission.terms(&to, from));
        let in_clear = terms.is_some_and(|terms| terms.allows(Method::DialbackInClear));
        let starttls = match terms.map(StreamTerms::tls) {
            Some(TlsTerms::NotSupported) => None,
            _ if in_clear => Some(StartTls::Optional),
            // Of rows without a method in the clear TLS is mandatory, whatever they call it.
            _ => Some(StartTls::Required),
        };
        // RFC 6120 s.4.7.5: no features to a peer that sends no version, and so no TLS.
        if versioned {
            let features = Features { starttls, dialback: in_clear, ..Features::default() };
            self.wire.send(&features.element());
        }
        let offers_tls = versioned && starttls.is_some();
        State::InClear(InClear { peer, to, offers_tls, sasl_failures: 0 })
    }

    /// Sends a response header with a stream ID of its own (RFC 6120 s.4.7.3).
    pub(super) fn send_header(
        &mut self,
        from: Option<&Domain>,
        to: Option<&Domain>,
        versioned: bool,
    ) -> String {
        let stream_id = self.wire.identifiers.next();
        self.wire.send_header(&OwnHeader {
            from: from.or(self.admission.default_domain()),
            to,
            id: Some(&stream_id),
            versioned,
        });
        stream_id
    }

    /// RFC 6120 s.4.9.1.2: the header comes although it is followed by an error.
    fn refuse_header(&mut self, header: Option<&Header>, error: HeaderError) -> State {
        let ours = header.and_then(|header| header.to.domain());
        let ours = ours.filter(|domain| self.admission.serves(domain)).cloned();
        let theirs = header.and_then(|header| header.from.domain());
        let versioned = header.is_none_or(|header| header.version >= Version::SUPPORTED);
        self.send_header(ours.as_ref(), theirs, versioned);
        let reason = self.wire.send_close(CloseCause::Header(error));
        self.closed(reason)
    }

    fn check_to(&self, header: &Header, layer: &Layer) -> Result<Domain, HeaderError> {
        let is_old = header.version < Version::SUPPORTED;
        let to = match (&header.to, layer) {
            (Address::Domain(to), _) => Some(to),
            // RFC 3920 s.8.3: an old header may name nobody, since dialback does.
            (Address::Missing, Layer::Plain) if is_old => self.admission.default_domain(),
            (Address::Missing | Address::Malformed, _) => None,
        };
        let may_be_old = matches!(layer, Layer::Plain)
            && to.is_some_and(|to| self.admission.lets_dialback_in_clear(to, header.from.domain()));
        if is_old && !may_be_old {
            return Err(HeaderError::Version);
        }
        match to {
            None => Err(HeaderError::To),
            Some(to) if self.admission.serves(to) => Ok(to.clone()),
            Some(_) => Err(HeaderError::HostUnknown),
        }
    }

    fn check_from(&self, header: &Header, layer: &Layer) -> Result<(), HeaderError> {
        let from = match (&header.from, layer) {
            // RFC 6120 s.4.7.1: it is required once the stream is protected.
            (Address::Missing, Layer::Plain) => return Ok(()),
            (Address::Missing | Address::Malformed, _) => return Err(HeaderError::From),
            (Address::Domain(from), _) => from,
        };
        if from.is_ip_literal() {
            return Err(HeaderError::FromAddress);
        }
        if self.admission.serves(from) {
            return Err(HeaderError::FromOurs);
        }
        match layer {
            Layer::Authenticated { pair, .. } if *from != pair.remote => {
                Err(HeaderError::FromChanged)
            }
            Layer::Authenticated { pair, .. } if header.to.domain() != Some(&pair.local) => {
                Err(HeaderError::ToChanged)
            }
            _ => Ok(()),
        }
    }

    /// Offers what the certificate and the terms of the pair allow, or nothing at all.
    fn offer_authentication(&mut self, peer: Peer, pair: DomainPair) -> State {
        let Some(terms) = self.admission.terms(&pair.local, &pair.remote) else {
            return self.refuse(CloseCause::NotAdmitted);
        };
        if terms.tls() == TlsTerms::NotSupported {
            return self.refuse(CloseCause::TlsNotSupported);
        }
        // XEP-0178 s.3: EXTERNAL is offered exactly when it will succeed.
        let external = terms.allows(Method::ExternalOverTls) && peer.proves(&pair.remote);
        let dialback = terms.allows(Method::DialbackOverTls);
        if !external && !dialback {
            // RFC 6120 s.6.4.5: instead of waiting for the stream to time out.
            return self.refuse(CloseCause::NoAuthentication);
        }
        let bidi = terms.bidi();
        let limits = AnnouncedLimits::of(&self.wire.limits);
        let features = Features { external, dialback, bidi, limits, ..Features::default() };
        self.wire.send(&features.element());
        let (offers_bidi, sasl) = (bidi, SaslServer::Idle);
        State::Negotiating(Negotiating { peer, pair, offers_bidi, sasl, sasl_failures: 0 })
    }

    /// Completes the negotiation behind SASL (RFC 6120 s.4.3.5).
    fn offer_the_rest(&mut self, peer: Peer, pair: DomainPair) -> State {
        let terms = self.admission.terms(&pair.local, &pair.remote);
        let Some(terms) = terms.filter(|terms| terms.accepts(Proof::External)) else {
            return self.refuse(CloseCause::NotAdmitted);
        };
        let features = Features {
            dialback: terms.allows(Method::DialbackOverTls),
            stream_management: true,
            limits: AnnouncedLimits::of(&self.wire.limits),
            ..Features::default()
        };
        self.wire.send(&features.element());
        self.opened(peer, pair, Proof::External)
    }

    /// The stream has its first authenticated pair.
    pub(super) fn opened(&mut self, peer: Peer, pair: DomainPair, proof: Proof) -> State {
        self.wire.lift_limits();
        self.wire.timers.stop(Timer::Negotiation);
        self.wire.timers.stop(Timer::Establishment);
        self.wire.set_timer(Timer::Inactivity, self.wire.limits.inactivity_max, self.now);
        self.events.push_back(ReceivingEvent::Authenticated { pair: pair.clone(), proof });
        let intake = Intake {
            pairs: BTreeMap::from([(pair, proof)]),
            language: peer.language.clone(),
            ..Intake::default()
        };
        State::Open(Open { peer, intake, carried: None })
    }

    /// Handles an element in the clear: STARTTLS leads on, and dialback where policy allows it.
    pub(super) fn handle_before_tls(&mut self, mut in_clear: InClear, element: &Element) -> State {
        match FirstLevel::of(element) {
            FirstLevel::Tls if element.local() == "starttls" => self.begin_tls(in_clear),
            FirstLevel::Sasl if matches!(element.local(), "auth" | "response" | "abort") => {
                if in_clear.sasl_failures > self.wire.limits.sasl_retries_max {
                    return self.refuse(CloseCause::SaslRetriesExceeded);
                }
                // RFC 6120 s.5.3.4: TLS comes before SASL.
                self.wire.send(&SaslCondition::EncryptionRequired.failure());
                in_clear.sasl_failures += 1;
                State::InClear(in_clear)
            }
            FirstLevel::Dialback => self.authenticate_in_clear(in_clear, element),
            FirstLevel::Management => {
                self.refuse_management(element);
                State::InClear(in_clear)
            }
            first_level => self.handle_unwelcome(State::InClear(in_clear), first_level, element),
        }
    }

    fn begin_tls(&mut self, in_clear: InClear) -> State {
        if !in_clear.offers_tls {
            // RFC 6120 s.5.4.2.2: the failure is followed by the end of the stream.
            self.wire.send(&Element::new(ns::TLS, "failure"));
            self.wire.send_end();
            let reason = self.wire.close_silently(CloseCause::TlsNotSupported);
            return self.closed(reason);
        }
        self.wire.send(&Element::new(ns::TLS, "proceed"));
        self.wire.timers.stop(Timer::Verification);
        self.wire.set_timer(Timer::Negotiation, self.wire.limits.negotiation_max, self.now);
        State::AwaitTls(Some(in_clear.to))
    }

    /// XEP-0198 s.3: not before authentication.
    pub(super) fn refuse_management(&mut self, element: &Element) {
        if matches!(element.local(), "enable" | "resume") {
            let failed = stream_management::failed(StanzaCondition::UnexpectedRequest);
            self.wire.send(&failed);
        }
    }

    /// Handles what no state of the negotiation has a use for.
    pub(super) fn handle_unwelcome(
        &mut self,
        state: State,
        first_level: FirstLevel,
        element: &Element,
    ) -> State {
        match first_level {
            FirstLevel::Unknown | FirstLevel::Bidi => state,
            FirstLevel::Error => {
                self.fail(state, CloseCause::PeerError(PeerStreamError::read(element)))
            }
            FirstLevel::Stanza => self.fail(state, CloseCause::StanzaNotAuthorized),
            FirstLevel::ForeignContent => self.fail(state, CloseCause::ForeignContent),
            _ => self.fail(state, CloseCause::UnsupportedElement),
        }
    }

    /// The state behind a successful EXTERNAL: the stream begins anew (RFC 6120 s.6.3.2).
    pub(super) fn restart_authenticated(
        &mut self,
        pair: DomainPair,
        certificate: Certificate,
        bidi: Option<AnnouncedLimits>,
    ) -> State {
        self.wire.framer.restart();
        self.wire.lift_limits();
        self.wire.timers.stop(Timer::Verification);
        self.wire.set_timer(Timer::Negotiation, self.wire.limits.negotiation_max, self.now);
        State::AwaitHeader(Layer::Authenticated { pair, certificate, bidi })
    }
}
