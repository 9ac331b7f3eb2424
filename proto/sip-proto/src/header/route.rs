//! Route and Record-Route (RFC 3261 s.20.30 and s.20.34).

use super::{HeaderName, NameAddr, TypedHeader, parse_list, write_list};
use crate::error::Malformed;

/// The proxies that a request is to pass, the next one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route(pub Vec<NameAddr>);

/// The proxies that want to stay on the path of a dialog, the last one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRoute(pub Vec<NameAddr>);

impl TypedHeader for Route {
    const NAME: HeaderName = HeaderName::Route;

    fn parse(value: &str) -> Result<Self, Malformed> {
        parse_route(value).map(Self)
    }

    fn write(&self, out: &mut String) {
        write_list(out, &self.0, NameAddr::write);
    }
}

impl TypedHeader for RecordRoute {
    const NAME: HeaderName = HeaderName::RecordRoute;

    fn parse(value: &str) -> Result<Self, Malformed> {
        parse_route(value).map(Self)
    }

    fn write(&self, out: &mut String) {
        write_list(out, &self.0, NameAddr::write);
    }
}

fn parse_route(value: &str) -> Result<Vec<NameAddr>, Malformed> {
    // RFC 3261 s.25.1: route-param is a name-addr, so that URI parameters such as lr are inside of
    // brackets.
    parse_list(value, NameAddr::scan_enclosed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_uri_parameters_are_kept() {
        let text = "<sip:p2.example;lr>, \"x\" <sip:p1.example;lr>;foo=bar";
        let mut out = String::new();
        RecordRoute::parse(text).unwrap().write(&mut out);
        assert_eq!(out, text);
        assert!(Route::parse("sip:p1.example;lr, <sip:p2.example;lr>").is_err());
        assert!(Route::parse("").is_err());
    }
}
