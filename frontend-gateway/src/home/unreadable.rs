//! What devices send that is no message, or only the beginning of one.

use sip_proto::parse::ParseFailure;
use sip_proto::transaction::FlowId;

use super::{Home, HomeEffect};
use crate::clock::Now;

impl Home {
    /// Refuses what is no message.
    pub(super) fn handle_failure(&mut self, id: FlowId, failure: &ParseFailure) {
        metrics::counter!("gateway_home_refused_total", "status" => failure.status.code().to_string())
            .increment(1);
        tracing::info!(
            flow = id.0,
            status = failure.status.code(),
            reason = failure.reason_phrase,
            "a SIP message was refused"
        );
        if let Some(response) = failure.response(&self.ids.tag()) {
            self.transmit(id, response.to_bytes());
        }
        if failure.close {
            self.effects.push_back(HomeEffect::Close(id));
        }
    }

    /// Closes the flows on which half a message has waited for the rest too long.
    pub(super) fn close_stalled(&mut self, now: Now) {
        for (id, failure) in self.framing.take_stalled(now.instant) {
            if let Some(failure) = failure {
                self.handle_failure(id, &failure);
            }
            self.effects.push_back(HomeEffect::Close(id));
        }
    }
}
