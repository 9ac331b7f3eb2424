//! `cert show`: what the edge's certificates are, and what of them is missing or ends soon.

use host::command;
use host::exit::{Cause, Failure, Findings};
use host::tls::{Details, IdentityError, IdentityFiles, PeerIdentity, TrustAnchors, Untrusted};
use link::role::Role;
use rustls::pki_types::UnixTime;
use xmpp_proto::jid::Domain;

use crate::config::Config;

/// A certificate with fewer whole days left needs care.
const DAYS_LEFT_MIN: i64 = 14;

/// Shows both identities; fails with everything about them that needs care.
pub(super) fn show(config: &Config, now: UnixTime) -> Result<(), Failure> {
    let mut findings = Findings::default();
    let mut unreadable = Findings::default();
    let domains = &config.xmpp_names.domains;
    let xmpp = One { key: "xmpp", files: &config.xmpp_identity, domains, role: None };
    let link =
        One { key: "link", files: &config.link_identity, domains: &[], role: Some(Role::Edge) };
    for (one, anchors) in [(xmpp, config.load_xmpp_trust()), (link, config.load_link_trust())] {
        unreadable.take(one.show(anchors, now, &mut findings));
    }
    if domains.is_empty() {
        command::complain(
            "xmpp: no domain is named in `xmpp.domains`: none is known to be missing",
        );
    }
    let (problems, is_readable) = (findings.into_failure(Cause::Refused), unreadable.is_empty());
    if is_readable && problems.message.is_empty() {
        return Ok(());
    }
    let mut failure =
        unreadable.into_failure(if is_readable { problems.cause } else { Cause::Input });
    let lines = [failure.message, problems.message];
    let said: Vec<String> = lines.into_iter().filter(|it| !it.is_empty()).collect();
    failure.message = said.join("\n");
    Err(failure)
}

/// One identity of the edge.
struct One<'a> {
    /// The table of the configuration.
    key: &'static str,
    files: &'a IdentityFiles,
    domains: &'a [Domain],
    role: Option<Role>,
}

impl One<'_> {
    fn show(
        &self,
        anchors: Result<TrustAnchors, IdentityError>,
        now: UnixTime,
        findings: &mut Findings,
    ) -> Result<(), IdentityError> {
        let chain = Details::certificates(&self.files.certificate)?;
        let identity = PeerIdentity::examine(&chain, &anchors?, now);
        let details: Vec<Details> = chain.iter().filter_map(Details::read).collect();
        let mut find = |problem: String| findings.add(format!("{}: {problem}", self.key));
        let Some(leaf) = details.first() else {
            find(format!("{} holds no certificate", self.files.certificate.display()));
            return Ok(());
        };
        command::say(&format!("{}: {}", self.key, self.files.certificate.display()));
        self.show_leaf(leaf, now, &mut find);
        self.show_trust(&details, &identity, now, &mut find);
        for domain in self.domains.iter().filter(|domain| !identity.names(domain)) {
            find(format!("the certificate does not name {domain}"));
        }
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
        if !leaf.is_for_servers() {
            find(format!("the certificate is not for servers: its usages are {usages}"));
        }
    }

    fn show_trust(
        &self,
        chain: &[Details],
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
            leaf.is_expired(now) || leaf.is_not_yet_valid(now) || !leaf.is_for_servers()
        });
        match untrusted {
            Untrusted::UnknownIssuer => find(format!(
                "{top} at the top of the chain is no authority of `{}.trust`: perhaps a \
                 certificate is missing",
                self.key
            )),
            Untrusted::Invalid(_) if is_said => {}
            other => find(other.to_string()),
        }
    }
}

fn say(what: &str, text: &str) {
    command::say(&format!("  {what:<8} {text}"));
}
