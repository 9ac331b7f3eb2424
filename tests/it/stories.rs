//! What users of both sides see, through both processes, with real peers.

mod contoso;
mod texts;
