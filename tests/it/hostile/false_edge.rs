//! An edge with a valid certificate that does on each attachment what the test tells it.

use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use host::tls::{Identity, TrustAnchors, link_server_config};
use link::wire::link_server::{Link, LinkServer};
use link::wire::{FromEdge, FromFrontend, Hello};
use tests::appliance::OTHER_EDGE_NAME;
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
    /// It sends these frames, and leaves the end to the front end.
    Send(Vec<FromEdge>),
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
    _runtime: Runtime,
}

/// The first frame of an edge that keeps the rules.
pub(super) fn greeting() -> FromEdge {
    let instance = vec![7; 16].into();
    let hello = Hello { version: link::VERSION, name: OTHER_EDGE_NAME.to_owned(), instance };
    FromEdge { hello: Some(hello), ..FromEdge::default() }
}

impl FalseEdge {
    /// Listens with the other edge's certificate, which `Setup::write` has written.
    pub(super) fn start(directory: &Path, address: SocketAddrV4) -> Self {
        let file = |name: &str| directory.join(name);
        let identity = Identity::load(&file("other-edge.pem"), &file("other-edge.key"));
        let mut trust = TrustAnchors::default();
        trust.add_file(&file("link-ca.pem")).expect("the authority is written");
        let tls = link_server_config(&identity.expect("the certificate is written"), trust);
        let acceptor = TlsAcceptor::from(Arc::new(tls.expect("the configuration is right")));
        let runtime = Runtime::new().expect("threads can be started");
        let listener = runtime.block_on(TcpListener::bind(address)).expect("the port is free");
        let (sockets, accepted) = mpsc::channel(1);
        runtime.spawn(accept(listener, acceptor, sockets));
        let (deeds, to_do) = mpsc::unbounded_channel();
        let (noted, seen) = channel();
        let service = LinkServer::new(Service { to_do: Arc::new(Mutex::new(to_do)), noted });
        let server = Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(ReceiverStream::new(accepted)));
        Self { deeds, seen, _runtime: runtime }
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
        tokio::spawn(perform(Arc::clone(&self.to_do), self.noted.clone(), frames, request));
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

async fn perform(
    to_do: Arc<Mutex<mpsc::UnboundedReceiver<Deed>>>,
    noted: Sender<Seen>,
    frames: mpsc::Sender<Result<FromEdge, Status>>,
    // Held and not read: an edge that ends its side with the front end's would be an honest one.
    _request: Request<Streaming<FromFrontend>>,
) {
    match to_do.lock().await.recv().await {
        None | Some(Deed::End) => {}
        Some(Deed::Send(to_send)) => {
            for frame in to_send {
                // A front end that is gone already is seen below.
                let _ = frames.send(Ok(frame)).await;
            }
            note(&noted, Seen::Sent(Instant::now()));
            frames.closed().await;
            note(&noted, Seen::Ended(Instant::now()));
        }
    }
}

fn note(noted: &Sender<Seen>, seen: Seen) {
    // The test may have ended.
    let _ = noted.send(seen);
}
