//! Conversions from TOML values, each with the words for what it expects.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use toml::de::DeValue;

/// A type that a configuration value can be read as.
pub trait FromValue: Sized {
    /// Converts the value, or says what it must be: "`key` must be ...".
    fn from_value(value: &DeValue<'_>) -> Result<Self, String>;
}

impl FromValue for String {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(|| expected("a string", value))?;
        if text.chars().any(char::is_control) {
            return Err("a string without control characters".into());
        }
        Ok(text.into())
    }
}

impl FromValue for bool {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| expected("true or false", value))
    }
}

impl FromValue for u64 {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let integer = value.as_integer().ok_or_else(|| expected("a whole number", value))?;
        Self::from_str_radix(integer.as_str(), integer.radix())
            .map_err(|_| "a whole number that is not negative".into())
    }
}

impl FromValue for PathBuf {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        match String::from_value(value)? {
            path if path.is_empty() => Err("the path of a file".into()),
            path => Ok(path.into()),
        }
    }
}

impl FromValue for SocketAddr {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::from_value(value)?;
        text.parse().map_err(|_| {
            format!("an address with a port, such as \"192.0.2.1:5269\", not \"{text}\"")
        })
    }
}

impl FromValue for IpAddr {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::from_value(value)?;
        text.parse().map_err(|_| format!("an IP address, not \"{text}\""))
    }
}

impl FromValue for xmpp_proto::jid::Domain {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::from_value(value)?;
        text.parse().map_err(|error| format!("a domain name, not \"{text}\": {error}"))
    }
}

impl FromValue for xmpp_proto::jid::Jid {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::from_value(value)?;
        let user = |jid: &Self| jid.localpart().is_some() && jid.resourcepart().is_none();
        Self::parse(&text).ok().filter(user).ok_or_else(|| {
            format!("the address of a user, such as \"romeo@contoso.example\", not \"{text}\"")
        })
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let items = value.as_array().ok_or_else(|| expected("an array", value))?;
        let convert = |item: &toml::Spanned<DeValue<'_>>| T::from_value(item.get_ref());
        items
            .iter()
            .map(convert)
            .collect::<Result<_, _>>()
            .map_err(|inner| format!("an array in which each item is {inner}"))
    }
}

pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn expected(what: &str, found: &DeValue<'_>) -> String {
    format!("{what}, not {}", type_name(found))
}

/// Returns the known key that `key` was probably meant to be: at most a third of it differs.
pub(super) fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (edit_distance(key, candidate), candidate))
        .filter(|(distance, candidate)| *distance * 3 <= candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
