//! Links to an edge in memory, and what they leave of the back-off.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use link::wire::link_server::{Link, LinkServer};
use link::wire::{FromEdge, FromFrontend, Hello};
use parking_lot::Mutex;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::back_off::BackOff;
use super::{LinkError, LinkInput, carry};

/// An edge that answers each attachment so, and then ends it.
struct Edge(Result<Vec<FromEdge>, Status>);

#[tonic::async_trait]
impl Link for Edge {
    type AttachStream = tokio_stream::Iter<std::vec::IntoIter<Result<FromEdge, Status>>>;

    async fn attach(
        &self,
        _: Request<Streaming<FromFrontend>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let frames: Vec<_> = self.0.clone()?.into_iter().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(frames)))
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

/// Attaches once, with a back-off that has grown; returns what came of it, how many frames came,
/// and the wait that follows.
async fn carried(edge: Result<Vec<FromEdge>, Status>) -> (Result<(), LinkError>, usize, Duration) {
    let mut back_off = BackOff::default();
    for _ in 0..3 {
        back_off.next(0);
    }
    let channel = channel_to(Edge(edge)).await;
    let (_frames, outgoing) = mpsc::unbounded_channel();
    let (inputs, mut received) = mpsc::channel::<LinkInput>(8);
    let result = carry(channel, outgoing, 1, &inputs, &mut back_off).await;
    drop(inputs);
    let mut count = 0;
    while received.recv().await.is_some() {
        count += 1;
    }
    (result, count, back_off.next(0))
}

fn greeting() -> FromEdge {
    FromEdge { hello: Some(Hello::default()), ..FromEdge::default() }
}

#[tokio::test]
async fn a_link_that_ends_before_any_frame_leaves_the_back_off_as_it_is() {
    let (result, count, wait) = carried(Ok(Vec::new())).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((count, wait), (0, Duration::from_secs(2)));
}

#[tokio::test]
async fn an_attachment_that_is_refused_leaves_the_back_off_as_it_is() {
    let (result, count, wait) = carried(Err(Status::unavailable("stopping"))).await;
    assert!(matches!(result, Err(LinkError::Refused(_))), "{result:?}");
    assert_eq!((count, wait), (0, Duration::from_secs(2)));
}

#[tokio::test]
async fn the_first_frame_of_a_link_begins_the_back_off_anew() {
    let (result, count, wait) = carried(Ok(vec![greeting()])).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((count, wait), (1, Duration::from_millis(250)));
}
