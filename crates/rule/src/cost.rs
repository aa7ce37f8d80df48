//! What a rule costs at worst, known before it ever runs.
//!
//! A unit is one operator, one attribute or one literal: one to six nanoseconds of walking the expression. Strings and lists
//! count as if every attribute were as long as a row may have it; a literal counts as long as it is. Both branches of a
//! choice count, and no operand counts as skipped.
//!
//! It is a true bound: `tests/hostile` and the fuzz targets count the steps of an evaluation (`fuzz/src/steps.rs`) and hold them
//! against it. What a unit takes is measured by `fuzz/src/bin/worst.rs`; RULES.md has the figures.

use crate::expr::{Comparands, Expr, TextOp};
use crate::value::{LIST_LEN_MAX, STRING_BYTES_MAX, Value, ValueKind};

/// Most a rule may cost. A costlier one is refused. Numbers alone cannot reach it (the source is too short); lists can:
/// two `a.list.intersects(b.list)` fit.
pub const COST_MAX: u64 = 16_384;

/// Comparing two of the longest strings: 64 bytes a unit.
const STRING: u64 = STRING_BYTES_MAX as u64 / 64;

/// Most pairs of entries that the evaluator compares all with all.
const PRODUCT_MAX: u64 = 64;

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
            let (shorter, longer) = (list_len(left).min(list_len(right)), list_len(left).max(list_len(right)));
            intersects(shorter, longer) * STRING
        }
        Expr::Text { op: TextOp::StartsWith | TextOp::EndsWith, .. } => STRING,
        // The part is prepared, then the text is searched, both in linear time: a byte a unit.
        Expr::Text { op: TextOp::Contains, text, part } => string_len(text) + string_len(part),
        Expr::Size { kind: ValueKind::String, of } => string_len(of),
        _ => 0,
    }
}

/// The most comparisons it takes to tell whether lists of at most so many entries share one.
///
/// Short ones are compared all with all. Otherwise the shorter is sorted and each entry of the longer looked up in it. The
/// standard library sorts few entries by insertion, which compares every pair. More it sorts by a quicksort that gives up
/// after 2 log n bad pivots for a heap, which takes another 2 n log n; orders that take it 2.2 n log n are known.
fn intersects(shorter: u64, longer: u64) -> u64 {
    if shorter * longer <= PRODUCT_MAX {
        return shorter * longer;
    }
    let halvings = u64::from(shorter.next_power_of_two().ilog2());
    let sorting = (shorter * (shorter - 1) / 2).min(4 * shorter * halvings);
    let looking_up = longer * (halvings + 1);
    // A row's lists may be short enough, after all, to be compared all with all.
    (sorting + looking_up).max(PRODUCT_MAX)
}

/// The most bytes a string can have.
fn string_len(expr: &Expr) -> u64 {
    match expr {
        Expr::Literal(Value::String(text)) => text.len() as u64,
        Expr::Choice { then, otherwise, .. } => string_len(then).max(string_len(otherwise)),
        _ => STRING_BYTES_MAX as u64,
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
