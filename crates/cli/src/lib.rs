//! The command line of `dovetail`, with its subcommands.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 only when all of it worked, 2 for wrong usage or
//! settings, 3 when the time that was given for it ran out, 1 otherwise.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a command line is for")]

mod arguments;
mod bench;
mod certs;
mod clock;
mod context;
mod duration;
mod element;
mod elements;
mod error;
mod explain;
mod input;
mod match_json;
mod notices;
mod oracle;
mod output;
mod pool;
mod pool_file;
mod rule;
mod schema;
mod shells;
mod status;
mod submit;
mod table;
mod time;
mod token;
mod up;
mod version;
mod watch;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use arguments::DEFAULT_SERVER;
use dovetail_server::program;
use error::CliError;
pub use version::VERSION;

const FIRST_STEPS: &str = "\
First steps:
  dovetail up                                            a whole cluster, in this process
  dovetail pool define --file examples/players.toml      which elements match
  dovetail submit --pool duel examples/players.ndjson    elements in
  dovetail watch --pool duel                             pairs out

Exit codes: 0 all of it worked, 1 something failed, 2 wrong usage or settings, 3 the time given for it ran out.";

/// Matches elements in pairs: players and opponents, riders and drivers, halves of an event
#[derive(Debug, Parser)]
#[command(name = "dovetail", version = VERSION, arg_required_else_help = true, after_help = FIRST_STEPS)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole cluster in this process
    Up(up::UpArgs),
    /// Define and list pools
    #[command(subcommand)]
    Pool(pool::PoolCommand),
    /// Submit elements from a file or a pipe
    Submit(submit::SubmitArgs),
    /// Print pairs as they come
    Watch(watch::WatchArgs),
    /// Show an element and what became of it
    Get(element::GetArgs),
    /// List the elements that wait in a pool
    List(elements::ListElementsArgs),
    /// Show why an element is still waiting
    Explain(explain::ExplainArgs),
    /// Take a waiting element back, or many
    Withdraw(element::WithdrawArgs),
    /// Show what nodes say about themselves
    Status(status::StatusArgs),
    /// Look into rules, without a cluster
    #[command(subcommand)]
    Rule(rule::RuleCommand),
    /// Match a file with the sequential program, without a cluster
    Oracle(oracle::OracleArgs),
    /// Measure a cluster: throughput, latencies, what they cost, and whether the result is right
    Bench(bench::BenchArgs),
    /// Tell a balancer that its wall clock is right
    #[command(subcommand)]
    Clock(clock::ClockCommand),
    /// Make and show certificates, for TLS
    #[command(subcommand)]
    Certs(certs::CertsCommand),
    /// Name servers, and how to connect to each
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Make API keys
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Print the completions of a shell
    Completions(shells::CompletionsArgs),
    /// Write man pages
    Man(shells::ManArgs),
}

/// Runs the `dovetail` binary.
pub fn main() -> ExitCode {
    exit_code(context::parse::<Cli>().and_then(|cli| program::runtime().map_err(CliError::Runtime)?.block_on(run(cli))))
}

async fn run(cli: Cli) -> Result<(), CliError> {
    match cli.command {
        Command::Up(arguments) => up::run(arguments).await,
        Command::Pool(command) => pool::run(command).await,
        Command::Submit(arguments) => submit::run(arguments).await,
        Command::Watch(arguments) => watch::run(arguments).await,
        Command::Get(arguments) => element::get(arguments).await,
        Command::List(arguments) => elements::list(arguments).await,
        Command::Explain(arguments) => explain::run(arguments).await,
        Command::Withdraw(arguments) => element::withdraw(arguments).await,
        Command::Status(arguments) => status::run(arguments).await,
        Command::Rule(command) => rule::run(command),
        Command::Oracle(arguments) => oracle::run(&arguments),
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::Clock(command) => clock::run(command).await,
        Command::Certs(command) => certs::run(command),
        Command::Context(command) => context::run(command),
        Command::Token(command) => token::run(&command),
        Command::Completions(arguments) => shells::completions::<Cli>(&arguments),
        Command::Man(arguments) => shells::man::<Cli>(&arguments),
    }
}

/// Says what went wrong, and tells the shell.
fn exit_code(outcome: Result<(), CliError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output has read enough.
        Err(CliError::Stdout(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(CliError::Usage(error)) => program::usage(&error),
        Err(CliError::Reported) => ExitCode::FAILURE,
        Err(error @ (CliError::Settings(_) | CliError::Arguments(_) | CliError::Address(_) | CliError::Tls(_))) => {
            program::complain(&error.told());
            ExitCode::from(2)
        }
        Err(CliError::Run(error)) if error.is_of_settings() => {
            program::complain(&CliError::Run(error).told());
            ExitCode::from(2)
        }
        Err(error) if error.is_time_out() => {
            program::complain(&error.told());
            ExitCode::from(3)
        }
        Err(error) => {
            program::complain(&error.told());
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Every command and what is below it, by name.
    fn all_of(command: clap::Command) -> Vec<clap::Command> {
        let below: Vec<_> = command.get_subcommands().cloned().flat_map(all_of).collect();
        std::iter::once(command).chain(below).collect()
    }

    #[test]
    fn examples_of_the_help_can_be_copied() {
        let roles = dovetail::Role::ALL.map(program::command);
        for mut command in all_of(Cli::command()).into_iter().chain(roles) {
            let name = command.get_name().to_owned();
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for example in after.lines().filter(|line| line.starts_with("  ")) {
                assert!(example.chars().count() <= 100, "{name}: {example}");
            }
            let help = command.render_long_help().to_string();
            let broken = help.lines().find(|line| line.trim() == "\\");
            assert_eq!(broken, None, "{name}: {help}");
        }
    }

    #[test]
    fn the_forms_that_scripts_rely_on_are_understood() {
        for line in [
            "up --listen 127.0.0.1:7400 --data DIR --slices 4 --matchers 2 --gatherers 2",
            "pool define duel --attribute region=string --attribute maps=list<string> --rule true --ttl 60s --reprobe 5s,10s",
            "pool define --file pool.toml",
            "pool list --json --server http://a:1",
            "submit --pool duel -",
            "submit --pool duel --format csv --keep-going --batch 1 --in-flight 1 FILE",
            "submit --pool duel --delimiter ; --key-column id --columns id,skill --rename Elo=skill --null NA,- FILE.csv",
            "submit --pool duel --delimiter tab --empty - --ignore-unknown --from-line 17 FILE",
            "oracle --delimiter ; --null -,-1 POOLFILE FILE.csv",
            "watch --pool duel --json --from 17 --until-settled",
            "watch --outcomes --json",
            "get 17 --wait 5s --json",
            "get 17 --at 20",
            "get --pool duel --key p1",
            "get --pool duel --key -5",
            "withdraw --pool duel --key -5",
            "withdraw --pool duel --all",
            "withdraw --pool duel --key-prefix p --where region=eu --where skill=1500 --yes --json",
            "list --pool duel",
            "list --pool duel --key-prefix p --where region=eu --limit 5 --json",
            "watch --from now",
            "explain --key -p- --pool duel",
            "withdraw --pool duel --key p1",
            "explain 17 --json",
            "explain --pool duel --key p1 --nearest 100",
            "rule plan a.x==b.x --attribute x=int --json",
            "rule plan --file pool.toml",
            "status --server http://a:1,http://b:2 --server http://c:3 --json",
            "status --all --watch --server http://a:1",
            "status --all --watch 5s",
            "status --check --json --timeout 1s",
            "withdraw 17 --timeout 5s",
            "completions bash",
            "completions zsh --program dovetail-matcher",
            "man --out DIR",
            "token new game-1",
            "context list",
            "context use prod",
            "context show",
            "context set prod --server https://a:1 --tls-ca FILE --token-file FILE",
            "pool list --token TOKEN --insecure",
            "watch --token-file FILE",
            "token new game-1 --json",
            "up --json",
            "submit --pool duel --json FILE",
            "pool define duel --rule true --json",
            "oracle POOLFILE FILE",
            "bench --workload w5 --elements 20000 --matchers 4 --gatherers 2 --slices 8 --data /dev/shm --rounds 3 --json",
            "bench --up --clients 4 --batch 64 --in-flight 8 --rate 50000 --payload-bytes 0",
            "bench --one --rate 100 --clients 2",
            "bench --pool-file POOLFILE --input FILE --server http://a:1",
            "bench --server https://a:1 --tls-ca FILE --tls-cert FILE --tls-key FILE",
            "watch --server https://a:1 --tls-ca FILE",
            "status --all --server https://a:1 --tls-ca FILE",
            "clock accept --server http://a:1 --json",
            "certs init DIR --config FILE --client ada --client bob",
            "certs init DIR --name c --balancer a,10.0.0.1 --matcher b --matcher c --gatherer d --days 30",
            "certs client DIR ada --days 1",
            "certs show FILE FILE",
            "up --insecure --listen 0.0.0.0:7400",
            "up --tls-cert FILE --tls-key FILE --tls-client-auth none",
        ] {
            let parsed = Cli::try_parse_from(format!("dovetail {line}").split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            "pool define duel",
            "pool define duel --rule true --file pool.toml",
            "pool define duel --rule true --attribute skill=number",
            "pool define duel --rule true --ttl soon",
            "submit FILE",
            "submit --pool duel --batch 0 FILE",
            "submit --pool duel --delimiter ab FILE",
            "submit --pool duel --delimiter \" FILE",
            "submit --pool duel --delimiter § FILE",
            "submit --pool duel --rename skill FILE",
            "submit --pool duel --from-line 0 FILE",
            "get",
            "get 17 --key p1 --pool duel",
            "get --key p1",
            "get 17 --wait 2m",
            "get 17 --timeout soon",
            "status --watch 1ms",
            "status --watch --check",
            "completions csh",
            "token new",
            "context set prod",
            "context use",
            "watch --token a --token-file b",
            "man",
            "withdraw --pool duel",
            "withdraw --all",
            "withdraw --where region=eu",
            "withdraw --pool duel --key p1 --all",
            "withdraw --pool duel --all --key-prefix p",
            "withdraw 17 --all",
            "list",
            "list --pool duel --limit 0",
            "list --pool duel --where region",
            "watch --from soon",
            "explain",
            "explain 17 --nearest 101",
            "rule plan",
            "rule plan true --file pool.toml",
            "rule plan true --attribute x=number",
            "up --index 1",
            "bench --workload w6",
            "bench --elements 0",
            "bench --rate 0",
            "bench --rate fast",
            "bench --rounds 0",
            "bench --clients 0",
            "bench --pool-file POOLFILE",
            "bench --input FILE",
            "bench --one --rows",
            "bench --one --batch 1",
            "bench --workload w1 --pool-file POOLFILE --input FILE",
            "bench --server http://a:1 --matchers 2",
            "bench --server http://a:1 --up",
            "bench --server http://a:1 --data DIR",
            "clock",
            "certs init DIR",
            "certs init DIR --config FILE --matcher a",
            "certs client DIR",
            "certs show",
            "certs init DIR --config FILE --days 0",
        ] {
            let parsed = Cli::try_parse_from(format!("dovetail {line}").split(' '));
            assert_eq!(parsed.map(drop).map_err(|error| error.exit_code()), Err(2), "{line}");
        }
    }
}
