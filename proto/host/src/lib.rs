//! What both hosts drive alike: configuration, TLS identities, peer proof, logs, metrics, exit codes.
//!
//! # Layout
//!
//! - [`cert`]: shows certificates of ours to the operator, and what of them needs care.
//! - [`command`]: what the command lines share.
//! - [`config`]: reads TOML and reports every error at once, with line and column.
//! - [`exit`]: how a process ends, and its exit code.
//! - [`health`]: asks the running process whether it is ready.
//! - [`log`]: structured logs and the redaction of identities.
//! - [`observe`]: `/metrics`, `/healthz` and `/readyz` on the internal address.
//! - [`socket`]: one TCP or TLS connection with its buffers.
//! - [`tls`]: identities from files, TLS configurations, what a peer's certificate proves.

pub mod cert;
pub mod command;
pub mod config;
pub mod exit;
pub mod health;
pub mod log;
pub mod observe;
pub mod socket;
pub mod tls;
