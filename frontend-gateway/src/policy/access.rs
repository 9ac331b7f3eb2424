//! External access policies: the nearest of user, site and global counts, and counts whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use xmpp_proto::jid::{Domain, Jid};

/// What a policy lets its users do (New-CsExternalAccessPolicy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Talk to any partner at all.
    pub federation: bool,
    /// Talk to XMPP partners; needs `federation` as well.
    pub xmpp: bool,
}

/// Where a policy was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'p> {
    /// Granted to the user, by the policy's name.
    User(&'p str),
    /// The user's site.
    Site(&'p str),
    /// The global policy.
    Global,
    /// There is no policy at all: nothing is allowed.
    None,
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "the user policy \"{name}\""),
            Self::Site(name) => write!(f, "the policy of site \"{name}\""),
            Self::Global => f.write_str("the global policy"),
            Self::None => f.write_str("no external access policy (nothing is allowed)"),
        }
    }
}

/// All external access policies and who they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessPolicies {
    /// Policies granted to users, by name.
    pub user: BTreeMap<String, Access>,
    /// Which of them a user was granted.
    pub granted: BTreeMap<Jid, String>,
    /// Policies of sites, by the site's name.
    pub site: BTreeMap<String, Access>,
    /// Who belongs to a site: users, and whole domains.
    pub members: BTreeMap<Jid, String>,
    /// Domains whose users belong to a site unless they are members of another.
    pub member_domains: BTreeMap<Domain, String>,
    /// The policy for everybody else.
    pub global: Option<Access>,
}

impl AccessPolicies {
    /// Returns the policy that counts for a user (bare address), and where it was found.
    pub fn nearest(&self, user: &Jid) -> (Access, Scope<'_>) {
        let granted = self.granted.get(user);
        if let Some((name, access)) = granted.and_then(|name| self.user.get_key_value(name)) {
            return (*access, Scope::User(name));
        }
        let site = self.members.get(user).or_else(|| self.member_domains.get(user.domain()));
        if let Some((name, access)) = site.and_then(|name| self.site.get_key_value(name)) {
            return (*access, Scope::Site(name));
        }
        match self.global {
            Some(access) => (access, Scope::Global),
            None => (Access::default(), Scope::None),
        }
    }

    /// Returns the names of all sites that have members.
    pub fn sites(&self) -> BTreeSet<&str> {
        self.members.values().chain(self.member_domains.values()).map(String::as_str).collect()
    }
}
