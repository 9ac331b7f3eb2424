//! Namespace names that are cheap to copy and to compare.

use std::fmt;
use std::sync::Arc;

use crate::ns;

/// A namespace name: an opaque string, static where it is well known, else shared.
///
/// The empty name stands for "no namespace".
#[derive(Clone)]
pub struct Namespace(Repr);

#[derive(Clone)]
enum Repr {
    Known(&'static str),
    Shared(Arc<str>),
}

impl Namespace {
    /// The name of no namespace.
    pub const NONE: Self = Self(Repr::Known(""));

    /// The namespace name.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Known(name) => name,
            Repr::Shared(name) => name,
        }
    }

    /// The namespace of a name that the parser has read.
    pub(crate) fn read(name: &str) -> Self {
        match ns::frequent(name) {
            Some(frequent) => Self(Repr::Known(frequent)),
            None => Self(Repr::Shared(Arc::from(name))),
        }
    }
}

impl From<&'static str> for Namespace {
    fn from(name: &'static str) -> Self {
        Self(Repr::Known(name))
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Namespace {}

impl PartialEq<str> for Namespace {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}
