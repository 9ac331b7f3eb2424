//! Expires and Min-Expires in seconds (RFC 3261 s.20.19 and s.20.23).

use super::{HeaderName, TypedHeader};
use crate::error::Malformed;
use crate::scan::{Decimal, decimal, push_number};

/// What stands in for an interval that is malformed or too large, in seconds
/// (RFC 3261 s.10.2.1.1, RFC 4475 s.3.1.2.4).
pub const EXPIRES_DEFAULT_SECONDS: u32 = 3600;

/// How long something is asked to last, or will last, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expires(pub u32);

/// The shortest interval that a server accepts, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinExpires(pub u32);

impl TypedHeader for Expires {
    const NAME: HeaderName = HeaderName::Expires;

    fn parse(value: &str) -> Result<Self, Malformed> {
        Ok(Self(match decimal(value)? {
            Decimal::Fits(seconds) => seconds,
            Decimal::Overlarge => EXPIRES_DEFAULT_SECONDS,
        }))
    }

    fn write(&self, out: &mut String) {
        push_number(out, self.0.into());
    }
}

impl TypedHeader for MinExpires {
    const NAME: HeaderName = HeaderName::MinExpires;

    fn parse(value: &str) -> Result<Self, Malformed> {
        Expires::parse(value).map(|Expires(seconds)| Self(seconds))
    }

    fn write(&self, out: &mut String) {
        push_number(out, self.0.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlarge_intervals_become_the_default_and_others_stay() {
        assert_eq!(Expires::parse("0"), Ok(Expires(0)));
        assert_eq!(Expires::parse("4294967295"), Ok(Expires(u32::MAX)));
        assert_eq!(Expires::parse(&"9".repeat(100)), Ok(Expires(3600)));
        assert!(Expires::parse("soon").is_err());
        assert_eq!(MinExpires::parse("60"), Ok(MinExpires(60)));
    }
}
