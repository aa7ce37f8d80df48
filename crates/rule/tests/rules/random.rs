//! Random rules against an evaluator that shares nothing with the crate's, and random text against no expectation but
//! that nothing panics.

mod draw;
mod text;
mod tree;

use dovetail_rule::{EvalError, Reason, Rule, SOURCE_BYTES_MAX, Side, Value, ValueKind};

use crate::schema;
use draw::{Random, random_row};
use tree::{Found, Tree};

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
            let rows = [random_row(&mut random, &schema()), random_row(&mut random, &schema())];
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
