//! One TLS connection of a front end, which knows the front end's name.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use host::tls::peer_name;
use link::role::Role;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// The name in a front end's certificate, which each of its requests carries.
#[derive(Clone, Debug)]
pub(super) struct FrontendName(pub(super) String);

pub(super) struct LinkSocket {
    tls: TlsStream<TcpStream>,
    name: FrontendName,
}

impl LinkSocket {
    pub(super) async fn accept(socket: TcpStream, acceptor: TlsAcceptor) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let tls = acceptor.accept(socket).await?;
        let chain = tls.get_ref().1.peer_certificates();
        let name = peer_name(chain, Role::Frontend)
            .ok_or_else(|| io::Error::other("the certificate gives no front end's name"))?;
        Ok(Self { tls, name: FrontendName(name) })
    }
}

impl Connected for LinkSocket {
    type ConnectInfo = FrontendName;

    fn connect_info(&self) -> FrontendName {
        self.name.clone()
    }
}

impl AsyncRead for LinkSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl AsyncWrite for LinkSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}
