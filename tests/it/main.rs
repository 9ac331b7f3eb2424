//! The integration tests, in one binary.

mod configuration;
mod faults;
mod hostile;
mod peers;
mod stories;
mod tidy;
