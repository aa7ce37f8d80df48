//! The binaries `dovetail-balancer`, `dovetail-matcher` and `dovetail-gatherer`.

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::error::CliError;
use super::{exit_code, roles, runtime, single_runtime, telemetry};
use crate::Role;
use crate::settings::{HELP_NAMES, RoleFlags};
use crate::shutdown::Shutdown;

/// Runs a role's binary: parses flags, reads settings, runs the role until SIGTERM or SIGINT.
pub fn main(role: Role) -> ExitCode {
    exit_code(command(role).try_get_matches().map_err(CliError::Usage).and_then(|matches| run(role, &matches)))
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

fn run(role: Role, matches: &ArgMatches) -> Result<(), CliError> {
    let settings = RoleFlags::from_matches(matches).load(role)?;
    telemetry::init(&settings.node.log);
    crate::crash::say_if_asked_for();
    crate::memory::give_back().map_err(CliError::Runtime)?;
    let runtime = match role {
        Role::Balancer => runtime()?,
        Role::Matcher | Role::Gatherer => single_runtime()?,
    };
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().map_err(CliError::Runtime)?;
        match role {
            Role::Balancer => roles::run_balancer(settings, shutdown).await?,
            Role::Matcher => roles::run_matcher(settings, shutdown).await?,
            Role::Gatherer => roles::run_gatherer(settings, shutdown).await?,
        }
        Ok(())
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
