//! The socket of a partner's driver: found, connected, secured, read and written.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use host::socket::Connection;

use crate::connect::Reached;
use crate::xmpp::failure::Failure;
use crate::xmpp::partner::{Located, Tried};

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The connection of one driver, or the way to it.
pub(super) enum Socket {
    None,
    Locating(Work<Result<Located, Failure>>),
    Connecting(Work<(Tried, Result<Reached, Failure>)>),
    Connected(Connection),
    Securing(Work<std::io::Result<Connection>>),
}

/// What happened to it.
pub(super) enum Progress {
    Located(Result<Located, Failure>),
    Tried(Tried, Result<Reached, Failure>),
    Secured(Connection),
    TlsFailed(std::io::Error),
    Bytes(Bytes),
    /// All is written, and nothing was to be read.
    Written,
    Lost,
}

impl Socket {
    /// Returns the ProtocolVersion, if it is known.
    pub(super) fn tls_version(&self) -> Option<u16> {
        match self {
            Self::Connected(connection) => connection.tls_version(),
            Self::None | Self::Locating(_) | Self::Connecting(_) | Self::Securing(_) => None,
        }
    }

    /// Writes what waits and waits for what happens next; without `reading` the peer is not heard.
    pub(super) async fn progress(&mut self, reading: bool) -> Progress {
        match self {
            Self::None => std::future::pending().await,
            Self::Locating(locating) => Progress::Located(locating.await),
            Self::Connecting(connecting) => {
                let (tried, outcome) = connecting.await;
                Progress::Tried(tried, outcome)
            }
            Self::Securing(securing) => match securing.await {
                Ok(connection) => Progress::Secured(connection),
                Err(error) => Progress::TlsFailed(error),
            },
            Self::Connected(connection) if !reading && connection.waiting_bytes() == 0 => {
                std::future::pending().await
            }
            Self::Connected(connection) => match connection.progress(reading).await {
                Ok(bytes) if !bytes.is_empty() => Progress::Bytes(bytes),
                Ok(_) if !reading => Progress::Written,
                Ok(_) | Err(_) => Progress::Lost,
            },
        }
    }
}
