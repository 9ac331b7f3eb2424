//! XMPP addresses (RFC 7622): prepared once, compared octet by octet ever after.
//!
//! The localpart rests on the tables of the `jid` crate, which prepares by the older RFC 6122; what
//! that would fold or refuse against RFC 7622 is settled here. The domainpart rests on `idna`.

mod domain;
mod localpart;
mod resourcepart;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use memchr::memchr;
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
///
/// A clone, the bare address and the domain share one text.
#[derive(Clone)]
pub struct Jid {
    /// A part of the shared text, in which the address is what surrounds the domain.
    domain: Domain,
    start: usize,
    end: usize,
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
        let (bare, resourcepart) = match split_once(text, b'/') {
            Some((bare, resourcepart)) => (bare, Some(resourcepart)),
            None => (text, None),
        };
        let (localpart, domain) = match split_once(bare, b'@') {
            Some((localpart, domain)) => (Some(localpart), domain),
            None => (None, bare),
        };
        let domain = domain::prepare(domain)?;
        let localpart = localpart.map(localpart::prepare).transpose()?;
        let resourcepart = resourcepart.map(resourcepart::prepare).transpose()?;
        let domain_start = localpart.as_ref().map_or(0, |localpart| localpart.len() + 1);
        let domain_end = domain_start + domain.len();
        let text: Arc<str> = match (&localpart, &domain, &resourcepart) {
            // Each part stayed as it was, and so does the whole.
            (None | Some(Cow::Borrowed(_)), Cow::Borrowed(_), None | Some(Cow::Borrowed(_))) => {
                Arc::from(text)
            }
            _ => Arc::from(joined(localpart.as_deref(), &domain, resourcepart.as_deref())),
        };
        let end = text.len();
        Ok(Self { domain: Domain { text, start: domain_start, end: domain_end }, start: 0, end })
    }

    /// The prepared text.
    pub fn as_str(&self) -> &str {
        self.part(self.start, self.end)
    }

    /// The part before `@`.
    pub fn localpart(&self) -> Option<&str> {
        (self.start < self.domain.start).then(|| self.part(self.start, self.domain.start - 1))
    }

    /// The domainpart.
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The part behind the first `/`.
    pub fn resourcepart(&self) -> Option<&str> {
        (self.domain.end < self.end).then(|| self.part(self.domain.end + 1, self.end))
    }

    /// The address without its resourcepart.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self { domain: self.domain.clone(), start: self.start, end: self.domain.end }
    }

    /// The parts in the order in which addresses are sorted and hashed.
    fn parts(&self) -> (&str, Option<&str>, Option<&str>) {
        (self.domain.as_str(), self.localpart(), self.resourcepart())
    }

    fn part(&self, start: usize, end: usize) -> &str {
        self.domain.text.get(start..end).unwrap_or_default()
    }
}

/// Prepared parts are what their text makes of them: equal texts are equal addresses.
impl PartialEq for Jid {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Jid {}

impl PartialOrd for Jid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Jid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl Hash for Jid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
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
        Self { start: domain.start, end: domain.end, domain }
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Jid({})", self.as_str().escape_debug())
    }
}

/// Splits at the first `delimiter`, which is ASCII.
fn split_once(text: &str, delimiter: u8) -> Option<(&str, &str)> {
    let at = memchr(delimiter, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// The text of an address of these parts.
fn joined(localpart: Option<&str>, domain: &str, resourcepart: Option<&str>) -> String {
    let parts = [localpart.unwrap_or_default(), domain, resourcepart.unwrap_or_default()];
    let mut text = String::with_capacity(parts.map(str::len).iter().sum::<usize>() + 2);
    if let Some(localpart) = localpart {
        text.push_str(localpart);
        text.push('@');
    }
    text.push_str(domain);
    if let Some(resourcepart) = resourcepart {
        text.push('/');
        text.push_str(resourcepart);
    }
    text
}

/// The part, if its length is within the limits.
fn bounded(part: Cow<'_, str>, error: JidError) -> Result<Cow<'_, str>, JidError> {
    if part.is_empty() || part.len() > PART_BYTES_MAX {
        return Err(error);
    }
    Ok(part)
}

#[cfg(test)]
mod tests;
