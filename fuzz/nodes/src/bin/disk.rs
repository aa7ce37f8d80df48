//! The fuzz target `disk`. Its body is in `nodes/src/disk.rs`; `../run.sh` builds and runs it.
#![no_main]

#[path = "../write.rs"]
mod write;

libfuzzer_sys::fuzz_target!(init: write::write_seeds("disk"), |input: &[u8]| {
    dovetail_fuzz_nodes::disk::run(input);
});
