//! `chaos`: breaks a cluster of real processes from a seed, and checks that no client was told anything wrong.
//!
//! Seven processes by default, each link between them through a proxy. Faults are drawn from the seed ([`plan`]):
//! processes are killed, frozen and restarted, connections cut, delayed, throttled, half-opened. Meanwhile clients
//! submit, withdraw, look up, watch, drop a pool and define it again, and retry whatever failed. After each round of
//! faults everything is healed and has to catch up within a bound; then what the clients were told is held against the
//! sequential program ([`audit`]).
//!
//! **Where the log comes from.** The oracle needs all of it, and the balancer trims it behind checkpoints. So a [`tap`]
//! reads the feed as it is broadcast, like a matcher, and checkpoints and trims go on during the run. To read the log
//! from the disk alone instead: give the balancer a `--checkpoint-bytes` that no run reaches, start no tap, and let
//! [`disk`] feed the [`truth`], as it does with the frames of the last moment.
//!
//! The same seed plans the same faults at the same times and the same elements; what they meet there is up to the
//! machine.
//!
//! | module | what it is |
//! |---|---|
//! | [`shape`], [`plan`], [`workload`] | what a seed stands for |
//! | [`cluster`], [`proxy`], [`inject`], [`secure`] | processes and links, and what is done to them |
//! | [`clients`], [`marks`], [`tap`] | who talks to the cluster |
//! | [`truth`], [`audit`], [`disk`] | what must hold |
//! | [`run`], [`journal`], [`report`] | a run, what happened in it, what is shown of it |
//! | [`mod@messages`] | another kind of run: hostile messages in place of faults |
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod audit;
mod clients;
mod cluster;
mod disk;
mod inject;
mod journal;
mod marks;
mod messages;
mod plan;
mod proxy;
mod report;
mod run;
mod secure;
mod shape;
mod tap;
mod truth;
mod workload;

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use cluster::ClusterPlaces;
use report::ProgressLine;
use run::Options;
use shape::ClusterShape;

/// Breaks a cluster of real processes from a seed, and checks that no client was told anything wrong.
#[derive(Debug, Parser)]
#[command(name = "chaos", version)]
struct Arguments {
    /// The seed of faults and elements.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long to break things, in minutes.
    #[arg(long, default_value_t = 1, conflicts_with = "seconds")]
    minutes: u64,
    /// How long to break things, in seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Matchers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    matchers: u32,
    /// Gatherers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    gatherers: u32,
    /// Slices; at least as many as matchers.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slices: u32,
    /// Elements a second, about.
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Longest time, in seconds, until a healed cluster must have caught up.
    #[arg(long, default_value_t = 120)]
    bound: u64,
    /// Folder of dovetail-balancer, dovetail-matcher and dovetail-gatherer; the one of this program if not given.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// Folder for the records of runs.
    #[arg(long, default_value = "target/chaos")]
    records: PathBuf,
    /// Keeps the record of a run without violations too.
    #[arg(long)]
    keep: bool,
    /// Nodes and clients speak TLS, with certificates on both sides.
    #[arg(long)]
    tls: bool,
    /// Breaks nothing, and sends so many hostile messages to every call of every role.
    #[arg(long, conflicts_with_all = ["minutes", "seconds", "rate", "bound", "plan"])]
    messages: Option<u64>,
    /// Nodes ask who calls, in a run of messages.
    #[arg(long, requires = "messages")]
    auth: bool,
    /// Prints JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Prints the faults of the first rounds, and runs nothing.
    #[arg(long)]
    plan: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match chaos(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

fn chaos(arguments: &Arguments) -> io::Result<bool> {
    let options = options(arguments)?;
    if arguments.plan {
        print_plan(&options);
        return Ok(true);
    }
    let missing = options.place.missing();
    if let Some(first) = missing.first() {
        let text = format!("{} is missing; build it with: cargo build --release --bins", first.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    fs::create_dir_all(&options.place.folder)?;
    if arguments.tls {
        // Strangers are among those who send messages.
        let client_auth = if arguments.messages.is_some() { "optional" } else { "required" };
        secure::make(&options.place.certs(), options.place.ip, options.place.shape, client_auth)?;
    }
    if let Some(count) = arguments.messages {
        return messages(arguments, options, count);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let began = Instant::now();
    let sums = runtime.block_on(run::run(options.clone(), ProgressLine { quiet: arguments.json }))?;
    let took = began.elapsed();
    runtime.shutdown_background();
    let clean = sums.violations.is_empty();
    let folder = &options.place.folder;
    let record = (!clean || arguments.keep).then_some(folder);
    let table = report::table(&options, &sums, took);
    match record {
        Some(folder) => write_record(folder, &options, &table)?,
        None => fs::remove_dir_all(folder)?,
    }
    if arguments.json {
        println!("{}", report::json(&options, &sums, took, record));
    } else {
        println!("{table}");
        if let Some(folder) = record {
            println!("record in {}\nagain: {}", folder.display(), report::again(&options));
        }
    }
    Ok(clean)
}

fn messages(arguments: &Arguments, options: Options, messages: u64) -> io::Result<bool> {
    let Options { seed, place, .. } = options;
    let folder = place.folder.clone();
    let options = messages::Options { seed, messages, auth: arguments.auth, place };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let began = Instant::now();
    let outcome = runtime.block_on(messages::run(options.clone()))?;
    runtime.shutdown_background();
    let clean = outcome.sums.violations.is_empty();
    let text = if arguments.json {
        messages::report::json(&options, &outcome, began.elapsed())
    } else {
        messages::report::table(&options, &outcome, began.elapsed())
    };
    println!("{text}");
    if clean && !arguments.keep {
        fs::remove_dir_all(folder)?;
    } else {
        fs::write(folder.join("report.txt"), text)?;
        eprintln!("record in {}\nagain: {}", folder.display(), messages::report::again(&options));
    }
    Ok(clean)
}

fn options(arguments: &Arguments) -> io::Result<Options> {
    let shape = ClusterShape { slices: arguments.slices, matchers: arguments.matchers, gatherers: arguments.gatherers };
    if shape.slices < shape.matchers {
        let text = format!("--slices is {}, at least --matchers, which is {}", shape.slices, shape.matchers);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let bin = match &arguments.bin_dir {
        Some(folder) => folder.clone(),
        None => std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default(),
    };
    let process = std::process::id();
    let folder = std::path::absolute(arguments.records.join(format!("seed-{}-{process}", arguments.seed)))?;
    // All of 127/8 is this machine on Linux: an address of one's own needs no bargaining over ports.
    let ip = Ipv4Addr::new(127, 1 + (process / 254 % 254) as u8, 1 + (process % 254) as u8, 77);
    Ok(Options {
        seed: arguments.seed,
        lasts: Duration::from_secs(arguments.seconds.unwrap_or(60 * arguments.minutes)),
        bound: Duration::from_secs(arguments.bound),
        rate: arguments.rate,
        place: ClusterPlaces { bin, folder, ip, shape, flags: Vec::new() },
    })
}

fn print_plan(options: &Options) {
    let mut left = options.lasts;
    for round in 0.. {
        let length = plan::length(options.seed, round, left);
        println!("round {round}, {length:?}");
        for planned in plan::draw(options.seed, round, options.place.shape, length) {
            println!("  {planned}");
        }
        left = left.saturating_sub(length);
        if left < Duration::from_secs(1) {
            return;
        }
    }
}

/// Beside the logs of the nodes, their data and the timeline: what was planned, what came out, and how to do it again.
fn write_record(folder: &Path, options: &Options, table: &str) -> io::Result<()> {
    let text = format!("seed {}\nagain: {}\n\n{table}", options.seed, report::again(options));
    fs::write(folder.join("report.txt"), text)
}
