//! Any bytes on a stream, found by libFuzzer; the body is that of the replay.

#![no_main]

#[path = "../../proto/xmpp-proto/tests/fuzz_targets/framer.rs"]
mod framer;

libfuzzer_sys::fuzz_target!(|data: &[u8]| framer::check(data));
