//! That a filter only turns away what the rule does not want: invariants filter.F1, key.K1 and plan.P1, on random rules
//! and rows.
//!
//! Cells and bounds are given their meaning here, one pair at a time and without any table.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use super::Plan;
use crate::eval::{Absent, Outcome, Pair};
use crate::expr::End;
use crate::filter::{
    Asked, Bound, Column, DOUBLE_CELL_MAX, INT_CELL_MAX, INT_MISSING, Node, Operand, Probe, SYMBOL_MISSING,
    SYMBOL_UNKNOWN, Store,
};
use crate::random::draw::{self, Random};
use crate::random::{shaped, tree};
use crate::{Row, Rule, Schema, Side, Value, ValueKind};

/// A cell of any store.
#[derive(Debug, Clone, Copy)]
enum Cell {
    Int(i32),
    Double(f32),
    Symbol(u32),
    Set(u64),
    Bit(bool),
}

/// The anchor as columns, and the strings it brought.
struct Lane {
    cells: Vec<Cell>,
    wild: bool,
    symbols: HashMap<String, u32>,
}

impl Lane {
    fn of(plan: &Plan, row: &Row) -> Lane {
        let mut lane = Lane { cells: vec![], wild: false, symbols: HashMap::new() };
        for column in plan.columns() {
            let cell = lane.cell(column, row);
            lane.cells.push(cell);
        }
        lane
    }

    fn cell(&mut self, column: &Column, row: &Row) -> Cell {
        // The other end is never looked at.
        let nobody = Row::from_values([]);
        let pair = Pair { a: Side { row, waited_ms: 0 }, b: Side { row: &nobody, waited_ms: 0 } };
        match column.store {
            Store::Int => {
                let int = self.value(pair.int(&column.expr));
                self.wild |= int.is_some_and(|int| !(-INT_CELL_MAX..=INT_CELL_MAX).contains(&int));
                Cell::Int(int.map_or(INT_MISSING, |int| int as i32))
            }
            Store::Double => {
                let double = self.value(pair.double(&column.expr));
                self.wild |= double.is_some_and(|double| double.abs() > DOUBLE_CELL_MAX);
                Cell::Double(double.map_or(f32::NAN, |double| double as f32))
            }
            Store::Symbol => {
                let text = self.value(pair.string(&column.expr).map(str::to_owned));
                Cell::Symbol(text.map_or(SYMBOL_MISSING, |text| self.symbol(&text)))
            }
            Store::Set => {
                let list = self
                    .value(pair.list(&column.expr).map(|list| list.iter().map(Box::<str>::from).collect::<Vec<_>>()))
                    .unwrap_or_default();
                Cell::Set(list.iter().fold(0, |set, entry| set | 1 << (self.symbol(entry) & 63)))
            }
            Store::Bit => Cell::Bit(!matches!(pair.bool(&column.expr), Ok(false) | Err(Absent::Missing))),
        }
    }

    fn value<T>(&mut self, outcome: Outcome<T>) -> Option<T> {
        self.wild |= matches!(outcome, Err(Absent::Error(_)));
        outcome.ok()
    }

    fn symbol(&mut self, text: &str) -> u32 {
        let next = self.symbols.len() as u32 + 1;
        *self.symbols.entry(text.to_owned()).or_insert(next)
    }

    fn survives(&self, plan: &Plan, anchor: End, asked: &Asked) -> bool {
        // A table that finds nothing to look for need not look for wild lanes.
        let root = plan.root(anchor);
        !never(root, asked) && (self.wild || self.passes(plan, root, asked))
    }

    fn passes(&self, plan: &Plan, node: &Node, asked: &Asked) -> bool {
        match node {
            Node::All(of) => of.iter().all(|node| self.passes(plan, node, asked)),
            Node::Any(of) => of.iter().any(|node| self.passes(plan, node, asked)),
            Node::Leaf { bound, of } => match (asked.bounds[*bound], of) {
                (Bound::Never, _) => false,
                (Bound::Always, _) => true,
                (bound, Operand::Column(column)) => within(self.cells[*column], bound),
                (Bound::Sum { from, limit }, Operand::Sum(sum)) => self.near(plan, *sum, from, limit, asked),
                other => panic!("{other:?}"),
            },
        }
    }

    /// As the seam between planner and table has it, with a block of this lane alone.
    fn near(&self, plan: &Plan, sum: usize, from: usize, limit: f64, asked: &Asked) -> bool {
        let sum = &plan.sums()[sum];
        let (points, weights) = (&asked.points[from..], &asked.weights[from..]);
        let (mut total, mut reach, mut place, mut most) = (0.0_f32, 0.0, 0.0, 0.0_f64);
        for (index, column) in sum.columns.iter().enumerate() {
            let (point, weight) = (points[index], weights[index]);
            assert!(point.abs() <= DOUBLE_CELL_MAX && (0.0..=DOUBLE_CELL_MAX).contains(&weight));
            let difference = match self.cells[*column] {
                Cell::Int(INT_MISSING) => return false,
                Cell::Int(int) => {
                    reach += f64::from(int).abs();
                    int.checked_sub(point as i32).unwrap() as f32
                }
                Cell::Double(double) => {
                    reach += f64::from(double).abs();
                    double - point as f32
                }
                other => panic!("{other:?}"),
            };
            let part = if sum.squared { difference * difference } else { difference.abs() };
            total += weight as f32 * part;
            place += point.abs();
            most = most.max(weight);
        }
        let error = 2.0_f64.powi(-22) * (reach + place);
        let limit = match sum.squared {
            true => (limit.sqrt() + most.sqrt() * error).powi(2),
            false => limit + most * error,
        };
        // NaN is a missing cell.
        total <= ((limit * (1.0 + 2.0_f64.powi(-16))) as f32).next_up()
    }
}

fn never(node: &Node, asked: &Asked) -> bool {
    match node {
        Node::All(of) => of.iter().any(|node| never(node, asked)),
        Node::Any(of) => of.iter().all(|node| never(node, asked)),
        Node::Leaf { bound, .. } => asked.bounds[*bound] == Bound::Never,
    }
}

fn within(cell: Cell, bound: Bound) -> bool {
    match (cell, bound) {
        (Cell::Int(cell), Bound::Int { low, high }) => {
            assert!(low > INT_MISSING);
            low <= cell && cell <= high
        }
        (Cell::Int(cell), Bound::IntNot(value)) => cell != INT_MISSING && cell != value,
        (Cell::Double(cell), Bound::Double { low, high }) => {
            assert!(!low.is_nan() && !high.is_nan());
            low <= cell && cell <= high
        }
        (Cell::Symbol(cell), Bound::Symbol(symbol)) => cell == symbol,
        (Cell::Symbol(cell), Bound::SymbolNot(symbol)) => cell != SYMBOL_MISSING && cell != symbol,
        (Cell::Symbol(cell), Bound::SymbolIn(set)) => cell != SYMBOL_MISSING && set >> (cell & 63) & 1 == 1,
        (Cell::Set(cell), Bound::Set(set)) => cell & set != 0,
        (Cell::Bit(cell), Bound::Bit) => cell,
        other => panic!("{other:?}"),
    }
}

/// What was seen, so that a run that tests nothing is noticed.
#[derive(Debug, Default)]
struct Seen {
    pairs: usize,
    wanted: usize,
    refused: usize,
    dropped: usize,
    columns: usize,
    sums: usize,
    keyed: usize,
}

fn schema() -> Schema {
    let kinds = ["ij", "de", "st", "fg", "lm"].into_iter().zip(ValueKind::ALL);
    let attributes = kinds.flat_map(|(names, kind)| names.chars().map(move |name| (name.to_string(), kind)));
    Schema::new(attributes).unwrap()
}

/// Checks every pair of `rows`, with either as the prober.
fn check(rule: &Rule, rows: &[(Row, i64)], seen: &mut Seen, context: &str) {
    let plan = rule.plan();
    let mut asked = Asked::default();
    seen.columns += plan.columns().len();
    seen.sums += plan.sums().len();
    seen.keyed += usize::from(plan.keyed());
    let lanes: Vec<Lane> = rows.iter().map(|(row, _)| Lane::of(plan, row)).collect();
    for (x, (a, a_waited)) in rows.iter().enumerate() {
        for (y, (b, b_waited)) in rows.iter().enumerate() {
            let sides = [Side { row: a, waited_ms: *a_waited }, Side { row: b, waited_ms: *b_waited }];
            let outcome = rule.test(sides[0], sides[1]);
            let keys = [a, b].map(|row| plan.key_hash(row));
            let same_key = keys[0].is_some() && keys[0] == keys[1];
            let wanted = outcome != Ok(false);
            assert!(!wanted || same_key, "{context}: {} has other keys {keys:?}\n{a:?}\n{b:?}", rule.source());
            for (anchor, lane, anchors, probers) in [(End::A, x, 0, 1), (End::B, y, 1, 0)] {
                let lane = &lanes[lane];
                let oldest_waited_ms = sides[anchors].waited_ms + (seen.pairs % 3) as i64;
                let probe = Probe { side: sides[probers], oldest_waited_ms };
                let symbol = |text: &str| lane.symbols.get(text).copied().unwrap_or(SYMBOL_UNKNOWN);
                plan.ask(anchor, &probe, &symbol, &mut asked);
                let survives = lane.survives(plan, anchor, &asked);
                seen.pairs += 1;
                seen.wanted += usize::from(wanted);
                seen.refused += usize::from(!wanted);
                seen.dropped += usize::from(!survives);
                assert!(
                    survives || !wanted,
                    "{context}: {} is {outcome:?}, but dropped with anchor {anchor}\n{a:?} {a_waited}\n{b:?} {b_waited}\n{plan}\n{:?}",
                    rule.source(),
                    asked.bounds
                );
            }
        }
    }
}

/// Rules with these seeds, on a handful of elements each.
fn run(seeds: std::ops::Range<u64>) -> Seen {
    let (schema, mut seen) = (schema(), Seen::default());
    for seed in seeds {
        let mut random = Random(seed);
        let random = &mut random;
        let source = if seed % 4 == 0 {
            let depth = 1 + random.below(4);
            tree::Tree::generate(random, ValueKind::Bool, depth).text(random)
        } else {
            shaped::rule(random)
        };
        let Ok(rule) = Rule::compile(&source, &schema) else { continue };
        let rows: Vec<(Row, i64)> = (0..5)
            .map(|_| {
                let row =
                    if random.one_in(8) { draw::random_row(random, &schema) } else { shaped::row(random, &schema) };
                (row, random.below(5_000) as i64)
            })
            .collect();
        check(&rule, &rows, &mut seen, &format!("seed {seed}"));
    }
    seen
}

#[test]
fn no_pair_that_the_rule_wants_or_fails_on_is_dropped() {
    // More with e.g. PLAN_SEEDS=1000000.
    let seeds = std::env::var("PLAN_SEEDS").map_or(3_000, |seeds| seeds.parse().unwrap());
    let seen = run(0..seeds);
    println!("{seen:?}");
    let Seen { pairs, wanted, refused, dropped, columns, sums, keyed } = seen;
    let rules = seeds as usize;
    assert!(pairs > 30 * rules && wanted > 3 * rules, "{seen:?}");
    assert!(dropped * 5 > refused * 2, "hardly anything is dropped: {seen:?}");
    assert!(columns > rules && sums > rules / 50 && keyed > rules / 20, "{seen:?}");
}

/// The bounds that a prober at `b`, with `i` 10, `d` 2.5, `s` "x", `l` ["x", "y"] and `f` true, sets for anchors that
/// have waited at most 4 s. It has waited for 2 s. "x" is symbol 1, and no other string waits.
fn bounds(source: &str) -> Vec<Bound> {
    let schema = schema();
    let rule = Rule::compile(source, &schema).unwrap_or_else(|error| panic!("{}", error.render(source)));
    let values = [("i", 10.into()), ("d", 2.5.into()), ("s", "x".into()), ("l", ["x", "y"].into()), ("f", true.into())];
    let row = Row::from_named(&schema, values.map(|(name, value): (&str, Value)| (name.to_owned(), value))).unwrap();
    let probe = Probe { side: Side { row: &row, waited_ms: 2_000 }, oldest_waited_ms: 4_000 };
    let mut asked = Asked::default();
    let symbol = |text: &str| if text == "x" { 1 } else { SYMBOL_UNKNOWN };
    rule.plan().ask(End::A, &probe, &symbol, &mut asked);
    asked.bounds
}

fn asks(source: &str, expected: &[Bound]) {
    assert_eq!(bounds(source), expected, "{source}");
}

const PRESENT: Bound = Bound::Int { low: -(1 << 30), high: 1 << 30 };
const NOTHING: Bound = Bound::Int { low: 1, high: 0 };

#[test]
fn int_bounds_are_exact() {
    let int = |low, high| [Bound::Int { low, high }];
    let (least, most) = (-(1 << 30), 1 << 30);
    asks("abs(a.i - b.i) <= 25", &int(-15, 35));
    asks("25 > abs(b.i - a.i)", &int(-14, 34));
    asks("abs(a.i - b.i) <= 25 + 5 * min(a.waited, b.waited) / 1000", &int(-25, 45));
    asks("abs(a.i - b.i) <= (a.waited > 5000 ? 100 : 50)", &int(-40, 60));
    asks("abs(a.i - b.i) <= (b.waited > 1000 ? 100 : 50)", &int(-90, 110));
    asks("a.i < b.i", &int(least, 9));
    asks("b.i <= a.i", &int(10, most));
    asks("a.j == b.i", &int(10, 10));
    asks("a.i != b.i", &[Bound::IntNot(10)]);
    asks(
        "a.i + b.i * 2 <= 50 && 3 * a.i == b.i",
        &[Bound::Int { low: least, high: 30 }, Bound::Int { low: 10, high: 10 }],
    );
    asks("-b.i < a.i - 3", &int(-9, most));
    asks("(a.i - b.i) * (a.i - b.i) <= 16", &int(6, 14));
    asks("max(abs(a.i - b.i), abs(a.j - b.i)) <= 2", &[Bound::Int { low: 8, high: 12 }; 2]);
    asks("a.i < b.d", &int(least, 2));
    asks("a.i in [b.i, 3]", &[Bound::Bit, Bound::Int { low: 10, high: 10 }]);
}

#[test]
fn a_missing_value_of_the_prober_turns_everyone_away() {
    for source in ["abs(a.i - b.j) <= 25", "a.i != b.j", "a.s == b.t", "a.i + b.j * a.j < 3", "b.t in a.l", "b.g"] {
        assert!(bounds(source).contains(&Bound::Never), "{source}: {:?}", bounds(source));
    }
}

#[test]
fn a_pair_that_may_be_an_error_is_let_through() {
    for source in ["a.i > 1 / (b.i - 10)", "a.i * 1000000000 * b.i * 1000000000 < 5", "b.i / a.i == 2 - b.i"] {
        assert_eq!(bounds(source), [Bound::Always], "{source}");
    }
}

#[test]
fn what_no_cell_holds_is_an_empty_range_that_spares_wild_lanes() {
    asks("a.i == b.i * 1000000000", &[NOTHING]);
    asks("abs(a.i - b.i) < 0", &[NOTHING]);
    asks("a.i < b.i * 1000000000", &[PRESENT]);
}

#[test]
fn time_alone_turns_everyone_away_or_nobody() {
    asks("a.waited >= 5000", &[Bound::Never]);
    asks("a.waited >= 3000", &[Bound::Always]);
    asks("b.waited >= 3000", &[Bound::Never]);
}

#[test]
fn strings_and_lists_are_asked_by_symbol() {
    asks("a.t == b.s", &[Bound::Symbol(1)]);
    asks("a.t == (b.f ? 'y' : 'x')", &[Bound::Symbol(SYMBOL_UNKNOWN)]);
    asks("a.s != b.s", &[Bound::SymbolNot(1)]);
    asks("a.s in b.l", &[Bound::SymbolIn(2)]);
    asks("b.s in a.l", &[Bound::Set(2)]);
    asks("a.l.intersects(b.l)", &[Bound::Set(2)]);
    asks("a.m == b.l", &[Bound::Set(2)]);
    asks("a.s in ['x', 'y']", &[Bound::Bit]);
}

#[test]
fn bug_a_branch_not_taken_may_be_missing() {
    // The columns of either branch were asked to be present, whichever was taken.
    let rule = Rule::compile("(b.f ? 1.5 : min(a.d, b.d)) > 1.0 && (a.f ? a.d * b.d : 3.5) > 1.0", &schema()).unwrap();
    let rows: Vec<(Row, i64)> = [Some(0.5), None]
        .into_iter()
        .flat_map(|d: Option<f64>| [true, false].map(|f| (d, f)))
        .map(|(d, f)| {
            let mut values = vec![("f".to_owned(), Value::Bool(f))];
            values.extend(d.map(|d| ("d".to_owned(), Value::Double(d))));
            (Row::from_named(&schema(), values).unwrap(), 0)
        })
        .collect();
    check(&rule, &rows, &mut Seen::default(), "by hand");
}
