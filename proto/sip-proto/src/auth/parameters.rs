//! The parameters of the Digest scheme (RFC 3261 s.25.1).

use crate::byte_set::TOKEN_OR_HOST;
use crate::error::Malformed;
use crate::limits::PARAMETERS_MAX;
use crate::scan::{Scanner, push_quoted, unquote};

/// The parameters of one challenge or of one set of credentials, names in lower case.
pub(super) struct DigestParameters(Vec<(String, String)>);

impl DigestParameters {
    /// Reads `Digest name=value, ...`.
    pub(super) fn parse(value: &str) -> Result<Self, Malformed> {
        let mut scanner = Scanner::new(value);
        if !scanner.token()?.eq_ignore_ascii_case("Digest") {
            return Err(Malformed("the scheme is not Digest"));
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        loop {
            scanner.skip_lws();
            let name = scanner.token()?.to_ascii_lowercase();
            scanner.expect(b'=', "a parameter has no value")?;
            let raw = match scanner.peek() {
                Some(b'"') => scanner.quoted()?,
                _ => scanner.take_while(|byte| TOKEN_OR_HOST.contains(byte) || byte == b'/'),
            };
            if parameters.len() == PARAMETERS_MAX || parameters.iter().any(|(it, _)| *it == name) {
                return Err(Malformed("a parameter is repeated"));
            }
            parameters.push((name, unquote(raw).into_owned()));
            if !scanner.eat(b',') {
                scanner.finish()?;
                return Ok(Self(parameters));
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn required(&self, name: &str) -> Result<String, Malformed> {
        self.get(name).map(str::to_owned).ok_or(Malformed("a mandatory parameter is missing"))
    }
}

/// Appends `name="value"` behind what is written.
pub(super) fn write_quoted(out: &mut String, name: &str, value: &str) {
    write_name(out, name);
    push_quoted(out, value);
}

/// Appends `name=value` behind what is written; the value is a token.
pub(super) fn write_token(out: &mut String, name: &str, value: &str) {
    write_name(out, name);
    out.push_str(value);
}

fn write_name(out: &mut String, name: &str) {
    out.push_str(if out.ends_with("Digest") { " " } else { ", " });
    out.push_str(name);
    out.push('=');
}
