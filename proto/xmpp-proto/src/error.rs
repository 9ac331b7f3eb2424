//! Whose fault a failure is: the one question that every error of this crate answers.

use std::fmt;

/// The side that must change something before the same attempt can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The peer broke a rule of the protocol, or its network failed.
    Peer,
    /// The peer behaved, but our policy or our limits refuse it.
    Policy,
    /// We, or the machine that we run on, cannot go on.
    Local,
}

impl Fault {
    /// The word for logs and metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Policy => "policy",
            Self::Local => "local",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label())
    }
}
