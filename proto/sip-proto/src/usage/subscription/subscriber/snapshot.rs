//! A subscriber as plain text and numbers, so that its subscriptions survive a restart.

use std::collections::VecDeque;
use std::time::Instant;

use super::attempt::Attempt;
use super::usage::Usage;
use super::{Standing, Subscriber, SubscriberTerms};
use crate::dialog::{Dialog, DialogSnapshot};
use crate::error::Malformed;
use crate::header::{Accept, CallId, Event, NameAddr, TypedHeader};
use crate::uri::Uri;

/// A subscriber for a store. Without dialogs there is nothing to restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberSnapshot {
    /// The resource.
    pub target: String,
    /// The From, with tag.
    pub local: String,
    /// Where NOTIFYs go.
    pub contact: String,
    /// The Event.
    pub event: String,
    /// The Accept.
    pub accept: String,
    /// The interval asked for, in seconds.
    pub expires_seconds: u32,
    /// When to refresh, in thousandths of the interval; the owner may draw another before it
    /// restores.
    pub refresh_permille: u16,
    /// The Call-ID.
    pub call_id: String,
    /// The dialogs.
    pub usages: Vec<UsageSnapshot>,
}

/// One dialog of a subscriber for a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSnapshot {
    /// The dialog.
    pub dialog: DialogSnapshot,
    /// Whether the last NOTIFY said active.
    pub is_active: bool,
    /// When the subscription ends, in seconds since 1970.
    pub expires_at_unix_seconds: u64,
}

impl Subscriber {
    /// Returns the subscriber as plain data. Requests under way are not part of it.
    #[must_use]
    pub fn snapshot(&self, now: Instant, unix_seconds: u64) -> SubscriberSnapshot {
        let usages = self.usages.iter().map(|usage| UsageSnapshot {
            dialog: usage.dialog.snapshot(),
            is_active: usage.standing == Standing::Active,
            expires_at_unix_seconds: unix_seconds
                + usage.expires_at.saturating_duration_since(now).as_secs(),
        });
        SubscriberSnapshot {
            target: self.terms.target.to_wire(),
            local: self.local.to_wire(),
            contact: self.terms.contact.to_wire(),
            event: value(&self.terms.event),
            accept: value(&self.terms.accept),
            expires_seconds: self.terms.expires_seconds,
            refresh_permille: self.terms.refresh_permille,
            call_id: self.call_id.as_str().to_owned(),
            usages: usages.collect(),
        }
    }

    /// Makes a subscriber from plain data. What has expired in the meantime ends with the next
    /// [`Subscriber::handle_timeout`].
    ///
    /// # Errors
    /// Fails when a text does not follow its grammar.
    pub fn restore(
        snapshot: &SubscriberSnapshot,
        now: Instant,
        unix_seconds: u64,
    ) -> Result<Self, Malformed> {
        let local = NameAddr::parse(&snapshot.local)?;
        let terms = SubscriberTerms {
            target: Uri::parse(&snapshot.target)?,
            local: local.without_parameters(),
            contact: NameAddr::parse(&snapshot.contact)?,
            event: Event::parse(&snapshot.event)?,
            accept: Accept::parse(&snapshot.accept)?,
            expires_seconds: snapshot.expires_seconds,
            refresh_permille: snapshot.refresh_permille,
        };
        let mut usages = Vec::with_capacity(snapshot.usages.len());
        for stored in &snapshot.usages {
            let left = stored.expires_at_unix_seconds.saturating_sub(unix_seconds);
            let interval = u32::try_from(left).unwrap_or(u32::MAX);
            let dialog = Dialog::restore(&stored.dialog)?;
            let standing = if stored.is_active { Standing::Active } else { Standing::Pending };
            usages.push(Usage::new(dialog, standing, interval, &terms, now));
        }
        Ok(Self {
            call_id: CallId::parse(&snapshot.call_id)?,
            local,
            terms,
            attempt: Attempt::Over,
            usages,
            serial: 0,
            requests: VecDeque::new(),
            events: VecDeque::new(),
        })
    }
}

fn value<H: TypedHeader>(header: &H) -> String {
    let mut out = String::new();
    header.write(&mut out);
    out
}
