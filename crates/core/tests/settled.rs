//! Slices that settle, on random logs, against the sequential program: the same matches and withdrawals, the same
//! elements left, and the same number of pairs on which rules failed. No faults and no network: the simulator has
//! these, but its pools are small. Here enough wait that slices look ahead.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{collections::BTreeMap, sync::Arc};

use dovetail_core::{
    Audience, ColumnFrame, Decided, DecisionFrame, ElementId, Event, EventId, EventKind, LogFrame, Placement,
    PoolDefinition, PoolId, Retirement, Ring, ShardId, SliceId, Stable, WithdrawReason,
    batch::Column,
    column_frame::Arrivals,
    oracle::Oracle,
    slice::{SliceCut, SliceEffect, Slices},
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

fn in_rows(frame: &LogFrame) -> Arc<ColumnFrame> {
    Arc::new(ColumnFrame::new(frame.clone(), Vec::new()).unwrap())
}

fn in_columns(frame: &LogFrame) -> Arc<ColumnFrame> {
    Arc::new(ColumnFrame::in_columns(frame.clone()).unwrap())
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
            Slices::new(&placement, &[SliceId(id)], 16, Secret([seed, !seed]), SliceCut::default()).unwrap();
        for frame in &frames {
            let mut out = Vec::new();
            slice.on_frame(&in_columns(frame), &mut out).unwrap();
            for shard in 0..3 {
                let decided =
                    DecisionFrame { retirements: vec![], grants: vec![], decided: Some(Decided(frame.through)) };
                slice.on_decisions(ShardId(shard), &decided, &mut out).unwrap();
            }
            settled.extend(out.iter().flat_map(|SliceEffect::Frame { frame, .. }| frame.settled.iter().copied()));
        }
        let slice = slice.get(SliceId(id));
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
        let mut slice = Slices::new(&placement, &[SliceId(id)], 16, Secret(secret), cut).unwrap();
        for frame in &frames {
            slice.on_frame(&in_columns(frame), &mut out).unwrap();
            for shard in 0..3 {
                let decided =
                    DecisionFrame { retirements: vec![], grants: vec![], decided: Some(Decided(frame.through)) };
                slice.on_decisions(ShardId(shard), &decided, &mut out).unwrap();
            }
        }
        (out, slice.get(SliceId(id)).pools().map(|pool| pool.rule_errors).sum::<u64>())
    };
    for id in 0..2 {
        let expected = found(id, [0, 0]);
        assert!(expected.0.len() > 100, "{} frames are compared", expected.0.len());
        assert!(found(id, [u64::MAX, 0x5EED]) == expected, "slice {id}");
    }
}

/// Slices of a matcher that hear of decisions late, and so wait in the middle of frames: by slice what each sends, and
/// how far it is, again and again, and at the end the pairs on which rules failed and what waits.
fn found(
    seed: u64,
    (ids, placement): (&[SliceId], &Placement),
    frames: &[Arc<ColumnFrame>],
    decided: &[Retirement],
) -> BTreeMap<SliceId, Found> {
    let mut random = Random(seed);
    let mut slices = Slices::new(placement, ids, 2, Secret([seed, 1]), SliceCut::default()).unwrap();
    slices.look_ahead_from(20);
    slices.set_complete_view_max([0, 12][usize::try_from(seed % 2).unwrap()]);
    let (mut found, mut lag): (BTreeMap<SliceId, Found>, u64) = (BTreeMap::new(), 0);
    let decide = |slices: &mut Slices, through: EventId, out: &mut Vec<SliceEffect>| {
        for shard in 0..3 {
            let retirements = decided.iter().filter(|retirement| retirement.x <= through).copied().collect();
            let frame = DecisionFrame { retirements, grants: vec![], decided: Some(Decided(through)) };
            slices.on_decisions(ShardId(shard), &frame, out).unwrap();
        }
    };
    let mut note = |slices: &Slices, out: Vec<SliceEffect>| {
        for slice in slices.iter() {
            let of_slice =
                |effect: &&SliceEffect| matches!(effect, SliceEffect::Frame { slice: of, .. } if *of == slice.id());
            let out = out.iter().filter(of_slice).cloned().collect();
            found.entry(slice.id()).or_default().sent.push((slice.through(), out));
        }
    };
    let mut told = EventId::ZERO;
    for frame in frames {
        let mut out = Vec::new();
        slices.on_frame(frame, &mut out).unwrap();
        lag = if random.below(3) == 0 { random.below(300) } else { lag };
        // Alike for one slice and for several: what is decided does not depend on how far they are.
        told = told.max(EventId(frame.through().0.saturating_sub(lag)));
        decide(&mut slices, told, &mut out);
        note(&slices, out);
    }
    for through in told.0..frames.last().unwrap().through().0 {
        let mut out = Vec::new();
        decide(&mut slices, EventId(through), &mut out);
        note(&slices, out);
    }
    for slice in slices.iter() {
        assert_eq!(slice.through(), frames.last().unwrap().through(), "seed {seed}, {}", slice.id());
        let found = found.get_mut(&slice.id()).unwrap();
        found.errors = slice.pools().map(|pool| (pool.rule_errors, pool.waiting)).collect();
        found.anchors = slice.anchors().collect();
        found.anchors.sort_unstable();
        assert_eq!(found.anchors.len(), found.errors.iter().map(|&(_, waiting)| waiting).sum::<usize>());
        found.stalls = slice.stalls();
    }
    found
}

/// What a slice did.
#[derive(Debug, Default, PartialEq)]
struct Found {
    /// How far it was, and what it sent until then.
    sent: Vec<(EventId, Vec<SliceEffect>)>,
    /// By pool: pairs on which the rule failed, and how many wait.
    errors: Vec<(u64, usize)>,
    anchors: Vec<ElementId>,
    stalls: u64,
}

#[test]
fn slices_of_one_matcher_do_what_each_would_do_alone() {
    let rules: Vec<&str> = BY_INDEX.iter().chain(&BY_KEY).copied().chain(["true"]).collect();
    let few = &rules[..3];
    let mut apart = 0;
    for (seed, slices) in (0..).zip([2, 3, 5, 4, 6, 3, 2, 4]) {
        let rules = if seed % 3 == 2 { few } else { &rules };
        let frames = log(&mut Random(seed + 90), rules, 1_500);
        let decided = decided(&frames);
        let columns: Vec<_> = frames.iter().map(|frame| in_columns(frame)).collect();
        let placement = Placement::new(slices, 8, Arc::new(Ring::new(3, 4)));
        let ids: Vec<SliceId> = placement.each_slice().filter(|id| id.0 != slices / 2 || seed % 2 == 0).collect();
        let together = found(seed, (&ids, &placement), &columns, &decided);
        let far = |of: &Found| of.sent.iter().map(|&(through, _)| through).collect::<Vec<_>>();
        let all: Vec<Vec<EventId>> = together.values().map(far).collect();
        apart += (0..all[0].len()).filter(|&at| all.iter().any(|of| of[at] != all[0][at])).count();
        for id in ids {
            let alone = found(seed, (&[id], &placement), &columns, &decided);
            assert!(alone[&id] == together[&id], "seed {seed}, slice {id}");
        }
    }
    assert!(apart > 100, "{apart} times slices were not at the same event");
}

/// What the sequential program decides.
fn decided(frames: &[Arc<LogFrame>]) -> Vec<Retirement> {
    let mut oracle = Oracle::new();
    let all = frames.iter().flat_map(|frame| frame.events.iter().map(|event| (event, frame.time_ms)));
    all.filter_map(|(event, time_ms)| oracle.on_event(event.x, time_ms, &event.kind).unwrap()).collect()
}

#[test]
fn arrivals_in_columns_and_in_rows_have_the_same_effects() {
    let rules: Vec<&str> = BY_INDEX.iter().chain(&BY_KEY).copied().chain(["true"]).collect();
    let mut stalls = 0;
    for (seed, slices) in (0..).zip([1, 2, 3, 2, 5, 3]) {
        let frames = log(&mut Random(seed + 40), &rules, 1_500);
        let decided = decided(&frames);
        let rows: Vec<_> = frames.iter().map(|frame| in_rows(frame)).collect();
        let columns: Vec<_> = frames.iter().map(|frame| in_columns(frame)).collect();
        assert!(frames.iter().zip(&columns).all(|(frame, columns)| columns.to_events() == **frame));
        let placement = Placement::new(slices, 8, Arc::new(Ring::new(3, 4)));
        for id in 0..slices {
            let ids = [SliceId(id)];
            let expected = found(seed, (&ids, &placement), &rows, &decided);
            let sent = &expected[&ids[0]].sent;
            stalls += sent.iter().zip(&frames).filter(|((through, _), frame)| *through < frame.through).count();
            assert!(found(seed, (&ids, &placement), &columns, &decided) == expected, "seed {seed}, slice {id}");
        }
    }
    assert!(stalls > 100, "{stalls} frames were not searched at once");
}

#[test]
fn a_row_of_columns_that_does_not_fit_its_pool_is_refused() {
    let rules = [BY_KEY[0]];
    let frames = log(&mut Random(3), &rules, 30);
    let arrivals = |columns: Vec<Column>| {
        let head = LogFrame { events: vec![], ..(*frames[0]).clone() };
        let head = LogFrame { after: frames[0].through, through: EventId(1_000), ..head };
        let xs = (0..3).map(|n| EventId(900 + n)).collect();
        Arc::new(ColumnFrame::new(head, vec![Arrivals::new(PoolId(0), xs, columns)]).unwrap())
    };
    let ints = |values: [Option<i64>; 3]| {
        let values = values.map(|value| value.map(Value::Int));
        Column::of(values.iter().map(Option::as_ref))
    };
    let texts = |values: [&str; 3]| {
        let values = values.map(|value| Some(Value::String(value.into())));
        Column::of(values.iter().map(Option::as_ref))
    };
    let missing = || Column::missing(3);
    let check = |columns: Vec<Column>, expected: Option<&str>| {
        let columns = arrivals(columns);
        // The same of rows.
        for frame in [in_rows(&columns.to_events()), columns] {
            let placement = Placement::new(2, 8, Arc::new(Ring::new(3, 4)));
            let mut slice = Slices::new(&placement, &[SliceId(0)], 16, Secret([1, 2]), SliceCut::default()).unwrap();
            let mut out = Vec::new();
            slice.on_frame(&in_columns(&frames[0]), &mut out).unwrap();
            let end = slice.on_frame(&frame, &mut out).err().map(|end| end.to_string());
            match expected {
                None => assert_eq!(end, None),
                Some(text) => assert!(end.as_ref().is_some_and(|end| end.contains(text)), "{end:?}"),
            }
        }
    };
    let six = |first: Column, s: Column| vec![first, missing(), missing(), missing(), s, missing()];
    check(six(ints([Some(1), None, Some(2)]), texts(["a", "b", "a"])), None);
    check(six(texts(["a", "b", "a"]), texts(["a", "b", "a"])), Some("event x900: attribute \"n\" is string"));
    check(six(missing(), ints([None, None, Some(2)])), Some("event x902: attribute \"s\" is int"));
    // A column of another kind of which nobody has a value is one of nobody's.
    check(six(missing(), Column { present: vec![0].into(), ..ints([Some(1), Some(1), Some(2)]) }), None);
    check(six(missing(), texts(["a", &"x".repeat(5_000), "a"])), Some("event x901: attribute \"s\" has a string of"));
    check(vec![missing(); 5], Some("event x900: row has 5 values"));
    check(vec![missing(); 7], Some("event x900: row has 7 values"));
    check(Vec::new(), Some("event x900: row has 0 values"));
}
