//! Certificate authorities of the tests, and certificates for every role, right or wrong.
//!
//! They are made at run time and lie in the test's directory as PEM files.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
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
}

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct Leaf {
    name: String,
    alternatives: Vec<SanType>,
    usage: Usage,
    not_after: Option<SystemTime>,
}

impl Leaf {
    /// A server's certificate for a domain, with `serverAuth` only.
    pub fn server(domain: &str) -> Self {
        Self { usage: Usage::Server, ..Self::named(domain) }.dns(domain)
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
            not_after: None,
        }
    }

    fn parameters(&self) -> CertificateParams {
        let mut parameters = parameters(&self.name);
        parameters.subject_alt_names.clone_from(&self.alternatives);
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = match self.usage {
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Both => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
        };
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
