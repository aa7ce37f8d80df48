//! One kind of test at a time, over a table of waiting elements: beside the plain evaluator, the best loop we can write
//! by hand, and a plain read of as many bytes.
//!
//! `cargo bench -p dovetail-rule --bench search`, or with ` -- 'int band'` that alone. The tables at the end are made
//! of medians of what Criterion has measured.

#![allow(missing_docs, clippy::print_stdout, reason = "nobody but people reads it")]

#[path = "../common/mod.rs"]
mod common;

mod cases;
mod hand;
mod order;

use std::{hint::black_box, time::Duration};

use cases::{Case, Spread};
use common::{Group, measuring, print_table, rate, ratio, timed};
use criterion::Criterion;
use dovetail_rule::table::{Hint, Prober, Secret, Slot, Table};
use dovetail_rule::{Row, Side};
use hand::{Columns, Probe, Stream};

/// Probes to a measurement.
const PROBES: usize = 16;

fn main() {
    let mut criterion = common::criterion();
    let sizes = if measuring() { [1_000, 100_000, 1_000_000] } else { [100, 500, 1_000] };
    let all: Vec<Measured> = Case::ALL.iter().map(|&case| measure(&mut criterion, case, sizes)).collect();
    let pairs: Vec<Vec<String>> = all.iter().flat_map(Measured::pairs).collect();
    let head = ["pair tests per second", "waiting", "table", "plain", "ratio", "by hand", "ratio", "read", "ratio"];
    print_table("Pairs tested per second by one core, and how the table compares", &head, &pairs);
    let probes: Vec<Vec<String>> = all.iter().map(Measured::probes).collect();
    let head = ["probes per second", "1k waiting", "100k", "1M", "bytes each", "of them values"];
    print_table("Searches of all that waits, and what is kept of each element", &head, &probes);
    order::measure(&mut criterion);
    criterion.final_summary();
}

/// Rates for one case: pairs per second, by size.
struct Measured {
    case: Case,
    sizes: [usize; 3],
    table: [Option<f64>; 3],
    /// The plain evaluator; at one million it is left out.
    plain: [Option<f64>; 3],
    hand: [Option<f64>; 3],
    read: [Option<f64>; 3],
    bytes_each: f64,
    values_each: f64,
}

impl Measured {
    fn pairs(&self) -> Vec<Vec<String>> {
        let row = |at: usize| {
            let (table, waiting) = (self.table[at], self.sizes[at].to_string());
            let mut cells = vec![self.case.name().to_owned(), waiting, rate(table)];
            for other in [self.plain[at], self.hand[at], self.read[at]] {
                cells.extend([rate(other), ratio(table, other)]);
            }
            cells
        };
        (1..3).filter(|&at| self.table[at].is_some()).map(row).collect()
    }

    fn probes(&self) -> Vec<String> {
        let probes = (0..3).map(|at| rate(self.table[at].map(|rate| rate / self.sizes[at] as f64)));
        let bytes = [self.bytes_each, self.values_each].map(|bytes| format!("{bytes:.1}"));
        std::iter::once(self.case.name().to_owned()).chain(probes).chain(bytes).collect()
    }
}

/// Bytes of the values themselves: a string is its text, a list its texts, everything else eight bytes.
fn value_bytes(row: &Row) -> usize {
    use dovetail_rule::Value;
    let bytes = |value: &Value| match value {
        Value::String(text) => text.len(),
        Value::StringList(list) => list.iter().map(|entry| entry.len()).sum(),
        Value::Int(_) | Value::Double(_) => 8,
        Value::Bool(_) => 1,
    };
    row.values().iter().flatten().map(bytes).sum()
}

fn measure(criterion: &mut Criterion, case: Case, sizes: [usize; 3]) -> Measured {
    let mut group = Group::new(criterion, case.name());
    let none = [None; 3];
    let mut measured =
        Measured { case, sizes, table: none, plain: none, hand: none, read: none, bytes_each: 0.0, values_each: 0.0 };
    let (schema, rule) = case.compile();
    for (at, size) in sizes.into_iter().enumerate() {
        let mut spread = Spread::new();
        let rows: Vec<Row> = (0..size).map(|_| case.anchor(&mut spread)).collect();
        let probes: Vec<Row> = (0..PROBES).map(|_| case.prober(&mut spread)).collect();
        let mut table = Table::new(&rule, &schema, Secret([1, 2]));
        table.order_from(u32::MAX);
        for (row, id) in rows.iter().zip(1..) {
            table.insert(id, row, 0, None);
        }
        measured.bytes_each = table.bytes() as f64 / size as f64;
        measured.values_each = rows.iter().map(value_bytes).sum::<usize>() as f64 / size as f64;
        let per_second = |seconds: Option<f64>| seconds.map(|seconds| (PROBES * size) as f64 / seconds);

        let mut slots: Vec<Slot> = Vec::new();
        let mut search = |row: &Row| {
            let prober =
                Prober { id: size as u64 + 1, row, arrived_ms: 0, key: None, before: u64::MAX, hint: Hint::default() };
            table.search(&prober, 0, usize::MAX, &mut 0, &mut slots);
            slots.len()
        };
        let found: usize = probes.iter().map(&mut search).sum();
        let of_all = |search: &mut dyn FnMut(usize) -> usize| -> Duration {
            timed(|| black_box((0..PROBES).map(search).sum::<usize>())).0
        };
        let name = |what: &str| format!("{what}, {size} waiting");
        measured.table[at] = per_second(group.median(&name("table"), || of_all(&mut |probe| search(&probes[probe]))));

        let columns = Columns::new(case, &rows);
        let by_hand: Vec<Probe> = probes.iter().map(|row| Probe::new(case, row)).collect();
        let mut places = Vec::new();
        let mut search = |probe: usize| {
            columns.search(&by_hand[probe], &mut places);
            places.len()
        };
        assert!((0..PROBES).map(&mut search).sum::<usize>().abs_diff(found) <= 1, "both find the same");
        measured.hand[at] = per_second(group.median(&name("by hand"), || of_all(&mut search)));

        let stream = Stream::new(columns.bytes_each() * size);
        let mut read = |_| black_box(&stream).read() as usize & 1;
        measured.read[at] = per_second(group.median(&name("read"), || of_all(&mut read)));

        if size < 1_000_000 {
            let side = |row| Side { row, waited_ms: 0 };
            let plain = |probe: usize| rows.iter().filter(|row| rule.matches(side(row), side(&probes[probe]))).count();
            let seconds = group.median(&name("plain"), || {
                let (time, _) = timed(|| black_box(plain(0)));
                time * PROBES as u32
            });
            measured.plain[at] = per_second(seconds);
        }
    }
    measured
}
