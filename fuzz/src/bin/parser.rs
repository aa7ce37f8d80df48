//! The fuzz target `parser`. Its body is in `src/parser.rs`; `run.sh` builds and runs it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    dovetail_fuzz::parser::run(input);
});
