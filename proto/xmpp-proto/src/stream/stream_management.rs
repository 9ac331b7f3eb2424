//! Stream Management (XEP-0198): the counts on both sides, modulo 2^32.

use crate::ns;
use crate::stanza::error::StanzaCondition;
use crate::xml::Element;

/// XEP-0198 s.4: counts are of the type unsignedInt and start over at 2^32.
const COUNT_MASK: u64 = 0xFFFF_FFFF;

/// A count as it stands in an attribute.
pub(crate) const fn wrapped(count: u64) -> u32 {
    (count & COUNT_MASK) as u32
}

/// The count in the attribute `h`, or `None` where there is no such count.
pub(crate) fn read_handled(element: &Element) -> Option<u32> {
    let digits = element.attribute("h")?;
    let decimal = digits.bytes().all(|byte| byte.is_ascii_digit());
    if decimal { digits.parse().ok() } else { None }
}

/// An element of the namespace without attributes.
pub(crate) fn element(name: &'static str) -> Element {
    Element::new(ns::STREAM_MANAGEMENT, name)
}

/// The `<failed/>` of a condition.
pub(crate) fn failed(condition: StanzaCondition) -> Element {
    element("failed").with_child(condition.element())
}

/// The stanzas of the peer: how many came, and for how many the owner has answered.
#[derive(Default)]
pub(crate) struct Received {
    received: u64,
    acknowledged: u64,
    management: Management,
}

#[derive(Default)]
enum Management {
    #[default]
    Disabled,
    Enabled {
        /// Stanzas that came before and are not counted.
        since: u64,
        /// The count of the last acknowledgement that we sent.
        reported: u64,
        /// The peer asked while some of its stanzas were not acknowledged.
        asked: bool,
    },
}

impl Received {
    /// Counts a stanza that came.
    pub(crate) const fn count(&mut self) {
        self.received += 1;
    }

    /// Begins to acknowledge; `false` where that has begun already.
    pub(crate) fn enable(&mut self) -> bool {
        let before = matches!(self.management, Management::Enabled { .. });
        if !before {
            self.management =
                Management::Enabled { since: self.received, reported: 0, asked: false };
        }
        !before
    }

    pub(crate) const fn is_enabled(&self) -> bool {
        matches!(self.management, Management::Enabled { .. })
    }

    /// Takes the owner's word for the next `count` stanzas in order.
    pub(crate) fn acknowledge(&mut self, count: u64) {
        self.acknowledged = self.received.min(self.acknowledged.saturating_add(count));
    }

    /// Whether the owner has answered for every stanza.
    pub(crate) const fn is_complete(&self) -> bool {
        self.acknowledged == self.received
    }

    /// How many acknowledged stanzas the peer does not know of.
    pub(crate) fn unreported(&self) -> u64 {
        match self.management {
            Management::Disabled => 0,
            Management::Enabled { since, reported, .. } => {
                self.acknowledged.saturating_sub(since).saturating_sub(reported)
            }
        }
    }

    /// Whether the peer waits for an acknowledgement that can be given.
    pub(crate) fn is_due(&self) -> bool {
        let asked = matches!(self.management, Management::Enabled { asked: true, .. });
        asked && self.is_complete() && self.unreported() > 0
    }

    /// The answer to `<r/>`; the peer is told again when more is acknowledged.
    pub(crate) fn answer(&mut self) -> Option<Element> {
        let complete = self.is_complete();
        let answer = self.report();
        if let Management::Enabled { asked, .. } = &mut self.management {
            *asked = !complete;
        }
        answer
    }

    /// The `<a/>` that says how far we are.
    pub(crate) fn report(&mut self) -> Option<Element> {
        let Management::Enabled { since, reported, asked } = &mut self.management else {
            return None;
        };
        *reported = self.acknowledged.saturating_sub(*since);
        *asked = *asked && self.acknowledged != self.received;
        Some(element("a").with_attribute("h", wrapped(*reported).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handled(received: &mut Received) -> Option<u32> {
        received.report().and_then(|element| read_handled(&element))
    }

    #[test]
    fn a_count_is_digits_that_fit() {
        let read = |h| read_handled(&element("a").with_attribute("h", h));

        assert_eq!(read("0"), Some(0));
        assert_eq!(read("4294967295"), Some(u32::MAX));
        for garbage in ["", "-1e9", "-1", "+1", " 1", "4294967296", "1.0", "0x1", "٣"] {
            assert_eq!(read(garbage), None, "{garbage}");
        }
        assert_eq!(read_handled(&element("a")), None);
    }

    #[test]
    fn only_stanzas_after_enabling_are_counted() {
        let mut received = Received::default();
        received.count();
        assert_eq!(handled(&mut received), None);

        assert!(received.enable());
        assert!(!received.enable());
        received.count();
        received.count();
        received.acknowledge(1);
        assert_eq!(handled(&mut received), Some(0));
        received.acknowledge(1);
        assert_eq!(handled(&mut received), Some(1));
        received.acknowledge(9);
        assert_eq!(handled(&mut received), Some(2));
    }

    #[test]
    fn a_count_starts_over_at_two_to_the_thirty_second() {
        let mut received = Received::default();
        received.enable();
        received.received = 1 << 32;
        received.acknowledge((1 << 32) - 1);
        assert_eq!(handled(&mut received), Some(u32::MAX));
        received.acknowledge(1);
        assert_eq!(handled(&mut received), Some(0));
    }

    #[test]
    fn who_asked_too_early_is_told_when_all_is_acknowledged() {
        let mut received = Received::default();
        received.enable();
        received.count();
        received.count();
        assert!(received.answer().is_some());

        received.acknowledge(1);
        assert!(!received.is_due());
        received.acknowledge(1);
        assert!(received.is_due());
        assert_eq!(handled(&mut received), Some(2));
        assert!(!received.is_due());
    }
}
