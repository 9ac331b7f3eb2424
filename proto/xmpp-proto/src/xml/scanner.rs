//! Bytes to tokens: finds where markup begins and ends, however the bytes are cut.

use memchr::{memchr, memmem};

use crate::xml::error::{Construct, Defect, Limit, XmlError};
use crate::xml::names;

/// A buffer above this size is not kept between first-level elements.
const IDLE_BUFFER_BYTES_MAX: usize = 4096;

/// A token without its delimiters. Its bytes are not yet known to be UTF-8.
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    pub(super) bytes: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Text,
    StartTag,
    EndTag,
    CData,
    /// `<?xml ... ?>`, the content beginning with `xml`.
    Declaration,
    Comment,
    ProcessingInstruction,
}

/// What the place of the next token permits.
#[derive(Clone, Copy)]
pub(super) struct Context {
    /// Nothing but a byte order mark has been read.
    pub(super) at_start: bool,
    /// Comments and processing instructions are skipped instead of refused.
    pub(super) document: bool,
    /// Bytes that may still be taken.
    pub(super) bytes_left: usize,
    /// Bytes that a start tag may have.
    pub(super) tag_bytes_max: usize,
}

/// Cuts bytes into tokens and keeps no more than one unfinished token.
pub(super) struct Scanner {
    state: State,
    /// The beginning of the token that the state speaks of, delimiter included.
    partial: Vec<u8>,
}

#[derive(Clone, Copy)]
enum State {
    /// Between two tokens.
    Idle,
    /// Behind a `<`, too early to say more.
    Undecided,
    Text,
    /// In a value that ends with this quote, if in one.
    StartTag {
        quote: Option<u8>,
    },
    EndTag,
    /// A token that ends with a fixed string.
    Section(Section),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    CData,
    Declaration,
    Comment,
    ProcessingInstruction,
}

impl Section {
    const fn delimiters(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::CData => (b"<![CDATA[", b"]]>"),
            Self::Declaration | Self::ProcessingInstruction => (b"<?", b"?>"),
            Self::Comment => (b"<!--", b"-->"),
        }
    }

    const fn token_kind(self) -> TokenKind {
        match self {
            Self::CData => TokenKind::CData,
            Self::Declaration => TokenKind::Declaration,
            Self::Comment => TokenKind::Comment,
            Self::ProcessingInstruction => TokenKind::ProcessingInstruction,
        }
    }
}

impl Scanner {
    pub(super) const fn new() -> Self {
        Self { state: State::Idle, partial: Vec::new() }
    }

    /// Whether no token is unfinished.
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Gives a large buffer back, where no token is unfinished.
    pub(super) fn release(&mut self) {
        if self.is_idle() && self.partial.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.partial = Vec::new();
        }
    }

    /// The bytes of the unfinished token.
    pub(super) fn partial_bytes(&self) -> usize {
        if self.is_idle() { 0 } else { self.partial.len() }
    }

    /// Takes bytes from the start of `input` until a token is complete.
    ///
    /// Returns how many were taken; without a token, all of them were, and more are needed. A
    /// fault is found at the same byte however the input is cut.
    pub(super) fn scan<'a>(
        &'a mut self,
        input: &'a [u8],
        mut context: Context,
    ) -> Result<(usize, Option<Token<'a>>), XmlError> {
        if self.is_idle() {
            self.begin(input);
        }
        let mut decided = 0;
        if matches!(self.state, State::Undecided) {
            decided = self.decide(input, context)?;
            context.bytes_left = context.bytes_left.saturating_sub(decided);
        }
        let rest = input.get(decided..).unwrap_or_default();
        let (taken, token) = match self.state {
            State::Idle | State::Undecided => (0, None),
            State::Section(section) => self.scan_section(rest, context, section)?,
            State::Text | State::StartTag { .. } | State::EndTag => {
                self.scan_plain(rest, context)?
            }
        };
        Ok((decided + taken, token))
    }

    fn begin(&mut self, input: &[u8]) {
        self.partial.clear();
        self.state = match input.first() {
            None => State::Idle,
            Some(b'<') => State::Undecided,
            Some(_) => State::Text,
        };
    }

    /// Finds out what kind of markup begins, one byte at a time where bytes are scarce.
    ///
    /// Returns how many bytes were taken to find out.
    fn decide(&mut self, input: &[u8], context: Context) -> Result<usize, XmlError> {
        if self.partial.is_empty()
            && let Some(prefix) = input.get(..2)
            && context.bytes_left >= 2
            && let Some(state) = classify(prefix, context)?
        {
            self.state = state;
            return Ok(0);
        }
        let mut taken = 0;
        for &byte in input {
            if taken == context.bytes_left {
                return Err(XmlError::LimitExceeded(Limit::StanzaBytes));
            }
            self.partial.push(byte);
            taken += 1;
            if let Some(state) = classify(&self.partial, context)? {
                self.state = state;
                break;
            }
        }
        Ok(taken)
    }

    /// Scans a token that lies in the input as a whole, or goes on with one that does not.
    fn scan_plain<'a>(
        &'a mut self,
        input: &'a [u8],
        context: Context,
    ) -> Result<(usize, Option<Token<'a>>), XmlError> {
        let (left, limit) = self.bytes_left(context);
        let window = input.get(..left).unwrap_or(input);
        // The `<` that opens the token is no fault.
        let opened = usize::from(self.partial.is_empty());
        let (kind, end) = match &mut self.state {
            State::StartTag { quote } => {
                let end = find_tag_end(window, quote);
                refuse_less_than(window.get(opened..end.unwrap_or(window.len())))?;
                (TokenKind::StartTag, end)
            }
            State::EndTag => {
                let end = memchr(b'>', window).map(|at| at + 1);
                refuse_less_than(window.get(opened..end.unwrap_or(window.len())))?;
                (TokenKind::EndTag, end)
            }
            _ => (TokenKind::Text, memchr(b'<', window)),
        };
        let Some(token) = end.and_then(|end| window.get(..end)) else {
            if window.len() < input.len() {
                return Err(XmlError::LimitExceeded(limit));
            }
            self.partial.extend_from_slice(window);
            return Ok((window.len(), None));
        };
        self.state = State::Idle;
        let taken = token.len();
        let token = if self.partial.is_empty() {
            token
        } else {
            self.partial.extend_from_slice(token);
            &self.partial
        };
        let bytes = match kind {
            TokenKind::StartTag => token.get(1..token.len().saturating_sub(1)),
            TokenKind::EndTag => token.get(2..token.len().saturating_sub(1)),
            _ => Some(token),
        };
        Ok((taken, Some(Token { kind, bytes: bytes.unwrap_or_default() })))
    }

    /// Scans a token that ends with a fixed string, which may be cut.
    fn scan_section(
        &mut self,
        input: &[u8],
        context: Context,
        section: Section,
    ) -> Result<(usize, Option<Token<'_>>), XmlError> {
        let (opening, closing) = section.delimiters();
        let window = input.get(..context.bytes_left).unwrap_or(input);
        let Some(taken) = self.find_closing(window, opening.len(), closing) else {
            if window.len() < input.len() {
                return Err(XmlError::LimitExceeded(Limit::StanzaBytes));
            }
            self.partial.extend_from_slice(window);
            return Ok((window.len(), None));
        };
        self.partial.extend_from_slice(window.get(..taken).unwrap_or_default());
        self.state = State::Idle;
        let content_end = self.partial.len().saturating_sub(closing.len());
        let bytes = self.partial.get(opening.len()..content_end).unwrap_or_default();
        Ok((taken, Some(Token { kind: section.token_kind(), bytes })))
    }

    /// How many bytes of `window` complete the section: its end may have begun before.
    fn find_closing(&self, window: &[u8], opening_bytes: usize, closing: &[u8]) -> Option<usize> {
        let may_be_cut = closing.len() - 1;
        let before = self.partial.get(opening_bytes..).unwrap_or_default();
        let before = before.get(before.len().saturating_sub(may_be_cut)..).unwrap_or_default();
        let seam = [before, window.get(..may_be_cut).unwrap_or(window)].concat();
        match memmem::find(&seam, closing) {
            Some(at) => Some(at + closing.len() - before.len()),
            None => memmem::find(window, closing).map(|at| at + closing.len()),
        }
    }

    /// How many bytes the token may still take, and the limit that says so.
    fn bytes_left(&self, context: Context) -> (usize, Limit) {
        let tag_bytes_left = context.tag_bytes_max.saturating_sub(self.partial.len());
        match self.state {
            State::StartTag { .. } if tag_bytes_left < context.bytes_left => {
                (tag_bytes_left, Limit::TagBytes)
            }
            _ => (context.bytes_left, Limit::StanzaBytes),
        }
    }
}

/// How many bytes complete a start tag, of which a `>` in a value is not the end.
fn find_tag_end(window: &[u8], quote: &mut Option<u8>) -> Option<usize> {
    let mut at = 0;
    while let Some(rest) = window.get(at..).filter(|rest| !rest.is_empty()) {
        let delimits = |byte: &u8| matches!(byte, b'>' | b'\'' | b'"');
        let found = match quote {
            Some(quote) => memchr(*quote, rest)?,
            None => rest.iter().position(delimits)?,
        };
        at += found + 1;
        *quote = match (quote.take(), rest.get(found)) {
            (None, Some(b'>')) => return Some(at),
            (None, opened) => opened.copied(),
            (Some(_), _) => None,
        };
    }
    None
}

/// XML s.3.1: no `<` in a tag, quoted or not.
fn refuse_less_than(tag: Option<&[u8]>) -> Result<(), XmlError> {
    match tag.and_then(|tag| memchr(b'<', tag)) {
        Some(_) => Err(XmlError::NotWellFormed(Defect::Attribute)),
        None => Ok(()),
    }
}

/// The kind of the markup that begins with `prefix`, or `None` while that is open.
fn classify(prefix: &[u8], context: Context) -> Result<Option<State>, XmlError> {
    match prefix {
        [_] => Ok(None),
        // RFC 6120 s.11.6: a NUL behind the first `<` is what UTF-16 looks like.
        [_, 0, ..] if context.at_start => Err(XmlError::UnsupportedEncoding),
        [_, b'/', ..] => Ok(Some(State::EndTag)),
        [_, b'?', target @ ..] => classify_instruction(target, context),
        [_, b'!', rest @ ..] => classify_declaration(rest, context),
        [_, byte, ..] if byte.is_ascii_alphabetic() || *byte == b'_' || !byte.is_ascii() => {
            Ok(Some(State::StartTag { quote: None }))
        }
        _ => Err(XmlError::NotWellFormed(Defect::Name)),
    }
}

/// Tells an XML declaration from a processing instruction by the target behind `<?`.
fn classify_instruction(target: &[u8], context: Context) -> Result<Option<State>, XmlError> {
    let reserved = target.iter().zip(b"xml").all(|(byte, xml)| byte.eq_ignore_ascii_case(xml));
    match target.get(3) {
        _ if !reserved => instruction(context),
        None => Ok(None),
        Some(&delimiter) if delimiter == b'?' || names::is_white_space(delimiter) => {
            // XML s.2.8: the declaration stands at the very start or nowhere.
            if context.at_start && target.starts_with(b"xml") {
                Ok(Some(State::Section(Section::Declaration)))
            } else {
                Err(XmlError::NotWellFormed(Defect::Declaration))
            }
        }
        Some(_) => instruction(context),
    }
}

const fn instruction(context: Context) -> Result<Option<State>, XmlError> {
    if context.document {
        Ok(Some(State::Section(Section::ProcessingInstruction)))
    } else {
        Err(XmlError::Restricted(Construct::ProcessingInstruction))
    }
}

/// Tells comments, CDATA sections and declarations apart by what stands behind `<!`.
fn classify_declaration(rest: &[u8], context: Context) -> Result<Option<State>, XmlError> {
    match rest {
        [] | [b'-'] => Ok(None),
        [b'-', b'-', ..] if context.document => Ok(Some(State::Section(Section::Comment))),
        [b'-', b'-', ..] => Err(XmlError::Restricted(Construct::Comment)),
        [b'A'..=b'Z', ..] => Err(XmlError::Restricted(Construct::DocumentType)),
        [b'[', ..] if rest == b"[CDATA[" => Ok(Some(State::Section(Section::CData))),
        [b'[', ..] if b"[CDATA[".starts_with(rest) => Ok(None),
        _ => Err(XmlError::NotWellFormed(Defect::Markup)),
    }
}
