//! Markup that carries no content: the XML declaration, and what a document may say beside it.

use quick_xml::events::attributes::Attributes;

use crate::xml::error::{Defect, XmlError};
use crate::xml::names;

/// Checks an XML declaration; `content` begins with its target `xml`.
pub(super) fn check_declaration(content: &str) -> Result<(), XmlError> {
    let broken = XmlError::NotWellFormed(Defect::Declaration);
    let mut pairs = Vec::new();
    for attribute in Attributes::new(content, "xml".len()) {
        let attribute = attribute.map_err(|_| broken)?;
        let name = attribute.key.into_inner();
        if !follows_white_space(content, name) {
            return Err(broken);
        }
        pairs.push((name, attribute.value));
    }

    let mut pairs = pairs.into_iter().peekable();
    let (_, version) = pairs.next_if(|(name, _)| *name == "version").ok_or(broken)?;
    // XML s.2.8: a processor of 1.0 reads every 1.x by the rules of 1.0.
    let minor = version.strip_prefix("1.").unwrap_or_default();
    if minor.is_empty() || !minor.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(broken);
    }
    // RFC 6120 s.11.6: UTF-8 and nothing else.
    if let Some((_, encoding)) = pairs.next_if(|(name, _)| *name == "encoding")
        && !encoding.eq_ignore_ascii_case("UTF-8")
    {
        return Err(XmlError::UnsupportedEncoding);
    }
    // RFC 6120 s.11.5: a standalone declaration is ignored.
    if let Some((_, standalone)) = pairs.next_if(|(name, _)| *name == "standalone")
        && !matches!(&*standalone, "yes" | "no")
    {
        return Err(broken);
    }
    if pairs.next().is_some() { Err(broken) } else { Ok(()) }
}

/// XML s.2.8: white space sets the pairs apart; `quick-xml` does not ask for it.
///
/// `name` is a part of `content`.
pub(super) fn follows_white_space(content: &str, name: &str) -> bool {
    let at = (name.as_ptr() as usize).wrapping_sub(content.as_ptr() as usize);
    let before = at.checked_sub(1).and_then(|before| content.as_bytes().get(before));
    before.is_some_and(|&byte| names::is_white_space(byte))
}

/// Checks a comment (XML s.2.5): no `--` in it, nor a `-` at its end.
pub(super) fn check_comment(content: &str) -> Result<(), XmlError> {
    if content.contains("--") || content.ends_with('-') {
        return Err(XmlError::NotWellFormed(Defect::Markup));
    }
    check_characters(content)
}

/// Checks a processing instruction (XML s.2.6): its target is a name.
pub(super) fn check_instruction(content: &str) -> Result<(), XmlError> {
    let target = content.split([' ', '\t', '\r', '\n']).next().unwrap_or_default();
    if !names::is_ncname(target) {
        return Err(XmlError::NotWellFormed(Defect::Name));
    }
    check_characters(content)
}

fn check_characters(content: &str) -> Result<(), XmlError> {
    if names::is_xml_text(content) {
        Ok(())
    } else {
        Err(XmlError::NotWellFormed(Defect::Character))
    }
}
