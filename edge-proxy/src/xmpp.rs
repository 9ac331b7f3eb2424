//! The XMPP half: streams that partners open to us, and streams that we open to them.
//!
//! The phases of a stanza from a partner: [`listener`] accepts, [`inbound`] drives the receiving
//! machine and hands the stanza to the hub, which a front end settles; the machine acknowledges.
//! The phases of a stanza to a partner: the hub dispatches it to [`pool`], the [`partner`]'s queue
//! holds it until [`outbound`] has a stream, and the peer's confirmation is its outcome.
//! A bidirectional stream (XEP-0288) does both, whoever opened it.

pub mod addresses;
pub mod attempt;
mod attempt_text;
pub(crate) mod certificate;
pub mod failure;
pub mod inbound;
mod inbound_attempt;
pub mod listener;
pub mod network;
pub mod outbound;
pub mod pace;
pub mod partner;
pub mod pool;
pub mod queue;
mod report;
mod unsettled;
