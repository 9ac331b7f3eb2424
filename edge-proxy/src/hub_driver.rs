//! Drives the hub: waits for streams, front ends and time, and hands out what the hub decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use link::wire::{Attempt, Bounced, FromEdge, FromFrontend, StreamReport};
use tokio::sync::mpsc::{self, UnboundedSender};
use xmpp_proto::stream::DomainPair;

use crate::hub::{Dispatch, FrontendId, Hub, HubEffect, Inbound, Settling};

/// How many inputs may wait for the hub; senders wait beyond that.
const INPUTS_MAX: usize = 4_096;

/// How many inputs are taken before what they caused is handed out.
const ROUND_MAX: usize = 256;

/// Where inputs for the hub are sent.
pub type HubSender = mpsc::Sender<HubInput>;

/// What happens to the hub.
#[derive(Debug)]
pub enum HubInput {
    /// A front end has attached.
    Attached {
        /// Its attachment.
        id: FrontendId,
        /// The name in its certificate.
        name: String,
        /// Takes frames for it; closing it ends the link.
        frames: UnboundedSender<FromEdge>,
    },
    /// A front end sent a frame.
    Frame {
        /// Its attachment.
        id: FrontendId,
        /// The frame.
        frame: FromFrontend,
    },
    /// A link is lost.
    Detached {
        /// The attachment.
        id: FrontendId,
    },
    /// A partner sent a stanza.
    Stanza(Inbound),
    /// A dispatched stanza has its outcome.
    Outcome {
        /// The stanza.
        id: [u8; 16],
        /// Delivered, or why not.
        outcome: Result<(), Bounced>,
    },
    /// A partner's queue can take more, or must take less.
    Grant {
        /// The pair.
        pair: DomainPair,
        /// The stanzas that front ends may have unsettled.
        credit: u32,
    },
    /// Something happened to a stream.
    Report(StreamReport),
    /// An attempt to open a stream is over.
    Attempted {
        /// The attempt.
        attempt: Box<Attempt>,
        /// Whether its remote domain is a partner's.
        is_partners: bool,
    },
    /// The process ends: the links end once what came before is sent.
    Stop,
}

/// What the hub's effects go to.
pub trait Outlets: Send {
    /// Tells a stream the outcome of a stanza.
    fn settled(&mut self, settling: Settling, outcome: Result<(), Bounced>);
    /// Sends a stanza to a partner.
    fn dispatch(&mut self, dispatch: Dispatch);
    /// Changes what may be admitted.
    fn admit(&mut self, admission: Arc<link::wire::Admission>);
    /// Tells whether a front end is attached.
    fn attached(&mut self, attached: bool);
    /// Closes all streams.
    fn close_streams(&mut self);
    /// Passes on the answer to a ping.
    fn barrier_answered(&mut self, ping_id: String);
}

/// Makes the channel of inputs.
pub fn inputs() -> (HubSender, mpsc::Receiver<HubInput>) {
    mpsc::channel(INPUTS_MAX)
}

/// Runs the hub until [`HubInput::Stop`], or until every sender of inputs is gone.
pub async fn run(mut hub: Hub, mut inputs: mpsc::Receiver<HubInput>, mut outlets: impl Outlets) {
    let mut frontends = BTreeMap::new();
    let mut round = Vec::with_capacity(ROUND_MAX);
    loop {
        let due = hub.poll_timeout().map(tokio::time::Instant::from_std);
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            count = inputs.recv_many(&mut round, ROUND_MAX) => if count == 0 { return },
            () = timer => {}
        }
        // Everybody who is ready is heard first: what a round causes goes out in one write for
        // each peer.
        tokio::task::yield_now().await;
        while round.len() < ROUND_MAX
            && let Ok(input) = inputs.try_recv()
        {
            round.push(input);
        }
        let now = Instant::now();
        let stopping = round.iter().any(|input| matches!(input, HubInput::Stop));
        for input in round.drain(..) {
            apply(&mut hub, &mut frontends, input, now);
        }
        hub.handle_timeout(now);
        while let Some(effect) = hub.poll_effect() {
            hand_out(effect, &mut frontends, &mut outlets);
        }
        while let Some((id, frame)) = hub.poll_frame() {
            send_frame(&frontends, id, frame);
        }
        if stopping {
            return;
        }
    }
}

type Frontends = BTreeMap<FrontendId, UnboundedSender<FromEdge>>;

fn apply(hub: &mut Hub, frontends: &mut Frontends, input: HubInput, now: Instant) {
    match input {
        HubInput::Attached { id, name, frames } => {
            frontends.insert(id, frames);
            hub.attach(id, name, now);
        }
        HubInput::Frame { id, frame } => {
            if let Err(violation) = hub.handle_frame(id, frame, now) {
                metrics::counter!("edge_link_violations_total").increment(1);
                tracing::error!(%violation, "a front end broke the rules of the link");
                frontends.remove(&id);
                hub.detach(id, now);
            }
        }
        HubInput::Detached { id } => {
            frontends.remove(&id);
            hub.detach(id, now);
        }
        HubInput::Stanza(inbound) => hub.handle_stanza(inbound),
        HubInput::Outcome { id, outcome } => hub.handle_outcome(id, outcome, now),
        HubInput::Grant { pair, credit } => hub.grant(pair, credit),
        HubInput::Report(report) => hub.report(&report, now),
        HubInput::Attempted { attempt, is_partners } => hub.remember(*attempt, is_partners, now),
        HubInput::Stop => {}
    }
}

fn hand_out(effect: HubEffect, frontends: &mut Frontends, outlets: &mut impl Outlets) {
    match effect {
        HubEffect::Replaced(id) => {
            metrics::counter!("edge_link_replaced_total").increment(1);
            tracing::warn!("a front end has attached anew before its link was found dead");
            frontends.remove(&id);
        }
        HubEffect::Settled(settling, outcome) => outlets.settled(settling, outcome),
        HubEffect::Dispatch(dispatch) => outlets.dispatch(dispatch),
        HubEffect::Admit(admission) => outlets.admit(Arc::new(admission)),
        HubEffect::Attached(attached) => outlets.attached(attached),
        HubEffect::CloseStreams => outlets.close_streams(),
        HubEffect::BarrierAnswered(ping_id) => outlets.barrier_answered(ping_id),
    }
}

fn send_frame(frontends: &Frontends, id: FrontendId, frame: FromEdge) {
    if let Some(frames) = frontends.get(&id) {
        // A closed channel is a lost link, which is reported as such.
        let _ = frames.send(frame);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use link::wire::{Bounced, FromEdge, FromFrontend, Hello};
    use tokio::sync::mpsc::{self, UnboundedReceiver};
    use xmpp_proto::jid::Domain;
    use xmpp_proto::stream::DomainPair;

    use super::{HubInput, HubSender, Outlets, inputs, run};
    use crate::hub::{Dispatch, FrontendId, Hub, Settling};

    struct Nowhere;

    impl Outlets for Nowhere {
        fn settled(&mut self, _: Settling, _: Result<(), Bounced>) {}
        fn dispatch(&mut self, _: Dispatch) {}
        fn admit(&mut self, _: Arc<link::wire::Admission>) {}
        fn attached(&mut self, _: bool) {}
        fn close_streams(&mut self) {}
        fn barrier_answered(&mut self, _: String) {}
    }

    fn hello(name: &str) -> Hello {
        Hello { version: link::VERSION, name: name.to_owned(), ..Hello::default() }
    }

    async fn attach(hub: &HubSender, number: u64) -> UnboundedReceiver<FromEdge> {
        let (id, name) = (FrontendId(number), "fe".to_owned());
        let (frames, received) = mpsc::unbounded_channel();
        hub.send(HubInput::Attached { id, name, frames }).await.unwrap();
        let frame = FromFrontend { hello: Some(hello("fe")), ..FromFrontend::default() };
        hub.send(HubInput::Frame { id, frame }).await.unwrap();
        received
    }

    #[tokio::test]
    async fn a_front_end_that_attaches_anew_ends_its_earlier_link() {
        let (hub, received) = inputs();
        tokio::spawn(run(Hub::new(hello("edge")), received, Nowhere));
        let mut earlier = attach(&hub, 1).await;
        let mut later = attach(&hub, 2).await;
        while earlier.recv().await.is_some() {}
        assert!(later.recv().await.is_some_and(|frame| frame.hello.is_some()));
    }

    #[tokio::test]
    async fn a_stop_ends_the_links_once_what_came_before_is_sent() {
        let (hub, received) = inputs();
        let running = tokio::spawn(run(Hub::new(hello("edge")), received, Nowhere));
        let mut link = attach(&hub, 1).await;
        let domain = |name| Domain::parse(name).unwrap();
        let pair =
            DomainPair { local: domain("contoso.example"), remote: domain("fabrikam.example") };
        hub.send(HubInput::Grant { pair, credit: 7 }).await.unwrap();
        hub.send(HubInput::Stop).await.unwrap();
        running.await.unwrap();
        let mut credits = Vec::new();
        while let Some(frame) = link.recv().await {
            credits.extend(frame.credits.iter().map(|credit| credit.envelopes_max));
        }
        assert_eq!(credits, [7]);
    }
}
