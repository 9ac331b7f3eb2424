//! `cert show`: the certificates of the front end, and the authorities of those that it meets.

use host::cert::{One, Shown};
use host::exit::Failure;
use host::tls::{Purpose, TrustAnchors};
use link::role::Role;
use rustls::pki_types::UnixTime;

use crate::config::Config;

/// Shows every certificate that the configuration names.
///
/// # Errors
/// Fails with 66 when a file cannot be read, 77 when something is missing, or ends soon.
pub fn show(config: &Config, now: UnixTime) -> Result<(), Failure> {
    let mut shown = Shown::default();
    // The front end connects, so that it is the client of the link.
    let (key, role) = ("link".to_owned(), Some(Role::Frontend));
    let link =
        One { key, files: &config.link_identity, purpose: Purpose::Client, domains: &[], role };
    shown.show(&link, now);
    let trust = TrustAnchors::load(&config.link_trust);
    shown.show_trust(&link, "link.trust", trust.as_ref(), now);
    shown.show_authorities("link.trust", &config.link_trust, now);
    let home = config.home.as_ref().and_then(|home| home.identity.as_ref());
    let inside = config.inside.as_ref();
    let inside_identity = inside.and_then(|inside| inside.identity.as_ref());
    // Who their certificates are shown to trusts authorities that are not known here.
    for (key, files) in [("home", home), ("inside", inside_identity)] {
        if let Some(files) = files {
            let (key, purpose) = (key.to_owned(), Purpose::Server);
            shown.show(&One { key, files, purpose, domains: &[], role: None }, now);
        }
    }
    if let Some(inside) = inside {
        shown.show_authorities("inside.trust", &inside.trust, now);
    }
    shown.into_result()
}
