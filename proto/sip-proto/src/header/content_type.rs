//! Content-Type: a media type with parameters (RFC 3261 s.20.15).

use std::fmt;

use compact_str::CompactString;

use super::{HeaderName, Parameters, TypedHeader};
use crate::error::Malformed;
use crate::scan::Scanner;

/// A media type; type and subtype are kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    name: CompactString,
    /// The parameters, such as charset and boundary.
    pub parameters: Parameters,
}

impl MediaType {
    /// Makes a media type without parameters from `type/subtype` in lower case, which the code
    /// names.
    #[must_use]
    pub fn from_static(name: &'static str) -> Self {
        Self { name: CompactString::const_new(name), parameters: Parameters::default() }
    }

    /// Returns `type/subtype`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the type, which stands before the slash.
    #[must_use]
    pub fn top_level(&self) -> &str {
        self.name.split_once('/').map_or(self.name(), |(top_level, _)| top_level)
    }

    pub(super) fn scan(scanner: &mut Scanner<'_>) -> Result<Self, Malformed> {
        let top_level = scanner.token()?;
        scanner.expect(b'/', "the media type has no subtype")?;
        let subtype = scanner.token()?;
        let mut name = CompactString::with_capacity(top_level.len() + 1 + subtype.len());
        name.extend([top_level, "/", subtype]);
        name.make_ascii_lowercase();
        Ok(Self { name, parameters: Parameters::parse(scanner)? })
    }
}

impl TypedHeader for MediaType {
    const NAME: HeaderName = HeaderName::ContentType;

    fn parse(value: &str) -> Result<Self, Malformed> {
        let mut scanner = Scanner::new(value);
        let media_type = Self::scan(&mut scanner)?;
        scanner.finish()?;
        Ok(media_type)
    }

    fn write(&self, out: &mut String) {
        out.push_str(&self.name);
        self.parameters.write(out);
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        formatter.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_matter_but_for_parameter_values() {
        let media_type = MediaType::parse("Text / PLAIN ; Charset=\"UTF-8\"").unwrap();
        assert_eq!((media_type.name(), media_type.top_level()), ("text/plain", "text"));
        assert_eq!(media_type.parameters.value("charset").as_deref(), Some("UTF-8"));
        assert_eq!(media_type.to_string(), "text/plain;Charset=\"UTF-8\"");
    }

    #[test]
    fn refuses_half_types() {
        for bad in ["", "text", "text/", "/plain", "text/plain/x", "text/plain; x y"] {
            assert!(MediaType::parse(bad).is_err(), "{bad}");
        }
    }
}
