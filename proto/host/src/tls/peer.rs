//! What a federation peer's certificate proves: a trusted chain, and the names in it.

use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use xmpp_proto::jid::Domain;
use xmpp_proto::stream::PeerCertificate;

use super::details::Details;
use super::partner_trust::{KeyPin, PartnerTrust};
use super::trust::{NAMES_MAX, Purpose, TrustAnchors, Untrusted};

// id-on-xmppAddr and id-on-dnsSRV: RFC 6120 s.13.7.1.4, RFC 4985.
pub(super) const XMPP_ADDR: &str = "1.3.6.1.5.5.7.8.5";
pub(super) const DNS_SRV: &str = "1.3.6.1.5.5.7.8.7";

/// What a peer established in its TLS handshake.
#[derive(Clone, Debug)]
pub struct PeerIdentity {
    trust: Result<(), Untrusted>,
    names: Vec<Name>,
    key: Option<KeyPin>,
    /// The chain, kept only where other authorities might accept it.
    unproven: Vec<CertificateDer<'static>>,
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
        Self::examine_as(Purpose::Server, chain, anchors, now)
    }

    /// Examines a chain for a purpose.
    pub fn examine_as(
        purpose: Purpose,
        chain: &[CertificateDer<'_>],
        anchors: &TrustAnchors,
        now: UnixTime,
    ) -> Self {
        let trust = anchors.verify(chain, purpose, now);
        let (names, key) = chain.first().map(|leaf| read_leaf(leaf)).unwrap_or_default();
        let is_unproven = trust.as_ref().err().is_some_and(Untrusted::is_about_issuer);
        let unproven = chain.iter().filter(|_| is_unproven);
        let unproven = unproven.map(|it| it.clone().into_owned()).collect();
        Self { trust, names, key, unproven }
    }

    /// Returns whether the chain is trusted where it speaks for one partner, or why not; `ours`
    /// are the anchors that it was examined with.
    pub fn trust_as(
        &self,
        partner: &PartnerTrust,
        ours: &TrustAnchors,
        now: UnixTime,
    ) -> Result<(), Untrusted> {
        let is_pinned = self.key.is_some_and(|key| partner.pins.contains(&key));
        if !partner.pins.is_empty() && !is_pinned {
            // What is wrong with it, or that there is none, tells more.
            let other = self.trust.as_ref().err().filter(|reason| !reason.is_about_issuer());
            return Err(other.cloned().unwrap_or(Untrusted::KeyNotPinned));
        }
        match &self.trust {
            Err(reason) if reason.is_about_issuer() => {
                let anchors = &partner.anchors.anchors;
                let below = match partner.anchors.is_empty() {
                    true => Err(reason.clone()),
                    false => ours.verify_below(anchors, &self.unproven, Purpose::Server, now),
                };
                match below {
                    // A pinned key needs no authority, but what one says against it counts.
                    Err(reason) if is_pinned && reason.is_about_issuer() => self.check_leaf(now),
                    verdict => verdict,
                }
            }
            trust => trust.clone(),
        }
    }

    /// Checks what the leaf says of itself, where no authority is asked.
    fn check_leaf(&self, now: UnixTime) -> Result<(), Untrusted> {
        let malformed = || Untrusted::Invalid("malformed".to_owned());
        let leaf = self.unproven.first().and_then(Details::read).ok_or_else(malformed)?;
        let (first_day, last_day) = leaf.validity();
        if leaf.is_expired(now) {
            return Err(Untrusted::Expired(last_day));
        }
        if leaf.is_not_yet_valid(now) {
            return Err(Untrusted::NotYetValid(first_day));
        }
        match leaf.is_for(Purpose::Server) {
            true => Ok(()),
            false => Err(Untrusted::WrongUsage(leaf.usages.join(", "))),
        }
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

/// Returns the names of a leaf, and the digest of its key.
fn read_leaf(leaf: &CertificateDer<'_>) -> (Vec<Name>, Option<KeyPin>) {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Default::default() };
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() else {
            continue;
        };
        names.extend(san.general_names.iter().take(NAMES_MAX).filter_map(name));
    }
    let key = Sha256::digest(certificate.public_key().raw);
    (names, Some(KeyPin(key.into())))
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
