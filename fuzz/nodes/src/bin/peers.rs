//! The fuzz target `peers`. Its body is in `nodes/src/peers.rs`; `../run.sh` builds and runs it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    dovetail_fuzz_nodes::peers::run(input);
});
