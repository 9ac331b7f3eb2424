//! Reads a TOML file and reports every error in it at once, with line and column.
//!
//! serde stops at the first error, so a document is walked by hand: each getter of [`Table`]
//! returns the value or [`Recorded`], the proof that a diagnostic was written down, and reading
//! goes on. The owner assembles its configuration from the values at the end.

mod diagnostic;
mod value;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use diagnostic::{Diagnostic, Severity};
pub use value::FromValue;

/// The largest configuration file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// An error was written to the diagnostics; the value is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded;

/// A getter's answer: the value, or the proof that its absence was reported.
pub type Read<T> = Result<T, Recorded>;

/// A configuration file that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than [`FILE_BYTES_MAX`].
    #[error("{path} is larger than {FILE_BYTES_MAX} bytes", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the text of a configuration file.
pub fn open(path: &Path) -> Result<String, OpenError> {
    let unreadable = |source| OpenError::Unreadable { path: path.into(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(OpenError::TooLarge { path: path.into() });
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// Reads `text` with `read` and returns the result, or every error; warnings come with both.
///
/// `read` is called even when the text has syntax errors, so that one run reports them all.
pub fn parse<T>(
    text: &str,
    read: impl FnOnce(&mut Table<'_, '_>) -> Read<T>,
) -> (Option<T>, Vec<Diagnostic>) {
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let report = Report { text, diagnostics: RefCell::default() };
    for error in &syntax_errors {
        report.write(Severity::Error, error.span().unwrap_or(0..0), error.message().into());
    }
    let mut root = Table::new(&report, document.get_ref(), 0..0, String::new());
    let value = read(&mut root);
    root.refuse_unknown_keys();
    let mut diagnostics = report.diagnostics.into_inner();
    diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    (value.ok().filter(|_| !failed), diagnostics)
}

struct Report<'t> {
    text: &'t str,
    diagnostics: RefCell<Vec<Diagnostic>>,
}

impl Report<'_> {
    fn write(&self, severity: Severity, span: Range<usize>, message: String) -> Recorded {
        let diagnostic = Diagnostic::at(self.text, span.start, severity, message);
        self.diagnostics.borrow_mut().push(diagnostic);
        Recorded
    }
}

/// One table of the document and the keys of it that were asked for.
pub struct Table<'r, 't> {
    report: &'r Report<'t>,
    entries: &'r DeTable<'t>,
    span: Range<usize>,
    name: String,
    known: BTreeSet<String>,
}

impl<'r, 't> Table<'r, 't> {
    fn new(
        report: &'r Report<'t>,
        entries: &'r DeTable<'t>,
        span: Range<usize>,
        name: String,
    ) -> Self {
        Self { report, entries, span, name, known: BTreeSet::new() }
    }

    /// Reads a key that must be there.
    pub fn required<T: FromValue>(&mut self, key: &str) -> Read<T> {
        match self.entry(key) {
            Some(value) => self.convert(key, value),
            None => Err(self.missing(key)),
        }
    }

    /// Reads a key that may be absent.
    pub fn optional<T: FromValue>(&mut self, key: &str) -> Read<Option<T>> {
        match self.entry(key) {
            Some(value) => self.convert(key, value).map(Some),
            None => Ok(None),
        }
    }

    /// Reads a key that has a default.
    pub fn or<T: FromValue>(&mut self, key: &str, default: T) -> Read<T> {
        Ok(self.optional(key)?.unwrap_or(default))
    }

    /// Reads a whole number within `range`, or takes the default.
    pub fn number(&mut self, key: &str, range: RangeInclusive<u64>, default: u64) -> Read<u64> {
        let Some(value) = self.entry(key) else { return Ok(default) };
        let number: u64 = self.convert(key, value)?;
        if range.contains(&number) {
            return Ok(number);
        }
        let (least, most) = range.into_inner();
        let message = format!("`{key}` is {number}; it must be between {least} and {most}");
        Err(self.report.write(Severity::Error, value.span(), message))
    }

    /// Reads one of a few words, or takes the default.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)], default: T) -> Read<T> {
        let Some(value) = self.entry(key) else { return Ok(default) };
        let word: String = self.convert(key, value)?;
        if let Some((_, meaning)) = words.iter().find(|(known, _)| *known == word) {
            return Ok(*meaning);
        }
        let known: Vec<String> = words.iter().map(|(known, _)| format!("\"{known}\"")).collect();
        let message = format!("`{key}` is \"{word}\"; it must be {}", known.join(" or "));
        Err(self.report.write(Severity::Error, value.span(), message))
    }

    /// Reads a sub-table; an absent one is read as an empty one.
    pub fn table<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Table<'_, '_>) -> Read<T>,
    ) -> Read<T> {
        let empty = DeTable::new();
        let (entries, span) = match self.entry(key) {
            None => (&empty, self.span.clone()),
            Some(value) => match value.get_ref() {
                DeValue::Table(entries) => (entries, value.span()),
                other => return Err(self.mistyped(key, "a table", other, value.span())),
            },
        };
        let mut table = Table::new(self.report, entries, span, self.path(key));
        let result = read(&mut table);
        table.refuse_unknown_keys();
        result
    }

    /// Reads an array of tables (`[[key]]`); an absent one is empty.
    pub fn tables<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Table<'_, '_>) -> Read<T>,
    ) -> Read<Vec<T>> {
        let Some(value) = self.entry(key) else { return Ok(Vec::new()) };
        let DeValue::Array(items) = value.get_ref() else {
            let expected = format!("an array of tables, written [[{key}]]");
            return Err(self.mistyped(key, &expected, value.get_ref(), value.span()));
        };
        let mut results = Vec::new();
        for item in items {
            results.push(match item.get_ref() {
                DeValue::Table(entries) => {
                    let mut table = Table::new(self.report, entries, item.span(), self.path(key));
                    let result = read(&mut table);
                    table.refuse_unknown_keys();
                    result
                }
                other => Err(self.mistyped(key, "a table", other, item.span())),
            });
        }
        results.into_iter().collect()
    }

    /// Returns whether the document gives this key.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Reports an error at a key, or at the table when the key is absent.
    pub fn error(&self, key: &str, message: impl Into<String>) -> Recorded {
        self.report.write(Severity::Error, self.position(key), message.into())
    }

    /// Reports a warning at a key, or at the table when the key is absent.
    pub fn warn(&self, key: &str, message: impl Into<String>) {
        self.report.write(Severity::Warning, self.position(key), message.into());
    }

    fn entry(&mut self, key: &str) -> Option<&'r Spanned<DeValue<'t>>> {
        self.known.insert(key.into());
        self.entries.get(key)
    }

    fn convert<T: FromValue>(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Read<T> {
        T::from_value(value.get_ref()).map_err(|expected| {
            let message = format!("`{key}` must be {expected}");
            self.report.write(Severity::Error, value.span(), message)
        })
    }

    fn mistyped(
        &self,
        key: &str,
        expected: &str,
        found: &DeValue<'_>,
        span: Range<usize>,
    ) -> Recorded {
        let message = format!("`{key}` must be {expected}, not {}", value::type_name(found));
        self.report.write(Severity::Error, span, message)
    }

    fn missing(&self, key: &str) -> Recorded {
        let message = match self.name.as_str() {
            "" => format!("`{key}` is missing"),
            name => format!("`{key}` is missing in `{name}`"),
        };
        self.report.write(Severity::Error, self.span.clone(), message)
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.into() } else { format!("{}.{key}", self.name) }
    }

    fn position(&self, key: &str) -> Range<usize> {
        self.entries.get(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    fn refuse_unknown_keys(self) {
        for (key, _) in self.entries {
            let name: &str = key.get_ref();
            if self.known.contains(name) {
                continue;
            }
            let mut message = format!("unknown key `{}`", self.path(name));
            if let Some(near) = value::nearest(name, self.known.iter().map(String::as_str)) {
                message.push_str(&format!("; did you mean `{near}`?"));
            }
            self.report.write(Severity::Error, key.span(), message);
        }
    }
}

#[cfg(test)]
mod tests;
