//! Translation between XMPP and SIP, without state.
//!
//! | subject | document | module |
//! |---|---|---|
//! | errors | RFC 7247 s.7 | [`error`] |
//! | pager-mode messages | RFC 7572 | [`message`] |
//! | presence documents | RFC 8048 s.6 | [`presence`] |
//!
//! `x2s` is from XMPP to SIP, `s2x` from SIP to XMPP (RFC 7247 s.4).

pub mod error;
mod html;
pub mod language;
pub mod message;

pub mod presence;
