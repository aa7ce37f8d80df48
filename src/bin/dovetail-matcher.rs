//! One matcher of a cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    dovetail::cli::role::main(dovetail::settings::Role::Matcher)
}
