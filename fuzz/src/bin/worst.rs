//! Measures what a unit of cost takes: every rule of the corpus that is accepted, on its worst pair of adversarial
//! rows.
//!
//! Prints a table, dearest units first, and what 16,384 units would take at that price. Times are the least of several
//! runs: what the machine does besides is not the rule's.

use std::hint::black_box;
use std::time::Instant;

use dovetail_fuzz::{bytes::Bytes, rows};
use dovetail_rule::{COST_MAX, Row, Rule, Schema, Side, Value, ValueKind};

/// Below this, a clock's and a call's overhead is measured, not the rule.
const COST_MIN: u64 = 64;

fn main() {
    let schema = Bytes(&[]).schema();
    let rows = rows::adversarial(&schema);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/rule/tests/hostile/corpus");
    let (mut measured, mut compiled) = (Vec::new(), (0.0, String::new()));
    for entry in std::fs::read_dir(folder).expect("the corpus is beside the package") {
        let path = entry.expect("the corpus can be listed").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(source) = std::fs::read_to_string(&path) else { continue };
        let compile = least(5, || drop(black_box(Rule::compile(black_box(&source), &schema))));
        if compile > compiled.0 {
            compiled = (compile, name.clone());
        }
        if let Ok(rule) = Rule::compile(&source, &schema) {
            measured.push((worst_pair(&rule, &rows), rule.cost(), name));
        }
    }
    let dearest = measured.iter().map(|(ns, ..)| *ns).fold(0.0, f64::max);
    measured.retain(|(_, cost, _)| *cost >= COST_MIN);
    measured.sort_by(|left, right| (right.0 / right.1 as f64).total_cmp(&(left.0 / left.1 as f64)));
    println!("{:>10} {:>8} {:>8} {:>12}  rule", "ns", "units", "ns/unit", "us at bound");
    for (ns, cost, name) in &measured {
        let unit = ns / *cost as f64;
        println!("{ns:>10.0} {cost:>8} {unit:>8.2} {:>12.1}  {name}", unit * COST_MAX as f64 / 1_000.0);
    }
    println!(
        "\nthe longest evaluation took {:.1} us; the longest compilation {:.1} us ({})",
        dearest / 1e3,
        compiled.0 / 1e3,
        compiled.1
    );
    cold(&schema);
}

/// What the slowest of all pairs takes, in nanoseconds.
fn worst_pair(rule: &Rule, rows: &[Row]) -> f64 {
    let pairs = rows.iter().flat_map(|a| rows.iter().map(move |b| (a, b)));
    let time = |a, b, runs| {
        let [a, b] = [a, b].map(|row| Side { row, waited_ms: i64::MAX });
        least(runs, || {
            let _ = black_box(rule.test(black_box(a), black_box(b)));
        })
    };
    let (a, b, _) =
        pairs.map(|(a, b)| (a, b, time(a, b, 2))).max_by(|x, y| x.2.total_cmp(&y.2)).expect("there are rows");
    time(a, b, 20)
}

/// The least time of a call, in nanoseconds, over `runs` of about 20 us.
fn least(runs: usize, call: impl Fn()) -> f64 {
    let begun = Instant::now();
    call();
    let times = (20_000 / begun.elapsed().as_nanos().max(1)).clamp(1, 1_000);
    let run = |_| {
        let begun = Instant::now();
        (0..times).for_each(|_| call());
        begun.elapsed().as_nanos() as f64 / times as f64
    };
    (0..runs).map(run).fold(f64::MAX, f64::min)
}

/// The same when rows come from memory: many rows, each used once.
fn cold(schema: &Schema) {
    for source in ["a.l.intersects(b.l)", "a.s in b.l || a.s in b.m", "a.l == b.l || a.l == b.m"] {
        from_memory(schema, source, source, 4_000);
    }
    // A row of a mebibyte, all of which the rule looks at: as many lists as it can afford, and a string.
    let names = |index: u8| char::from(if index < 26 { b'a' + index } else { b'A' + index - 26 }).to_string();
    let lists = (0..50).map(|index| (names(index), ValueKind::StringList));
    let schema = Schema::new(lists.chain([("text".to_owned(), ValueKind::String)])).expect("these are attributes");
    let rule = (0..50).map(|index| format!("a.text in b.{}", names(index))).collect::<Vec<_>>().join("||");
    from_memory(&schema, &rule, "a.text in b.a || ... in 50 lists", 80);
}

fn from_memory(schema: &Schema, source: &str, name: &str, rows: usize) {
    let list = rows::list(rows::ORDERS[4], 1);
    let long = |index: usize| match schema.attributes()[index].kind {
        ValueKind::StringList => Some(list.clone()),
        ValueKind::String => Some(Value::from("x".repeat(256).as_str())),
        _ => None,
    };
    let row = || Row::new(schema, (0..schema.len()).map(long).collect()).expect("within caps");
    let rows: Vec<Row> = (0..rows).map(|_| row()).collect();
    let probe = match schema.index_of("l") {
        Some(_) => &rows::adversarial(schema)[16],
        None => &rows[0],
    };
    let rule = Rule::compile(source, schema).expect("these are rules");
    let begun = Instant::now();
    for row in &rows {
        let [a, b] = [probe, row].map(|row| Side { row, waited_ms: 0 });
        black_box(rule.matches(a, b));
    }
    let (ns, cost) = (begun.elapsed().as_nanos() as f64 / rows.len() as f64, rule.cost());
    println!("from memory: {ns:>8.0} ns, {cost:>6} units, {:.2} ns/unit  {name}", ns / cost as f64);
}
