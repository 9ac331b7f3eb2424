//! The parameters of a URI (RFC 3261 s.19.1.1).

use std::borrow::Cow;

use compact_str::CompactString;

use super::escape::{check_part, comparable, decode, encode_parameter};
use crate::byte_set::{URI_HEADER, URI_PARAMETER};
use crate::error::Malformed;
use crate::limits::PARAMETERS_MAX;
use crate::scan::{Scanner, split_at_byte};

/// Parameters that RFC 3261 s.19.1.4 does not ignore when only one of two URIs has them.
const NEVER_IGNORED: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

/// URI parameters in their order, as validated text: empty or `;name[=value]...`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UriParameters(CompactString);

impl UriParameters {
    /// Reads what follows the host and port; empty text means no parameters.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        if !text.is_empty() && !text.starts_with(';') {
            return Err(Malformed("text between host and parameters"));
        }
        for (index, (name, value)) in iterate(text).enumerate() {
            if index >= PARAMETERS_MAX {
                return Err(Malformed("too many URI parameters"));
            }
            let problem = "a URI parameter has a forbidden character";
            check_part(name, &URI_PARAMETER, problem)?;
            check_part(value.unwrap_or("-"), &URI_PARAMETER, problem)?;
            if name.is_empty() || value == Some("") {
                return Err(Malformed("a URI parameter is empty"));
            }
            // RFC 3261 s.19.1.1: a parameter name must not appear more than once.
            if iterate(text).take(index).any(|(earlier, _)| names_match(earlier, name)) {
                return Err(Malformed("a URI parameter is repeated"));
            }
        }
        Ok(Self(CompactString::new(text)))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        iterate(&self.0)
    }

    /// Returns a value, escaped; a parameter without value has an empty one.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        let (_, value) = self.iter().find(|(candidate, _)| names_match(candidate, name))?;
        Some(value.unwrap_or_default())
    }

    pub(super) fn decoded(&self, name: &str) -> Result<Option<Cow<'_, str>>, Malformed> {
        self.raw(name).map(decode).transpose()
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.0.push(';');
        self.0.push_str(&encode_parameter(name));
        if !value.is_empty() {
            self.0.push('=');
            self.0.push_str(&encode_parameter(value));
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if self.raw(name).is_none() {
            return;
        }
        let kept = self.0.split(';').skip(1).filter(|parameter| {
            let candidate = parameter.split_once('=').map_or(*parameter, |(before, _)| before);
            !names_match(candidate, name)
        });
        self.0 = kept.flat_map(|parameter| [";", parameter]).collect();
    }

    pub(super) fn is_equivalent(&self, other: &Self) -> bool {
        let one_way = |left: &Self, right: &Self| {
            left.iter().all(|(name, value)| match right.raw(name) {
                Some(found) => same_without_case(value.unwrap_or_default(), found),
                None => !NEVER_IGNORED.iter().any(|special| names_match(special, name)),
            })
        };
        one_way(self, other) && one_way(other, self)
    }
}

/// Returns the parameters that text holds, which is empty or begins with a semicolon.
fn iterate(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut scanner = Scanner::new(text);
    std::iter::from_fn(move || {
        let parameter =
            scanner.eat_exactly(b';').then(|| scanner.take_while(|byte| byte != b';'))?;
        Some(match split_at_byte(parameter, b'=') {
            Some((name, value)) => (name, Some(value)),
            None => (parameter, None),
        })
    })
}

fn names_match(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
        || (left.bytes().chain(right.bytes()).any(|byte| byte == b'%')
            && same_without_case(left, right))
}

pub(super) fn same_without_case(left: &str, right: &str) -> bool {
    let lower = |(reserved, byte): (bool, u8)| (reserved, byte.to_ascii_lowercase());
    comparable(left).map(lower).eq(comparable(right).map(lower))
}

/// Checks the header fields of a URI: `name=value` pairs joined by `&`, values may be empty.
pub(super) fn check_headers(text: &str) -> Result<(), Malformed> {
    let problem = "a header field of the URI has a forbidden character";
    for pair in text.split('&') {
        let (name, value) =
            pair.split_once('=').ok_or(Malformed("a header field of the URI has no value"))?;
        if name.is_empty() {
            return Err(Malformed("a header field of the URI has no name"));
        }
        check_part(name, &URI_HEADER, problem)?;
        check_part(value, &URI_HEADER, problem)?;
    }
    Ok(())
}

/// RFC 3261 s.19.1.4: header fields of a URI are never ignored; their order does not matter.
pub(super) fn headers_are_equivalent(left: &str, right: &str) -> bool {
    let one_way = |from: &str, to: &str| {
        from.split('&').all(|pair| to.split('&').any(|other| same_without_case(pair, other)))
    };
    one_way(left, right) && one_way(right, left)
}
