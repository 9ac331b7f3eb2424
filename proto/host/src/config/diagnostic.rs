//! One finding in a configuration file: where it is, how bad, and what to change.

use std::fmt;
use std::path::Path;

/// Whether a finding stops the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used.
    Warning,
}

/// A finding with its place, counted from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, for a person.
    pub message: String,
}

impl Diagnostic {
    pub(crate) fn at(text: &str, offset: usize, severity: Severity, message: String) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        Self { line, column, severity, message }
    }

    /// Writes the finding on one line, `path:line:column: severity: message`.
    pub fn display<'a>(&'a self, path: &'a Path) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            let severity = match self.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let Self { line, column, message, .. } = self;
            write!(f, "{}:{line}:{column}: {severity}: {message}", path.display())
        })
    }
}
