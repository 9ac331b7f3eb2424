//! Links to an edge in memory: what the edge hears, what is told, what they leave of the back-off.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use link::wire::link_server::{Link, LinkServer};
use link::wire::{FromEdge, FromFrontend, Hello};
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::back_off::BackOff;
use super::claims::EdgeClaims;
use super::{Dialler, LinkError, LinkInput, OpenLink, greet};
use crate::edges::{AddressState, EdgeAddress};
use crate::links::EdgeId;

/// Far more than an edge in memory takes.
const ENOUGH: Duration = Duration::from_secs(20);

/// An edge that answers each attachment so.
struct Edge {
    answer: Result<Vec<FromEdge>, Status>,
    /// Whether it then leaves the link open.
    stays: bool,
    /// Takes what it hears.
    heard: mpsc::UnboundedSender<FromFrontend>,
}

type Frames = Pin<Box<dyn Stream<Item = Result<FromEdge, Status>> + Send>>;

#[tonic::async_trait]
impl Link for Edge {
    type AttachStream = Frames;

    async fn attach(
        &self,
        request: Request<Streaming<FromFrontend>>,
    ) -> Result<Response<Frames>, Status> {
        let (mut incoming, heard) = (request.into_inner(), self.heard.clone());
        tokio::spawn(async move {
            while let Ok(Some(frame)) = incoming.message().await {
                let _ = heard.send(frame);
            }
        });
        let frames = tokio_stream::iter(self.answer.clone()?.into_iter().map(Ok));
        Ok(Response::new(match self.stays {
            true => Box::pin(frames.chain(tokio_stream::pending())),
            false => Box::pin(frames),
        }))
    }
}

async fn channel_to(edge: Edge) -> Channel {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connections = tokio_stream::once(Ok::<DuplexStream, std::io::Error>(far));
    let service = LinkServer::new(edge);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(connections));
    let near = Arc::new(Mutex::new(Some(near)));
    let connector = tower::service_fn(move |_: http::Uri| {
        let near = near.lock().take().map(TokioIo::new);
        std::future::ready(near.ok_or_else(|| std::io::Error::other("there is one connection")))
    });
    Endpoint::from_static("http://edge").connect_with_connector(connector).await.unwrap()
}

type Heard = mpsc::UnboundedReceiver<FromFrontend>;

/// Opens a link to an edge, which may take so long until its first frame; returns what it hears.
async fn open(
    answer: Result<Vec<FromEdge>, Status>,
    stays: bool,
    claims: &EdgeClaims,
    first_frame_max: Duration,
) -> (Result<OpenLink, LinkError>, Heard) {
    let (heard, hears) = mpsc::unbounded_channel();
    let channel = channel_to(Edge { answer, stays, heard }).await;
    (greet(channel, "edge".to_owned(), claims, first_frame_max).await, hears)
}

fn greeting(instance: &'static [u8]) -> FromEdge {
    let hello = Hello { instance: Bytes::from_static(instance), ..Hello::default() };
    FromEdge { hello: Some(hello), ..FromEdge::default() }
}

fn dialler() -> (Dialler<LinkInput>, mpsc::Receiver<LinkInput>) {
    let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
    let (inputs, received) = mpsc::channel(8);
    (Dialler::new(Arc::new(tls.with_no_client_auth()), inputs), received)
}

fn place() -> EdgeAddress {
    EdgeAddress { behind: "edge.example:23456".into(), address: ([127, 0, 0, 3], 23456).into() }
}

#[tokio::test]
async fn a_link_that_ends_before_any_frame_is_none() {
    let (link, _) = open(Ok(Vec::new()), false, &EdgeClaims::default(), ENOUGH).await;
    assert!(matches!(link, Err(LinkError::NoFrame)), "{link:?}");
}

#[tokio::test]
async fn an_attachment_that_is_refused_is_none() {
    let refusal = Err(Status::unavailable("stopping"));
    let (link, _) = open(refusal, false, &EdgeClaims::default(), ENOUGH).await;
    assert!(matches!(link, Err(LinkError::Refused(_))), "{link:?}");
}

#[tokio::test]
async fn an_edge_that_says_nothing_is_given_up() {
    let (claims, soon) = (EdgeClaims::default(), Duration::from_millis(50));
    let opening = open(Ok(Vec::new()), true, &claims, soon);
    let (link, _) = tokio::time::timeout(ENOUGH, opening).await.unwrap();
    assert!(matches!(link, Err(LinkError::Silent)), "{link:?}");
}

#[tokio::test]
async fn an_edge_that_has_a_link_hears_nothing_on_a_second_one_while_its_replica_is_attached_to() {
    let claims = EdgeClaims::default();
    let (first, _) = open(Ok(vec![greeting(b"1")]), true, &claims, ENOUGH).await;
    let first = first.unwrap();
    let (second, mut heard) = open(Ok(vec![greeting(b"1")]), true, &claims, ENOUGH).await;
    assert!(matches!(&second, Err(LinkError::Taken(name)) if name == "edge"), "{second:?}");
    let said = tokio::time::timeout(ENOUGH, heard.recv()).await;
    assert_eq!(said.expect("the second link ends"), None);
    let (replica, _) = open(Ok(vec![greeting(b"2")]), true, &claims, ENOUGH).await;
    assert!(replica.is_ok(), "{replica:?}");
    drop(first);
    let (again, _) = open(Ok(vec![greeting(b"1")]), true, &claims, ENOUGH).await;
    assert!(again.is_ok(), "{again:?}");
}

#[tokio::test]
async fn a_link_that_ends_soon_after_the_hello_leaves_the_back_off_as_it_is() {
    let (link, _) = open(Ok(vec![greeting(b"1")]), false, &EdgeClaims::default(), ENOUGH).await;
    let (dialler, mut received) = dialler();
    let mut back_off = BackOff::default();
    for _ in 0..3 {
        back_off.next(0);
    }
    dialler.carry(link.unwrap(), &place(), &CancellationToken::new(), &mut back_off).await.unwrap();
    let told = [(); 4].map(|()| received.try_recv().unwrap());
    let [LinkInput::Attached { name, .. }, place, LinkInput::Frame { frame, .. }, last] = told
    else {
        panic!("{told:?}");
    };
    let state = match place {
        LinkInput::Address { state, .. } => state,
        other => panic!("{other:?}"),
    };
    assert_eq!(state, AddressState::Attached(EdgeId(1)));
    assert_eq!((name.as_str(), frame), ("edge", greeting(b"1")));
    assert!(matches!(last, LinkInput::Detached { .. }), "{last:?}");
    assert_eq!(back_off.next(0), Duration::from_secs(2));
}

#[tokio::test]
async fn the_link_to_an_address_that_is_gone_ends_and_its_loss_is_told() {
    let claims = EdgeClaims::default();
    let (link, _) = open(Ok(vec![greeting(b"1")]), true, &claims, ENOUGH).await;
    let link = link.unwrap();
    let (dialler, mut received) = dialler();
    let gone = CancellationToken::new();
    let ending = gone.clone();
    let carrying = tokio::spawn(async move {
        dialler.carry(link, &place(), &ending, &mut BackOff::default()).await
    });
    let attached = received.recv().await.unwrap();
    assert!(matches!(attached, LinkInput::Attached { .. }), "{attached:?}");
    assert!(matches!(received.recv().await, Some(LinkInput::Address { .. })));
    assert!(matches!(received.recv().await, Some(LinkInput::Frame { .. })));
    assert!(claims.claim("edge", Bytes::from_static(b"1")).is_none(), "the link has the claim");
    gone.cancel();
    let told = tokio::time::timeout(ENOUGH, received.recv()).await.unwrap();
    assert!(matches!(told, Some(LinkInput::Detached { .. })), "{told:?}");
    carrying.await.unwrap().unwrap();
    assert!(claims.claim("edge", Bytes::from_static(b"1")).is_some());
}
