//! The link's listening side: front ends attach here, over mutual TLS with roles.

mod socket;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use link::role::Role;
use link::wire::link_server::{Link, LinkServer};
use link::wire::{FromEdge, FromFrontend};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::hub::FrontendId;
use crate::hub_driver::{HubInput, HubSender};
use socket::{FrontendName, LinkSocket};

/// Time for the TLS handshake of a front end.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// A link is probed when it has been silent for this long, and ends without an answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_ANSWER_MAX: Duration = Duration::from_secs(5);

/// Handshakes of front ends that may be under way at the same time.
const HANDSHAKES_MAX: usize = 32;

/// Serves the link until `stop` is cancelled and the links that there are have ended.
pub async fn serve(
    listener: TcpListener,
    tls: ServerConfig,
    hub: HubSender,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let (accepted, sockets) = mpsc::channel(HANDSHAKES_MAX);
    let accepting = accept(listener, Arc::new(tls), accepted);
    tokio::spawn(stop.clone().run_until_cancelled_owned(accepting));
    let service = LinkServer::new(LinkService { hub, attachments: Default::default() })
        .max_decoding_message_size(link::FRAME_BYTES_MAX)
        .max_encoding_message_size(link::FRAME_BYTES_MAX);
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_ANSWER_MAX))
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(8 * 1024 * 1024)
        .http2_max_header_list_size(16 * 1024)
        .add_service(service)
        .serve_with_incoming_shutdown(ReceiverStream::new(sockets), stop.cancelled_owned())
        .await
}

async fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    accepted: mpsc::Sender<Result<LinkSocket, std::io::Error>>,
) {
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    let room = Arc::new(tokio::sync::Semaphore::new(HANDSHAKES_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a connection that is gone already: the next may do.
                tracing::warn!(%error, "a front end's connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
        tokio::spawn(async move {
            let handshake =
                tokio::time::timeout(HANDSHAKE_MAX, LinkSocket::accept(socket, acceptor));
            match handshake.await {
                Ok(Ok(socket)) => drop(accepted.send(Ok(socket)).await),
                Ok(Err(error)) => {
                    metrics::counter!("edge_link_refused_total").increment(1);
                    tracing::warn!(%address, %error, "a connection to the link was refused");
                }
                Err(_) => tracing::warn!(%address, "a TLS handshake on the link took too long"),
            }
            drop(permit);
        });
    }
}

struct LinkService {
    hub: HubSender,
    attachments: std::sync::atomic::AtomicU64,
}

type Frames = Pin<Box<dyn Stream<Item = Result<FromEdge, Status>> + Send>>;

#[tonic::async_trait]
impl Link for LinkService {
    type AttachStream = Frames;

    async fn attach(
        &self,
        request: Request<Streaming<FromFrontend>>,
    ) -> Result<Response<Frames>, Status> {
        let Some(FrontendName(name)) = request.extensions().get().cloned() else {
            return Err(Status::unauthenticated(format!("no {} role", Role::Frontend)));
        };
        let number = self.attachments.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = FrontendId(number);
        let (frames, outgoing) = mpsc::unbounded_channel();
        let attached = HubInput::Attached { id, name: name.clone(), frames };
        if self.hub.send(attached).await.is_err() {
            return Err(Status::unavailable("the edge is stopping"));
        }
        tokio::spawn(receive(id, name, request.into_inner(), self.hub.clone()));
        let outgoing = UnboundedReceiverStream::new(outgoing).map(Ok);
        Ok(Response::new(Box::pin(outgoing)))
    }
}

async fn receive(
    id: FrontendId,
    name: String,
    mut frames: Streaming<FromFrontend>,
    hub: HubSender,
) {
    let mut has_spoken = false;
    let reason = loop {
        match frames.message().await {
            Ok(Some(frame)) => {
                has_spoken = true;
                if hub.send(HubInput::Frame { id, frame }).await.is_err() {
                    return;
                }
            }
            Ok(None) => break "closed by the front end".to_owned(),
            Err(status) => break status.message().to_owned(),
        }
    };
    if has_spoken {
        tracing::warn!(frontend = name, reason, "a front end is gone");
    } else {
        // One that is attached by another of our addresses, and tries this one at times.
        tracing::debug!(frontend = name, reason, "a front end has ended a link without a hello");
    }
    // The hub is gone only while the process ends.
    let _ = hub.send(HubInput::Detached { id }).await;
}
