//! What follows the colon of a sip, sips, pres or im URI: user, host, parameters, header fields.

use compact_str::CompactString;

use super::escape::{check_part, comparable, encode_user};
use super::host::{Host, parse_host_port};
use super::parameters::{UriParameters, check_headers, headers_are_equivalent};
use crate::byte_set::{PASSWORD, USER};
use crate::error::Malformed;
use crate::scan::{length_while, push_number, split_at_byte};

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) user: Option<CompactString>,
    password: Option<CompactString>,
    pub(super) host: Host,
    pub(super) port: Option<u16>,
    pub(super) parameters: UriParameters,
    pub(super) headers: Option<CompactString>,
}

impl Address {
    /// Makes an address whose user part is percent-encoded here; an empty one is left out.
    pub(super) fn new(user: Option<&str>, host: Host) -> Self {
        let user = user.filter(|user| !user.is_empty()).map(encode_user);
        let parameters = UriParameters::default();
        Self { user, password: None, host, port: None, parameters, headers: None }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        // An `@` can stand in no part unescaped, so the first one ends the user part.
        let (user_info, rest) = match split_at_byte(text, b'@') {
            Some((user_info, rest)) => (Some(user_info), rest),
            None => (None, text),
        };
        let (user, password) = user_info.map(parse_user_info).transpose()?.unwrap_or_default();
        let host_end = length_while(rest, |byte| byte != b';' && byte != b'?');
        let (host_port, rest) = rest.split_at_checked(host_end).unwrap_or((rest, ""));
        let (parameters, headers) = match split_at_byte(rest, b'?') {
            Some((parameters, headers)) => (parameters, Some(headers)),
            None => (rest, None),
        };
        headers.map_or(Ok(()), check_headers)?;
        let (host, port) = parse_host_port(host_port)?;
        let parameters = UriParameters::parse(parameters)?;
        Ok(Self {
            user,
            password,
            host,
            port,
            parameters,
            headers: headers.map(CompactString::new),
        })
    }

    /// Appends the address; `shown` says what stands in place of the password.
    pub(super) fn write<'a>(&'a self, out: &mut String, shown: impl Fn(&'a str) -> &'a str) {
        if let Some(user) = &self.user {
            out.push_str(user);
            if let Some(password) = &self.password {
                out.push(':');
                out.push_str(shown(password));
            }
            out.push('@');
        }
        self.host.write(out);
        if let Some(port) = self.port {
            out.push(':');
            push_number(out, port.into());
        }
        out.push_str(self.parameters.as_str());
        if let Some(headers) = &self.headers {
            out.push('?');
            out.push_str(headers);
        }
    }

    pub(super) fn is_equivalent(&self, other: &Self) -> bool {
        let same_text =
            |left: &Option<CompactString>, right: &Option<CompactString>| match (left, right) {
                (Some(left), Some(right)) => comparable(left).eq(comparable(right)),
                (None, None) => true,
                _ => false,
            };
        same_text(&self.user, &other.user)
            && same_text(&self.password, &other.password)
            && self.host == other.host
            && self.port == other.port
            && self.parameters.is_equivalent(&other.parameters)
            && match (&self.headers, &other.headers) {
                (Some(left), Some(right)) => headers_are_equivalent(left, right),
                (None, None) => true,
                _ => false,
            }
    }
}

type UserInfo = (Option<CompactString>, Option<CompactString>);

fn parse_user_info(text: &str) -> Result<UserInfo, Malformed> {
    // A user without password and escapes is what most are.
    if !text.is_empty() && USER.contains_all(text) {
        return Ok((Some(CompactString::new(text)), None));
    }
    let (user, password) = match split_at_byte(text, b':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    if user.is_empty() {
        return Err(Malformed("the user part is empty"));
    }
    check_part(user, &USER, "the user part has a forbidden character")?;
    check_part(password.unwrap_or_default(), &PASSWORD, "the password is malformed")?;
    Ok((Some(CompactString::new(user)), password.map(CompactString::new)))
}
