//! Contact (RFC 3261 s.20.10).

use super::{EXPIRES_DEFAULT_SECONDS, HeaderName, NameAddr, TypedHeader, parse_list, write_list};
use crate::error::Malformed;
use crate::scan::{Decimal, decimal};

/// The value of Contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contact {
    /// `*`: every binding of a registration.
    Any,
    /// One or more addresses.
    Addresses(Vec<NameAddr>),
}

impl Contact {
    /// Returns the address when there is exactly one.
    #[must_use]
    pub fn only_address(&self) -> Option<&NameAddr> {
        match self {
            Self::Addresses(addresses) => match addresses.as_slice() {
                [address] => Some(address),
                _ => None,
            },
            Self::Any => None,
        }
    }
}

impl NameAddr {
    /// Returns the `expires` parameter in seconds; a malformed one counts as one hour.
    #[must_use]
    pub fn expires_seconds(&self) -> Option<u32> {
        // RFC 3261 s.10.2.1.1: malformed values are equivalent to 3600.
        self.parameters.value("expires").map(|text| match decimal(&text) {
            Ok(Decimal::Fits(seconds)) => seconds,
            _ => EXPIRES_DEFAULT_SECONDS,
        })
    }

    /// Returns the `q` parameter in thousandths; 1000 when it is missing or malformed.
    #[must_use]
    pub fn q_thousandths(&self) -> u16 {
        self.parameters.raw("q").and_then(parse_q).unwrap_or(1000)
    }
}

/// Reads a `qvalue` in thousandths: from 0 to 1 with at most three decimals.
pub(super) fn parse_q(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

impl TypedHeader for Contact {
    const NAME: HeaderName = HeaderName::Contact;

    fn parse(value: &str) -> Result<Self, Malformed> {
        if value == "*" {
            return Ok(Self::Any);
        }
        parse_list(value, NameAddr::scan).map(Self::Addresses)
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Any => out.push('*'),
            Self::Addresses(addresses) => write_list(out, addresses, NameAddr::write),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_separate_addresses_but_not_inside_quotes_and_brackets() {
        let text = r#""a, b" <sip:a,b@c.example>;q=0.33, sip:d@e.example;expires=5"#;
        let Ok(Contact::Addresses(addresses)) = Contact::parse(text) else {
            panic!("two addresses expected");
        };
        assert_eq!(addresses.len(), 2);
        assert_eq!(addresses[0].q_thousandths(), 330);
        assert_eq!(addresses[0].expires_seconds(), None);
        assert_eq!(addresses[1].expires_seconds(), Some(5));
    }

    #[test]
    fn a_star_stands_alone() {
        assert_eq!(Contact::parse("*"), Ok(Contact::Any));
        for bad in ["*, <sip:a@b.example>", "*;expires=0", "", ",", "<sip:a@b.example>,"] {
            assert!(Contact::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_malformed_interval_counts_as_one_hour() {
        let contact = NameAddr::parse("<sip:a@b.example>;expires=280297596632815").unwrap();
        assert_eq!(contact.expires_seconds(), Some(3600));
    }

    #[test]
    fn q_has_three_decimals_at_most() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("1.000", Some(1000)),
            ("0.5", Some(500)),
            ("0.", Some(0)),
            ("1.1", None),
            ("0.0001", None),
            ("-1", None),
            (".5", None),
            ("", None),
        ] {
            assert_eq!(parse_q(text), expected, "{text}");
        }
    }
}
