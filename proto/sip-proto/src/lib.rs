//! The SIP engine of Isthmus: grammar and machines, without sockets, clocks, tasks and randomness.
//!
//! Four kinds of methods drive the machines: `handle_*` takes messages, events and the time,
//! plain verbs are commands of the owner, `poll_*` gives what is to be sent or told, and
//! `poll_timeout` says when `handle_timeout` is due.
//!
//! # Layout
//!
//! | module | duty |
//! |---|---|
//! | [`frame`] | bytes of a stream to messages |
//! | [`parse`], [`message`], [`headers`](Headers) | what a message is, received or to be sent |
//! | [`header`], [`uri`], [`limits`] | its header fields and URIs, and how large they may be |
//! | [`inspect`] | what any UAS checks first |
//! | [`transaction`] | requests and responses matched |
//! | [`dialog`], [`usage`] | dialogs, and subscriptions in them |
//! | [`auth`] | digest authentication in both roles |
//! | [`registrar`], [`publication`] | the rules of a registrar and of an event state compositor |
//! | [`body`] | multipart bodies, the text of a MESSAGE, envelopes |
//!
//! # A request answered
//!
//! ```
//! use sip_proto::frame::{Frame, Framer};
//! use sip_proto::limits::Limits;
//! use sip_proto::message::{Message, OutgoingResponse};
//! use sip_proto::StatusCode;
//!
//! let mut framer = Framer::new(Limits::default());
//! framer.handle_bytes(
//!     b"OPTIONS sip:example.com SIP/2.0\r\n\
//!       Via: SIP/2.0/TLS client.example.net;branch=z9hG4bK1\r\n\
//!       From: <sip:romeo@example.net>;tag=1\r\n\
//!       To: <sip:example.com>\r\n\
//!       Call-ID: 1@example.net\r\n\
//!       CSeq: 1 OPTIONS\r\n\
//!       Content-Length: 0\r\n\r\n",
//! );
//! let Some(Frame::Message(Message::Request(request))) = framer.poll_frame() else {
//!     panic!("a request is complete");
//! };
//! let response = OutgoingResponse::to(&request, StatusCode::OK, Some("a1"));
//! assert!(response.to_bytes().starts_with(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS client"));
//! ```
#![deny(missing_docs, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod auth;
pub mod body;
mod byte_set;
pub mod dialog;
mod error;
pub mod frame;
pub mod header;
mod headers;
mod ids;
pub mod inspect;
pub mod limits;
pub mod message;
mod method;
pub mod parse;
pub mod publication;
mod refusal;
pub mod registrar;
mod scan;
mod status;
#[cfg(test)]
mod testing;
pub mod transaction;
pub mod uri;
pub mod usage;
mod write;

pub use self::error::{Fault, HeaderError, HeaderProblem, Malformed};
pub use self::headers::{HeaderRow, Headers};
pub use self::ids::IdSource;
pub use self::method::{Method, UnknownMethod};
pub use self::refusal::Refusal;
pub use self::status::StatusCode;
