//! The header fields of one message in their order: one text, and where each row stands in it.

use std::borrow::Cow;
use std::fmt;

use crate::error::{HeaderError, Malformed};
use crate::header::{HeaderName, NameAddr, TypedHeader};
use crate::limits::LIST_VALUES_MAX;
use crate::scan::{has_controls, is_token};

/// Room for the values of a message that is made, in bytes, and for its rows; more is allocated
/// where it is needed.
const TEXT_ROOM: usize = 512;
const ROWS_ROOM: usize = 16;

/// The header fields of a message, without Content-Length, which the body gives.
///
/// What is pushed cannot break out of its row: control characters are written as spaces,
/// whatever the value came from.
///
/// `Debug` shows their names alone, since values hold identities and credentials.
#[derive(Clone, Default)]
pub struct Headers {
    text: String,
    rows: Vec<Row>,
}

/// Where one row stands in the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: HeaderName,
    /// The spelling, needed for the names that are not known.
    pub(crate) spelling: Span,
    pub(crate) value: Span,
}

/// A part of the text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Makes a span; offsets are below the limit of a head, which 32 bits hold.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let offset = |position: usize| u32::try_from(position).unwrap_or(u32::MAX);
        Self { start: offset(start), end: offset(end) }
    }

    fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// One row of the header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderRow<'a> {
    /// The header field, `Other` when it is not known.
    pub name: HeaderName,
    /// The name to write: the canonical spelling, or that of the sender for an unknown one.
    pub spelling: &'a str,
    /// The value, unfolded and without whitespace around it.
    pub value: &'a str,
}

impl Headers {
    /// Returns all rows in their order.
    pub fn iter(&self) -> impl Iterator<Item = HeaderRow<'_>> {
        self.rows.iter().map(|row| HeaderRow {
            name: row.name,
            spelling: match row.name {
                HeaderName::Other => row.spelling.of(&self.text),
                known => known.as_str(),
            },
            value: row.value.of(&self.text),
        })
    }

    /// Returns the values of the rows of a known header field in their order.
    pub fn rows(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        self.rows.iter().filter(move |row| row.name == name).map(|row| row.value.of(&self.text))
    }

    /// Returns the value of the first row of a known header field.
    #[must_use]
    pub fn first(&self, name: HeaderName) -> Option<&str> {
        self.rows(name).next()
    }

    /// Returns the value of the first row of a header field that the engine does not know.
    #[must_use]
    pub fn first_other(&self, spelling: &str) -> Option<&str> {
        let mut rows = self.iter().filter(|row| row.name == HeaderName::Other);
        rows.find(|row| row.spelling.eq_ignore_ascii_case(spelling)).map(|row| row.value)
    }

    /// Says whether a known header field is present.
    #[must_use]
    pub fn has(&self, name: HeaderName) -> bool {
        self.first(name).is_some()
    }

    /// Reads a header field; the rows of a list are read as one value.
    ///
    /// # Errors
    /// Fails when the value is malformed or a single header field is repeated.
    pub fn typed<H: TypedHeader>(&self) -> Result<Option<H>, HeaderError> {
        let mut rows = self.rows(H::NAME);
        let Some(first) = rows.next() else {
            return Ok(None);
        };
        let value = match rows.next() {
            None => Cow::Borrowed(first),
            Some(_) if H::NAME.is_single() => return Err(HeaderError::repeated(H::NAME)),
            Some(second) => {
                let joined = rows.fold([first, second].join(","), |text, row| text + "," + row);
                Cow::Owned(joined)
            }
        };
        H::parse(&value).map(Some).map_err(|error| HeaderError::malformed(H::NAME, error))
    }

    /// Reads a header field that must be present.
    ///
    /// # Errors
    /// Fails as [`Headers::typed`] does, and when the header field is missing.
    pub fn required<H: TypedHeader>(&self) -> Result<H, HeaderError> {
        self.typed()?.ok_or(HeaderError::missing(H::NAME))
    }

    /// Reads a header field whose rows are values of their own, such as WWW-Authenticate. Rows
    /// that cannot be read are left out.
    pub fn readable_rows<H: TypedHeader>(&self) -> impl Iterator<Item = H> {
        self.rows(H::NAME).filter_map(|row| H::parse(row).ok())
    }

    /// Reads a header field that is a list of tokens, such as Require.
    ///
    /// # Errors
    /// Fails when an entry is no token, or when there are more than
    /// [`LIST_VALUES_MAX`] entries.
    pub fn tokens(&self, name: HeaderName) -> Result<Vec<&str>, HeaderError> {
        let mut tokens = Vec::new();
        for row in self.rows(name).filter(|row| !row.is_empty()) {
            tokens.extend(row.split(',').map(|token| token.trim_matches([' ', '\t'])));
        }
        let problem = match tokens.len() {
            0..=LIST_VALUES_MAX if tokens.iter().all(|token| is_token(token)) => return Ok(tokens),
            0..=LIST_VALUES_MAX => "an entry is not a token",
            _ => "too many values",
        };
        Err(HeaderError::malformed(name, Malformed(problem)))
    }

    /// Appends a header field.
    pub fn push<H: TypedHeader>(&mut self, value: &H) {
        self.push_with(H::NAME, |out| value.write(out));
    }

    /// Puts a header field in front of all others.
    pub(crate) fn push_first<H: TypedHeader>(&mut self, value: &H) {
        self.push(value);
        self.rows.rotate_right(1);
    }

    /// Appends From or To, which share a type.
    pub(crate) fn push_address(&mut self, name: HeaderName, address: &NameAddr) {
        self.push_with(name, |out| address.write(out));
    }

    /// Appends From or To as another message has it, with a tag behind it.
    pub(crate) fn push_tagged(&mut self, name: HeaderName, address: &str, tag: &str) {
        self.push_with(name, |out| out.extend([address, ";tag=", tag]));
    }

    /// Appends a header field of a known name whose value is text. Runs of control characters
    /// become one space.
    pub fn push_text(&mut self, name: HeaderName, text: &str) {
        self.push_with(name, |out| out.push_str(text));
    }

    /// Appends a header field that is a list of tokens. Entries that are no tokens are left out.
    pub fn push_tokens(&mut self, name: HeaderName, tokens: &[&str]) {
        self.push_with(name, |out| {
            for (index, token) in tokens.iter().filter(|token| is_token(token)).enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(token);
            }
        });
    }

    /// Appends a header field that the engine does not know. Runs of control characters in the
    /// text become one space.
    pub fn push_other(&mut self, spelling: &'static str, text: &str) {
        let start = self.text.len();
        self.text.push_str(spelling);
        let spelling = Span::new(start, self.text.len());
        self.push_value(HeaderName::Other, spelling, |out| out.push_str(text));
    }

    /// Removes every row of a known header field.
    pub fn remove(&mut self, name: HeaderName) {
        self.rows.retain(|row| row.name != name);
    }

    /// Replaces the first row of a known header field; appends it when there is none.
    pub(crate) fn replace_first(&mut self, name: HeaderName, write: impl FnOnce(&mut String)) {
        let position = self.rows.iter().position(|row| row.name == name);
        self.push_with(name, write);
        if let Some(position) = position {
            // The row that was pushed last takes the place of the first.
            self.rows.swap_remove(position);
        }
    }

    /// Appends the rows of a header field of another message as they are.
    pub(crate) fn copy_rows(&mut self, from: &Self, name: HeaderName) {
        for value in from.rows(name) {
            let start = self.text.len();
            self.text.push_str(value);
            let value = Span::new(start, self.text.len());
            self.rows.push(Row { name, spelling: Span::default(), value });
        }
    }

    /// Makes an empty list with room for what most messages have.
    pub(crate) fn with_room() -> Self {
        Self { text: String::with_capacity(TEXT_ROOM), rows: Vec::with_capacity(ROWS_ROOM) }
    }

    /// Makes header fields from unfolded text and the rows in it.
    pub(crate) fn of_rows(text: String, rows: Vec<Row>) -> Self {
        Self { text, rows }
    }

    /// Returns the number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the length of all names and values, in bytes.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    fn push_with(&mut self, name: HeaderName, write: impl FnOnce(&mut String)) {
        self.push_value(name, Span::default(), write);
    }

    fn push_value(&mut self, name: HeaderName, spelling: Span, write: impl FnOnce(&mut String)) {
        let start = self.text.len();
        write(&mut self.text);
        if self.text.get(start..).is_some_and(has_controls) {
            let clean = without_controls(self.text.get(start..).unwrap_or_default());
            self.text.truncate(start);
            self.text.push_str(&clean);
        }
        self.rows.push(Row { name, spelling, value: Span::new(start, self.text.len()) });
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter().map(|row| row.spelling)).finish()
    }
}

/// Writes every run of control characters as one space.
fn without_controls(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for part in text.split(|character: char| character.is_control() && character != '\t') {
        if !part.is_empty() {
            clean.push_str(if clean.is_empty() { "" } else { " " });
            clean.push_str(part);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{Allow, Expires};
    use crate::method::Method;

    #[test]
    fn text_cannot_end_its_row() {
        let mut headers = Headers::default();
        headers.push_text(HeaderName::Subject, "a\r\nRoute: <sip:evil.example>\0\0x\u{7f}");
        headers.push_other("X-Note", "\n\nb\r");
        assert_eq!(headers.first(HeaderName::Subject), Some("a Route: <sip:evil.example> x"));
        assert_eq!(headers.first_other("x-note"), Some("b"));
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn rows_of_a_list_are_one_list() {
        let mut headers = Headers::default();
        headers.push_text(HeaderName::Allow, "INVITE, ACK");
        headers.push_text(HeaderName::Subject, "x");
        headers.push_text(HeaderName::Allow, "BYE");
        let allow = headers.required::<Allow>().unwrap();
        assert_eq!(allow.0, [Method::Invite, Method::Ack, Method::Bye]);
    }

    #[test]
    fn errors_name_the_header_field() {
        let mut headers = Headers::default();
        let missing = headers.required::<Expires>().unwrap_err();
        assert_eq!(missing.reason_phrase(), "Missing Expires Header Field");
        headers.push_text(HeaderName::Expires, "soon");
        let malformed = headers.typed::<Expires>().unwrap_err();
        assert_eq!(malformed.to_string(), "Expires header field: malformed: not a decimal number");
        headers.push(&Expires(5));
        assert_eq!(headers.typed::<Expires>(), Err(HeaderError::repeated(HeaderName::Expires)));
    }

    #[test]
    fn token_lists_are_read_over_rows_and_checked() {
        let mut headers = Headers::default();
        headers.push_tokens(HeaderName::Require, &["100rel", "not a token", "eventlist"]);
        headers.push_text(HeaderName::Require, "");
        headers.push_text(HeaderName::Require, "x");
        assert_eq!(headers.tokens(HeaderName::Require), Ok(vec!["100rel", "eventlist", "x"]));
        headers.push_text(HeaderName::Require, "a,,b");
        assert!(headers.tokens(HeaderName::Require).is_err());
        headers.remove(HeaderName::Require);
        headers.push_text(HeaderName::Require, &vec!["a"; LIST_VALUES_MAX].join(","));
        assert!(headers.tokens(HeaderName::Require).is_ok());
        headers.push_tokens(HeaderName::Require, &["b"]);
        assert!(headers.tokens(HeaderName::Require).is_err());
    }

    #[test]
    fn replacing_keeps_the_place() {
        let mut headers = Headers::default();
        headers.push_text(HeaderName::Via, "one");
        headers.push_text(HeaderName::Via, "two");
        headers.push_text(HeaderName::Subject, "x");
        headers.replace_first(HeaderName::Via, |out| out.push_str("three"));
        assert_eq!(headers.rows(HeaderName::Via).collect::<Vec<_>>(), ["three", "two"]);
        assert_eq!(headers.iter().next().map(|row| row.value), Some("three"));
        assert_eq!(headers.len(), 3);
    }
}
