//! The non-INVITE client transactions of one owner on reliable transports (RFC 3261 s.17.1.2).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use smallvec::SmallVec;

use super::{ClientId, FlowId};
use crate::ids::BRANCH_BYTES;
use crate::message::Response;
use crate::method::Method;

/// The transactions that wait for a final response.
///
/// ```text
/// Trying --1xx--> Proceeding
/// Trying, Proceeding --200 to 699--> Completed --Timer K, zero--> Terminated
/// Trying, Proceeding --Timer F, transport error--> Terminated
/// ```
///
/// Without retransmissions nothing tells Trying from Proceeding, and a transaction that is
/// terminated is not kept, so that one struct holds the only state there is.
#[derive(Debug, Default)]
pub(super) struct ClientTransactions {
    /// Timer F is the same for all and `now` never goes back, so that the oldest one is due first.
    waiting: BTreeMap<ClientId, Waiting>,
    by_branch: BTreeMap<Branch, ClientId>,
    by_flow: BTreeSet<(FlowId, ClientId)>,
}

/// The branch of a request that was sent, without an allocation of its own.
type Branch = SmallVec<[u8; BRANCH_BYTES]>;

#[derive(Debug)]
struct Waiting {
    branch: Branch,
    method: Method,
    flow: FlowId,
    deadline: Instant,
}

impl ClientTransactions {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn start(
        &mut self,
        id: ClientId,
        branch: &str,
        method: Method,
        flow: FlowId,
        deadline: Instant,
    ) {
        let branch = Branch::from_slice(branch.as_bytes());
        self.by_branch.insert(branch.clone(), id);
        self.by_flow.insert((flow, id));
        self.waiting.insert(id, Waiting { branch, method, flow, deadline });
    }

    /// Ends the transaction that a final response belongs to.
    pub(super) fn handle_response(
        &mut self,
        response: &Response,
        flow: FlowId,
    ) -> Option<ClientId> {
        // RFC 3261 s.8.1.3.3: a response with more than one Via went astray.
        if response.via_count() != 1 {
            return None;
        }
        let id = *self.by_branch.get(response.via().branch()?.as_bytes())?;
        let waiting = self.waiting.get(&id)?;
        // RFC 3261 s.17.1.3: branch and CSeq method. The flow is checked too, since a response
        // travels on the connection of its request.
        let belongs = waiting.method == response.cseq().method && waiting.flow == flow;
        if !belongs || response.status().is_provisional() {
            return None;
        }
        self.end(id);
        Some(id)
    }

    /// Ends one transaction whose Timer F has fired.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<ClientId> {
        let (id, _) =
            self.waiting.first_key_value().filter(|(_, oldest)| oldest.deadline <= now)?;
        let id = *id;
        self.end(id);
        Some(id)
    }

    /// Ends every transaction of a flow that is lost.
    pub(super) fn take_of_flow(&mut self, flow: FlowId) -> Vec<ClientId> {
        let of_flow = self.by_flow.range((flow, ClientId(0))..=(flow, ClientId(u64::MAX)));
        let ids: Vec<ClientId> = of_flow.map(|(_, id)| *id).collect();
        for id in &ids {
            self.end(*id);
        }
        ids
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(_, oldest)| oldest.deadline)
    }

    fn end(&mut self, id: ClientId) {
        if let Some(waiting) = self.waiting.remove(&id) {
            self.by_branch.remove(&waiting.branch);
            self.by_flow.remove(&(waiting.flow, id));
        }
    }
}
