//! What a federation peer's certificate proves: a trusted chain, and the names in it.

use std::path::Path;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use xmpp_proto::jid::Domain;
use xmpp_proto::stream::PeerCertificate;

use super::identity::{IdentityError, certificates};

/// The longest chain that is looked at, in certificates and in bytes.
const CHAIN_CERTIFICATES_MAX: usize = 8;
const CHAIN_BYTES_MAX: usize = 32 * 1024;

/// The most subject alternative names that are looked at; hosting providers use many.
pub(super) const NAMES_MAX: usize = 256;

// id-on-xmppAddr and id-on-dnsSRV: RFC 6120 s.13.7.1.4, RFC 4985.
pub(super) const XMPP_ADDR: &str = "1.3.6.1.5.5.7.8.5";
pub(super) const DNS_SRV: &str = "1.3.6.1.5.5.7.8.7";

/// The certificate authorities that peers are checked against.
#[derive(Clone, Debug, Default)]
pub struct TrustAnchors {
    anchors: Vec<TrustAnchor<'static>>,
}

impl TrustAnchors {
    /// Adds the certificates of a PEM file.
    pub fn add_file(&mut self, path: &Path) -> Result<(), IdentityError> {
        for certificate in certificates("CA certificates", path)? {
            let anchor = anchor_from_trusted_cert(&certificate).map_err(|error| {
                IdentityError::Unreadable {
                    what: "CA certificates",
                    path: path.into(),
                    reason: error.to_string(),
                }
            })?;
            self.anchors.push(anchor.to_owned());
        }
        Ok(())
    }

    /// Adds the authorities that the operating system trusts; returns how many there were.
    pub fn add_system(&mut self) -> usize {
        let before = self.anchors.len();
        // One odd certificate in the system's store must not take the others away.
        let found = rustls_native_certs::load_native_certs().certs;
        let anchors = found.iter().filter_map(|der| anchor_from_trusted_cert(der).ok());
        self.anchors.extend(anchors.map(|anchor| anchor.to_owned()));
        self.anchors.len() - before
    }

    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<(), Untrusted> {
        let (leaf, intermediates) = chain.split_first().ok_or(Untrusted::NoCertificate)?;
        let bytes: usize = chain.iter().map(|certificate| certificate.len()).sum();
        if chain.len() > CHAIN_CERTIFICATES_MAX || bytes > CHAIN_BYTES_MAX {
            return Err(Untrusted::ChainTooLong);
        }
        let invalid = |error: webpki::Error| match error {
            webpki::Error::UnknownIssuer => Untrusted::UnknownIssuer,
            error => Untrusted::Invalid(error.to_string()),
        };
        let algorithms = super::provider().signature_verification_algorithms.all;
        EndEntityCert::try_from(leaf)
            .map_err(invalid)?
            .verify_for_usage(algorithms, &self.anchors, intermediates, now, usage, None, None)
            .map_err(invalid)?;
        Ok(())
    }
}

/// Why a chain is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// The peer showed none.
    #[error("no certificate was presented")]
    NoCertificate,
    /// More than is looked at.
    #[error(
        "the chain is longer than {CHAIN_CERTIFICATES_MAX} certificates or {CHAIN_BYTES_MAX} bytes"
    )]
    ChainTooLong,
    /// No path to an authority that we know.
    #[error("the certificate was not accepted: UnknownIssuer")]
    UnknownIssuer,
    /// Expired, wrong usage, or a bad signature.
    #[error("the certificate was not accepted: {0}")]
    Invalid(String),
}

/// What a peer established in its TLS handshake.
#[derive(Clone, Debug)]
pub struct PeerIdentity {
    trust: Result<(), Untrusted>,
    names: Vec<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    /// A DNS-ID, in lower-case A-labels, possibly with `*` as its left-most label.
    Dns(String),
    /// The domain of an SRV-ID for the service `_xmpp-server`.
    XmppSrv(String),
    /// An XmppAddr that is a domain.
    XmppAddr(Domain),
    /// The host of a SIP URI that names nobody in particular (RFC 5922 s.7.1).
    Sip(String),
}

impl PeerIdentity {
    /// Examines the chain of a finished handshake.
    ///
    /// The chain must be good for `serverAuth` whichever side connected: public authorities
    /// issue nothing else, and a certificate for clients alone is none for a server.
    pub fn examine(chain: &[CertificateDer<'_>], anchors: &TrustAnchors, now: UnixTime) -> Self {
        let trust = anchors.verify(chain, KeyUsage::server_auth(), now);
        let names = chain.first().map(|leaf| names_in(leaf)).unwrap_or_default();
        Self { trust, names }
    }

    /// Returns whether the chain is trusted, or why not.
    pub fn trust(&self) -> Result<(), &Untrusted> {
        self.trust.as_ref().copied()
    }

    /// Returns whether the certificate names an XMPP domain, whether it is trusted or not.
    // RFC 9525 s.6.3: whole labels; the reference identity is the domain, never an SRV target.
    pub fn names(&self, domain: &Domain) -> bool {
        let Ok(ascii) = idna::domain_to_ascii(domain.as_str()) else { return false };
        self.names.iter().any(|name| match name {
            Name::Dns(pattern) => dns_matches(pattern, &ascii),
            Name::XmppSrv(name) => *name == ascii,
            Name::XmppAddr(address) => address == domain,
            Name::Sip(_) => false,
        })
    }

    /// Returns the first names in the certificate, for records: who the peer says it is.
    pub fn presented_names(&self, names_max: usize) -> Vec<String> {
        let shown = self.names.iter().take(names_max).map(|name| match name {
            Name::Dns(name) => name.clone(),
            Name::XmppSrv(domain) => format!("_xmpp-server.{domain}"),
            Name::XmppAddr(domain) => format!("xmpp:{domain}"),
            Name::Sip(host) => format!("sip:{host}"),
        });
        shown.collect()
    }

    /// Returns the SIP domains that a trusted chain proves, in lower-case A-labels: those of SIP
    /// URIs or, without any, DNS names. A wildcard proves none (RFC 5922 s.7.1 and s.7.2).
    pub fn sip_domains(&self) -> Vec<String> {
        let names = self.names.iter().filter(|_| self.trust.is_ok());
        let (mut sip, mut dns) = (Vec::new(), Vec::new());
        for name in names {
            match name {
                Name::Sip(host) => sip.push(host.clone()),
                Name::Dns(name) if !name.starts_with("*.") => dns.push(name.clone()),
                Name::Dns(_) | Name::XmppSrv(_) | Name::XmppAddr(_) => {}
            }
        }
        if sip.is_empty() { dns } else { sip }
    }
}

impl PeerCertificate for PeerIdentity {
    fn proves(&self, domain: &Domain) -> bool {
        self.trust.is_ok() && self.names(domain)
    }
}

fn dns_matches(pattern: &str, domain: &str) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern == domain,
        Some(parent) => domain.split_once('.').is_some_and(|(_, rest)| rest == parent),
    }
}

fn names_in(leaf: &CertificateDer<'_>) -> Vec<Name> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() else {
            continue;
        };
        names.extend(san.general_names.iter().take(NAMES_MAX).filter_map(name));
    }
    names
}

fn name(general_name: &GeneralName<'_>) -> Option<Name> {
    match general_name {
        GeneralName::DNSName(dns) => host_name(dns).map(Name::Dns),
        // RFC 5922 s.7.1: one with a user part is that user's.
        GeneralName::URI(uri) => {
            let (scheme, host) = uri.split_once(':')?;
            let is_sip = scheme.eq_ignore_ascii_case("sip");
            host_name(host).filter(|host| is_sip && !host.starts_with("*.")).map(Name::Sip)
        }
        GeneralName::OtherName(oid, value) => match oid.to_id_string().as_str() {
            XMPP_ADDR => text(value)?.parse().ok().map(Name::XmppAddr),
            DNS_SRV => {
                let (service, domain) = text(value)?.split_once('.')?;
                let domain = host_name(domain)?;
                // RFC 4985 s.2: the service is compared without regard to case.
                service.eq_ignore_ascii_case("_xmpp-server").then_some(Name::XmppSrv(domain))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Returns the name in lower case if it is made of letters, digits, `-`, `.` and a leading `*.`.
fn host_name(name: &str) -> Option<String> {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let right = labels.contains('.') && !labels.starts_with('.') && !labels.contains("..");
    (right && labels.bytes().all(legal)).then(|| name.to_ascii_lowercase())
}

/// Reads the string inside an otherName's explicit tag: UTF8String or IA5String.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    let (_, explicit) = Any::from_der(value).ok()?;
    let (_, string) = Any::from_der(explicit.data).ok()?;
    if !matches!(string.tag(), Tag::Utf8String | Tag::Ia5String) {
        return None;
    }
    std::str::from_utf8(string.data).ok()
}

#[cfg(test)]
mod tests;
