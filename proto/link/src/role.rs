//! Roles in link certificates: an edge cannot pose as a front end, nor the other way round.

use std::fmt;

/// The two ends of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The process in the DMZ; it listens.
    Edge,
    /// The process inside; it dials.
    Frontend,
}

impl Role {
    const fn segment(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Frontend => "frontend",
        }
    }

    /// Returns the name that a certificate's URI subject alternative name gives to this role.
    ///
    /// The form is `spiffe://isthmus/<role>/<name>`; a name is 1 to 63 letters, digits, `-` or `.`.
    pub fn name_in(self, uri: &str) -> Option<&str> {
        let rest = uri.strip_prefix("spiffe://isthmus/")?;
        let name = rest.strip_prefix(self.segment())?.strip_prefix('/')?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        ((1..=63).contains(&name.len()) && name.bytes().all(legal)).then_some(name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.segment())
    }
}

#[cfg(test)]
mod tests {
    use super::Role;

    #[test]
    fn a_role_is_read_only_from_its_own_uri() {
        let uri = "spiffe://isthmus/edge/edge-1.dmz";
        assert_eq!(Role::Edge.name_in(uri), Some("edge-1.dmz"));
        assert_eq!(Role::Frontend.name_in(uri), None);
    }

    #[test]
    fn names_with_other_characters_or_lengths_are_no_names() {
        let long = format!("spiffe://isthmus/edge/{}", "a".repeat(64));
        for uri in [
            "spiffe://isthmus/edge/",
            "spiffe://isthmus/edge/a/b",
            "spiffe://isthmus/edge/a%2f",
            "spiffe://other/edge/a",
            "spiffe://isthmus/edgea",
            long.as_str(),
        ] {
            assert_eq!(Role::Edge.name_in(uri), None, "{uri}");
        }
    }
}
