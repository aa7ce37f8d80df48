//! The fuzz target `disk`. Its body is in `nodes/src/disk.rs`; `../run.sh` builds and runs it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    dovetail_fuzz_nodes::disk::run(input);
});
