//! From and To: an address with a tag (RFC 3261 s.19.3, s.20.20 and s.20.39).

use super::NameAddr;

impl NameAddr {
    /// Returns the tag.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.parameters.raw("tag")
    }

    /// Sets the tag.
    #[must_use]
    pub fn with_tag(mut self, tag: &str) -> Self {
        self.parameters.set("tag", tag);
        self
    }
}
