//! The command lines: `dovetail` with its subcommands, and the binaries of the roles.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 only when all of it worked, 2 for wrong usage, 1
//! otherwise.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a command line is for")]

mod error;
mod output;
pub mod role;
pub mod roles;
mod telemetry;
mod up;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use error::CliError;

/// Where a balancer is expected when nobody says otherwise.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:7400";

/// Dovetail matches elements in pairs: players and opponents, riders and drivers, two halves of an event.
#[derive(Debug, Parser)]
#[command(name = "dovetail", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole cluster in this process
    Up(up::UpArgs),
}

/// Runs the `dovetail` binary.
pub fn main() -> ExitCode {
    exit_code(Cli::try_parse().map_err(CliError::Usage).and_then(|cli| runtime()?.block_on(run(cli))))
}

async fn run(cli: Cli) -> Result<(), CliError> {
    match cli.command {
        Command::Up(arguments) => up::run(arguments).await,
    }
}

fn runtime() -> Result<Runtime, CliError> {
    Runtime::new().map_err(CliError::Runtime)
}

/// Says what went wrong, and tells the shell.
fn exit_code(outcome: Result<(), CliError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has read enough.
        Err(CliError::Stdout(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(CliError::Usage(error)) => {
            // Help and version are no errors; clap knows, and has nothing better to do if stderr is closed.
            let _ = error.print();
            ExitCode::from(error.exit_code() as u8)
        }
        Err(error @ CliError::Settings(_)) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
