//! Branches, tags, Call-IDs and entity-tags out of a seed that the owner draws.

use sha2::{Digest, Sha256};

use crate::header::{CallId, EntityTag, MAGIC_COOKIE};
use crate::scan;

/// Length of a branch, in bytes.
pub(crate) const BRANCH_BYTES: usize = MAGIC_COOKIE.len() + 32;

/// A source of identifiers that nobody can guess who does not know the seed.
///
/// The owner draws a fresh seed whenever it makes a source: two sources of one seed give the same
/// identifiers.
#[derive(Clone)]
pub struct IdSource {
    seed: [u8; 32],
    counter: u64,
}

impl IdSource {
    /// Makes a source from 32 random bytes.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0 }
    }

    /// Makes another source, whose identifiers differ from those of this one.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    /// Returns a branch with the magic cookie (RFC 3261 s.8.1.1.7).
    #[must_use]
    pub fn branch(&mut self) -> String {
        let mut branch = String::with_capacity(BRANCH_BYTES);
        branch.push_str(MAGIC_COOKIE);
        scan::push_hexadecimal(&mut branch, self.next().get(..16).unwrap_or_default());
        branch
    }

    /// Returns a tag of 64 bits; RFC 3261 s.19.3 asks for 32.
    #[must_use]
    pub fn tag(&mut self) -> String {
        self.hexadecimal(8)
    }

    /// Returns a Call-ID.
    #[must_use]
    pub fn call_id(&mut self) -> CallId {
        CallId::from_word(self.hexadecimal(16))
    }

    /// Returns an entity-tag.
    #[must_use]
    pub fn entity_tag(&mut self) -> EntityTag {
        EntityTag::from_token(self.hexadecimal(16))
    }

    fn next(&mut self) -> [u8; 32] {
        self.counter += 1;
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(self.counter.to_be_bytes());
        hash.finalize().into()
    }

    fn hexadecimal(&mut self, bytes: usize) -> String {
        let digest = self.next();
        scan::hexadecimal(digest.get(..bytes).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::header::TypedHeader;

    #[test]
    fn identifiers_never_repeat_and_depend_on_the_seed_alone() {
        let mut source = IdSource::new([1; 32]);
        let mut fork = source.fork();
        let mut seen = BTreeSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(source.tag()) && seen.insert(fork.tag()));
        }
        assert_eq!(IdSource::new([1; 32]).branch(), IdSource::new([1; 32]).branch());
        assert_ne!(IdSource::new([1; 32]).branch(), IdSource::new([2; 32]).branch());
    }

    #[test]
    fn identifiers_follow_their_grammar() {
        let mut source = IdSource::new([7; 32]);
        let branch = source.branch();
        assert!(branch.starts_with("z9hG4bK") && branch.len() == BRANCH_BYTES);
        assert_eq!(source.tag().len(), 16);
        let call_id = source.call_id();
        assert_eq!(CallId::parse(call_id.as_str()), Ok(call_id.clone()));
        let tag = source.entity_tag();
        assert_eq!(EntityTag::parse(tag.as_str()), Ok(tag.clone()));
    }
}
