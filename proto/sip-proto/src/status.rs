//! The status code of a response and its usual reason phrase.

use std::fmt;

use crate::error::Malformed;

/// A status code from 100 to 699.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatusCode(u16);

/// Declares the status codes that have a name here, with their reason phrases.
macro_rules! status_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal $phrase:literal;)*) => {
        impl StatusCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)*

            /// Returns the reason phrase that the RFCs give, or that of the class.
            #[must_use]
            pub fn reason_phrase(self) -> &'static str {
                match self.0 {
                    $($code => $phrase,)*
                    100..=199 => "Provisional",
                    200..=299 => "Success",
                    300..=399 => "Redirection",
                    400..=499 => "Client Error",
                    500..=599 => "Server Error",
                    _ => "Global Failure",
                }
            }
        }
    };
}

status_codes! {
    /// RFC 3261 s.21.1.1.
    TRYING = 100 "Trying";
    /// RFC 3261 s.21.2.1.
    OK = 200 "OK";
    /// RFC 3428 s.7; for SUBSCRIBE and NOTIFY RFC 6665 s.8.3.1 forbids it.
    ACCEPTED = 202 "Accepted";
    /// RFC 3261 s.21.3.2.
    MOVED_PERMANENTLY = 301 "Moved Permanently";
    /// RFC 3261 s.21.3.3.
    MOVED_TEMPORARILY = 302 "Moved Temporarily";
    /// RFC 3261 s.21.4.1.
    BAD_REQUEST = 400 "Bad Request";
    /// RFC 3261 s.21.4.2.
    UNAUTHORIZED = 401 "Unauthorized";
    /// RFC 3261 s.21.4.4.
    FORBIDDEN = 403 "Forbidden";
    /// RFC 3261 s.21.4.5.
    NOT_FOUND = 404 "Not Found";
    /// RFC 3261 s.21.4.6.
    METHOD_NOT_ALLOWED = 405 "Method Not Allowed";
    /// RFC 3261 s.21.4.7.
    NOT_ACCEPTABLE = 406 "Not Acceptable";
    /// RFC 3261 s.21.4.8.
    PROXY_AUTHENTICATION_REQUIRED = 407 "Proxy Authentication Required";
    /// RFC 3261 s.21.4.9.
    REQUEST_TIMEOUT = 408 "Request Timeout";
    /// RFC 3261 s.21.4.10.
    GONE = 410 "Gone";
    /// RFC 3903 s.11.2.1.
    CONDITIONAL_REQUEST_FAILED = 412 "Conditional Request Failed";
    /// RFC 3261 s.21.4.11.
    REQUEST_ENTITY_TOO_LARGE = 413 "Request Entity Too Large";
    /// RFC 3261 s.21.4.12.
    REQUEST_URI_TOO_LONG = 414 "Request-URI Too Long";
    /// RFC 3261 s.21.4.13.
    UNSUPPORTED_MEDIA_TYPE = 415 "Unsupported Media Type";
    /// RFC 3261 s.21.4.14.
    UNSUPPORTED_URI_SCHEME = 416 "Unsupported URI Scheme";
    /// RFC 3261 s.21.4.15.
    BAD_EXTENSION = 420 "Bad Extension";
    /// RFC 3261 s.21.4.17.
    INTERVAL_TOO_BRIEF = 423 "Interval Too Brief";
    /// RFC 3261 s.21.4.18.
    TEMPORARILY_UNAVAILABLE = 480 "Temporarily Unavailable";
    /// RFC 3261 s.21.4.19; RFC 6665 s.4.1.3.
    DOES_NOT_EXIST = 481 "Call/Transaction Does Not Exist";
    /// RFC 3261 s.21.4.20.
    LOOP_DETECTED = 482 "Loop Detected";
    /// RFC 3261 s.21.4.21.
    TOO_MANY_HOPS = 483 "Too Many Hops";
    /// RFC 3261 s.21.4.22.
    ADDRESS_INCOMPLETE = 484 "Address Incomplete";
    /// RFC 3261 s.21.4.23.
    AMBIGUOUS = 485 "Ambiguous";
    /// RFC 3261 s.21.4.24.
    BUSY_HERE = 486 "Busy Here";
    /// RFC 3261 s.21.4.25.
    REQUEST_TERMINATED = 487 "Request Terminated";
    /// RFC 3261 s.21.4.26.
    NOT_ACCEPTABLE_HERE = 488 "Not Acceptable Here";
    /// RFC 6665 s.8.3.2.
    BAD_EVENT = 489 "Bad Event";
    /// RFC 3261 s.21.4.27.
    REQUEST_PENDING = 491 "Request Pending";
    /// RFC 3261 s.21.5.1.
    SERVER_INTERNAL_ERROR = 500 "Server Internal Error";
    /// RFC 3261 s.21.5.2.
    NOT_IMPLEMENTED = 501 "Not Implemented";
    /// RFC 3261 s.21.5.4.
    SERVICE_UNAVAILABLE = 503 "Service Unavailable";
    /// RFC 3261 s.21.5.5.
    SERVER_TIMEOUT = 504 "Server Time-out";
    /// RFC 3261 s.21.5.6.
    VERSION_NOT_SUPPORTED = 505 "Version Not Supported";
    /// RFC 3261 s.21.5.7.
    MESSAGE_TOO_LARGE = 513 "Message Too Large";
    /// RFC 3261 s.21.6.1.
    BUSY_EVERYWHERE = 600 "Busy Everywhere";
    /// RFC 3261 s.21.6.2.
    DECLINE = 603 "Decline";
    /// RFC 3261 s.21.6.3.
    DOES_NOT_EXIST_ANYWHERE = 604 "Does Not Exist Anywhere";
    /// RFC 3261 s.21.6.4.
    NOT_ACCEPTABLE_ANYWHERE = 606 "Not Acceptable";
}

impl StatusCode {
    /// Makes a status code from a number.
    ///
    /// # Errors
    /// Fails outside of 100 to 699 (RFC 3261 s.7.2).
    pub fn new(code: u16) -> Result<Self, Malformed> {
        if (100..=699).contains(&code) {
            Ok(Self(code))
        } else {
            Err(Malformed("the status code is not from 100 to 699"))
        }
    }

    /// Reads the three digits of a status line.
    ///
    /// # Errors
    /// Fails when there are not exactly three digits or the class is not 1 to 6.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        // RFC 4475 s.3.1.2.19: a number that does not fit must not wrap to a valid one.
        if text.len() != 3 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Malformed("the status code is not three digits"));
        }
        Self::new(text.parse().unwrap_or_default())
    }

    /// Returns the number.
    #[must_use]
    pub fn code(self) -> u16 {
        self.0
    }

    /// Says whether the code is 1xx.
    #[must_use]
    pub fn is_provisional(self) -> bool {
        self.0 < 200
    }

    /// Says whether the code is 2xx.
    #[must_use]
    pub fn is_success(self) -> bool {
        (200..300).contains(&self.0)
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_never_wrap_or_leave_their_classes() {
        assert_eq!(StatusCode::parse("200"), Ok(StatusCode::OK));
        assert_eq!(StatusCode::parse("699").map(StatusCode::code), Ok(699));
        for bad in ["", "20", "099", "700", "2000", "4294967301", "+20", "2 0", "２00"] {
            assert!(StatusCode::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_code_without_a_name_gets_the_phrase_of_its_class() {
        assert_eq!(StatusCode::new(299).map(StatusCode::reason_phrase), Ok("Success"));
        assert_eq!(StatusCode::new(499).map(StatusCode::reason_phrase), Ok("Client Error"));
    }
}
