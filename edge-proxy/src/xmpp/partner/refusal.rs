//! What senders are told at once, where waiting for the next attempt is no use.

use xmpp_proto::jid::Domain;
use xmpp_proto::stanza::error::StanzaCondition;
use xmpp_proto::stream::CloseCause;

pub(super) struct Refusal {
    pub(super) condition: StanzaCondition,
    pub(super) text: String,
}

impl Refusal {
    /// Returns what a stream that could not be opened means for the senders; `None` where the next
    /// attempt may do.
    pub(super) fn of(cause: &CloseCause, remote: &Domain, reason: &str) -> Option<Self> {
        let condition = match cause {
            CloseCause::NotAdmitted => StanzaCondition::Forbidden,
            // XEP-0220 s.2.5: an invalid key is our error, any other is the peer's.
            CloseCause::DialbackInvalid => StanzaCondition::InternalServerError,
            CloseCause::DialbackRefused(_)
            | CloseCause::TlsNotOffered
            | CloseCause::TlsRefused
            | CloseCause::PeerUnproven
            | CloseCause::NothingOffered
            | CloseCause::SaslFailed(_) => StanzaCondition::RemoteServerTimeout,
            _ => return None,
        };
        Some(Self { condition, text: format!("{remote}: {reason}") })
    }
}
