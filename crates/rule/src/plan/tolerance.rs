//! Bands whose width is the anchor's own: `abs(x - y) <= t` with `x` and `t` of the anchor, `y` of the prober.
//!
//! The anchor's interval is two columns, `x - t` and `x + t`, and the prober's `y` must lie between.
//!
//! Ints are exact; where something overflows, or `x` is so large that `x - y` might, the lane is wild. Of doubles, if
//! `x - y` rounds to at most `t`, it is at most `t (1 + 2^-52)` (what rounds to a subnormal is exact), which is less
//! than `t (1 + 2^-50)` is after rounding. So `x` minus that is at most `y`, and still is after rounding, which keeps
//! order and leaves `y` as it is. The other end is the same upside down. An infinite `x` or a huge `t` makes the lane
//! wild.

use super::key::bare;
use super::shape::{Uses, renamed};
use crate::expr::{ArithmeticOp, Comparands, CompareOp, End, Expr};
use crate::filter::{DOUBLE_CELL_MAX, INT_CELL_MAX};
use crate::value::{Value, ValueKind};

/// The two ends of an anchor's interval, and what must lie between.
pub(super) struct Tolerance<'e> {
    pub(super) low: Expr,
    pub(super) high: Expr,
    pub(super) point: &'e Expr,
    /// For people.
    pub(super) name: String,
}

/// The tolerance that `lesser <= greater` is about, if it is.
pub(super) fn tolerance<'e>(lesser: &'e Expr, greater: &Expr, anchor: End) -> Option<Tolerance<'e>> {
    let Expr::Abs { of, kind } = lesser else { return None };
    let Expr::Arithmetic { op: ArithmeticOp::Sub, left, right, .. } = &**of else { return None };
    let of_anchor = |expr: &Expr| Uses::of(expr).row_of(anchor);
    let (own, point) = if of_anchor(left) { (left, right) } else { (right, left) };
    if !of_anchor(own) || !Uses::of(point).spares(anchor) || !of_anchor(greater) || greater.kind() != *kind {
        return None;
    }
    let end = |op| edge(op, *kind, own, greater);
    let [middle, radius] = [own, greater].map(|of| bare(&renamed(of, &|_| End::A)));
    let name = format!("{middle} ± {radius}");
    Some(Tolerance { low: end(ArithmeticOp::Sub), high: end(ArithmeticOp::Add), point, name })
}

/// `abs(x) <= most ? x op t : wild`.
fn edge(op: ArithmeticOp, kind: ValueKind, own: &Expr, radius: &Expr) -> Expr {
    let (most, wild) = match kind {
        ValueKind::Int => (Value::Int(INT_CELL_MAX), Value::Int(i64::MAX)),
        _ => (Value::Double(DOUBLE_CELL_MAX), Value::Double(f64::MAX)),
    };
    let radius = match kind {
        ValueKind::Int => radius.clone(),
        _ => raised(radius),
    };
    let magnitude = Expr::Abs { kind, of: Box::new(own.clone()) };
    let condition = Expr::Compare {
        op: CompareOp::Le,
        comparands: Comparands::Same(kind),
        left: Box::new(magnitude),
        right: Box::new(Expr::Literal(most)),
    };
    let then = Expr::Arithmetic { op, kind, left: Box::new(own.clone()), right: Box::new(radius) };
    Expr::Choice { condition: Box::new(condition), then: Box::new(then), otherwise: Box::new(Expr::Literal(wild)) }
}

/// A double radius, more than rounding can make of a difference, and finite.
fn raised(radius: &Expr) -> Expr {
    const MORE: f64 = 1.0 + 1.0 / (1u64 << 50) as f64;
    let kind = ValueKind::Double;
    let [more, most] = [MORE, 1e300].map(|double| Expr::Literal(Value::Double(double)));
    let product =
        Expr::Arithmetic { op: ArithmeticOp::Mul, kind, left: Box::new(radius.clone()), right: Box::new(more) };
    Expr::Extreme { max: false, kind, of: [product, most].into() }
}
