//! Why XML of a peer is refused.

use std::fmt;

use thiserror::Error;

use crate::error::Fault;

/// A violation of the rules for XML on a stream or in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum XmlError {
    /// The XML or its use of namespaces is not well-formed (RFC 6120 s.11.3).
    #[error("not well-formed: {0}")]
    NotWellFormed(Defect),
    /// The XML uses a feature that XMPP forbids (RFC 6120 s.11.1).
    #[error("restricted XML: {0}")]
    Restricted(Construct),
    /// The encoding is declared, or recognised, as another than UTF-8 (RFC 6120 s.11.6).
    #[error("the encoding is not UTF-8")]
    UnsupportedEncoding,
    /// Something else than white space stands between first-level elements (RFC 6120 s.11.7).
    #[error("text between first-level elements")]
    TextBetweenStanzas,
    /// A first-level element of the content namespace has a prefix (RFC 6120 s.4.8.5).
    #[error("a stanza has a namespace prefix")]
    PrefixedStanza,
    /// A stream element stands inside the stream (RFC 6120 s.4.3.3: no restart without cause).
    #[error("a stream header inside the stream")]
    NestedStream,
    /// A limit is exceeded (RFC 6120 s.13.12).
    #[error("more {0} than allowed")]
    LimitExceeded(Limit),
}

impl XmlError {
    /// Whose fault the error is.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::LimitExceeded(_) => Fault::Policy,
            _ => Fault::Peer,
        }
    }
}

/// What makes XML not well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Bytes that are not UTF-8.
    Encoding,
    /// A character outside the production Char, literal or as a reference.
    Character,
    /// Text or CDATA outside the root element.
    TextOutsideRoot,
    /// `]]>` in text.
    SectionEndInText,
    /// A reference without an end or without a meaning.
    Reference,
    /// An XML declaration that is not at the start, or says something unknown.
    Declaration,
    /// Markup that begins like none that XML knows.
    Markup,
    /// A name that is not a qualified name.
    Name,
    /// An attribute without a value, without quotes, or not set apart by white space.
    Attribute,
    /// Two attributes of one expanded name.
    DuplicateAttribute,
    /// A prefix that is not declared.
    UndeclaredPrefix,
    /// A namespace declaration that Namespaces in XML forbids.
    NamespaceDeclaration,
    /// An end tag that does not match its start tag.
    EndTag,
    /// A second root element.
    SecondRoot,
    /// A document that ends before its root element does.
    Truncated,
}

impl fmt::Display for Defect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Encoding => "invalid UTF-8",
            Self::Character => "an illegal character",
            Self::TextOutsideRoot => "text outside the root element",
            Self::SectionEndInText => "the end of a CDATA section in text",
            Self::Reference => "a broken reference",
            Self::Declaration => "a misplaced or broken XML declaration",
            Self::Markup => "unknown markup",
            Self::Name => "a broken name",
            Self::Attribute => "a broken attribute",
            Self::DuplicateAttribute => "a duplicate attribute",
            Self::UndeclaredPrefix => "an undeclared prefix",
            Self::NamespaceDeclaration => "a forbidden namespace declaration",
            Self::EndTag => "an end tag that matches no start tag",
            Self::SecondRoot => "a second root element",
            Self::Truncated => "an unfinished document",
        })
    }
}

/// A feature of XML that XMPP forbids (RFC 6120 s.11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Construct {
    /// A comment.
    Comment,
    /// A processing instruction.
    ProcessingInstruction,
    /// A document type declaration, or a declaration that belongs in one.
    DocumentType,
    /// A reference to an entity that XML does not predefine.
    EntityReference,
}

impl fmt::Display for Construct {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Comment => "a comment",
            Self::ProcessingInstruction => "a processing instruction",
            Self::DocumentType => "a document type declaration",
            Self::EntityReference => "an entity reference",
        })
    }
}

/// The limit that was exceeded: a field of [`Limits`](crate::limits::Limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `stanza_bytes_max`.
    StanzaBytes,
    /// `tag_bytes_max`.
    TagBytes,
    /// `elements_max`.
    Elements,
    /// `depth_max`.
    Depth,
    /// `attributes_max`.
    Attributes,
    /// `namespace_declarations_max`.
    NamespaceDeclarations,
    /// `namespaces_in_scope_max`.
    NamespacesInScope,
    /// `namespace_bytes_max`.
    NamespaceBytes,
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::StanzaBytes => "bytes",
            Self::TagBytes => "bytes in a tag",
            Self::Elements => "elements",
            Self::Depth => "levels of nesting",
            Self::Attributes => "attributes",
            Self::NamespaceDeclarations => "namespace declarations",
            Self::NamespacesInScope => "namespaces in scope",
            Self::NamespaceBytes => "bytes of namespace names",
        })
    }
}
