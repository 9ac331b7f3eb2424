//! The parameters behind a header field value.

use std::borrow::Cow;

use compact_str::CompactString;
use smallvec::SmallVec;

use crate::byte_set::TOKEN_OR_HOST;
use crate::error::Malformed;
use crate::limits::PARAMETERS_MAX;
use crate::scan::{Scanner, is_token, push_quoted, unquote};

/// Room for parameters that take the place of others, in bytes.
const REPLACED_ROOM: usize = 64;

/// Header parameters in their order, as validated text: empty or `;name[=value]...`.
///
/// Names compare without case. A value is a token, a host or a quoted string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(CompactString);

impl Parameters {
    /// Reads parameters until something else than a semicolon follows.
    pub(crate) fn parse(scanner: &mut Scanner<'_>) -> Result<Self, Malformed> {
        Self::scan(scanner, |_, _| ()).map(Self::of_scanned)
    }

    /// Takes what [`Parameters::scan`] has found.
    pub(super) fn of_scanned(text: Cow<'_, str>) -> Self {
        Self(CompactString::from(text))
    }

    /// Reads parameters likewise, shows each of them, and returns them as they are held, without a
    /// copy where nothing is to be left out.
    pub(super) fn scan<'a>(
        scanner: &mut Scanner<'a>,
        mut show: impl FnMut(&'a str, &'a str),
    ) -> Result<Cow<'a, str>, Malformed> {
        scanner.skip_lws();
        let text = scanner.rest();
        let mut end = 0;
        let mut written_bytes = 0;
        let mut names: SmallVec<[&str; 8]> = SmallVec::new();
        while scanner.eat(b';') {
            let (name, value) = parse_one(scanner)?;
            // RFC 3261 s.7.3.1: a parameter name must not appear more than once.
            if names.len() == PARAMETERS_MAX
                || names.iter().any(|earlier| earlier.eq_ignore_ascii_case(name))
            {
                return Err(Malformed("a parameter is repeated, or there are too many"));
            }
            names.push(name);
            show(name, value.unwrap_or_default());
            written_bytes += 1 + name.len() + value.map_or(0, |value| 1 + value.len());
            end = text.len() - scanner.rest().len();
        }
        let text = text.get(..end).unwrap_or_default();
        if text.len() == written_bytes {
            return Ok(Cow::Borrowed(text));
        }
        let mut without_whitespace = Self::default();
        let mut again = Scanner::new(text);
        while again.eat(b';') {
            let (name, value) = parse_one(&mut again)?;
            without_whitespace.push(name, value);
        }
        Ok(Cow::Owned(without_whitespace.0.into()))
    }

    /// Returns the value of a parameter as it is written; empty when it stands without value.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&str> {
        let found = self.iter().find(|(candidate, _)| candidate.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.unwrap_or_default())
    }

    /// Returns the value of a parameter without quotes; empty when it stands without value.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.raw(name).map(unquote)
    }

    /// Says whether a parameter is there, with or without value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// Returns the parameters in their order, values as they are written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let mut scanner = Scanner::new(&self.0);
        std::iter::from_fn(move || {
            if !scanner.eat_exactly(b';') {
                return None;
            }
            let name = scanner.take_while(|byte| !matches!(byte, b'=' | b';'));
            let value = scanner.eat_exactly(b'=').then(|| match scanner.peek() {
                Some(b'"') => scanner.quoted().unwrap_or_default(),
                _ => scanner.take_while(|byte| byte != b';'),
            });
            Some((name, value))
        })
    }

    /// Sets a parameter. A value that is no token is quoted, without its control characters; an
    /// empty one writes the name alone.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.remove(name);
        if value.is_empty() {
            self.push(name, None);
        } else if is_token(value) {
            self.push(name, Some(value));
        } else {
            let mut quoted = String::with_capacity(value.len() + 2);
            push_quoted(&mut quoted, value);
            self.push(name, Some(&quoted));
        }
    }

    /// Removes a parameter.
    pub fn remove(&mut self, name: &str) {
        if !self.has(name) {
            return;
        }
        self.replace(&[name], |_| ());
    }

    /// Removes parameters and appends others, which are written as the grammar wants them.
    pub(super) fn replace(&mut self, names: &[&str], write: impl FnOnce(&mut String)) {
        let mut text = String::with_capacity(self.0.len() + REPLACED_ROOM);
        let is_kept = |name: &str| !names.iter().any(|other| other.eq_ignore_ascii_case(name));
        for (name, value) in self.iter().filter(|(name, _)| is_kept(name)) {
            text.extend([";", name]);
            if let Some(value) = value {
                text.extend(["=", value]);
            }
        }
        write(&mut text);
        self.0 = CompactString::from(text);
    }

    pub(crate) fn write(&self, out: &mut String) {
        out.push_str(&self.0);
    }

    /// Appends a parameter whose value is already written as the grammar wants it.
    pub(super) fn push(&mut self, name: &str, value: Option<&str>) {
        self.0.push(';');
        self.0.push_str(name);
        if let Some(value) = value {
            self.0.push('=');
            self.0.push_str(value);
        }
    }
}

fn parse_one<'a>(scanner: &mut Scanner<'a>) -> Result<(&'a str, Option<&'a str>), Malformed> {
    let name = scanner.token()?;
    if !scanner.eat(b'=') {
        return Ok((name, None));
    }
    let value = match scanner.peek() {
        Some(b'"') => scanner.quoted()?,
        // RFC 3261 s.25.1: gen-value is a token, a host or a quoted string.
        _ => scanner.take_all_of(&TOKEN_OR_HOST),
    };
    if value.is_empty() {
        return Err(Malformed("a parameter has no value after its equals sign"));
    }
    Ok((name, Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Parameters, Malformed> {
        let mut scanner = Scanner::new(text);
        let parameters = Parameters::parse(&mut scanner)?;
        scanner.finish()?;
        Ok(parameters)
    }

    #[test]
    fn whitespace_and_case_of_names_do_not_matter() {
        let parameters = parse(" ; Tag\t= 1918181833n ;lr; q = \"a;b\\\"\"").unwrap();
        assert_eq!(parameters.raw("tag"), Some("1918181833n"));
        assert_eq!(parameters.value("LR").as_deref(), Some(""));
        assert_eq!(parameters.value("q").as_deref(), Some("a;b\""));
        assert_eq!(parameters.iter().count(), 3);
    }

    #[test]
    fn refuses_empty_repeated_and_broken_parameters() {
        for bad in [";", ";;", ";,", ";a=", ";a=;b", ";=b", ";a=\"b", ";a;A=1", ";a=b c", ";a=<b>"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let many = |count: usize| (0..count).map(|index| format!(";p{index}")).collect::<String>();
        assert!(parse(&many(PARAMETERS_MAX)).is_ok());
        assert!(parse(&many(PARAMETERS_MAX + 1)).is_err());
    }

    #[test]
    fn a_value_that_is_set_stays_one_value() {
        let mut parameters = parse(";tag=1;lr").unwrap();
        parameters.set("tag", "a;b=\"c\"\r\n");
        parameters.set("text", "two words");
        parameters.set("flag", "");
        let mut out = String::new();
        parameters.write(&mut out);
        assert_eq!(out, ";lr;tag=\"a;b=\\\"c\\\"\";text=\"two words\";flag");
        assert_eq!(parse(&out), Ok(parameters));
    }
}
