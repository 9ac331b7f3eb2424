//! CSeq (RFC 3261 s.20.16).

use super::{HeaderName, TypedHeader};
use crate::error::Malformed;
use crate::method::Method;
use crate::scan::{Decimal, Scanner, decimal, push_number};

/// The sequence number of a request and its method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// The sequence number.
    pub number: u32,
    /// The method, which equals that of the request.
    pub method: Method,
}

impl TypedHeader for CSeq {
    const NAME: HeaderName = HeaderName::CSeq;

    fn parse(value: &str) -> Result<Self, Malformed> {
        let mut scanner = Scanner::new(value);
        // RFC 4475 s.3.1.2.4: a number above 2^32-1 is an error and never wraps.
        let Decimal::Fits(number) = decimal(scanner.token()?)? else {
            return Err(Malformed("the number does not fit 32 bits"));
        };
        scanner.skip_lws();
        let method = Method::parse(scanner.token()?)?;
        scanner.finish()?;
        Ok(Self { number, method })
    }

    fn write(&self, out: &mut String) {
        push_number(out, self.number.into());
        out.push(' ');
        out.push_str(self.method.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_do_not_matter() {
        let cseq = CSeq::parse("0009  INVITE");
        assert_eq!(cseq, Ok(CSeq { number: 9, method: Method::Invite }));
    }

    #[test]
    fn refuses_numbers_that_do_not_fit_and_missing_parts() {
        assert!(CSeq::parse("4294967295 A").is_ok());
        for bad in [
            "4294967296 A",
            "36893488147419103232 REGISTER",
            "1",
            "INVITE",
            "1 A B",
            "-1 A",
            "1A",
            "",
        ] {
            assert!(CSeq::parse(bad).is_err(), "{bad}");
        }
    }
}
