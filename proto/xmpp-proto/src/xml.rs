//! Restricted XML: what may be read from a peer, what we keep of it, and how we write.
//!
//! Reading is strict and incremental: [`Framer`] turns the bytes of a stream, however they are
//! cut, into [`Frame`]s and refuses what RFC 6120 s.11 and Namespaces in XML forbid at the byte
//! where it shows. [`parse_document`] reads a whole body with the same rules. References and white
//! space are resolved by `quick-xml`, which alone accepts much that is not well-formed. What was
//! read is an [`Element`]; [`write_stanza`] and [`write_document`] write it anew, so that no byte
//! of a peer is ever passed on as it came.

mod attributes;
mod element;
mod error;
mod framer;
mod names;
mod namespace;
mod prolog;
mod scanner;
mod tree;
mod writer;

pub use element::{Attribute, Element, Node};
pub use error::{Construct, Defect, Limit, XmlError};
pub use framer::{Frame, Framer, OpenTag, parse_document};
pub use namespace::Namespace;
pub use writer::{write_document, write_stanza};

pub(crate) use writer::{append_attribute, append_stanza};

#[cfg(test)]
mod tests;
