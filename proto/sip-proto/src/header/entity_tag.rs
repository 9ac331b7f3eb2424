//! SIP-ETag and SIP-If-Match (RFC 3903 s.11.3).

use super::{HeaderName, TypedHeader};
use crate::error::Malformed;
use crate::scan::is_token;

/// The entity-tag that a server gave to a publication.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntityTag(String);

/// The entity-tag of the publication that a PUBLISH refreshes, modifies or removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfMatch(pub EntityTag);

impl EntityTag {
    /// Takes text that is known to be a token.
    pub(crate) fn from_token(token: String) -> Self {
        Self(token)
    }

    /// Returns the tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TypedHeader for EntityTag {
    const NAME: HeaderName = HeaderName::SipEtag;

    fn parse(value: &str) -> Result<Self, Malformed> {
        if is_token(value) { Ok(Self(value.to_owned())) } else { Err(Malformed("not one token")) }
    }

    fn write(&self, out: &mut String) {
        out.push_str(&self.0);
    }
}

impl TypedHeader for IfMatch {
    const NAME: HeaderName = HeaderName::SipIfMatch;

    fn parse(value: &str) -> Result<Self, Malformed> {
        EntityTag::parse(value).map(Self)
    }

    fn write(&self, out: &mut String) {
        self.0.write(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_tag_is_one_token() {
        assert_eq!(
            EntityTag::parse("dx200xyz").map(|tag| tag.as_str().to_owned()).as_deref(),
            Ok("dx200xyz")
        );
        for bad in ["", "a, b", "a b", "\"a\""] {
            assert!(IfMatch::parse(bad).is_err(), "{bad}");
        }
    }
}
