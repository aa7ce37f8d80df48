//! The five workloads through whole slices, beside the best sequential programs for each.
//!
//! `cargo bench -p dovetail-core --bench workloads`, or with ` -- W5` those alone. The table at the end is made of
//! medians of what Criterion has measured. Every run is checked against the matches that are known to come of it.

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
    let (ints, few, many) = if measuring() { (1_000_000, 20_000, 100_000) } else { (20_000, 1_000, 2_000) };
    let rows: Vec<Vec<String>> = (1..=4).map(|number| of_ints(&mut criterion, number, ints)).collect();
    let head = ["elements per second", "elements", "slice", "index", "slice / index"];
    print_table("Whole slices, beside a hash map of rows by key; one core", &head, &rows);
    let rows = [of_points(&mut criterion, few, true), of_points(&mut criterion, many, false)].concat();
    let head = ["W5, elements per second", "elements", "rate", "slice / this"];
    print_table("Points near one another: a whole slice, beside scans; one core", &head, &rows);
    criterion.final_summary();
}

/// How long one run took; what comes of it is checked.
fn checked(number: u64, n: usize, run: impl FnOnce(&mut Vec<(u32, u32)>)) -> Duration {
    let mut pairs = Vec::with_capacity(n);
    let (time, ()) = timed(|| run(&mut pairs));
    check(number, n, &pairs);
    time
}

/// The same for a slice.
fn settled(number: u64, log: &Log<'_>) -> Duration {
    let (time, pairs) = cluster::settled(log);
    check(number, log.n, &pairs);
    time
}

fn of_ints(criterion: &mut Criterion, number: u64, n: usize) -> Vec<String> {
    let ints = Ints::new(number, n);
    let compact = generic::compact(&ints);
    let log = Log { pool: ints.pool(), n, row: &|at| ints.row(at) };
    let mut group = Group::new(criterion, &format!("W{number}"));
    let per_second = |seconds: Option<f64>| seconds.map(|seconds| n as f64 / seconds);
    let slice = per_second(group.median("slice", || settled(number, &log)));
    let index = per_second(group.median("index", || checked(number, n, |pairs| generic::run(number, &compact, pairs))));
    vec![format!("W{number}"), n.to_string(), rate(slice), rate(index), ratio(slice, index)]
}

/// With `all`, beside slow programs as well.
fn of_points(criterion: &mut Criterion, n: usize, all: bool) -> Vec<Vec<String>> {
    let points = Points::new(n);
    let log = Log { pool: points.pool(), n, row: &|at| points.row(at) };
    let mut group = Group::new(criterion, &format!("W5 of {n}"));
    let slice = group.median("slice", || settled(5, &log));
    let mut measured = vec![("slice, which settles".to_owned(), slice)];
    let levels = Level::all();
    for &level in if all { &levels } else { &levels[levels.len() - 1..] } {
        let name = format!("{level:?}, one probe");
        let seconds = group.median(&name, || checked(5, n, |pairs| scan::one_probe(level, &points, pairs)));
        measured.push((name, seconds));
        let name = format!("{level:?}, 32 probes");
        let seconds = group.median(&name, || checked(5, n, |pairs| scan::many_probes(level, &points, pairs)));
        measured.push((name, seconds));
    }
    if all {
        let rows: Vec<Arc<Row>> = (0..n).map(|at| points.row(at)).collect();
        // Once: it takes seconds, and need not be known to the percent.
        let mut once = None;
        let mut plain = || *once.get_or_insert_with(|| checked(5, n, |pairs| plain::run(&points, &rows, pairs)));
        measured.push(("plain evaluator".to_owned(), group.median("plain evaluator", &mut plain)));
    }
    // One slice among others has all the work of a lone one, and lists what the shard then decides; of two each has
    // half.
    for slices in if all { 1..3 } else { 0..0 } {
        let (mut searching, mut deciding) = (Vec::new(), Vec::new());
        let name = format!("{slices} listing, a shard decides");
        group.median(&name, || {
            let (of_slices, of_shard, pairs) = cluster::decided(&log, slices);
            check(5, n, &pairs);
            searching.push((of_slices / slices).as_secs_f64());
            deciding.push(of_shard.as_secs_f64());
            of_slices + of_shard
        });
        for (what, mut seconds) in [("each slice", searching), ("the shard", deciding)] {
            seconds.sort_by(f64::total_cmp);
            measured.push((format!("{slices} listing: {what}"), seconds.get(seconds.len() / 2).copied()));
        }
    }
    let per_second = |seconds: Option<f64>| seconds.map(|seconds| n as f64 / seconds);
    let row = |(name, seconds): (String, Option<f64>)| {
        vec![name, n.to_string(), rate(per_second(seconds)), ratio(per_second(slice), per_second(seconds))]
    };
    measured.into_iter().filter(|(_, seconds)| seconds.is_some()).map(row).collect()
}
