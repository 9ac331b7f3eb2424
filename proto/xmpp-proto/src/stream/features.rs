//! Stream features (RFC 6120 s.4.3.2): what may be negotiated next.

use crate::ns;
use crate::xml::Element;

/// The features that this engine knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// STARTTLS; ours is always required.
    pub(crate) starttls: bool,
    /// SASL with the mechanism EXTERNAL.
    pub(crate) external: bool,
    /// Server Dialback; ours with errors.
    pub(crate) dialback: bool,
    /// Stream Management (XEP-0198).
    pub(crate) stream_management: bool,
    /// Bidirectional streams (XEP-0288).
    pub(crate) bidi: bool,
}

impl Features {
    /// The `<stream:features/>` element.
    pub(crate) fn element(self) -> Element {
        let mut features = Element::new(ns::STREAM, "features");
        if self.starttls {
            // RFC 6120 s.5.4.1: mandatory to negotiate.
            features.push_child(
                Element::new(ns::TLS, "starttls").with_child(Element::new(ns::TLS, "required")),
            );
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
        Self {
            starttls: features.child(ns::TLS, "starttls").is_some(),
            external,
            dialback: features.child(ns::DIALBACK_FEATURE, "dialback").is_some(),
            stream_management: features.child(ns::STREAM_MANAGEMENT, "sm").is_some(),
            bidi: features.child(ns::BIDI_FEATURE, "bidi").is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::write_stanza;

    #[test]
    fn features_are_read_back_as_they_were_written() {
        for bits in 0..32_u8 {
            let features = Features {
                starttls: bits & 1 != 0,
                external: bits & 2 != 0,
                dialback: bits & 4 != 0,
                stream_management: bits & 8 != 0,
                bidi: bits & 16 != 0,
            };
            assert_eq!(Features::read(&features.element()), features);
        }
    }

    #[test]
    fn starttls_is_offered_as_required() {
        let features = Features { starttls: true, ..Features::default() };

        assert_eq!(
            write_stanza(&features.element()),
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/>\
             </starttls></stream:features>"
        );
    }
}
