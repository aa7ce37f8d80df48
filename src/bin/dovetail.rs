//! A whole cluster in one process, and the client commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    dovetail::cli::main()
}
