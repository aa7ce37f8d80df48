//! What a rule costs at worst, known before it ever runs.
//!
//! A unit is one operator, one attribute or one literal: one to three nanoseconds of walking the expression. Strings and lists
//! count as if every attribute were as long as a row may have it; a literal counts as long as it is. Both branches of a
//! choice count, and no operand counts as skipped.

use crate::expr::{Comparands, Expr, TextOp};
use crate::value::{LIST_LEN_MAX, STRING_BYTES_MAX, Value, ValueKind};

/// Most a rule may cost. A costlier one is refused. Numbers alone cannot reach it (the source is too short); lists can:
/// four `a.list.intersects(b.list)` fit.
pub const COST_MAX: u64 = 16_384;

/// Comparing two of the longest strings: 64 bytes a unit.
const STRING: u64 = STRING_BYTES_MAX as u64 / 64;

/// Searching one of the longest strings, or counting its characters: a byte a unit.
const SCAN: u64 = STRING_BYTES_MAX as u64;

/// The worst case of evaluating `expr` once.
pub(crate) fn cost(expr: &Expr) -> u64 {
    let mut units = 1 + own(expr);
    expr.for_each_operand(|operand| units += cost(operand));
    units
}

/// What the operator costs beyond one unit and its operands.
fn own(expr: &Expr) -> u64 {
    match expr {
        Expr::Compare { comparands: Comparands::Same(ValueKind::String), .. } => STRING,
        Expr::Compare { comparands: Comparands::Same(ValueKind::StringList), left, right, .. } => {
            list_len(left).min(list_len(right)) * STRING
        }
        Expr::InItems { kind: ValueKind::String, items, .. } => items.len() as u64 * STRING,
        Expr::InItems { items, .. } => items.len() as u64,
        Expr::InList { list, .. } => list_len(list) * STRING,
        Expr::Intersects { left, right } => {
            // As the evaluator does it: sort the shorter, look up each entry of the longer.
            let (shorter, longer) = (list_len(left).min(list_len(right)), list_len(left).max(list_len(right)));
            let steps = u64::from(64 - shorter.leading_zeros());
            (shorter * longer).min((shorter + longer) * steps) * STRING
        }
        Expr::Text { op: TextOp::StartsWith | TextOp::EndsWith, .. } => STRING,
        Expr::Text { op: TextOp::Contains, .. } | Expr::Size { kind: ValueKind::String, .. } => SCAN,
        _ => 0,
    }
}

/// The most entries a list can have.
fn list_len(expr: &Expr) -> u64 {
    match expr {
        Expr::Literal(Value::StringList(list)) => list.len() as u64,
        Expr::Choice { then, otherwise, .. } => list_len(then).max(list_len(otherwise)),
        _ => LIST_LEN_MAX as u64,
    }
}
