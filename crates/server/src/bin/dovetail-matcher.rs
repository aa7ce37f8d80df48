//! One matcher of a cluster.

use std::process::ExitCode;

use dovetail_server::program;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    program::main::<program::MatcherProgram>()
}
