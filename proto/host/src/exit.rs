//! How a process ends when it cannot start or go on: one message, one distinct exit code.

use std::fmt;
use std::process::ExitCode;

/// The cause of an end, with the exit code of sysexits.h that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The command line is wrong (64).
    Usage,
    /// A file that the configuration names is missing, unreadable or not what it must be (66).
    Input,
    /// An address or port cannot be bound, or a running process cannot be reached (69).
    Unavailable,
    /// A broken invariant of ours (70).
    Internal,
    /// A file that a command makes cannot be written (73).
    Output,
    /// The store cannot be opened, read or written (74).
    Store,
    /// What was asked for was refused; the message says by which rule (77).
    Refused,
    /// The configuration is wrong (78).
    Configuration,
}

impl Cause {
    const fn code(self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::Input => 66,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Output => 73,
            Self::Store => 74,
            Self::Refused => 77,
            Self::Configuration => 78,
        }
    }
}

/// The end of a process: why, and what the operator is told.
#[derive(Debug)]
pub struct Failure {
    /// Decides the exit code.
    pub cause: Cause,
    /// One clear message; several lines when there are several findings.
    pub message: String,
}

impl Failure {
    /// Makes a failure from its cause and message.
    pub fn new(cause: Cause, message: impl fmt::Display) -> Self {
        Self { cause, message: message.to_string() }
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        failure.cause.code().into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Errors of one cause, gathered so that the operator is told of all of them at once.
#[derive(Debug, Default)]
pub struct Findings(Vec<String>);

impl Findings {
    /// Returns the value of a result, or writes its error down.
    pub fn take<T>(&mut self, result: Result<T, impl fmt::Display>) -> Option<T> {
        result.map_err(|error| self.add(error.to_string())).ok()
    }

    /// Writes an error down.
    pub fn add(&mut self, error: String) {
        // Several keys may name the same file.
        if !self.0.contains(&error) {
            self.0.push(error);
        }
    }

    /// Returns whether nothing was written down.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes a failure of what was written down, one error on each line.
    pub fn into_failure(self, cause: Cause) -> Failure {
        Failure::new(cause, self.0.join("\n"))
    }
}
