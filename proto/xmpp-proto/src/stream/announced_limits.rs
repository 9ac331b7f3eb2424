//! What a server says of the limits of its streams (XEP-0478).

use std::time::Duration;

use crate::limits::StreamLimits;
use crate::ns;
use crate::xml::Element;

/// RFC 6120 s.13.12: no limit of a stanza is below that, whatever is announced.
const STANZA_BYTES_MIN: usize = 10_000;

/// A peer that announces less would have us probe it all the time.
const IDLE_MIN: Duration = Duration::from_secs(20);

/// The limits that one side of a stream announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AnnouncedLimits {
    /// Bytes of the largest stanza that it takes.
    pub(crate) stanza_bytes_max: Option<usize>,
    /// How long it leaves a silent stream open.
    pub(crate) idle_max: Option<Duration>,
}

impl AnnouncedLimits {
    /// What we announce.
    pub(crate) const fn of(limits: &StreamLimits) -> Self {
        Self {
            stanza_bytes_max: Some(limits.after_authentication.stanza_bytes_max),
            idle_max: Some(limits.inactivity_max),
        }
    }

    /// The `<limits/>` element.
    pub(crate) fn element(self) -> Element {
        let number =
            |name, number: u64| Element::new(ns::STREAM_LIMITS, name).with_text(number.to_string());
        let mut limits = Element::new(ns::STREAM_LIMITS, "limits");
        if let Some(bytes) = self.stanza_bytes_max {
            limits.push_child(number("max-bytes", bytes as u64));
        }
        if let Some(idle) = self.idle_max {
            limits.push_child(number("idle-seconds", idle.as_secs()));
        }
        limits
    }

    /// Reads the limits in stream features, or in what asks for a bidirectional stream; what is
    /// missing or no number is no limit.
    pub(crate) fn read(parent: &Element) -> Self {
        let Some(limits) = parent.child(ns::STREAM_LIMITS, "limits") else {
            return Self::default();
        };
        let number = |name| -> Option<u32> {
            limits.child(ns::STREAM_LIMITS, name)?.text().trim().parse().ok()
        };
        let idle = number("idle-seconds").filter(|seconds| *seconds > 0);
        Self {
            stanza_bytes_max: number("max-bytes")
                .and_then(|bytes| usize::try_from(bytes).ok())
                .map(|bytes| bytes.max(STANZA_BYTES_MIN)),
            idle_max: idle.map(|seconds| Duration::from_secs(seconds.into()).max(IDLE_MIN)),
        }
    }

    /// Whether the side that announced this takes a stanza of so many bytes.
    pub(crate) fn takes(self, bytes: usize) -> bool {
        self.stanza_bytes_max.is_none_or(|bytes_max| bytes <= bytes_max)
    }

    /// How long a stream may be silent before it must be spoken on.
    pub(crate) fn keep_alive(self, ours: Duration) -> Duration {
        self.idle_max.map_or(ours, |idle| ours.min(idle / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::parse_document;

    fn read(children: &str) -> AnnouncedLimits {
        let text = format!(
            "<features><limits xmlns='urn:xmpp:stream-limits:0'>{children}</limits></features>"
        );
        AnnouncedLimits::read(
            &parse_document(text.as_bytes(), &crate::limits::Limits::AFTER_AUTHENTICATION).unwrap(),
        )
    }

    #[test]
    fn what_is_announced_is_read_back() {
        let ours = AnnouncedLimits::of(&StreamLimits::default());
        let features = Element::new(ns::STREAM, "features").with_child(ours.element());
        assert_eq!(AnnouncedLimits::read(&features), ours);
    }

    #[test]
    fn nonsense_is_no_limit_and_no_limit_is_below_what_the_rules_allow() {
        let none = AnnouncedLimits::default();
        for children in [
            "",
            "<max-bytes>-1</max-bytes>",
            "<max-bytes>many</max-bytes>",
            "<max-bytes>99999999999999999999</max-bytes>",
            "<idle-seconds>0</idle-seconds>",
        ] {
            assert_eq!(read(children), none, "{children}");
        }
        let least = read("<max-bytes>1</max-bytes><idle-seconds>1</idle-seconds>");
        assert!(least.takes(STANZA_BYTES_MIN) && !least.takes(STANZA_BYTES_MIN + 1));
        assert_eq!(least.keep_alive(Duration::from_secs(300)), IDLE_MIN / 2);
        assert_eq!(none.keep_alive(Duration::from_secs(300)), Duration::from_secs(300));
    }
}
