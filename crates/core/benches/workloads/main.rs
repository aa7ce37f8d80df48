//! The five workloads through whole slices, beside the best sequential programs for each.
//!
//! `cargo bench -p dovetail-core --bench workloads`, or with ` -- W5` those alone. The table at the end is made of medians of what
//! Criterion has measured. Every run is checked against the matches that are known to come of it.

#![allow(missing_docs, clippy::print_stdout, reason = "nobody but people reads it")]

#[path = "../../../rule/benches/common/mod.rs"]
mod common;

mod cluster;
mod elements;
mod generic;
mod plain;
mod scan;

use std::{sync::Arc, time::Duration};

use cluster::Log;
use common::{Group, measuring, print_table, rate, ratio, timed};
use criterion::Criterion;
use dovetail_rule::Row;
use elements::{Ints, Points, check};
use scan::Level;

fn main() {
    let mut criterion = common::criterion();
    let (keyed, points) = if measuring() { (1_000_000, 100_000) } else { (20_000, 2_000) };
    let mut rows: Vec<Vec<String>> = (1..=4).map(|number| keyed_workload(&mut criterion, number, keyed)).collect();
    rows.retain(|row| row[2] != "-");
    let head = ["elements/s", "elements", "slice", "generic index", "ratio", "slice and shard"];
    if !rows.is_empty() {
        print_table("One core, whole slices, beside a hash map of rows by key", &head, &rows);
    }
    let rows = points_workload(&mut criterion, points);
    if !rows.is_empty() {
        let head = ["W5, elements/s", "elements", "rate", "slice is so many times as fast"];
        print_table("Points near one another, by scanning", &head, &rows);
    }
    criterion.final_summary();
}

/// What comes of one run, and how long it took.
fn checked(number: u64, n: usize, run: impl FnOnce(&mut Vec<(u32, u32)>)) -> Duration {
    let mut pairs = Vec::with_capacity(n);
    let (time, ()) = timed(|| run(&mut pairs));
    check(number, n, &pairs);
    time
}

fn keyed_workload(criterion: &mut Criterion, number: u64, n: usize) -> Vec<String> {
    let ints = Ints::new(number, n);
    let rows: Vec<Arc<Row>> = Vec::new();
    drop(rows);
    let compact = generic::compact(&ints);
    let log = Log { pool: ints.pool(), n, row: &|at| ints.row(at) };
    let mut group = Group::new(criterion, &format!("W{number}"));
    let slice = group.median("slice", || {
        let (time, pairs) = cluster::settled(&log);
        check(number, n, &pairs);
        time
    });
    let generic = group.median("generic index", || checked(number, n, |pairs| generic::run(number, &compact, pairs)));
    let per_second = |seconds: Option<f64>| seconds.map(|seconds| n as f64 / seconds);
    let (slice, generic) = (per_second(slice), per_second(generic));
    vec![format!("W{number}"), n.to_string(), rate(slice), rate(generic), ratio(slice, generic), String::new()]
}

fn points_workload(criterion: &mut Criterion, n: usize) -> Vec<Vec<String>> {
    let points = Points::new(n);
    let log = Log { pool: points.pool(), n, row: &|at| points.row(at) };
    let mut group = Group::new(criterion, "W5");
    let slice = group.median("slice", || {
        let (time, pairs) = cluster::settled(&log);
        check(5, n, &pairs);
        time
    });
    let mut rows = Vec::new();
    let mut row = |name: String, seconds: Option<f64>| {
        if seconds.is_some() {
            let per_second = |seconds: Option<f64>| seconds.map(|seconds| n as f64 / seconds);
            let (rated, slice) = (per_second(seconds), per_second(slice));
            rows.push(vec![name, n.to_string(), rate(rated), ratio(slice, rated)]);
        }
    };
    row("slice".to_owned(), slice);
    for level in Level::all() {
        let name = format!("{level:?}, one probe");
        let seconds = group.median(&name, || checked(5, n, |pairs| scan::one_probe(level, &points, pairs)));
        row(name, seconds);
        let name = format!("{level:?}, 32 probes");
        let seconds = group.median(&name, || checked(5, n, |pairs| scan::many_probes(level, &points, pairs)));
        row(name, seconds);
    }
    rows
}
