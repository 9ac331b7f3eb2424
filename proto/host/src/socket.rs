//! One TCP or TLS connection with its buffers, read and written at the same time.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;

/// Bytes that a peer may send while we close, so that it can read our last words.
const CLOSING_BYTES_MAX: usize = 1024 * 1024;

/// How long a peer may take no byte while some wait for it.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

/// A connection to a peer.
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
    output: BytesMut,
    must_flush: bool,
    progress: Instant,
}

#[derive(Debug)]
enum Transport {
    Tcp(TcpStream),
    // Boxed: the state of a TLS connection is large, and many connections never have one.
    Tls(Box<TlsStream<TcpStream>>),
    /// The socket is in a handshake, or was lost in one.
    None,
}

impl Connection {
    /// Wraps a socket; small writes go out at once.
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self {
            transport: Transport::Tcp(socket),
            output: BytesMut::new(),
            must_flush: false,
            progress: Instant::now(),
        })
    }

    /// Begins TLS as the server.
    pub async fn accept_tls(&mut self, acceptor: &TlsAcceptor) -> io::Result<()> {
        let tls = acceptor.accept(self.take_tcp()?).await?;
        self.transport = Transport::Tls(Box::new(tls.into()));
        Ok(())
    }

    /// Begins TLS as the client.
    pub async fn connect_tls(
        &mut self,
        connector: &TlsConnector,
        server_name: ServerName<'static>,
    ) -> io::Result<()> {
        let tls = connector.connect(server_name, self.take_tcp()?).await?;
        self.transport = Transport::Tls(Box::new(tls.into()));
        Ok(())
    }

    /// Returns the chain that the peer showed in TLS, leaf first.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        match &self.transport {
            Transport::Tls(tls) => tls.get_ref().1.peer_certificates().unwrap_or_default(),
            Transport::Tcp(_) | Transport::None => &[],
        }
    }

    /// Returns the ProtocolVersion of TLS as it is on the wire; none without TLS.
    pub fn tls_version(&self) -> Option<u16> {
        match &self.transport {
            Transport::Tls(tls) => tls.get_ref().1.protocol_version().map(u16::from),
            Transport::Tcp(_) | Transport::None => None,
        }
    }

    /// Returns our address of the connection.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match &self.transport {
            Transport::Tcp(socket) => socket.local_addr(),
            Transport::Tls(tls) => tls.get_ref().0.local_addr(),
            Transport::None => Err(lost()),
        }
    }

    /// Queues bytes for the peer; [`Connection::progress`] writes them.
    pub fn send(&mut self, bytes: &Bytes) {
        if self.output.is_empty() {
            self.progress = Instant::now();
        }
        self.output.extend_from_slice(bytes);
        self.must_flush = true;
    }

    /// Returns how many bytes wait for the peer.
    pub fn waiting_bytes(&self) -> usize {
        self.output.len()
    }

    /// Writes what waits and, if `reading`, returns the bytes that came; none are the end.
    ///
    /// Without `reading` it returns, with no bytes, once all is written. It may be dropped before
    /// it is done, and called again.
    ///
    /// # Errors
    /// Fails when the connection is lost; with `TimedOut` when the peer takes no byte of those that
    /// wait for [`WRITE_STALL_MAX`].
    pub async fn progress(&mut self, reading: bool) -> io::Result<Bytes> {
        loop {
            let stalled_at = self.stalled_at();
            let step = std::future::poll_fn(|context| self.poll_progress(context, reading));
            let Some(stalled_at) = stalled_at else { return step.await };
            if let Ok(result) = tokio::time::timeout_at(stalled_at, step).await {
                return result;
            }
            // What waited then may have been written since.
            if self.stalled_at().is_some_and(|at| at <= Instant::now()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Returns when the peer counts as lost unless it takes a byte before.
    fn stalled_at(&self) -> Option<Instant> {
        self.must_flush.then(|| self.progress + WRITE_STALL_MAX)
    }

    /// Writes what waits, ends our direction and waits for the peer to end its own.
    ///
    /// What it still sends is thrown away, up to a limit; the caller bounds the time.
    pub async fn close(&mut self) -> io::Result<()> {
        self.progress(false).await?;
        std::future::poll_fn(|context| Pin::new(&mut self.transport).poll_shutdown(context))
            .await?;
        // RFC 1122 s.4.2.2.13: closing with bytes unread resets the connection, and a peer that
        // is still writing would not learn why.
        let mut thrown_away = 0;
        while thrown_away <= CLOSING_BYTES_MAX {
            match self.progress(true).await?.len() {
                0 => break,
                count => thrown_away += count,
            }
        }
        Ok(())
    }

    fn poll_progress(
        &mut self,
        context: &mut Context<'_>,
        reading: bool,
    ) -> Poll<io::Result<Bytes>> {
        let written = self.poll_output(context)?;
        if !reading {
            return written.map(|()| Ok(Bytes::new()));
        }
        // On the stack: a connection that waits for its peer holds no buffer.
        let mut room = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.transport).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
    }

    fn poll_output(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, io::Error> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.transport).poll_write(context, &self.output)? {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => {
                    self.output.advance(count);
                    self.progress = Instant::now();
                }
            }
        }
        if self.must_flush {
            if Pin::new(&mut self.transport).poll_flush(context)?.is_pending() {
                return Ok(Poll::Pending);
            }
            self.must_flush = false;
            // What was written no longer counts as capacity, but its room is held all the same.
            self.output = BytesMut::new();
        }
        Ok(Poll::Ready(()))
    }

    fn take_tcp(&mut self) -> io::Result<TcpStream> {
        match std::mem::replace(&mut self.transport, Transport::None) {
            Transport::Tcp(socket) => Ok(socket),
            Transport::Tls(_) | Transport::None => Err(lost()),
        }
    }
}

fn lost() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
            Self::None => Poll::Ready(Err(lost())),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
            Self::None => Poll::Ready(Err(lost())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(tls) => Pin::new(tls).poll_flush(context),
            Self::None => Poll::Ready(Err(lost())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(context),
            Self::None => Poll::Ready(Err(lost())),
        }
    }
}

#[cfg(test)]
mod tests;
