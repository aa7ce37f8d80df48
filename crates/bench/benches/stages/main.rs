//! What an element costs at each stage of its way: from the client's message through the balancer, its log, the matchers
//! and the gatherers to the match that the client reads.
//!
//! `cargo bench -p dovetail-bench --bench stages`, or with ` -- W2` one workload alone. Stages run one after the other
//! in one thread, by the code that the roles run, without sockets between them; each is given the time that the
//! processor spent on it. The table at the end is made of the medians of what Criterion measured, in nanoseconds an
//! element; `-- --save-baseline NAME`, and `-- --baseline NAME` after a change, compare. Every run is checked against
//! the matches that are known to come of the workload.

#![allow(missing_docs, clippy::print_stdout, reason = "nobody but people reads it")]

#[allow(dead_code, reason = "other benchmarks compare")]
#[path = "../../../rule/benches/common/mod.rs"]
mod common;
mod pipeline;

use std::{collections::VecDeque, time::Duration};

use common::{measuring, print_table};
use criterion::{Criterion, SamplingMode, Throughput};
use dovetail_bench::workload::Workload;
use pipeline::{Stage, Times};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut criterion = common::criterion().warm_up_time(Duration::from_nanos(1));
    let n = if measuring() { 1_000_000 } else { 20_000 };
    let workloads = [Workload::W1, Workload::W2, Workload::W4];
    let columns: Vec<Vec<Option<f64>>> = workloads.map(|workload| measured(&mut criterion, workload, n)).into();
    let per_element = |seconds: f64| format!("{:.0}", seconds * 1e9 / n as f64);
    let row = |name: &str, of: &dyn Fn(&[Option<f64>]) -> Option<f64>| {
        let cells = columns.iter().map(|column| of(column).map_or_else(|| "-".to_owned(), per_element));
        std::iter::once(name.to_owned()).chain(cells).collect::<Vec<String>>()
    };
    let mut rows: Vec<_> =
        Stage::ALL.iter().enumerate().map(|(at, (_, name))| row(name, &|column| column[at])).collect();
    rows.push(row("all", &|column| column.iter().copied().sum()));
    print_table("Nanoseconds an element, by stage", &["stage", "W1", "W2", "W4"], &rows);
    criterion.final_summary();
}

/// The median of each stage, in seconds for all elements; none where Criterion's filter leaves it out.
fn measured(criterion: &mut Criterion, workload: Workload, n: usize) -> Vec<Option<f64>> {
    // A run times all stages: what one stage did not use yet is kept for the others.
    let mut kept: Vec<VecDeque<Duration>> = vec![VecDeque::new(); Stage::ALL.len()];
    let mut group = criterion.benchmark_group(format!("W{}", workload.number()));
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(n as u64));
    let mut median = |(stage, name): (Stage, &str)| {
        let mut samples = Vec::new();
        group.bench_function(name, |bencher| {
            // One run a sample, however many Criterion asks for: it has no idea how long that takes.
            bencher.iter_custom(|iterations| {
                if kept[stage as usize].is_empty() {
                    let Times(times) = pipeline::run(workload, n);
                    kept.iter_mut().zip(times).for_each(|(kept, time)| kept.push_back(time));
                }
                let time = kept[stage as usize].pop_front().expect("a run times every stage");
                samples.push(time.as_secs_f64());
                // Criterion divides by it.
                time.max(Duration::from_nanos(1)).mul_f64(iterations as f64)
            });
        });
        samples.sort_by(f64::total_cmp);
        samples.get(samples.len() / 2).copied()
    };
    Stage::ALL.map(&mut median).into()
}
