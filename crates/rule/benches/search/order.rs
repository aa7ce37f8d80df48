//! What it is worth to keep many elements in order: a table that always scans beside one that is left to itself, and for
//! bands the best that a sorted map does.
//!
//! A band lets one in 10,000 through. The map is from value and id, and its range is searched for the lowest id: that
//! takes time in proportion to what is in range, a scan in proportion to how far the first of them is. A distance is
//! that of the workload W5: of eight doubles, and true of one pair in 50,000.

use std::{
    collections::{BTreeMap, VecDeque},
    hint::black_box,
};

use criterion::Criterion;
use dovetail_rule::table::{Hint, Prober, Secret, Table};
use dovetail_rule::{Row, Rule, Schema, Value, ValueKind};

use crate::cases::{Case, Spread};
use crate::common::{Group, measuring, print_table, rate, ratio, timed};

/// Values are spread over so many.
const VALUES: u64 = 10_000_000;
/// A thousand of them are within the band.
const REACH: i64 = 500;
const PROBES: usize = 64;
/// Elements that come and go in one measurement.
const CHANGES: usize = 1_000;

pub fn measure(criterion: &mut Criterion) {
    let sizes: &[usize] = if measuring() { &[1_000, 10_000, 100_000, 1_000_000] } else { &[1_000] };
    let (searches, others): (Vec<_>, Vec<_>) = sizes.iter().map(|&size| band(criterion, size)).unzip();
    let head = ["band of 1 in 10,000", "waiting", "scan", "table", "ratio", "map", "ratio"];
    print_table("Searches per second for the lowest id within a band", &head, &searches.concat());
    let head = ["waiting", "bytes more", "change: scan", "table"];
    print_table("What each element takes more in a table that is ordered by a band", &head, &others);
    let sizes: &[usize] = if measuring() { &[1_000, 10_000, 30_000, 90_000] } else { &[1_000] };
    let rows: Vec<Vec<String>> = sizes.iter().flat_map(|&size| distance(criterion, size)).collect();
    let head = ["distance, 8 doubles", "waiting", "scan", "table", "ratio", "bytes more", "change: scan", "table"];
    print_table("Searches per second for all within a distance", &head, &rows);
}

/// Two tables of the same rows: one that always scans, and one that has made up its mind after searches for these.
fn tables(rule: &Rule, schema: &Schema, rows: &[Row], probes: &[Row]) -> [Table; 2] {
    let mut tables = [u32::MAX, 1_024].map(|from| {
        let mut table = Table::new(rule, schema, Secret([1, 2]));
        table.order_from(from);
        table
    });
    for table in &mut tables {
        (1..).zip(rows).for_each(|(id, row)| _ = table.insert(id, row, 0, None));
    }
    if measuring() {
        for row in probes.iter().cycle().take(20_000) {
            if tables[1].ordered() > 0 {
                break;
            }
            all(&mut tables[1], row);
        }
    }
    tables
}

/// Everyone that satisfies the rule with this one.
fn all(table: &mut Table, row: &Row) -> usize {
    let mut slots = Vec::new();
    let prober = Prober { id: u64::MAX - 1, row, arrived_ms: 0, key: None, before: u64::MAX, hint: Hint::default() };
    table.search(&prober, 0, usize::MAX, &mut 0, &mut slots);
    slots.len()
}

/// The lowest id that satisfies the rule with this one.
fn first(table: &mut Table, row: &Row) -> Option<u64> {
    let prober = Prober { id: u64::MAX - 1, row, arrived_ms: 0, key: None, before: u64::MAX, hint: Hint::default() };
    table.first(&prober, 0, &mut 0).map(|slot| table.id(slot))
}

/// Nanoseconds for the oldest to go and one like it to come, in a table of these rows.
fn change(group: &mut Group<'_>, name: &str, table: &mut Table, rows: &[Row]) -> Option<f64> {
    let (mut id, mut waiting): (u64, VecDeque<u64>) = (10_000_000, table.ids().collect());
    let mut rows = rows.iter().cycle();
    let seconds = group.median(&format!("change, {name}"), || {
        timed(|| {
            for row in rows.by_ref().take(CHANGES) {
                id += 1;
                table.insert(id, row, 0, None);
                waiting.push_back(id);
                let oldest = waiting.pop_front().and_then(|oldest| table.find(oldest)).expect("it waits");
                table.remove(oldest);
            }
        })
        .0
    });
    seconds.map(|seconds| seconds * 1e9 / CHANGES as f64)
}

fn more(tables: &[Table; 2], size: usize) -> String {
    format!("{:.1}", (tables[1].bytes() as f64 - tables[0].bytes() as f64) / size as f64)
}

fn nanoseconds(of: Option<f64>) -> String {
    of.map_or("-".to_owned(), |of| format!("{of:.0} ns"))
}

/// Rows of two tables: of searches, and of what else there is to know.
fn band(criterion: &mut Criterion, size: usize) -> (Vec<Vec<String>>, Vec<String>) {
    let mut group = Group::new(criterion, "order");
    let schema = Schema::new([("skill".to_owned(), ValueKind::Int)]).expect("a schema");
    let rule = Rule::compile(&format!("abs(a.skill - b.skill) <= {REACH}"), &schema).expect("a rule");
    let mut spread = Spread::new();
    let values: Vec<i64> = (0..size).map(|_| spread.below(VALUES) as i64).collect();
    let row = |value: i64| Row::from_values([Some(Value::Int(value))]);
    let rows: Vec<Row> = values.iter().map(|&value| row(value)).collect();
    let index: BTreeMap<(i64, u64), ()> = values.iter().zip(1..).map(|(&value, id)| ((value, id), ())).collect();
    // Near others, and so far from all that a scan has to look at every one of them.
    let near: Vec<i64> = (0..PROBES).map(|_| spread.below(VALUES) as i64).collect();
    let far: Vec<i64> = (0..PROBES as i64).map(|at| VALUES as i64 + 2 * REACH + at).collect();
    let far_rows: Vec<Row> = far.iter().map(|&value| row(value)).collect();
    let mut tables = tables(&rule, &schema, &rows, &far_rows);
    let bytes = more(&tables, size);
    let mut compare = |name: &str, probes: &[i64], rows: &[Row]| {
        let by_index = |value: i64| {
            let range = index.range((value - REACH, 0)..=(value + REACH, u64::MAX));
            range.map(|(&(_, id), ())| id).min()
        };
        for (&value, row) in probes.iter().zip(rows) {
            tables.iter_mut().for_each(|table| assert_eq!(first(table, row), by_index(value)));
        }
        let per_second = |seconds: Option<f64>| seconds.map(|seconds| probes.len() as f64 / seconds);
        let [scan, own] = ["scan", "table"].map(|what| (what, usize::from(what == "table"))).map(|(what, at)| {
            per_second(group.median(&format!("{what}, {name}, {size} waiting"), || {
                timed(|| black_box(rows.iter().filter_map(|row| first(&mut tables[at], row)).max())).0
            }))
        });
        let map = per_second(group.median(&format!("map, {name}, {size} waiting"), || {
            timed(|| black_box(probes.iter().filter_map(|&value| by_index(value)).max())).0
        }));
        vec![name.to_owned(), size.to_string(), rate(scan), rate(own), ratio(own, scan), rate(map), ratio(own, map)]
    };
    let near_rows: Vec<Row> = near.iter().map(|&value| row(value)).collect();
    let searches = vec![compare("some in range", &near, &near_rows), compare("none in range", &far, &far_rows)];
    let name = |what: &str| format!("{what}, {size} waiting");
    let [scan, own] = [0, 1].map(|at| change(&mut group, &name(["scan", "table"][at]), &mut tables[at], &rows));
    (searches, vec![size.to_string(), bytes, nanoseconds(scan), nanoseconds(own)])
}

fn distance(criterion: &mut Criterion, size: usize) -> Vec<Vec<String>> {
    let mut group = Group::new(criterion, "order");
    let (schema, rule) = Case::Distance.compile();
    let mut spread = Spread::new();
    let rows: Vec<Row> = (0..size).map(|_| Case::Distance.anchor(&mut spread)).collect();
    let probes: Vec<Row> = (0..PROBES).map(|_| Case::Distance.prober(&mut spread)).collect();
    let mut tables = tables(&rule, &schema, &rows, &probes);
    let bytes = more(&tables, size);
    for row in &probes {
        let [scan, own] = &mut tables;
        assert_eq!(all(scan, row), all(own, row));
    }
    let [scan, own] = ["scan", "table"].map(|what| (what, usize::from(what == "table"))).map(|(what, at)| {
        let seconds = group.median(&format!("{what}, distance, {size} waiting"), || {
            timed(|| black_box(probes.iter().map(|row| all(&mut tables[at], row)).sum::<usize>())).0
        });
        seconds.map(|seconds| probes.len() as f64 / seconds)
    });
    let [scan_change, own_change] =
        [0, 1].map(|at| change(&mut group, &format!("{at}, distance, {size} waiting"), &mut tables[at], &rows));
    let name = "all within it".to_owned();
    let [scan_change, own_change] = [scan_change, own_change].map(nanoseconds);
    vec![vec![name, size.to_string(), rate(scan), rate(own), ratio(own, scan), bytes, scan_change, own_change]]
}
