//! Retry-After (RFC 3261 s.20.33).

use super::{HeaderName, Parameters, TypedHeader};
use crate::error::Malformed;
use crate::scan::{Decimal, Scanner, decimal, push_number};

/// After how many seconds a request may be tried again; its comment and parameters are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub u32);

impl TypedHeader for RetryAfter {
    const NAME: HeaderName = HeaderName::RetryAfter;

    fn parse(value: &str) -> Result<Self, Malformed> {
        let mut scanner = Scanner::new(value);
        let seconds = match decimal(scanner.token()?)? {
            Decimal::Fits(seconds) => seconds,
            Decimal::Overlarge => u32::MAX,
        };
        scanner.skip_lws();
        if scanner.peek() == Some(b'(') {
            scanner.skip_comment()?;
        }
        Parameters::parse(&mut scanner)?;
        scanner.finish()?;
        Ok(Self(seconds))
    }

    fn write(&self, out: &mut String) {
        push_number(out, self.0.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_parameters_are_skipped() {
        assert_eq!(RetryAfter::parse("18000;duration=3600"), Ok(RetryAfter(18000)));
        assert_eq!(RetryAfter::parse("120 (I'm in a (long) meeting)"), Ok(RetryAfter(120)));
        assert_eq!(RetryAfter::parse("949302838503028349304023988"), Ok(RetryAfter(u32::MAX)));
        assert!(RetryAfter::parse("120 (open").is_err());
        assert!(RetryAfter::parse("soon").is_err());
    }
}
