//! The domainpart (RFC 7622 s.3.2): who a server is.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use crate::jid::{JidError, PART_BYTES_MAX, UNPREPARED_BYTES_MAX};

/// RFC 7622 s.3.2.1: of ASCII, letters, digits and hyphens.
const ALLOWED_ASCII: AsciiDenyList = AsciiDenyList::STD3;
/// RFC 5891 s.4.2.3.1 without its rule on `--`, which names in use break.
const HYPHENS: Hyphens = Hyphens::CheckFirstLast;
/// RFC 1034 s.3.1: octets of one label as DNS carries it.
const LABEL_BYTES_MAX: usize = 63;

/// A prepared domainpart: lower case, U-labels, no trailing dot; or an IP address.
///
/// Equal domains are equal octet by octet. A clone shares the text.
#[derive(Clone)]
pub struct Domain {
    /// The name alone, or the address that it is a part of.
    pub(super) text: Arc<str>,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Domain {
    /// Reads and prepares a domainpart that stands alone, without `@` and `/`.
    ///
    /// # Errors
    ///
    /// [`JidError::Domainpart`] where the text is neither a domain name of 1 to 1023 octets nor an
    /// IP address (IPv6 in brackets).
    pub fn parse(text: &str) -> Result<Self, JidError> {
        let text: Arc<str> = Arc::from(&*prepare(text)?);
        Ok(Self { start: 0, end: text.len(), text })
    }

    /// The prepared text.
    pub fn as_str(&self) -> &str {
        self.text.get(self.start..self.end).unwrap_or_default()
    }

    /// The name as DNS and certificates carry it, with A-labels.
    ///
    /// An IP address stays as it is.
    pub fn to_ascii(&self) -> Cow<'_, str> {
        let name = self.as_str();
        // A-labels became U-labels: what is ASCII has none, and is what it would become.
        if name.is_ascii() {
            return Cow::Borrowed(name);
        }
        to_a_labels(name).unwrap_or(Cow::Borrowed(name))
    }

    /// Whether the domainpart is an IP address instead of a name.
    pub fn is_ip_literal(&self) -> bool {
        Ipv4Addr::from_str(self.as_str()).is_ok() || parse_bracketed(self.as_str()).is_some()
    }
}

impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Domain {}

impl PartialOrd for Domain {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Domain {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Domain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl FromStr for Domain {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Self, JidError> {
        Self::parse(text)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Domain({})", self.as_str())
    }
}

/// Prepares a domainpart.
pub(super) fn prepare(text: &str) -> Result<Cow<'_, str>, JidError> {
    if is_prepared(text) {
        return Ok(Cow::Borrowed(text));
    }
    match parse_bracketed(text) {
        Some(address) => Ok(Cow::Owned(format!("[{address}]"))),
        None => prepare_name(text).map(Cow::Owned),
    }
}

/// Whether `text` is what preparation would make of it, found without tables.
fn is_prepared(text: &str) -> bool {
    let mut labels = text.as_bytes().split(|byte| *byte == b'.');
    text.len() <= PART_BYTES_MAX && labels.all(is_prepared_label)
}

fn is_prepared_label(label: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    match label {
        // An A-label becomes a U-label.
        [b'-', ..] | [.., b'-'] | [b'x', b'n', b'-', b'-', ..] => false,
        _ => (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.iter().all(plain),
    }
}

fn parse_bracketed(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// RFC 7622 s.3.2.2: case and width are mapped, A-labels become U-labels.
fn prepare_name(text: &str) -> Result<String, JidError> {
    let malformed = JidError::Domainpart;
    if text.len() > UNPREPARED_BYTES_MAX {
        return Err(malformed);
    }
    let ascii = to_a_labels(text)?;
    // RFC 7622 s.3.2: one trailing dot is stripped.
    let ascii = ascii.strip_suffix('.').unwrap_or(&ascii);
    if !ascii.split('.').all(|label| (1..=LABEL_BYTES_MAX).contains(&label.len())) {
        return Err(malformed);
    }
    let (unicode, outcome) = Uts46::new().to_unicode(ascii.as_bytes(), ALLOWED_ASCII, HYPHENS);
    if outcome.is_err() || unicode.len() > PART_BYTES_MAX {
        return Err(malformed);
    }
    Ok(unicode.into_owned())
}

fn to_a_labels(text: &str) -> Result<Cow<'_, str>, JidError> {
    Uts46::new()
        .to_ascii(text.as_bytes(), ALLOWED_ASCII, HYPHENS, DnsLength::Ignore)
        .map_err(|_| JidError::Domainpart)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_name_that_is_ascii_has_no_other_ascii_form(text in "[a-zA-Z0-9.-]{1,12}|xn--[a-z0-9-]{1,8}") {
            if let Ok(domain) = Domain::parse(&text) {
                let by_the_tables = to_a_labels(domain.as_str()).unwrap();
                prop_assert_eq!(domain.to_ascii(), by_the_tables);
            }
        }

        #[test]
        fn what_looks_prepared_is_what_preparation_makes_of_it(text in "[a-z0-9.-]{1,12}|(xn--)?[a-z0-9]{1,70}") {
            if is_prepared(&text) {
                prop_assert_eq!(prepare_name(&text), Ok(text));
            }
        }
    }
}
