//! What went wrong while a message was read or a rule was applied, and whose fault it is.

use crate::header::HeaderName;

/// The party that has to change something before the same thing can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The peer sent something that the rules of SIP forbid.
    Peer,
    /// A setting of this side refuses something that SIP allows.
    Policy,
    /// This side could not do what it should: a limit of ours, a lost connection.
    Local,
}

/// Text that does not follow its grammar; holds which part of it fails, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) &'static str);

/// A header field that is missing, repeated or malformed.
///
/// The answer is 400 with [`HeaderError::reason_phrase`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} header field: {problem}")]
pub struct HeaderError {
    /// The header field.
    pub field: HeaderName,
    /// What is wrong with it.
    pub problem: HeaderProblem,
}

/// What is wrong with a header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// It is mandatory here and absent.
    #[error("missing")]
    Missing,
    /// It may stand once and stands several times.
    #[error("repeated")]
    Repeated,
    /// Its value does not follow the grammar.
    #[error("malformed: {0}")]
    Malformed(Malformed),
}

impl HeaderError {
    /// Returns the error for a mandatory header field that is absent.
    #[must_use]
    pub const fn missing(field: HeaderName) -> Self {
        Self { field, problem: HeaderProblem::Missing }
    }

    /// Returns the error for a header field that may not be repeated.
    #[must_use]
    pub const fn repeated(field: HeaderName) -> Self {
        Self { field, problem: HeaderProblem::Repeated }
    }

    /// Returns the error for a value that does not follow the grammar.
    #[must_use]
    pub const fn malformed(field: HeaderName, malformed: Malformed) -> Self {
        Self { field, problem: HeaderProblem::Malformed(malformed) }
    }

    /// Says whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        Fault::Peer
    }

    /// Returns the reason phrase of the 400 that answers this error.
    #[must_use]
    pub fn reason_phrase(&self) -> String {
        // RFC 3261 s.21.4.1: the reason phrase should identify the syntax problem.
        let problem = match self.problem {
            HeaderProblem::Missing => "Missing",
            HeaderProblem::Repeated => "Repeated",
            HeaderProblem::Malformed(_) => "Malformed",
        };
        format!("{problem} {} Header Field", self.field)
    }
}
