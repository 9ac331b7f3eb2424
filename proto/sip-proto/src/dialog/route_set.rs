//! The proxies that the requests of a dialog pass (RFC 3261 s.12.1 and s.12.2.1.1).

use crate::error::Malformed;
use crate::header::{NameAddr, RecordRoute, Route};
use crate::uri::Uri;

/// A route set, first proxy first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSet(Vec<NameAddr>);

impl RouteSet {
    /// Takes the Record-Route of a received request: in order.
    #[must_use]
    pub fn of_uas(record_route: Option<RecordRoute>) -> Self {
        Self(record_route.map(|RecordRoute(addresses)| addresses).unwrap_or_default())
    }

    /// Returns the Request-URI and the Route of a request to `remote_target`.
    pub(super) fn apply(&self, remote_target: &Uri) -> (Uri, Option<Route>) {
        let Some((first, rest)) = self.0.split_first() else {
            return (remote_target.clone(), None);
        };
        if first.uri().has_parameter("lr") {
            return (remote_target.clone(), Some(Route(self.0.clone())));
        }
        // RFC 3261 s.12.2.1.1: a strict router gets the request as its own Request-URI, and the
        // remote target travels as the last route.
        let mut route = rest.to_vec();
        route.push(NameAddr::new(remote_target.clone()));
        (first.uri().clone(), Some(Route(route)))
    }

    pub(super) fn to_text(&self) -> Vec<String> {
        self.0.iter().map(NameAddr::to_wire).collect()
    }

    pub(super) fn from_text(texts: &[String]) -> Result<Self, Malformed> {
        texts.iter().map(|text| NameAddr::parse(text)).collect::<Result<_, _>>().map(Self)
    }
}
