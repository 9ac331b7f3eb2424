//! The attributes of a start tag: where they stand, and what their values mean.

use std::borrow::Cow;

use memchr::memchr;
use quick_xml::XmlVersion;
use quick_xml::escape::{EscapeError, resolve_xml_entity};
use quick_xml::events::attributes::Attribute as QuickAttribute;
use quick_xml::name::QName;

use crate::xml::error::{Construct, Defect, XmlError};
use crate::xml::names;

/// An attribute whose prefix and value are as they were written.
#[derive(Debug, PartialEq)]
pub(super) struct RawAttribute<'a> {
    pub(super) prefix: Option<&'a str>,
    pub(super) local: &'a str,
    value: &'a str,
}

/// The attributes of a start tag in order, with their names checked.
///
/// `quick-xml` has this too, but looks at each byte several times and does not ask for the white
/// space that sets attributes apart.
pub(super) struct RawAttributes<'a> {
    rest: &'a str,
}

impl<'a> RawAttributes<'a> {
    /// The attributes behind the name of `tag`, which has so many bytes.
    pub(super) fn behind_name(tag: &'a str, name_bytes: usize) -> Self {
        Self { rest: tag.get(name_bytes..).unwrap_or_default() }
    }

    /// Reads the attribute that `text` begins with.
    fn read(&mut self, text: &'a str) -> Result<RawAttribute<'a>, XmlError> {
        let broken = XmlError::NotWellFormed(Defect::Attribute);
        let (name, value, rest) = split_attribute(text).ok_or(broken)?;
        // XML s.3.1: white space sets attributes apart.
        if text.len() == self.rest.len() {
            return Err(broken);
        }
        self.rest = rest;
        let (prefix, local) =
            names::split_qname(name).ok_or(XmlError::NotWellFormed(Defect::Name))?;
        Ok(RawAttribute { prefix, local, value })
    }
}

impl<'a> Iterator for RawAttributes<'a> {
    type Item = Result<RawAttribute<'a>, XmlError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = skip_white_space(self.rest);
        (!text.is_empty()).then(|| self.read(text))
    }
}

/// Splits `text` into the name and the value of its first attribute, and what follows.
fn split_attribute(text: &str) -> Option<(&str, &str, &str)> {
    let ends_name = |byte: u8| byte == b'=' || names::is_white_space(byte);
    // The first byte is of the name whatever it is, so that the name is what is refused.
    let name_bytes = text.bytes().skip(1).position(ends_name)? + 1;
    let (name, rest) = text.split_at_checked(name_bytes)?;
    let value = skip_white_space(skip_white_space(rest).strip_prefix('=')?);
    let quote = *value.as_bytes().first().filter(|byte| matches!(byte, b'\'' | b'"'))?;
    let value = value.get(1..)?;
    let (value, rest) = value.split_at_checked(memchr(quote, value.as_bytes())?)?;
    Some((name, value, rest.get(1..)?))
}

fn skip_white_space(text: &str) -> &str {
    let begin = text.bytes().position(|byte| !names::is_white_space(byte)).unwrap_or(text.len());
    text.get(begin..).unwrap_or_default()
}

impl<'a> RawAttribute<'a> {
    /// The prefix that the attribute declares, if it is a namespace declaration.
    pub(super) fn declared_prefix(&self) -> Option<&'a str> {
        match (self.prefix, self.local) {
            (None, "xmlns") => Some(""),
            (Some("xmlns"), declared) => Some(declared),
            _ => None,
        }
    }

    /// The value with its references resolved and its white space normalised (XML s.3.3.3).
    pub(super) fn resolved(&self) -> Result<Cow<'a, str>, XmlError> {
        // Without an early end, so that the bytes are looked at side by side.
        let changes = |byte: u8| (byte == b'&') | matches!(byte, b'\t' | b'\n' | b'\r');
        if !self.value.bytes().fold(false, |any, byte| any | changes(byte)) {
            return Ok(Cow::Borrowed(self.value));
        }
        let attribute = QuickAttribute { key: QName(self.local), value: Cow::Borrowed(self.value) };
        let value = attribute
            .normalized_value_with(XmlVersion::Implicit1_0, 1, resolve_xml_entity)
            .map_err(|error| match error {
                quick_xml::Error::Escape(error) => reference(&error),
                _ => XmlError::NotWellFormed(Defect::Attribute),
            })?;
        if !names::is_xml_text(&value) {
            return Err(XmlError::NotWellFormed(Defect::Character));
        }
        Ok(value)
    }
}

/// RFC 6120 s.11.1: a reference to an entity that is not predefined is restricted XML.
pub(super) fn reference(error: &EscapeError) -> XmlError {
    match error {
        EscapeError::UnrecognizedEntity(_, name) if names::split_qname(name).is_some() => {
            XmlError::Restricted(Construct::EntityReference)
        }
        EscapeError::InvalidCharRef(_) => XmlError::NotWellFormed(Defect::Character),
        _ => XmlError::NotWellFormed(Defect::Reference),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quick_xml::events::attributes::Attributes;

    use super::*;

    /// What `quick-xml` finds, up to the first fault, with white space asked for.
    fn by_quick_xml(tag: &str) -> Vec<Result<RawAttribute<'_>, XmlError>> {
        let broken = XmlError::NotWellFormed(Defect::Attribute);
        let mut attributes = Attributes::new(tag, 1);
        attributes.with_checks(false);
        let mut found = Vec::new();
        for attribute in attributes {
            let read = attribute.map_err(|_| broken).and_then(|attribute| {
                let Cow::Borrowed(value) = attribute.value else { unreachable!("it is as it was") };
                let name = attribute.key.into_inner();
                if !crate::xml::prolog::follows_white_space(tag, name) {
                    return Err(broken);
                }
                let (prefix, local) =
                    names::split_qname(name).ok_or(XmlError::NotWellFormed(Defect::Name))?;
                Ok(RawAttribute { prefix, local, value })
            });
            let failed = read.is_err();
            found.push(read);
            if failed {
                break;
            }
        }
        found
    }

    fn by_us(tag: &str) -> Vec<Result<RawAttribute<'_>, XmlError>> {
        let mut found = Vec::new();
        for attribute in RawAttributes::behind_name(tag, 1) {
            let failed = attribute.is_err();
            found.push(attribute);
            if failed {
                break;
            }
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(4000)
        })]

        #[test]
        fn attributes_are_found_where_quick_xml_finds_them(
            attributes in "([ \t\n]{0,2}[a:=é]{0,2}[ \r]?=?[ ]?['\"]?[a=é ]{0,2}['\"]?){0,4}"
        ) {
            // A name ends at white space or with the tag.
            let tag = format!("x {attributes}");
            prop_assert_eq!(by_us(&tag), by_quick_xml(&tag));
        }

        #[test]
        fn well_formed_attributes_are_found_where_quick_xml_finds_them(
            attributes in "([ \t\r\n]{1,2}([a-c]:)?[a-z]{1,3}[ \n]?=[ \t]?('[a\"= é]{0,3}'|\"[a'= é]{0,3}\")){0,4} ?"
        ) {
            let tag = format!("x{attributes}");
            prop_assert_eq!(by_us(&tag), by_quick_xml(&tag));
        }
    }
}
