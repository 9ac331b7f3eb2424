//! Every bound of the engine, with its unit and its default.

use std::time::Duration;

/// What one element of a stream, or one document, may cost us.
///
/// The parser refuses the first byte, element or attribute past a limit, while the element is
/// still incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a first-level element or document, from `<` to the last `>`.
    pub stanza_bytes_max: usize,
    /// Bytes of one start tag, from `<` to `>`.
    pub tag_bytes_max: usize,
    /// Elements in one first-level element or document, itself included.
    pub elements_max: usize,
    /// Levels of nesting; a first-level element or the root of a document is at level one.
    pub depth_max: usize,
    /// Attributes of one element, namespace declarations not counted.
    pub attributes_max: usize,
    /// Namespace declarations of one element.
    pub namespace_declarations_max: usize,
    /// Namespace declarations in scope, those of the ancestors included.
    ///
    /// Each prefix is looked for among them.
    pub namespaces_in_scope_max: usize,
    /// Bytes of the namespace names that writing one first-level element or document takes.
    ///
    /// A prefix makes a long name cheap to use; written out at each use it must stay bounded.
    pub namespace_bytes_max: usize,
}

impl Limits {
    /// The limits until a peer has proven a domain.
    ///
    /// Bytes and elements are then counted over everything that the peer sends, across restarts
    /// of the stream.
    pub const BEFORE_AUTHENTICATION: Self = Self {
        stanza_bytes_max: 8 * 1024,
        tag_bytes_max: 8 * 1024,
        elements_max: 32,
        depth_max: 8,
        attributes_max: 16,
        namespace_declarations_max: 8,
        namespaces_in_scope_max: 16,
        namespace_bytes_max: 8 * 1024,
    };

    /// The limits for a peer that has proven a domain.
    ///
    /// RFC 6120 s.13.12: the limit of a stanza is never below 10000 bytes.
    pub const AFTER_AUTHENTICATION: Self = Self {
        stanza_bytes_max: 512 * 1024,
        tag_bytes_max: 64 * 1024,
        elements_max: 4096,
        depth_max: 64,
        attributes_max: 64,
        namespace_declarations_max: 32,
        namespaces_in_scope_max: 64,
        namespace_bytes_max: 128 * 1024,
    };

    /// The limits for reading what our writer made of an element that these limits admitted.
    ///
    /// The written form is longer where one byte became a reference of up to six, and where a
    /// namespace is declared anew; its elements, depth and attributes are the same.
    pub const fn of_written_form(self) -> Self {
        const REFERENCE_BYTES_MAX: usize = 6;
        Self {
            stanza_bytes_max: self.stanza_bytes_max * REFERENCE_BYTES_MAX
                + self.namespace_bytes_max * REFERENCE_BYTES_MAX,
            tag_bytes_max: self.tag_bytes_max * REFERENCE_BYTES_MAX
                + self.namespace_bytes_max * REFERENCE_BYTES_MAX,
            namespace_declarations_max: self.attributes_max + 1,
            namespaces_in_scope_max: (self.attributes_max + 1) * self.depth_max,
            ..self
        }
    }
}

/// How long a stream waits, and how much it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// What the peer may send until it has proven a domain.
    pub before_authentication: Limits,
    /// What the peer may send once it has proven a domain.
    pub after_authentication: Limits,
    /// The longest wait for the next step of the negotiation.
    pub negotiation_max: Duration,
    /// The longest time from the connection to the first authenticated domain pair.
    pub establishment_max: Duration,
    /// How long an answer that something waits for may take before the peer counts as dead.
    pub dead_peer_max: Duration,
    /// How long a silent peer is left alone before it is probed.
    pub keep_alive: Duration,
    /// How long a stream without a stanza is kept.
    pub inactivity_max: Duration,
    /// How long the end of the stream may take once one side has closed it.
    pub close_max: Duration,
    /// How long an acknowledgement of ours may be held back to cover more stanzas.
    pub acknowledgement_delay: Duration,
    /// Stanzas after which an acknowledgement is sent without delay.
    pub acknowledgement_batch_max: u32,
    /// How long stanzas that the peer leaves unacknowledged wait before it is asked again.
    pub acknowledgement_repeat: Duration,
    /// Attempts to authenticate that may follow the first.
    pub sasl_retries_max: u32,
    /// Dialback keys of one stream that are being verified at the same time.
    pub verifications_max: usize,
    /// Domain pairs that one peer authenticates on one stream.
    pub domain_pairs_max: usize,
    /// Stanzas sent or queued on one stream that the peer has not confirmed.
    pub unconfirmed_stanzas_max: usize,
    /// Bytes waiting to be written to one peer.
    pub queued_bytes_max: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            before_authentication: Limits::BEFORE_AUTHENTICATION,
            after_authentication: Limits::AFTER_AUTHENTICATION,
            negotiation_max: Duration::from_secs(10),
            establishment_max: Duration::from_secs(60),
            dead_peer_max: Duration::from_secs(60),
            keep_alive: Duration::from_secs(300),
            inactivity_max: Duration::from_secs(600),
            close_max: Duration::from_secs(5),
            acknowledgement_delay: Duration::from_millis(100),
            acknowledgement_batch_max: 64,
            acknowledgement_repeat: Duration::from_secs(5),
            sasl_retries_max: 3,
            verifications_max: 16,
            domain_pairs_max: 256,
            unconfirmed_stanzas_max: 2000,
            queued_bytes_max: 8 * 1024 * 1024,
        }
    }
}
