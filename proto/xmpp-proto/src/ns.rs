//! The namespaces that this crate speaks.

/// XMPP streams (RFC 6120 s.4.8.1).
pub const STREAM: &str = "http://etherx.jabber.org/streams";
/// The content namespace between servers (RFC 6120 s.4.8.3).
pub const SERVER: &str = "jabber:server";
/// The content namespace between client and server, which is refused here.
pub const CLIENT: &str = "jabber:client";
/// The content namespace of components (XEP-0114), which is refused here.
pub const COMPONENT: &str = "jabber:component:accept";
/// Server Dialback (XEP-0220).
pub const DIALBACK: &str = "jabber:server:dialback";
/// The stream feature of Server Dialback (XEP-0220 s.2.4.2).
pub const DIALBACK_FEATURE: &str = "urn:xmpp:features:dialback";
/// STARTTLS (RFC 6120 s.5).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL (RFC 6120 s.6).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Stream error conditions (RFC 6120 s.4.9.3).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Stanza error conditions (RFC 6120 s.8.3.3).
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// Stream Management (XEP-0198).
pub const STREAM_MANAGEMENT: &str = "urn:xmpp:sm:3";
/// XMPP Ping (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
/// What an entity is and can do (XEP-0030 s.3).
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// The items of an entity (XEP-0030 s.4).
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// Entity capabilities in presence (XEP-0115).
pub const CAPABILITIES: &str = "http://jabber.org/protocol/caps";
/// Software version (XEP-0092).
pub const VERSION: &str = "jabber:iq:version";
/// Last activity (XEP-0012).
pub const LAST_ACTIVITY: &str = "jabber:iq:last";
/// Data forms, as disco#info carries them (XEP-0128).
pub const DATA_FORM: &str = "jabber:x:data";
/// Limits that a server announces (XEP-0478).
pub const STREAM_LIMITS: &str = "urn:xmpp:stream-limits:0";
/// Bidirectional streams (XEP-0288).
pub const BIDI: &str = "urn:xmpp:bidi";
/// The stream feature of bidirectional streams (XEP-0288 s.2.1).
pub const BIDI_FEATURE: &str = "urn:xmpp:features:bidi";
/// The namespace that the prefix `xml` is bound to.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The namespace that the prefix `xmlns` is bound to.
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// One of the namespaces that are met so often that they are never allocated.
pub(crate) fn frequent(name: &str) -> Option<&'static str> {
    macro_rules! one_of {
        ($($frequent:expr,)*) => {
            match name {
                $(it if it == $frequent => Some($frequent),)*
                _ => None,
            }
        };
    }
    one_of! {
        SERVER,
        STREAM,
        DIALBACK,
        DIALBACK_FEATURE,
        TLS,
        SASL,
        STREAM_ERRORS,
        STANZA_ERRORS,
        STREAM_MANAGEMENT,
        PING,
        STREAM_LIMITS,
        DISCO_INFO,
        DISCO_ITEMS,
        CAPABILITIES,
        VERSION,
        XML,
        "http://jabber.org/protocol/chatstates",
        "http://jabber.org/protocol/muc",
        "http://jabber.org/protocol/muc#user",
        "http://jabber.org/protocol/nick",
        "http://jabber.org/protocol/xhtml-im",
        "http://www.w3.org/1999/xhtml",
        "jabber:x:oob",
        "urn:xmpp:chat-markers:0",
        "urn:xmpp:delay",
        "urn:xmpp:hints",
        "urn:xmpp:message-correct:0",
        "urn:xmpp:receipts",
        "urn:xmpp:sid:0",
        "urn:ietf:params:xml:ns:pidf",
        "urn:ietf:params:xml:ns:pidf:data-model",
        "urn:ietf:params:xml:ns:pidf:rpid",
    }
}
