//! `dovetail bench`: drives a workload through a cluster, and says how fast that was, what it cost, and whether the
//! result is right.

mod text;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::arguments::{ConnectArgs, duration_ms};
use super::error::CliError;
use super::input::InputArgs;
use super::schema::PoolSchema;
use super::{duration, match_json, output, pool_file};
use dovetail::client::SubmitOptions;
use dovetail_bench::{
    ArrivalPace, BenchPlan, BenchShape, Form, Manner, RowSource, Target,
    workload::{CIRCLE, Workload},
};
use dovetail_server::shutdown::Shutdown;

/// Nodes of each role by default.
const NODES: u32 = 3;
/// Slices by default; more with more matchers.
const SLICES: u32 = 6;
/// Most elements. All are in memory, and so are their times.
const ELEMENTS_MAX: u32 = 50_000_000;

const EXAMPLES: &str = "\
Workloads, with known answers:
  w1  players: same region and mode, skill near     w2  riders and drivers: same cell, other side
  w3  everyone with everyone                        w4  two halves of an event: same id, other side
  w5  near in eight dimensions, no key
With --match-probability the sequential program says what should come of it.

Flat out, latencies say how much was under way; measure them with --rate, below what the cluster can do.

Examples:
  dovetail bench --workload w2 --elements 1000000
  dovetail bench --workload w1 --rate 50000 --rounds 5
  dovetail bench --one --rate 100 --elements 2000    one element at a time, on an idle cluster
  dovetail bench --tls                               with TLS everywhere
  dovetail bench --data /dev/shm                     the log in memory: what fsync costs
  dovetail bench --pool-file examples/players.toml --input examples/players.ndjson
  dovetail bench --server http://127.0.0.1:7400 --json";

/// Flags of `dovetail bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// How often, each time with a cluster (or a pool) of its own; rates are given as median, least and most
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Longest time for all of it; then it ends with exit code 3. Without it, as long as it takes
    #[arg(long, value_name = "DURATION", env = "DOVETAIL_TIMEOUT", hide_env_values = true, value_parser = duration_ms)]
    timeout: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What is submitted")]
struct LoadArgs {
    /// w1 to w5 [default: w2]
    #[arg(long, value_name = "W", hide_possible_values = true, conflicts_with = "pool_file")]
    workload: Option<Workload>,
    /// In place of a workload, a pool in which two elements match with this probability, by a rule without a key that
    /// the planner cannot shorten: split by index
    #[arg(long, value_name = "P", conflicts_with_all = ["workload", "pool_file"], value_parser = probability)]
    match_probability: Option<f64>,
    /// How many elements [default: 100000]
    #[arg(long, value_name = "N", conflicts_with = "pool_file",
          value_parser = clap::value_parser!(u32).range(2..=ELEMENTS_MAX as i64))]
    elements: Option<u32>,
    /// TOML file that defines a pool, in place of a workload
    #[arg(long, value_name = "FILE", requires = "input")]
    pool_file: Option<PathBuf>,
    /// The elements for that pool, as NDJSON or .csv
    #[arg(long, value_name = "FILE", requires = "pool_file")]
    input: Option<PathBuf>,
    /// Bytes of each payload [default: what fills an element to 100 bytes of key, attributes and payload]
    #[arg(long, value_name = "N", conflicts_with = "pool_file", value_parser = clap::value_parser!(u32).range(0..=4096))]
    payload_bytes: Option<u32>,
    /// Clients that submit; elements are dealt to them in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    clients: u16,
    /// Most elements in a message
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// Send a map of attributes for each element, as clients without columnar batches do
    #[arg(long)]
    rows: bool,
    /// Send each element by a call of its own, the next once it was answered: how fast an idle cluster answers
    #[arg(long, conflicts_with_all = ["rows", "batch", "in_flight"])]
    one: bool,
    /// Most messages of a client without an answer
    #[arg(long, value_name = "N", default_value_t = SubmitOptions::IN_FLIGHT, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
    /// Elements a second, of all clients together; without it, as fast as they are taken
    #[arg(long, value_name = "N", value_parser = rate, allow_negative_numbers = true)]
    rate: Option<f64>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What it is submitted to")]
struct TargetArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The balancer of a cluster that runs, in place of one that is started
    #[arg(long, value_name = "URL", conflicts_with_all = ["up", "tls", "matchers", "gatherers", "slices", "data"])]
    server: Option<String>,
    /// All roles in one process, as in `dovetail up`
    #[arg(long)]
    up: bool,
    /// With TLS and certificates of nodes and clients, which are made for the run: what that costs
    #[arg(long)]
    tls: bool,
    /// Matchers [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    matchers: Option<u32>,
    /// Gatherers [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    gatherers: Option<u32>,
    /// Slices [default: 6, or one for each matcher]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slices: Option<u32>,
    /// Where the log's folder is made, and removed afterwards [default: the place for temporary files]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// For clap.
fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(probability) if (0.0..=1.0).contains(&probability) => Ok(probability),
        _ => Err(format!("{text:?} is not a probability, 0 to 1")),
    }
}

/// For clap.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=1e8).contains(&rate) => Ok(rate),
        _ => Err(format!("{text:?} is not a number of elements a second, 0.1 to 100000000")),
    }
}

/// Measures, and prints what was found. Fails when a result is wrong.
pub async fn run(arguments: BenchArgs) -> Result<(), CliError> {
    let plan = plan(&arguments)?;
    let shutdown = Shutdown::on_signals().map_err(CliError::Runtime)?;
    let rounds = plan.rounds;
    let told = |round: usize, measured: &dovetail_bench::report::Measured| {
        if rounds > 1 {
            eprintln!("round {} of {rounds}: {}", round + 1, text::round(measured));
        }
    };
    // The processes end with what is dropped here. The terminal sends them the signal too, so it is looked at first.
    let report = tokio::select! {
        biased;
        () = shutdown.given() => None,
        error = over(arguments.timeout) => return Err(error),
        report = dovetail_bench::run(&plan, told) => Some(report),
    };
    let report = match report {
        Some(report) if !(report.is_err() && shutdown.is_given()) => report?,
        _ => {
            eprintln!("interrupted");
            return Err(CliError::Reported);
        }
    };
    if arguments.json {
        output::print(&match_json::line(&report))?;
    } else {
        output::print(&text::report(&report))?;
    }
    if report.summary.correct {
        Ok(())
    } else {
        eprintln!("error: the result is not that of the sequential program");
        Err(CliError::Reported)
    }
}

/// Comes when the time is over; never, when there is all the time.
async fn over(timeout: Option<u64>) -> CliError {
    let Some(ms) = timeout else { return std::future::pending().await };
    tokio::time::sleep(Duration::from_millis(ms)).await;
    CliError::TimedOut(format!("not done within {}, which is --timeout", duration::format_ms(ms)))
}

fn plan(arguments: &BenchArgs) -> Result<BenchPlan, CliError> {
    let BenchArgs { load, target, rounds, .. } = arguments;
    let (name, source) = load.source()?;
    Ok(BenchPlan {
        name,
        source: Arc::new(source),
        target: target.target()?,
        connect: target.connect.options()?,
        manner: Manner {
            clients: load.clients.into(),
            batch: load.batch.into(),
            form: match (load.one, load.rows) {
                (true, _) => Form::One,
                (false, true) => Form::Rows,
                (false, false) => Form::Columns,
            },
            in_flight: load.in_flight.into(),
            pace: load.rate.map_or(ArrivalPace::FlatOut, ArrivalPace::PerSecond),
        },
        rounds: (*rounds).into(),
    })
}

impl LoadArgs {
    /// What it is called, and what it is.
    fn source(&self) -> Result<(String, RowSource), CliError> {
        if let (Some(pool), Some(input)) = (&self.pool_file, &self.input) {
            let definition = pool_file::read(pool)?;
            let input = InputArgs::of(input.clone());
            let read: Result<Vec<_>, _> = input.open(PoolSchema::of(&definition))?.collect();
            let elements = read.map_err(|bad| CliError::Input { name: input.name(), reason: format!("line {bad}") })?;
            if elements.is_empty() {
                return Err(CliError::Input { name: input.name(), reason: "there are no elements in it".to_owned() });
            }
            let submissions = elements.into_iter().map(|element| element.submission).collect();
            return Ok((
                format!("{} into {:?}", input.name(), definition.name),
                RowSource::Described { definition, submissions },
            ));
        }
        let dense = |probability: f64| Workload::Dense((probability * CIRCLE as f64).round() as u32);
        let workload = self.match_probability.map(dense).or(self.workload).unwrap_or(Workload::W2);
        let n = self.elements.unwrap_or(100_000) as usize;
        if workload == Workload::W4 && n % 2 == 1 {
            return Err(CliError::Arguments(format!(
                "the elements of w4 come in pairs, so --elements must be even, not {n}"
            )));
        }
        let source = RowSource::generated(workload, n, self.payload_bytes.map(|bytes| bytes as usize));
        let name = match self.match_probability {
            Some(probability) => format!("match probability {probability}"),
            None => format!("w{}", workload.number()),
        };
        Ok((name, source))
    }
}

impl TargetArgs {
    fn target(&self) -> Result<Target, CliError> {
        if let Some(server) = &self.server {
            return Ok(Target::Running(server.clone()));
        }
        let matchers = self.matchers.unwrap_or(NODES);
        let slices = self.slices.unwrap_or(SLICES.max(matchers));
        if slices < matchers {
            return Err(CliError::Arguments(format!(
                "{matchers} matchers need as many slices or more, --slices is {slices}"
            )));
        }
        let gatherers = self.gatherers.unwrap_or(NODES);
        Ok(Target::Own(BenchShape { matchers, gatherers, slices, up: self.up, tls: self.tls, data: self.data.clone() }))
    }
}
