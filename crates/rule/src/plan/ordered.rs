//! By what a large bucket may be ordered: columns of numbers that every anchor must have within a range, or near the
//! prober's.
//!
//! Whether a bucket is ordered is up to the table, which sees how many wait and how narrow the ranges are.

use super::ask::Ask;
use super::draft::Filter;
use crate::expr::{CompareOp, Expr};
use crate::filter::{Column, ORDERED_MAX, Operand, Store, Sum};

/// The columns, the most selective first.
pub(super) fn ordered(filters: &[Filter; 2], columns: &[Column], sums: &[Sum]) -> Box<[usize]> {
    let mut found: Vec<usize> = Vec::new();
    for filter in filters {
        // Only that a number is another tells nothing about where it is.
        let unequal = |bound: usize| {
            filter.asks.iter().any(|ask| matches!(ask, Ask::Int { bound: of, op: CompareOp::Ne, .. } if *of == bound))
        };
        filter.root.required(&mut |bound, of| {
            let looked_at = match &of {
                Operand::Column(column) if !unequal(bound) => std::slice::from_ref(column),
                Operand::Sum(sum) => &sums[*sum].columns,
                Operand::Column(_) | Operand::Probe => &[],
            };
            for column in looked_at {
                if matches!(columns[*column].store, Store::Int | Store::Double) && !found.contains(column) {
                    found.push(*column);
                }
            }
        });
    }
    found.truncate(ORDERED_MAX);
    found.into()
}

/// Adds the names of the attributes that an expression looks at, each once.
pub(super) fn attributes(expr: &Expr, names: &mut Vec<String>) {
    match expr {
        Expr::Attribute(of) if !names.iter().any(|name| **name == *of.name) => names.push(of.name.to_string()),
        _ => expr.for_each_operand(|operand| attributes(operand, names)),
    }
}
