//! Every rule of the corpus is refused with a reason, or bounded.

use dovetail_rule::{COST_MAX, Reason, Rule, Schema, Side};

use crate::fuzz::bytes::Bytes;
use crate::fuzz::{parser, rows, steps};
use crate::{on_a_small_stack, rules};

/// What becomes of a rule, as `expected.txt` has it.
fn verdict(bytes: &[u8], schema: &Schema) -> String {
    // A rule comes as a string of protobuf or TOML, where there is no such text; its replacement is tried in its stead.
    let (source, note) = match str::from_utf8(bytes) {
        Ok(source) => (source.to_owned(), ""),
        Err(_) => (String::from_utf8_lossy(bytes).into_owned(), "no UTF-8; replaced: "),
    };
    match Rule::compile(&source, schema) {
        Ok(rule) => {
            parser::check_print(&rule, schema);
            check_pairs(&rule, schema);
            format!("{note}accepted, costs {}", rule.cost())
        }
        Err(error) => {
            parser::check_refusal(&source, &error);
            check_bound(&error.reason);
            format!("{note}{error}")
        }
    }
}

/// Evaluates all pairs of adversarial rows, each within the rule's cost.
fn check_pairs(rule: &Rule, schema: &Schema) {
    let rows = rows::adversarial(schema);
    for a in &rows {
        for b in &rows {
            let [a, b] = [a, b].map(|row| Side { row, waited_ms: i64::MAX });
            let _ = steps::check(rule, a, b);
        }
    }
}

/// A refusal for size names the bound, and the value where there is one.
fn check_bound(reason: &Reason) {
    let text = reason.to_string();
    let numbers: Vec<u64> =
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect();
    match reason {
        Reason::SourceTooLong { bytes } => assert_eq!(numbers, [*bytes as u64, 1024]),
        Reason::StringTooLong { bytes } => assert_eq!(numbers, [*bytes as u64, 256]),
        Reason::ListTooLong { len } => assert_eq!(numbers, [*len as u64, 64]),
        Reason::CostTooHigh { cost } => assert_eq!(numbers, [*cost, COST_MAX]),
        // Parsing stops where the bound is passed: how deep it would have gone is not known.
        Reason::TooDeep => assert_eq!(numbers, [64]),
        _ => {}
    }
}

#[test]
fn every_hostile_rule_is_refused_with_a_reason_or_stays_within_its_cost() {
    let found = on_a_small_stack(|| {
        let schema = Bytes(&[]).schema();
        rules().iter().map(|(name, bytes)| format!("{name}\n    {}\n", verdict(bytes, &schema))).collect::<String>()
    });
    if found != include_str!("expected.txt") {
        let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/hostile-found.txt");
        std::fs::write(path, &found).unwrap();
        panic!("compare tests/hostile/expected.txt with {path}");
    }
}

#[test]
fn the_costliest_accepted_rules_come_near_the_bound() {
    let schema = Bytes(&[]).schema();
    let costs = rules().into_iter().filter_map(|(_, bytes)| {
        let source = String::from_utf8(bytes).ok()?;
        Rule::compile(&source, &schema).ok().map(|rule| rule.cost())
    });
    let most = costs.max().unwrap();
    assert!(most > COST_MAX * 9 / 10 && most <= COST_MAX, "{most}");
}

/// The steps of sorting were once taken for one comparison per entry and halving; the standard library sorts up to 20
/// by insertion, and longer lists can be made to take more, too.
#[test]
fn sorting_a_list_in_its_worst_order_stays_within_the_cost() {
    let schema = Bytes(&[]).schema();
    let rule = Rule::compile("a.l.intersects(b.l)", &schema).unwrap();
    let row = |order, offset| {
        let values =
            schema.attributes().iter().map(|attribute| (attribute.name == "l").then(|| rows::list(order, offset)));
        dovetail_rule::Row::new(&schema, values.collect()).unwrap()
    };
    for left in rows::ORDERS {
        for right in rows::ORDERS {
            let (a, b) = (row(left, 0), row(right, 1));
            let [a, b] = [&a, &b].map(|row| Side { row, waited_ms: 0 });
            assert_eq!(steps::check(&rule, a, b), Ok(false));
        }
    }
}
