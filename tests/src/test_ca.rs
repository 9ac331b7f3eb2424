//! Certificate authorities of the tests, and certificates for every role, right or wrong.
//!
//! They are made at run time and lie in the test's directory as PEM files.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams,
    CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, PublicKeyData, RevokedCertParams, SanType,
    SerialNumber, SignatureAlgorithm, date_time_ymd,
};

/// A certificate and its private key, as PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// What a certificate says that it may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Only `serverAuth`, as public authorities issue.
    Server,
    /// Only `clientAuth`.
    Client,
    /// Both.
    Both,
    /// Nothing is said.
    Unsaid,
    /// `anyExtendedKeyUsage`.
    Any,
    /// Only `codeSigning`.
    CodeSigning,
}

impl Usage {
    fn purposes(self) -> Vec<ExtendedKeyUsagePurpose> {
        use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, ServerAuth};
        match self {
            Self::Server => vec![ServerAuth],
            Self::Client => vec![ClientAuth],
            Self::Both => vec![ServerAuth, ClientAuth],
            Self::Unsaid => Vec::new(),
            Self::Any => vec![Any],
            Self::CodeSigning => vec![CodeSigning],
        }
    }
}

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct Leaf {
    name: String,
    alternatives: Vec<SanType>,
    usage: Usage,
    not_before: Option<SystemTime>,
    not_after: Option<SystemTime>,
    serial: Option<u64>,
}

impl Leaf {
    /// A server's certificate for a domain, with `serverAuth` only.
    pub fn server(domain: &str) -> Self {
        Self { usage: Usage::Server, ..Self::named(domain) }.dns(domain)
    }

    /// A server's certificate with a domain as its common name alone.
    pub fn common_name(domain: &str) -> Self {
        Self { usage: Usage::Server, ..Self::named(domain) }
    }

    /// A server's certificate with the names that are requested.
    pub fn requested() -> Self {
        Self { usage: Usage::Server, ..Self::named("requested") }
    }

    /// A certificate for the link between the two processes: `role` is `edge` or `frontend`.
    pub fn link(role: &str, name: &str) -> Self {
        Self::named(name).uri(&format!("spiffe://isthmus/{role}/{name}"))
    }

    /// Adds a DNS name.
    pub fn dns(mut self, name: &str) -> Self {
        let name = name.try_into().expect("a DNS name is ASCII");
        self.alternatives.push(SanType::DnsName(name));
        self
    }

    /// Adds a URI name.
    pub fn uri(mut self, uri: &str) -> Self {
        self.alternatives.push(SanType::URI(uri.try_into().expect("a URI is ASCII")));
        self
    }

    /// Adds an IP address.
    pub fn address(mut self, address: impl Into<IpAddr>) -> Self {
        self.alternatives.push(SanType::IpAddress(address.into()));
        self
    }

    /// Ends the validity some days and a half from now.
    pub fn days_left(mut self, days: u64) -> Self {
        let hours = days * 24 + 12;
        self.not_after = Some(SystemTime::now() + Duration::from_secs(hours * 60 * 60));
        self
    }

    /// Sets the extended key usages.
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Ends the validity in the past.
    pub fn expired(mut self) -> Self {
        // In 2021.
        self.not_after = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_610_000_000));
        self
    }

    /// Begins the validity in the future.
    pub fn not_yet_valid(mut self) -> Self {
        self.not_before = Some(SystemTime::now() + Duration::from_secs(24 * 60 * 60));
        self
    }

    /// Sets the serial number, by which it can be revoked.
    pub fn serial(mut self, serial: u64) -> Self {
        self.serial = Some(serial);
        self
    }

    /// Makes the certificate sign itself; `file` names its files in `directory`.
    ///
    /// # Panics
    ///
    /// When the files cannot be written.
    pub fn self_signed(&self, directory: &Path, file: &str) -> Identity {
        let key = new_key();
        let certificate = self.parameters().self_signed(&key).expect("the parameters are valid");
        write_identity(directory, file, &certificate.pem(), &key)
    }

    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            alternatives: Vec::new(),
            usage: Usage::Both,
            not_before: None,
            not_after: None,
            serial: None,
        }
    }

    fn parameters(&self) -> CertificateParams {
        let mut parameters = parameters(&self.name);
        parameters.subject_alt_names.clone_from(&self.alternatives);
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = self.usage.purposes();
        parameters.serial_number = self.serial.map(SerialNumber::from);
        if let Some(not_before) = self.not_before {
            parameters.not_before = not_before.into();
        }
        if let Some(not_after) = self.not_after {
            parameters.not_after = not_after.into();
        }
        parameters
    }
}

/// A certificate authority.
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
    certificate: PathBuf,
}

impl TestCa {
    /// Makes an authority; its certificate becomes `<name>.pem` in `directory`.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn new(directory: &Path, name: &str) -> Self {
        let mut parameters = parameters(name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = new_key();
        let signed = parameters.self_signed(&key).expect("the parameters are valid");
        let certificate = directory.join(format!("{name}.pem"));
        fs::write(&certificate, signed.pem()).expect("the test's directory can be written");
        Self { issuer: Issuer::new(parameters, key), directory: directory.to_owned(), certificate }
    }

    /// The authority's own certificate, for those who are to trust it.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Issues a certificate; `file` names its files beside the authority's.
    ///
    /// # Panics
    ///
    /// When the files cannot be written.
    pub fn issue(&self, leaf: &Leaf, file: &str) -> Identity {
        let key = new_key();
        let certificate = leaf.parameters().signed_by(&key, &self.issuer);
        let certificate = certificate.expect("the parameters are valid");
        write_identity(&self.directory, file, &certificate.pem(), &key)
    }

    /// Issues a certificate for an RSA key of so many bits, which nobody has: beside it is another
    /// key.
    ///
    /// # Panics
    ///
    /// When the files cannot be written.
    pub fn issue_for_long_key(&self, leaf: &Leaf, bits: usize, file: &str) -> Identity {
        let certificate = leaf.parameters().signed_by(&LongKey::new(bits), &self.issuer);
        let certificate = certificate.expect("the parameters are valid");
        write_identity(&self.directory, file, &certificate.pem(), &new_key())
    }

    /// Writes the list of what is revoked, whose successor is due in 2049, in PEM.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn revoke(&self, serials: &[u64], file: &Path) {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2049, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).and_then(|list| list.pem());
        fs::write(file, list.expect("the list is valid")).expect("the file can be written");
    }

    /// Signs a request (PKCS #10, PEM) as `leaf` has it, but for the key; with the names that are
    /// requested, where `leaf` has none. Gives the certificate in PEM.
    ///
    /// # Panics
    ///
    /// When the request is none, or was not signed with its own key.
    pub fn sign(&self, request: &str, leaf: &Leaf) -> String {
        let request = CertificateSigningRequestParams::from_pem(request).expect("it is a request");
        let mut parameters = leaf.parameters();
        if parameters.subject_alt_names.is_empty() {
            parameters.subject_alt_names = request.params.subject_alt_names;
        }
        let certificate = parameters.signed_by(&request.public_key, &self.issuer);
        certificate.expect("the parameters are valid").pem()
    }
}

/// A public key of RSA without a private one.
struct LongKey(Vec<u8>);

impl LongKey {
    fn new(bits: usize) -> Self {
        let element = |tag: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).expect("a key is not so long").to_be_bytes();
            [&[tag, 0x82], length.as_slice(), content].concat()
        };
        let modulus = [vec![0], vec![0xff; bits / 8]].concat();
        let numbers = [element(0x02, &modulus), element(0x02, &[1, 0, 1])].concat();
        Self(element(0x30, &numbers))
    }
}

impl PublicKeyData for LongKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

fn parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(2049, 12, 31);
    parameters
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("the system gives random bytes")
}

fn write_identity(directory: &Path, file: &str, certificate: &str, key: &KeyPair) -> Identity {
    let identity = Identity {
        certificate: directory.join(format!("{file}.pem")),
        key: directory.join(format!("{file}.key")),
    };
    fs::write(&identity.certificate, certificate).expect("the test's directory can be written");
    fs::write(&identity.key, key.serialize_pem()).expect("the test's directory can be written");
    identity
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    /// What `openssl verify` says of a certificate, for a purpose.
    fn verifies(ca: &TestCa, identity: &Identity, purpose: &str) -> bool {
        let output = Command::new("openssl")
            .args(["verify", "-purpose", purpose, "-CAfile"])
            .args([ca.certificate(), &identity.certificate])
            .output();
        output.expect("openssl is installed").status.success()
    }

    #[test]
    fn a_certificate_verifies_for_its_usages_only() {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let ca = TestCa::new(directory.path(), "ca");
        let leaf = Leaf::server("a.example");
        for (usage, server, client) in
            [(Usage::Server, true, false), (Usage::Client, false, true), (Usage::Both, true, true)]
        {
            let identity = ca.issue(&leaf.clone().usage(usage), "leaf");
            assert_eq!(verifies(&ca, &identity, "sslserver"), server, "{usage:?} as a server");
            assert_eq!(verifies(&ca, &identity, "sslclient"), client, "{usage:?} as a client");
        }
    }

    #[test]
    fn expired_self_signed_and_foreign_certificates_do_not_verify() {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let ca = TestCa::new(directory.path(), "ca");
        let other = TestCa::new(directory.path(), "other");
        let leaf = Leaf::server("a.example");
        for identity in [
            ca.issue(&leaf.clone().expired(), "expired"),
            leaf.self_signed(directory.path(), "self-signed"),
            other.issue(&leaf, "foreign"),
        ] {
            assert!(!verifies(&ca, &identity, "sslserver"), "{identity:?}");
        }
    }

    #[test]
    fn a_link_certificate_names_its_role() {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let ca = TestCa::new(directory.path(), "ca");
        let leaf = Leaf::link("edge", "edge1").dns("edge1.internal").address([127, 0, 0, 1]);
        let pem = fs::read(ca.issue(&leaf, "edge1").certificate).expect("it was written");
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).expect("it is PEM");
        let names = pem.parse_x509().expect("it is a certificate");
        let names = names.subject_alternative_name().expect("it has names").expect("it has names");
        let names: Vec<String> =
            names.value.general_names.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "URI(spiffe://isthmus/edge/edge1)",
                "DNSName(edge1.internal)",
                "IPAddress(7f:00:00:01)"
            ]
        );
    }
}
