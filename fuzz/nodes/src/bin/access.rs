//! The fuzz target `access`. Its body is in `nodes/src/access.rs`; `../run.sh` builds and runs it.
#![no_main]

#[path = "../write.rs"]
mod write;

libfuzzer_sys::fuzz_target!(init: write::write_seeds("access"), |input: &[u8]| {
    dovetail_fuzz_nodes::access::run(input);
});
