//! An edge with whatever certificate that does on each attachment what the test tells it.

use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use host::tls::{Identity, TrustAnchors, link_server_config};
use link::wire::link_server::{Link, LinkServer};
use link::wire::{FromEdge, FromFrontend, Hello, Settlement};
use sha2::{Digest, Sha256};
use tests::appliance::OTHER_EDGE_NAME;
use tests::test_ca;
use tests::wait::Deadline;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// Bytes and frames on their way within the edge.
const UNREAD_BYTES_MAX: usize = 64 * 1024;
const UNREAD_FRAMES_MAX: usize = 16;

/// What the edge does with an attachment.
#[derive(Debug)]
pub(super) enum Deed {
    /// It ends it before any frame.
    End,
    /// It sends these frames, and leaves the end to the front end, of which it reads nothing.
    Send(Vec<FromEdge>),
    /// The same, but it reads what the front end sends.
    Converse(Vec<FromEdge>),
}

/// What the edge sees.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// A front end has attached.
    Attached(Instant),
    /// All frames are on their way.
    Sent(Instant),
    /// The front end has ended the stream of these frames.
    Ended(Instant),
}

/// The edge, which ends with this.
pub(super) struct FalseEdge {
    deeds: mpsc::UnboundedSender<Deed>,
    seen: Receiver<Seen>,
    heard: Receiver<FromFrontend>,
    _runtime: Runtime,
}

/// The first frame of an edge that keeps the rules.
pub(super) fn greeting() -> FromEdge {
    greeting_of(7)
}

/// The same of one of several edges that share the certificate.
pub(super) fn greeting_of(replica: u8) -> FromEdge {
    let instance = vec![replica; 16].into();
    let hello = Hello { version: link::VERSION, name: OTHER_EDGE_NAME.to_owned(), instance };
    FromEdge { hello: Some(hello), ..FromEdge::default() }
}

/// The greeting of an edge to which no stanza goes that gw.example has for peer.example, as long as
/// the edge is attached that the front end shows.
///
/// Of two edges a pair prefers the one that weighs more, which the instance decides.
pub(super) fn greeting_that_yields(shown: &[String]) -> FromEdge {
    let other = shown.iter().find_map(|line| line.strip_prefix("edge edge1 "));
    let other = other.and_then(|rest| rest.rsplit("instance ").next()).expect("edge1 is attached");
    let other: Vec<u8> = (0..other.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&other[at..at + 2], 16).expect("it is hexadecimal"))
        .collect();
    let weigh = |name: &str, instance: &[u8]| -> [u8; 32] {
        let parts = [name, "gw.example", "peer.example"];
        let hash =
            parts.iter().fold(Sha256::new(), |hash, it| hash.chain_update(it).chain_update([0]));
        hash.chain_update(instance).finalize().into()
    };
    let bound = weigh("edge1", &other);
    let yields = |replica: &u8| weigh(OTHER_EDGE_NAME, &[*replica; 16]) < bound;
    greeting_of((0..=u8::MAX).find(yields).expect("one of so many weighs less"))
}

impl FalseEdge {
    /// Listens with the other edge's certificate, which `Setup::write` has written.
    pub(super) fn start(directory: &Path, address: SocketAddrV4) -> Self {
        let file = |name: &str| directory.join(name);
        let identity =
            test_ca::Identity { certificate: file("other-edge.pem"), key: file("other-edge.key") };
        Self::start_as(&identity, directory, address)
    }

    /// Listens with another certificate; front ends of the link's authority may attach.
    pub(super) fn start_as(
        identity: &test_ca::Identity,
        directory: &Path,
        address: SocketAddrV4,
    ) -> Self {
        let identity = Identity::load(&identity.certificate, &identity.key);
        let mut trust = TrustAnchors::default();
        trust.add_file(&directory.join("link-ca.pem")).expect("the authority is written");
        let tls = link_server_config(&identity.expect("the certificate is written"), trust);
        let acceptor = TlsAcceptor::from(Arc::new(tls.expect("the configuration is right")));
        let runtime = Runtime::new().expect("threads can be started");
        let listener = runtime.block_on(TcpListener::bind(address)).expect("the port is free");
        let (sockets, accepted) = mpsc::channel(1);
        runtime.spawn(accept(listener, acceptor, sockets));
        let (deeds, to_do) = mpsc::unbounded_channel();
        let (noted, seen) = channel();
        let (hears, heard) = channel();
        let to_do = Arc::new(Mutex::new(to_do));
        let service = LinkServer::new(Service { to_do, noted, hears });
        let server = Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(ReceiverStream::new(accepted)));
        Self { deeds, seen, heard, _runtime: runtime }
    }

    /// Tells it what to do with the attachment that there is, or the next one.
    pub(super) fn tell(&self, deed: Deed) {
        self.deeds.send(deed).expect("the edge runs");
    }

    /// Waits until a front end attaches; says when it did.
    pub(super) fn wait_for_attachment(&self, deadline: Deadline) -> Instant {
        match self.next(deadline) {
            Seen::Attached(at) => at,
            other => panic!("a front end was to attach: {other:?}"),
        }
    }

    /// Waits until the frames of a deed are on their way; says when they were.
    pub(super) fn wait_until_sent(&self, deadline: Deadline) -> Instant {
        match self.next(deadline) {
            Seen::Sent(at) => at,
            other => panic!("frames were to be sent: {other:?}"),
        }
    }

    /// Waits until the front end ends the stream of a deed's frames; says when it did.
    pub(super) fn wait_for_end(&self, deadline: Deadline) -> Instant {
        match self.next(deadline) {
            Seen::Ended(at) => at,
            other => panic!("the front end was to end the stream: {other:?}"),
        }
    }

    /// Whether a front end has attached, or anything else has happened.
    pub(super) fn has_seen_something(&self) -> bool {
        self.seen.try_recv().is_ok()
    }

    /// Waits for so many settlements by the front end, of a conversation.
    pub(super) fn wait_for_settlements(&self, count: usize, deadline: Deadline) -> Vec<Settlement> {
        let mut settlements = Vec::new();
        while settlements.len() < count {
            let frame = self.heard.recv_timeout(deadline.remaining());
            let frame = frame.unwrap_or_else(|error| {
                panic!("{} of {count} settlements within {deadline}: {error}", settlements.len())
            });
            settlements.extend(frame.settlements);
        }
        settlements
    }

    fn next(&self, deadline: Deadline) -> Seen {
        let seen = self.seen.recv_timeout(deadline.remaining());
        seen.unwrap_or_else(|error| panic!("the false edge saw nothing within {deadline}: {error}"))
    }
}

/// Hands every connection of a front end on as plain bytes.
async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    sockets: mpsc::Sender<io::Result<DuplexStream>>,
) {
    while let Ok((socket, _)) = listener.accept().await {
        let Ok(mut tls) = acceptor.accept(socket).await else { continue };
        let (near, mut far) = tokio::io::duplex(UNREAD_BYTES_MAX);
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut tls, &mut far).await });
        if sockets.send(Ok(near)).await.is_err() {
            return;
        }
    }
}

struct Service {
    to_do: Arc<Mutex<mpsc::UnboundedReceiver<Deed>>>,
    noted: Sender<Seen>,
    hears: Sender<FromFrontend>,
}

type Frames = Pin<Box<ReceiverStream<Result<FromEdge, Status>>>>;

#[tonic::async_trait]
impl Link for Service {
    type AttachStream = Frames;

    async fn attach(
        &self,
        request: Request<Streaming<FromFrontend>>,
    ) -> Result<Response<Frames>, Status> {
        let (frames, outgoing) = mpsc::channel(UNREAD_FRAMES_MAX);
        note(&self.noted, Seen::Attached(Instant::now()));
        let (to_do, noted) = (Arc::clone(&self.to_do), self.noted.clone());
        let hears = self.hears.clone();
        let incoming = request.into_inner();
        tokio::spawn(async move {
            let Some(deed) = to_do.lock().await.recv().await else { return };
            perform(deed, &noted, hears, frames, incoming).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

async fn perform(
    deed: Deed,
    noted: &Sender<Seen>,
    hears: Sender<FromFrontend>,
    frames: mpsc::Sender<Result<FromEdge, Status>>,
    mut incoming: Streaming<FromFrontend>,
) {
    let (to_send, reads) = match deed {
        Deed::End => return,
        Deed::Send(to_send) => (to_send, false),
        Deed::Converse(to_send) => (to_send, true),
    };
    // Held where it is not read: an edge that ends its side with the front end's would be an
    // honest one.
    let _reading = tokio::spawn(async move {
        while reads && let Ok(Some(frame)) = incoming.message().await {
            let _ = hears.send(frame);
        }
        std::future::pending::<()>().await;
        drop(incoming);
    });
    for frame in to_send {
        // A front end that is gone already is seen below.
        let _ = frames.send(Ok(frame)).await;
    }
    note(noted, Seen::Sent(Instant::now()));
    frames.closed().await;
    note(noted, Seen::Ended(Instant::now()));
}

fn note(noted: &Sender<Seen>, seen: Seen) {
    // The test may have ended.
    let _ = noted.send(seen);
}
