//! The request method.

use std::fmt;

use crate::error::Malformed;
use crate::scan::is_token;

/// Declares the known methods with the documents that define them.
macro_rules! methods {
    ($($variant:ident $name:literal $document:literal;)*) => {
        /// A request method.
        ///
        /// Methods are case-sensitive and are never percent-decoded (RFC 4475 s.3.1.1.5).
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Method {
            $(#[doc = $document] $variant,)*
            /// A method that this engine does not know.
            Other(UnknownMethod),
        }

        impl Method {
            /// Reads a method.
            ///
            /// # Errors
            /// Fails when the text is not one token.
            pub fn parse(text: &str) -> Result<Self, Malformed> {
                match text {
                    $($name => Ok(Self::$variant),)*
                    _ if is_token(text) => Ok(Self::Other(UnknownMethod(text.to_owned()))),
                    _ => Err(Malformed("the method is not a token")),
                }
            }

            /// Returns the method as it stands in a message.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(UnknownMethod(name)) => name,
                }
            }
        }
    };
}

methods! {
    Invite "INVITE" "RFC 3261 s.13.";
    Ack "ACK" "RFC 3261 s.13.";
    Bye "BYE" "RFC 3261 s.15.";
    Cancel "CANCEL" "RFC 3261 s.9.";
    Register "REGISTER" "RFC 3261 s.10.";
    Options "OPTIONS" "RFC 3261 s.11.";
    Prack "PRACK" "RFC 3262.";
    Subscribe "SUBSCRIBE" "RFC 6665 s.3.1.";
    Notify "NOTIFY" "RFC 6665 s.3.2.";
    Update "UPDATE" "RFC 3311.";
    Message "MESSAGE" "RFC 3428.";
    Refer "REFER" "RFC 3515.";
    Publish "PUBLISH" "RFC 3903.";
    Info "INFO" "RFC 6086.";
}

/// The name of a method that this engine does not know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownMethod(String);

impl Method {
    /// Says whether this engine knows the method: an unknown one gets 501, a known one that is
    /// not supported 405 (RFC 3261 s.8.2.1 and s.21.5.2).
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_method_is_read_back_as_itself() {
        for name in ["INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "MESSAGE", "PUBLISH"]
        {
            let method = Method::parse(name).unwrap();
            assert!(method.is_known());
            assert_eq!(method.as_str(), name);
        }
    }

    #[test]
    fn case_and_escapes_make_another_method() {
        for other in ["register", "RE%47IST%45R", "!interesting-Method0123456789_*+`.%indeed'~"] {
            let method = Method::parse(other).unwrap();
            assert!(!method.is_known());
            assert_eq!(method.as_str(), other);
        }
    }

    #[test]
    fn a_method_is_one_token() {
        for bad in ["", "A B", "A:B", "<A>", "É"] {
            assert!(Method::parse(bad).is_err(), "{bad}");
        }
    }
}
