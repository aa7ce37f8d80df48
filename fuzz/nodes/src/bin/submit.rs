//! The fuzz target `submit`. Its body is in `nodes/src/submit.rs`; `../run.sh` builds and runs it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    dovetail_fuzz_nodes::submit::run(input);
});
