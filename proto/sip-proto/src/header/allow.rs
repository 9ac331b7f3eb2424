//! Allow (RFC 3261 s.20.5).

use super::{HeaderName, TypedHeader, parse_possibly_empty_list, write_list};
use crate::error::Malformed;
use crate::method::Method;

/// The methods that an element supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow(pub Vec<Method>);

impl TypedHeader for Allow {
    const NAME: HeaderName = HeaderName::Allow;

    fn parse(value: &str) -> Result<Self, Malformed> {
        parse_possibly_empty_list(value, |scanner| Method::parse(scanner.token()?)).map(Self)
    }

    fn write(&self, out: &mut String) {
        write_list(out, &self.0, |method, out| out.push_str(method.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_known_and_unknown_methods_and_the_empty_list() {
        let allow = Allow::parse("INVITE , NEWMETHOD,ACK").unwrap();
        assert_eq!(
            allow.0.iter().map(Method::as_str).collect::<Vec<_>>(),
            ["INVITE", "NEWMETHOD", "ACK"]
        );
        assert_eq!(Allow::parse(""), Ok(Allow(Vec::new())));
        assert!(Allow::parse("INVITE,,ACK").is_err());
    }
}
