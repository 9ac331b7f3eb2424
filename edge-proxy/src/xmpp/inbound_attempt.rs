//! A peer's attempt to open a stream to us: what was found, and what stands in its way.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use link::wire::Attempt;
use link::wire::stream_report::Direction;
use xmpp_proto::jid::Domain;
use xmpp_proto::stream::{
    Claim, CloseCause, CloseReason, DomainPair, Proof, StreamCondition, Verdict,
};

use super::attempt::ClosedBy;
use super::attempt_text::{Lines, age_ms, word};
use super::certificate::Certificate;
use super::failure::Phase;
use super::report::wire_proof;

/// An attempt that goes on.
pub(super) struct InboundAttempt {
    began: Instant,
    address: IpAddr,
    is_direct_tls: bool,
    phase: Phase,
    phase_since: Instant,
    phases: Vec<(Phase, Duration)>,
    tls: Option<(Certificate, Option<u16>)>,
    tls_error: Option<String>,
    /// Whether the stream is open; what is proven then belongs to no handshake.
    is_over: bool,
}

impl InboundAttempt {
    /// Begins with a connection.
    pub(super) const fn begin(address: IpAddr, is_direct_tls: bool, now: Instant) -> Self {
        Self {
            began: now,
            address,
            is_direct_tls,
            phase: Phase::Stream,
            phase_since: now,
            phases: Vec::new(),
            tls: None,
            tls_error: None,
            is_over: false,
        }
    }

    /// Begins with the next phase.
    pub(super) fn enter(&mut self, phase: Phase, now: Instant) {
        let is_first_of_direct_tls = self.is_direct_tls && self.phases.is_empty();
        if !(is_first_of_direct_tls && phase == Phase::Tls) {
            self.phases.push((self.phase, now.saturating_duration_since(self.phase_since)));
        }
        (self.phase, self.phase_since) = (phase, now);
    }

    /// Takes what the handshake established.
    pub(super) fn note_tls(&mut self, peer: Certificate, version: Option<u16>, now: Instant) {
        self.enter(Phase::Authentication, now);
        self.tls = Some((peer, version));
    }

    /// Takes why the handshake failed.
    pub(super) fn note_tls_error(&mut self, error: &io::Error) {
        self.tls_error = Some(word(&error.to_string()));
    }

    /// Tells that the peer has proven its domain: the first, or one more on an open stream.
    pub(super) fn succeeded(
        &mut self,
        pair: &DomainPair,
        proof: Proof,
        now: Instant,
    ) -> (Domain, Attempt) {
        let mut lines = self.lines(&pair.remote, now);
        lines.line(&format!("proof: {}", proof.label()));
        let attempt = Attempt {
            local_domain: pair.local.as_str().to_owned(),
            proof: wire_proof(Some(proof)).into(),
            ..self.attempt(&pair.remote, lines, now)
        };
        self.is_over = true;
        (pair.remote.clone(), attempt)
    }

    /// Tells that it has not, if it has said who it is, and did not merely ask about a key of ours.
    pub(super) fn failed(
        &self,
        claim: &Claim,
        reason: &CloseReason,
        now: Instant,
    ) -> Option<(Domain, Attempt)> {
        let remote = claim.remote.as_ref()?;
        if claim.has_asked && claim.key.is_none() {
            return None;
        }
        let mut lines = self.lines(remote, now);
        match claim.key {
            Some(Verdict::Valid) | None => {}
            Some(Verdict::Invalid) => lines.line("dialback key: forged"),
            Some(Verdict::Error(condition)) => {
                lines.line(&format!("dialback key: not verified: {condition}"));
            }
        }
        lines.line(&format!("failed in {}: {}", self.phase.label(), word(&reason.to_string())));
        lines.line(&format!("ended by {}", ClosedBy::of(reason)));
        let local = claim.local.as_ref();
        let failure = self.sentence(remote, claim, &reason.cause);
        tracing::info!(partner = %remote, failure, "a peer has not proven whom it speaks for");
        let attempt = Attempt {
            local_domain: local.map(|it| it.as_str().to_owned()).unwrap_or_default(),
            failure,
            ..self.attempt(remote, lines, now)
        };
        Some((remote.clone(), attempt))
    }

    fn attempt(&self, remote: &Domain, lines: Lines, now: Instant) -> Attempt {
        Attempt {
            remote_domain: remote.as_str().to_owned(),
            direction: Direction::Inbound.into(),
            details: lines.finish(),
            age_ms: if self.is_over { 0 } else { age_ms(self.began, now) },
            ..Attempt::default()
        }
    }

    fn lines(&self, remote: &Domain, now: Instant) -> Lines {
        let mut lines = Lines::default();
        let way = if self.is_direct_tls { "direct TLS" } else { "STARTTLS" };
        lines.line(&format!("connection from {}, {way}", self.address));
        if self.is_over {
            lines.line("  one more domain of a stream that is open");
        } else {
            let last = (self.phase, now.saturating_duration_since(self.phase_since));
            lines.phases(&[&self.phases[..], &[last]].concat());
        }
        if let Some((peer, version)) = &self.tls {
            lines.tls(&peer.facts(remote, *version), remote);
        }
        lines
    }

    /// Says what stands in the way and who can mend it.
    fn sentence(&self, remote: &Domain, claim: &Claim, cause: &CloseCause) -> String {
        use CloseCause as C;
        match (cause, claim.key) {
            (C::NotAdmitted, _) => format!(
                "policy admits no stream from {remote}: it is no partner, or may not reach the \
                 domain that it asked for"
            ),
            (C::Requested(Some(StreamCondition::ResourceConstraint)), _) => {
                format!("{remote} has too many streams open: see its connection_limit")
            }
            (C::Requested(_), _) => format!("the stream from {remote} was ended here"),
            (C::TlsFailed, _) => {
                let error = self.tls_error.as_deref().unwrap_or("it did not finish");
                format!("TLS with the server of {remote} fails: {error}")
            }
            (C::DialbackInvalid, _) | (_, Some(Verdict::Invalid)) => format!(
                "the server of {remote} says that the key which was shown in its name is forged"
            ),
            (_, Some(Verdict::Error(condition))) => {
                format!("the dialback key of {remote} was not verified: {condition}")
            }
            (C::NoAuthentication | C::SaslRetriesExceeded, _) => format!(
                "{remote} does not prove who it is in a way that policy here allows: {cause}"
            ),
            (C::NegotiationTimeout | C::EstablishmentTimeout | C::DeadPeer, _) => {
                format!("the server of {remote} does not go on in time")
            }
            (C::PeerClosed | C::PeerError(_) | C::ConnectionLost, _) => format!(
                "the server of {remote} ended the stream before it had proven who it is; its log \
                 says why"
            ),
            (cause, _) => {
                format!("the stream from {remote} is refused: {}", word(&cause.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use xmpp_proto::stanza::error::StanzaCondition;

    use super::*;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    fn claim(key: Option<Verdict>, has_asked: bool) -> Claim {
        let remote = Some(domain("fabrikam.example"));
        Claim { remote, local: Some(domain("contoso.example")), key, has_asked }
    }

    fn failure(claim: &Claim, cause: CloseCause) -> Option<Attempt> {
        let now = Instant::now();
        let attempt = InboundAttempt::begin([192, 0, 2, 1].into(), false, now);
        let reason = CloseReason { cause, told: Some(StreamCondition::PolicyViolation) };
        attempt.failed(claim, &reason, now).map(|(_, attempt)| attempt)
    }

    #[test]
    fn each_way_to_fail_has_a_sentence_that_says_who_can_mend_it() {
        use CloseCause as C;
        let unverified = Some(Verdict::Error(StanzaCondition::RemoteServerTimeout));
        for (cause, key, words) in [
            (C::NotAdmitted, None, "policy admits no stream from fabrikam.example"),
            (C::NoAuthentication, None, "does not prove who it is in a way that policy here"),
            (C::DialbackInvalid, Some(Verdict::Invalid), "says that the key"),
            (C::PeerClosed, unverified, "was not verified: remote-server-timeout"),
            (C::PeerClosed, None, "its log says why"),
            (C::TlsFailed, None, "TLS with the server of fabrikam.example fails"),
            (C::EstablishmentTimeout, None, "does not go on in time"),
            (
                C::Requested(Some(StreamCondition::ResourceConstraint)),
                None,
                "has too many streams open: see its connection_limit",
            ),
            (C::StanzaNotAuthorized, None, "is refused: a stanza without authentication"),
        ] {
            let told = failure(&claim(key, false), cause).unwrap();
            assert!(told.failure.contains(words), "{}", told.failure);
        }
    }

    #[test]
    fn a_stream_that_names_nobody_or_only_asks_about_our_key_is_no_attempt() {
        assert_eq!(failure(&Claim::default(), CloseCause::PeerClosed), None);
        assert_eq!(failure(&claim(None, true), CloseCause::PeerClosed), None);
        assert!(failure(&claim(Some(Verdict::Invalid), true), CloseCause::PeerClosed).is_some());
    }

    #[test]
    fn the_phases_follow_the_stream_and_tls_comes_first_where_it_does() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        for (is_direct, expected) in [
            (false, "  took: stream 10 ms, tls 20 ms, authentication 30 ms"),
            (true, "  took: tls 30 ms, authentication 30 ms"),
        ] {
            let mut attempt = InboundAttempt::begin([192, 0, 2, 1].into(), is_direct, begin);
            if is_direct {
                attempt.enter(Phase::Tls, begin);
                attempt.enter(Phase::Authentication, at(30));
            } else {
                attempt.enter(Phase::Tls, at(10));
                attempt.enter(Phase::Authentication, at(30));
            }
            let pair =
                DomainPair { local: domain("contoso.example"), remote: domain("fabrikam.example") };
            let (_, told) = attempt.succeeded(&pair, Proof::External, at(60));
            assert_eq!(told.details.lines().nth(1), Some(expected));
            assert_eq!((told.age_ms, told.failure.as_str()), (60, ""));
            let (_, more) = attempt.succeeded(&pair, Proof::Dialback, at(9_000));
            assert!(more.details.contains("one more domain") && more.age_ms == 0);
        }
    }
}
