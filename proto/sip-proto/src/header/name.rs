//! The name of a header field in its long and compact form.

use std::fmt;

/// Declares the known header fields: variant, canonical spelling, spellings in lower case.
macro_rules! header_names {
    ($($variant:ident $canonical:literal $($lower:literal)|+;)*) => {
        /// The name of a header field that this engine knows, or `Other`.
        ///
        /// Long and compact form are the same name, in any case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum HeaderName {
            $(#[doc = concat!("`", $canonical, "`.")] $variant,)*
            /// A header field that this engine does not know; its spelling stands beside it.
            Other,
        }

        impl HeaderName {
            /// Returns the canonical spelling, `Other` for a name that is not known.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $canonical,)*
                    Self::Other => "Other",
                }
            }

            fn from_lower_case(name: &[u8]) -> Self {
                $($(const _: () = assert!($lower.len() <= NAME_BYTES_MAX);)+)*
                match name {
                    $($($lower)|+ => Self::$variant,)*
                    _ => Self::Other,
                }
            }
        }
    };
}

/// Length of the longest known name.
const NAME_BYTES_MAX: usize = 24;

header_names! {
    Via "Via" b"via" | b"v";
    From "From" b"from" | b"f";
    To "To" b"to" | b"t";
    CallId "Call-ID" b"call-id" | b"i";
    CSeq "CSeq" b"cseq";
    MaxForwards "Max-Forwards" b"max-forwards";
    Contact "Contact" b"contact" | b"m";
    ContentType "Content-Type" b"content-type" | b"c";
    ContentLength "Content-Length" b"content-length" | b"l";
    Event "Event" b"event" | b"o";
    SubscriptionState "Subscription-State" b"subscription-state";
    Expires "Expires" b"expires";
    Accept "Accept" b"accept";
    Allow "Allow" b"allow";
    Supported "Supported" b"supported" | b"k";
    UserAgent "User-Agent" b"user-agent";
    Authorization "Authorization" b"authorization";
    Route "Route" b"route";
    RecordRoute "Record-Route" b"record-route";
    Subject "Subject" b"subject" | b"s";
    Date "Date" b"date";
    AcceptContact "Accept-Contact" b"accept-contact" | b"a";
    AcceptEncoding "Accept-Encoding" b"accept-encoding";
    AcceptLanguage "Accept-Language" b"accept-language";
    AllowEvents "Allow-Events" b"allow-events" | b"u";
    AuthenticationInfo "Authentication-Info" b"authentication-info";
    ContentDisposition "Content-Disposition" b"content-disposition";
    ContentEncoding "Content-Encoding" b"content-encoding" | b"e";
    ContentLanguage "Content-Language" b"content-language";
    Identity "Identity" b"identity" | b"y";
    IdentityInfo "Identity-Info" b"identity-info" | b"n";
    MimeVersion "MIME-Version" b"mime-version";
    MinExpires "Min-Expires" b"min-expires";
    Organization "Organization" b"organization";
    PAssertedIdentity "P-Asserted-Identity" b"p-asserted-identity";
    PPreferredIdentity "P-Preferred-Identity" b"p-preferred-identity";
    Path "Path" b"path";
    Priority "Priority" b"priority";
    ProxyAuthenticate "Proxy-Authenticate" b"proxy-authenticate";
    ProxyAuthorization "Proxy-Authorization" b"proxy-authorization";
    ProxyRequire "Proxy-Require" b"proxy-require";
    Reason "Reason" b"reason";
    ReferTo "Refer-To" b"refer-to" | b"r";
    ReferredBy "Referred-By" b"referred-by" | b"b";
    RejectContact "Reject-Contact" b"reject-contact" | b"j";
    ReplyTo "Reply-To" b"reply-to";
    RequestDisposition "Request-Disposition" b"request-disposition" | b"d";
    Require "Require" b"require";
    RetryAfter "Retry-After" b"retry-after";
    Server "Server" b"server";
    ServiceRoute "Service-Route" b"service-route";
    SessionExpires "Session-Expires" b"session-expires" | b"x";
    SipEtag "SIP-ETag" b"sip-etag";
    SipIfMatch "SIP-If-Match" b"sip-if-match";
    Timestamp "Timestamp" b"timestamp";
    Unsupported "Unsupported" b"unsupported";
    Warning "Warning" b"warning";
    WwwAuthenticate "WWW-Authenticate" b"www-authenticate";
}

/// Header fields that may stand once, so that a second one could only be meant to be read by
/// somebody else.
const SINGLE: [HeaderName; 27] = [
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::MaxForwards,
    HeaderName::ContentType,
    HeaderName::ContentLength,
    HeaderName::ContentDisposition,
    HeaderName::Event,
    HeaderName::SubscriptionState,
    HeaderName::Expires,
    HeaderName::MinExpires,
    HeaderName::UserAgent,
    HeaderName::Subject,
    HeaderName::Date,
    HeaderName::MimeVersion,
    HeaderName::Organization,
    HeaderName::Priority,
    HeaderName::ReferTo,
    HeaderName::ReferredBy,
    HeaderName::ReplyTo,
    HeaderName::RetryAfter,
    HeaderName::Server,
    HeaderName::SessionExpires,
    HeaderName::SipEtag,
    HeaderName::SipIfMatch,
    HeaderName::Timestamp,
];

const SINGLE_SET: u64 = {
    let mut set = 0;
    let mut left: &[HeaderName] = &SINGLE;
    while let Some((first, rest)) = left.split_first() {
        set |= first.bit();
        left = rest;
    }
    set
};

impl HeaderName {
    /// Finds the header field of a name in any case and form.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        let mut lower = [0; NAME_BYTES_MAX];
        let Some(lower) = lower.get_mut(..name.len()) else {
            return Self::Other;
        };
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        Self::from_lower_case(lower)
    }

    /// Says whether a message may carry the header field once only.
    #[must_use]
    pub const fn is_single(self) -> bool {
        SINGLE_SET & self.bit() != 0
    }

    /// Returns the bit that stands for the name in a set of names.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_compact_forms_are_one_name_in_any_case() {
        for (compact, long) in [
            ("a", "Accept-Contact"),
            ("b", "Referred-By"),
            ("c", "Content-Type"),
            ("d", "Request-Disposition"),
            ("e", "Content-Encoding"),
            ("f", "From"),
            ("i", "Call-ID"),
            ("j", "Reject-Contact"),
            ("k", "Supported"),
            ("l", "Content-Length"),
            ("m", "Contact"),
            ("n", "Identity-Info"),
            ("o", "Event"),
            ("r", "Refer-To"),
            ("s", "Subject"),
            ("t", "To"),
            ("u", "Allow-Events"),
            ("v", "Via"),
            ("x", "Session-Expires"),
            ("y", "Identity"),
        ] {
            let name = HeaderName::parse(compact);
            assert_ne!(name, HeaderName::Other, "{compact}");
            assert_eq!(HeaderName::parse(&compact.to_uppercase()), name);
            assert_eq!(HeaderName::parse(&long.to_uppercase()), name);
            assert_eq!(name.as_str(), long);
        }
    }

    #[test]
    fn a_name_that_only_resembles_a_known_one_is_unknown() {
        for other in ["", "C%6Fntact", "Contact2", "q", "Xyzzy", &"v".repeat(100)] {
            assert_eq!(HeaderName::parse(other), HeaderName::Other, "{other}");
        }
    }

    #[test]
    fn lists_may_be_repeated_and_single_values_may_not() {
        assert!(HeaderName::CSeq.is_single() && HeaderName::Event.is_single());
        assert!(!HeaderName::Via.is_single() && !HeaderName::Other.is_single());
    }
}
