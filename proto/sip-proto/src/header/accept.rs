//! Accept (RFC 3261 s.20.1).

use super::contact::parse_q;
use super::{HeaderName, MediaType, TypedHeader, parse_possibly_empty_list, write_list};
use crate::error::Malformed;

/// The media ranges that the sender takes: media types, `type/*` and `*/*`. An empty list means
/// none at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept(pub Vec<MediaType>);

impl Accept {
    /// Says whether a media type, given as `type/subtype` in lower case, may be sent.
    #[must_use]
    pub fn permits(&self, name: &str) -> bool {
        // RFC 2616 s.14.1: of the ranges that match, the most specific one counts.
        let best = self.0.iter().filter_map(|range| Some((specificity(range, name)?, range)));
        best.max_by_key(|(specificity, _)| *specificity)
            .is_some_and(|(_, range)| range.parameters.raw("q").and_then(parse_q) != Some(0))
    }
}

fn specificity(range: &MediaType, name: &str) -> Option<u8> {
    if range.name() == name {
        return Some(2);
    }
    let (top_level, subtype) = range.name().split_once('/')?;
    match (top_level, subtype) {
        ("*", "*") => Some(0),
        (_, "*") if name.strip_prefix(top_level).is_some_and(|rest| rest.starts_with('/')) => {
            Some(1)
        }
        _ => None,
    }
}

impl TypedHeader for Accept {
    const NAME: HeaderName = HeaderName::Accept;

    fn parse(value: &str) -> Result<Self, Malformed> {
        parse_possibly_empty_list(value, MediaType::scan).map(Self)
    }

    fn write(&self, out: &mut String) {
        write_list(out, &self.0, MediaType::write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_weights_decide() {
        let accept = Accept::parse("text/*, text/html;q=0, */*;q=0, image/png;q=0.5").unwrap();
        assert!(accept.permits("text/plain"));
        assert!(accept.permits("image/png"));
        assert!(!accept.permits("text/html"));
        assert!(!accept.permits("application/sdp"));
    }

    #[test]
    fn an_empty_accept_permits_nothing() {
        assert!(!Accept::parse("").unwrap().permits("text/plain"));
        assert!(!Accept::parse("tex/*").unwrap().permits("text/plain"));
    }

    #[test]
    fn refuses_entries_that_are_no_ranges() {
        assert!(Accept::parse("application/sdp, text").is_err());
        assert!(Accept::parse("application/sdp,,text/plain").is_err());
    }
}
