//! `dovetail completions` and `dovetail man`: for shells and for `man`, of every binary, from the same definitions as
//! `--help`.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::error::CliError;
use super::output;
use dovetail::Role;
use dovetail_server::program;

/// Flags of `dovetail completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dovetail completions bash > ~/.local/share/bash-completion/completions/dovetail
  dovetail completions zsh --program dovetail-balancer > ~/.zfunc/_dovetail-balancer
  dovetail completions fish > ~/.config/fish/completions/dovetail.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
    /// Of which program
    #[arg(long, value_name = "PROGRAM", default_value = "dovetail")]
    program: Binary,
}

/// Flags of `dovetail man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  dovetail man --out /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The folder to write the pages to; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// A binary of this package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Binary {
    Dovetail,
    DovetailBalancer,
    DovetailMatcher,
    DovetailGatherer,
}

impl Binary {
    /// `C` is the command line of `dovetail`.
    fn command<C: CommandFactory>(self) -> Command {
        match self {
            Binary::Dovetail => C::command(),
            Binary::DovetailBalancer => program::command(Role::Balancer),
            Binary::DovetailMatcher => program::command(Role::Matcher),
            Binary::DovetailGatherer => program::command(Role::Gatherer),
        }
    }
}

/// Prints the completions of one binary.
pub fn completions<C: CommandFactory>(arguments: &CompletionsArgs) -> Result<(), CliError> {
    let mut command = arguments.program.command::<C>();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut text);
    Ok(output::print(&String::from_utf8_lossy(&text))?)
}

/// Writes the pages of all binaries, one for each command.
pub fn man<C: CommandFactory>(arguments: &ManArgs) -> Result<(), CliError> {
    let out = &arguments.out;
    let pages = || -> io::Result<usize> {
        fs::create_dir_all(out)?;
        for binary in Binary::value_variants() {
            clap_mangen::generate_to(binary.command::<C>(), out)?;
        }
        Ok(fs::read_dir(out)?.count())
    };
    let count = pages().map_err(|error| CliError::Output { path: out.clone(), error })?;
    Ok(output::print(&format!("{count} pages are in {}\n", out.display()))?)
}
