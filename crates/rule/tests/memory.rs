//! What a waiting element takes of memory, as an allocator sees it.

#![allow(missing_docs, unsafe_code, reason = "an allocator that counts is an allocator")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use dovetail_rule::table::{Hint, Prober, Secret, Table};
use dovetail_rule::{Row, Rule, Schema, Value, ValueKind};

/// The system's, with the bytes that live counted.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A pool, what its elements have, and the hash of their key.
struct Case {
    name: &'static str,
    attributes: Vec<(&'static str, ValueKind)>,
    rule: String,
    row: fn(u64) -> Vec<Value>,
}

/// The output of SplitMix64: anything, the same in every run.
fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn cases() -> Vec<Case> {
    let ints = |names: &[&'static str]| names.iter().map(|&name| (name, ValueKind::Int)).collect();
    const POINT: [&str; 8] = ["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"];
    let squares: Vec<String> = POINT.iter().map(|x| format!("(a.{x} - b.{x}) * (a.{x} - b.{x})")).collect();
    vec![
        Case {
            name: "W1",
            attributes: ints(&["region", "mode", "skill"]),
            rule: "a.region == b.region && a.mode == b.mode && abs(a.skill - b.skill) <= 25".to_owned(),
            row: |n| [mix(n) % 8, mix(n) / 8 % 4, mix(n) / 32 % 3000].map(|int| Value::Int(int as i64)).into(),
        },
        Case {
            name: "W2",
            attributes: ints(&["side", "cell"]),
            rule: "a.cell == b.cell && a.side != b.side".to_owned(),
            row: |n| [mix(n) % 2, mix(n) / 2 % 1024].map(|int| Value::Int(int as i64)).into(),
        },
        Case {
            name: "W4",
            attributes: ints(&["key", "side"]),
            rule: "a.key == b.key && a.side != b.side".to_owned(),
            row: |n| [mix(n), n % 2].map(|int| Value::Int(int as i64)).into(),
        },
        Case {
            name: "W5",
            attributes: POINT.map(|name| (name, ValueKind::Double)).into(),
            rule: format!("{} < 0.0445", squares.join(" + ")),
            row: |n| (0..8).map(|k| Value::Double((mix(8 * n + k) >> 40) as f64 / 16_777_216.0)).collect(),
        },
        Case {
            name: "strings and lists",
            attributes: vec![
                ("region", ValueKind::String),
                ("name", ValueKind::String),
                ("modes", ValueKind::StringList),
                ("skill", ValueKind::Int),
                ("voice", ValueKind::Bool),
            ],
            rule: "a.region == b.region && a.modes.intersects(b.modes) && abs(a.skill - b.skill) <= 25".to_owned(),
            row: |n| {
                let modes = (0..4).map(|k| format!("mode-{}", mix(4 * n + k) % 40).into()).collect();
                vec![
                    Value::String(format!("region-{}", mix(n) % 20).into()),
                    Value::String(format!("player {:016x}", mix(n)).into()),
                    Value::StringList(modes),
                    Value::Int((mix(n) % 3000) as i64),
                    Value::Bool(n.is_multiple_of(3)),
                ]
            },
        },
    ]
}

/// Bytes of an attribute itself: numbers have eight, a text or a list those of its text alone.
fn bytes(value: &Value) -> usize {
    match value {
        Value::Int(_) | Value::Double(_) => 8,
        Value::Bool(_) => 1,
        Value::String(text) => text.len(),
        Value::StringList(list) => list.iter().map(|entry| entry.len()).sum(),
    }
}

/// What of the process is in memory, where that can be known.
fn resident() -> Option<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split(' ').nth(1)?.parse::<usize>().ok()? * 4096)
}

// Of 250,000 elements, or of `MEMORY_ELEMENTS`. One test: tests of one process run beside one another, and their
// allocations would be counted together.
#[test]
fn a_waiting_element_takes_its_attributes_half_as_much_again_and_48_bytes() {
    let most_waiting = match std::env::var("MEMORY_ELEMENTS") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => 250_000u64,
    };
    for case in cases() {
        let schema = Schema::new(case.attributes.iter().map(|&(name, kind)| (name.to_owned(), kind))).unwrap();
        let rule = Rule::compile(&case.rule, &schema).unwrap();
        let (before, resident_before) = (LIVE.load(Ordering::Relaxed), resident());
        let mut table = Table::new(&rule, &schema, Secret([1, 2]));
        let mut attributes = 0;
        for n in 1..=most_waiting {
            let row = Row::from_values((case.row)(n).into_iter().map(Some));
            attributes += row.values().iter().flatten().map(bytes).sum::<usize>();
            let key = rule.plan().key_hash(&row);
            table.insert(n, &row, 0, key);
            drop(row);
            if n != 100_000 && n != most_waiting {
                continue;
            }
            let (n, live) = (n as usize, LIVE.load(Ordering::Relaxed) - before);
            let most = attributes + attributes / 2 + 48 * n;
            let each = |bytes: usize| bytes as f64 / n as f64;
            let resident = resident().zip(resident_before).map_or(0, |(now, then)| now.saturating_sub(then));
            println!(
                "{}, {n} waiting: {:.1} bytes each, attributes {:.1}, at most {:.1}; resident {:.1}",
                case.name,
                each(live),
                each(attributes),
                each(most),
                each(resident),
            );
            assert!(live <= most, "{}: {n} elements take {live} bytes, at most {most}", case.name);
            assert!(table.bytes().abs_diff(live) <= live / 20, "{}: {} and not {live}", case.name, table.bytes());
        }
        if !rule.plan().keyed() {
            let more = ordered(&mut table, &case, LIVE.load(Ordering::Relaxed), before);
            println!("{}, ordered by value: {more:.1} bytes more", case.name);
        }
    }
}

/// The same elements ordered by value, which takes 16 bytes more of each at most.
fn ordered(table: &mut Table, case: &Case, scanned: usize, before: usize) -> f64 {
    let (mut slots, mut probes) = (Vec::new(), 0);
    while table.ordered() == 0 {
        probes += 1;
        let row = Row::from_values((case.row)((1 << 40) + probes).into_iter().map(Some));
        let prober =
            Prober { id: u64::MAX - 1, row: &row, arrived_ms: 0, key: None, before: u64::MAX, hint: Hint::default() };
        table.search(&prober, 0, usize::MAX, &mut 0, &mut slots);
        assert!(probes < 100_000, "{} is worth ordering", case.name);
    }
    let (n, live) = (table.len(), LIVE.load(Ordering::Relaxed));
    assert!(live <= scanned + 16 * n, "{}: {live} bytes after {scanned}", case.name);
    let live = live - before;
    assert!(table.bytes().abs_diff(live) <= live / 20, "{}: {} and not {live}", case.name, table.bytes());
    (live - (scanned - before)) as f64 / n as f64
}
