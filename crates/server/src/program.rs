//! The programs `dovetail-balancer`, `dovetail-matcher` and `dovetail-gatherer`, and what every program of a node has:
//! a runtime, and a way to say what went wrong.
//!
//! Exit codes: 0 only when all of it worked, 2 for wrong usage or settings, 1 otherwise.
#![allow(clippy::print_stderr, reason = "printing is what a program is for")]

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use tokio::runtime::{Builder, Runtime};

use crate::{
    crash,
    failure::RunError,
    memory, printable, roles,
    settings::{HELP_NAMES, RoleFlags, Settings, SettingsError},
    shutdown::Shutdown,
    telemetry,
};
use dovetail::Role;

/// Threads for what blocks: reads of files, searches for explanations. More of it waits for one.
const BLOCKING_THREADS: usize = 64;

/// Why a role's program ends.
#[derive(Debug, thiserror::Error)]
enum ProgramError {
    /// Wrong arguments, or `--help` and `--version`, which clap treats alike.
    #[error(transparent)]
    Usage(clap::Error),
    /// Wrong settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The role failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The process could not set itself up.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
}

/// A role that a program of its own runs. A type for each, so that the program of one has no code of the others.
pub trait RoleProgram {
    /// Which role.
    const ROLE: Role;

    /// The threads it runs on. For roles whose engine is most of what they do, one: between threads, a message is
    /// handed from one to the next, and each is woken for it. What takes long moves aside by itself.
    fn runtime() -> io::Result<Runtime> {
        builder().worker_threads(1).build()
    }

    /// Runs it until the signal, then drains it.
    fn run(settings: Settings, shutdown: Shutdown) -> impl Future<Output = Result<(), RunError>>;
}

/// `dovetail-balancer`.
pub enum BalancerProgram {}
/// `dovetail-matcher`.
pub enum MatcherProgram {}
/// `dovetail-gatherer`.
pub enum GathererProgram {}

impl RoleProgram for BalancerProgram {
    const ROLE: Role = Role::Balancer;

    /// It serves clients beside its engine.
    fn runtime() -> io::Result<Runtime> {
        runtime()
    }

    async fn run(settings: Settings, shutdown: Shutdown) -> Result<(), RunError> {
        roles::run_balancer(settings, shutdown).await
    }
}

impl RoleProgram for MatcherProgram {
    const ROLE: Role = Role::Matcher;

    async fn run(settings: Settings, shutdown: Shutdown) -> Result<(), RunError> {
        roles::run_matcher(settings, shutdown).await
    }
}

impl RoleProgram for GathererProgram {
    const ROLE: Role = Role::Gatherer;

    async fn run(settings: Settings, shutdown: Shutdown) -> Result<(), RunError> {
        roles::run_gatherer(settings, shutdown).await
    }
}

/// Runs a role's program: parses flags, reads settings, runs the role until SIGTERM or SIGINT.
pub fn main<P: RoleProgram>() -> ExitCode {
    let matches = command(P::ROLE).try_get_matches().map_err(ProgramError::Usage);
    match matches.and_then(|matches| run::<P>(&matches)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(ProgramError::Usage(error)) => usage(&error),
        Err(error) => {
            complain(&error.to_string());
            match error {
                ProgramError::Settings(_) => ExitCode::from(2),
                ProgramError::Run(error) if error.is_of_settings() => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Prints what clap has to say: help and version are no errors.
pub fn usage(error: &clap::Error) -> ExitCode {
    // It has nothing better to do if stderr is closed.
    let _ = error.print();
    ExitCode::from(error.exit_code() as u8)
}

/// Says what went wrong. Errors quote what clients and files say.
pub fn complain(error: &str) {
    // The reader may have gone; the exit code says it all the same.
    _ = writeln!(io::stderr(), "error: {}", printable::printable_lines(error));
}

/// What most programs run on.
///
/// # Errors
/// When there are no threads for it.
pub fn runtime() -> io::Result<Runtime> {
    builder().build()
}

fn builder() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.max_blocking_threads(BLOCKING_THREADS).enable_all().on_thread_park(memory::on_park);
    builder
}

/// The role's command line.
pub fn command(role: Role) -> Command {
    let (name, about, example) = match role {
        Role::Balancer => (
            "dovetail-balancer",
            "Gives every event its id, writes it to the log, broadcasts it, and serves clients",
            "dovetail-balancer --config /etc/dovetail.toml --data /var/lib/dovetail",
        ),
        Role::Matcher => (
            "dovetail-matcher",
            "Searches its slices of the pair space and reports candidates to the gatherers",
            "dovetail-matcher --config /etc/dovetail.toml --index 1",
        ),
        Role::Gatherer => (
            "dovetail-gatherer",
            "Accepts pairs for its shard of the ring and broadcasts the retirements",
            "dovetail-gatherer --config /etc/dovetail.toml --index 2 --listen 0.0.0.0:7502",
        ),
    };
    let command = Command::new(name)
        .about(about)
        .version(crate::VERSION)
        .after_help(format!("Example:\n  {example}\n\n{HELP_NAMES}"));
    RoleFlags::augment(command, role)
}

fn run<P: RoleProgram>(matches: &ArgMatches) -> Result<(), ProgramError> {
    let settings = RoleFlags::from_matches(matches).load(P::ROLE)?;
    telemetry::init(&settings.node.log);
    crash::say_if_asked_for();
    memory::give_back().map_err(ProgramError::Runtime)?;
    P::runtime().map_err(ProgramError::Runtime)?.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(ProgramError::Runtime)?;
        Ok(P::run(settings, shutdown).await?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_a_well_formed_command_line() {
        for role in Role::ALL {
            command(role).debug_assert();
        }
    }

    #[test]
    fn help_names_each_roles_own_port_and_every_section() {
        let help = command(Role::Gatherer).render_long_help().to_string();
        for part in
            ["0.0.0.0:7402", "[cluster] in the file", "[node] in the file", "[limits] in the file", "--list-max"]
        {
            assert!(help.contains(part), "no {part:?} in\n{help}");
        }
    }

    #[test]
    fn a_negative_number_reaches_the_settings_and_is_refused_with_its_bounds() {
        let matches = command(Role::Matcher).try_get_matches_from(["dovetail-matcher", "--slices", "-1"]).unwrap();
        let error = RoleFlags::from_matches(&matches).load(Role::Matcher).unwrap_err();
        assert_eq!(error.to_string(), "cluster.slices is \"-1\", but must be a whole number (from flag --slices)");
    }
}
