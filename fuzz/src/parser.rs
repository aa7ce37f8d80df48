//! The body of the target `parser`: any text at all, and what it must not do.
//!
//! Input: a byte for the schema (and more, if it says so), the rule up to 0xff, rows.

use dovetail_rule::{COST_MAX, Reason, Rule, RuleError, SOURCE_BYTES_MAX, Schema, Side};

use super::bytes::Bytes;
use super::steps::{self, Absent};

/// Returns whether the rule was accepted.
pub fn run(input: &[u8]) -> bool {
    let mut bytes = Bytes(input);
    let schema = bytes.schema();
    let source = bytes.text();
    let rule = match Rule::compile(&source, &schema) {
        Ok(rule) => rule,
        Err(error) => {
            check_refusal(&source, &error);
            return false;
        }
    };
    assert!(rule.cost() <= COST_MAX, "{source:?} costs {}", rule.cost());
    assert_eq!(rule.source(), source);
    check_print(&rule, &schema);
    let negated = Rule::compile(&format!("!({source}\n)"), &schema).ok();
    for _ in 0..2 {
        let rows = [bytes.row(&schema), bytes.row(&schema)];
        let waited = [i64::from(bytes.byte()) * 100, i64::MAX][bytes.below(2)];
        let [a, b] = [&rows[0], &rows[1]].map(|row| Side { row, waited_ms: waited });
        let answer = steps::check(&rule, a, b);
        if let Some(negated) = &negated {
            check_negation(answer, steps::check(negated, a, b), &source);
        }
    }
    true
}

/// Its place is in the source, and it can be shown.
pub fn check_refusal(source: &str, error: &RuleError) {
    assert!(error.span.start <= error.span.end && error.span.end <= source.len(), "{source:?}: {error:?}");
    assert!(source.get(error.span.start..error.span.end).is_some(), "{source:?}: {error:?}");
    let shown = error.render(source);
    assert!(shown.starts_with("rule:") && shown.len() < 8 * SOURCE_BYTES_MAX, "{source:?}: {shown}");
}

/// A rule prints as the rule it is. Blanks and conversions may make the print too long, and a conversion one level too
/// deep.
pub fn check_print(rule: &Rule, schema: &Schema) {
    let printed = rule.expr().to_string();
    match Rule::compile(&printed, schema) {
        Ok(again) => {
            assert_eq!(again.expr(), rule.expr(), "{:?} prints {printed:?}", rule.source());
            assert_eq!((again.cost(), again.uses_time()), (rule.cost(), rule.uses_time()), "{printed:?}");
        }
        Err(error) => {
            let long = matches!(error.reason, Reason::SourceTooLong { .. });
            let deep = error.reason == Reason::TooDeep && printed.contains("double(");
            assert!(long || deep, "{:?} prints {printed:?}: {error}", rule.source());
        }
    }
}

/// True and false change places; missing and errors stay.
pub fn check_negation(answer: Result<bool, Absent>, negated: Result<bool, Absent>, source: &str) {
    assert_eq!(negated, answer.map(|holds| !holds), "{source:?}");
}
