//! What user agents do with dialogs and transactions.
//!
//! A pager-mode MESSAGE (RFC 3428) needs no machine: it is one transaction outside of a dialog,
//! without Contact, and its 2xx has neither Contact nor body.

pub mod subscription;
