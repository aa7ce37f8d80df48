//! What a person sees of a run: a line now and then, and a table at the end.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::time::sleep;

use super::{
    journal::{Journal, Sums},
    run::Options,
    secure,
};

/// A line now and then, to stderr.
#[derive(Clone, Debug)]
pub struct ProgressLine {
    pub quiet: bool,
}

impl ProgressLine {
    pub async fn run(self, journal: Arc<Journal>) {
        let terminal = std::io::stderr().is_terminal();
        let pause = Duration::from_secs(if terminal { 2 } else { 30 });
        loop {
            sleep(pause).await;
            if !self.quiet {
                let line = progress_line(&journal);
                let mut stderr = std::io::stderr();
                // It is not read: so be it.
                _ = if terminal { write!(stderr, "\r{line}\x1b[K") } else { writeln!(stderr, "{line}") };
            }
        }
    }
}

fn progress_line(journal: &Journal) -> String {
    let sums = journal.sums();
    let count = |what| sums.counts.get(what).copied().unwrap_or(0);
    format!(
        "{:>5.0} s  {} faults, {} elements, {} matches, {} withdrawals, {} retries, {} rounds, {} violations",
        journal.elapsed().as_secs_f64(),
        sums.faults.values().sum::<u64>(),
        count("elements"),
        count("matches"),
        count("withdrawals"),
        count("retries"),
        count("rounds"),
        sums.violations.len(),
    )
}

/// The table.
pub fn table(options: &Options, sums: &Sums, took: Duration) -> String {
    let mut text = String::new();
    let shape = options.place.shape;
    let mut line = |text_of: String| _ = writeln!(text, "{text_of}");
    line(format!(
        "seed {}, {:.0} s, 1 balancer, {} matchers, {} gatherers, {} slices",
        options.seed,
        took.as_secs_f64(),
        shape.matchers,
        shape.gatherers,
        shape.slices
    ));
    for (title, counts) in [("faults", &sums.faults), ("work", &sums.counts), ("checked", &sums.checks)] {
        line(format!("\n{title}"));
        for (what, count) in counts {
            line(format!("  {what:<52} {count:>10}"));
        }
    }
    line(format!("\n{:<52} {:>7} {:>7} {:>7} {:>7}", "times in ms", "of", "p50", "p99", "max"));
    for (what, times) in times(sums) {
        let Some([of, p50, p99, max]) = quantiles(&times) else { continue };
        line(format!("  {what:<50} {of:>7} {p50:>7} {p99:>7} {max:>7}"));
    }
    line(format!("\nviolations {:>53}", sums.violations.len()));
    for violation in &sums.violations {
        line(format!("  {violation}"));
    }
    text
}

/// The same for programs.
pub fn json(options: &Options, sums: &Sums, took: Duration, record: Option<&PathBuf>) -> String {
    let shape = options.place.shape;
    let times: BTreeMap<&str, _> = times(sums)
        .into_iter()
        .filter_map(|(what, times)| {
            let [of, p50, p99, max] = quantiles(&times)?;
            Some((what, json!({ "of": of, "p50_ms": p50, "p99_ms": p99, "max_ms": max })))
        })
        .collect();
    json!({
        "seed": options.seed,
        "seconds": took.as_secs_f64(),
        "shape": { "balancers": 1, "matchers": shape.matchers, "gatherers": shape.gatherers, "slices": shape.slices },
        "faults": sums.faults,
        "work": sums.counts,
        "checked": sums.checks,
        "times": times,
        "violations": sums.violations,
        "record": record,
        "again": again(options),
    })
    .to_string()
}

/// The times that are told of. A match counts for a kill when its last event came after it.
fn times(sums: &Sums) -> [(&'static str, Vec<Duration>); 4] {
    let alone = || sums.recoveries.iter().filter(|recovery| recovery.alone);
    [
        ("from a kill to the next match, nothing else broken", alone().map(|recovery| recovery.took).collect()),
        ("the same, without the time nobody started it", alone().map(|recovery| recovery.took_up).collect()),
        ("from a kill to the next match, all", sums.recoveries.iter().map(|recovery| recovery.took).collect()),
        ("from healing everything to having caught up", sums.catch_ups.clone()),
    ]
}

/// How many, and p50, p99 and the highest in milliseconds.
fn quantiles(times: &[Duration]) -> Option<[u64; 4]> {
    let mut times: Vec<u64> = times.iter().map(|took| took.as_millis() as u64).collect();
    times.sort_unstable();
    let at = |permille: usize| Some(times[(times.len().checked_sub(1)? * permille).div_ceil(1000)]);
    Some([times.len() as u64, at(500)?, at(990)?, at(1000)?])
}

/// The command that runs it again.
pub fn again(options: &Options) -> String {
    let shape = options.place.shape;
    format!(
        "cargo run --release -p dovetail-chaos -- --seed {} --seconds {} --matchers {} --gatherers {} --slices {} --rate {}{}",
        options.seed,
        options.lasts.as_secs(),
        shape.matchers,
        shape.gatherers,
        shape.slices,
        options.rate,
        if secure::scheme() == "https" { " --tls" } else { "" }
    )
}
