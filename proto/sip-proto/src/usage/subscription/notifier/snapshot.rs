//! A notifier's subscription as plain text and numbers, so that it survives a restart.

use std::time::{Duration, Instant};

use super::{Debt, Notifier, NotifierRules, Standing, State};
use crate::dialog::{Dialog, DialogSnapshot};
use crate::error::Malformed;
use crate::header::{Event, NameAddr, TypedHeader};

/// A subscription for a store. One that has ended is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifierSnapshot {
    /// The dialog.
    pub dialog: DialogSnapshot,
    /// Where SUBSCRIBEs of the dialog go.
    pub contact: String,
    /// The Event.
    pub event: String,
    /// The media type of the state that the watcher takes.
    pub media_type: String,
    /// Whether the subscription is granted.
    pub is_active: bool,
    /// When it ends, in seconds since 1970.
    pub expires_at_unix_seconds: u64,
}

impl Notifier {
    /// Returns the subscription as plain data; none when it has ended.
    #[must_use]
    pub fn snapshot(&self, now: Instant, unix_seconds: u64) -> Option<NotifierSnapshot> {
        let State::Live { standing, expires_at } = &self.state else {
            return None;
        };
        let mut event = String::new();
        self.event.write(&mut event);
        Some(NotifierSnapshot {
            dialog: self.dialog.snapshot(),
            contact: self.contact.to_wire(),
            event,
            media_type: self.media_type.to_owned(),
            is_active: *standing == Standing::Active,
            expires_at_unix_seconds: unix_seconds
                + expires_at.saturating_duration_since(now).as_secs(),
        })
    }

    /// Makes a subscription from plain data. One that has expired in the meantime ends with the
    /// next [`Notifier::handle_timeout`].
    ///
    /// # Errors
    /// Fails when a text does not follow its grammar, or when the rules do not generate the media
    /// type.
    pub fn restore(
        snapshot: &NotifierSnapshot,
        rules: &NotifierRules,
        now: Instant,
        unix_seconds: u64,
    ) -> Result<Self, Malformed> {
        let media_type = rules.generated.iter().find(|name| **name == snapshot.media_type);
        let left = snapshot.expires_at_unix_seconds.saturating_sub(unix_seconds);
        let expires_at = now + Duration::from_secs(left.min(u32::MAX.into()));
        let standing = if snapshot.is_active { Standing::Active } else { Standing::Pending };
        Ok(Self {
            dialog: Dialog::restore(&snapshot.dialog)?,
            contact: NameAddr::parse(&snapshot.contact)?,
            event: Event::parse(&snapshot.event)?,
            media_type: media_type.ok_or(Malformed("the media type is not generated"))?,
            state: State::Live { standing, expires_at },
            debt: Debt::Paid,
        })
    }
}
