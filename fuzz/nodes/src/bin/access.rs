//! The fuzz target `access`. Its body is in `nodes/src/access.rs`; `../run.sh` builds and runs it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    dovetail_fuzz_nodes::access::run(input);
});
