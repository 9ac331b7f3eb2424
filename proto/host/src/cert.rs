//! `cert show`: what the certificates of a process are, and what of them is missing or ends soon.

use link::role::Role;
use rustls::pki_types::UnixTime;
use xmpp_proto::jid::Domain;

use crate::command;
use crate::exit::{Cause, Failure, Findings};
use crate::tls::{
    Details, IdentityError, IdentityFiles, PeerIdentity, Purpose, RevocationLists, TrustAnchors,
    Untrusted,
};

/// A certificate with fewer whole days left needs care.
const DAYS_LEFT_MIN: i64 = 14;

/// What is wrong with the certificates that were shown.
#[derive(Debug, Default)]
pub struct Shown {
    findings: Findings,
    unreadable: Findings,
}

impl Shown {
    /// Shows a certificate.
    pub fn show(&mut self, one: &One<'_>, now: UnixTime) {
        self.unreadable.take(one.show(now, &mut self.findings));
    }

    /// Shows what those who trust `anchors`, which are those of `trust_key`, think of it.
    pub fn show_trust(
        &mut self,
        one: &One<'_>,
        trust_key: &str,
        anchors: Result<&TrustAnchors, &IdentityError>,
        now: UnixTime,
    ) {
        let Some(anchors) = self.unreadable.take(anchors) else { return };
        self.unreadable.take(one.show_trust(trust_key, anchors, now, &mut self.findings));
    }

    /// Shows authorities that others are checked against.
    pub fn show_authorities(&mut self, key: &str, files: &[std::path::PathBuf], now: UnixTime) {
        for file in files {
            let Some(found) = self.unreadable.take(Details::certificates(file)) else { continue };
            command::say(&format!("{key}: {}", file.display()));
            for authority in found.iter().filter_map(Details::read) {
                let (_, last_day) = authority.validity();
                say("subject", &format!("{}, until {last_day}", authority.subject));
                let days = authority.days_left(now);
                if days < DAYS_LEFT_MIN {
                    let subject = &authority.subject;
                    self.findings.add(format!(
                        "{key}: the authority {subject} ends on {last_day}, in {days} days"
                    ));
                }
            }
        }
    }

    /// Shows revocation lists.
    pub fn show_lists(
        &mut self,
        key: &str,
        lists: Result<Option<&RevocationLists>, &IdentityError>,
        now: UnixTime,
    ) {
        let lists = self.unreadable.take(lists).flatten();
        for list in lists.iter().flat_map(|lists| lists.details()) {
            command::say(&format!("{key}: {}", list.file.display()));
            say("issuer", &list.issuer);
            say("revoked", &format!("{} certificates", list.count));
            say("next", &format!("on {}", list.last_day()));
            if list.is_expired(now) {
                let (issuer, day) = (&list.issuer, list.last_day());
                self.findings.add(format!(
                    "{key}: the list of {issuer} is out of date since {day}, and used all the same"
                ));
            }
        }
    }

    /// Ends the command: with everything that could not be read (66), or that needs care (77).
    ///
    /// # Errors
    /// Fails when there is anything of that.
    pub fn into_result(self) -> Result<(), Failure> {
        let is_readable = self.unreadable.is_empty();
        let problems = self.findings.into_failure(Cause::Refused);
        if is_readable && problems.message.is_empty() {
            return Ok(());
        }
        let cause = if is_readable { problems.cause } else { Cause::Input };
        let mut failure = self.unreadable.into_failure(cause);
        let lines = [failure.message, problems.message];
        let said: Vec<String> = lines.into_iter().filter(|it| !it.is_empty()).collect();
        failure.message = said.join("\n");
        Err(failure)
    }
}

/// One certificate of ours.
#[derive(Clone, Debug)]
pub struct One<'a> {
    /// What the configuration calls it.
    pub key: String,
    /// Its file and its key's.
    pub files: &'a IdentityFiles,
    /// Who is to show it.
    pub purpose: Purpose,
    /// What it must name.
    pub domains: &'a [Domain],
    /// The role of the link that it must give.
    pub role: Option<Role>,
}

impl One<'_> {
    fn show(&self, now: UnixTime, findings: &mut Findings) -> Result<(), IdentityError> {
        let chain = Details::certificates(&self.files.certificate)?;
        let mut find = |problem: String| findings.add(format!("{}: {problem}", self.key));
        let Some(leaf) = chain.first().and_then(Details::read) else {
            find(format!("{} holds no certificate", self.files.certificate.display()));
            return Ok(());
        };
        command::say(&format!("{}: {}", self.key, self.files.certificate.display()));
        self.show_leaf(&leaf, now, &mut find);
        let pending = self.files.pending_key();
        if pending.exists() {
            say("pending", &format!("{} waits for its certificate", pending.display()));
        }
        let ours = self.files.load()?;
        if let Some(role) = self.role {
            match ours.name_in(role) {
                Some(name) => say("role", &format!("spiffe://isthmus/{role}/{name}")),
                None => find(format!("it gives no {role} role, or another one too")),
            }
        }
        Ok(())
    }

    /// Shows whether the chain is trusted and names what it must.
    fn show_trust(
        &self,
        trust_key: &str,
        anchors: &TrustAnchors,
        now: UnixTime,
        findings: &mut Findings,
    ) -> Result<(), IdentityError> {
        let mut find = |problem: String| findings.add(format!("{}: {problem}", self.key));
        let chain = Details::certificates(&self.files.certificate)?;
        let details: Vec<Details> = chain.iter().filter_map(Details::read).collect();
        if details.is_empty() {
            return Ok(());
        }
        let identity = PeerIdentity::examine_as(self.purpose, &chain, anchors, now);
        self.show_chain(&details, trust_key, &identity, now, &mut find);
        for domain in self.domains.iter().filter(|domain| !identity.names(domain)) {
            find(format!("the certificate does not name {domain}"));
        }
        Ok(())
    }

    fn show_leaf(&self, leaf: &Details, now: UnixTime, find: &mut impl FnMut(String)) {
        let (first_day, last_day) = leaf.validity();
        let days = leaf.days_left(now);
        say("subject", &leaf.subject);
        say("issuer", &leaf.issuer);
        say("valid", &format!("from {first_day} to {last_day}, {days} days left"));
        let usages = leaf.usages.join(", ");
        say("usages", if usages.is_empty() { "any" } else { &usages });
        say("names", &leaf.names.join(", "));
        if leaf.is_expired(now) {
            find(format!("the certificate has expired, on {last_day}"));
        } else if leaf.is_not_yet_valid(now) {
            find(format!("the certificate is not valid before {first_day}"));
        } else if days < DAYS_LEFT_MIN {
            find(format!("the certificate expires on {last_day}, in {days} days"));
        }
        if !leaf.is_for(self.purpose) {
            let whose = self.purpose.word();
            find(format!("the certificate is not for {whose}: its usages are {usages}"));
        }
    }

    fn show_chain(
        &self,
        chain: &[Details],
        trust_key: &str,
        identity: &PeerIdentity,
        now: UnixTime,
        find: &mut impl FnMut(String),
    ) {
        let count = chain.len();
        let Err(untrusted) = identity.trust() else {
            say("chain", &format!("{count} certificates, below an authority that is trusted"));
            return;
        };
        let top = chain.last().map(|top| top.issuer.as_str()).unwrap_or_default();
        say("chain", &format!("{count} certificates, issued by {top} at the top, not trusted"));
        let is_said = chain.first().is_some_and(|leaf| {
            leaf.is_expired(now) || leaf.is_not_yet_valid(now) || !leaf.is_for(self.purpose)
        });
        match untrusted {
            Untrusted::UnknownIssuer => find(format!(
                "{top} at the top of the chain is no authority of `{trust_key}`: perhaps a \
                 certificate is missing"
            )),
            Untrusted::Expired(_)
            | Untrusted::NotYetValid(_)
            | Untrusted::WrongUsage(_)
            | Untrusted::Invalid(_)
                if is_said => {}
            other => find(other.to_string()),
        }
    }
}

fn say(what: &str, text: &str) {
    command::say(&format!("  {what:<8} {text}"));
}
