//! What the benchmarks of both crates measure with: the thread's own time, Criterion's samples, and tables of their
//! medians.
//!
//! Others use the same cores, so time is what the processor gave to this thread; and machines drift, so what is said is
//! ratios of what one run has measured.

use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, SamplingMode, measurement::WallTime};
use rustix::time::{ClockId, clock_gettime};

/// How long this thread has run.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().expect("no time before 0"), time.tv_nsec.try_into().expect("below a second"))
}

/// How long the thread was busy with something.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = thread_time();
    let done = work();
    (thread_time() - start, done)
}

/// Whether this is a measurement, and not a test of whether the benchmarks still run.
pub fn measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Criterion with few samples: an iteration here is a whole run of a workload.
pub fn criterion() -> Criterion {
    let quiet = Criterion::default().without_plots().sample_size(10);
    quiet.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(1500)).configure_from_args()
}

/// A group of benchmarks, named in rows of a table.
pub struct Group<'c>(BenchmarkGroup<'c, WallTime>);

impl<'c> Group<'c> {
    pub fn new(criterion: &'c mut Criterion, name: &str) -> Group<'c> {
        let mut group = criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat);
        Group(group)
    }

    /// Measures what `once` says it took, and returns the median in seconds; none when Criterion's filter leaves it
    /// out.
    pub fn median(&mut self, name: &str, mut once: impl FnMut() -> Duration) -> Option<f64> {
        let mut samples = Vec::new();
        self.0.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let total: Duration = (0..iterations).map(|_| once()).sum();
                samples.push(total.as_secs_f64() / iterations as f64);
                // Criterion divides by it, and what a test measures may be nothing.
                total.max(Duration::from_nanos(1))
            });
        });
        samples.sort_by(f64::total_cmp);
        samples.get(samples.len() / 2).copied()
    }
}

/// A table for people: the first column is text, the others are right-aligned.
pub fn print_table(title: &str, head: &[&str], rows: &[Vec<String>]) {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| std::iter::once(&head).chain(rows).map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    println!("\n{title}\n");
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// A rate with three digits: `12.3M`.
pub fn rate(per_second: Option<f64>) -> String {
    let Some(rate) = per_second else { return "-".to_owned() };
    let (value, unit) = match rate {
        1e9.. => (rate / 1e9, "G"),
        1e6.. => (rate / 1e6, "M"),
        1e3.. => (rate / 1e3, "k"),
        _ => (rate, ""),
    };
    match value {
        100.0.. => format!("{value:.0}{unit}"),
        10.0.. => format!("{value:.1}{unit}"),
        _ => format!("{value:.2}{unit}"),
    }
}

/// How many times as fast `rate` is as `other`.
pub fn ratio(rate: Option<f64>, other: Option<f64>) -> String {
    match (rate, other) {
        (Some(rate), Some(other)) if rate / other >= 10.0 => format!("{:.0}", rate / other),
        (Some(rate), Some(other)) => format!("{:.2}", rate / other),
        _ => "-".to_owned(),
    }
}
