//! Stream features (RFC 6120 s.4.3.2): what may be negotiated next.

use crate::ns;
use crate::stream::announced_limits::AnnouncedLimits;
use crate::xml::Element;

/// The features that this engine knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// STARTTLS.
    pub(crate) starttls: Option<StartTls>,
    /// SASL with the mechanism EXTERNAL.
    pub(crate) external: bool,
    /// Server Dialback; ours with errors.
    pub(crate) dialback: bool,
    /// Stream Management (XEP-0198).
    pub(crate) stream_management: bool,
    /// Bidirectional streams (XEP-0288).
    pub(crate) bidi: bool,
    /// The limits of whoever offers this (XEP-0478).
    pub(crate) limits: AnnouncedLimits,
}

/// Whether the stream goes on without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartTls {
    /// It does not.
    Required,
    /// It may.
    Optional,
}

impl Features {
    /// The `<stream:features/>` element.
    pub(crate) fn element(self) -> Element {
        let mut features = Element::new(ns::STREAM, "features");
        if let Some(starttls) = self.starttls {
            let mut offer = Element::new(ns::TLS, "starttls");
            if starttls == StartTls::Required {
                // RFC 6120 s.5.4.1: mandatory to negotiate.
                offer.push_child(Element::new(ns::TLS, "required"));
            }
            features.push_child(offer);
        }
        if self.external {
            features.push_child(
                Element::new(ns::SASL, "mechanisms")
                    .with_child(Element::new(ns::SASL, "mechanism").with_text("EXTERNAL")),
            );
        }
        if self.dialback {
            // XEP-0220 s.2.4.2: dialback errors are understood.
            features.push_child(
                Element::new(ns::DIALBACK_FEATURE, "dialback")
                    .with_child(Element::new(ns::DIALBACK_FEATURE, "errors")),
            );
        }
        if self.stream_management {
            features.push_child(Element::new(ns::STREAM_MANAGEMENT, "sm"));
        }
        if self.bidi {
            features.push_child(Element::new(ns::BIDI_FEATURE, "bidi"));
        }
        if self.limits != AnnouncedLimits::default() {
            features.push_child(self.limits.element());
        }
        features
    }

    /// Reads the features of a peer.
    pub(crate) fn read(features: &Element) -> Self {
        let mechanisms = features.child(ns::SASL, "mechanisms");
        let external = mechanisms.is_some_and(|mechanisms| {
            mechanisms.children().any(|mechanism| {
                mechanism.is(ns::SASL, "mechanism") && mechanism.text() == "EXTERNAL"
            })
        });
        let starttls = features.child(ns::TLS, "starttls").map(|offer| {
            match offer.child(ns::TLS, "required") {
                Some(_) => StartTls::Required,
                None => StartTls::Optional,
            }
        });
        Self {
            starttls,
            external,
            dialback: features.child(ns::DIALBACK_FEATURE, "dialback").is_some(),
            stream_management: features.child(ns::STREAM_MANAGEMENT, "sm").is_some(),
            bidi: features.child(ns::BIDI_FEATURE, "bidi").is_some(),
            limits: AnnouncedLimits::read(features),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::write_stanza;

    #[test]
    fn features_are_read_back_as_they_were_written() {
        for bits in 0..48_u8 {
            let starttls = [None, Some(StartTls::Optional), Some(StartTls::Required)];
            let features = Features {
                starttls: starttls[usize::from((bits >> 3) % 3)],
                external: bits & 1 != 0,
                dialback: bits & 2 != 0,
                stream_management: bits & 4 != 0,
                bidi: bits >= 24,
                limits: AnnouncedLimits::default(),
            };
            assert_eq!(Features::read(&features.element()), features);
        }
    }

    #[test]
    fn starttls_is_offered_as_required_or_not() {
        let written = |starttls| {
            let features = Features { starttls: Some(starttls), ..Features::default() };
            write_stanza(&features.element())
        };

        assert_eq!(
            written(StartTls::Required),
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/>\
             </starttls></stream:features>"
        );
        assert_eq!(
            written(StartTls::Optional),
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\
             </stream:features>"
        );
    }
}
