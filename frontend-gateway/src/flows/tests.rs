//! What goes out on a connection: bursts to a peer that reads, and too much for one that does not.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use host::socket::Connection;
use sip_proto::transaction::{FlowId, Transport};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{Flow, FlowInput, carry};

const WAITING_MAX: usize = 1024 * 1024;

/// A flow whose other end is the socket, with what sends on it and what it tells.
async fn flow() -> (TcpStream, mpsc::UnboundedSender<Bytes>, mpsc::Receiver<FlowInput>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let (inputs, mut told) = mpsc::channel(16);
    let flow = Flow {
        id: FlowId(1),
        transport: Transport::Tcp,
        peer: SocketAddr::from(([127, 0, 0, 1], 1)),
        names: Vec::new(),
        waiting_bytes_max: WAITING_MAX,
    };
    tokio::spawn(async move { carry(Connection::new(accepted).unwrap(), flow, &inputs).await });
    let Some(FlowInput::Opened { commands, .. }) = told.recv().await else { panic!("it opens") };
    (socket, commands, told)
}

#[tokio::test]
async fn bursts_as_large_as_what_may_wait_reach_a_peer_that_reads() {
    let (mut socket, commands, _told) = flow().await;
    let message = Bytes::from(vec![b'x'; 1024]);
    let mut buffer = vec![0; WAITING_MAX];
    for burst in 1..=32 {
        for _ in 0..WAITING_MAX / message.len() {
            commands.send(message.clone()).unwrap();
        }
        let read = tokio::time::timeout(Duration::from_secs(30), socket.read_exact(&mut buffer));
        read.await.unwrap_or_else(|_| panic!("burst {burst} did not come")).unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_lost_and_holds_no_memory() {
    let (_socket, commands, mut told) = flow().await;
    let message = Bytes::from(vec![b'x'; 64 * 1024]);
    let mut sent = 0;
    // The sending side is gone with the connection.
    while commands.send(message.clone()).is_ok() {
        sent += message.len();
        assert!(sent < 1024 * WAITING_MAX, "nothing bounds what waits");
        tokio::task::yield_now().await;
    }
    assert!(matches!(told.recv().await, Some(FlowInput::Closed { id: FlowId(1) })));
}
