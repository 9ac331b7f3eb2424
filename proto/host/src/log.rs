//! Structured logs, one record per line, and the redaction of identities in them.
//!
//! Bodies, subjects, notes and secrets are never given to a record above DEBUG. Addresses of
//! users may be, through [`identity`], whose form the operator chooses.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use tracing_subscriber::filter::LevelFilter;

use crate::config::{Read, Table};

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// Text for a person.
    Text,
}

/// What the operator chose in `[log]`.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The form of a record.
    pub format: Format,
    /// The least severe level that is written.
    pub level: LevelFilter,
    /// Whether addresses of users are written as pseudonyms.
    pub pseudonyms: bool,
}

impl Settings {
    /// Reads `[log]`.
    pub fn read(log: &mut Table<'_, '_>) -> Read<Self> {
        let format =
            log.word("format", &[("json", Format::Json), ("text", Format::Text)], Format::Json);
        let levels = [
            ("error", LevelFilter::ERROR),
            ("warn", LevelFilter::WARN),
            ("info", LevelFilter::INFO),
            ("debug", LevelFilter::DEBUG),
            ("trace", LevelFilter::TRACE),
        ];
        let level = log.word("level", &levels, LevelFilter::INFO);
        let pseudonyms = log.word("identities", &[("plain", false), ("pseudonym", true)], false);
        Ok(Self { format: format?, level: level?, pseudonyms: pseudonyms? })
    }
}

static PSEUDONYMS: AtomicBool = AtomicBool::new(false);

/// Starts writing records to standard error. Called once, by `main`.
pub fn start(settings: Settings) {
    PSEUDONYMS.store(settings.pseudonyms, Ordering::Relaxed);
    // Libraries below us log per frame; only their warnings concern an operator.
    let filter = tracing_subscriber::filter::Targets::new()
        .with_default(settings.level.min(LevelFilter::WARN))
        .with_targets(
            ["edge_proxy", "frontend_gateway", "host"].map(|target| (target, settings.level)),
        );
    use tracing_subscriber::layer::SubscriberExt;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let outcome = match settings.format {
        Format::Json => {
            let layer = layer.json().flatten_event(true).with_current_span(false);
            tracing::subscriber::set_global_default(registry.with(layer.with_span_list(false)))
        }
        Format::Text => {
            tracing::subscriber::set_global_default(registry.with(layer.with_ansi(false)))
        }
    };
    if outcome.is_err() {
        tracing::warn!("logging was started twice; the first settings stand");
    }
}

/// The address of a user, shown as it is or as a pseudonym.
///
/// A pseudonym is the same on both hosts, so that their records can be joined; it hides an
/// address from a reader of logs, not from somebody who can guess addresses and compare.
#[derive(Clone, Copy)]
pub struct Identity<'a>(&'a str);

/// Wraps the address of a user for a record.
pub fn identity(address: &str) -> Identity<'_> {
    Identity(address)
}

impl fmt::Display for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !PSEUDONYMS.load(Ordering::Relaxed) {
            return write!(f, "{}", self.0.escape_debug());
        }
        f.write_str("~")?;
        let digest = Sha256::digest(self.0.as_bytes());
        digest.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A value that no record, error or debug output may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a secret.
    pub const fn new(secret: T) -> Self {
        Self(secret)
    }

    /// Returns the secret; the only way to it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::{Secret, identity};

    #[test]
    fn control_characters_of_an_address_cannot_forge_a_record() {
        let shown = identity("a@b\r\n{\"level\":\"ERROR\"}\u{1b}[2J").to_string();
        assert!(!shown.chars().any(char::is_control), "{shown}");
    }

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        assert!(!format!("{:?}", Secret::new("s3cr3t")).contains("s3cr3t"));
    }
}
