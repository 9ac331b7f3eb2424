//! Certificates and revocation lists read anew while the process runs, and their ends as metrics.

use std::sync::Arc;

use rustls::pki_types::UnixTime;
use tokio::signal::unix::{SignalKind, signal};

use super::{Identity, RevocationLists};

/// What is read anew; all files of one of them or none.
#[derive(Clone, Debug)]
pub struct Renewable {
    /// What begins the names of the process's metrics: `edge` or `gateway`.
    pub metrics_prefix: &'static str,
    /// Certificates with their keys.
    pub identities: Vec<Identity>,
    /// Revocation lists, if there are any.
    pub revocations: Option<Arc<RevocationLists>>,
}

impl Renewable {
    /// Reads everything anew whenever the process is told to (SIGHUP).
    pub async fn renew_on_hangup(self) {
        self.tell_ends();
        let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
        while hangups.recv().await.is_some() {
            for identity in &self.identities {
                match identity.reload() {
                    Ok(()) => tracing::info!("a certificate was read anew"),
                    Err(error) => {
                        tracing::error!(%error, "the certificate in use stays");
                        self.count_failure("certificate");
                    }
                }
            }
            if let Some(lists) = &self.revocations {
                match lists.reload() {
                    Ok(()) => tracing::info!("the revocation lists were read anew"),
                    Err(error) => {
                        tracing::error!(%error, "the revocation lists in use stay");
                        self.count_failure("revocation_list");
                    }
                }
            }
            self.tell_ends();
        }
    }

    fn count_failure(&self, what: &str) {
        let name = format!("{}_{what}_reload_failures_total", self.metrics_prefix);
        metrics::counter!(name).increment(1);
    }

    /// Tells until when each file in use is good, in seconds since 1970: such a number needs
    /// nobody who counts it down.
    fn tell_ends(&self) {
        let prefix = self.metrics_prefix;
        for (file, leaf) in self.identities.iter().flat_map(Identity::leaves) {
            let (name, file) = (format!("{prefix}_certificate_expiry_timestamp_seconds"), file);
            let file = file.display().to_string();
            metrics::gauge!(name, "certificate" => file).set(leaf.expires_at_s() as f64);
        }
        for list in self.revocations.iter().flat_map(|lists| lists.details()) {
            let name = format!("{prefix}_revocation_list_expiry_timestamp_seconds");
            let file = list.file.display().to_string();
            let labels = [("file", file), ("issuer", list.issuer.clone())];
            metrics::gauge!(name, &labels).set(list.next_update_s() as f64);
            if list.is_expired(UnixTime::now()) {
                tracing::warn!(
                    file = %list.file.display(), issuer = list.issuer, due = list.last_day(),
                    "a revocation list is out of date, and used all the same"
                );
            }
        }
    }
}
