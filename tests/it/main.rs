//! The integration tests, in one binary.

mod faults;
mod peers;
mod stories;
mod tidy;
