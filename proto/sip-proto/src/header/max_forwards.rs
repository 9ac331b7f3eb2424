//! Max-Forwards (RFC 3261 s.20.22).

use super::{HeaderName, TypedHeader};
use crate::error::Malformed;
use crate::scan::{Decimal, decimal, push_number};

/// How many more hops a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxForwards(pub u8);

impl Default for MaxForwards {
    /// RFC 3261 s.8.1.1.6: 70.
    fn default() -> Self {
        Self(70)
    }
}

impl TypedHeader for MaxForwards {
    const NAME: HeaderName = HeaderName::MaxForwards;

    fn parse(value: &str) -> Result<Self, Malformed> {
        // RFC 4475 s.3.1.2.4: a value above 255 alone may be treated as an absent one.
        Ok(match decimal(value)? {
            Decimal::Fits(number) => u8::try_from(number).map_or_else(|_| Self::default(), Self),
            Decimal::Overlarge => Self::default(),
        })
    }

    fn write(&self, out: &mut String) {
        push_number(out, self.0.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_and_takes_overlarge_ones_as_absent() {
        assert_eq!(MaxForwards::parse("0068"), Ok(MaxForwards(68)));
        assert_eq!(MaxForwards::parse("255"), Ok(MaxForwards(255)));
        assert_eq!(MaxForwards::parse("300"), Ok(MaxForwards(70)));
        assert_eq!(MaxForwards::parse("99999999999999"), Ok(MaxForwards(70)));
        assert!(MaxForwards::parse("-1").is_err());
        assert!(MaxForwards::parse("").is_err());
    }
}
