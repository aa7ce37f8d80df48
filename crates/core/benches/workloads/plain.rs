//! The rule itself, tested on one waiting element after the other.

use std::sync::Arc;

use dovetail_rule::{Row, Rule, Schema, Side};

use crate::elements::Points;

/// The fifth workload by the plain evaluator.
pub fn run(of: &Points, rows: &[Arc<Row>], pairs: &mut Vec<(u32, u32)>) {
    let schema = Schema::new(Points::attributes()).expect("eight names");
    let rule = Rule::compile(&of.rule(), &schema).expect("a rule");
    let side = |row| Side { row, waited_ms: 0 };
    let mut waiting: Vec<(u32, &Row)> = Vec::new();
    for (row, id) in rows.iter().zip(1..) {
        let found = waiting.iter().position(|(_, anchor)| rule.matches(side(anchor), side(row)));
        match found {
            Some(at) => pairs.push((waiting.remove(at).0, id)),
            None => waiting.push((id, row)),
        }
    }
}
