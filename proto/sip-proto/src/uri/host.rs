//! The host of a URI or of a Via sent-by.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use compact_str::CompactString;

use crate::byte_set::LABEL;
use crate::error::Malformed;
use crate::scan::{Scanner, length_while, push_number};

/// Longest host name, in bytes (RFC 1035 s.2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// A host: a name or an address.
///
/// Names are kept in lower case and without the dot that may end them, so that equal hosts
/// compare equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A domain name.
    Name(HostName),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
}

/// A domain name that follows the host grammar, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(CompactString);

impl HostName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Host {
    /// Reads a host name, an IPv4 address or an IPv6 address in brackets.
    ///
    /// # Errors
    /// Fails when the text is none of them.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return parse_v6(inner).map(Self::V6);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let last_label = name.bytes().rposition(|byte| byte == b'.').map_or(0, |dot| dot + 1);
        let first_of_last = name.as_bytes().get(last_label);
        // RFC 3261 s.25.1: toplabel begins with a letter, so a last label of digits is an address.
        if first_of_last.is_some_and(u8::is_ascii_digit) {
            return text.parse().map(Self::V4).map_err(|_| Malformed("not an IPv4 address"));
        }
        parse_name(name).map(Self::Name)
    }

    /// Returns the domain name, unless the host is an address.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name.as_str()),
            Self::V4(_) | Self::V6(_) => None,
        }
    }

    /// Returns the address, unless the host is a name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some(IpAddr::V4(*address)),
            Self::V6(address) => Some(IpAddr::V6(*address)),
        }
    }

    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Name(name) => out.push_str(name.as_str()),
            Self::V4(address) => push_address(out, (*address).into()),
            Self::V6(address) => {
                out.push('[');
                push_address(out, (*address).into());
                out.push(']');
            }
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(address),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        formatter.write_str(&text)
    }
}

/// Appends an address, one of IPv6 without brackets.
pub(crate) fn push_address(out: &mut String, address: IpAddr) {
    match address {
        // Written digit by digit, which takes a fraction of the time of formatting.
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                out.push_str(if index > 0 { "." } else { "" });
                push_number(out, octet.into());
            }
        }
        IpAddr::V6(address) => out.push_str(&address.to_string()),
    }
}

/// Splits `host [ ":" port ]`, with no whitespace inside.
pub(crate) fn parse_host_port(text: &str) -> Result<(Host, Option<u16>), Malformed> {
    let host_end = if text.starts_with('[') {
        // Without a bracket that closes, all text is a host, which none is.
        length_while(text, |byte| byte != b']').saturating_add(1).min(text.len())
    } else {
        length_while(text, |byte| byte != b':')
    };
    let (host, rest) = text.split_at_checked(host_end).unwrap_or((text, ""));
    Ok((Host::parse(host)?, parse_port(rest)?))
}

fn parse_port(text: &str) -> Result<Option<u16>, Malformed> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port: u16 = digits.parse().map_err(|_| Malformed("the port is out of range"))?;
            if port == 0 { Err(Malformed("the port is zero")) } else { Ok(Some(port)) }
        }
        _ => Err(Malformed("the port is not a number")),
    }
}

/// Reads an IPv6 address without brackets.
pub(crate) fn parse_v6(text: &str) -> Result<Ipv6Addr, Malformed> {
    // RFC 5118 s.4.10: the RFC 3261 grammar allows three colons before a dotted IPv4 part, and
    // receivers are asked to take them as two.
    let parsed = if text.contains(":::") && text.contains('.') {
        text.replacen(":::", "::", 1).parse()
    } else {
        text.parse()
    };
    parsed.map_err(|_| Malformed("not an IPv6 address"))
}

fn parse_name(name: &str) -> Result<HostName, Malformed> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Malformed("the host name is too long"));
    }
    let mut labels = Scanner::new(name);
    loop {
        // Labels are not empty, and neither begin nor end with a hyphen.
        let label = labels.take_all_of(&LABEL).as_bytes();
        if matches!(label, [] | [b'-', ..] | [.., b'-']) {
            return Err(Malformed("not a host name"));
        }
        if labels.is_done() {
            break;
        }
        if !labels.eat_exactly(b'.') {
            return Err(Malformed("not a host name"));
        }
    }
    let mut name = CompactString::new(name);
    name.make_ascii_lowercase();
    Ok(HostName(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_final_dot() {
        assert_eq!(Host::parse("AtLanTa.CoM."), Host::parse("atlanta.com"));
        assert_ne!(Host::parse("a.example"), Host::parse("b.example"));
    }

    #[test]
    fn addresses_are_recognised_by_form() {
        assert_eq!(Host::parse("192.0.2.1"), Ok(Host::V4(Ipv4Addr::new(192, 0, 2, 1))));
        assert_eq!(Host::parse("[2001:DB8::10]"), Host::parse("[2001:db8:0::10]"));
        assert_eq!(Host::parse("[2001:db8:::192.0.2.1]"), Host::parse("[2001:db8::192.0.2.1]"),);
        assert_eq!(Host::parse("[::1]").unwrap().to_string(), "[::1]");
    }

    #[test]
    fn refuses_what_is_neither_name_nor_address() {
        for bad in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a b",
            "1.2.3",
            "256.1.1.1",
            "1.2.3.4.5",
            "1.2.3.4.",
            "0.",
            "a..",
            "::1",
            "[::1",
            "[fe80::1%eth0]",
            "[::::1]",
            "a\0b",
            "münchen.example",
            "a@b",
        ] {
            assert!(Host::parse(bad).is_err(), "{bad}");
        }
        assert!(Host::parse(&format!("{}.example", "a".repeat(250))).is_err());
    }

    #[test]
    fn ports_have_sixteen_bits_and_no_sign() {
        assert_eq!(
            parse_host_port("a.example:5061"),
            Ok((Host::parse("a.example").unwrap(), Some(5061)))
        );
        assert_eq!(parse_host_port("[::1]:65535").map(|(_, port)| port), Ok(Some(65535)));
        for bad in ["a:", "a:0", "a:65536", "a:+1", "a:1 ", "[::1]5060", "a:99999999999999999999"] {
            assert!(parse_host_port(bad).is_err(), "{bad}");
        }
    }
}
