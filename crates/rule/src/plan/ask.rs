//! Setting a filter's bounds for one probe: what the prober knows is evaluated by the rule's own evaluator, once.
//!
//! Invariant: `Never` is set only where the conjunct is false or missing whatever the anchor's attributes are.
//! The common forms have a direct path; every other numeric comparison goes by ranges.

use super::comparison::{Comparison, double_bound, int_bound};
use super::distance::Distance;
use super::probing::{Probing, given};
use crate::eval::{Absent, List, Outcome, Pair};
use crate::expr::{CompareOp, Expr};
use crate::filter::{Asked, Bound, SYMBOL_UNKNOWN};
use crate::row::Side;
use crate::value::Value;

/// How the bounds of one leaf, or of one comparison's, are set. Expressions are over the prober only.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// The whole of a bool.
    Truth { bound: usize, of: Expr },
    /// `column op value`, both int.
    Int { bound: usize, op: CompareOp, value: Expr },
    /// `column op value`, where the rule subtracts the value from what the column is made of.
    IntEdge { bound: usize, op: CompareOp, value: Expr },
    /// `column op value`, both double. Not `!=`, which rounding would spoil.
    Double { bound: usize, op: CompareOp, value: Expr },
    /// `abs(column - point) <= radius`, or `<`, all int.
    IntBand { bound: usize, strict: bool, point: Expr, radius: Expr },
    /// The same of doubles.
    DoubleBand { bound: usize, strict: bool, point: Expr, radius: Expr },
    /// `column == text`, or `!=`.
    Symbol { bound: usize, equal: bool, text: Expr },
    /// `column in list`.
    SymbolIn { bound: usize, list: Expr },
    /// `text in column`.
    Has { bound: usize, text: Expr },
    /// `column.intersects(list)`.
    Shares { bound: usize, list: Expr },
    /// `column == list`.
    SameList { bound: usize, list: Expr },
    /// Any other numeric comparison.
    Comparison(Box<Comparison>),
    /// A sum of squares, or of absolute differences.
    Distance(Box<Distance>),
}

impl Ask {
    #[inline]
    pub(super) fn ask(&self, probing: &Probing<'_>, symbol: &dyn Fn(&str) -> u32, asked: &mut Asked) {
        let pair = &probing.pair;
        let (bound, set) = match self {
            Ask::Comparison(comparison) => return comparison.ask(probing, asked),
            Ask::Distance(distance) => return distance.ask(probing, asked),
            Ask::Truth { bound, of } => {
                (bound, given(pair.bool(of), |holds| if holds { Bound::Always } else { Bound::Never }))
            }
            Ask::Int { bound, op, value } => (bound, given(int_of(pair, value), |value| int(*op, value))),
            Ask::IntEdge { bound, op, value } => {
                (bound, given(pair.int(value), |value| if overflows(value) { Bound::Always } else { int(*op, value) }))
            }
            Ask::Double { bound, op, value } => (bound, given(pair.double(value), |value| double(*op, value))),
            Ask::IntBand { bound, strict, point, radius } => {
                (bound, given(both(int_of(pair, point), || int_of(pair, radius)), |band| int_band(*strict, band)))
            }
            Ask::DoubleBand { bound, strict, point, radius } => {
                (bound, given(both(pair.double(point), || pair.double(radius)), |band| double_band(*strict, band)))
            }
            Ask::Symbol { bound, equal: true, text } => {
                (bound, given(pair.string(text), |text| Bound::Symbol(symbol(text))))
            }
            Ask::Symbol { bound, equal: false, text } => {
                (bound, given(pair.string(text), |text| Bound::SymbolNot(symbol(text))))
            }
            Ask::SymbolIn { bound, list } => {
                (bound, given(pair.list(list), |list| Bound::SymbolIn(signature(list, symbol))))
            }
            Ask::Has { bound, text } => (bound, given(pair.string(text), |text| Bound::Set(bit(symbol(text))))),
            Ask::Shares { bound, list } => (bound, given(pair.list(list), |list| Bound::Set(signature(list, symbol)))),
            Ask::SameList { bound, list } => (bound, given(pair.list(list), |list| same_list(list, symbol))),
        };
        asked.bounds[*bound] = set;
    }
}

/// What an expression over the prober is; what it mostly is has a path without a call.
#[inline(always)]
fn int_of(pair: &Pair<Side<'_>>, expr: &Expr) -> Outcome<i64> {
    match expr {
        Expr::Literal(Value::Int(int)) => Ok(*int),
        Expr::Attribute(of) => match pair.a.row.values()[of.index] {
            Some(Value::Int(int)) => Ok(int),
            _ => pair.int(expr),
        },
        _ => pair.int(expr),
    }
}

/// Both, or missing if either is, or else an error.
#[inline]
fn both<T>(left: Outcome<T>, right: impl FnOnce() -> Outcome<T>) -> Outcome<(T, T)> {
    match (left, right()) {
        (Ok(left), Ok(right)) => Ok((left, right)),
        (Err(Absent::Missing), _) | (_, Err(Absent::Missing)) => Err(Absent::Missing),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

fn int(op: CompareOp, value: i64) -> Bound {
    // The ends are far outside what a cell holds, and a step less is still.
    int_bound(match op {
        CompareOp::Eq => [value, value],
        CompareOp::Ne => return i32::try_from(value).map_or(int_bound([i64::MIN, i64::MAX]), Bound::IntNot),
        CompareOp::Lt => [i64::MIN, value.saturating_sub(1)],
        CompareOp::Le => [i64::MIN, value],
        CompareOp::Gt => [value.saturating_add(1), i64::MAX],
        CompareOp::Ge => [value, i64::MAX],
    })
}

fn double(op: CompareOp, value: f64) -> Bound {
    double_bound(match op {
        CompareOp::Eq => [value, value],
        CompareOp::Lt | CompareOp::Le => [f64::NEG_INFINITY, value],
        CompareOp::Gt | CompareOp::Ge => [value, f64::INFINITY],
        CompareOp::Ne => [f64::NEG_INFINITY, f64::INFINITY],
    })
}

/// Whether the difference between the value and a cell might overflow.
fn overflows(value: i64) -> bool {
    value.unsigned_abs() > 1 << 62
}

#[inline]
fn int_band(strict: bool, (point, radius): (i64, i64)) -> Bound {
    if overflows(point) {
        return Bound::Always;
    }
    let reach = if strict { radius.saturating_sub(1) } else { radius };
    int_bound([point.saturating_sub(reach), point.saturating_add(reach)])
}

fn double_band(strict: bool, (point, radius): (f64, f64)) -> Bound {
    if radius < 0.0 || strict && radius == 0.0 {
        return double_bound([1.0, 0.0]);
    }
    // Where the difference rounds to the radius, and that sum rounds itself.
    let reach = radius.next_up();
    let (low, high) = ((point - reach).next_down(), (point + reach).next_up());
    double_bound([if low.is_nan() { f64::NEG_INFINITY } else { low }, if high.is_nan() { f64::INFINITY } else { high }])
}

fn bit(symbol: u32) -> u64 {
    if symbol == SYMBOL_UNKNOWN { 0 } else { 1 << (symbol & 63) }
}

fn signature(list: List<'_>, symbol: &dyn Fn(&str) -> u32) -> u64 {
    list.iter().fold(0, |signature, entry| signature | bit(symbol(entry)))
}

/// An equal list shares the first entry. The empty list has the signature of a missing one.
fn same_list(list: List<'_>, symbol: &dyn Fn(&str) -> u32) -> Bound {
    match list.iter().next() {
        None => Bound::Always,
        Some(first) => Bound::Set(bit(symbol(first))),
    }
}
