//! The integration tests, in one binary.

mod peers;
mod stories;
