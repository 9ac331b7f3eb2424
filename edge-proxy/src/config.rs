//! What the edge's own file says: addresses, certificates, link, name servers, logs.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use host::config::{Read, Table};
use host::log;
use host::tls::{FederationFiles, IdentityError, IdentityFiles, RevocationLists, TrustAnchors};
use xmpp_proto::jid::Domain;

use crate::xmpp::addresses::AddressLimits;

mod limits;

/// The configuration of an edge proxy, checked.
#[derive(Debug)]
pub struct Config {
    /// Where partners' XMPP servers connect.
    pub xmpp_listen: Vec<SocketAddr>,
    /// Where they connect with TLS from the first byte; nowhere if empty.
    pub xmpp_listen_direct_tls: Vec<SocketAddr>,
    /// The certificate that partners see.
    pub xmpp_identity: FederationFiles,
    /// Others that they see in the name of some domains.
    pub xmpp_identities: Vec<DomainIdentity>,
    /// The authorities that partners' certificates are checked against.
    pub xmpp_trust: Vec<PathBuf>,
    /// Whether the operating system's authorities count as well.
    pub xmpp_system_trust: bool,
    /// Revocation lists of authorities of partners' certificates.
    pub xmpp_crl: Vec<PathBuf>,
    /// Whether a certificate is refused where no list says that it is not revoked.
    pub xmpp_require_revocation_status: bool,
    /// The names that the certificate for partners is to carry.
    pub xmpp_names: CertificateNames,
    /// What peers may do before they have proven a domain.
    pub xmpp_limits: AddressLimits,
    /// Where front ends attach.
    pub link_listen: SocketAddr,
    /// The certificate of this edge's link role.
    pub link_identity: IdentityFiles,
    /// The private authority of the link.
    pub link_trust: Vec<PathBuf>,
    /// Where metrics and health are served.
    pub internal_listen: SocketAddr,
    /// Name servers; empty for those of the operating system.
    pub name_servers: Vec<SocketAddr>,
    /// How long a lookup may take.
    pub lookup_max: Duration,
    /// Logs.
    pub log: log::Settings,
}

/// What the certificate for partners is to be about, for the `cert` commands alone: what is served
/// comes with the policy.
#[derive(Clone, Debug)]
pub struct CertificateNames {
    /// Every domain that we serve.
    pub domains: Vec<Domain>,
    /// The names of the edges themselves in DNS, the targets of SRV records.
    pub host_names: Vec<Domain>,
}

/// The certificate that partners see in the name of some domains of ours.
#[derive(Clone, Debug)]
pub struct DomainIdentity {
    /// The files.
    pub files: FederationFiles,
    /// The domains, at least one, which no other identity has.
    pub names: CertificateNames,
}

impl CertificateNames {
    fn read(xmpp: &mut Table<'_, '_>) -> Read<Self> {
        let domains = xmpp.or("domains", Vec::new());
        let host_names = xmpp.or("host_names", Vec::new());
        let (domains, host_names): (Vec<Domain>, Vec<Domain>) = (domains?, host_names?);
        for (key, names) in [("domains", &domains), ("host_names", &host_names)] {
            if let Some(name) = names.iter().find(|name| !is_dns_name(name)) {
                let message = format!("`{key}` has {name}, which no authority certifies");
                return Err(xmpp.error(key, message));
            }
        }
        Ok(Self { domains, host_names })
    }
}

/// Returns whether it is a domain name of at least two labels, and no address.
pub(crate) fn is_dns_name(name: &Domain) -> bool {
    let is_address = |text: &str| text.starts_with('[') || text.parse::<IpAddr>().is_ok();
    name.as_str().contains('.') && !is_address(name.as_str())
}

impl Config {
    /// Reads the authorities for partners' certificates.
    pub fn load_xmpp_trust(&self) -> Result<TrustAnchors, IdentityError> {
        let mut anchors = TrustAnchors::load(&self.xmpp_trust)?;
        if self.xmpp_system_trust {
            anchors.add_system();
        }
        Ok(anchors)
    }

    /// Reads the revocation lists, if there are any.
    pub fn load_xmpp_revocations(&self) -> Result<Option<Arc<RevocationLists>>, IdentityError> {
        if self.xmpp_crl.is_empty() {
            return Ok(None);
        }
        let lists = RevocationLists::load(&self.xmpp_crl, self.xmpp_require_revocation_status)?;
        Ok(Some(Arc::new(lists)))
    }

    /// Reads the authorities for front ends' certificates.
    pub fn load_link_trust(&self) -> Result<TrustAnchors, IdentityError> {
        TrustAnchors::load(&self.link_trust)
    }
}

/// Reads the document.
///
/// # Errors
/// Fails when anything in it is wrong; the table holds what.
pub fn read(root: &mut Table<'_, '_>) -> Read<Config> {
    let xmpp = root.table("xmpp", read_xmpp);
    let link = root.table("link", |link| {
        let listen = link.required("listen");
        let identity = IdentityFiles::read(link);
        let trust: Read<Vec<PathBuf>> = link.required("trust");
        Ok((listen?, identity?, trust?))
    });
    let internal = root.table("internal", |internal| internal.required("listen"));
    let resolver = root.table("resolver", |resolver| {
        let name_servers = resolver.or("name_servers", Vec::new());
        let lookup_ms_max = resolver.number("lookup_ms_max", 100..=60_000, 5_000);
        Ok((name_servers?, Duration::from_millis(lookup_ms_max?)))
    });
    let log = root.table("log", log::Settings::read);

    let xmpp = xmpp?;
    let (link_listen, link_identity, link_trust) = link?;
    let (name_servers, lookup_max) = resolver?;
    Ok(Config {
        xmpp_listen: xmpp.listen,
        xmpp_listen_direct_tls: xmpp.listen_direct_tls,
        xmpp_identity: xmpp.identity,
        xmpp_identities: xmpp.identities,
        xmpp_trust: xmpp.trust,
        xmpp_system_trust: xmpp.system_trust,
        xmpp_crl: xmpp.crl,
        xmpp_require_revocation_status: xmpp.require_revocation_status,
        xmpp_names: xmpp.names,
        xmpp_limits: xmpp.limits,
        link_listen,
        link_identity,
        link_trust,
        internal_listen: internal?,
        name_servers,
        lookup_max,
        log: log?,
    })
}

/// The table `[xmpp]`.
struct Xmpp {
    listen: Vec<SocketAddr>,
    listen_direct_tls: Vec<SocketAddr>,
    identity: FederationFiles,
    identities: Vec<DomainIdentity>,
    trust: Vec<PathBuf>,
    system_trust: bool,
    crl: Vec<PathBuf>,
    require_revocation_status: bool,
    names: CertificateNames,
    limits: AddressLimits,
}

fn read_xmpp(xmpp: &mut Table<'_, '_>) -> Read<Xmpp> {
    let listen: Read<Vec<SocketAddr>> = xmpp.required("listen");
    let listen_direct_tls: Read<Vec<SocketAddr>> = xmpp.or("listen_direct_tls", Vec::new());
    let identity = federation_files(xmpp);
    let mut owned = BTreeSet::new();
    let identities = xmpp.tables("identity", |table| read_identity(table, &mut owned));
    let trust: Read<Vec<PathBuf>> = xmpp.or("trust", Vec::new());
    let system_trust = xmpp.or("system_trust", true);
    let crl: Read<Vec<PathBuf>> = xmpp.or("crl", Vec::new());
    let require_revocation_status = xmpp.or("require_revocation_status", false);
    let names = CertificateNames::read(xmpp);
    let limits = xmpp.table("limits", limits::read);
    let listen = match listen? {
        listen if listen.is_empty() => {
            return Err(xmpp.error("listen", "`listen` needs at least one address"));
        }
        listen => listen,
    };
    let (trust, system_trust) = (trust?, system_trust?);
    if trust.is_empty() && !system_trust {
        let message = "no authority is trusted, so every partner needs dialback";
        xmpp.warn("trust", message);
    }
    let (crl, require_revocation_status) = (crl?, require_revocation_status?);
    if crl.is_empty() && require_revocation_status {
        let message = "`require_revocation_status` without `crl` refuses every certificate";
        return Err(xmpp.error("require_revocation_status", message));
    }
    Ok(Xmpp {
        listen,
        listen_direct_tls: listen_direct_tls?,
        identity: identity?,
        identities: identities?,
        trust,
        system_trust,
        crl,
        require_revocation_status,
        names: names?,
        limits: limits?,
    })
}

/// Reads `certificate` and `key`, and `client_certificate` and `client_key`, which may be left out
/// together.
fn federation_files(table: &mut Table<'_, '_>) -> Read<FederationFiles> {
    let server = IdentityFiles::read(table);
    if !table.has("client_certificate") && !table.has("client_key") {
        return Ok(FederationFiles { server: server?, client: None });
    }
    let certificate = table.required("client_certificate");
    let key = table.required("client_key");
    let client = IdentityFiles { certificate: certificate?, key: key? };
    Ok(FederationFiles { server: server?, client: Some(client) })
}

/// Reads an `[[xmpp.identity]]`; `owned` are the domains of those before it.
fn read_identity(table: &mut Table<'_, '_>, owned: &mut BTreeSet<Domain>) -> Read<DomainIdentity> {
    let files = federation_files(table);
    let names = CertificateNames::read(table)?;
    if names.domains.is_empty() {
        return Err(table.error("domains", "`domains` needs the domains that it is shown for"));
    }
    if let Some(twice) = names.domains.iter().find(|domain| !owned.insert((*domain).clone())) {
        return Err(table.error("domains", format!("{twice} has an identity already")));
    }
    Ok(DomainIdentity { files: files?, names })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNOTATED: &str = include_str!("../../deploy/config/edge-proxy.toml");

    #[test]
    fn the_annotated_file_is_right_and_its_comments_name_the_defaults() {
        // `#key = value` is a default; `# Text` is prose.
        let is_default = |line: &str| line.starts_with('#') && !line.starts_with("# ");
        let uncomment = |line| if is_default(line) { &line[1..] } else { line };
        let explicit: Vec<&str> = ANNOTATED.lines().map(uncomment).collect();
        let (terse, found) = host::config::parse(ANNOTATED, read);
        assert_eq!(found, []);
        let (explicit, found) = host::config::parse(&explicit.join("\n"), read);
        assert_eq!(found, []);
        assert_eq!(format!("{:?}", terse.unwrap()), format!("{:?}", explicit.unwrap()));
    }

    #[test]
    fn identities_of_domains_are_told_apart_and_what_is_wrong_with_them_is_said() {
        let files = "certificate = \"a.pem\"\nkey = \"a.key\"";
        let with = |settings: &str| {
            let text =
                ANNOTATED.replacen("[xmpp.limits]", &format!("{settings}\n[xmpp.limits]"), 1);
            let (config, found) = host::config::parse(&text, read);
            let found: Vec<_> = found.into_iter().map(|it| it.message).collect();
            config.map(|it| it.xmpp_identities).ok_or_else(|| found.join("\n"))
        };
        let identity = |more: &str| format!("[[xmpp.identity]]\n{files}\n{more}\n");
        let client = "client_certificate = \"c.pem\"\nclient_key = \"c.key\"";
        let [one, two] = ["a.example", "b.example"].map(|it| format!("domains = [\"{it}\"]"));
        let both = format!("{}{}", identity(&one), identity(&format!("{two}\n{client}")));
        let identities = with(&both).unwrap();
        assert_eq!(identities.iter().map(|it| it.names.domains.len()).sum::<usize>(), 2);
        let has_client = |it: &DomainIdentity| it.files.client.is_some();
        assert_eq!(identities.iter().map(has_client).collect::<Vec<_>>(), [false, true]);
        for (settings, reason) in [
            (identity(""), "`domains` needs the domains"),
            (format!("{}{}", identity(&one), identity(&one)), "a.example has an identity already"),
            (
                identity(&format!("{one}\nclient_key = \"c.key\"")),
                "`client_certificate` is missing",
            ),
            ("require_revocation_status = true".to_owned(), "refuses every certificate"),
        ] {
            let refused = with(&settings).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn limits_are_read_and_what_is_no_network_is_said() {
        let with = |line: &str| {
            let text = ANNOTATED.replacen("[xmpp.limits]", &format!("[xmpp.limits]\n{line}"), 1);
            let (config, found) = host::config::parse(&text, read);
            let found: Vec<_> = found.into_iter().map(|it| it.message).collect();
            config.map(|it| it.xmpp_limits).ok_or_else(|| found.join("\n"))
        };
        assert_eq!(with("new_per_minute_per_address = 7").unwrap().new_per_minute, 7);
        assert_eq!(with("exempt = [\"192.0.2.0/24\", \"::1\"]").unwrap().exempt.len(), 2);
        let refused = with("exempt = [\"192.0.2.1/24\"]").unwrap_err();
        assert!(refused.contains("192.0.2.1/24, which has bits set"), "{refused}");
    }
}
