//! Reads what one partner's certificates are trusted by: its own authorities, and the keys it has.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use host::config::{Read, Table};
use host::tls::{Details, KeyPin, TrustAnchors};

use super::partner::Authority;

/// The most pins of a partner, and bytes of its authorities' certificates: all partners go to the
/// edges in one frame.
const PINS_MAX: usize = 16;
const AUTHORITIES_BYTES_MAX: usize = 32 * 1024;

/// Reads `trust`, and the files that it names: the policy holds what they hold now.
pub(super) fn authorities(table: &mut Table<'_, '_>) -> Read<Vec<Authority>> {
    let files: Vec<PathBuf> = table.or("trust", Vec::new())?;
    let mut authorities = Vec::new();
    for file in &files {
        authorities.extend(read(file).map_err(|message| table.error("trust", message))?);
    }
    if authorities.iter().map(|it| it.der.len()).sum::<usize>() > AUTHORITIES_BYTES_MAX {
        let message = format!("the authorities have more than {AUTHORITIES_BYTES_MAX} bytes");
        return Err(table.error("trust", message));
    }
    Ok(authorities)
}

fn read(file: &Path) -> Result<Vec<Authority>, String> {
    let certificates = Details::certificates(file).map_err(|error| error.to_string())?;
    let authority = |certificate| {
        let is_authority = TrustAnchors::default().add(certificate);
        is_authority.map_err(|error| format!("{}: {error}", file.display()))?;
        let subject = Details::read(certificate).map(|details| details.subject);
        let der = Bytes::copy_from_slice(certificate);
        Ok(Authority { subject: subject.unwrap_or_default(), der })
    };
    certificates.iter().map(authority).collect()
}

/// Reads `pinned_keys`.
pub(super) fn pinned_keys(table: &mut Table<'_, '_>) -> Read<Vec<KeyPin>> {
    let texts: Vec<String> = table.or("pinned_keys", Vec::new())?;
    if texts.len() > PINS_MAX {
        return Err(table.error("pinned_keys", format!("more than {PINS_MAX} keys")));
    }
    let pin = |text: &String| {
        text.parse().map_err(|error| table.error("pinned_keys", format!("\"{text}\": {error}")))
    };
    texts.iter().map(pin).collect()
}

#[cfg(test)]
mod tests {
    use host::tls::KeyPin;
    use tempfile::TempDir;

    use crate::policy::document::parse;
    use crate::policy::partner::XmppPartner;

    fn read(terms: &str) -> Result<XmppPartner, String> {
        let (policy, found) = parse(&format!(
            "[[local_domain]]\ndomain = \"a.example\"\n\
             [[xmpp_partner]]\ndomain = \"b.example\"\npartner_type = \"federated\"\n{terms}\n"
        ));
        let found: Vec<_> = found.into_iter().map(|it| it.message).collect();
        policy.map(|it| it.partners[0].clone()).ok_or_else(|| found.join("\n"))
    }

    #[test]
    fn pins_are_read_and_what_is_none_is_refused() {
        let pin = format!("sha256:{}", "07".repeat(32));
        let pinned = format!("pinned_keys = [{pin:?}]");
        let partner = read(&format!("{pinned}\ndialback_negotiation = false")).unwrap();
        assert_eq!(partner.pinned_keys, [KeyPin([7; 32])]);
        let refused = read(&pinned).unwrap_err();
        assert!(refused.contains("another key may prove the domain by dialback"), "{refused}");
        let refused = read("pinned_keys = [\"sha256:07\"]").unwrap_err();
        assert!(refused.contains("\"sha256:07\": it is not `sha256:` with 32 bytes"), "{refused}");
        let many = read(&format!("pinned_keys = {:?}", vec![pin; 17])).unwrap_err();
        assert!(many.contains("more than 16 keys"), "{many}");
    }

    #[test]
    fn files_that_hold_no_authority_are_refused_by_their_names() {
        let directory = TempDir::new().unwrap();
        let file = |name: &str, content: &str| {
            let file = directory.path().join(name);
            std::fs::write(&file, content).unwrap();
            file
        };
        let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (file, reason) in [
            (directory.path().join("missing.pem"), "cannot read a certificate from"),
            (file("garbage.pem", "garbage"), "no PEM block of this kind"),
            (file("other.pem", not_der), "no certificate of an authority"),
        ] {
            let refused = read(&format!("trust = [{file:?}]")).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
            assert!(refused.contains(&file.display().to_string()), "{refused}");
        }
    }
}
