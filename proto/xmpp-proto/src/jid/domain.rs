//! The domainpart (RFC 7622 s.3.2): who a server is.

use std::borrow::Cow;
use std::fmt;
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
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Arc<str>);

impl Domain {
    /// Reads and prepares a domainpart that stands alone, without `@` and `/`.
    ///
    /// # Errors
    ///
    /// [`JidError::Domainpart`] where the text is neither a domain name of 1 to 1023 octets nor an
    /// IP address (IPv6 in brackets).
    pub fn parse(text: &str) -> Result<Self, JidError> {
        let prepared = if is_prepared(text) {
            Arc::from(text)
        } else if let Some(address) = parse_bracketed(text) {
            Arc::from(format!("[{address}]"))
        } else {
            Arc::from(prepare(text)?)
        };
        Ok(Self(prepared))
    }

    /// The prepared text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as DNS and certificates carry it, with A-labels.
    ///
    /// An IP address stays as it is.
    pub fn to_ascii(&self) -> String {
        match to_a_labels(&self.0) {
            Ok(ascii) => ascii.into_owned(),
            Err(_) => self.0.to_string(),
        }
    }

    /// Whether the domainpart is an IP address instead of a name.
    pub fn is_ip_literal(&self) -> bool {
        Ipv4Addr::from_str(&self.0).is_ok() || parse_bracketed(&self.0).is_some()
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
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Domain({})", self.0)
    }
}

/// Whether `text` is what preparation would make of it, found without tables.
fn is_prepared(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let well_formed = |label: &str| {
        label.bytes().all(plain)
            && (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            // An A-label becomes a U-label.
            && !label.starts_with("xn--")
    };
    text.len() <= PART_BYTES_MAX && text.split('.').all(well_formed)
}

fn parse_bracketed(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// RFC 7622 s.3.2.2: case and width are mapped, A-labels become U-labels.
fn prepare(text: &str) -> Result<String, JidError> {
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
