//! The contract between edge proxy and front-end gateway: what crosses the link, and its rules.
//!
//! # Layout
//!
//! - [`wire`]: the generated messages and service of `isthmus/link/v1/link.proto`.
//! - [`sequence`]: numbering, settling and checking envelopes, without IO.
//! - [`batch`]: cutting what is to be sent into frames, and what a frame costs.
//! - [`attempts`]: the attempts to open streams that either side remembers, within bounds.
//! - [`printable`]: texts of others, made fit for a terminal.
//! - [`codec`]: reading frames, within limits.
//! - [`role`]: who may stand at which end.

pub mod attempts;
pub mod batch;
pub mod codec;
pub mod printable;
pub mod role;
pub mod sequence;

/// Messages and service generated from `isthmus/link/v1/link.proto`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod wire {
    tonic::include_proto!("isthmus.link.v1");
}

/// The port of the edge's internal address that front ends dial.
pub const PORT: u16 = 23456;

/// The version of the contract that both sides must speak.
pub const VERSION: u32 = 2;

/// The credit of a domain pair for which none has been granted, in envelopes.
///
/// As many as come while a front end writes a commit, so that few commits take many of them.
pub const CREDIT_INITIAL: u32 = 256;

/// The largest frame that either side accepts, in bytes.
///
/// Holds one stanza of the largest size that is accepted, however long its written form is.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The size at which a sender closes a batch, in bytes of stanzas.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// The number of envelopes, settlements, credits, answers or reports, each, at which a sender closes
/// a batch.
pub const BATCH_ITEMS_MAX: usize = 512;

/// The most fields of a frame that either side accepts: all batches of it, with room to spare.
///
/// A field that takes two bytes on the wire takes a hundred once it is read.
pub const FRAME_ITEMS_MAX: usize = 4096;

/// The length of an instance, in bytes.
pub const INSTANCE_BYTES: usize = 16;

/// The longest correlation id, in bytes.
pub const CORRELATION_ID_BYTES_MAX: usize = 64;
