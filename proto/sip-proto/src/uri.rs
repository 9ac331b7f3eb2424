//! URIs as they stand in SIP messages: sip and sips in full, others as far as SIP needs them.

mod address;
mod escape;
mod host;
mod parameters;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use self::address::Address;
pub use self::host::{Host, HostName};
pub(crate) use self::host::{parse_host_port, parse_v6, push_address};
use crate::byte_set::SCHEME;
use crate::error::Malformed;
use crate::limits::URI_BYTES_MAX;
use crate::scan::split_at_byte;

/// Room for what most URIs are when they are written, in bytes.
const WIRE_ROOM: usize = 64;

/// The scheme of a URI.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// `sip`, RFC 3261.
    Sip,
    /// `sips`, RFC 3261.
    Sips,
    /// `pres`, RFC 3859.
    Pres,
    /// `im`, RFC 3860.
    Im,
    /// `tel`, RFC 3966.
    Tel,
    /// Any other scheme.
    Other(UnknownScheme),
}

/// The name of a scheme that this engine does not know, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownScheme(String);

/// A URI.
///
/// It is held as it was received: the parts are still percent-encoded and are decoded when they
/// are asked for, once. Two values are equal (`==`) when they are written alike;
/// [`Uri::is_equivalent`] compares by RFC 3261 s.19.1.4.
///
/// [`Uri::to_wire`] gives the text for a message. `Display` and `Debug` are for logs: they leave
/// the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri {
    scheme: Scheme,
    rest: Rest,
}

#[derive(Clone, PartialEq, Eq)]
enum Rest {
    /// sip, sips, pres and im.
    Address(Address),
    /// Everything after the colon of another scheme.
    Opaque(String),
}

impl Scheme {
    /// Returns the scheme in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sip => "sip",
            Self::Sips => "sips",
            Self::Pres => "pres",
            Self::Im => "im",
            Self::Tel => "tel",
            Self::Other(UnknownScheme(name)) => name,
        }
    }

    fn parse(text: &str) -> Result<Self, Malformed> {
        match text {
            _ if text.eq_ignore_ascii_case("sip") => Ok(Self::Sip),
            _ if text.eq_ignore_ascii_case("sips") => Ok(Self::Sips),
            _ if text.eq_ignore_ascii_case("pres") => Ok(Self::Pres),
            _ if text.eq_ignore_ascii_case("im") => Ok(Self::Im),
            _ if text.eq_ignore_ascii_case("tel") => Ok(Self::Tel),
            _ if text.starts_with(|first: char| first.is_ascii_alphabetic())
                && SCHEME.contains_all(text) =>
            {
                Ok(Self::Other(UnknownScheme(text.to_ascii_lowercase())))
            }
            _ => Err(Malformed("the URI has no scheme")),
        }
    }
}

impl Uri {
    /// Reads an absolute URI of at most [`URI_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// Fails when the text does not follow the grammar of its scheme; whitespace, brackets around
    /// the URI and non-ASCII characters are never part of one.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() > URI_BYTES_MAX {
            return Err(Malformed("the URI is too long"));
        }
        let (scheme, rest) = split_at_byte(text, b':').ok_or(Malformed("the URI has no scheme"))?;
        let scheme = Scheme::parse(scheme)?;
        let rest = match scheme {
            Scheme::Tel | Scheme::Other(_) => Rest::Opaque(parse_opaque(rest)?),
            _ => Rest::Address(Address::parse(rest)?),
        };
        Ok(Self { scheme, rest })
    }

    /// Makes a sip URI from a user part, which is percent-encoded here, and a host.
    #[must_use]
    pub fn sip(user: Option<&str>, host: Host) -> Self {
        Self::address(Scheme::Sip, user, host)
    }

    /// Makes a pres URI likewise.
    #[must_use]
    pub fn pres(user: &str, host: Host) -> Self {
        Self::address(Scheme::Pres, Some(user), host)
    }

    fn address(scheme: Scheme, user: Option<&str>, host: Host) -> Self {
        Self { scheme, rest: Rest::Address(Address::new(user, host)) }
    }

    /// Returns the scheme.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Says whether the scheme is sip or sips.
    #[must_use]
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// Returns the user part as it was received, still escaped, without the password.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.as_address()?.user.as_deref()
    }

    /// Returns the user part with every escape decoded once.
    ///
    /// # Errors
    /// Fails when the decoded octets are not UTF-8. A decoded NUL is returned like any character.
    pub fn user_decoded(&self) -> Result<Option<Cow<'_, str>>, Malformed> {
        self.user().map(escape::decode).transpose()
    }

    /// Returns the host; none for the schemes that are held as opaque text.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        self.as_address().map(|address| &address.host)
    }

    /// Returns the port when the URI names one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.as_address()?.port
    }

    /// Sets the port. Does nothing to an opaque URI.
    pub fn set_port(&mut self, port: Option<u16>) {
        if let Rest::Address(address) = &mut self.rest {
            address.port = port;
        }
    }

    /// Returns what follows the colon of a scheme that is not read further.
    #[must_use]
    pub fn opaque(&self) -> Option<&str> {
        match &self.rest {
            Rest::Opaque(text) => Some(text),
            Rest::Address(_) => None,
        }
    }

    /// Says whether the URI has a parameter, with or without value.
    #[must_use]
    pub fn has_parameter(&self, name: &str) -> bool {
        self.as_address().is_some_and(|address| address.parameters.raw(name).is_some())
    }

    /// Returns the value of a parameter, decoded once; empty when it stands without value.
    ///
    /// # Errors
    /// Fails when the decoded octets are not UTF-8.
    pub fn parameter(&self, name: &str) -> Result<Option<Cow<'_, str>>, Malformed> {
        match self.as_address() {
            Some(address) => address.parameters.decoded(name),
            None => Ok(None),
        }
    }

    /// Returns the parameters in their order, names and values still escaped.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.as_address().into_iter().flat_map(|address| address.parameters.iter())
    }

    /// Sets a parameter, name and value being percent-encoded here; an empty value writes the
    /// name alone. Does nothing to an opaque URI.
    pub fn set_parameter(&mut self, name: &str, value: &str) {
        if let Rest::Address(address) = &mut self.rest {
            address.parameters.set(name, value);
        }
    }

    /// Removes a parameter.
    pub fn remove_parameter(&mut self, name: &str) {
        if let Rest::Address(address) = &mut self.rest {
            address.parameters.remove(name);
        }
    }

    /// Returns the header fields that the URI asks for, as received. They are never promoted to
    /// header fields of a message.
    #[must_use]
    pub fn headers(&self) -> Option<&str> {
        self.as_address()?.headers.as_deref()
    }

    /// Returns the URI as it may stand in a start line: without the header fields and the method
    /// parameter that RFC 3261 s.19.1.1 excludes there.
    #[must_use]
    pub fn to_request_uri(&self) -> Self {
        let mut uri = self.clone();
        uri.remove_parameter("method");
        if let Rest::Address(address) = &mut uri.rest {
            address.headers = None;
        }
        uri
    }

    /// Compares by RFC 3261 s.19.1.4. The relation is not transitive.
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        if self.scheme != other.scheme {
            return false;
        }
        match (&self.rest, &other.rest) {
            (Rest::Address(left), Rest::Address(right)) => left.is_equivalent(right),
            (Rest::Opaque(left), Rest::Opaque(right)) => left == right,
            _ => false,
        }
    }

    /// Returns the URI as it is written in a message.
    #[must_use]
    pub fn to_wire(&self) -> String {
        let mut out = String::with_capacity(WIRE_ROOM);
        self.write(&mut out);
        out
    }

    pub(crate) fn write(&self, out: &mut String) {
        self.write_with(out, |password| password);
    }

    fn write_with<'a>(&'a self, out: &mut String, shown: impl Fn(&'a str) -> &'a str) {
        out.push_str(self.scheme.as_str());
        out.push(':');
        match &self.rest {
            Rest::Opaque(text) => out.push_str(text),
            Rest::Address(address) => address.write(out, shown),
        }
    }

    fn as_address(&self) -> Option<&Address> {
        match &self.rest {
            Rest::Address(address) => Some(address),
            Rest::Opaque(_) => None,
        }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write_with(&mut text, |_| "***");
        formatter.write_str(&text)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

fn parse_opaque(text: &str) -> Result<String, Malformed> {
    // RFC 3261 s.25.1: absoluteURI; the delimiters of a name-addr cannot be part of one.
    let accepts = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"' | b'\\');
    if text.is_empty() || !text.bytes().all(accepts) {
        return Err(Malformed("the URI is empty or has a forbidden character"));
    }
    escape::check_escapes(text)?;
    Ok(text.to_owned())
}
