//! Opens connections of the inside: those of devices and servers that come to us, and ours to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use host::socket::Connection;
use host::tls::{PeerIdentity, TrustAnchors};
use rustls::pki_types::{ServerName, UnixTime};
use sip_proto::transaction::{FlowId, Transport};
use sip_proto::uri::{Host, Scheme, Uri};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

use super::{Flow, FlowInput, carry};
use crate::next_hops::Target;

/// Time for the TLS handshake of a device.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Time for opening a connection to a device.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Time for opening a connection to a server of a next hop, TLS included: there may be others.
const CONNECT_SERVER_MAX: Duration = Duration::from_secs(5);

/// What opens flows.
pub struct Opener<I> {
    inputs: mpsc::Sender<I>,
    numbers: Arc<AtomicU64>,
    count: Arc<AtomicUsize>,
    settings: OpenerSettings,
}

/// What flows are opened to, and how many.
#[derive(Clone, Debug)]
pub struct OpenerSettings {
    /// Who is at the other end, in metrics: `home` or `next_hop`.
    pub peers: &'static str,
    /// The number of the first flow that is opened to us.
    pub first_number: u64,
    /// The most flows at a time. Those that we open to servers do not count.
    pub count_max: usize,
    /// The most bytes that the other end may leave waiting before it counts as lost.
    pub waiting_bytes_max: usize,
}

/// TLS with next hops, in which both ends show who they are.
#[derive(Clone)]
pub struct MutualTls {
    /// Takes the connections of servers.
    pub acceptor: TlsAcceptor,
    /// Makes ours.
    pub connector: TlsConnector,
    /// The authorities that their certificates are checked against.
    pub trust: Arc<TrustAnchors>,
}

/// What is spoken on a listening socket.
#[derive(Clone)]
pub enum Security {
    /// TCP alone.
    Tcp,
    /// TLS, in which we alone show who we are.
    Tls(TlsAcceptor),
    /// TLS, in which both ends do.
    Mutual(MutualTls),
}

impl<I: From<FlowInput> + Send + 'static> Opener<I> {
    /// Makes an opener of flows, which report to `inputs`.
    pub fn new(inputs: mpsc::Sender<I>, settings: OpenerSettings) -> Self {
        let numbers = Arc::new(AtomicU64::new(settings.first_number));
        Self { inputs, numbers, count: Arc::default(), settings }
    }

    /// Accepts connections until `stop` is cancelled.
    pub async fn listen(
        self: Arc<Self>,
        listener: TcpListener,
        security: Security,
        stop: CancellationToken,
    ) {
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((socket, peer)) => self.accept(socket, peer, security.clone()),
                Err(error) => {
                    // Out of descriptors, or a connection that is gone already: the next may do.
                    tracing::warn!(%error, "a connection of the inside could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn accept(&self, socket: TcpStream, peer: SocketAddr, security: Security) {
        let Some(place) = self.place() else {
            let peers = self.settings.peers;
            metrics::counter!("gateway_inside_connections_refused_total", "peers" => peers)
                .increment(1);
            return tracing::warn!(%peer, peers, "a connection was refused: too many are open");
        };
        let id = FlowId(self.numbers.fetch_add(1, Ordering::Relaxed));
        let waiting_bytes_max = self.settings.waiting_bytes_max;
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let _place = place;
            let Ok(mut connection) = Connection::new(socket) else { return };
            let (transport, acceptor, trust) = match &security {
                Security::Tcp => (Transport::Tcp, None, None),
                Security::Tls(acceptor) => (Transport::Tls, Some(acceptor), None),
                Security::Mutual(tls) => (Transport::Tls, Some(&tls.acceptor), Some(&*tls.trust)),
            };
            if let Some(acceptor) = acceptor {
                let handshake = connection.accept_tls(acceptor);
                match tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return tracing::info!(%peer, %error, "no TLS with a peer"),
                    Err(_) => return tracing::info!(%peer, "a peer took too long for TLS"),
                }
            }
            let names = proven_names(&connection, trust, peer);
            let flow = Flow { id, transport, peer, names, waiting_bytes_max };
            carry(connection, flow, &inputs).await;
        });
    }

    /// Opens a flow to a device, or reports that it cannot be opened.
    pub fn open(&self, id: FlowId, uri: Uri) {
        let Some(place) = self.place() else {
            return self.tell_closed(id, "too many connections are open");
        };
        let waiting_bytes_max = self.settings.waiting_bytes_max;
        self.open_by(id, place, async move {
            let (connection, peer) = connect(&uri).await?;
            let (transport, names) = (Transport::Tcp, Vec::new());
            Ok((connection, Flow { id, transport, peer, names, waiting_bytes_max }))
        });
    }

    /// Opens a flow to a server of a next hop, or reports that it cannot be opened. It is the policy
    /// that bounds how many there are.
    pub fn open_server(&self, id: FlowId, target: Target, tls: Option<MutualTls>) {
        let place = Place::take(&self.count, self.settings.peers);
        let waiting_bytes_max = self.settings.waiting_bytes_max;
        self.open_by(id, place, async move {
            let connected = connect_server(id, &target, tls, waiting_bytes_max);
            let result = tokio::time::timeout(CONNECT_SERVER_MAX, connected).await;
            result.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
        });
    }

    fn open_by(
        &self,
        id: FlowId,
        place: Place,
        connected: impl Future<Output = std::io::Result<(Connection, Flow)>> + Send + 'static,
    ) {
        let (inputs, peers) = (self.inputs.clone(), self.settings.peers);
        tokio::spawn(async move {
            let _place = place;
            match connected.await {
                Ok((connection, flow)) => carry(connection, flow, &inputs).await,
                Err(error) => {
                    tracing::info!(flow = id.0, peers, %error, "a connection cannot be opened");
                    // The receiver is gone only while the process ends.
                    let _ = inputs.send(FlowInput::Closed { id }.into()).await;
                }
            }
        });
    }

    fn tell_closed(&self, id: FlowId, error: &str) {
        let (inputs, peers) = (self.inputs.clone(), self.settings.peers);
        tracing::info!(flow = id.0, peers, error, "a connection cannot be opened");
        tokio::spawn(async move { inputs.send(FlowInput::Closed { id }.into()).await });
    }

    fn place(&self) -> Option<Place> {
        let count_max = self.settings.count_max;
        (self.count.load(Ordering::Relaxed) < count_max)
            .then(|| Place::take(&self.count, self.settings.peers))
    }
}

/// Returns the SIP domains that the certificate of the other end proves.
fn proven_names(
    connection: &Connection,
    trust: Option<&TrustAnchors>,
    peer: SocketAddr,
) -> Vec<String> {
    let Some(trust) = trust else { return Vec::new() };
    let identity = PeerIdentity::examine(connection.peer_certificates(), trust, UnixTime::now());
    if let Err(error) = identity.trust() {
        tracing::warn!(%peer, %error, "a next hop's certificate proves nothing");
    }
    identity.sip_domains()
}

async fn connect_server(
    id: FlowId,
    target: &Target,
    tls: Option<MutualTls>,
    waiting_bytes_max: usize,
) -> std::io::Result<(Connection, Flow)> {
    let socket = match &target.host {
        Host::Name(name) => TcpStream::connect((name.as_str(), target.port)).await,
        Host::V4(address) => TcpStream::connect((*address, target.port)).await,
        Host::V6(address) => TcpStream::connect((*address, target.port)).await,
    }?;
    let peer = socket.peer_addr()?;
    let mut connection = Connection::new(socket)?;
    let mut names = Vec::new();
    if target.transport == Transport::Tls {
        let tls = tls.ok_or_else(|| std::io::Error::other("there is no certificate of ours"))?;
        let name = ServerName::try_from(target.host.to_string());
        let name = name.unwrap_or_else(|_| ServerName::from(peer.ip()));
        connection.connect_tls(&tls.connector, name).await?;
        names = proven_names(&connection, Some(&tls.trust), peer);
    }
    let transport = target.transport;
    Ok((connection, Flow { id, transport, peer, names, waiting_bytes_max }))
}

/// One of the flows that may be open.
struct Place {
    count: Arc<AtomicUsize>,
    peers: &'static str,
}

impl Place {
    fn take(count: &Arc<AtomicUsize>, peers: &'static str) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("gateway_inside_connections", "peers" => peers).increment(1.0);
        Self { count: Arc::clone(count), peers }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("gateway_inside_connections", "peers" => self.peers).decrement(1.0);
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
