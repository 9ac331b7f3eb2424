//! The connection of a peer that says whatever it likes, in the clear or with TLS.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use tests::test_ca::Identity;
use tokio::net::TcpSocket;

/// How long the other side may be silent while something is awaited of it.
const SILENCE_MAX: Duration = Duration::from_secs(12);

/// One connection, and everything that came on it since it began or TLS began.
pub(super) struct Wire {
    transport: Transport,
    received: Vec<u8>,
    has_ended: bool,
}

enum Transport {
    Clear(TcpStream),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    /// Connects.
    pub(super) fn connect(address: SocketAddrV4) -> Self {
        let socket = TcpStream::connect(address);
        Self::new(socket.unwrap_or_else(|error| panic!("{address}: {error}")))
    }

    /// Connects from an address of this host.
    pub(super) fn connect_from(source: Ipv4Addr, address: SocketAddrV4) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system gives what a runtime needs");
        let connected = runtime.block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddrV4::new(source, 0).into())?;
            socket.connect(address.into()).await?.into_std()
        });
        let socket = connected.unwrap_or_else(|error| panic!("{address}: {error}"));
        socket.set_nonblocking(false).expect("a socket has options");
        Self::new(socket)
    }

    /// Takes a connection that was accepted.
    pub(super) fn new(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a socket has options");
        socket.set_read_timeout(Some(SILENCE_MAX)).expect("a socket has options");
        socket.set_write_timeout(Some(SILENCE_MAX)).expect("a socket has options");
        Self { transport: Transport::Clear(socket), received: Vec::new(), has_ended: false }
    }

    /// Begins TLS as the client of `server_name`.
    pub(super) fn connect_tls(self, config: Arc<ClientConfig>, server_name: &str) -> Self {
        self.try_connect_tls(config, server_name).expect("the server begins TLS")
    }

    /// Begins TLS as the client of `server_name`, or learns why the server does not.
    pub(super) fn try_connect_tls(
        self,
        config: Arc<ClientConfig>,
        server_name: &str,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(server_name.to_owned()).expect("it is a name");
        let mut tls = ClientConnection::new(config, name).expect("the configuration is whole");
        let mut socket = self.into_socket();
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        let transport = Transport::Client(Box::new(StreamOwned::new(tls, socket)));
        Ok(Self { transport, received: Vec::new(), has_ended: false })
    }

    /// The protocol that was negotiated with TLS, if one was.
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        match &self.transport {
            Transport::Clear(_) => None,
            Transport::Client(stream) => stream.conn.alpn_protocol(),
            Transport::Server(stream) => stream.conn.alpn_protocol(),
        }
    }

    /// The certificate that a client showed, if it did.
    pub(super) fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        let Transport::Server(stream) = &self.transport else { return None };
        stream.conn.peer_certificates()?.first().cloned()
    }

    /// Begins TLS as the server.
    pub(super) fn accept_tls(self, config: Arc<ServerConfig>) -> Self {
        let mut tls = ServerConnection::new(config).expect("the configuration is whole");
        let mut socket = self.into_socket();
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).expect("the client begins TLS");
        }
        let transport = Transport::Server(Box::new(StreamOwned::new(tls, socket)));
        Self { transport, received: Vec::new(), has_ended: false }
    }

    /// Writes each piece by itself, as far as the other side takes them.
    pub(super) fn send(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            // A side that has heard enough may close; what it said can be read all the same.
            if self.write(piece).is_err() {
                return;
            }
        }
    }

    /// Ends our direction.
    pub(super) fn finish(&mut self) {
        // The other side may have ended the connection before.
        match &mut self.transport {
            Transport::Clear(_) => {}
            Transport::Client(stream) => {
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
            Transport::Server(stream) => {
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// Reads until that is enough, the connection ends or falls silent; gives all that came.
    pub(super) fn read_until(&mut self, is_enough: impl Fn(&[u8]) -> bool) -> &[u8] {
        let mut buffer = [0; 4096];
        while !self.has_ended && !is_enough(&self.received) {
            match self.read(&mut buffer) {
                Ok(0) => self.has_ended = true,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_silence(&error) => break,
                Err(_) => self.has_ended = true,
            }
        }
        &self.received
    }

    /// Reads until the other side ends the connection; gives all that came, or `None` if it
    /// does not.
    pub(super) fn read_to_end(&mut self) -> Option<&[u8]> {
        self.read_until(|_| false);
        self.has_ended.then_some(&self.received)
    }

    /// Forgets what came, and gives it.
    pub(super) fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.transport {
            Transport::Clear(socket) => socket.write_all(bytes),
            Transport::Client(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Transport::Server(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.transport {
            Transport::Clear(socket) => socket.read(buffer),
            Transport::Client(stream) => stream.read(buffer),
            Transport::Server(stream) => stream.read(buffer),
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.transport {
            Transport::Clear(socket) => socket,
            Transport::Client(stream) => &stream.sock,
            Transport::Server(stream) => &stream.sock,
        }
    }

    fn into_socket(self) -> TcpStream {
        match self.transport {
            Transport::Clear(socket) => socket,
            Transport::Client(_) | Transport::Server(_) => panic!("TLS has begun already"),
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The TLS of a peer that opens connections, trusts `ca`, and shows `identity` if it has one.
pub(super) fn client_config(ca: &Path, identity: Option<&Identity>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(ca));
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let config = match identity {
        Some(identity) => {
            // Whether it is the certificate's key is the other side's to find out.
            let key = any_supported_type(&key(identity)).expect("it is a key");
            let shown = CertifiedKey::new(certificates(&identity.certificate), key);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
        }
        None => builder.with_no_client_auth(),
    };
    Arc::new(config)
}

/// The TLS of a peer that accepts connections.
pub(super) fn server_config(identity: &Identity) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder().with_no_client_auth();
    let config = builder.with_single_cert(certificates(&identity.certificate), key(identity));
    Arc::new(config.expect("the key is the certificate's"))
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_file_iter(path).expect("the file was written");
    found.map(|certificate| certificate.expect("it is a certificate")).collect()
}

fn key(identity: &Identity) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(&identity.key).expect("the file was written")
}
