//! The end of a connection, as the peer sees it.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::{CLOSING_BYTES_MAX, Connection, WRITE_STALL_MAX};

/// A connection and its peer's socket.
async fn connected() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    (Connection::new(socket).unwrap(), peer)
}

#[tokio::test]
async fn a_peer_that_is_still_writing_reads_the_last_words() {
    let (mut connection, mut peer) = connected().await;
    peer.write_all(&[b'x'; 100_000]).await.unwrap();
    connection.send(&Bytes::from_static(b"go away"));
    let closing = tokio::spawn(async move { connection.close().await });
    let mut heard = Vec::new();
    peer.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"go away");
    peer.write_all(b"more").await.unwrap();
    assert!(!closing.is_finished(), "the peer has not ended its direction");
    peer.shutdown().await.unwrap();
    closing.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_peer_that_never_stops_writing_is_cut_off() {
    let (mut connection, mut peer) = connected().await;
    let flood = tokio::spawn(async move {
        let mut written = 0;
        while peer.write_all(&[b'x'; 10_000]).await.is_ok() {
            written += 10_000;
        }
        written
    });
    let closing = tokio::time::timeout(Duration::from_secs(30), connection.close());
    closing.await.expect("it does not read for ever").unwrap();
    drop(connection);
    assert!(flood.await.unwrap() > CLOSING_BYTES_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_has_taken_everything_may_be_silent_as_long_as_it_likes() {
    let (mut connection, mut peer) = connected().await;
    connection.send(&Bytes::from_static(b"hello"));
    let reading = tokio::time::timeout(10 * WRITE_STALL_MAX, connection.progress(true));
    assert!(reading.await.is_err(), "nothing came, and nothing was lost");
    peer.write_all(b"here").await.unwrap();
    assert_eq!(connection.progress(true).await.unwrap(), "here");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_no_bytes_is_lost_after_a_while() {
    let (mut connection, _peer) = connected().await;
    // More than the buffers of both sockets hold.
    connection.send(&Bytes::from(vec![b'x'; 64 * 1024 * 1024]));
    let begin = Instant::now();
    let error = connection.progress(true).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!(begin.elapsed() >= WRITE_STALL_MAX, "{:?}", begin.elapsed());
}
