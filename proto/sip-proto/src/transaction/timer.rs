//! The timers of RFC 3261 table 4 as far as reliable transports have them.
//!
//! The retransmission timers A, E and G are not set there, and D, I, J and K are zero.

use std::time::Duration;

/// The round-trip estimate, 500 ms.
pub const T1: Duration = Duration::from_millis(500);

/// Timer F: a non-INVITE client transaction without final response, 32 s.
pub const TIMER_F: Duration = Duration::from_secs(32);

/// Timer H: a refused INVITE without ACK, 32 s.
pub const TIMER_H: Duration = Duration::from_secs(32);

/// A server transaction that its owner does not answer. A later answer is of no use: the client
/// has given up after as long (RFC 4320 s.4.2), 32 s.
pub const ANSWER_WAIT: Duration = Duration::from_secs(32);

const _: () = assert!(TIMER_F.as_millis() == 64 * T1.as_millis());
const _: () = assert!(TIMER_H.as_millis() == 64 * T1.as_millis());
