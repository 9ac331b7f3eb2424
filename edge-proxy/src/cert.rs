//! The commands that look after the edge's certificates: asked for, installed, shown.
//!
//! A request makes a key that waits beside the one in use. Installing the answer of the authority
//! puts both into place; the running edge takes them at SIGHUP, for new connections alone.

mod install;
mod request;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use host::cert::{One, Shown};
use host::command;
use host::exit::{Cause, Failure};
use host::tls::{IdentityFiles, Purpose, WriteError};
use link::role::Role;
use rustls::pki_types::UnixTime;
use xmpp_proto::jid::Domain;

use crate::config::{CertificateNames, Config};

/// What is to be done with certificates.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Makes a key that waits beside the one in use, and writes a request (PKCS #10, PEM) for it.
    ///
    /// It names `xmpp.host_names`, each of `xmpp.domains`, and `sip.<domain>` for each of them.
    Request {
        /// Which of the certificates.
        #[command(flatten)]
        which: Which,
        /// Makes an RSA key of 3072 bits, for authorities or peers that know no ECDSA (P-256).
        #[arg(long)]
        rsa: bool,
        /// Names the domains as SRV-IDs of _xmpp-server too; few public authorities take these.
        #[arg(long)]
        srv_id: bool,
        /// Leaves out `sip.<domain>`.
        #[arg(long)]
        no_sip: bool,
        /// Names this as well; may be given several times.
        #[arg(long = "name", value_name = "DNS NAME", value_parser = dns_name)]
        more_names: Vec<Domain>,
        /// Writes the request to a new file, instead of the standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Checks the authority's answer and puts it, with its key, into place.
    Install {
        /// Which of the certificates.
        #[command(flatten)]
        which: Which,
        /// The certificate and those above it, in PEM, in any order.
        file: PathBuf,
    },
    /// Shows the certificates for partners and of the link, and the revocation lists; ends with 77
    /// when something is missing, or ends within 14 days.
    Show,
}

/// Which of the certificates for partners.
#[derive(Debug, Args)]
pub struct Which {
    /// That of the `[[xmpp.identity]]` with this domain, instead of the one of `[xmpp]`.
    #[arg(long, value_name = "DOMAIN", value_parser = dns_name)]
    identity: Option<Domain>,
    /// The one that is shown where the edge connects (`client_certificate`).
    #[arg(long)]
    client: bool,
}

/// A certificate for partners, and what the configuration says of it.
struct Subject<'a> {
    /// Its table of the configuration.
    key: String,
    files: &'a IdentityFiles,
    names: &'a CertificateNames,
    purpose: Purpose,
}

impl<'a> Subject<'a> {
    fn find(config: &'a Config, which: &Which) -> Result<Self, Failure> {
        let purpose = if which.client { Purpose::Client } else { Purpose::Server };
        let subjects = Self::all(config);
        let mut of_purpose = subjects.into_iter().filter(|it| it.purpose == purpose);
        let found = match &which.identity {
            None => of_purpose.find(|it| it.key == TABLE),
            Some(domain) => {
                of_purpose.find(|it| it.key != TABLE && it.names.domains.contains(domain))
            }
        };
        found.ok_or_else(|| {
            let table = match &which.identity {
                None => "[xmpp]".to_owned(),
                Some(domain) => format!("[[xmpp.identity]] with the domain {domain}"),
            };
            let key = if which.client { "client_certificate" } else { "certificate" };
            let message = format!("the configuration has no `{key}` in {table}");
            Failure::new(Cause::Configuration, message)
        })
    }

    /// Returns the certificates of `[xmpp]`, and then those of each identity.
    fn all(config: &'a Config) -> Vec<Self> {
        let default = (TABLE.to_owned(), &config.xmpp_identity, &config.xmpp_names);
        let others = config.xmpp_identities.iter().map(|it| {
            let first = it.names.domains.first().map(ToString::to_string).unwrap_or_default();
            (format!("{TABLE}.identity {first}"), &it.files, &it.names)
        });
        let all = [default].into_iter().chain(others).flat_map(|(key, files, names)| {
            let server = Self { key, files: &files.server, names, purpose: Purpose::Server };
            let client = files.client.as_ref().map(|files| Self {
                key: server.key.clone(),
                files,
                names,
                purpose: Purpose::Client,
            });
            [Some(server), client].into_iter().flatten()
        });
        all.collect()
    }
}

/// The table of the edge's certificates for partners.
const TABLE: &str = "xmpp";

/// Does what was asked for, with the files that the configuration names.
///
/// # Errors
/// Fails with 66 when a file cannot be read, 73 when one cannot be written, 77 when an answer is
/// refused or a certificate needs care, 78 when the configuration has no names to ask for.
pub fn run(action: &Action, config: &Config) -> Result<(), Failure> {
    match action {
        Action::Request { which, rsa, srv_id, no_sip, more_names, out } => {
            let subject = Subject::find(config, which)?;
            let wish = request::Wish {
                names: request::Names::new(subject.names, more_names, !no_sip),
                is_rsa: *rsa,
                has_srv_ids: *srv_id,
                purpose: subject.purpose,
            };
            request::write(&subject, &wish, out.as_deref())
        }
        Action::Install { which, file } => {
            install::install(config, &Subject::find(config, which)?, file, UnixTime::now())
        }
        Action::Show => show(config, UnixTime::now()),
    }
}

/// Shows every certificate; fails with everything about them that needs care.
fn show(config: &Config, now: UnixTime) -> Result<(), Failure> {
    let mut shown = Shown::default();
    let revocations = config.load_xmpp_revocations();
    let trust = config.load_xmpp_trust().map(|trust| match &revocations {
        Ok(Some(lists)) => trust.with_revocations(lists.clone()),
        Ok(None) | Err(_) => trust,
    });
    for Subject { key, files, names, purpose } in Subject::all(config) {
        let key = if purpose == Purpose::Client { format!("{key} client") } else { key };
        let one = One { key, files, purpose, domains: &names.domains, role: None };
        shown.show(&one, now);
        shown.show_trust(&one, "xmpp.trust", trust.as_ref(), now);
    }
    let (key, files, role) = ("link".to_owned(), &config.link_identity, Some(Role::Edge));
    let link = One { key, files, purpose: Purpose::Server, domains: &[], role };
    shown.show(&link, now);
    shown.show_trust(&link, "link.trust", config.load_link_trust().as_ref(), now);
    let lists = revocations.as_ref().map(|lists| lists.as_deref());
    shown.show_lists("xmpp.crl", lists, now);
    if config.xmpp_names.domains.is_empty() {
        command::complain(
            "xmpp: no domain is named in `xmpp.domains`: none is known to be missing",
        );
    }
    shown.into_result()
}

fn dns_name(text: &str) -> Result<Domain, String> {
    let name: Domain = text.parse().map_err(|_| "it is no domain name".to_owned())?;
    let is_right = crate::config::is_dns_name(&name);
    is_right.then_some(name).ok_or_else(|| "it is no domain name of two labels or more".into())
}

/// Refuses a configuration with which an answer could not be checked or put into place.
fn check(subject: &Subject<'_>) -> Result<(), Failure> {
    let message = if subject.names.domains.is_empty() {
        "`xmpp.domains` is empty: it is to have every domain that the certificate must name"
    } else if subject.files.certificate == subject.files.key {
        "the certificate and its key are one file, which cannot be replaced safely"
    } else {
        return Ok(());
    };
    Err(Failure::new(Cause::Configuration, message))
}

fn unwritten(error: WriteError) -> Failure {
    Failure::new(Cause::Output, error)
}
