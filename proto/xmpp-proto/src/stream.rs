//! Streams between servers: two machines, and what they share.
//!
//! [`ReceivingStream`] is the end of a peer that connected to us; it authenticates the peer, takes
//! its stanzas and answers for our dialback keys. [`InitiatingStream`] is the end of a connection
//! of ours; it authenticates us, carries our stanzas and asks about the keys of others. Stanzas
//! flow from the initiating to the receiving entity alone (RFC 6120 s.4.5), so two servers that
//! talk to each other hold one of each; unless they have agreed on a bidirectional stream
//! (XEP-0288), which carries the stanzas of both.
//!
//! # Driving a machine
//!
//! Time, bytes, the outcome of TLS and the [`Admission`] go in through `handle_*`; plain verbs are
//! the owner's commands. After each call the owner takes out, in this order:
//!
//! 1. `poll_transmit` until it is `None`: bytes for the peer, to be written before anything else
//!    is done;
//! 2. `poll_event` until it is `None`. Behind an event that begins TLS nothing is written or read
//!    until the outcome of TLS is handed in; behind one that ends the stream nothing at all;
//! 3. `poll_timeout`: when to call `handle_timeout`, unless something else happens first.

mod admission;
mod announced_limits;
mod close;
mod confirming;
mod dialback;
mod error;
mod features;
mod header;
mod identifier;
mod initiating;
mod intake;
mod outbox;
mod receiving;
mod sasl;
mod stream_management;
mod terms;
mod timer;
mod wire;

pub use admission::{Admission, PeerCertificate, Proof};
pub use close::{CloseCause, CloseReason};
pub use confirming::Confirmation;
pub use dialback::{DialbackSecret, DialbackSecrets, DomainPair, Verdict, VerifyRequest};
pub use error::{PeerStreamError, StreamCondition};
pub use header::HeaderError;
pub use initiating::{InitiatingEvent, InitiatingStream, SendError};
pub use intake::ReceivedStanza;
pub use outbox::Unconfirmed;
pub use receiving::{Claim, ReceivingEvent, ReceivingStream};
pub use sasl::SaslCondition;
pub use terms::{InvalidTerms, Method, SaslTerms, StreamTerms, TermsWarning, TlsTerms};

/// What became of a connection outside of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disconnect {
    /// The TLS handshake failed.
    TlsFailed,
    /// The connection was closed or reset.
    Lost,
}

impl From<Disconnect> for CloseCause {
    fn from(disconnect: Disconnect) -> Self {
        match disconnect {
            Disconnect::TlsFailed => Self::TlsFailed,
            Disconnect::Lost => Self::ConnectionLost,
        }
    }
}

#[cfg(test)]
mod tests;
