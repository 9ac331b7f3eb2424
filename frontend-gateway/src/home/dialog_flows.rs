//! On which flows the dialogs of home users with contacts at partners are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sip_proto::message::Request;
use sip_proto::transaction::FlowId;

use crate::deadlines::Deadlines;

/// The most dialogs of one flow.
const DIALOGS_PER_FLOW_MAX: usize = 1_000;

/// How long the last NOTIFY may take after a subscription has ended, or is answered with its only
/// one: as long as a transaction.
const LAST_NOTIFY_MAX: Duration = Duration::from_secs(32);

/// Call-ID and the tag of the subscriber.
type Key = (String, String);

/// The dialogs, each until its subscription ends.
#[derive(Debug, Default)]
pub(super) struct DialogFlows {
    flows: BTreeMap<Key, FlowId>,
    of_flow: BTreeMap<FlowId, Deadlines<Key>>,
}

impl DialogFlows {
    /// Says whether a SUBSCRIBE may begin or refresh a dialog on a flow; those that have run out
    /// are forgotten.
    pub(super) fn has_room(&mut self, subscribe: &Request, flow: FlowId, now: Instant) -> bool {
        let Some(of_flow) = self.of_flow.get_mut(&flow) else { return true };
        for key in of_flow.take_due(now) {
            self.flows.remove(&key);
        }
        of_flow.count() < DIALOGS_PER_FLOW_MAX || of_flow.is_set(&key_of_subscribe(subscribe))
    }

    /// Takes a SUBSCRIBE that was accepted for so long.
    pub(super) fn insert(
        &mut self,
        subscribe: &Request,
        flow: FlowId,
        expires_seconds: u32,
        now: Instant,
    ) {
        let key = key_of_subscribe(subscribe);
        self.remove(&key);
        let until = now + Duration::from_secs(expires_seconds.into()) + LAST_NOTIFY_MAX;
        self.of_flow.entry(flow).or_default().set(&key, Some(until));
        self.flows.insert(key, flow);
    }

    /// Returns the flow of the dialog that a NOTIFY is in.
    pub(super) fn flow_of(&self, notify: &Request) -> Option<FlowId> {
        self.flows.get(&key_of_notify(notify)).copied()
    }

    /// Takes the NOTIFY that ends a dialog.
    pub(super) fn end(&mut self, notify: &Request) {
        self.remove(&key_of_notify(notify));
    }

    /// Takes the end of a flow.
    pub(super) fn close(&mut self, flow: FlowId) {
        for key in self.of_flow.remove(&flow).unwrap_or_default().keys() {
            self.flows.remove(key);
        }
    }

    fn remove(&mut self, key: &Key) {
        let Some(flow) = self.flows.remove(key) else { return };
        if let Some(of_flow) = self.of_flow.get_mut(&flow) {
            of_flow.set(key, None);
            if of_flow.count() == 0 {
                self.of_flow.remove(&flow);
            }
        }
    }
}

fn key_of_subscribe(request: &Request) -> Key {
    let tag = request.from().tag().unwrap_or_default().to_owned();
    (request.call_id().as_str().to_owned(), tag)
}

fn key_of_notify(request: &Request) -> Key {
    let tag = request.to().tag().unwrap_or_default().to_owned();
    (request.call_id().as_str().to_owned(), tag)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use sip_proto::message::{Message, Request};
    use sip_proto::transaction::FlowId;

    use super::{DIALOGS_PER_FLOW_MAX, DialogFlows};
    use crate::testing;

    const FLOW: FlowId = FlowId(1);
    const OTHER: FlowId = FlowId(2);

    fn request(method: &str, number: usize) -> Request {
        let text = format!(
            "{method} sip:a@example.net SIP/2.0\nFrom: <sip:a@example.net>;tag=1\n\
             To: <sip:b@example.com>;tag=1\nCall-ID: {number}\nCSeq: 1 {method}"
        );
        match testing::messages(&testing::sip(&text, 1)).remove(0) {
            Message::Request(request) => *request,
            Message::Response(response) => panic!("{response:?}"),
        }
    }

    #[test]
    fn a_dialog_stays_until_it_ends_or_runs_out_or_its_flow_is_closed() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut flows = DialogFlows::default();
        for number in 0..4 {
            flows.insert(&request("SUBSCRIBE", number), FLOW, 600, begin);
        }
        flows.insert(&request("SUBSCRIBE", 1), OTHER, 600, begin);
        flows.insert(&request("SUBSCRIBE", 2), FLOW, 1200, begin);
        flows.end(&request("NOTIFY", 3));
        let known = |flows: &DialogFlows| {
            [0, 1, 2, 3].map(|number| flows.flow_of(&request("NOTIFY", number)))
        };
        assert_eq!(known(&flows), [Some(FLOW), Some(OTHER), Some(FLOW), None]);
        assert!(flows.has_room(&request("SUBSCRIBE", 9), FLOW, at(631)));
        assert_eq!(known(&flows), [Some(FLOW), Some(OTHER), Some(FLOW), None]);
        assert!(flows.has_room(&request("SUBSCRIBE", 9), FLOW, at(632)));
        assert_eq!(known(&flows), [None, Some(OTHER), Some(FLOW), None]);
        flows.close(FLOW);
        assert_eq!(known(&flows), [None, Some(OTHER), None, None]);
        flows.close(OTHER);
        assert!(flows.flows.is_empty() && flows.of_flow.is_empty());
    }

    #[test]
    fn a_flow_has_so_many_dialogs_and_may_refresh_those_that_it_has() {
        let begin = Instant::now();
        let mut flows = DialogFlows::default();
        for number in 0..DIALOGS_PER_FLOW_MAX {
            let subscribe = request("SUBSCRIBE", number);
            assert!(flows.has_room(&subscribe, FLOW, begin));
            flows.insert(&subscribe, FLOW, 600, begin);
        }
        let more = request("SUBSCRIBE", DIALOGS_PER_FLOW_MAX);
        assert!(!flows.has_room(&more, FLOW, begin));
        assert!(flows.has_room(&request("SUBSCRIBE", 0), FLOW, begin));
        assert!(flows.has_room(&more, OTHER, begin));
        assert!(flows.has_room(&more, FLOW, begin + Duration::from_secs(632)));
    }
}
