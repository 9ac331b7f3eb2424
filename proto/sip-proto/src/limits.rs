//! Limits of what the engine reads and remembers, each with a unit and a default.

/// Bounds on one message, given by the owner of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Start line and header fields together, in bytes, with the empty line that ends them.
    pub head_bytes_max: usize,
    /// Number of header field rows.
    pub header_fields_max: usize,
    /// Message body, in bytes.
    pub body_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes_max: 64 * 1024, header_fields_max: 128, body_bytes_max: 72 * 1024 }
    }
}

/// Length of the start line, in bytes without its CRLF.
pub const START_LINE_BYTES_MAX: usize = 8 * 1024;

/// Length of one URI, in bytes.
pub const URI_BYTES_MAX: usize = 4 * 1024;

/// Number of parameters of one header field value or one URI.
pub const PARAMETERS_MAX: usize = 64;

/// Number of comma-separated values of one header field, all its rows together.
pub const LIST_VALUES_MAX: usize = 128;

/// Nesting of comments in a header field value.
pub const COMMENT_DEPTH_MAX: usize = 8;
