//! The fuzz target `planner`. Its body is in `src/planner.rs`; `run.sh` builds and runs it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    dovetail_fuzz::planner::run(input);
});
