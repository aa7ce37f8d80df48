//! `dovetail-sim`: runs seeds, replays one, or searches for a planted bug.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::{io::IsTerminal, ops::Range, process::ExitCode, thread, time::Instant};

use clap::Parser;
use dovetail_core::planted::Bug;
use dovetail_sim::{
    Options,
    planted::{Bugs, hunt},
    runner::{run_caught, run_many, silence_panics},
    violation::Violation,
};
use serde_json::json;

/// Simulates whole Dovetail clusters from seeds, and holds what they decide against the sequential program.
#[derive(Debug, Parser)]
#[command(name = "dovetail-sim", version)]
struct Arguments {
    /// Seeds to run: FROM..TO, without TO.
    #[arg(long, value_name = "FROM..TO", value_parser = seeds, default_value = "0..10000")]
    seeds: Range<u64>,
    /// Replays one seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Prints everything that happens. Only with --seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Plants a bug: a number from 1, a name, or `all`. Searches seeds until it is found.
    #[arg(long, value_name = "BUG")]
    planted: Option<Bugs>,
    /// Applies every message twice, to see that the second time changes nothing.
    #[arg(long, conflicts_with = "planted")]
    twice: bool,
    /// Most seeds to search for a planted bug.
    #[arg(long, default_value_t = 50_000)]
    seeds_max: u64,
    /// Threads; 0 for one per processor.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Stops after so many failures.
    #[arg(long, default_value_t = 10)]
    failures_max: usize,
    /// Prints JSON instead of text.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    silence_panics();
    let clean = match (&arguments.planted, arguments.seed) {
        (Some(bugs), Some(seed)) => {
            let bug = bugs.0.first().copied();
            replay(seed, Options { trace: arguments.trace, bug, twice: arguments.twice }, arguments.json)
        }
        (None, Some(seed)) => {
            replay(seed, Options { trace: arguments.trace, bug: None, twice: arguments.twice }, arguments.json)
        }
        (Some(bugs), None) => search(&arguments, bugs),
        (None, None) => run_range(&arguments),
    };
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_range(arguments: &Arguments) -> bool {
    let threads = match arguments.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let started = Instant::now();
    let total = arguments.seeds.end - arguments.seeds.start;
    let terminal = std::io::stderr().is_terminal();
    let progress = |done: u64| {
        if terminal {
            eprint!("\r{done} of {total} runs");
        }
    };
    let seeds = arguments.seeds.clone();
    let options = Options { twice: arguments.twice, ..Options::default() };
    let summary = run_many(seeds, options, threads, arguments.failures_max, &progress);
    if terminal {
        eprint!("\r");
    }
    let elapsed = started.elapsed();
    if arguments.json {
        let failures: Vec<_> = summary.failures.iter().map(|(seed, why)| failure(*seed, why, None)).collect();
        let seconds = elapsed.as_secs_f64();
        println!("{}", json!({ "stats": summary.stats, "seconds": seconds, "threads": threads, "failures": failures }));
    } else {
        println!("{}", summary.stats.summary(elapsed));
        for (seed, violation) in &summary.failures {
            println!("seed {seed}: {violation}\n  replay: {}", replay_command(*seed, None));
        }
        println!("{}", if summary.failures.is_empty() { "no violation" } else { "FAILED" });
    }
    summary.failures.is_empty()
}

fn replay(seed: u64, options: Options, as_json: bool) -> bool {
    let started = Instant::now();
    let outcome = run_caught(seed, options);
    let clean = outcome.violation.is_none();
    if as_json {
        let failure = outcome.violation.map(|violation| failure(seed, &violation, options.bug));
        let fingerprint = format!("{:016x}", outcome.fingerprint);
        println!("{}", json!({ "seed": seed, "fingerprint": fingerprint, "stats": outcome.stats, "failure": failure }));
        return clean;
    }
    println!("{}", outcome.stats.summary(started.elapsed()));
    println!("fingerprint {:016x}", outcome.fingerprint);
    match outcome.violation {
        None => println!("no violation"),
        Some(violation) => println!("seed {seed}: {violation}"),
    }
    clean
}

fn search(arguments: &Arguments, bugs: &Bugs) -> bool {
    let mut all_found = true;
    for &bug in &bugs.0 {
        let hunt = hunt(bug, arguments.seeds.start, arguments.seeds_max);
        all_found &= hunt.found.is_some();
        let name = format!("{bug:?}");
        if arguments.json {
            let failure = hunt.found.as_ref().map(|(seed, why)| failure(*seed, why, Some(bug)));
            println!("{}", json!({ "bug": name, "seeds": hunt.seeds, "failure": failure }));
            continue;
        }
        match hunt.found {
            Some((seed, why)) => {
                println!("{name:<26} found after {:>6} seeds: {why}", hunt.seeds);
                println!("{:>27}{}", "", replay_command(seed, Some(bug)));
            }
            None => println!("{name:<26} NOT FOUND in {:>4} seeds", hunt.seeds),
        }
    }
    all_found
}

fn failure(seed: u64, violation: &Violation, bug: Option<Bug>) -> serde_json::Value {
    json!({ "seed": seed, "violation": violation.to_string(), "replay": replay_command(seed, bug) })
}

fn replay_command(seed: u64, bug: Option<Bug>) -> String {
    let planted = bug.map_or(String::new(), |bug| format!(" --planted {bug:?}"));
    format!("cargo run --release -p dovetail-sim -- --seed {seed}{planted} --trace")
}

fn seeds(given: &str) -> Result<Range<u64>, String> {
    let parsed = given.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.filter(|range| !range.is_empty()).ok_or_else(|| format!("{given:?} is not FROM..TO with FROM below TO"))
}
