//! `cert install`: the authority's answer, checked, and put into place with its key.

use std::path::Path;

use host::command;
use host::exit::{Cause, Failure};
use host::tls::{Answer, Details, IdentityError, IdentityFiles, Misfit, OwnKey};
use rustls::pki_types::{CertificateDer, UnixTime};

use super::Subject;
use crate::config::Config;

/// Which key an answer is for.
enum Whose {
    /// The one that waits.
    Pending,
    /// The one in use: the certificate alone is renewed.
    InUse,
}

/// Checks the certificates in `file` and puts them into place.
pub(super) fn install(
    config: &Config,
    subject: &Subject<'_>,
    file: &Path,
    now: UnixTime,
) -> Result<(), Failure> {
    super::check(subject)?;
    let unreadable = |error: IdentityError| Failure::new(Cause::Input, error);
    let (files, domains) = (subject.files, &subject.names.domains);
    let came = Details::certificates(file).map_err(unreadable)?;
    let anchors = config.load_xmpp_trust().map_err(unreadable)?;
    let (whose, key) = key_of(&came, files, file)?;
    let examined = Answer::examine(&came, &key, domains, subject.purpose, &anchors, now);
    let answer = examined.map_err(|misfits| refused(file, &misfits))?;
    let chain = answer.pem();
    match whose {
        Whose::InUse if is_in_use(files, &answer.chain) => {
            command::say(&format!("{} is in use already", file.display()));
            return Ok(());
        }
        Whose::InUse => files.replace_certificate(&chain).map_err(super::unwritten)?,
        Whose::Pending => files.replace_both(&chain).map_err(super::unwritten)?,
    }
    report(subject, &answer, &whose, now);
    Ok(())
}

/// Finds the key that one of the certificates is about: the one that waits, or the one in use.
fn key_of(
    came: &[CertificateDer<'static>],
    files: &IdentityFiles,
    file: &Path,
) -> Result<(Whose, OwnKey), Failure> {
    let pending = files.pending_key();
    let mut tried = Vec::new();
    for (whose, path) in [(Whose::Pending, &pending), (Whose::InUse, &files.key)] {
        if !path.exists() {
            continue;
        }
        let keys = OwnKey::load(path).map_err(|error| Failure::new(Cause::Input, error))?;
        let fits = |key: &OwnKey| came.iter().any(|certificate| key.fits(certificate));
        if let Some(key) = keys.into_iter().find(fits) {
            return Ok((whose, key));
        }
        tried.push(path.display().to_string());
    }
    if tried.is_empty() {
        let (pending, key) = (pending.display(), files.key.display());
        let message = format!("there is no key: neither {pending}, which waits, nor {key}");
        return Err(Failure::new(Cause::Input, message));
    }
    let keys = tried.join(" or ");
    let message = format!("{} is refused: {} in {keys}", file.display(), Misfit::OtherKey);
    Err(Failure::new(Cause::Refused, message))
}

fn refused(file: &Path, misfits: &[Misfit]) -> Failure {
    let line = |misfit: &Misfit| format!("{} is refused: {misfit}", file.display());
    let lines: Vec<String> = misfits.iter().map(line).collect();
    Failure::new(Cause::Refused, lines.join("\n"))
}

fn is_in_use(files: &IdentityFiles, chain: &[CertificateDer<'static>]) -> bool {
    Details::certificates(&files.certificate).is_ok_and(|in_use| in_use == chain)
}

fn report(subject: &Subject<'_>, answer: &Answer, whose: &Whose, now: UnixTime) {
    let files = subject.files;
    if answer.was_rearranged {
        command::complain("the certificates were put in order, without those that do not belong");
    }
    if answer.has_unknown_issuer {
        let top = answer.chain.last().and_then(Details::read);
        let issuer = top.map(|top| top.issuer).unwrap_or_default();
        command::complain(&format!(
            "warning: no authority that this edge trusts stands above the chain, which ends with \
             one issued by {issuer}: partners may not trust it either, or one is missing"
        ));
    }
    for host in subject.names.host_names.iter().filter(|host| !answer.names(host)) {
        command::complain(&format!("warning: it does not name {host}"));
    }
    let (_, last_day) = answer.details.validity();
    let days = answer.details.days_left(now);
    command::say(&format!("{}: valid until {last_day}, {days} days", files.certificate.display()));
    if let Whose::Pending = whose {
        command::say(&format!("{}: the key that waited", files.key.display()));
    }
    let old = files.old();
    command::say(&format!(
        "the old ones, if any: {}, {}",
        old.certificate.display(),
        old.key.display()
    ));
    command::say("put it into use: systemctl reload edge-proxy, or SIGHUP; streams stay");
}
