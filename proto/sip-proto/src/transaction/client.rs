//! The non-INVITE client transactions of one owner on reliable transports (RFC 3261 s.17.1.2).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{ClientId, FlowId};
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
    waiting: BTreeMap<ClientId, Waiting>,
    by_branch: BTreeMap<String, ClientId>,
    deadlines: BTreeSet<(Instant, ClientId)>,
}

#[derive(Debug)]
struct Waiting {
    branch: String,
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
        branch: String,
        method: Method,
        flow: FlowId,
        deadline: Instant,
    ) {
        self.by_branch.insert(branch.clone(), id);
        self.deadlines.insert((deadline, id));
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
        let id = *self.by_branch.get(response.via().branch()?)?;
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
        let (deadline, id) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.end(id);
        Some(id)
    }

    /// Ends every transaction of a flow that is lost.
    pub(super) fn take_of_flow(&mut self, flow: FlowId) -> Vec<ClientId> {
        let of_flow = self.waiting.iter().filter(|(_, waiting)| waiting.flow == flow);
        let ids: Vec<ClientId> = of_flow.map(|(id, _)| *id).collect();
        for id in &ids {
            self.end(*id);
        }
        ids
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn end(&mut self, id: ClientId) {
        if let Some(waiting) = self.waiting.remove(&id) {
            self.by_branch.remove(&waiting.branch);
            self.deadlines.remove(&(waiting.deadline, id));
        }
    }
}
