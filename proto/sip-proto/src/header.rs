//! Typed header fields: one file each, and what they share.
//!
//! A header field that is only a list of tokens (Require, Supported, Allow-Events, ...) has no
//! type: [`crate::headers::Headers::tokens`] reads it.

mod accept;
mod allow;
mod call_id;
mod contact;
mod content_type;
mod cseq;
mod date;
mod entity_tag;
mod event;
mod expires;
mod from_to;
mod max_forwards;
mod name;
mod name_addr;
mod parameters;
mod retry_after;
mod route;
mod subscription_state;
mod via;
mod warning;

pub use self::accept::Accept;
pub use self::allow::Allow;
pub use self::call_id::CallId;
pub use self::contact::Contact;
pub use self::content_type::MediaType;
pub use self::cseq::CSeq;
pub use self::date::Date;
pub use self::entity_tag::{EntityTag, IfMatch};
pub use self::event::Event;
pub use self::expires::{EXPIRES_DEFAULT_SECONDS, Expires, MinExpires};
pub use self::max_forwards::MaxForwards;
pub use self::name::HeaderName;
pub use self::name_addr::NameAddr;
pub use self::parameters::Parameters;
pub use self::retry_after::RetryAfter;
pub use self::route::{RecordRoute, Route};
pub use self::subscription_state::{SubscriptionState, SubscriptionStatus, TerminationReason};
pub use self::via::{MAGIC_COOKIE, SentBy, Via};
pub use self::warning::{Warning, WarningValue};

use crate::error::Malformed;
use crate::limits::LIST_VALUES_MAX;
use crate::scan::Scanner;

/// A header field whose value this engine reads and writes.
///
/// For a header field that is a list, the value is all its rows joined by commas, which
/// RFC 3261 s.7.3.1 makes equal to the rows.
pub trait TypedHeader: Sized {
    /// The header field.
    const NAME: HeaderName;

    /// Reads an unfolded value without whitespace around it.
    ///
    /// # Errors
    /// Fails when the value does not follow the grammar of the header field.
    fn parse(value: &str) -> Result<Self, Malformed>;

    /// Appends the value as it is written in a message.
    fn write(&self, out: &mut String);
}

/// Reads one or more values separated by commas.
fn parse_list<'a, T>(
    value: &'a str,
    mut item: impl FnMut(&mut Scanner<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let mut scanner = Scanner::new(value);
    let mut items = Vec::new();
    loop {
        if items.len() == LIST_VALUES_MAX {
            return Err(Malformed("too many values"));
        }
        scanner.skip_lws();
        items.push(item(&mut scanner)?);
        if !scanner.eat(b',') {
            scanner.finish()?;
            return Ok(items);
        }
    }
}

/// Reads zero or more values separated by commas.
fn parse_possibly_empty_list<'a, T>(
    value: &'a str,
    item: impl FnMut(&mut Scanner<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    if value.is_empty() { Ok(Vec::new()) } else { parse_list(value, item) }
}

/// Writes values separated by commas.
fn write_list<T>(out: &mut String, items: &[T], write: impl Fn(&T, &mut String)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(item, out);
    }
}
