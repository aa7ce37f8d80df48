//! Rules end to end: source in, answer or refusal out.

// Clippy allows `unwrap` in test functions, but not in their helpers.
#![allow(clippy::unwrap_used)]

mod adversarial;
mod help;
mod kinds;
mod plans;
mod printing;
mod random;
mod rows;
mod semantics;
mod syntax;

use dovetail_rule::{EvalError, Row, Rule, Schema, Side, Value, ValueKind};

/// Two attributes of every kind: `i j` int, `d e` double, `s t` string, `f g` bool, `l m` list of string.
fn schema() -> Schema {
    let kinds = ["ij", "de", "st", "fg", "lm"].into_iter().zip(ValueKind::ALL);
    let attributes = kinds.flat_map(|(names, kind)| names.chars().map(move |name| (name.to_string(), kind)));
    Schema::new(attributes).unwrap()
}

fn row(values: &[(&str, Value)]) -> Row {
    Row::from_named(&schema(), values.iter().map(|(name, value)| (name.to_string(), value.clone()))).unwrap()
}

/// What a rule says of a pair. Missing and false are one answer, as they are to a pool.
fn test(source: &str, a: &[(&str, Value)], b: &[(&str, Value)]) -> Result<bool, EvalError> {
    let rule = Rule::compile(source, &schema()).unwrap_or_else(|error| panic!("{}", error.render(source)));
    let (a, b) = (row(a), row(b));
    rule.test(Side { row: &a, waited_ms: 1_000 }, Side { row: &b, waited_ms: 2_000 })
}

/// What a rule says of an empty pair: for rules about literals.
fn constant(source: &str) -> Result<bool, EvalError> {
    test(source, &[], &[])
}

fn holds(source: &str) {
    assert_eq!(constant(source), Ok(true), "{source}");
}

fn refused(source: &str, message: &str) {
    match Rule::compile(source, &schema()) {
        Ok(rule) => panic!("{source:?} compiles to {}", rule.expr()),
        Err(error) => {
            let found = format!("rule:{}:{}: {}", error.line, error.column, error.reason);
            assert_eq!(found, message, "{source:?}");
        }
    }
}

/// The rule is refused, and this is said to write instead.
fn helped(source: &str, help: &str) {
    let error = Rule::compile(source, &schema()).expect_err(source);
    assert_eq!(error.help.as_deref(), Some(help), "{source:?}: {error}");
    assert!(error.to_string().ends_with(&format!("; {help}")), "{error}");
}
