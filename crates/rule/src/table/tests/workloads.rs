//! The workloads W1 to W5 (docs/performance.md) through a table: what is matched is known, and how fast is printed.
//!
//! `DOVETAIL_TABLE_N=1000000 cargo test --release -p dovetail-rule workloads -- --nocapture --test-threads 1`; with
//! `DOVETAIL_TABLE_SCAN=1` nothing is ordered.

use std::time::Instant;

use super::shapes::numbers;
use crate::expr::{End, Expr};
use crate::filter::{Asked, Bound, Column, Node, Operand, Probe, Store, Sum};
use crate::table::layout::Shape;
use crate::table::{AheadProbe, Hints, Prober, Secret, Table};
use crate::value::{Value, ValueKind};
use crate::{Row, Rule, Schema};

fn mixed(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        let out = mixed(self.0);
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        out
    }

    fn below(&mut self, n: u64) -> i64 {
        (((self.next() >> 32) * n) >> 32) as i64
    }

    fn skill(&mut self) -> i64 {
        let sum: i64 = (0..12).map(|_| (self.next() >> 32) as i64).sum();
        1500 + ((300 * (sum - (6i64 << 32)) + (1i64 << 31)) >> 32)
    }
}

/// A workload: its elements' attributes, and how a planner would search it.
pub(super) struct Workload {
    pub(super) rule: Rule,
    pub(super) schema: Schema,
    pub(super) rows: Vec<Row>,
    pub(super) keys: Vec<Option<u64>>,
    pub(super) shape: fn() -> Shape,
}

fn ints(names: &[&str]) -> Schema {
    Schema::new(names.iter().map(|&name| (name.to_owned(), ValueKind::Int))).unwrap()
}

fn row(ints: &[i64]) -> Row {
    Row::from_values(ints.iter().map(|&int| Some(Value::Int(int))))
}

/// The column of an attribute.
pub(super) fn column(schema: &Schema, name: &str, store: Store) -> Column {
    let index = schema.index_of(name).unwrap();
    let kind = schema.attributes()[index].kind;
    let attribute = crate::expr::AttributeRef { end: End::A, index, kind, name: name.into() };
    Column { expr: Expr::Attribute(attribute), store }
}

fn int(probe: &Probe<'_>, index: usize) -> i64 {
    match probe.side.row.values()[index] {
        Some(Value::Int(int)) => int,
        _ => unreachable!(),
    }
}

fn one_leaf(keyed: bool, column: Column, bound: impl Fn(&Probe<'_>) -> Bound + Send + Sync + 'static) -> Shape {
    let leaf = || Node::Leaf { bound: 0, of: Operand::Column(0) };
    let ask = Box::new(move |_: End, probe: &Probe<'_>, _: &dyn Fn(&str) -> u32, asked: &mut Asked| {
        asked.bounds.clear();
        asked.bounds.push(bound(probe));
    });
    let columns = vec![column];
    let ordered = numbers(&columns);
    Shape { keyed, columns, sums: vec![], roots: [leaf(), leaf()], ask, exact: None, ordered }
}

pub(super) fn w1(n: usize) -> Workload {
    let schema = ints(&["region", "mode", "skill"]);
    let mut random = Random(0x5EED_0001);
    let draw = |_| [random.below(8), random.below(4), random.skill()];
    let drawn: Vec<[i64; 3]> = (0..n).map(draw).collect();
    Workload {
        rule: Rule::compile("a.region == b.region && a.mode == b.mode && abs(a.skill - b.skill) <= 25", &schema)
            .unwrap(),
        rows: drawn.iter().map(|ints| row(ints)).collect(),
        keys: drawn.iter().map(|ints| Some(mixed((ints[0] * 4 + ints[1]) as u64))).collect(),
        shape: || {
            one_leaf(true, column(&ints(&["region", "mode", "skill"]), "skill", Store::Int), |probe| {
                let skill = int(probe, 2) as i32;
                Bound::Int { low: skill - 25, high: skill + 25 }
            })
        },
        schema,
    }
}

pub(super) fn w2(n: usize) -> Workload {
    let schema = ints(&["side", "cell"]);
    let mut random = Random(0x5EED_0002);
    let drawn: Vec<[i64; 2]> = (0..n).map(|_| [random.below(2), random.below(1024)]).collect();
    Workload {
        rule: Rule::compile("a.cell == b.cell && a.side != b.side", &schema).unwrap(),
        rows: drawn.iter().map(|ints| row(ints)).collect(),
        keys: drawn.iter().map(|ints| Some(mixed(ints[1] as u64))).collect(),
        shape: || {
            let side = column(&ints(&["side", "cell"]), "side", Store::Int);
            one_leaf(true, side, |probe| Bound::IntNot(int(probe, 0) as i32))
        },
        schema,
    }
}

pub(super) fn w3(n: usize) -> Workload {
    let schema = ints(&[]);
    Workload {
        rule: Rule::compile("true", &schema).unwrap(),
        rows: (0..n).map(|_| row(&[])).collect(),
        keys: vec![None; n],
        shape: Shape::everything,
        schema,
    }
}

pub(super) fn w4(n: usize) -> Workload {
    let schema = ints(&["key", "side"]);
    let mut random = Random(0x5EED_0004);
    let farthest = (n / 5).min(200_000);
    let mut drawn: Vec<Option<[i64; 2]>> = vec![None; n];
    for p in 0..n {
        if drawn[p].is_some() {
            continue;
        }
        let (key, side) = (random.next() as i64, random.below(2));
        let d = 1 + random.below(farthest.min(n - 1 - p) as u64) as usize;
        let q = (p + d..n).find(|&q| drawn[q].is_none());
        let q = q.unwrap_or_else(|| (p + 1..p + d).rev().find(|&q| drawn[q].is_none()).unwrap());
        (drawn[p], drawn[q]) = (Some([key, side]), Some([key, 1 - side]));
    }
    let drawn: Vec<[i64; 2]> = drawn.into_iter().flatten().collect();
    Workload {
        rule: Rule::compile("a.key == b.key && a.side != b.side", &schema).unwrap(),
        rows: drawn.iter().map(|ints| row(ints)).collect(),
        keys: drawn.iter().map(|ints| Some(mixed(ints[0] as u64))).collect(),
        shape: || {
            let side = column(&ints(&["key", "side"]), "side", Store::Int);
            one_leaf(true, side, |probe| Bound::IntNot(int(probe, 1) as i32))
        },
        schema,
    }
}

fn coordinates() -> Schema {
    Schema::new((0..8).map(|k| (format!("x{k}"), ValueKind::Double))).unwrap()
}

fn distance(r2: f64) -> Shape {
    let schema = coordinates();
    let columns = (0..8).map(|k| column(&schema, &format!("x{k}"), Store::Double)).collect();
    let leaf = || Node::Leaf { bound: 0, of: Operand::Sum(0) };
    let ask = Box::new(move |_: End, probe: &Probe<'_>, _: &dyn Fn(&str) -> u32, asked: &mut Asked| {
        asked.bounds.clear();
        asked.bounds.push(Bound::Sum { from: 0, limit: r2 });
        asked.points.clear();
        asked.points.extend(probe.side.row.values().iter().map(|value| match value {
            Some(Value::Double(double)) => *double,
            _ => unreachable!(),
        }));
        asked.weights.clear();
        asked.weights.resize(8, 1.0);
    });
    Shape {
        keyed: false,
        columns,
        sums: vec![Sum { columns: (0..8).collect(), squared: true }],
        roots: [leaf(), leaf()],
        ask,
        exact: None,
        ordered: (0..8).collect(),
    }
}

pub(super) fn w5(n: usize) -> Workload {
    let mut random = Random(0x5EED_0005);
    let draw = |_| Row::from_values((0..8).map(|_| Some(Value::Double((random.next() >> 40) as f64 / 16_777_216.0))));
    let rows: Vec<Row> = (0..n).map(draw).collect();
    let squares: Vec<String> = (0..8).map(|k| format!("(a.x{k} - b.x{k}) * (a.x{k} - b.x{k})")).collect();
    let r2 = if n <= 20_000 { "0.068" } else { "0.0445" };
    let schema = coordinates();
    Workload {
        rule: Rule::compile(&format!("{} < {r2}", squares.join(" + ")), &schema).unwrap(),
        keys: vec![None; n],
        shape: if n <= 20_000 { || distance(0.068) } else { || distance(0.0445) },
        rows,
        schema,
    }
}

/// Seconds this thread has run, where that can be known: others use the same cores.
fn seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let run = stat.and_then(|stat| stat.split(' ').next()?.parse::<u64>().ok());
    run.map_or_else(|| START.elapsed().as_secs_f64(), |nanos| nanos as f64 / 1e9)
}

static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

/// What came of a run: matches, waiting, XOR, SUM, wait.
type Answer = (usize, usize, u64, u64, u64);

/// Every arrival searches, and takes what it finds or waits. `frame` arrivals are looked ahead for at once, if more
/// than one.
fn run(workload: &Workload, frame: usize, limit: usize) -> (Answer, f64, f64) {
    let mut table = Table::with_shape(&workload.rule, &workload.schema, Secret([1, 2]), (workload.shape)());
    if std::env::var_os("DOVETAIL_TABLE_SCAN").is_some() {
        table.order_from(u32::MAX);
    }
    let mut matches: Vec<(u64, u64)> = Vec::with_capacity(workload.rows.len());
    let (mut hints, mut errors, mut peak) = (Hints::default(), 0, (0, 0));
    let start = seconds();
    let prober = |at: usize| {
        let (row, key) = (&workload.rows[at], workload.keys[at]);
        Prober { id: at as u64 + 1, row, arrived_ms: 0, key, before: u64::MAX, hint: Default::default() }
    };
    for begin in (0..workload.rows.len()).step_by(frame) {
        let end = workload.rows.len().min(begin + frame);
        if frame > 1 {
            let probes: Vec<AheadProbe<'_>> =
                (begin..end).map(|at| AheadProbe { prober: prober(at), time_ms: 0 }).collect();
            table.look_ahead(&probes, limit, &mut hints);
        }
        for at in begin..end {
            let prober =
                Prober { hint: if frame > 1 { hints.of(at - begin) } else { Default::default() }, ..prober(at) };
            match table.first(&prober, 0, &mut errors) {
                Some(slot) => {
                    matches.push((table.id(slot), prober.id));
                    table.remove(slot);
                }
                None => drop(table.insert(prober.id, prober.row, 0, prober.key)),
            }
        }
        if table.len() > peak.0 {
            peak = (table.len(), if frame > 1 { table.bytes() } else { 0 });
        }
    }
    let seconds = seconds() - start;
    assert_eq!(errors, 0);
    let hashes = matches.iter().map(|&(i, j)| mixed(mixed(i) ^ j));
    let (xor, sum) = hashes.fold((0, 0u64), |(xor, sum), h| (xor ^ h, sum.wrapping_add(h)));
    let wait = table.ids().fold(0u64, |wait, id| wait.wrapping_add(mixed(id)));
    ((matches.len(), table.len(), xor, sum, wait), seconds, peak.1 as f64 / peak.0 as f64)
}

/// Checks the answer, and prints the rate.
fn check(name: &str, workload: &Workload, frames: &[(usize, usize)], expected: Option<Answer>) {
    for &(frame, limit) in frames {
        let runs: Vec<(Answer, f64, f64)> = (0..3).map(|_| run(workload, frame, limit)).collect();
        if let Some(expected) = expected {
            assert_eq!(runs[0].0, expected, "{name}, frames of {frame}");
        }
        let best = runs.iter().map(|run| run.1).fold(f64::INFINITY, f64::min);
        let n = workload.rows.len();
        let rate = n as f64 / best;
        println!("{name} n={n} frame={frame},{limit}: {rate:.3e} elements/s, {:.1} bytes each at the peak", runs[0].2);
    }
}

/// How many elements of W1 to W4: those whose answer is known, or as the environment says.
fn size() -> usize {
    std::env::var("DOVETAIL_TABLE_N").map_or(100_000, |n| n.parse().unwrap())
}

fn known(n: usize, small: Answer, large: Answer) -> Option<Answer> {
    match n {
        100_000 => Some(small),
        1_000_000 => Some(large),
        _ => None,
    }
}

#[test]
fn workload_1_has_its_checksum() {
    let small = (49_635, 730, 0xb0a5_c9e1_f03a_24ca, 0x23d9_ddbc_eeb8_89d8, 0x9885_dc55_0b25_0d0b);
    let large = (499_589, 822, 0x0d72_cdfc_3e8a_71c4, 0x936a_850a_9733_6c12, 0x9956_12c8_8265_68b1);
    check("W1", &w1(size()), &[(1, 0)], known(size(), small, large));
}

#[test]
fn workload_2_has_its_checksum() {
    let small = (45_770, 8_460, 0x9daa_8483_b55c_2f7d, 0x34b4_80fb_7646_e015, 0x6ac6_20ea_b14e_4970);
    let large = (487_203, 25_594, 0xb00f_e30d_8161_821a, 0x7b41_9b90_8447_053e, 0xd660_9e3b_c519_be2a);
    check("W2", &w2(size()), &[(1, 0)], known(size(), small, large));
}

#[test]
fn workload_3_has_its_checksum() {
    let large = (500_000, 0, 0x0033_eeda_8da4_9b01, 0x92e1_d98b_0bc7_06ad, 0);
    let small = (50_000, 0, 0x0025_6292_c7e8_0bb7, 0x55c2_bb8f_b3b6_eecb, 0);
    check("W3", &w3(size()), &[(1, 0)], known(size(), small, large));
}

#[test]
fn workload_4_has_its_checksum() {
    let small = (50_000, 0, 0x7bf2_e9f6_3688_8d24, 0xf28c_6560_26d6_8e84, 0);
    let large = (500_000, 0, 0x8a05_956a_1726_c5ba, 0x2927_fa73_0180_b490, 0);
    check("W4", &w4(size()), &[(1, 0)], known(size(), small, large));
}

#[test]
fn workload_5_has_its_checksum() {
    let small = (4_943, 10_114, 0x98fd_7f71_4828_e7b8, 0x8a8f_58ad_1bb8_a444, 0xe7f8_43aa_f98f_a0e5);
    let large = (25_028, 49_944, 0xf1f3_47a2_ce0c_957a, 0xfe63_0a8c_5c0e_beec, 0x1b30_05f5_10ad_0ecb);
    check("W5", &w5(20_000), &[(1, 0), (256, 1), (256, 2)], Some(small));
    if size() > 100_000 {
        check("W5", &w5(100_000), &[(1, 0), (256, 1), (256, 2)], Some(large));
    }
}
