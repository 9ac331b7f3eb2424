//! Bytes to frames: the header, the first-level elements and the end of a stream.

use std::str;

use crate::limits::Limits;
use crate::xml::element::Element;
use crate::xml::error::{Defect, Limit, XmlError};
use crate::xml::names;
use crate::xml::namespace::Namespace;
use crate::xml::prolog;
use crate::xml::scanner::{Context, Scanner, Token, TokenKind};
use crate::xml::tree::TreeBuilder;

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// What the bytes of a stream mean.
///
/// White space between first-level elements means nothing but that the peer is alive, and makes
/// no frame.
#[derive(Debug)]
pub enum Frame {
    /// The start tag of the root.
    Header(OpenTag),
    /// A complete first-level element.
    Element(Element),
    /// The end tag of the root; everything behind it is dropped.
    End,
}

/// The start tag of the root of a stream.
#[derive(Debug)]
pub struct OpenTag {
    element: Element,
    declarations: Vec<(String, Namespace)>,
}

impl OpenTag {
    /// The root without its content.
    pub const fn element(&self) -> &Element {
        &self.element
    }

    /// The namespace that the root declares as the default, if it declares one.
    pub fn default_namespace(&self) -> Option<&str> {
        let declaration = self.declarations.iter().find(|(prefix, _)| prefix.is_empty());
        declaration.map(|(_, namespace)| namespace.as_str())
    }

    /// Whether the root declares a prefix for `namespace`.
    pub fn declares_prefix_of(&self, namespace: &str) -> bool {
        self.declarations.iter().any(|(prefix, name)| !prefix.is_empty() && name == namespace)
    }
}

/// Cuts the bytes of one direction of a stream into frames.
///
/// The frames, and the first error, depend on the bytes alone and not on how they are cut. No byte
/// is looked at twice, and nothing is kept but the unfinished first-level element, within the
/// limits.
pub struct Framer {
    limits: Limits,
    /// Counts against the limits over all frames instead of over one.
    cumulative: bool,
    document: bool,
    bytes: usize,
    position: Position,
    scanner: Scanner,
    tree: TreeBuilder,
    failed: Option<XmlError>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    /// At the start, behind so many bytes of a byte order mark.
    Start { mark: usize },
    /// Behind the XML declaration or white space, before the root.
    Prolog,
    /// Inside the root of a stream.
    Open,
    /// The root of a stream was an empty element, which is still to be told.
    Closing,
    /// Behind the root.
    Ended,
}

impl Framer {
    /// A framer that counts each first-level element against `limits`.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            cumulative: false,
            document: false,
            bytes: 0,
            position: Position::Start { mark: 0 },
            scanner: Scanner::new(),
            tree: TreeBuilder::new(limits, true),
            failed: None,
        }
    }

    /// A framer that counts everything it reads against `limits`, restarts included, until
    /// [`Framer::set_limits`].
    pub const fn cumulative(limits: Limits) -> Self {
        let mut framer = Self::new(limits);
        framer.cumulative = true;
        framer
    }

    /// From the next first-level element on, counts each one against `limits`.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.cumulative = false;
        self.tree.set_limits(limits);
    }

    /// Begins a stream anew (RFC 6120 s.4.3.3) and drops what was unfinished.
    ///
    /// Returns the number of bytes dropped.
    pub fn restart(&mut self) -> usize {
        let dropped = self.scanner.partial_bytes();
        self.scanner = Scanner::new();
        self.tree.restart();
        self.position = Position::Start { mark: 0 };
        self.failed = None;
        dropped
    }

    /// The bytes and elements counted against the limits so far.
    pub const fn usage(&self) -> (usize, usize) {
        (self.bytes, self.tree.elements())
    }

    /// Takes bytes off `input` until they make a frame.
    ///
    /// `Ok(None)` means that all bytes were taken. What stays in `input` behind a frame has not
    /// been looked at.
    ///
    /// # Errors
    ///
    /// The first violation; it is returned again on each further call.
    pub fn next_frame(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, XmlError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let frame = self.read(input);
        self.failed = frame.as_ref().err().copied();
        frame
    }

    fn read(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, XmlError> {
        loop {
            if self.position == Position::Closing {
                self.position = Position::Ended;
                return Ok(Some(Frame::End));
            }
            if self.scanner.is_idle() && !self.tree.is_inside() {
                self.scanner.release();
                self.skip_between(input)?;
                self.reset_usage();
            }
            if input.is_empty() {
                return Ok(None);
            }
            let context = self.context();
            let (taken, token) = self.scanner.scan(input, context)?;
            self.bytes += taken;
            *input = input.get(taken..).unwrap_or_default();
            let Some(token) = token else { return Ok(None) };
            if let Some(frame) = accept(&mut self.tree, &mut self.position, self.document, &token)?
            {
                return Ok(Some(frame));
            }
        }
    }

    const fn context(&self) -> Context {
        Context {
            at_start: matches!(self.position, Position::Start { .. }),
            document: self.document,
            bytes_left: self.limits.stanza_bytes_max.saturating_sub(self.bytes),
            tag_bytes_max: self.limits.tag_bytes_max,
        }
    }

    const fn reset_usage(&mut self) {
        if !self.cumulative {
            self.bytes = 0;
            self.tree.reset_usage();
        }
    }

    /// Skips what may stand between elements, up to the `<` of the next.
    fn skip_between(&mut self, input: &mut &[u8]) -> Result<(), XmlError> {
        while let Some((&byte, rest)) = input.split_first() {
            match (self.position, byte) {
                (Position::Ended, _) if !self.document => {
                    *input = &[];
                    return Ok(());
                }
                (Position::Start { mark }, byte) if BYTE_ORDER_MARK.get(mark) == Some(&byte) => {
                    self.position = Position::Start { mark: mark + 1 };
                }
                (Position::Start { mark: 1 | 2 }, _) => {
                    return Err(XmlError::NotWellFormed(Defect::Encoding));
                }
                (_, b'<') => return Ok(()),
                (Position::Start { .. }, byte) if names::is_white_space(byte) => {
                    self.position = Position::Prolog;
                }
                (_, byte) if names::is_white_space(byte) => {}
                (position, byte) => return Err(refuse_between(position, byte)),
            }
            *input = rest;
            if self.cumulative {
                self.bytes += 1;
                if self.bytes > self.limits.stanza_bytes_max {
                    return Err(XmlError::LimitExceeded(Limit::StanzaBytes));
                }
            }
        }
        Ok(())
    }
}

/// Reads a document that is complete in `bytes`: a body such as PIDF.
///
/// An XML declaration, comments and processing instructions are skipped; a document type
/// declaration and entities that XML does not predefine are refused.
///
/// # Errors
///
/// The first violation, or that the document ends too early.
pub fn parse_document(bytes: &[u8], limits: &Limits) -> Result<Element, XmlError> {
    let mut framer = Framer::cumulative(*limits);
    framer.document = true;
    framer.tree = TreeBuilder::new(*limits, false);
    let mut input = bytes;
    let mut root = None;
    while let Some(frame) = framer.next_frame(&mut input)? {
        if let Frame::Element(element) = frame {
            root = Some(element);
        }
    }
    match root {
        Some(root) if framer.scanner.is_idle() => Ok(root),
        _ => Err(XmlError::NotWellFormed(Defect::Truncated)),
    }
}

/// Why a byte that is neither white space nor `<` cannot stand between elements.
const fn refuse_between(position: Position, byte: u8) -> XmlError {
    match (position, byte) {
        // RFC 6120 s.11.6: how UTF-16 and UTF-32 begin.
        (Position::Start { mark: 0 }, 0x00 | 0xFE | 0xFF) => XmlError::UnsupportedEncoding,
        (_, 0x80..=0xC1 | 0xF5..=0xFF) => XmlError::NotWellFormed(Defect::Encoding),
        (_, 0x00..=0x1F) => XmlError::NotWellFormed(Defect::Character),
        (Position::Open, _) => XmlError::TextBetweenStanzas,
        _ => XmlError::NotWellFormed(Defect::TextOutsideRoot),
    }
}

/// Hands a token to the tree and tells what became complete.
fn accept(
    tree: &mut TreeBuilder,
    position: &mut Position,
    document: bool,
    token: &Token<'_>,
) -> Result<Option<Frame>, XmlError> {
    let text =
        str::from_utf8(token.bytes).map_err(|_| XmlError::NotWellFormed(Defect::Encoding))?;
    let completed = match (token.kind, *position) {
        (TokenKind::Declaration, _) => {
            prolog::check_declaration(text)?;
            *position = Position::Prolog;
            None
        }
        (TokenKind::Comment, _) => {
            prolog::check_comment(text)?;
            leave_start(position);
            None
        }
        (TokenKind::ProcessingInstruction, _) => {
            prolog::check_instruction(text)?;
            leave_start(position);
            None
        }
        (TokenKind::StartTag, Position::Start { .. } | Position::Prolog) if !document => {
            return open_root(tree, position, text).map(Some);
        }
        (TokenKind::StartTag, Position::Ended) => {
            return Err(XmlError::NotWellFormed(Defect::SecondRoot));
        }
        (TokenKind::StartTag, _) => {
            leave_start(position);
            tree.start(text)?
        }
        (TokenKind::EndTag, Position::Open) if !tree.is_inside() && tree.ends_root(text) => {
            *position = Position::Ended;
            return Ok(Some(Frame::End));
        }
        (TokenKind::EndTag, _) => tree.end(text)?,
        (TokenKind::CData, position) if !tree.is_inside() => {
            return Err(refuse_between(position, b'<'));
        }
        (TokenKind::CData, _) => tree.character_data(text).map(|()| None)?,
        (TokenKind::Text, _) => tree.text(text).map(|()| None)?,
    };
    if completed.is_some() && document {
        *position = Position::Ended;
    }
    Ok(completed.map(Frame::Element))
}

fn open_root(
    tree: &mut TreeBuilder,
    position: &mut Position,
    tag: &str,
) -> Result<Frame, XmlError> {
    let (element, ends) = tree.open_root(tag)?;
    *position = if ends { Position::Closing } else { Position::Open };
    let declarations = tree
        .root_declarations()
        .iter()
        .map(|binding| (binding.prefix.clone(), binding.namespace.clone()))
        .collect();
    Ok(Frame::Header(OpenTag { element, declarations }))
}

/// XML s.2.8: nothing may stand before the declaration.
const fn leave_start(position: &mut Position) {
    if let Position::Start { .. } = position {
        *position = Position::Prolog;
    }
}
