//! The framing of many flows: bytes in, messages out, and the time that a message may take.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sip_proto::frame::{Frame, Framer};
use sip_proto::limits::Limits;
use sip_proto::parse::ParseFailure;
use sip_proto::transaction::FlowId;

use crate::deadlines::Deadlines;

/// How long a message may take once its first byte has come.
const MESSAGE_MAX: Duration = Duration::from_secs(10);

/// The framers of open flows.
#[derive(Debug, Default)]
pub struct Framing {
    framers: BTreeMap<FlowId, Framer>,
    /// When flows are given up that stay inside of a message.
    stalls: Deadlines<FlowId>,
}

impl Framing {
    /// Takes a flow that was opened.
    pub fn open(&mut self, id: FlowId) {
        self.framers.insert(id, Framer::new(Limits::default()));
        self.stalls.set(&id, None);
    }

    /// Forgets a flow.
    pub fn close(&mut self, id: FlowId) {
        self.framers.remove(&id);
        self.stalls.set(&id, None);
    }

    /// Takes bytes of a flow; [`Framing::poll_frame`] gives what they hold, and
    /// [`Framing::watch_for_stall`] follows when it gives no more.
    pub fn handle_bytes(&mut self, id: FlowId, bytes: &[u8]) {
        if let Some(framer) = self.framers.get_mut(&id) {
            framer.handle_bytes(bytes);
        }
    }

    /// Returns the next thing that the bytes of a flow hold.
    pub fn poll_frame(&mut self, id: FlowId) -> Option<Frame> {
        let frame = self.framers.get_mut(&id)?.poll_frame();
        if frame.is_some() {
            // What is left is of another message.
            self.stalls.set(&id, None);
        }
        frame
    }

    /// Limits the time of the message that has begun, if one has.
    pub fn watch_for_stall(&mut self, id: FlowId, now: Instant) {
        let is_inside = self.framers.get(&id).is_some_and(Framer::is_inside_message);
        match is_inside {
            // The time began with the first byte of this message.
            true if self.stalls.is_set(&id) => {}
            true => self.stalls.set(&id, Some(now + MESSAGE_MAX)),
            false => self.stalls.set(&id, None),
        }
    }

    /// Takes the flows on which half a message has waited for the rest too long, each with what its
    /// sender is told; they are to be closed.
    pub fn take_stalled(&mut self, now: Instant) -> Vec<(FlowId, Option<ParseFailure>)> {
        let due = self.stalls.take_due(now);
        let failure = |id: FlowId| (id, self.framers.get_mut(&id).and_then(Framer::handle_end));
        due.into_iter().map(failure).collect()
    }

    /// Returns when [`Framing::take_stalled`] has something to take.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.stalls.next()
    }
}
