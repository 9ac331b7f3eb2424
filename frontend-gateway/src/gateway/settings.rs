//! What the operator chooses of the gateway, and its limits.

use std::time::Duration;

use sip_proto::header::SentBy;

/// What the operator chose, and the limits of this gateway.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// How the gateway calls itself to the inside.
    pub sent_by: SentBy,
    /// The largest MESSAGE that is sent where every hop is TCP or TLS, as to the home, in bytes.
    pub pager_bytes_max: usize,
    /// How long a MESSAGE waits for the partner's confirmation before it is answered by 202.
    pub answer_wait: Duration,
    /// How long the first confirmed message to a recipient waits for an error that may follow.
    pub error_wait: Duration,
    /// Messages of one partner without an outcome; beyond that its stanzas are refused.
    pub open_per_partner_max: usize,
}

impl GatewaySettings {
    /// Returns the defaults for a gateway that calls itself `sent_by`.
    pub fn new(sent_by: SentBy) -> Self {
        Self {
            sent_by,
            pager_bytes_max: 65_536,
            answer_wait: Duration::from_secs(2),
            error_wait: Duration::from_millis(500),
            open_per_partner_max: 10_000,
        }
    }
}
