//! The XMPP engine between servers: no sockets, clocks, tasks, randomness or locks.
//!
//! Bytes, events and the time go in, bytes and events come out; the owner brings the rest. The
//! methods of a machine are of four kinds: getters; `handle_*`, which take bytes, events and the
//! time; plain verbs, which are commands; and `poll_*`, which give what came of it.
//!
//! # Layout
//!
//! - [`xml`]: restricted XML, from bytes to frames and [`xml::Element`]s and back.
//! - [`jid`]: addresses, prepared once.
//! - [`stanza`]: a view of message, presence and iq, and stanza errors.
//! - [`stream`]: the two machines, one for each direction: headers, STARTTLS, SASL EXTERNAL, Server
//!   Dialback, Stream Management, stream errors.
//! - [`capabilities`]: the verification string of what an entity says of itself.
//! - [`locate`]: where the servers of a domain are, out of DNS answers.
//! - [`limits`]: every bound, with its unit and default.
//! - [`ns`], [`error`]: namespaces, and whose fault a failure is.
//!
//! `CONFORMANCE.md` beside this crate says which requirement is met where, and what tests it.
//!
//! # Example
//!
//! An owner of a [`stream::ReceivingStream`] does this whenever its socket or its clock wakes it;
//! the machine is told what happened before, and tells what is to be done here.
//!
//! ```
//! use std::time::Instant;
//! use xmpp_proto::jid::Domain;
//! use xmpp_proto::limits::StreamLimits;
//! use xmpp_proto::stream::{Admission, ReceivingEvent, ReceivingStream};
//!
//! let mut admission = Admission::default();
//! admission.local_domains.insert(Domain::parse("montague.example")?);
//! let time = Instant::now();
//! let seed = [0; 32]; // In earnest: random, and used once.
//! let mut stream = ReceivingStream::new(StreamLimits::default(), seed, time);
//!
//! let header = b"<stream:stream xmlns='jabber:server' to='montague.example' version='1.0' \
//!     xmlns:stream='http://etherx.jabber.org/streams'>";
//! stream.handle_bytes(header, &admission, time);
//! let mut answer = vec![];
//! while let Some(bytes) = stream.poll_transmit() {
//!     answer.extend_from_slice(&bytes); // Write to the socket.
//! }
//! while let Some(event) = stream.poll_event() {
//!     match event {
//!         ReceivingEvent::StartTls => {} // Do the handshake, then call `handle_tls`.
//!         ReceivingEvent::Stanza(_) => {} // Take responsibility, then call `acknowledge`.
//!         _ => {}
//!     }
//! }
//! let deadline = stream.poll_timeout(); // Call `handle_timeout` then.
//!
//! assert!(answer.ends_with(b"<required/></starttls></stream:features>"));
//! assert_eq!(deadline, Some(time + StreamLimits::default().negotiation_max));
//! # Ok::<(), xmpp_proto::jid::JidError>(())
//! ```
#![deny(missing_docs, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod capabilities;
pub mod error;
pub mod jid;
pub mod limits;
pub mod locate;
pub mod ns;
pub mod stanza;
pub mod stream;
pub mod xml;
