//! `dovetail up`: every role in one process.

use std::env;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use super::error::CliError;
use super::{match_json, output};
use dovetail_server::{
    roles,
    settings::{HELP_NAMES, UpFlags, UpSettings},
    shutdown::Shutdown,
    telemetry,
    up::{Started, local_url},
};

/// Flags of `dovetail up`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("Example:\n  dovetail up --slices 4 --matchers 2 --gatherers 2\n\n{HELP_NAMES}"))]
pub struct UpArgs {
    #[command(flatten)]
    settings: UpFlags,
    /// Print a JSON object once clients can connect, in place of what is for people
    #[arg(long)]
    json: bool,
}

/// Runs the whole cluster until SIGTERM or SIGINT.
pub async fn run(arguments: UpArgs) -> Result<(), CliError> {
    let settings = arguments.settings.load()?;
    telemetry::init(&settings.log);
    dovetail_server::crash::say_if_asked_for();
    dovetail_server::memory::give_back().map_err(CliError::Runtime)?;
    let shutdown = Shutdown::on_signals().map_err(CliError::Runtime)?;
    let told = settings.clone();
    let started = move |started: &Started| {
        let program = env::args().next().filter(|name| name.contains('/')).unwrap_or_else(|| "dovetail".to_owned());
        // A reader that closed our stdout does not want to read it.
        let _ = output::print(&if arguments.json {
            match_json::line(&object(&told, started))
        } else {
            banner(&told, started, &program, Path::new("examples/players.toml").exists())
        });
    };
    Ok(roles::run_up(settings, shutdown, started).await?)
}

/// What runs where, for machines.
fn object(settings: &UpSettings, started: &Started) -> serde_json::Value {
    json!({
        "version": crate::version::VERSION,
        "cluster": settings.cluster.name,
        "server": local_url(started.balancer, settings.tls.is_some()),
        "data": settings.data.display().to_string(),
        "balancer": started.balancer.to_string(),
        "matchers": started.matchers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "gatherers": started.gatherers.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// What runs where, and what to do next.
fn banner(settings: &UpSettings, started: &Started, program: &str, examples: bool) -> String {
    let cluster = &settings.cluster;
    let server = local_url(started.balancer, settings.tls.is_some());
    let mut text = format!("Dovetail {}, cluster {:?}, is up.\n\n", env!("CARGO_PKG_VERSION"), cluster.name);
    let _ = writeln!(text, "  balancer     {:<22}  log in {}", started.balancer, settings.data.display());
    for (index, address) in (0..).zip(&started.matchers) {
        let slices: Vec<String> = cluster.slices_of(index).map(|slice| slice.to_string()).collect();
        let _ = writeln!(text, "  matcher {index:<3}  {address:<22}  slices {}", slices.join(", "));
    }
    for (index, address) in started.gatherers.iter().enumerate() {
        let _ = writeln!(text, "  gatherer {index:<2}  {address:<22}  shard {index}");
    }
    let flag = if server == super::arguments::DEFAULT_SERVER { String::new() } else { format!(" --server {server}") };
    text.push_str("\nNext, in another terminal, define a pool, submit elements, and watch the pairs:\n\n");
    let (define, submit) = if examples {
        ("--file examples/players.toml", "submit --pool duel examples/players.ndjson")
    } else {
        ("duel --attribute skill=int --rule 'abs(a.skill - b.skill) <= 50'", "submit --pool duel players.ndjson")
    };
    for command in [format!("pool define {define}"), submit.to_owned(), "watch --pool duel".to_owned()] {
        let _ = writeln!(text, "  {program} {command}{flag}");
    }
    if !examples {
        text.push_str("\nA line of players.ndjson: {\"key\":\"p1\",\"attributes\":{\"skill\":1500}}\n");
    }
    text.push_str("\nCtrl-C stops it.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use dovetail_server::settings::Sources;

    fn banner_at(balancer: &str, examples: bool) -> String {
        let flags = vec![("cluster.slices", "5".to_owned())];
        let settings = Sources { flags, ..Sources::default() }.load_up().unwrap();
        let at = |address: &str| address.parse::<std::net::SocketAddr>().unwrap();
        let started = Started {
            balancer: at(balancer),
            matchers: vec![at("127.0.0.1:1"), at("127.0.0.1:2")],
            gatherers: vec![at("127.0.0.1:3"), at("127.0.0.1:4")],
        };
        banner(&settings, &started, "dovetail", examples)
    }

    #[test]
    fn the_banner_says_what_runs_where_and_what_to_do_next() {
        let expected = format!(
            "Dovetail {}, cluster \"dovetail\", is up.\n\n  \
             balancer     127.0.0.1:7400          log in ./dovetail-data\n  \
             matcher 0    127.0.0.1:1             slices 0, 2, 4\n  \
             matcher 1    127.0.0.1:2             slices 1, 3\n  \
             gatherer 0   127.0.0.1:3             shard 0\n  \
             gatherer 1   127.0.0.1:4             shard 1\n\n\
             Next, in another terminal, define a pool, submit elements, and watch the pairs:\n\n  \
             dovetail pool define --file examples/players.toml\n  \
             dovetail submit --pool duel examples/players.ndjson\n  \
             dovetail watch --pool duel\n\nCtrl-C stops it.\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(banner_at("127.0.0.1:7400", true), expected);
    }

    #[test]
    fn the_commands_name_a_server_that_is_not_the_default() {
        assert!(banner_at("0.0.0.0:9", true).contains("watch --pool duel --server http://127.0.0.1:9\n"));
        assert!(banner_at("[::]:9", false).contains("watch --pool duel --server http://[::1]:9\n"));
        assert!(banner_at("10.0.0.1:7400", true).contains("--server http://10.0.0.1:7400\n"));
    }
}
