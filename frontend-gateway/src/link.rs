//! The link's dialling side: one task for each edge, which attaches again whenever it is lost.

mod back_off;
mod names;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use link::role::Role;
use link::wire::link_client::LinkClient;
use link::wire::{FromEdge, FromFrontend};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Endpoint};

use back_off::BackOff;
pub use names::EdgeNames;

/// Time for TCP and TLS to an edge.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A link is probed when it has been silent for this long, and ends without an answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long an edge may take to end a link that we have ended.
const ENDING_MAX: Duration = Duration::from_secs(2);

/// What happens on a link.
#[derive(Debug)]
pub enum LinkInput {
    /// An edge has been attached to.
    Attached {
        /// Our number of the link to this edge; a later attachment has another.
        number: u64,
        /// The name in the edge's certificate.
        name: String,
        /// Its sending side.
        attachment: Attachment,
    },
    /// The edge sent a frame.
    Frame {
        /// The attachment.
        number: u64,
        /// The frame.
        frame: FromEdge,
    },
    /// The link is lost.
    Detached {
        /// The attachment.
        number: u64,
    },
}

/// The sending side of a link, which ends with it, whatever the edge does.
#[derive(Debug)]
pub struct Attachment {
    frames: mpsc::UnboundedSender<FromFrontend>,
    _ends: DropGuard,
}

impl Attachment {
    /// Sends a frame; on a link that is lost, which its task tells, it goes nowhere.
    pub fn send(&self, frame: FromFrontend) {
        let _ = self.frames.send(frame);
    }
}

/// Keeps a link to the edge at `address` (`host:port`) until the receiver of `inputs` is gone.
pub async fn keep<I: From<LinkInput>>(
    address: String,
    tls: Arc<ClientConfig>,
    numbers: Arc<std::sync::atomic::AtomicU64>,
    names: EdgeNames,
    inputs: mpsc::Sender<I>,
) {
    let mut back_off = BackOff::default();
    let mut told = None;
    loop {
        let number = numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match attach(&address, &tls, number, &names, &inputs, &mut back_off).await {
            Ok(()) => {}
            Err(LinkError::Stopped) => return,
            Err(LinkError::Taken(edge)) => {
                tell_of_duplicate(&address, edge, &mut told);
                // An error in the configuration, which stays; or the other link is dead and not
                // yet found so, and then its keep-alive ends it before we come again.
                back_off.skip_to_last();
            }
            Err(error) => {
                metrics::counter!("gateway_link_failures_total").increment(1);
                let cause = root_cause(&error);
                tracing::warn!(edge = address, %error, cause, "no link to the edge");
            }
        }
        tokio::time::sleep(back_off.next(random())).await;
    }
}

/// Returns what lies behind an error: tonic says of every one that a transport has failed.
fn root_cause(error: &LinkError) -> Option<String> {
    let first = std::error::Error::source(error);
    let causes = std::iter::successors(first, |cause| cause.source());
    causes.last().map(ToString::to_string)
}

/// Tells the operator, once, that an address is not used; `told` remembers for which edge.
fn tell_of_duplicate(address: &str, edge: String, told: &mut Option<String>) {
    metrics::counter!("gateway_link_duplicates_total").increment(1);
    if told.as_ref() == Some(&edge) {
        return tracing::debug!(address, edge, "the edge is still attached by another address");
    }
    tracing::warn!(address, edge, "the edge is attached already by another address");
    *told = Some(edge);
}

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("the edge refused: {0}")]
    Refused(#[from] tonic::Status),
    #[error("the edge {0} is attached already by another address")]
    Taken(String),
    #[error("the gateway is stopping")]
    Stopped,
}

/// Attaches once and carries frames until the link ends; one that worked ends the back-off.
async fn attach<I: From<LinkInput>>(
    address: &str,
    tls: &Arc<ClientConfig>,
    number: u64,
    names: &EdgeNames,
    inputs: &mpsc::Sender<I>,
    back_off: &mut BackOff,
) -> Result<(), LinkError> {
    let (name_found, mut name) = mpsc::channel(1);
    let channel = connect(address.to_owned(), Arc::clone(tls), name_found).await?;
    let name = name.recv().await.unwrap_or_default();
    // Before the edge hears of a second attachment, for which it would end the first. Held until
    // the loss of this one is told, so that there are never two.
    let Some(_claim) = names.claim(&name) else { return Err(LinkError::Taken(name)) };
    let (frames, outgoing): (_, UnboundedReceiver<FromFrontend>) = mpsc::unbounded_channel();
    let ended = CancellationToken::new();
    let attachment = Attachment { frames, _ends: ended.clone().drop_guard() };
    let attached = LinkInput::Attached { number, name: name.clone(), attachment };
    inputs.send(attached.into()).await.map_err(|_| LinkError::Stopped)?;
    let carrying = carry(channel, outgoing, number, inputs, back_off);
    let cut_off = async {
        ended.cancelled().await;
        // Without our side an honest edge ends its own once it has read everything.
        tokio::time::sleep(ENDING_MAX).await;
    };
    let result = tokio::select! {
        result = carrying => result,
        () = cut_off => Ok(()),
    };
    tracing::warn!(edge = name, "the link is lost");
    let detached = LinkInput::Detached { number };
    inputs.send(detached.into()).await.map_err(|_| LinkError::Stopped)?;
    result
}

async fn carry<I: From<LinkInput>>(
    channel: Channel,
    outgoing: UnboundedReceiver<FromFrontend>,
    number: u64,
    inputs: &mpsc::Sender<I>,
    back_off: &mut BackOff,
) -> Result<(), LinkError> {
    let mut client = LinkClient::new(channel)
        .max_decoding_message_size(link::FRAME_BYTES_MAX)
        .max_encoding_message_size(link::FRAME_BYTES_MAX);
    let mut frames = client.attach(UnboundedReceiverStream::new(outgoing)).await?.into_inner();
    while let Some(frame) = frames.message().await? {
        // Only now: an edge that takes attachments and drops them would be dialled without end.
        back_off.worked();
        let input = LinkInput::Frame { number, frame };
        inputs.send(input.into()).await.map_err(|_| LinkError::Stopped)?;
    }
    Ok(())
}

async fn connect(
    address: String,
    tls: Arc<ClientConfig>,
    name_found: mpsc::Sender<String>,
) -> Result<Channel, tonic::transport::Error> {
    // The connector decides where to; tonic wants a URI all the same.
    let endpoint = Endpoint::from_static("http://edge")
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER_MAX)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(8 * 1024 * 1024)
        .http2_max_header_list_size(16 * 1024);
    let connector = tower::service_fn(move |_: http::Uri| {
        let (address, tls, name_found) = (address.clone(), tls.clone(), name_found.clone());
        async move {
            let socket = TcpStream::connect(&address).await?;
            socket.set_nodelay(true)?;
            // The certificate's role is what counts, so that any name will do here.
            let server_name = ServerName::IpAddress(socket.peer_addr()?.ip().into());
            let tls = TlsConnector::from(tls).connect(server_name, socket).await?;
            let name = host::tls::peer_name(tls.get_ref().1.peer_certificates(), Role::Edge);
            // A second connection of the same channel would be a second attachment.
            let name = name.ok_or_else(|| io::Error::other("the certificate has no name"))?;
            name_found.try_send(name).map_err(|_| io::Error::other("the link is lost"))?;
            Ok::<_, io::Error>(TokioIo::new(tls))
        }
    });
    endpoint.connect_with_connector(connector).await
}

fn random() -> u8 {
    let mut random = [0];
    // Without randomness the full wait is right as well.
    let _ = getrandom::fill(&mut random);
    random[0]
}

#[cfg(test)]
mod tests;
