//! A server of partners that costs little: it says the words of a stream without reading more of
//! the answers than it must, the same to the edge and to Prosody.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tests::test_ca::{Leaf, TestCa};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Bytes that one read has room for.
const READ_BYTES: usize = 4 * 1024;

/// A server under test.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) domain: &'static str,
    pub(crate) address: SocketAddrV4,
}

/// A partner, with the certificate of its domain.
#[derive(Clone)]
pub(crate) struct Partner {
    domain: Arc<str>,
    connector: TlsConnector,
}

/// A stream that a server under test has authenticated.
pub(crate) struct Stream {
    tls: TlsStream<TcpStream>,
    received: Vec<u8>,
    /// Stanzas that the server has acknowledged.
    acknowledged: usize,
}

impl Partner {
    pub(crate) fn new(ca: &TestCa, domain: &str) -> Self {
        let files = ca.issue(&Leaf::server(domain), domain);
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(ca.certificate()).expect("it was written");
        roots.add(root).expect("the authority was just made");
        let chain = vec![CertificateDer::from_pem_file(&files.certificate).expect("it is there")];
        let key = PrivateKeyDer::from_pem_file(&files.key).expect("it is there");
        let builder = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13]);
        let config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key);
        let mut config = config.expect("the key is the certificate's");
        // Every handshake is a whole one, with both certificates.
        config.resumption = Resumption::disabled();
        Self { domain: domain.into(), connector: TlsConnector::from(Arc::new(config)) }
    }

    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }

    /// Opens a stream: STARTTLS, mutual TLS 1.3, SASL EXTERNAL, one step after the other.
    pub(crate) async fn open(&self, target: Target) -> io::Result<Stream> {
        let mut socket = TcpStream::connect(target.address).await?;
        socket.set_nodelay(true)?;
        let header = format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
             xmlns:stream='http://etherx.jabber.org/streams' from='{}' to='{}' version='1.0'>",
            self.domain, target.domain
        );
        let mut received = Vec::new();
        socket.write_all(header.as_bytes()).await?;
        read_until(&mut socket, &mut received, &FEATURES).await?;
        socket.write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
        read_until(&mut socket, &mut received, &["<proceed"]).await?;
        let name = ServerName::try_from(target.domain).expect("it is a domain");
        let tls = self.connector.connect(name, socket).await?;
        let mut stream = Stream { tls, received: Vec::new(), acknowledged: 0 };
        stream.send(&header).await?;
        stream.wait_for(&FEATURES).await?;
        let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
        stream.send(auth).await?;
        stream.wait_for(&["<success"]).await?;
        stream.send(&header).await?;
        stream.wait_for(&FEATURES).await?;
        Ok(stream)
    }

    /// Opens a stream on which stanzas are acknowledged.
    pub(crate) async fn open_acknowledged(&self, target: Target) -> io::Result<Stream> {
        let mut stream = self.open(target).await?;
        stream.send("<enable xmlns='urn:xmpp:sm:3'/>").await?;
        stream.wait_for(&["<enabled"]).await?;
        Ok(stream)
    }
}

/// The end of the stream features.
const FEATURES: [&str; 2] = ["</stream:features>", "<stream:features/>"];

/// Asks how many stanzas have arrived.
pub(crate) const REQUEST: &str = "<r xmlns='urn:xmpp:sm:3'/>";

impl Stream {
    pub(crate) async fn send(&mut self, text: &str) -> io::Result<()> {
        self.tls.write_all(text.as_bytes()).await?;
        self.tls.flush().await
    }

    /// Waits until the server has acknowledged so many stanzas in all.
    pub(crate) async fn wait_for_acknowledged(&mut self, count: usize) -> io::Result<()> {
        while self.acknowledged < count {
            self.take_in().await?;
        }
        Ok(())
    }

    /// Reads once; afterwards [`Stream::acknowledged`] is up to date.
    pub(crate) async fn take_in(&mut self) -> io::Result<()> {
        read_some(&mut self.tls, &mut self.received).await?;
        self.count_acknowledged()
    }

    /// Stanzas that the server has acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// Closes the stream, and waits until the server has closed it as well.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.send("</stream:stream>").await?;
        self.wait_for(&["</stream:stream>"]).await?;
        self.tls.shutdown().await
    }

    async fn wait_for(&mut self, marks: &[&str]) -> io::Result<()> {
        read_until(&mut self.tls, &mut self.received, marks).await
    }

    fn count_acknowledged(&mut self) -> io::Result<()> {
        // What is not whole stays for the next time.
        let Some(end) = self.received.iter().rposition(|byte| *byte == b'>') else {
            return Ok(());
        };
        let whole: Vec<u8> = self.received.drain(..=end).collect();
        let whole = String::from_utf8_lossy(&whole);
        if whole.contains("</stream:stream>") || whole.contains("<stream:error") {
            return Err(io::Error::other(whole.into_owned()));
        }
        let counts = whole.split("<a ").skip(1).filter_map(|rest| {
            let value = rest.split_once("h=")?.1.get(1..)?;
            value.split(['\'', '"']).next()?.parse::<usize>().ok()
        });
        self.acknowledged = counts.last().unwrap_or(self.acknowledged);
        Ok(())
    }
}

/// Reads until one of the marks has come, which is forgotten with everything before it.
async fn read_until(
    from: &mut (impl AsyncRead + Unpin),
    received: &mut Vec<u8>,
    marks: &[&str],
) -> io::Result<()> {
    loop {
        let ends = marks.iter().filter_map(|mark| {
            let found = received.windows(mark.len()).position(|it| it == mark.as_bytes());
            found.map(|at| at + mark.len())
        });
        if let Some(end) = ends.min() {
            received.drain(..end);
            return Ok(());
        }
        read_some(from, received).await?;
    }
}

async fn read_some(from: &mut (impl AsyncRead + Unpin), received: &mut Vec<u8>) -> io::Result<()> {
    let length = received.len();
    received.reserve(READ_BYTES);
    if from.read_buf(received).await? == 0 {
        let said = String::from_utf8_lossy(&received[..length]).into_owned();
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("after {said:?}")));
    }
    Ok(())
}
