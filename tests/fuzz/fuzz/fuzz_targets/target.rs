//! One fuzz target for libFuzzer: the one of this program's name.
//! What it reads, and what must hold, is in `ironbeat-fuzz`.
#![no_main]
use ironbeat_fuzz::{Target, find};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TARGET: LazyLock<Target> =
    LazyLock::new(|| find(env!("CARGO_BIN_NAME")).expect("each program is named like a target"));

fuzz_target!(|bytes: &[u8]| {
    (TARGET.read)(bytes);
});
