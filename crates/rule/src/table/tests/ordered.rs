//! Buckets that are ordered by value: that they are when it pays and not when it does not, that nothing which is found
//! depends on it, and that no order of values makes it dear.

use super::model::Random;
use crate::table::order::{Limits, Order};
use crate::table::{Hint, Prober, Secret, Table};
use crate::{Row, Rule, Schema, Side, Value, ValueKind};

/// Orders every bucket that is not, in leaves of few, until it is told otherwise; how many that are. `below` draws.
pub(super) fn order(table: &mut Table, below: &mut impl FnMut(u64) -> u64) -> u64 {
    let held = &mut table.held;
    let leaf_max = 8 << below(4);
    let limits = Limits { live_min: 2, leaf_max, sample_ns: u64::MAX, build_block_ns: 1 << 40 };
    let mut ordered = 0;
    for bucket in &mut held.buckets {
        if bucket.live == 0 || bucket.by_value() || held.layout.dims.is_empty() {
            continue;
        }
        let mut order = Box::new(Order::new(limits));
        order.shares.fill_with(|| below(100) as f64 / 99.0);
        order.make_tree(&held.layout, &mut held.slab, std::mem::take(&mut bucket.run));
        bucket.order = Some(order);
        ordered += 1;
    }
    ordered
}

/// Scans every bucket again.
pub(super) fn scan(table: &mut Table) {
    let held = &mut table.held;
    for bucket in held.buckets.iter_mut().filter(|bucket| bucket.by_value()) {
        bucket.scan_again(&held.layout, &mut held.slab);
    }
}

/// Checks every tree; the most levels of one.
pub(super) fn check(table: &Table) -> usize {
    let mut deepest = 0;
    for bucket in &table.held.buckets {
        let Some(tree) = bucket.tree() else { continue };
        let (elements, levels) = tree.check(&table.held.layout, &table.held.slab);
        assert_eq!(elements, bucket.live);
        assert!(bucket.run.blocks.is_empty(), "all elements are in the tree");
        deepest = deepest.max(levels);
    }
    deepest
}

fn moves(table: &Table) -> u64 {
    table.held.buckets.iter().filter_map(|bucket| bucket.tree()).map(|tree| tree.moves).sum()
}

/// `n` and `m` are ints, `x`, `y` and `z` doubles, `s` a text.
fn schema() -> Schema {
    let kinds = [
        ("n", ValueKind::Int),
        ("m", ValueKind::Int),
        ("x", ValueKind::Double),
        ("y", ValueKind::Double),
        ("z", ValueKind::Double),
        ("s", ValueKind::String),
    ];
    Schema::new(kinds.map(|(name, kind)| (name.to_owned(), kind))).unwrap()
}

/// Bands of every kind: of ints and doubles and both, of one side, the anchor's own, with time, beside other parts, and
/// distances.
const RULES: [&str; 22] = [
    "abs(a.n - b.n) <= 3",
    "abs(a.x - b.x) < 0.25",
    "abs(a.x - b.n) <= 0.5",
    "abs(a.n - b.x) <= 2",
    "a.n + b.n == 4",
    "a.n == b.m",
    "a.n == b.x",
    "a.n <= b.m && a.m >= b.n",
    "a.x >= b.y && a.s != b.s",
    "a.x > b.y || a.n == b.m",
    "abs(a.x - b.x) <= a.y && abs(a.x - b.x) <= b.y",
    "abs(a.n - b.n) <= min(a.m, b.m)",
    "abs(a.n - b.n) <= 1 + min(a.waited, b.waited) / 1000",
    "abs(a.x - b.x) <= 0.1 + double(max(a.waited, b.waited)) / 4000.0",
    "a.s != b.s && abs(a.n - b.n) <= 2 && abs(a.x - b.x) <= 1.5",
    "a.s.contains(b.s) && abs(a.x - b.x) <= 1.0",
    "(a.x - b.x) * (a.x - b.x) + (a.y - b.y) * (a.y - b.y) <= 2.0",
    "abs(a.x - b.x) + abs(a.y - b.y) + abs(a.z - b.z) < 2.5",
    "2.0 * (a.x - b.x) * (a.x - b.x) + (a.n - b.n) * (a.n - b.n) / 3.0 <= 1.0",
    "(a.x - b.x) * (a.x - b.x) + (a.y - b.y) * (a.y - b.y) + (a.z - b.z) * (a.z - b.z) < 0.5 + double(a.waited) / 5000.0",
    "abs(a.n - b.n) * 9223372036854775807 <= 9223372036854775807",
    "a.n / b.m == 2 && a.x * b.x >= 0.0",
];

const INTS: [i64; 14] = [
    i64::MIN,
    i64::MIN + 1,
    i64::MAX,
    i64::MAX - 1,
    (1 << 53) + 1,
    -(1 << 53) - 1,
    1 << 62,
    (1 << 30) - 1,
    1 << 30,
    (1 << 30) + 1,
    -(1 << 30),
    -(1 << 30) - 1,
    1 << 24,
    (1 << 24) + 1,
];

const DOUBLES: [f64; 14] = [
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN,
    f64::MIN_POSITIVE,
    5e-324,
    -5e-324,
    -0.0,
    1e-42,
    9_007_199_254_740_993.0,
    1_152_921_504_606_846_976.0,
    1_152_921_504_606_846_976.0 * 1.000_000_1,
    0.1,
    16_777_217.0,
];

fn row(random: &mut Random, spread: u64) -> Row {
    let int = |random: &mut Random| {
        let near = random.below(2 * spread) as i64 - spread as i64;
        match random.below(14) {
            0 => None,
            1 => Some(INTS[random.below(14) as usize].wrapping_add(random.below(3) as i64 - 1)),
            _ => Some(near),
        }
    };
    let double = |random: &mut Random| {
        let near = random.below(2_000 * spread) as f64 / 1_000.0 - spread as f64;
        match random.below(14) {
            0 => None,
            1 => Some(DOUBLES[random.below(14) as usize]),
            // Halves, in which an int may be.
            2..5 => Some((near * 2.0).round() / 2.0),
            _ => Some(near),
        }
    };
    let (n, m) = (int(random), int(random));
    let (x, y, z) = (double(random), double(random), double(random));
    let s = ["", "s", "st", "t"][random.below(4) as usize];
    let double = |double: Option<f64>| double.map(Value::Double);
    let row = [n.map(Value::Int), m.map(Value::Int), double(x), double(y), double(z), Some(Value::from(s))];
    Row::from_values(row)
}

#[test]
fn an_ordered_bucket_finds_what_the_rule_says_of_each() {
    let schema = schema();
    for (at, source) in RULES.into_iter().enumerate() {
        let Ok(rule) = Rule::compile(source, &schema) else { panic!("{source} is a rule") };
        let mut found_any = 0;
        for spread in [2, 30] {
            let mut random = Random(0xBA2D + 2 * at as u64 + spread);
            let mut table = Table::new(&rule, &schema, Secret([1, at as u64]));
            let mut waiting: Vec<(u64, Row, u64)> = Vec::new();
            for id in 1..=1_500u64 {
                let now = 10_000 + id;
                if id % 150 == 50 {
                    order(&mut table, &mut |n| random.below(n));
                    check(&table);
                }
                if id % 300 == 299 {
                    scan(&mut table);
                }
                let arrived = now - random.below(3_000);
                let arrival = (id, row(&mut random, spread), arrived);
                // Some search again.
                let prober = match waiting.get(random.below(3_000) as usize) {
                    Some(again) => again.clone(),
                    None => arrival.clone(),
                };
                let expected = one_by_one(&rule, &waiting, &prober, now);
                let key = |row: &Row| rule.plan().bucket_hash(row, Secret([1, at as u64]));
                let probe = Prober {
                    id: prober.0,
                    row: &prober.1,
                    arrived_ms: prober.2,
                    key: key(&prober.1),
                    before: u64::MAX,
                    hint: Hint::default(),
                };
                let (mut slots, mut errors) = (Vec::new(), 0);
                table.search(&probe, now, usize::MAX, &mut errors, &mut slots);
                let found: Vec<u64> = slots.iter().map(|&slot| table.id(slot)).collect();
                assert_eq!((&found, errors), (&expected.0, expected.1), "{source}: {prober:?} at {now}");
                let first = table.first(&probe, now, &mut 0).map(|slot| table.id(slot));
                assert_eq!(first, expected.0.first().copied(), "{source}");
                found_any += found.len();
                if let Some(&gone) = found.get(random.below(8) as usize) {
                    table.remove(table.find(gone).unwrap());
                    waiting.retain(|of| of.0 != gone);
                }
                table.insert(arrival.0, &arrival.1, arrival.2, key(&arrival.1));
                waiting.push(arrival);
            }
            check(&table);
        }
        assert!(found_any > 0, "{source} is true of some");
    }
}

/// Whom a prober finds, and the errors, if all are tested.
fn one_by_one(rule: &Rule, waiting: &[(u64, Row, u64)], prober: &(u64, Row, u64), now: u64) -> (Vec<u64>, u64) {
    let side = |of: &'_ (u64, Row, u64)| now.saturating_sub(of.2) as i64;
    let own = Side { row: &prober.1, waited_ms: side(prober) };
    let (mut found, mut errors) = (Vec::new(), 0);
    for of in waiting.iter().filter(|of| of.0 != prober.0) {
        let other = Side { row: &of.1, waited_ms: side(of) };
        match if of.0 < prober.0 { rule.test(other, own) } else { rule.test(own, other) } {
            Ok(true) => found.push(of.0),
            Ok(false) => {}
            Err(_) => errors += 1,
        }
    }
    (found, errors)
}

/// A table of a band of one in 10,000 that something else keeps from matching, and a row of it.
fn sides() -> (Rule, Schema) {
    let schema =
        Schema::new([("side", ValueKind::Int), ("x", ValueKind::Int)].map(|(n, k)| (n.to_owned(), k))).unwrap();
    let rule = Rule::compile("a.side != b.side && abs(a.x - b.x) <= 50", &schema).unwrap();
    (rule, schema)
}

fn of_side(side: i64, x: i64) -> Row {
    Row::from_values([Some(Value::Int(side)), Some(Value::Int(x))])
}

fn find(table: &mut Table, row: &Row) -> Option<u64> {
    let prober = Prober { id: u64::MAX - 1, row, arrived_ms: 0, key: None, before: u64::MAX, hint: Hint::default() };
    table.first(&prober, 0, &mut 0).map(|slot| table.id(slot))
}

#[test]
fn a_bucket_is_ordered_while_probes_want_few_of_many() {
    let (rule, schema) = sides();
    let mut random = Random(0x0DE2);
    let mut table = Table::new(&rule, &schema, Secret([1, 2]));
    for id in 1..=20_000 {
        table.insert(id, &of_side(0, random.below(1_000_000) as i64), 0, None);
    }
    let scanned = table.bytes();
    // Whoever finds one at once does not need it, nor does a few times more than that.
    let near = table.row(table.find(1).unwrap());
    let Some(Value::Int(x)) = near.values()[1] else { panic!("it has a place") };
    for _ in 0..20_000 {
        assert_eq!(find(&mut table, &of_side(1, x)), Some(1));
    }
    assert_eq!(table.ordered(), 0);
    for n in 0..2_000 {
        assert_eq!(find(&mut table, &of_side(0, n)), None);
    }
    assert_eq!(table.ordered(), 20_000);
    check(&table);
    assert!(table.bytes() < scanned + 20_000 * 16, "{} after {scanned}", table.bytes());
    // Now all want what is everywhere: the lowest id, which is first in a scan.
    let mut searches = 0;
    while table.ordered() > 0 {
        assert_eq!(find(&mut table, &of_side(1, x)), Some(1));
        searches += 1;
        assert!(searches < 1_000_000, "what does not pay is given up");
    }
    assert!(searches > 1_000, "but not at once");
    for n in 0..20 {
        assert_eq!(find(&mut table, &of_side(0, n)), None);
    }
    assert_eq!(table.ordered(), 0, "nor is it made again at once");
}

#[test]
fn few_are_not_ordered_nor_are_those_that_all_want() {
    let (rule, schema) = sides();
    for (elements, width) in [(1_000, 1_000_000), (20_000, 60)] {
        let mut random = Random(0x0DE3);
        let mut table = Table::new(&rule, &schema, Secret([1, 2]));
        for id in 1..=elements {
            table.insert(id, &of_side(0, random.below(width) as i64), 0, None);
        }
        for n in 0..2_000 {
            assert_eq!(find(&mut table, &of_side(0, n % 60)), None);
        }
        assert_eq!(table.ordered(), 0, "{elements} within {width}");
    }
}

#[test]
fn a_bucket_that_shrinks_is_scanned_again() {
    let (rule, schema) = sides();
    let mut table = Table::new(&rule, &schema, Secret([1, 2]));
    for id in 1..=3_000 {
        table.insert(id, &of_side(0, id as i64 * 7), 0, None);
    }
    order(&mut table, &mut |_| 3);
    table.held.buckets[0].order.as_mut().unwrap().require(1_024);
    for id in 1..=2_600 {
        table.remove(table.find(id).unwrap());
    }
    assert_eq!((table.ordered(), table.len()), (0, 400));
    assert_eq!(find(&mut table, &of_side(1, 2_700 * 7)), Some(2_693));
}

/// The value of each element in turn.
type Chosen = fn(u64) -> Option<i64>;

/// Values as a client might choose them.
const CHOSEN: [(&str, Chosen); 9] = [
    ("ascending", |n| Some(n as i64)),
    ("descending", |n| Some(-(n as i64))),
    ("all equal", |_| Some(7)),
    ("all missing", |_| None),
    ("two values", |n| Some((n % 2) as i64 * 1_000)),
    ("mostly equal", |n| Some(if n % 256 == 0 { n as i64 } else { 7 })),
    ("ever nearer", |n| Some((1 << 29) / (n as i64 + 1))),
    ("from both ends", |n| Some(if n % 2 == 0 { n as i64 } else { 1_000_000 - n as i64 })),
    ("no cell holds them", |n| Some((1 << 40) + n as i64)),
];

#[test]
fn no_order_of_values_makes_a_tree_deep_or_moves_many() {
    let schema = Schema::new([("x".to_owned(), ValueKind::Int)]).unwrap();
    let rule = Rule::compile("abs(a.x - b.x) <= 0", &schema).unwrap();
    const N: u64 = 40_000;
    for (name, value) in CHOSEN {
        let mut table = Table::new(&rule, &schema, Secret([1, 2]));
        for id in 1..=N {
            if id == 100 {
                order(&mut table, &mut |_| 5);
            }
            table.insert(id, &Row::from_values([value(id).map(Value::Int)]), 0, None);
        }
        let levels = check(&table);
        assert!(levels <= 40, "{name}: {levels} levels");
        assert!(moves(&table) < 60 * N, "{name}: {} moves of {N}", moves(&table));
        let bytes = table.bytes() as u64;
        assert!(bytes < N * 100, "{name}: {bytes} bytes");
        // The oldest leave, others come: as many wait, but elsewhere.
        let before = moves(&table);
        for id in N + 1..=3 * N {
            table.remove(table.find(id - N).unwrap());
            table.insert(id, &Row::from_values([value(id).map(Value::Int)]), 0, None);
        }
        let levels = check(&table);
        assert!(levels <= 40, "{name}: {levels} levels after all have changed");
        assert!(moves(&table) - before < 80 * 2 * N, "{name}: {} moves", moves(&table) - before);
        assert!((table.bytes() as u64) < 2 * bytes, "{name}: {} bytes after {bytes}", table.bytes());
    }
}
