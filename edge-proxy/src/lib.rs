//! The edge proxy: the process in the DMZ that speaks with partners' servers.
//!
//! It proves who a peer is, frames and validates what it sends, limits it, and forwards it to a
//! front end. It holds no policy store: what it admits, the front ends push over the link.
//!
//! # Layout
//!
//! - [`config`]: what the edge's own file says.
//! - [`admission`]: what the front ends let it admit.
//! - [`cert`]: the commands that renew the certificate which partners see.
//! - [`xmpp`]: streams with partners' XMPP servers.
//! - [`connect`]: DNS and TCP to partners.
//! - [`rate`]: how much of something may happen in a time.
//! - [`hub`], [`hub_driver`]: what stands between streams and front ends.
//! - [`link`]: the listening side of the link.
//! - [`run`]: puts the parts together.

pub mod admission;
pub mod cert;
pub mod config;
pub mod connect;
pub mod hub;
pub mod hub_driver;
pub mod link;
pub mod rate;
pub mod run;
pub mod xmpp;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a connection may take to end once its stream is over.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// Draws random bytes. Only drivers call this, and pass them in.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without the system's randomness nothing here can be secret; the process must not go on.
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// Draws a number from zero to `most`, both included.
fn draw(most: u32) -> u32 {
    let random: [u8; 8] = random();
    let span = u64::from(most) + 1;
    u32::try_from(u64::from_be_bytes(random) % span).unwrap_or(most)
}

/// Waits until then; for ever without a time.
async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Makes an identifier that joins the records of one stanza on both hosts.
///
/// It is unique, not secret: the numbers go up from one that each process draws.
fn correlation_id() -> String {
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(u64::from_be_bytes(random())));
    format!("{:016x}", NEXT.fetch_add(1, Ordering::Relaxed))
}
