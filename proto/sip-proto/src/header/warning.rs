//! Warning (RFC 3261 s.20.43).

use super::{HeaderName, TypedHeader, parse_list, write_list};
use crate::error::Malformed;
use crate::scan::{Scanner, push_number, push_quoted, unquote};
use crate::uri::Host;

/// Warnings about a request, told in its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub Vec<WarningValue>);

/// One warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarningValue {
    /// Three digits; 399 for anything without a code of its own.
    pub code: u16,
    /// Who warns: a host with port, or a pseudonym.
    agent: String,
    /// What is wrong, for a human being.
    pub text: String,
}

impl WarningValue {
    /// Makes a warning of a host of ours. Control characters of the text are left out when it is
    /// written.
    #[must_use]
    pub fn new(code: u16, agent: &Host, text: &str) -> Self {
        Self { code: code.clamp(100, 999), agent: agent.to_string(), text: text.to_owned() }
    }

    /// Returns who warns.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.agent
    }

    fn scan(scanner: &mut Scanner<'_>) -> Result<Self, Malformed> {
        let code = scanner.token()?;
        if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Malformed("the code is not three digits"));
        }
        scanner.skip_lws();
        let agent = scanner.take_while(|byte| !matches!(byte, b' ' | b'\t' | b'"' | b','));
        if agent.is_empty() {
            return Err(Malformed("the agent is missing"));
        }
        scanner.skip_lws();
        let text = unquote(scanner.quoted()?).into_owned();
        let code = code.parse().unwrap_or_default();
        Ok(Self { code, agent: agent.to_owned(), text })
    }

    fn write(&self, out: &mut String) {
        push_number(out, self.code.into());
        out.push(' ');
        out.push_str(&self.agent);
        out.push(' ');
        push_quoted(out, &self.text);
    }
}

impl TypedHeader for Warning {
    const NAME: HeaderName = HeaderName::Warning;

    fn parse(value: &str) -> Result<Self, Malformed> {
        parse_list(value, WarningValue::scan).map(Self)
    }

    fn write(&self, out: &mut String) {
        write_list(out, &self.0, WarningValue::write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_warnings_are_read_and_written() {
        let text = "380 edge.example.com \"SIPS Not Allowed\", 399 a.example:5060 \"a, \\\"b\\\"\"";
        let warning = Warning::parse(text).unwrap();
        assert_eq!(warning.0[1].text, "a, \"b\"");
        assert_eq!(warning.0[1].agent(), "a.example:5060");
        let mut out = String::new();
        warning.write(&mut out);
        assert_eq!(out, text);
    }

    #[test]
    fn refuses_overlarge_codes_and_bare_text() {
        for bad in ["1812 overture \"In Progress\"", "399 a text", "399 \"text\"", "399"] {
            assert!(Warning::parse(bad).is_err(), "{bad}");
        }
    }
}
