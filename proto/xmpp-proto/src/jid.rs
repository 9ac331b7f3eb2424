//! XMPP addresses (RFC 7622): prepared once, compared octet by octet ever after.
//!
//! The localpart rests on the tables of the `jid` crate, which prepares by the older RFC 6122; what
//! that would fold or refuse against RFC 7622 is settled here. The domainpart rests on `idna`.

mod domain;
mod localpart;
mod resourcepart;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

pub use domain::Domain;

/// RFC 7622 s.3.2 to s.3.4: no part of a JID is longer, in octets, nor empty.
const PART_BYTES_MAX: usize = 1023;
/// No preparation shortens a part by more than this allows, and none is tried on more.
const UNPREPARED_BYTES_MAX: usize = 4 * PART_BYTES_MAX;

/// Why a string is no JID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JidError {
    /// The domainpart is empty, too long, or no domain name or IP address (RFC 7622 s.3.2).
    #[error("malformed domainpart")]
    Domainpart,
    /// The localpart is empty, too long, or has a character that it must not have
    /// (RFC 7622 s.3.3, XEP-0106 s.4.1).
    #[error("malformed localpart")]
    Localpart,
    /// The resourcepart is empty, too long, or has a character that it must not have
    /// (RFC 7622 s.3.4).
    #[error("malformed resourcepart")]
    Resourcepart,
}

/// An XMPP address: a domain, perhaps somebody there, perhaps one resource of theirs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jid {
    domain: Domain,
    localpart: Option<Box<str>>,
    resourcepart: Option<Box<str>>,
}

impl Jid {
    /// Reads and prepares an address.
    ///
    /// # Errors
    ///
    /// The first part that breaks a rule of RFC 7622, or the rule of XEP-0106 that `\20` neither
    /// begins nor ends a localpart.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        // RFC 7622 s.3.1: the resourcepart is split off first, then the localpart.
        let (bare, resourcepart) = match text.split_once('/') {
            Some((bare, resourcepart)) => (bare, Some(resourcepart)),
            None => (text, None),
        };
        let (localpart, domain) = match bare.split_once('@') {
            Some((localpart, domain)) => (Some(localpart), domain),
            None => (None, bare),
        };
        Ok(Self {
            domain: Domain::parse(domain)?,
            localpart: localpart.map(localpart::prepare).transpose()?,
            resourcepart: resourcepart.map(resourcepart::prepare).transpose()?,
        })
    }

    /// The part before `@`.
    pub fn localpart(&self) -> Option<&str> {
        self.localpart.as_deref()
    }

    /// The domainpart.
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The part behind the first `/`.
    pub fn resourcepart(&self) -> Option<&str> {
        self.resourcepart.as_deref()
    }

    /// The address without its resourcepart.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self { domain: self.domain.clone(), localpart: self.localpart.clone(), resourcepart: None }
    }
}

impl FromStr for Jid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        Self::parse(text)
    }
}

impl From<Domain> for Jid {
    fn from(domain: Domain) -> Self {
        Self { domain, localpart: None, resourcepart: None }
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(localpart) = &self.localpart {
            write!(formatter, "{localpart}@")?;
        }
        formatter.write_str(self.domain.as_str())?;
        if let Some(resourcepart) = &self.resourcepart {
            write!(formatter, "/{resourcepart}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Jid({})", self.to_string().escape_debug())
    }
}

/// The part, if its length is within the limits.
fn bounded(part: String, error: JidError) -> Result<Box<str>, JidError> {
    if part.is_empty() || part.len() > PART_BYTES_MAX {
        return Err(error);
    }
    Ok(part.into_boxed_str())
}

#[cfg(test)]
mod tests;
