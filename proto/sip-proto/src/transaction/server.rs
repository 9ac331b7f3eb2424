//! The server transactions of one owner on reliable transports (RFC 3261 s.17.2).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::key::ServerKey;
use super::timer::{ANSWER_WAIT, TIMER_H};
use super::{FlowId, ServerId, TransactionError};
use crate::message::OutgoingResponse;
use crate::method::Method;

/// The transactions whose owner has not answered, and the refused INVITEs that wait for an ACK.
///
/// ```text
/// non-INVITE  Trying --1xx--> Proceeding --final--> Completed --Timer J, zero--> Terminated
/// INVITE      Proceeding --300 to 699--> Completed --ACK--> Confirmed
///             Confirmed --Timer I, zero--> Terminated
///             Completed --Timer H--> Terminated
/// ```
///
/// A transaction that is terminated is not kept.
#[derive(Debug, Default)]
pub(super) struct ServerTransactions {
    live: BTreeMap<ServerId, Live>,
    by_key: BTreeMap<Arc<ServerKey>, ServerId>,
    by_flow: BTreeSet<(FlowId, ServerId)>,
    flow_sizes: BTreeMap<FlowId, usize>,
    deadlines: BTreeSet<(Instant, ServerId)>,
}

#[derive(Debug)]
struct Live {
    key: Arc<ServerKey>,
    flow: FlowId,
    is_invite: bool,
    state: State,
    deadline: Instant,
}

/// RFC 3261 s.17.2: Trying of a non-INVITE transaction and the silent begin of Proceeding of an
/// INVITE transaction are one state here, in which there is nothing to repeat.
#[derive(Debug)]
enum State {
    Unanswered,
    Proceeding { provisional: Bytes },
    Completed { refusal: Bytes },
}

impl ServerTransactions {
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn of_flow(&self, flow: FlowId) -> usize {
        self.flow_sizes.get(&flow).copied().unwrap_or_default()
    }

    pub(super) fn find(&self, key: &ServerKey) -> Option<ServerId> {
        self.by_key.get(key).copied()
    }

    pub(super) fn start(&mut self, id: ServerId, key: ServerKey, flow: FlowId, now: Instant) {
        let deadline = now + ANSWER_WAIT;
        let is_invite = key.method() == &Method::Invite;
        let key = Arc::new(key);
        self.by_key.insert(Arc::clone(&key), id);
        self.by_flow.insert((flow, id));
        *self.flow_sizes.entry(flow).or_default() += 1;
        self.deadlines.insert((deadline, id));
        self.live.insert(id, Live { key, flow, is_invite, state: State::Unanswered, deadline });
    }

    /// Returns what a repeated request is answered with.
    pub(super) fn last_response(&self, id: ServerId) -> Option<Bytes> {
        match &self.live.get(&id)?.state {
            State::Unanswered => None,
            State::Proceeding { provisional } => Some(provisional.clone()),
            State::Completed { refusal } => Some(refusal.clone()),
        }
    }

    /// Takes a response of the owner and returns where it goes.
    pub(super) fn respond(
        &mut self,
        id: ServerId,
        response: &OutgoingResponse,
        bytes: &Bytes,
        now: Instant,
    ) -> Result<FlowId, TransactionError> {
        let live = self.live.get_mut(&id).ok_or(TransactionError::Gone)?;
        if matches!(live.state, State::Completed { .. }) {
            return Err(TransactionError::Gone);
        }
        let flow = live.flow;
        match (response.status(), live.is_invite) {
            (status, _) if status.is_provisional() => {
                live.state = State::Proceeding { provisional: bytes.clone() };
            }
            (status, true) if status.is_success() => return Err(TransactionError::InviteAccepted),
            (_, true) => {
                live.state = State::Completed { refusal: bytes.clone() };
                self.deadlines.remove(&(live.deadline, id));
                live.deadline = now + TIMER_H;
                self.deadlines.insert((live.deadline, id));
            }
            (_, false) => self.end(id),
        }
        Ok(flow)
    }

    /// Takes the ACK of a refused INVITE.
    pub(super) fn acknowledge(&mut self, key: &ServerKey) {
        let completed = self.find(key).filter(|id| {
            let state = self.live.get(id).map(|live| &live.state);
            matches!(state, Some(State::Completed { .. }))
        });
        if let Some(id) = completed {
            self.end(id);
        }
    }

    /// Ends the transactions that waited for too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some((deadline, id)) = self.deadlines.first().copied() {
            if deadline > now {
                return;
            }
            self.end(id);
        }
    }

    /// Ends every transaction of a flow that is lost, since there is nowhere to answer.
    pub(super) fn drop_flow(&mut self, flow: FlowId) {
        let of_flow = self.by_flow.range((flow, ServerId(0))..=(flow, ServerId(u64::MAX)));
        let ids: Vec<ServerId> = of_flow.map(|(_, id)| *id).collect();
        for id in ids {
            self.end(id);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn end(&mut self, id: ServerId) {
        if let Some(live) = self.live.remove(&id) {
            self.by_key.remove(&live.key);
            self.by_flow.remove(&(live.flow, id));
            if let Some(size) = self.flow_sizes.get_mut(&live.flow) {
                *size -= 1;
                if *size == 0 {
                    self.flow_sizes.remove(&live.flow);
                }
            }
            self.deadlines.remove(&(live.deadline, id));
        }
    }
}
