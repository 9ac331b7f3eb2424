//! Event (RFC 6665 s.8.2.1).

use super::{HeaderName, Parameters, TypedHeader};
use crate::error::Malformed;
use crate::scan::Scanner;

/// The event package of a subscription or publication, and what tells two of one dialog apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    package: String,
    parameters: Parameters,
}

impl Event {
    /// Makes the header field of a package, which the code names, without an id.
    #[must_use]
    pub fn of_package(package: &'static str) -> Self {
        Self { package: package.to_owned(), parameters: Parameters::default() }
    }

    /// Returns the event package with its template packages, such as `presence.winfo`.
    #[must_use]
    pub fn package(&self) -> &str {
        &self.package
    }

    /// Returns the id parameter.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.parameters.raw("id")
    }

    /// Says whether two header fields mean the same subscription of a dialog.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        // RFC 6665 s.8.2.1: package and id are compared byte by byte, other parameters are not.
        self.package == other.package && self.id() == other.id()
    }
}

impl TypedHeader for Event {
    const NAME: HeaderName = HeaderName::Event;

    fn parse(value: &str) -> Result<Self, Malformed> {
        let mut scanner = Scanner::new(value);
        let package = scanner.token()?.to_owned();
        let parameters = Parameters::parse(&mut scanner)?;
        scanner.finish()?;
        Ok(Self { package, parameters })
    }

    fn write(&self, out: &mut String) {
        out.push_str(&self.package);
        self.parameters.write(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_and_id_decide_whether_two_events_match() {
        let event = |text| Event::parse(text).unwrap();
        assert!(event("presence;id=7").matches(&event("presence ; id=7;x=y")));
        assert!(!event("presence;id=7").matches(&event("presence")));
        assert!(!event("presence").matches(&event("presence.winfo")));
        assert!(!event("presence").matches(&event("Presence")));
        assert!(Event::parse("presence, dialog").is_err());
    }
}
