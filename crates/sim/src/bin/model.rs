//! `model`: checks every run of a tiny cluster, or finds planted bugs in one.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    thread,
};

use clap::{Parser, ValueEnum};
use dovetail_core::planted::Bug;
use dovetail_sim::{
    model::{
        check::{Claims, ModelReport, Options, check},
        cluster::{FaultBudget, Reconnect},
        script::{Relation, Script, families, keyed},
    },
    planted::Bugs,
};
use serde_json::json;

/// Checks every run of two slices and two shards with a few elements against the sequential program.
#[derive(Debug, Parser)]
#[command(name = "model", version)]
struct Arguments {
    /// Elements that arrive.
    #[arg(long, default_value_t = 3)]
    elements: usize,
    /// What else happens: nothing, a withdrawal or a reprobe at each place after the element's arrival; or that they
    /// have keys.
    #[arg(long, value_enum, default_value_t = Events::All)]
    events: Events,
    /// Which pairs match: `all` relations, or one as a number, one bit for each pair (0,1), (0,2), (1,2), (0,3) and so
    /// on.
    #[arg(long, default_value = "all")]
    relation: String,
    /// The shards of the elements, as in 010; all patterns up to renaming otherwise.
    #[arg(long)]
    homes: Option<String>,
    /// The keys of the elements, as in 001, where the pool is split by key; all patterns otherwise. Key 1 is another
    /// slice's than key 0, and another shard's.
    #[arg(long)]
    keys: Option<String>,
    /// Crashes of a slice or of a shard.
    #[arg(long, default_value_t = 0)]
    crashes: u8,
    /// Messages that are delivered twice.
    #[arg(long, default_value_t = 0)]
    duplicates: u8,
    /// Events are written while the cluster decides, not before.
    #[arg(long)]
    growing: bool,
    /// After a crash every stream comes back on its own, not all at once.
    #[arg(long)]
    apart: bool,
    /// The balancer stores results, and slices hear of the stable cut, at any time later, not at once.
    #[arg(long)]
    lazy_store: bool,
    /// After a crash hellos and the store's answers are read at any time, not at once.
    #[arg(long)]
    late_hellos: bool,
    /// Explores every order, also of deliveries that are known to make no difference.
    #[arg(long)]
    unreduced: bool,
    /// Plants a bug: a number from 1, a name, or `all`. Searches scripts until it is found.
    #[arg(long, value_name = "BUG")]
    planted: Option<Bugs>,
    /// Stops a script after so many steps.
    #[arg(long)]
    steps_max: Option<usize>,
    /// Takes every step of a machine again from other histories that lead to the same state.
    #[arg(long)]
    audit: bool,
    /// Threads; 0 for one per processor. With several, the reduction finds less to leave out, or nothing.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Prints a counterexample's steps.
    #[arg(long)]
    trace: bool,
    /// Prints JSON, one line for each script, and one for the sum.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Events {
    Arrivals,
    Withdrawal,
    Reprobe,
    /// Arrivals in a pool that is split by key.
    Keyed,
    All,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let scripts = match scripts(&arguments) {
        Ok(scripts) => scripts,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let clean = match &arguments.planted {
        None => sweep(&arguments, &scripts),
        Some(bugs) => bugs.0.iter().filter(|&&bug| !hunt(&arguments, &scripts, bug)).count() == 0,
    };
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn scripts(arguments: &Arguments) -> Result<Vec<Script>, String> {
    let elements = arguments.elements;
    if !(1..=5).contains(&elements) {
        return Err(format!("--elements is {elements}, from 1 to 5"));
    }
    let wanted = |events| arguments.events == events || arguments.events == Events::All;
    let mut scripts = families(elements, wanted(Events::Arrivals), wanted(Events::Withdrawal), wanted(Events::Reprobe));
    if wanted(Events::Keyed) {
        scripts.extend(keyed(elements));
    }
    if arguments.relation != "all" {
        let number = arguments
            .relation
            .parse()
            .map_err(|_| format!("--relation is {:?}, a number or all", arguments.relation))?;
        scripts.retain(|script| script.relation == Relation { always: number, late: 0 });
    }
    let text = |of: &[u8]| of.iter().map(u8::to_string).collect::<String>();
    if let Some(homes) = &arguments.homes {
        scripts.retain(|script| script.keys.is_empty() && text(&script.homes) == *homes);
    }
    if let Some(keys) = &arguments.keys {
        scripts.retain(|script| text(&script.keys) == *keys);
    }
    if scripts.is_empty() { Err("no script is like that".to_owned()) } else { Ok(scripts) }
}

fn options(arguments: &Arguments, planted: Option<Bug>) -> Options {
    let threads = match arguments.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let faults = FaultBudget {
        crashes: arguments.crashes,
        duplicates: arguments.duplicates,
        growing: arguments.growing,
        reconnect: if arguments.apart { Reconnect::Apart } else { Reconnect::Together },
        lazy_store: arguments.lazy_store,
        late_hellos: arguments.late_hellos,
        reduced: !arguments.unreduced,
    };
    Options {
        faults,
        planted,
        // With a crash, breadth first would go through nearly all states before the first deep one.
        breadth_first: planted.is_some() && arguments.crashes == 0,
        threads,
        steps_max: arguments.steps_max,
        audit: arguments.audit,
    }
}

fn run(script: &Script, options: Options, at: usize, of: usize) -> ModelReport {
    let terminal = std::io::stderr().is_terminal();
    let report = check(script, options, &|states| {
        if terminal {
            eprint!("\r{at} of {of}: {script}: {states} states ");
        }
    });
    if terminal {
        eprint!("\r{:100}\r", "");
    }
    report
}

fn sweep(arguments: &Arguments, scripts: &[Script]) -> bool {
    let options = options(arguments, None);
    let mut clean = true;
    let (mut states, mut steps, mut seconds, mut exhausted, mut differ) = (0, 0, 0.0, 0, 0);
    if !arguments.json {
        println!("{:>12} {:>13} {:>5} {:>8}  script", "states", "steps", "depth", "seconds");
    }
    for (at, script) in scripts.iter().enumerate() {
        let report = run(script, options, at + 1, scripts.len());
        states += report.states;
        steps += report.steps;
        seconds += report.seconds;
        exhausted += usize::from(report.exhausted);
        differ += report.audited.1;
        clean &= report.counterexample.is_none() && report.audited.1 == 0;
        print_report(arguments, &report);
    }
    let memory = memory_mib();
    if arguments.json {
        println!(
            "{}",
            json!({ "scripts": scripts.len(), "exhausted": exhausted, "states": states, "steps": steps,
                "seconds": seconds, "memory_mib": memory, "clean": clean })
        );
    } else {
        println!(
            "{states} states and {steps} steps in {seconds:.1} s, {memory} MiB: {exhausted} of {} scripts exhausted",
            scripts.len()
        );
        if differ > 0 {
            println!("{differ} steps of machines differ from another history: canonical states are not complete");
        }
        println!("{}", if clean { "no violation" } else { "FAILED" });
    }
    clean
}

fn print_report(arguments: &Arguments, report: &ModelReport) {
    if arguments.json {
        println!("{}", json!(report));
        return;
    }
    let ModelReport { states, steps, depth, seconds, script, .. } = report;
    let more = if report.exhausted { "" } else { "  (stopped)" };
    println!("{states:>12} {steps:>13} {depth:>5} {seconds:>8.1}  {script}{more}");
    if arguments.audit {
        let (machine_states, machine_steps, (audited, differ)) =
            (report.machine_states, report.machine_steps, report.audited);
        println!(
            "{:>42}machines: {machine_states} states, {machine_steps} steps, {audited} audited, {differ} differ",
            ""
        );
        let Claims { used, hold, diamonds, rounds } = report.claims;
        println!("{:>42}claims: {used} used, {hold} hold, {diamonds} diamonds, {rounds} rounds", "");
    }
    if let Some(found) = &report.counterexample {
        println!("{:>42}{}: {}", "", found.property, found.what);
        print_steps(&found.steps);
    }
    _ = std::io::stdout().flush();
}

fn print_steps(steps: &[String]) {
    for (at, step) in steps.iter().enumerate() {
        println!("{:>46}  {step}", at + 1);
    }
}

fn hunt(arguments: &Arguments, scripts: &[Script], bug: Bug) -> bool {
    let options = options(arguments, Some(bug));
    let (mut states, mut seconds) = (0, 0.0);
    let mut found = None;
    for (at, script) in scripts.iter().enumerate() {
        let report = run(script, options, at + 1, scripts.len());
        states += report.states;
        seconds += report.seconds;
        if report.counterexample.is_some() {
            found = Some(report);
            break;
        }
    }
    let name = format!("{bug:?}");
    if arguments.json {
        println!("{}", json!({ "bug": name, "states": states, "seconds": seconds, "found": found }));
        return found.is_some();
    }
    let Some(report) = found else {
        println!("{name:<26} NOT FOUND in {states} states of {} scripts, {seconds:.1} s", scripts.len());
        return false;
    };
    let counterexample = report.counterexample.expect("it was found");
    let len = counterexample.steps.len();
    println!("{name:<26} found in {len:>2} steps, {states} states, {seconds:.1} s: {}", counterexample.what);
    println!("{:>27}{}", "", report.script);
    if arguments.trace {
        print_steps(&counterexample.steps);
    }
    true
}

/// The most memory this process has had, in MiB; 0 where that is not known.
fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}
