//! The commands that look after the edge's certificates: asked for, installed, shown.
//!
//! A request makes a key that waits beside the one in use. Installing the answer of the authority
//! puts both into place; the running edge takes them at SIGHUP, for new connections alone.

mod install;
mod request;
mod show;

use std::path::PathBuf;

use clap::Subcommand;
use host::exit::{Cause, Failure};
use host::tls::WriteError;
use rustls::pki_types::UnixTime;
use xmpp_proto::jid::Domain;

use crate::config::Config;

/// What is to be done with certificates.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Makes a key that waits beside the one in use, and writes a request (PKCS #10, PEM) for it.
    ///
    /// It names `xmpp.host_names`, each of `xmpp.domains`, and `sip.<domain>` for each of them.
    Request {
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
        /// The certificate and those above it, in PEM, in any order.
        file: PathBuf,
    },
    /// Shows the certificates for partners and of the link; ends with 77 when something is missing, or
    /// ends within 14 days.
    Show,
}

/// Does what was asked for, with the files that the configuration names.
///
/// # Errors
/// Fails with 66 when a file cannot be read, 73 when one cannot be written, 77 when an answer is
/// refused or a certificate needs care, 78 when the configuration has no names to ask for.
pub fn run(action: &Action, config: &Config) -> Result<(), Failure> {
    match action {
        Action::Request { rsa, srv_id, no_sip, more_names, out } => {
            let wish = request::Wish {
                names: request::Names::new(&config.xmpp_names, more_names, !no_sip),
                is_rsa: *rsa,
                has_srv_ids: *srv_id,
            };
            request::write(config, &wish, out.as_deref())
        }
        Action::Install { file } => install::install(config, file, UnixTime::now()),
        Action::Show => show::show(config, UnixTime::now()),
    }
}

fn dns_name(text: &str) -> Result<Domain, String> {
    let name: Domain = text.parse().map_err(|_| "it is no domain name".to_owned())?;
    let is_right = crate::config::is_dns_name(&name);
    is_right.then_some(name).ok_or_else(|| "it is no domain name of two labels or more".into())
}

/// Refuses a configuration with which an answer could not be checked or put into place.
fn check(config: &Config) -> Result<(), Failure> {
    let files = &config.xmpp_identity;
    let message = if config.xmpp_names.domains.is_empty() {
        "`xmpp.domains` is empty: it is to have every domain that the certificate must name"
    } else if files.certificate == files.key {
        "`xmpp.certificate` and `xmpp.key` are one file, which cannot be replaced safely"
    } else {
        return Ok(());
    };
    Err(Failure::new(Cause::Configuration, message))
}

fn unwritten(error: WriteError) -> Failure {
    Failure::new(Cause::Output, error)
}
