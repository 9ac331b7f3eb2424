//! Partners with real servers, in every combination of what they and we can do.
//!
//! Each server has a test, which has a message cross for each cell of its table, verifies by what
//! ways it came, and shows the table at its end.

mod cell;
mod ejabberd;
mod estate;
mod jabberd2;
mod prosody;
mod table;
