//! What users of both sides see, through both processes, with real peers.

mod attempts;
mod away;
mod bidi;
mod certificates;
mod devices;
mod direct_tls;
mod edges;
mod ending;
mod identities;
mod next_hop;
mod partners;
mod presence;
mod privacy;
mod refusals;
mod services;
mod streams;
mod texts;
mod threads;

use tests::contoso;
