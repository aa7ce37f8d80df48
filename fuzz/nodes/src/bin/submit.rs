//! The fuzz target `submit`. Its body is in `nodes/src/submit.rs`; `../run.sh` builds and runs it.
#![no_main]

#[path = "../write.rs"]
mod write;

libfuzzer_sys::fuzz_target!(init: write::write_seeds("submit"), |input: &[u8]| {
    dovetail_fuzz_nodes::submit::run(input);
});
