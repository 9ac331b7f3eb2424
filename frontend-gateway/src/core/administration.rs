//! Commands of administrators: the policy and the home's users changed, decisions explained, edges
//! and partners shown.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use xmpp_proto::jid::Jid;

use super::{Core, CoreEffect};
use crate::clock::Now;
use crate::policy::{Policy, change, document};
use crate::store::Write;
use crate::store::record::{PolicyVersion, User};

/// A command.
#[derive(Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Shows what a policy document would change.
    Plan {
        /// The name of the document, for its errors.
        file: String,
        /// The document.
        policy: String,
    },
    /// Puts a policy document in force.
    Apply {
        /// The name of the document, for its errors.
        file: String,
        /// The document.
        policy: String,
    },
    /// Adds a user to the home, or gives it another password.
    UserAdd {
        /// The address, `user@domain`.
        address: String,
        /// The password; only its digests are kept.
        password: String,
        /// Only MD5 is offered to the user's devices.
        legacy_digest: bool,
    },
    /// Removes a user with all that is kept for it.
    UserRemove {
        /// The address, `user@domain`.
        address: String,
    },
    /// Lists the home's users.
    UserList,
    /// Lets a contact reach a user, or forbids it.
    UserDecide {
        /// The user, `user@domain`.
        user: String,
        /// The contact, a bare JID.
        contact: String,
        /// Whether it may.
        allowed: bool,
    },
    /// Lists the edges with their streams.
    Edges,
    /// Lists the partners.
    PartnerList,
    /// Shows a partner's record and how it is reached.
    PartnerShow {
        /// A domain of the partner.
        domain: String,
    },
    /// Shows the last attempts to open streams with a domain.
    PartnerAttempts {
        /// The domain; it need not be a partner's.
        domain: String,
        /// Only those of the edges of this name.
        edge: Option<String>,
        /// How many are shown.
        last: usize,
    },
    /// Shows each gate between two addresses with its verdict.
    Explain {
        /// Who sends.
        from: String,
        /// Who is to receive.
        to: String,
    },
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is done.
    Done,
    /// It asks for what cannot be; nothing has changed.
    Refused,
    /// The policy document has errors; nothing has changed.
    Invalid,
    /// The store could not be written; nothing has changed.
    NotStored,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// What became of it.
    pub outcome: Outcome,
    /// For the administrator.
    pub text: String,
}

/// What follows a commit.
#[derive(Debug)]
pub(super) enum AdminStep {
    /// A policy is stored: it is in force.
    Apply { reply: u64, policy: Box<Policy>, version: u64, text: String },
    /// A user is stored: it may register.
    AddUser { reply: u64, user: User },
    /// A user is not in the store: it is forgotten.
    RemoveUser { reply: u64, user: Jid },
    /// A decision is stored: it counts.
    Decide { reply: u64, user: Jid, contact: Jid, allowed: bool },
    /// A policy could not be stored: the one before stays in force.
    NotApplied { reply: u64 },
    /// The store could not be written.
    Failed { reply: u64 },
}

/// Returns the write that keeps a version of the policy document.
pub(super) fn policy_write(version: u64, text: String, now: Now) -> Write {
    Write::PutPolicy(PolicyVersion { version, text, applied_ms: now.unix_ms })
}

pub(super) type Refused = Reply;

impl Core {
    /// Takes a command; `reply` names its answer.
    pub fn handle_command(&mut self, reply: u64, command: Command, now: Now) {
        let answer = match command {
            Command::Plan { file, policy } => self.plan(&file, &policy),
            Command::Apply { file, policy } => self.apply(reply, &file, policy, now),
            Command::UserAdd { address, password, legacy_digest } => {
                self.add_user(reply, &address, &password, legacy_digest)
            }
            Command::UserRemove { address } => self.remove_user(reply, &address),
            Command::UserList => Ok(Some(self.list_users(now))),
            Command::UserDecide { user, contact, allowed } => {
                self.decide(reply, &user, &contact, allowed)
            }
            Command::Edges => Ok(Some(self.gateway.describe_edges(now))),
            Command::PartnerList => Ok(Some(self.list_partners())),
            Command::PartnerShow { domain } => self.show_partner(&domain, now),
            Command::PartnerAttempts { domain, edge, last } => {
                self.show_attempts(&domain, edge.as_deref(), last, now)
            }
            Command::Explain { from, to } => self.answer_explain(&from, &to, now),
        };
        match answer {
            Ok(Some(text)) => self.reply(reply, Outcome::Done, text),
            Ok(None) => {}
            Err(refused) => self.reply(reply, refused.outcome, refused.text),
        }
        self.settle_down(now);
    }

    pub(super) fn handle_step(&mut self, step: AdminStep, now: Now) {
        match step {
            AdminStep::Apply { reply, policy, version, text } => {
                self.applying = false;
                let before = std::mem::replace(&mut self.policy, *policy);
                self.policy_version = version;
                self.next_hops.set_policy(&self.policy, now);
                // Whoever serves them now knows nothing of the subscriptions.
                let (old, new) = (&before.local_domains, &self.policy.local_domains);
                let has_moved = |user: &Jid| old.get(user.domain()) != new.get(user.domain());
                self.gateway.handle_restarted(has_moved, now);
                self.push_admission();
                tracing::info!(version, "a policy is in force");
                self.reply(reply, Outcome::Done, text);
            }
            AdminStep::AddUser { reply, user } => {
                let text = format!("{} may register", user.address);
                self.home.insert_user(&user);
                self.reply(reply, Outcome::Done, text);
            }
            AdminStep::RemoveUser { reply, user } => {
                self.home.remove_user(&user, now);
                self.gateway.remove_user(&user, now);
                self.contacts.remove_user(&user);
                self.reply(reply, Outcome::Done, format!("{user} is removed"));
            }
            AdminStep::Decide { reply, user, contact, allowed } => {
                self.contacts.insert(&user, &contact, allowed);
                self.home.handle_decision(&user, &contact, allowed, now);
                let what = if allowed { "allowed" } else { "denied" };
                self.reply(reply, Outcome::Done, format!("{contact} is {what} for {user}"));
            }
            AdminStep::NotApplied { reply } => {
                self.applying = false;
                self.reply_not_stored(reply);
            }
            AdminStep::Failed { reply } => self.reply_not_stored(reply),
        }
    }

    fn reply(&mut self, reply: u64, outcome: Outcome, text: String) {
        self.effects.push_back(CoreEffect::Reply(reply, Reply { outcome, text }));
    }

    fn reply_not_stored(&mut self, reply: u64) {
        let text = "the store could not be written; see the log".to_owned();
        self.reply(reply, Outcome::NotStored, text);
    }

    fn plan(&self, file: &str, text: &str) -> Result<Option<String>, Refused> {
        let (policy, warnings) = self.read(file, text)?;
        let changes = change::changes(&self.policy, &policy);
        let version = self.policy_version;
        let head = match changes.len() {
            0 => format!("nothing would change: version {version} says the same"),
            count => format!("{count} changes to version {version}:"),
        };
        let lines = warnings.into_iter().chain([head]).chain(changes);
        Ok(Some(lines.collect::<Vec<_>>().join("\n")))
    }

    fn apply(
        &mut self,
        reply: u64,
        file: &str,
        text: String,
        now: Now,
    ) -> Result<Option<String>, Refused> {
        let (policy, warnings) = self.read(file, &text)?;
        let changes = change::changes(&self.policy, &policy);
        if changes.is_empty() {
            return Ok(Some(format!("version {} says the same", self.policy_version)));
        }
        if std::mem::replace(&mut self.applying, true) {
            return Err(refused("another document is being put in force".into()));
        }
        let version = self.policy_version + 1;
        let head = format!("version {version} is in force:");
        let lines: Vec<_> = warnings.into_iter().chain([head]).chain(changes).collect();
        let policy = Box::new(policy);
        let step = AdminStep::Apply { reply, policy, version, text: lines.join("\n") };
        let failed = AdminStep::NotApplied { reply };
        self.commits.write_then(policy_write(version, text, now), step, failed);
        Ok(None)
    }

    /// Reads a policy document; returns its warnings with it.
    fn read(&self, file: &str, text: &str) -> Result<(Policy, Vec<String>), Refused> {
        let (policy, diagnostics) = document::parse(text);
        let path = Path::new(file);
        let mut lines: Vec<String> =
            diagnostics.iter().map(|finding| finding.display(path).to_string()).collect();
        let lacking =
            policy.as_ref().map(|policy| self.provision.lacks(policy)).unwrap_or_default();
        match policy {
            Some(policy) if lacking.is_empty() => Ok((policy, lines)),
            Some(_) | None => {
                lines.extend(lacking.into_iter().map(|it| format!("{file}: error: {it}")));
                Err(Reply { outcome: Outcome::Invalid, text: lines.join("\n") })
            }
        }
    }

    fn add_user(
        &mut self,
        reply: u64,
        address: &str,
        password: &str,
        legacy: bool,
    ) -> Result<Option<String>, Refused> {
        let address = bare(address)?;
        if !self.policy.is_home(address.domain()) {
            let domain = address.domain();
            return Err(refused(format!("{domain} is no local domain that the home serves")));
        }
        let user = self.home.make_user(&address, password, legacy);
        let user = user.map_err(|error| refused(error.to_string()))?;
        self.store(Write::PutUser(user.clone()), reply, AdminStep::AddUser { reply, user });
        Ok(None)
    }

    fn remove_user(&mut self, reply: u64, address: &str) -> Result<Option<String>, Refused> {
        let user = self.known_user(address)?;
        let write = Write::RemoveUser { address: user.to_string() };
        self.store(write, reply, AdminStep::RemoveUser { reply, user });
        Ok(None)
    }

    fn list_users(&self, now: Now) -> String {
        let lines = self.home.accounts().all().map(|(user, algorithms)| {
            let algorithms: Vec<_> =
                algorithms.into_iter().map(sip_proto::auth::Algorithm::as_str).collect();
            let online = if self.home.is_registered(user, now) { "registered" } else { "away" };
            format!("{user}\t{online}\t{}", algorithms.join(", "))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn decide(
        &mut self,
        reply: u64,
        user: &str,
        contact: &str,
        allowed: bool,
    ) -> Result<Option<String>, Refused> {
        let (user, contact) = (self.deciding_user(user)?, bare(contact)?);
        let write = self.contacts.write(&user, &contact, allowed);
        match write.map_err(|error| refused(error.to_string()))? {
            Some(write) => {
                self.store(write, reply, AdminStep::Decide { reply, user, contact, allowed });
                Ok(None)
            }
            None => Ok(Some("nothing changes".into())),
        }
    }

    fn answer_explain(&self, from: &str, to: &str, now: Now) -> Result<Option<String>, Refused> {
        let (from, to) = (bare(from)?, bare(to)?);
        let explanation = self.explain(&from, &to, now);
        match explanation.passes {
            true => Ok(Some(explanation.text)),
            false => Err(refused(explanation.text)),
        }
    }

    fn store(&mut self, write: Write, reply: u64, step: AdminStep) {
        self.commits.write_then(write, step, AdminStep::Failed { reply });
    }

    fn known_user(&self, address: &str) -> Result<Jid, Refused> {
        let user = bare(address)?;
        match self.home.accounts().has(&user) {
            true => Ok(user),
            false => Err(refused(format!("{user} is no user of the home"))),
        }
    }

    /// Returns a user who may decide about contacts; those of a next hop are known to it alone.
    fn deciding_user(&self, address: &str) -> Result<Jid, Refused> {
        let user = bare(address)?;
        match self.policy.next_hop(user.domain()) {
            Some(_) => Ok(user),
            None => self.known_user(address),
        }
    }
}

pub(super) fn refused(text: String) -> Refused {
    Reply { outcome: Outcome::Refused, text }
}

fn bare(text: &str) -> Result<Jid, Refused> {
    let jid = Jid::parse(text).map_err(|error| refused(format!("{text:?}: {error}")))?;
    match jid.localpart() {
        Some(_) => Ok(jid.bare()),
        None => Err(refused(format!("{text:?} names a domain, not a user"))),
    }
}

// Without what a command carries: one of them carries a password.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plan { .. } => "plan",
            Self::Apply { .. } => "apply",
            Self::UserAdd { .. } => "user add",
            Self::UserRemove { .. } => "user remove",
            Self::UserList => "user list",
            Self::UserDecide { .. } => "user allow or deny",
            Self::Edges => "edges",
            Self::PartnerList => "partner list",
            Self::PartnerShow { .. } => "partner show",
            Self::PartnerAttempts { .. } => "partner attempts",
            Self::Explain { .. } => "explain",
        })
    }
}
