//! The body of the target `planner`: rules as people write them, on rows that often match, and what must be so of all pairs.
//!
//! Input: a byte that says whether a rule is generated or written; the decisions of the generator, or a text up to 0xff; rows.

use dovetail_rule::{Row, Rule, Side};

use super::bytes::Bytes;
use super::{generate, parser, steps};

/// Returns whether the rule was accepted.
pub fn run(input: &[u8]) -> bool {
    let mut bytes = Bytes(input);
    let schema = Bytes(&[]).schema();
    let (source, exchanged) = match bytes.byte() {
        0..128 => {
            let (source, exchanged) = generate::rule(&mut bytes);
            (source, Some(exchanged))
        }
        _ => (bytes.text(), None),
    };
    let rule = match Rule::compile(&source, &schema) {
        Ok(rule) => rule,
        Err(error) => {
            parser::check_refusal(&source, &error);
            return false;
        }
    };
    parser::check_print(&rule, &schema);
    let exchanged = exchanged.map(|source| Rule::compile(&source, &schema).expect("names make no difference"));
    let negated = Rule::compile(&format!("!({source}\n)"), &schema).ok();

    let rows: Vec<Row> = (0..2 + bytes.below(3)).map(|_| bytes.row(&schema)).collect();
    let waited: Vec<i64> = rows.iter().map(|_| i64::from(bytes.byte()) * 250).collect();
    let sides = || rows.iter().zip(&waited).map(|(row, waited)| Side { row, waited_ms: *waited });
    for a in sides() {
        for b in sides() {
            let answer = steps::check(&rule, a, b);
            if let Some(negated) = &negated {
                parser::check_negation(answer, steps::check(negated, a, b), &source);
            }
            if let Some(exchanged) = &exchanged {
                assert_eq!(steps::check(exchanged, b, a), answer, "exchanged: {source:?}\n{a:?}\n{b:?}");
            }
        }
    }
    check_plan(&rule, &sides().collect::<Vec<_>>());
    true
}

/// THE PLANNER'S CHECKS GO HERE, once `Rule::plan` is there: for all of `sides`, in both orders,
/// - a plan says the same twice, and prints without panicking;
/// - a pair whose `plan.key_hash` differ, or one of which has none, is no match and no error of the rule;
/// - what the columns and the residual say together is what `rule.test` says.
fn check_plan(_rule: &Rule, _sides: &[Side<'_>]) {}
