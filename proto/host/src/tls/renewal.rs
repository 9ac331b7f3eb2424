//! Certificates read anew while the process runs.

use tokio::signal::unix::{SignalKind, signal};

use super::Identity;

/// Reads the certificates anew whenever the process is told to (SIGHUP).
pub async fn renew_on_hangup(identities: Vec<Identity>) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    while hangups.recv().await.is_some() {
        for identity in &identities {
            match identity.reload() {
                Ok(()) => tracing::info!("a certificate was read anew"),
                Err(error) => tracing::error!(%error, "the certificate in use stays"),
            }
        }
    }
}
