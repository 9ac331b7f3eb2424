//! The integration tests, in one binary.

mod configuration;
mod containers;
mod deployment;
mod faults;
mod hostile;
mod interop;
mod peers;
mod stories;
mod tidy;
