//! Call-ID (RFC 3261 s.20.8).

use super::{HeaderName, TypedHeader};
use crate::byte_set::WORD;
use crate::error::Malformed;
use crate::scan::Scanner;

/// The identifier of a dialog or of a series of messages; compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(String);

impl CallId {
    /// Takes text that is known to be a word.
    pub(crate) fn from_word(word: String) -> Self {
        Self(word)
    }

    /// Returns the identifier.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TypedHeader for CallId {
    const NAME: HeaderName = HeaderName::CallId;

    fn parse(value: &str) -> Result<Self, Malformed> {
        // RFC 3261 s.25.1: word [ "@" word ].
        let mut scanner = Scanner::new(value);
        let local = scanner.take_all_of(&WORD);
        let host = if scanner.eat_exactly(b'@') { scanner.take_all_of(&WORD) } else { "-" };
        if !local.is_empty() && !host.is_empty() && scanner.is_done() {
            Ok(Self(value.to_owned()))
        } else {
            Err(Malformed("not one or two words"))
        }
    }

    fn write(&self, out: &mut String) {
        out.push_str(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_allow_more_than_tokens() {
        let text = r#"intmeth.word%ZK-!.*_+'@word`~)(><:\/"][?}{"#;
        assert_eq!(CallId::parse(text).map(|id| id.as_str().to_owned()).as_deref(), Ok(text));
        assert!(CallId::parse("2398B737-566F-4CBB-A21A-1F8EEF7AF423").is_ok());
    }

    #[test]
    fn spaces_second_at_signs_and_other_scripts_are_refused() {
        for bad in ["", "@", "a@", "@b", "a@b@c", "a b", "a;b", "a,b", "é"] {
            assert!(CallId::parse(bad).is_err(), "{bad}");
        }
    }
}
