//! The connections of home users' devices and of next hops: accepted or opened, read, written,
//! closed.

mod opener;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use host::socket::Connection;
use sip_proto::transaction::{FlowId, Transport};
use tokio::sync::mpsc;

use crate::home::Ends;
pub use opener::{MutualTls, Opener, OpenerSettings, Security};

/// A device that has sent nothing for so long is gone: it registers at least every hour.
const SILENCE_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// How many messages go out in one write.
const BATCH_MAX: usize = 256;

/// What happens on a flow.
#[derive(Debug)]
pub enum FlowInput {
    /// A device has connected, or was connected to.
    Opened {
        /// The flow.
        id: FlowId,
        /// What it runs over.
        transport: Transport,
        /// Its two ends.
        ends: Ends,
        /// The SIP domains that the certificate of the other end proves.
        names: Vec<String>,
        /// Takes what goes to the device; closing it closes the flow.
        commands: mpsc::UnboundedSender<Bytes>,
    },
    /// A device sent bytes.
    Received {
        /// The flow.
        id: FlowId,
        /// The bytes.
        bytes: Bytes,
    },
    /// A flow has ended, or could not be opened.
    Closed {
        /// The flow.
        id: FlowId,
    },
}

/// A flow that begins.
struct Flow {
    id: FlowId,
    transport: Transport,
    peer: SocketAddr,
    names: Vec<String>,
    /// The most bytes that the other end may leave waiting before it counts as lost.
    waiting_bytes_max: usize,
}

/// Carries bytes between a peer and the core until one of the two ends it.
async fn carry<I: From<FlowInput>>(
    mut connection: Connection,
    flow: Flow,
    inputs: &mpsc::Sender<I>,
) {
    let Flow { id, transport, peer, names, waiting_bytes_max } = flow;
    let (commands, mut received) = mpsc::unbounded_channel();
    let Ok(local) = connection.local_address() else { return };
    let ends = Ends { local, peer };
    let opened = FlowInput::Opened { id, transport, ends, names, commands };
    if inputs.send(opened.into()).await.is_err() {
        return;
    }
    let reason = converse(&mut connection, id, waiting_bytes_max, &mut received, inputs).await;
    // What is sent from here on goes nowhere.
    drop(received);
    tracing::debug!(flow = id.0, %peer, reason, "a flow has ended");
    let _ = tokio::time::timeout(Duration::from_secs(1), connection.close()).await;
    let _ = inputs.send(FlowInput::Closed { id }.into()).await;
}

async fn converse<I: From<FlowInput>>(
    connection: &mut Connection,
    id: FlowId,
    waiting_bytes_max: usize,
    commands: &mut mpsc::UnboundedReceiver<Bytes>,
    inputs: &mpsc::Sender<I>,
) -> &'static str {
    let mut silent_until = tokio::time::Instant::now() + SILENCE_MAX;
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            // What waits is written before more is taken, so that only a slow peer lets it grow.
            biased;
            read = connection.progress(true) => match read {
                Ok(bytes) if bytes.is_empty() => return "closed by the device",
                Ok(bytes) => {
                    silent_until = tokio::time::Instant::now() + SILENCE_MAX;
                    if inputs.send(FlowInput::Received { id, bytes }.into()).await.is_err() {
                        return "the gateway has stopped";
                    }
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => return "takes no bytes",
                Err(_) => return "lost",
            },
            count = commands.recv_many(&mut batch, BATCH_MAX) => {
                if count == 0 {
                    return "closed by the home";
                }
                if connection.waiting_bytes() > waiting_bytes_max {
                    return "too slow";
                }
                batch.drain(..).for_each(|bytes| connection.send(&bytes));
            },
            () = tokio::time::sleep_until(silent_until) => return "silent",
        }
    }
}

/// The open flows, and what sends to them.
#[derive(Debug, Default)]
pub struct Flows {
    commands: BTreeMap<FlowId, mpsc::UnboundedSender<Bytes>>,
}

impl Flows {
    /// Takes a flow that was opened.
    pub fn insert(&mut self, id: FlowId, commands: mpsc::UnboundedSender<Bytes>) {
        self.commands.insert(id, commands);
    }

    /// Sends bytes to a device; one that is gone does not get them.
    pub fn send(&self, id: FlowId, bytes: Bytes) {
        if let Some(commands) = self.commands.get(&id) {
            let _ = commands.send(bytes);
        }
    }

    /// Closes a flow once all is written, or forgets one that has ended.
    pub fn remove(&mut self, id: FlowId) {
        self.commands.remove(&id);
    }
}

#[cfg(test)]
mod tests;
