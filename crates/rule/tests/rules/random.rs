//! Random rules against an evaluator that shares nothing with the crate's, and random text against no expectation but
//! that nothing panics.

mod text;
mod tree;

use dovetail_rule::{EvalError, Reason, Row, Rule, SOURCE_BYTES_MAX, Side, Value, ValueKind};

use crate::schema;
use tree::{Found, Tree};

/// A small seeded generator (SplitMix64), so that a failing seed can be run again.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

pub const INTS: [i64; 10] = [0, 1, -1, 2, 3, 7, i64::MAX, i64::MIN, (1 << 53) + 1, -1000];
pub const DOUBLES: [f64; 10] =
    [0.0, -0.0, 0.5, 1.0, -1.5, 2.0, 1e308, 9_007_199_254_740_992.0, 9_223_372_036_854_775_808.0, -1e-3];
pub const STRINGS: [&str; 6] = ["", "x", "y", "xy", "é", "a\"\\\n'"];

fn value(random: &mut Random, kind: ValueKind) -> Value {
    match kind {
        ValueKind::Int => Value::Int(random.pick(&INTS)),
        ValueKind::Double => match random.below(12) {
            0 => Value::Double(f64::NAN),
            1 => Value::Double(f64::INFINITY),
            _ => Value::Double(random.pick(&DOUBLES)),
        },
        ValueKind::String => Value::from(random.pick(&STRINGS)),
        ValueKind::Bool => Value::Bool(random.one_in(2)),
        ValueKind::StringList => {
            let len = if random.one_in(4) { 20 } else { random.below(4) };
            Value::StringList((0..len).map(|_| random.pick(&STRINGS).into()).collect())
        }
    }
}

fn random_row(random: &mut Random) -> Row {
    let schema = schema();
    let slot = |kind| if random.one_in(5) { None } else { Some(value(random, kind)) };
    let values = schema.attributes().iter().map(|attribute| attribute.kind).map(slot).collect();
    Row::new(&schema, values).unwrap()
}

fn expected(tree: &Tree, a: Side<'_>, b: Side<'_>) -> Result<bool, EvalError> {
    match tree.evaluate(a, b) {
        Found::Value(Value::Bool(bool)) => Ok(bool),
        Found::Value(other) => panic!("{other:?} is no bool"),
        Found::Missing => Ok(false),
        Found::Error(error) => Err(error),
    }
}

#[test]
fn random_rules_mean_what_an_independent_evaluator_says_and_print_as_they_read() {
    let (mut evaluated, mut outcomes) = (0, [0; 3]);
    for seed in 0..6_000 {
        let mut random = Random(seed);
        let depth = 1 + random.below(5);
        let tree = Tree::generate(&mut random, ValueKind::Bool, depth);
        let source = tree.text(&mut random);
        let rule = match Rule::compile(&source, &schema()) {
            Ok(rule) => rule,
            Err(error) => {
                let bounded = matches!(
                    error.reason,
                    Reason::SourceTooLong { .. }
                        | Reason::CostTooHigh { .. }
                        | Reason::DivisionByZero
                        | Reason::EmptyIn
                );
                assert!(bounded, "seed {seed}: {}", error.render(&source));
                continue;
            }
        };
        let printed = rule.expr().to_string();
        if printed.len() <= SOURCE_BYTES_MAX {
            let again = Rule::compile(&printed, &schema())
                .unwrap_or_else(|error| panic!("seed {seed}: {source}\n{}", error.render(&printed)));
            assert_eq!(again.expr(), rule.expr(), "seed {seed}: {source}");
        }
        for _ in 0..20 {
            let rows = [random_row(&mut random), random_row(&mut random)];
            let [a, b] = [&rows[0], &rows[1]].map(|row| Side { row, waited_ms: random.below(5_000) as i64 });
            let expected = expected(&tree, a, b);
            assert_eq!(rule.test(a, b), expected, "seed {seed}: {source}\n{a:?}\n{b:?}");
            assert_eq!(rule.matches(a, b), expected == Ok(true));
            evaluated += 1;
            outcomes[match expected {
                Ok(true) => 0,
                Ok(false) => 1,
                Err(_) => 2,
            }] += 1;
        }
    }
    assert!(evaluated > 80_000, "only {evaluated} evaluated");
    assert!(outcomes.iter().all(|count| *count > 1_000), "true, false, error: {outcomes:?}");
}
