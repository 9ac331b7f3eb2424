//! The link's dialling side: one task for each address of an edge, which attaches again whenever
//! the link is lost.

mod addresses;
mod back_off;
mod claims;
mod discovery;
mod failure;
mod outgoing;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use link::batch::Frame;
use link::role::Role;
use link::wire::link_client::LinkClient;
use link::wire::{FromEdge, FromFrontend};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::edges::{AddressState, EdgeAddress};
use crate::links::EdgeId;
use back_off::BackOff;
use claims::{Claim, EdgeClaims};
pub use discovery::discover;
use failure::LinkError;

/// Time for TCP and TLS to an edge.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Time for an edge, once it is connected, to answer and to say hello.
const FIRST_FRAME_MAX: Duration = Duration::from_secs(10);

/// A link is probed when it has been silent for this long, and ends without an answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long an edge may take to end a link that we have ended.
const ENDING_MAX: Duration = Duration::from_secs(2);

/// What the frames of one link that wait for the receiver of the inputs may weigh, in units; one
/// that is heavier waits alone. Nothing more is read meanwhile.
const WAITING_UNITS_MAX: u32 = 4 * 1024;
const UNIT_BYTES: usize = 1024;

/// What happens on a link, or before there is one.
#[derive(Debug)]
pub enum LinkInput {
    /// The name of edges was resolved, or could not be.
    Name {
        /// The name, `host:port`.
        name: String,
        /// Why it could not be.
        failure: Option<String>,
    },
    /// Something became of an address.
    Address {
        /// The address.
        address: EdgeAddress,
        /// What became of it.
        state: AddressState,
    },
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
        /// What it takes of the link's room, until it has been dealt with.
        room: OwnedSemaphorePermit,
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
    frames: outgoing::Sender,
    _ends: DropGuard,
}

impl Attachment {
    /// Sends a frame; on a link that is lost, which its task tells, it goes nowhere.
    pub fn send(&self, frame: FromFrontend) {
        self.frames.send(frame);
    }
}

/// What the links of a front end share.
#[derive(Debug)]
pub struct Dialler<I> {
    tls: Arc<ClientConfig>,
    numbers: Arc<AtomicU64>,
    claims: EdgeClaims,
    inputs: mpsc::Sender<I>,
}

impl<I> Clone for Dialler<I> {
    fn clone(&self) -> Self {
        Self {
            tls: Arc::clone(&self.tls),
            numbers: Arc::clone(&self.numbers),
            claims: self.claims.clone(),
            inputs: self.inputs.clone(),
        }
    }
}

impl<I: From<LinkInput>> Dialler<I> {
    /// Makes the dialler of links that tell `inputs` what happens on them.
    pub fn new(tls: Arc<ClientConfig>, inputs: mpsc::Sender<I>) -> Self {
        let numbers = Arc::new(AtomicU64::new(1));
        Self { tls, numbers, claims: EdgeClaims::default(), inputs }
    }

    /// Keeps a link to the edge at an address, until the address is `gone` or the receiver of the
    /// inputs is.
    async fn keep(self, at: EdgeAddress, gone: CancellationToken) {
        if self.attempt(&at, &gone).await.is_ok() {
            // Whoever listened may be gone with it.
            let _ = self.tell_of(&at, AddressState::Gone).await;
        }
    }

    /// Attaches again and again; fails when the receiver of the inputs is gone.
    async fn attempt(&self, at: &EdgeAddress, gone: &CancellationToken) -> Result<(), LinkError> {
        let mut back_off = BackOff::default();
        let mut told = None;
        self.tell_of(at, AddressState::Found).await?;
        loop {
            let opening = gone.run_until_cancelled(self.open(at.address)).await;
            let result = match opening {
                None => return Ok(()),
                Some(Ok(link)) => self.carry(link, at, gone, &mut back_off).await,
                Some(Err(error)) => Err(error),
            };
            let state = match result {
                Ok(()) => AddressState::Ended,
                Err(LinkError::Stopped) => return Err(LinkError::Stopped),
                Err(LinkError::Taken(edge)) => {
                    tell_of_duplicate(at.address, edge.clone(), &mut told);
                    // The edge has several addresses, which stays so; or the other link is dead
                    // and not yet found so, and then its keep-alive ends it before we come again.
                    back_off.skip_to_last();
                    AddressState::Taken(edge)
                }
                Err(error) => {
                    metrics::counter!("gateway_link_failures_total").increment(1);
                    let (cause, address) = (error.root_cause(), at.address);
                    tracing::warn!(edge = at.behind, %address, %error, cause, "no link to the edge");
                    AddressState::Failed(error.describe())
                }
            };
            self.tell_of(at, state).await?;
            let waiting = tokio::time::sleep(back_off.next(random()));
            if gone.run_until_cancelled(waiting).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn open(&self, address: SocketAddr) -> Result<OpenLink, LinkError> {
        let (name_found, mut name) = mpsc::channel(1);
        let channel = connect(address, Arc::clone(&self.tls), name_found).await?;
        let name = name.recv().await.unwrap_or_default();
        greet(channel, name, &self.claims, FIRST_FRAME_MAX).await
    }

    /// Carries frames until the link ends, or the address is `gone`; one that lived for long
    /// enough ends the back-off.
    async fn carry(
        &self,
        link: OpenLink,
        at: &EdgeAddress,
        gone: &CancellationToken,
        back_off: &mut BackOff,
    ) -> Result<(), LinkError> {
        // The claim is held until the loss of the link is told, so that there are never two.
        let OpenLink { name, first, frames, incoming, claim: _claim } = link;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let since = Instant::now();
        let backlog = frames.backlog();
        let ended = CancellationToken::new();
        let attachment = Attachment { frames, _ends: ended.clone().drop_guard() };
        self.tell(LinkInput::Attached { number, name: name.clone(), attachment }).await?;
        self.tell_of(at, AddressState::Attached(EdgeId(number))).await?;
        let room = Arc::new(Semaphore::new(WAITING_UNITS_MAX as usize));
        self.hand_over(number, first, &room).await?;
        let cut_off = async {
            ended.cancelled().await;
            // Without our side an honest edge ends its own once it has read everything.
            tokio::time::sleep(ENDING_MAX).await;
        };
        let result = tokio::select! {
            result = self.pass_on(number, incoming, &room, &backlog) => result,
            () = backlog.stalls(outgoing::STALL_MAX) => Err(LinkError::Stalled),
            () = cut_off => Ok(()),
            () = gone.cancelled() => Ok(()),
        };
        tracing::warn!(edge = name, "the link is lost");
        back_off.lived(since.elapsed());
        self.tell(LinkInput::Detached { number }).await?;
        result
    }

    async fn pass_on(
        &self,
        number: u64,
        mut incoming: Streaming<FromEdge>,
        room: &Arc<Semaphore>,
        backlog: &outgoing::Backlog,
    ) -> Result<(), LinkError> {
        while let Some(frame) = incoming.message().await? {
            self.hand_over(number, frame, room).await?;
            backlog.has_room().await;
        }
        Ok(())
    }

    /// Hands a frame to the receiver of the inputs once it has dealt with most of those before.
    async fn hand_over(
        &self,
        number: u64,
        frame: FromEdge,
        room: &Arc<Semaphore>,
    ) -> Result<(), LinkError> {
        let units = u32::try_from(frame.weight() / UNIT_BYTES).unwrap_or(u32::MAX);
        let units = units.clamp(1, WAITING_UNITS_MAX);
        let room = Arc::clone(room).acquire_many_owned(units).await;
        let room = room.map_err(|_| LinkError::Stopped)?;
        self.tell(LinkInput::Frame { number, frame, room }).await
    }

    async fn tell_of(&self, at: &EdgeAddress, state: AddressState) -> Result<(), LinkError> {
        self.tell(LinkInput::Address { address: at.clone(), state }).await
    }

    async fn tell(&self, input: LinkInput) -> Result<(), LinkError> {
        self.inputs.send(input.into()).await.map_err(|_| LinkError::Stopped)
    }
}

/// A link on which the edge has said hello, and we have not yet.
#[derive(Debug)]
struct OpenLink {
    name: String,
    first: FromEdge,
    frames: outgoing::Sender,
    incoming: Streaming<FromEdge>,
    claim: Claim,
}

/// Attaches to the edge that its certificate calls `name`, and claims it by its first frame.
///
/// The claim comes before our hello, for which the edge would end our earlier attachment. An edge
/// whose first frame has no hello breaks the rules, which is for the receiver of the inputs to see.
async fn greet(
    channel: Channel,
    name: String,
    claims: &EdgeClaims,
    first_frame_max: Duration,
) -> Result<OpenLink, LinkError> {
    let (frames, outgoing) = outgoing::channel();
    let mut client = LinkClient::new(channel)
        .max_decoding_message_size(link::FRAME_BYTES_MAX)
        .max_encoding_message_size(link::FRAME_BYTES_MAX);
    let attaching = async {
        let answer = client.attach(outgoing).await?;
        let mut incoming = answer.into_inner();
        let first = incoming.message().await?.ok_or(LinkError::NoFrame)?;
        Ok::<_, LinkError>((first, incoming))
    };
    let attached = tokio::time::timeout(first_frame_max, attaching).await;
    let (first, incoming) = attached.map_err(|_| LinkError::Silent)??;
    let instance = first.hello.as_ref().map(|hello| hello.instance.clone()).unwrap_or_default();
    match claims.claim(&name, instance) {
        Some(claim) => Ok(OpenLink { name, first, frames, incoming, claim }),
        None => Err(LinkError::Taken(name)),
    }
}

/// Tells the operator, once, that an address is not used; `told` remembers for which edge.
fn tell_of_duplicate(address: SocketAddr, edge: String, told: &mut Option<String>) {
    metrics::counter!("gateway_link_duplicates_total").increment(1);
    if told.as_ref() == Some(&edge) {
        return tracing::debug!(%address, edge, "the edge is still attached by another address");
    }
    tracing::warn!(%address, edge, "the edge is attached already by another address");
    *told = Some(edge);
}

async fn connect(
    address: SocketAddr,
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
        let (tls, name_found) = (tls.clone(), name_found.clone());
        async move {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            // The certificate's role is what counts, so that any name will do here.
            let server_name = ServerName::IpAddress(address.ip().into());
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
