//! Slices that settle, on random logs, against the sequential program: the same matches and withdrawals, the same
//! elements left, and the same number of pairs on which rules failed. No faults and no network: the simulator has
//! these, but its pools are small. Here enough wait that slices look ahead.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{collections::BTreeMap, sync::Arc};

use dovetail_core::{
    Audience, Decided, DecisionFrame, ElementId, Event, EventId, EventKind, LogFrame, Placement, PoolDefinition,
    PoolId, Retirement, Ring, ShardId, SliceId, Stable, WithdrawReason,
    oracle::Oracle,
    slice::{Slice, SliceCut, SliceEffect},
};
use dovetail_rule::{AttributeType, Row, Value, table::Secret};

/// A small seeded generator (SplitMix64), so that a failing seed can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Few of a pool's pairs match, or no element would wait.
const BY_INDEX: [&str; 6] = [
    "abs(a.n - b.n) <= 3 && a.s != b.s && a.x * b.x < 0.2",
    "abs(a.n - b.n) <= min(a.waited, b.waited) / 3000 && a.tags.intersects(b.tags)",
    "(a.x - b.x) * (a.x - b.x) + (a.y - b.y) * (a.y - b.y) < 0.0001 && a.s < b.s",
    "a.n / (b.n % 7) == b.n / (a.n % 7) && a.tags != b.tags && a.x < 0.1",
    "abs(a.n * 4000000 - b.n * 4000000) <= 4000000 && a.s in b.tags && a.y < b.y && b.y < a.y + 0.05",
    "b.n in [a.n + 1, a.n - 1, 1000 / (a.n - 7)] && (b.waited > 4000 || a.x < 0.02)",
];
const BY_KEY: [&str; 6] = [
    "a.s == b.s && abs(a.n - b.n) <= 2 && a.x < 0.2",
    "a.n == b.n && a.tags.intersects(b.tags) && b.x > 0.9",
    "a.n == b.m && a.m == b.n && a.s != b.s",
    "(a.x < 0.5 ? a.s : 'x') == (b.x < 0.5 ? b.s : 'x') && abs(a.y - b.y) < 0.001",
    "a.s == b.s && 100 / (a.n / 20 - b.n / 20) > 20 && a.x < 0.3",
    "a.n / 50 == b.n / 50 && min(a.waited, b.waited) / 20 >= abs(a.m - b.m) && a.x < 0.1",
];

fn definition(number: usize, rule: &str) -> Arc<PoolDefinition> {
    let attributes = [
        ("n", AttributeType::Int),
        ("m", AttributeType::Int),
        ("x", AttributeType::Double),
        ("y", AttributeType::Double),
        ("s", AttributeType::String),
        ("tags", AttributeType::StringList),
    ];
    Arc::new(PoolDefinition {
        name: format!("pool{number}"),
        attributes: attributes.map(|(name, kind)| (name.to_owned(), kind)).into(),
        rule: rule.to_owned(),
        ttl_ms: 0,
        reprobe_ms: vec![],
        waiting_max: 0,
        payload_bytes_max: 0,
    })
}

fn row(random: &mut Random) -> Arc<Row> {
    let int = |random: &mut Random| Value::Int(i64::try_from(random.below(400)).unwrap());
    let double = |random: &mut Random| Value::Double(random.below(1_000_000) as f64 / 1e6);
    let text = |random: &mut Random| format!("s{}", random.below(90));
    let ints = [int(random), int(random)];
    let doubles = [double(random), double(random)];
    let s = Value::String(text(random).into());
    let tags = Value::StringList((0..random.below(4)).map(|_| text(random).into()).collect());
    let values = ints.into_iter().chain(doubles).chain([s, tags]);
    Arc::new(Row::from_values(values.map(|value| (random.below(40) != 0).then_some(value))))
}

/// A log of `events` events about pools with these rules, in frames.
fn log(random: &mut Random, rules: &[&str], events: u64) -> Vec<Arc<LogFrame>> {
    let mut arrived: BTreeMap<u64, (PoolId, Arc<Row>, u64)> = BTreeMap::new();
    let mut frames: Vec<Arc<LogFrame>> = Vec::new();
    let (mut x, mut time_ms) = (0, 1_000_000);
    while x < events {
        let after = EventId(x);
        time_ms += random.below(100);
        let mut entries = Vec::new();
        for _ in 0..1 + random.below(60) {
            x += 1;
            let kind = match rules.get(usize::try_from(x - 1).unwrap()) {
                Some(rule) => {
                    let number = usize::try_from(x - 1).unwrap();
                    let pool = PoolId(u32::try_from(number).unwrap());
                    EventKind::PoolDefined { pool, definition: definition(number, rule) }
                }
                None => later(random, &mut arrived, rules.len() as u64, x, time_ms),
            };
            entries.push(Event { x: EventId(x), kind });
        }
        frames.push(Arc::new(LogFrame {
            after,
            through: EventId(x),
            time_ms,
            stable: Stable::ZERO,
            audience: Audience::All,
            events: entries,
        }));
    }
    frames
}

fn later(
    random: &mut Random,
    arrived: &mut BTreeMap<u64, (PoolId, Arc<Row>, u64)>,
    pools: u64,
    x: u64,
    time_ms: u64,
) -> EventKind {
    let named = random.below(x) + 1;
    match (random.below(12), arrived.get(&named)) {
        (0, Some((pool, ..))) => {
            EventKind::Withdrawal { element: ElementId(named), pool: *pool, reason: WithdrawReason::Client }
        }
        (1 | 2, Some((pool, row, arrived_ms))) => {
            let row = Arc::clone(row);
            EventKind::Reprobe { element: ElementId(named), pool: *pool, arrived_ms: *arrived_ms, row }
        }
        _ => {
            let (pool, row) = (PoolId(u32::try_from(random.below(pools)).unwrap()), row(random));
            arrived.insert(x, (pool, Arc::clone(&row), time_ms));
            EventKind::Arrival { pool, row }
        }
    }
}

/// Runs the log through the oracle and through all slices; how many searches were looked ahead for, and how many pairs
/// failed.
fn check(seed: u64, slices: u32, rules: &[&str], events: u64) -> (u64, u64) {
    let mut random = Random(seed);
    let frames = log(&mut random, rules, events);
    let mut oracle = Oracle::new();
    let mut expected: Vec<Retirement> = Vec::new();
    for frame in &frames {
        let decided = frame.events.iter().map(|event| oracle.on_event(event.x, frame.time_ms, &event.kind).unwrap());
        expected.extend(decided.flatten());
    }
    let placement = Placement::new(slices, 8, Arc::new(Ring::new(3, 4)));
    let (mut settled, mut waiting) = (Vec::new(), Vec::new());
    let (mut errors, mut looked_ahead) = (0, 0);
    for id in 0..slices {
        let mut slice =
            Slice::new(placement.clone(), SliceId(id), 16, Secret([seed, !seed]), SliceCut::default()).unwrap();
        for frame in &frames {
            let mut out = Vec::new();
            slice.on_frame(Arc::clone(frame), &mut out).unwrap();
            for shard in 0..3 {
                let decided =
                    DecisionFrame { retirements: vec![], grants: vec![], decided: Some(Decided(frame.through)) };
                slice.on_decisions(ShardId(shard), &decided, &mut out).unwrap();
            }
            settled.extend(out.iter().flat_map(|SliceEffect::Frame { frame, .. }| frame.settled.iter().copied()));
        }
        assert_eq!(slice.through(), frames.last().unwrap().through, "seed {seed}");
        waiting.extend(slice.anchors());
        errors += slice.pools().map(|pool| pool.rule_errors).sum::<u64>();
        looked_ahead += slice.looked_ahead();
    }
    settled.sort_by_key(|retirement| retirement.x);
    waiting.sort_unstable();
    assert!(settled == expected, "seed {seed}: {} settled, the oracle decides {}", settled.len(), expected.len());
    assert!(waiting.iter().copied().eq(oracle.waiting()), "seed {seed}: {} wait", waiting.len());
    assert_eq!(errors, oracle.rule_errors(), "seed {seed}: pairs on which rules failed");
    (looked_ahead, errors)
}

#[test]
fn a_lone_slice_that_looks_ahead_settles_as_the_sequential_program_does() {
    let (mut looked_ahead, mut errors) = (0, 0);
    let events = if cfg!(debug_assertions) { 1_800 } else { 2_600 };
    for (rule, seed) in BY_INDEX.iter().zip(0..) {
        let found = check(seed, 1, &[rule], events);
        looked_ahead += found.0;
        errors += found.1;
    }
    assert!(looked_ahead > 1_000, "{looked_ahead} searches were looked ahead for");
    assert!(errors > 1_000, "{errors} errors");
    check(100, 1, &[BY_INDEX[0], BY_KEY[0], BY_INDEX[1], BY_KEY[4]], events);
}

#[test]
fn slices_that_own_keys_settle_as_the_sequential_program_does() {
    let events = 4_000;
    let errors: u64 = [1, 2, 5].into_iter().map(|slices| check(slices.into(), slices, &BY_KEY, events).1).sum();
    assert!(errors > 20, "{errors} errors");
}

#[test]
fn what_slices_find_does_not_depend_on_their_secret() {
    let rules = [BY_INDEX[0], BY_KEY[0], BY_INDEX[1], BY_KEY[1], BY_KEY[4]];
    let frames = log(&mut Random(7), &rules, 1_500);
    let placement = Placement::new(2, 8, Arc::new(Ring::new(3, 4)));
    let found = |id: u32, secret: [u64; 2]| {
        let (cut, mut out) = (SliceCut::default(), Vec::new());
        let mut slice = Slice::new(placement.clone(), SliceId(id), 16, Secret(secret), cut).unwrap();
        for frame in &frames {
            slice.on_frame(Arc::clone(frame), &mut out).unwrap();
            for shard in 0..3 {
                let decided =
                    DecisionFrame { retirements: vec![], grants: vec![], decided: Some(Decided(frame.through)) };
                slice.on_decisions(ShardId(shard), &decided, &mut out).unwrap();
            }
        }
        (out, slice.pools().map(|pool| pool.rule_errors).sum::<u64>())
    };
    for id in 0..2 {
        let expected = found(id, [0, 0]);
        assert!(expected.0.len() > 100, "{} frames are compared", expected.0.len());
        assert!(found(id, [u64::MAX, 0x5EED]) == expected, "slice {id}");
    }
}
