//! What happens in a model: a few elements, which pairs of them match, and where they are homed.

use std::{fmt, sync::Arc};

use dovetail_core::{
    Audience, ElementId, Event, EventId, EventKind, LogFrame, Placement, Pool, PoolDefinition, PoolId, Retirement,
    Ring, ShardId, Stable, WithdrawReason, oracle::Oracle,
};
use dovetail_rule::{AttributeType, Row, Schema, Split, Value};
use serde::Serialize;

use super::wire::{SHARDS, shard_id, slice_id};

/// Neighbouring events are so far apart, in milliseconds.
const STEP_MS: u64 = 10;
/// A reprobe comes so much later, in milliseconds.
const LATE_MS: u64 = 1_000;

/// One event of the log, by the elements' order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Op {
    /// The next element arrives.
    Arrive,
    /// An element is withdrawn.
    Withdraw(u8),
    /// An element searches again, late.
    Reprobe(u8),
}

/// Which pairs match: of elements numbered from 0 in the order of their arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Relation {
    /// Pairs that match whenever they meet, one bit for each pair, (0,1), (0,2), (1,2), (0,3) and so on.
    pub always: u16,
    /// Pairs that match only in a reprobe.
    pub late: u16,
}

/// Everything that is fixed before anything happens.
#[derive(Clone, Debug)]
pub struct Script {
    /// The events, in order.
    pub ops: Vec<Op>,
    /// The rule.
    pub relation: Relation,
    /// The shard of each element.
    pub homes: Vec<u8>,
    /// The key of each element: only elements of one key match. Key `k` is searched by slice `k` and homed at shard `k`.
    /// None where the pool is split by element.
    pub keys: Vec<u8>,
    /// Whether all events are in one frame, or each in its own.
    pub one_frame: bool,
}

/// Keys of different slices, and so of different shards.
const KEYS: u8 = 2;

impl Script {
    /// Of a pool that is split by element, each event in its own frame.
    #[must_use]
    pub fn by_element(ops: Vec<Op>, relation: Relation, homes: Vec<u8>) -> Script {
        Script { ops, relation, homes, keys: Vec::new(), one_frame: false }
    }

    /// Of a pool that is split by key.
    #[must_use]
    pub fn by_key(ops: Vec<Op>, relation: Relation, keys: Vec<u8>, one_frame: bool) -> Script {
        Script { ops, relation, homes: keys.clone(), keys, one_frame }
    }
}

fn pairs(elements: usize) -> impl Iterator<Item = (usize, usize)> {
    (1..elements).flat_map(|b| (0..b).map(move |a| (a, b)))
}

impl Relation {
    /// All relations among so many elements; with pairs that match late, if asked for.
    #[must_use]
    pub fn all(elements: usize, late: bool) -> Vec<Relation> {
        let bits = u16::try_from(elements * (elements - 1) / 2).expect("few elements");
        let always = 0..1u16 << bits;
        let none_late = always.clone().map(|always| Relation { always, late: 0 });
        if !late {
            return none_late.collect();
        }
        let disjoint = |always: u16| (0..1u16 << bits).filter(move |late| always & late == 0);
        always.flat_map(|always| disjoint(always).map(move |late| Relation { always, late })).collect()
    }

    fn rule(self, elements: usize) -> String {
        let pair = |(bit, (a, b)): (usize, (usize, usize))| {
            let base = format!("(a.n == {a} && b.n == {b}");
            if self.always >> bit & 1 == 1 {
                Some(base + ")")
            } else if self.late >> bit & 1 == 1 {
                Some(format!("{base} && a.waited >= {LATE_MS})"))
            } else {
                None
            }
        };
        let terms: Vec<String> = pairs(elements).enumerate().filter_map(pair).collect();
        if terms.is_empty() { "a.n == 99 && b.n == 99".to_owned() } else { terms.join(" || ") }
    }

    /// For people: `01 12~`, where `~` marks a pair that matches late.
    #[must_use]
    pub fn shown(self, elements: usize) -> String {
        let named = |(bit, (a, b)): (usize, (usize, usize))| {
            let mark = if self.always >> bit & 1 == 1 { Some("") } else { (self.late >> bit & 1 == 1).then_some("~") };
            mark.map(|mark| format!("{a}{b}{mark}"))
        };
        let shown: Vec<String> = pairs(elements).enumerate().filter_map(named).collect();
        if shown.is_empty() { "none".to_owned() } else { shown.join(" ") }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut arrived = 0;
        for op in &self.ops {
            match op {
                Op::Arrive => write!(f, "a{arrived} ")?,
                Op::Withdraw(element) => write!(f, "w{element} ")?,
                Op::Reprobe(element) => write!(f, "r{element} ")?,
            }
            arrived += u8::from(*op == Op::Arrive);
        }
        let text = |of: &[u8]| of.iter().map(u8::to_string).collect::<String>();
        match &self.keys[..] {
            [] => write!(f, "homes {}", text(&self.homes))?,
            keys => write!(f, "keys {}", text(keys))?,
        }
        let frame = if self.one_frame { ", one frame" } else { "" };
        write!(f, " pairs {}{frame}", self.relation.shown(self.homes.len()))
    }
}

/// All scripts of so many elements: every pattern of homes up to renaming, every relation; of arrivals alone, and with
/// one withdrawal or one reprobe at each place where it can be.
#[must_use]
pub fn families(elements: usize, arrivals: bool, withdrawal: bool, reprobe: bool) -> Vec<Script> {
    let mut all = Vec::new();
    if arrivals {
        all.push((vec![Op::Arrive; elements], false));
    }
    let count = u8::try_from(elements).expect("few elements");
    // At the end, or before a later arrival.
    let places = |element: u8| usize::from(element) + 1..=elements;
    let mut with = |op: fn(u8) -> Op, late: bool| {
        for element in 0..count {
            for place in places(element) {
                let mut ops = vec![Op::Arrive; elements];
                ops.insert(place, op(element));
                all.push((ops, late));
            }
        }
    };
    if withdrawal {
        with(Op::Withdraw, false);
    }
    if reprobe {
        with(Op::Reprobe, true);
    }
    let mut scripts = Vec::new();
    for (ops, late) in all {
        for homes in homes(elements) {
            let relations = Relation::all(elements, late);
            let script = |relation| Script::by_element(ops.clone(), relation, homes.clone());
            scripts.extend(relations.into_iter().map(script));
        }
    }
    scripts
}

/// All scripts of so many elements that arrive in a pool that is split by key: every pattern of keys that begins with
/// the first, every relation among those of one key, each in its own frame or all in one.
#[must_use]
pub fn keyed(elements: usize) -> Vec<Script> {
    let patterns = usize::from(KEYS).pow(u32::try_from(elements - 1).expect("few elements"));
    let mut scripts = Vec::new();
    for pattern in 0..patterns {
        let key = |at: usize| u8::try_from(pattern / usize::from(KEYS).pow(at as u32) % usize::from(KEYS));
        let keys: Vec<u8> = [0].into_iter().chain((0..elements - 1).map(|at| key(at).expect("few keys"))).collect();
        let apart = pairs(elements).enumerate().filter(|&(_, (a, b))| keys[a] != keys[b]);
        let apart: u16 = apart.map(|(bit, _)| 1 << bit).sum();
        for relation in Relation::all(elements, false).into_iter().filter(|relation| relation.always & apart == 0) {
            let script = |one_frame| Script::by_key(vec![Op::Arrive; elements], relation, keys.clone(), one_frame);
            scripts.extend([false, true].map(script));
        }
    }
    scripts
}

/// Patterns of homes that use both shards, up to renaming these.
fn homes(elements: usize) -> Vec<Vec<u8>> {
    let patterns = 1..1u16 << (elements - 1);
    patterns
        .map(|bits| (0..elements).map(|element| u8::from(element > 0 && bits >> (element - 1) & 1 == 1)).collect())
        .collect()
}

/// A script, made ready: the pool, ids, frames, and what should become of it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) placement: Placement,
    pub(super) definition: Arc<PoolDefinition>,
    /// The event that defines the pool; everything starts there.
    pub(super) start: EventId,
    /// By event after the start.
    pub(super) events: Vec<Event>,
    /// Where elements are homed, in the order of their arrival.
    homes: Vec<(ElementId, ShardId)>,
    one_frame: bool,
    /// By event after the start.
    truth: Vec<Option<Retirement>>,
}

impl Plan {
    pub(super) fn new(script: &Script) -> Plan {
        let placement = Placement::new(2, 1, Arc::new(Ring::new(u32::try_from(SHARDS).expect("few"), 8)));
        let relation = script.relation.rule(script.homes.len());
        let by_key = !script.keys.is_empty();
        let definition = Arc::new(PoolDefinition {
            name: "model".to_owned(),
            attributes: ["n", "k"].map(|name| (name.to_owned(), AttributeType::Int)).to_vec(),
            rule: if by_key { format!("a.k == b.k && ({relation})") } else { relation },
            ttl_ms: 0,
            reprobe_ms: Vec::new(),
            waiting_max: 0,
            payload_bytes_max: 0,
        });
        let start = if by_key { EventId(1) } else { start(script, &placement) };
        let one_frame = script.one_frame;
        let (events, homes, truth) = (Vec::new(), Vec::new(), Vec::new());
        let mut plan = Plan { placement, definition, start, events, homes, one_frame, truth };
        plan.fill(script);
        plan
    }

    /// The last event.
    pub(super) fn end(&self) -> EventId {
        EventId(self.start.0 + self.events.len() as u64)
    }

    /// From the start to the last event.
    pub(super) fn cursors(&self) -> impl Iterator<Item = EventId> {
        (self.start.0..=self.end().0).map(EventId)
    }

    /// `time(x)`.
    fn time_ms(&self, x: EventId) -> u64 {
        // All of a frame have one time.
        let x = if self.one_frame { self.start.next() } else { x };
        let event = &self.events[self.at(x)];
        let late = if matches!(event.kind, EventKind::Reprobe { .. }) { LATE_MS } else { 0 };
        let before = self.events[..self.at(x)].iter().any(|event| matches!(event.kind, EventKind::Reprobe { .. }));
        let late = if before { LATE_MS } else { late };
        x.0 * STEP_MS + late
    }

    /// The frame that begins with an event; opened at the stable cut of the start.
    pub(super) fn frame(&self, x: EventId) -> LogFrame {
        let from = self.at(x);
        let events = if self.one_frame { &self.events[from..] } else { &self.events[from..=from] }.to_vec();
        let through = events.last().expect("it has an event").x;
        let (time_ms, stable) = (self.time_ms(x), self.start);
        LogFrame { after: x.prev(), through, time_ms, stable: Stable(stable), audience: Audience::All, events }
    }

    /// Where an element is homed.
    pub(super) fn home(&self, element: ElementId) -> ShardId {
        let (_, home) = self.homes.iter().find(|(id, _)| *id == element).expect("it is of the script");
        *home
    }

    /// What the oracle decides at an event.
    pub(super) fn decides(&self, x: EventId) -> Option<Retirement> {
        self.truth.get(self.at(x)).copied().flatten()
    }

    /// What the oracle decides in `(after, through]`.
    pub(super) fn decided(&self, after: EventId, through: EventId) -> impl Iterator<Item = Retirement> + '_ {
        (after.0.max(self.start.0) + 1..=through.0).filter_map(|x| self.decides(EventId(x)))
    }

    pub(super) fn at(&self, x: EventId) -> usize {
        usize::try_from(x.0 - self.start.0 - 1).expect("few events")
    }

    fn fill(&mut self, script: &Script) {
        let schema = Schema::new(self.definition.attributes.iter().cloned()).expect("two attributes");
        let row = |n: usize, k: Option<i64>| {
            let n = ("n".to_owned(), Value::Int(i64::try_from(n).expect("few")));
            let k = k.map(|k| ("k".to_owned(), Value::Int(k)));
            Arc::new(Row::from_named(&schema, [n].into_iter().chain(k)).expect("they are in the schema"))
        };
        let pool = PoolId(0);
        let compiled = Pool::compile(pool, Arc::clone(&self.definition)).expect("the rule compiles");
        assert_eq!(compiled.split() == Split::Key, !script.keys.is_empty(), "{:?}", self.definition);
        // The first value of a key that is searched and homed where it is to be.
        let value = |n: usize, key: u8| {
            let fits = |&k: &i64| {
                let place = compiled.place(ElementId(0), &row(n, Some(k)));
                let (owner, home) = (self.placement.owner(place), self.placement.home(place));
                (owner, home) == (slice_id(key), shard_id(key))
            };
            (0..).find(fits).expect("every place occurs")
        };
        let mut arrived: Vec<(ElementId, Arc<Row>)> = Vec::new();
        for (op, x) in script.ops.iter().zip(self.start.0 + 1..) {
            let x = EventId(x);
            let kind = match *op {
                Op::Arrive => {
                    let n = arrived.len();
                    let row = row(n, script.keys.get(n).map(|&key| value(n, key)));
                    arrived.push((x.into(), Arc::clone(&row)));
                    self.homes.push((x.into(), shard_id(script.homes[n])));
                    EventKind::Arrival { pool, row }
                }
                Op::Withdraw(element) => {
                    let (element, _) = arrived[usize::from(element)];
                    EventKind::Withdrawal { element, pool, reason: WithdrawReason::Client }
                }
                Op::Reprobe(element) => {
                    let (element, row) = arrived[usize::from(element)].clone();
                    EventKind::Reprobe { element, pool, arrived_ms: self.time_ms(element.arrival()), row }
                }
            };
            self.events.push(Event { x, kind });
        }
        let mut oracle = Oracle::new();
        let defined = EventKind::PoolDefined { pool, definition: Arc::clone(&self.definition) };
        oracle.on_event(self.start, 0, &defined).expect("the rule compiles");
        for event in &self.events {
            let decided = oracle.on_event(event.x, self.time_ms(event.x), &event.kind);
            self.truth.push(decided.expect("only a definition fails"));
        }
    }
}

/// The first id after which the elements have the homes asked for.
fn start(script: &Script, placement: &Placement) -> EventId {
    let arrivals = || script.ops.iter().zip(1u64..).filter(|(op, _)| **op == Op::Arrive);
    assert_eq!(arrivals().count(), script.homes.len(), "each element has a home");
    let fits = |start: u64| {
        arrivals()
            .zip(&script.homes)
            .all(|((_, offset), &home)| placement.home_of(ElementId(start + offset)).0 == u32::from(home))
    };
    // Odd, so that the first element is owned by slice 0.
    (1..).step_by(2).map(EventId).find(|start| fits(start.0)).expect("every pattern occurs on a ring")
}
