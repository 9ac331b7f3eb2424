//! One of something for all of our domains, and others for some of them: identities, above all.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use xmpp_proto::jid::Domain;

use super::identity::{Identity, Resolver};

/// One for all of our domains, and others for some of them.
#[derive(Clone, Debug)]
pub struct ByDomain<T> {
    /// What counts where no other does.
    pub default: T,
    /// What counts for these.
    pub others: BTreeMap<Domain, T>,
}

impl<T> From<T> for ByDomain<T> {
    fn from(default: T) -> Self {
        Self { default, others: BTreeMap::new() }
    }
}

impl<T> ByDomain<T> {
    /// Returns what counts for a domain, where one is known.
    pub fn of(&self, domain: Option<&Domain>) -> &T {
        domain.and_then(|domain| self.others.get(domain)).unwrap_or(&self.default)
    }

    /// Makes something else of each.
    pub fn map<U>(&self, mut make: impl FnMut(&T) -> U) -> ByDomain<U> {
        let default = make(&self.default);
        let others = self.others.iter().map(|(domain, it)| (domain.clone(), make(it)));
        ByDomain { default, others: others.collect() }
    }

    /// Makes something else of each, which may fail.
    ///
    /// # Errors
    /// Fails with the first error.
    pub fn try_map<U, E>(
        &self,
        mut make: impl FnMut(&T) -> Result<U, E>,
    ) -> Result<ByDomain<U>, E> {
        let default = make(&self.default)?;
        let others = self.others.iter().map(|(domain, it)| Ok((domain.clone(), make(it)?)));
        Ok(ByDomain { default, others: others.collect::<Result<_, E>>()? })
    }
}

/// The identities by the names that a ClientHello may ask for.
#[derive(Clone, Debug)]
pub(super) struct ByServerName(Arc<BTreeMap<String, Arc<Resolver>>>);

impl ByServerName {
    pub(super) fn new(identities: &ByDomain<Identity>) -> Self {
        let others = identities.others.iter();
        let names = others.map(|(domain, it)| (domain.to_ascii().into_owned(), it.resolver()));
        Self(Arc::new(names.collect()))
    }

    /// Returns what shows the identity that is asked for, or else `fallback`.
    pub(super) fn or(&self, fallback: &Identity) -> AskedFor {
        AskedFor { names: self.clone(), fallback: fallback.resolver() }
    }
}

/// Shows the identity that a ClientHello asks for, or else another one.
#[derive(Debug)]
pub(super) struct AskedFor {
    names: ByServerName,
    fallback: Arc<Resolver>,
}

impl ResolvesServerCert for AskedFor {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let asked_for = name.and_then(|name| self.names.0.get(&name));
        Some(asked_for.unwrap_or(&self.fallback).server())
    }
}

#[cfg(test)]
mod tests;
