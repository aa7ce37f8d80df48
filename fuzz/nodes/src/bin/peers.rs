//! The fuzz target `peers`. Its body is in `nodes/src/peers.rs`; `../run.sh` builds and runs it.
#![no_main]

#[path = "../write.rs"]
mod write;

libfuzzer_sys::fuzz_target!(init: write::write_seeds("peers"), |input: &[u8]| {
    dovetail_fuzz_nodes::peers::run(input);
});
