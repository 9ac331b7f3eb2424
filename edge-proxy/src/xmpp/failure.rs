//! Why a partner was not reached: in which phase, what senders are told, whether waiting is of use.

use xmpp_proto::jid::Domain;
use xmpp_proto::stanza::error::StanzaCondition;
use xmpp_proto::stream::{CloseCause, StreamCondition};

/// The steps to an open stream, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// DNS, for servers and for addresses.
    Lookup,
    /// TCP.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The stream before it is protected.
    Stream,
    /// The protected stream, until both sides know who the other is.
    Authentication,
}

impl Phase {
    /// The word for records and metric labels, one of a fixed set.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Stream => "stream",
            Self::Authentication => "authentication",
        }
    }

    /// How much a failure in this phase tells: the nearer to an open stream, the more.
    const fn telling(self) -> u8 {
        match self {
            Self::Lookup => 0,
            Self::Connect => 1,
            // STARTTLS comes behind the beginning of a stream, direct TLS before it.
            Self::Stream => 2,
            Self::Tls => 3,
            Self::Authentication => 4,
        }
    }
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Policy does not let us go there.
    NotPartner,
    /// DNS does not have the name.
    NoSuchName,
    /// DNS says that the domain has no XMPP service (RFC 2782: the target is `.`).
    NoService,
    /// The server's name has no address.
    NoAddress,
    /// The name servers do not answer, or say that they failed.
    LookupFailed,
    /// The address or port is none that a partner may send us to.
    Forbidden,
    /// Nobody takes the connection.
    Unreachable,
    /// The phase took too long.
    TimedOut,
    /// The peer offers or begins no TLS.
    TlsNotOffered,
    /// The handshake failed.
    TlsFailed,
    /// The certificate does not prove the domain, which policy asks for.
    Unproven,
    /// The peer offers no authentication that policy allows.
    NothingOffered,
    /// The peer did not take our certificate.
    SaslRefused,
    /// The peer did not verify our dialback key.
    DialbackRefused,
    /// The peer says that our dialback key is forged, or we have none.
    OwnKey,
    /// The peer sent a stream error.
    PeerError(StreamCondition),
    /// The peer ended the stream or the connection.
    PeerLeft,
    /// What the peer says is no XMPP, or wrong.
    NotXmpp,
    /// We ended it, for a reason of our own.
    Ended,
}

/// A server, or a whole partner, that was not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How far it came.
    pub phase: Phase,
    /// What failed.
    pub kind: FailureKind,
    /// What exactly, for the operator: senders are not told.
    pub detail: String,
}

impl Failure {
    /// Makes a failure.
    pub fn new(phase: Phase, kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { phase, kind, detail: detail.into() }
    }

    /// Returns what the end of a stream that was never open means.
    pub fn of_close(phase: Phase, cause: &CloseCause) -> Self {
        use CloseCause as C;
        let kind = match cause {
            C::NotAdmitted => FailureKind::NotPartner,
            // XEP-0220 s.2.5: an invalid key is our error, any other is the peer's.
            C::DialbackInvalid | C::DialbackSecretMissing => FailureKind::OwnKey,
            C::DialbackRefused(_) => FailureKind::DialbackRefused,
            C::TlsNotOffered | C::TlsRefused => FailureKind::TlsNotOffered,
            C::TlsFailed => FailureKind::TlsFailed,
            C::PeerUnproven => FailureKind::Unproven,
            C::NothingOffered | C::NoAuthentication | C::TlsNotSupported => {
                FailureKind::NothingOffered
            }
            C::SaslFailed(_) => FailureKind::SaslRefused,
            C::PeerError(error) => FailureKind::PeerError(error.condition),
            C::PeerClosed | C::ConnectionLost => FailureKind::PeerLeft,
            C::NegotiationTimeout | C::EstablishmentTimeout | C::DeadPeer => FailureKind::TimedOut,
            C::Requested(_) | C::Idle => FailureKind::Ended,
            _ => FailureKind::NotXmpp,
        };
        Self::new(phase, kind, cause.to_string())
    }

    /// The word for the metric, one of a fixed set.
    pub const fn label(&self) -> &'static str {
        match self.kind {
            FailureKind::NotPartner => "not_partner",
            FailureKind::NoSuchName => "no_such_name",
            FailureKind::NoService => "no_service",
            FailureKind::NoAddress => "no_address",
            FailureKind::LookupFailed => "lookup_failed",
            FailureKind::Forbidden => "forbidden",
            FailureKind::Unreachable => "unreachable",
            FailureKind::TimedOut => "timed_out",
            FailureKind::TlsNotOffered => "tls_not_offered",
            FailureKind::TlsFailed => "tls_failed",
            FailureKind::Unproven => "unproven",
            FailureKind::NothingOffered => "nothing_offered",
            FailureKind::SaslRefused => "sasl_refused",
            FailureKind::DialbackRefused => "dialback_refused",
            FailureKind::OwnKey => "own_key",
            FailureKind::PeerError(_) => "peer_error",
            FailureKind::PeerLeft => "peer_left",
            FailureKind::NotXmpp => "not_xmpp",
            FailureKind::Ended => "ended",
        }
    }

    /// The condition that senders get.
    ///
    /// Where policy forbids an address it is that of one where nobody answers, so that nobody can
    /// ask us what is on our networks.
    pub const fn condition(&self) -> StanzaCondition {
        match self.kind {
            FailureKind::NotPartner => StanzaCondition::Forbidden,
            FailureKind::NoSuchName
            | FailureKind::NoService
            | FailureKind::NoAddress
            | FailureKind::PeerError(StreamCondition::HostUnknown | StreamCondition::HostGone) => {
                StanzaCondition::RemoteServerNotFound
            }
            FailureKind::OwnKey => StanzaCondition::InternalServerError,
            _ => StanzaCondition::RemoteServerTimeout,
        }
    }

    /// Whether waiting for the next attempt is no use, so that senders are told at once.
    pub const fn is_final(&self) -> bool {
        match self.kind {
            FailureKind::NotPartner
            | FailureKind::NoSuchName
            | FailureKind::NoService
            | FailureKind::NoAddress
            | FailureKind::TlsNotOffered
            | FailureKind::Unproven
            | FailureKind::NothingOffered
            | FailureKind::SaslRefused
            | FailureKind::DialbackRefused
            | FailureKind::OwnKey => true,
            FailureKind::PeerError(condition) => {
                matches!(condition, StreamCondition::HostUnknown | StreamCondition::HostGone)
            }
            FailureKind::LookupFailed
            | FailureKind::Forbidden
            | FailureKind::Unreachable
            | FailureKind::TimedOut
            | FailureKind::TlsFailed
            | FailureKind::PeerLeft
            | FailureKind::NotXmpp
            | FailureKind::Ended => false,
        }
    }

    /// Whether no other server of the partner can do better.
    pub const fn is_ours(&self) -> bool {
        matches!(self.kind, FailureKind::NotPartner | FailureKind::Ended)
    }

    /// Returns whichever of the two tells a person more; of equals the one before.
    pub fn most_telling(before: Option<Self>, next: Self) -> Self {
        match before {
            Some(before) if before.phase.telling() >= next.phase.telling() => before,
            _ => next,
        }
    }

    /// Tells a sender what failed and who can mend it, without words of the peer or of DNS.
    pub fn sentence(&self, remote: &Domain) -> String {
        match self.kind {
            FailureKind::NotPartner => format!("{remote} is not a federation partner"),
            FailureKind::NoSuchName => {
                format!("{remote} does not exist in DNS: check the address")
            }
            FailureKind::NoService => format!("{remote} has no XMPP service for other servers"),
            FailureKind::NoAddress => format!("the server of {remote} has no address in DNS"),
            FailureKind::LookupFailed => {
                format!("the servers of {remote} cannot be looked up: DNS does not answer")
            }
            FailureKind::TimedOut if self.phase > Phase::Connect => {
                format!("the server of {remote} does not answer in time")
            }
            FailureKind::Forbidden | FailureKind::Unreachable | FailureKind::TimedOut => {
                format!("no server of {remote} can be reached")
            }
            FailureKind::TlsNotOffered => {
                format!("the server of {remote} offers no TLS, which its administrator must mend")
            }
            FailureKind::TlsFailed => {
                format!("TLS with the server of {remote} fails, which its administrator must mend")
            }
            FailureKind::Unproven => format!(
                "the certificate of {remote} does not prove who it is, which its administrator \
                 must mend"
            ),
            FailureKind::NothingOffered => {
                format!("the server of {remote} offers no authentication that policy here allows")
            }
            FailureKind::SaslRefused | FailureKind::DialbackRefused => {
                format!("the server of {remote} does not believe who we are; ask its administrator")
            }
            FailureKind::OwnKey => {
                format!("we cannot prove to {remote} who we are; ask your administrator")
            }
            FailureKind::PeerError(StreamCondition::HostUnknown | StreamCondition::HostGone) => {
                format!("the server of {remote} says that it does not serve {remote}")
            }
            FailureKind::PeerError(condition) => {
                format!("the server of {remote} refuses the stream: {condition}")
            }
            FailureKind::PeerLeft => format!("the server of {remote} ends the connection"),
            FailureKind::NotXmpp => format!("the server of {remote} does not speak XMPP rightly"),
            FailureKind::Ended => format!("the stream to {remote} was ended here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(phase: Phase, kind: FailureKind) -> Failure {
        Failure::new(phase, kind, "what exactly: 10.0.0.1")
    }

    #[test]
    fn a_forbidden_place_looks_like_one_where_nobody_answers() {
        let remote = Domain::parse("fabrikam.example").unwrap();
        let told = |kind| {
            let failure = failure(Phase::Connect, kind);
            (failure.condition(), failure.sentence(&remote), failure.is_final())
        };
        let forbidden = told(FailureKind::Forbidden);
        assert_eq!(forbidden, told(FailureKind::Unreachable));
        assert_eq!(forbidden, told(FailureKind::TimedOut));
        assert!(!forbidden.1.contains("10.0.0.1"));
    }

    #[test]
    fn the_failure_nearest_to_an_open_stream_tells_most() {
        let in_order = [
            failure(Phase::Lookup, FailureKind::NoAddress),
            failure(Phase::Connect, FailureKind::Unreachable),
            failure(Phase::Stream, FailureKind::NotXmpp),
            failure(Phase::Tls, FailureKind::TlsFailed),
            failure(Phase::Authentication, FailureKind::Unproven),
        ];
        for (place, more) in in_order.iter().enumerate() {
            for less in &in_order[..=place] {
                for (before, next) in [(less, more), (more, less)] {
                    let told = Failure::most_telling(Some(before.clone()), next.clone());
                    assert_eq!(told, *more);
                }
            }
        }
        let first = failure(Phase::Connect, FailureKind::Forbidden);
        let second = failure(Phase::Connect, FailureKind::Unreachable);
        assert_eq!(Failure::most_telling(Some(first.clone()), second), first);
    }
}
