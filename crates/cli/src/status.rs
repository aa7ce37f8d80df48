//! `dovetail status`: what nodes say about themselves, and what is wrong with the cluster.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use futures::future::join_all;

use self::check::Finding;
use super::arguments::{ConnectArgs, DEFAULT_SERVER, duration_ms};
use super::error::CliError;
use super::{duration, match_json, output, time};
use dovetail::{
    address,
    client::{Client, ConnectOptions},
    pb::{self, Role},
};
use dovetail_server::{printable::printable, shutdown::Shutdown, time::now_ms};

mod check;
mod json;
mod text;

/// Flags of `dovetail status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dovetail status --all
  dovetail status --all --watch
  dovetail status --check --server http://10.0.0.1:7400
  dovetail status --server http://10.0.0.1:7400,http://10.0.0.2:7401,http://10.0.0.5:7402

Watermarks are event ids: stable <= decided <= durable <= assigned. Lag is in events.
--check prints a line for each thing that is wrong, and exits with 1; with 0 when nothing is.")]
pub struct StatusArgs {
    /// The nodes to ask, of any role; may be repeated
    #[arg(long, value_name = "URL,..", value_delimiter = ',', env = "DOVETAIL_SERVER", hide_env_values = true,
          default_value = DEFAULT_SERVER)]
    server: Vec<String>,
    /// Ask every node of the cluster, at the addresses that the first node which answers has in its settings
    #[arg(long)]
    all: bool,
    /// Ask again and again, until interrupted [default interval: 2s]
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "2s", value_parser = interval)]
    watch: Option<u64>,
    /// Say only what is wrong, with all nodes; exit with 1 if anything is
    #[arg(long, conflicts_with = "watch")]
    check: bool,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    /// Longest time a node may take to answer
    #[arg(long, value_name = "DURATION", env = "DOVETAIL_TIMEOUT", hide_env_values = true, default_value = "5s",
          value_parser = duration_ms)]
    timeout: u64,
    #[command(flatten)]
    connect: ConnectArgs,
}

fn interval(text: &str) -> Result<u64, String> {
    match duration_ms(text).map_err(|error| error.to_string())? {
        ms @ 100.. => Ok(ms),
        _ => Err(format!("{text} is too short, at least 100ms")),
    }
}

/// A node that was asked.
struct Asked {
    server: String,
    /// What it is by the settings of another; none for one that was named on the command line.
    expected: Option<(Role, u32)>,
    answer: Result<pb::InspectResponse, CliError>,
}

/// Asks every node. Fails when one does not answer, after having shown the others.
pub async fn run(arguments: StatusArgs) -> Result<(), CliError> {
    // What is no address is wrong usage, and not a node that is silent.
    arguments.server.iter().try_for_each(|server| address::node_url(server).map(drop)).map_err(CliError::Address)?;
    let options = arguments.connect.options()?;
    if let Some(every_ms) = arguments.watch {
        return watch(&arguments, &options, Duration::from_millis(every_ms)).await;
    }
    let nodes = ask(&arguments, &options).await;
    if arguments.check {
        return report(&check::findings(&nodes), nodes.len(), arguments.json);
    }
    let mut all_worked = true;
    for (index, node) in nodes.iter().enumerate() {
        match &node.answer {
            Ok(_) => {
                let space = if index == 0 || arguments.json { "" } else { "\n" };
                output::print(&format!("{space}{}", describe(node, arguments.json)))?;
            }
            Err(error) => {
                eprintln!("error: {}", named(node, error));
                all_worked = false;
            }
        }
    }
    if all_worked { Ok(()) } else { Err(CliError::Reported) }
}

/// Shows all nodes again and again. One that does not answer stands where it would.
async fn watch(arguments: &StatusArgs, options: &ConnectOptions, every: Duration) -> Result<(), CliError> {
    let interrupted = Shutdown::on_signals().map_err(CliError::Runtime)?;
    let clear = io::stdout().is_terminal() && !arguments.json;
    loop {
        let nodes = tokio::select! {
            nodes = ask(arguments, options) => nodes,
            () = interrupted.given() => return Ok(()),
        };
        let mut page = String::new();
        if !arguments.json {
            let now = time::date_time(now_ms());
            page = format!("{now} UTC, every {}\n", duration::format_ms(every.as_millis() as u64));
        }
        for node in &nodes {
            match (&node.answer, arguments.json) {
                (Ok(_), true) => page.push_str(&describe(node, true)),
                (Ok(_), false) => page.push_str(&format!("\n{}", describe(node, false))),
                (Err(error), true) => eprintln!("error: {}", named(node, error)),
                (Err(error), false) => page.push_str(&format!("\nerror: {}\n", named(node, error))),
            }
        }
        let before = if clear { "\x1b[H\x1b[2J" } else { "" };
        let after = if clear || arguments.json { "" } else { "\n" };
        output::print(&format!("{before}{page}{after}"))?;
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = interrupted.given() => return Ok(()),
        }
    }
}

fn describe(node: &Asked, as_json: bool) -> String {
    match (&node.answer, as_json) {
        (Ok(answer), true) => match_json::line(&json::node(&node.server, answer)),
        (Ok(answer), false) => text::describe(&node.server, answer, now_ms()),
        (Err(_), _) => String::new(),
    }
}

/// That a node does not answer, and which program is to be started again, under which address. Does not name the node.
fn silent(node: &Asked, error: &CliError) -> String {
    let CliError::NoServer { reason, .. } = error else { return error.told() };
    let server = &node.server;
    match node.expected {
        Some((Role::Balancer, 0)) => format!("no answer at {server}: {reason}; start dovetail-balancer there again"),
        Some((role, index)) => {
            let program = super::notices::role_name(role);
            format!("no answer at {server}: {reason}; start dovetail-{program} --index {index} there again")
        }
        None => format!(
            "no answer: {reason}; start the node of this address again, or name another with --server or DOVETAIL_SERVER"
        ),
    }
}

/// An error with the node it is of.
fn named(node: &Asked, error: &CliError) -> String {
    if let (Some((role, index)), CliError::NoServer { .. }) = (node.expected, error) {
        let text = format!("{} {index}: {}", super::notices::role_name(role), silent(node, error));
        return printable(&text).into_owned();
    }
    let who =
        node.expected.map_or(String::new(), |(role, index)| format!("{} {index}: ", super::notices::role_name(role)));
    // These name the server themselves.
    let server = match error {
        CliError::NoServer { .. } | CliError::Distrust { .. } => String::new(),
        _ => format!("{}: ", node.server),
    };
    let error = error.told();
    printable(&format!("{who}{server}{error}")).into_owned()
}

/// A line for each finding. Fails if there is any.
fn report(findings: &[Finding], nodes: usize, as_json: bool) -> Result<(), CliError> {
    let lines: String = findings.iter().map(|finding| finding.line(as_json)).collect();
    match (findings.is_empty(), as_json) {
        (true, true) => Ok(()),
        (true, false) => Ok(output::print(&format!("ok: {nodes} nodes, nothing is wrong\n"))?),
        (false, _) => {
            output::print(&lines)?;
            Err(CliError::Reported)
        }
    }
}

/// Asks the nodes that were named, and then all that they know of, if that is wanted. In order of role and index; those
/// first that were named and did not answer.
async fn ask(arguments: &StatusArgs, options: &ConnectOptions) -> Vec<Asked> {
    let within = Duration::from_millis(arguments.timeout);
    let named = arguments.server.iter().map(|server| inspect(server.clone(), None, within, options));
    let mut nodes = join_all(named).await;
    if arguments.all || arguments.check {
        let answered = || nodes.iter().filter_map(|node| node.answer.as_ref().ok());
        let there: BTreeSet<_> = answered().map(|answer| (answer.role(), answer.index)).collect();
        let told = answered().next().map(|answer| answer.nodes.clone()).unwrap_or_default();
        let others = told.into_iter().filter(|node| !there.contains(&(node.role(), node.index)));
        let others = others.map(|node| {
            let who = (node.role(), node.index);
            inspect(node.address, Some(who), within, options)
        });
        nodes.extend(join_all(others).await);
        nodes.sort_by_key(|node| {
            let answered = node.answer.as_ref().ok().map(|answer| (answer.role(), answer.index));
            node.expected.or(answered)
        });
    }
    nodes
}

async fn inspect(server: String, expected: Option<(Role, u32)>, within: Duration, options: &ConnectOptions) -> Asked {
    let ask = async { Client::connect_with(server.as_str(), options).await?.inspect().await };
    let answer = tokio::time::timeout(within, ask);
    let answer = match answer.await {
        Ok(answer) => answer.map_err(CliError::from),
        Err(_) => {
            let reason = format!("no answer within {}", duration::format_ms(within.as_millis() as u64));
            Err(CliError::NoServer { url: server.clone(), reason })
        }
    };
    Asked { server, expected, answer }
}
