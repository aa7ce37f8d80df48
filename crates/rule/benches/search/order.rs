//! Whether a selective band over many elements would be better found in an ordered index than by scanning.
//!
//! The band lets one in 10,000 through. The index is a sorted map from value and id, whose range is searched for the
//! lowest id; a search by it takes time in proportion to what is in range, a scan in proportion to how far the first of
//! them is.

use std::{collections::BTreeMap, hint::black_box};

use criterion::Criterion;
use dovetail_rule::table::{Hint, Prober, Secret, Table};
use dovetail_rule::{Row, Rule, Schema, Value, ValueKind};

use crate::cases::Spread;
use crate::common::{Group, print_table, rate, ratio, timed};

/// Values are spread over so many.
const VALUES: u64 = 10_000_000;
/// A thousand of them are within the band.
const REACH: i64 = 500;
const PROBES: usize = 64;

pub fn measure(criterion: &mut Criterion, sizes: &[usize]) {
    let rows: Vec<Vec<String>> = sizes.iter().flat_map(|&size| of_size(criterion, size)).collect();
    let head = ["band of 1 in 10,000", "waiting", "scan", "index", "ratio"];
    print_table(
        "Searches per second for the lowest id within a band, by scanning and by an ordered index",
        &head,
        &rows,
    );
}

fn of_size(criterion: &mut Criterion, size: usize) -> Vec<Vec<String>> {
    let mut group = Group::new(criterion, "order");
    let schema = Schema::new([("skill".to_owned(), ValueKind::Int)]).expect("a schema");
    let rule = Rule::compile(&format!("abs(a.skill - b.skill) <= {REACH}"), &schema).expect("a rule");
    let mut spread = Spread::new();
    let values: Vec<i64> = (0..size).map(|_| spread.below(VALUES) as i64).collect();
    let row = |value: i64| Row::from_values([Some(Value::Int(value))]);
    let mut table = Table::new(&rule, &schema, Secret([1, 2]));
    for (&value, id) in values.iter().zip(1..) {
        table.insert(id, &row(value), 0, None);
    }
    let index: BTreeMap<(i64, u64), ()> = values.iter().zip(1..).map(|(&value, id)| ((value, id), ())).collect();
    // Near others, and so far from all that a scan has to look at every one of them.
    let near: Vec<i64> = (0..PROBES).map(|_| spread.below(VALUES) as i64).collect();
    let far: Vec<i64> = (0..PROBES as i64).map(|at| VALUES as i64 + 2 * REACH + at).collect();
    let mut compare = |name: &str, probes: &[i64]| {
        let mut by_scan = |value: i64| {
            let row = row(value);
            let prober = Prober { id: size as u64 + 1, row: &row, arrived_ms: 0, key: None, hint: Hint::default() };
            table.first(&prober, 0, &mut 0).map(|slot| table.id(slot))
        };
        let by_index = |value: i64| {
            let range = index.range((value - REACH, 0)..=(value + REACH, u64::MAX));
            range.map(|(&(_, id), ())| id).min()
        };
        probes.iter().for_each(|&value| assert_eq!(by_scan(value), by_index(value)));
        let per_second = |seconds: Option<f64>| seconds.map(|seconds| probes.len() as f64 / seconds);
        let scan = per_second(group.median(&format!("scan, {name}, {size} waiting"), || {
            timed(|| black_box(probes.iter().filter_map(|&value| by_scan(value)).max())).0
        }));
        let ordered = per_second(group.median(&format!("index, {name}, {size} waiting"), || {
            timed(|| black_box(probes.iter().filter_map(|&value| by_index(value)).max())).0
        }));
        vec![name.to_owned(), size.to_string(), rate(scan), rate(ordered), ratio(scan, ordered)]
    };
    vec![compare("some in range", &near), compare("none in range", &far)]
}
