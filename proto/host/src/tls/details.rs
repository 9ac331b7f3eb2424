//! What a certificate says, in words for the operator who looks after it.

use std::net::IpAddr;
use std::path::Path;

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::identity::{IdentityError, certificates};
use super::peer::{DNS_SRV, XMPP_ADDR, text};
use super::trust::{NAMES_MAX, Purpose};

const DAY_S: i64 = 24 * 60 * 60;

/// What one certificate says of itself; whether it is true is another question.
#[derive(Clone, Debug)]
pub struct Details {
    /// Whom it is about: a distinguished name.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// The subject alternative names, each after its kind: `DNS contoso.example`.
    pub names: Vec<String>,
    /// The extended key usages; empty where the certificate may be used for anything.
    pub usages: Vec<String>,
    is_for_servers: bool,
    is_for_clients: bool,
    subject_der: Vec<u8>,
    issuer_der: Vec<u8>,
    not_before: ASN1Time,
    not_after: ASN1Time,
}

impl Details {
    /// Reads the certificate; nothing when it is none.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let san = certificate.subject_alternative_name().ok()?;
        let usage = certificate.extended_key_usage().ok()?.map(|usage| usage.value);
        let names = san.iter().flat_map(|san| &san.value.general_names);
        Some(Self {
            subject: printable(&certificate.subject().to_string()),
            issuer: printable(&certificate.issuer().to_string()),
            names: names.take(NAMES_MAX).map(name).collect(),
            usages: usage.iter().flat_map(|usage| usages(usage)).collect(),
            is_for_servers: usage.is_none_or(|usage| usage.any || usage.server_auth),
            is_for_clients: usage.is_none_or(|usage| usage.any || usage.client_auth),
            subject_der: certificate.subject().as_raw().to_vec(),
            issuer_der: certificate.issuer().as_raw().to_vec(),
            not_before: certificate.validity().not_before,
            not_after: certificate.validity().not_after,
        })
    }

    /// Reads all certificates of a PEM file, in their order.
    ///
    /// # Errors
    /// Fails when the file cannot be read or holds none.
    pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        certificates("a certificate", path)
    }

    /// Returns whether its usages allow the purpose.
    pub const fn is_for(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Server => self.is_for_servers,
            Purpose::Client => self.is_for_clients,
        }
    }

    /// Returns when its validity ends, in seconds since 1970.
    pub fn expires_at_s(&self) -> i64 {
        self.not_after.timestamp()
    }

    /// Returns whether it was issued by the holder of this other one, by their names.
    pub fn is_issued_by(&self, other: &Self) -> bool {
        self.issuer_der == other.subject_der
    }

    /// Returns whether its validity has not begun.
    pub fn is_not_yet_valid(&self, now: UnixTime) -> bool {
        seconds(now) < self.not_before.timestamp()
    }

    /// Returns whether its validity is over.
    pub fn is_expired(&self, now: UnixTime) -> bool {
        seconds(now) > self.not_after.timestamp()
    }

    /// Returns how many whole days of its validity are left; negative when it is over.
    pub fn days_left(&self, now: UnixTime) -> i64 {
        (self.not_after.timestamp() - seconds(now)).div_euclid(DAY_S)
    }

    /// Returns the first and the last day of its validity, in UTC, as `2026-01-31`.
    pub fn validity(&self) -> (String, String) {
        (day_of(self.not_before), day_of(self.not_after))
    }
}

fn day_of(time: ASN1Time) -> String {
    time.to_datetime().date().to_string()
}

/// Returns the day of a moment, in UTC, as `2026-01-31`.
pub(super) fn day(time: UnixTime) -> String {
    ASN1Time::from_timestamp(seconds(time)).map_or_else(|_| "an unknown day".to_owned(), day_of)
}

fn seconds(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

fn usages(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let known = [
        ("any", usage.any),
        ("serverAuth", usage.server_auth),
        ("clientAuth", usage.client_auth),
        ("codeSigning", usage.code_signing),
        ("emailProtection", usage.email_protection),
        ("timeStamping", usage.time_stamping),
        ("OCSPSigning", usage.ocsp_signing),
    ];
    let known = known.into_iter().filter(|(_, is_given)| *is_given).map(|(it, _)| it.to_owned());
    known.chain(usage.other.iter().map(x509_parser::asn1_rs::Oid::to_id_string)).collect()
}

fn name(general_name: &GeneralName<'_>) -> String {
    let name = match general_name {
        GeneralName::DNSName(name) => format!("DNS {name}"),
        GeneralName::URI(uri) => format!("URI {uri}"),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), bytes) {
            (Ok(bytes), _) => format!("IP {}", IpAddr::from(bytes)),
            (_, bytes) => <[u8; 16]>::try_from(*bytes).map_or_else(
                |_| "IP malformed".to_owned(),
                |it| format!("IP {}", IpAddr::from(it)),
            ),
        },
        GeneralName::OtherName(oid, value) => match (oid.to_id_string().as_str(), text(value)) {
            (DNS_SRV, Some(name)) => format!("SRV {name}"),
            (XMPP_ADDR, Some(address)) => format!("XMPP {address}"),
            (oid, _) => format!("other {oid}"),
        },
        other => other.to_string(),
    };
    printable(&name)
}

/// Shows a text of somebody else's on the operator's terminal without obeying it.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { char::REPLACEMENT_CHARACTER } else { it }).collect()
}
