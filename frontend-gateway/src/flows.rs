//! The connections of home users' devices: accepted or opened, read, written, closed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use host::socket::Connection;
use sip_proto::transaction::{FlowId, Transport};
use sip_proto::uri::{Scheme, Uri};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::home::Ends;

/// Time for the TLS handshake of a device.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Time for opening a connection to a device.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A device that has sent nothing for so long is gone: it registers at least every hour.
const SILENCE_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// The most bytes that wait for a device before it counts as lost.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

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

/// What opens flows.
pub struct Opener<I> {
    inputs: mpsc::Sender<I>,
    numbers: Arc<AtomicU64>,
    count: Arc<AtomicUsize>,
    count_max: usize,
}

impl<I: From<FlowInput> + Send + 'static> Opener<I> {
    /// Makes an opener of at most `count_max` flows, which report to `inputs`.
    pub fn new(inputs: mpsc::Sender<I>, count_max: usize) -> Self {
        // 0 is the flow between home and gateway.
        Self { inputs, numbers: Arc::new(AtomicU64::new(1)), count: Arc::default(), count_max }
    }

    /// Accepts connections until `stop` is cancelled.
    pub async fn listen(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        stop: CancellationToken,
    ) {
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((socket, peer)) => self.accept(socket, peer, tls.clone()),
                Err(error) => {
                    // Out of descriptors, or a connection that is gone already: the next may do.
                    tracing::warn!(%error, "a device's connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn accept(&self, socket: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
        let Some(place) = Place::take(&self.count, self.count_max) else {
            metrics::counter!("gateway_home_connections_refused_total").increment(1);
            return tracing::warn!(%peer, "a connection was refused: too many are open");
        };
        let id = FlowId(self.numbers.fetch_add(1, Ordering::Relaxed));
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let _place = place;
            let transport = if tls.is_some() { Transport::Tls } else { Transport::Tcp };
            let Ok(mut connection) = Connection::new(socket) else { return };
            if let Some(acceptor) = tls {
                let handshake = connection.accept_tls(&acceptor);
                match tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return tracing::info!(%peer, %error, "no TLS with a device"),
                    Err(_) => return tracing::info!(%peer, "a device took too long for TLS"),
                }
            }
            carry(connection, id, transport, peer, &inputs).await;
        });
    }

    /// Opens a flow to a device, or reports that it cannot be opened.
    pub fn open(&self, id: FlowId, uri: Uri) {
        let inputs = self.inputs.clone();
        let place = Place::take(&self.count, self.count_max);
        tokio::spawn(async move {
            match (place, connect(&uri).await) {
                (Some(_place), Ok((connection, peer))) => {
                    carry(connection, id, Transport::Tcp, peer, &inputs).await;
                }
                (place, result) => {
                    let error = result.err().map(|error| error.to_string());
                    let full = place.is_none();
                    tracing::info!(flow = id.0, error, full, "a device cannot be connected to");
                    // The receiver is gone only while the process ends.
                    let _ = inputs.send(FlowInput::Closed { id }.into()).await;
                }
            }
        });
    }
}

/// One of the flows that may be open.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(count: &Arc<AtomicUsize>, count_max: usize) -> Option<Self> {
        let room = |count| (count < count_max).then_some(count + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        metrics::gauge!("gateway_home_connections").increment(1.0);
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("gateway_home_connections").decrement(1.0);
    }
}

/// Returns where a device takes connections without TLS.
///
/// Devices have no certificates: one that asks for TLS, by its scheme too (RFC 5630 s.5.1), comes to
/// us.
fn plain_address(uri: &Uri) -> Option<SocketAddr> {
    let asks_for_tls =
        matches!(uri.parameter("transport"), Ok(Some(it)) if it.eq_ignore_ascii_case("tls"));
    let address = uri.host()?.address()?;
    let is_plain = *uri.scheme() == Scheme::Sip && !asks_for_tls;
    is_plain.then(|| SocketAddr::new(address, uri.port().unwrap_or(5060)))
}

async fn connect(uri: &Uri) -> std::io::Result<(Connection, SocketAddr)> {
    let unusable = || std::io::Error::other("not an address that can be connected to");
    let peer = plain_address(uri).ok_or_else(unusable)?;
    let socket = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(peer)).await;
    let socket = socket.map_err(|_| std::io::ErrorKind::TimedOut)??;
    Ok((Connection::new(socket)?, peer))
}

/// Carries bytes between a device and the home until one of the two ends it.
async fn carry<I: From<FlowInput>>(
    mut connection: Connection,
    id: FlowId,
    transport: Transport,
    peer: SocketAddr,
    inputs: &mpsc::Sender<I>,
) {
    let (commands, mut received) = mpsc::unbounded_channel();
    let Ok(local) = connection.local_address() else { return };
    let opened = FlowInput::Opened { id, transport, ends: Ends { local, peer }, commands };
    if inputs.send(opened.into()).await.is_err() {
        return;
    }
    let reason = converse(&mut connection, id, &mut received, inputs).await;
    tracing::debug!(flow = id.0, %peer, reason, "a flow has ended");
    let _ = tokio::time::timeout(Duration::from_secs(1), connection.close()).await;
    let _ = inputs.send(FlowInput::Closed { id }.into()).await;
}

async fn converse<I: From<FlowInput>>(
    connection: &mut Connection,
    id: FlowId,
    commands: &mut mpsc::UnboundedReceiver<Bytes>,
    inputs: &mpsc::Sender<I>,
) -> &'static str {
    let mut silent_until = tokio::time::Instant::now() + SILENCE_MAX;
    loop {
        let write_until = connection.write_deadline().map(tokio::time::Instant::from_std);
        let deadline = write_until.map_or(silent_until, |it| it.min(silent_until));
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(bytes) => connection.send(&bytes),
                None => return "closed by the home",
            },
            read = connection.progress(true) => match read {
                Ok(bytes) if bytes.is_empty() => return "closed by the device",
                Ok(bytes) => {
                    silent_until = tokio::time::Instant::now() + SILENCE_MAX;
                    if inputs.send(FlowInput::Received { id, bytes }.into()).await.is_err() {
                        return "the gateway has stopped";
                    }
                }
                Err(_) => return "lost",
            },
            () = tokio::time::sleep_until(deadline) => return "silent, or takes no bytes",
        }
        if connection.waiting_bytes() > WAITING_BYTES_MAX {
            return "too slow";
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
mod tests {
    use sip_proto::uri::Uri;

    use super::plain_address;

    #[test]
    fn a_device_that_asks_for_tls_is_not_connected_to_without() {
        for (uri, expected) in [
            ("sip:romeo@192.0.2.1", Some("192.0.2.1:5060")),
            ("sip:romeo@192.0.2.1:5070;transport=tcp", Some("192.0.2.1:5070")),
            ("sip:romeo@[2001:db8::1]:5070", Some("[2001:db8::1]:5070")),
            ("sip:romeo@192.0.2.1;transport=TLS", None),
            ("sips:romeo@192.0.2.1", None),
            ("sips:romeo@192.0.2.1:5061;transport=tcp", None),
            ("sip:romeo@phone.example.net", None),
        ] {
            let address = plain_address(&Uri::parse(uri).unwrap()).map(|it| it.to_string());
            assert_eq!(address.as_deref(), expected, "{uri}");
        }
    }
}
