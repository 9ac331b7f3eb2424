//! `cert request`: the key that waits, and the request (RFC 2986) with the names that it is for.

use std::fs;
use std::path::Path;

use host::command;
use host::exit::{Cause, Failure};
use host::tls::{Purpose, write_new};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use xmpp_proto::jid::Domain;

use super::Subject;
use crate::config::CertificateNames;

/// RFC 5280 appendix A: ub-common-name.
const COMMON_NAME_BYTES_MAX: usize = 64;

/// The names of a certificate, with A-labels, each once.
pub(super) struct Names {
    /// DNS-IDs. The first is the subject's common name too, which old clients show.
    dns: Vec<String>,
    /// The domains among them, for SRV-IDs.
    domains: Vec<String>,
}

impl Names {
    /// Computes them: hosts, then each domain after its `sip.` name, then more.
    pub(super) fn new(names: &CertificateNames, more: &[Domain], has_sip: bool) -> Self {
        let ascii = |name: &Domain| name.to_ascii().into_owned();
        let domains: Vec<String> = names.domains.iter().map(ascii).collect();
        let mut dns: Vec<String> = Vec::new();
        let mut add = |name: String| {
            if !dns.contains(&name) {
                dns.push(name);
            }
        };
        names.host_names.iter().map(ascii).for_each(&mut add);
        for domain in &domains {
            if has_sip {
                add(format!("sip.{domain}"));
            }
            add(domain.clone());
        }
        more.iter().map(ascii).for_each(&mut add);
        Self { dns, domains }
    }
}

/// What a request is to be like.
pub(super) struct Wish {
    pub(super) names: Names,
    pub(super) is_rsa: bool,
    pub(super) has_srv_ids: bool,
    pub(super) purpose: Purpose,
}

/// Makes the key, unless one waits already, and writes the request to `out` or shows it.
pub(super) fn write(subject: &Subject<'_>, wish: &Wish, out: Option<&Path>) -> Result<(), Failure> {
    super::check(subject)?;
    let internal = |error: rcgen::Error| Failure::new(Cause::Internal, error);
    let pending = subject.files.pending_key();
    let (key, is_new) = match waiting(&pending, wish.is_rsa)? {
        // An authority may be at work on a request for it.
        Some(key) => (key, false),
        None => (new_key(wish.is_rsa).map_err(internal)?, true),
    };
    let request = parameters(wish).map_err(internal)?.serialize_request(&key).map_err(internal)?;
    let pem = request.pem().map_err(internal)?;
    if is_new {
        write_new(&pending, &key.serialize_pem()).map_err(super::unwritten)?;
    }
    match out {
        None => command::say(pem.trim_end()),
        Some(out) => write_new(out, &pem).map_err(super::unwritten)?,
    }
    let made = if is_new { "a new key" } else { "the key that waited already" };
    command::complain(&format!("{}: {made}", pending.display()));
    command::complain(&format!("the request names {}", wish.names.dns.join(", ")));
    command::complain("give it to the authority, and what comes back to `cert install`");
    Ok(())
}

fn waiting(pending: &Path, is_rsa: bool) -> Result<Option<KeyPair>, Failure> {
    let unreadable = |reason: &dyn std::fmt::Display| {
        let message = format!("cannot read a private key from {}: {reason}", pending.display());
        Failure::new(Cause::Input, message)
    };
    let pem = match fs::read_to_string(pending) {
        Ok(pem) => pem,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    let key = KeyPair::from_pem(&pem).map_err(|error| unreadable(&error))?;
    if is_rsa && !key.is_compatible(&PKCS_RSA_SHA256) {
        let file = pending.display();
        let message =
            format!("{file} waits for its certificate and is no RSA key; delete it first");
        return Err(Failure::new(Cause::Refused, message));
    }
    Ok(Some(key))
}

fn new_key(is_rsa: bool) -> Result<KeyPair, rcgen::Error> {
    match is_rsa {
        true => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
        false => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
    }
}

fn parameters(wish: &Wish) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    let names = &wish.names;
    if let Some(first) = names.dns.first().filter(|it| it.len() <= COMMON_NAME_BYTES_MAX) {
        parameters.distinguished_name.push(DnType::CommonName, first);
    }
    if wish.has_srv_ids {
        parameters.custom_extensions.push(alternative_names(names));
    } else {
        for name in &names.dns {
            parameters.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
    }
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Public authorities issue no clientAuth, and most partners take serverAuth from either side.
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if wish.purpose == Purpose::Client {
        // Prosody, as we do, takes a server for one by serverAuth on either side.
        parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    Ok(parameters)
}

/// The names with SRV-IDs among them, which are IA5Strings (RFC 4985 s.2), and rcgen writes no
/// otherName of that kind.
fn alternative_names(names: &Names) -> CustomExtension {
    const SUBJECT_ALT_NAME: [u64; 4] = [2, 5, 29, 17];
    // id-on-dnsSRV: 1.3.6.1.5.5.7.8.7.
    const DNS_SRV: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 8, 7];
    let mut general_names = Vec::new();
    for name in &names.dns {
        general_names.extend(der(0x82, name.as_bytes()));
    }
    for domain in &names.domains {
        let name = der(0x16, format!("_xmpp-server.{domain}").as_bytes());
        let other_name = [der(0x06, &DNS_SRV), der(0xa0, &name)].concat();
        general_names.extend(der(0xa0, &other_name));
    }
    CustomExtension::from_oid_content(&SUBJECT_ALT_NAME, der(0x30, &general_names))
}

/// Writes one element of DER: its tag, its length, its content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1);
    let significant = &length[significant..];
    let mut element = vec![tag];
    if content.len() >= 0x80 {
        element.push(0x80 | u8::try_from(significant.len()).expect("a length has eight bytes"));
    }
    element.extend_from_slice(significant);
    element.extend_from_slice(content);
    element
}

#[cfg(test)]
mod tests;
