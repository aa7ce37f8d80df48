//! Distances: sums of squared or absolute differences between an anchor's columns and the prober's coordinates,
//! compared with what the prober and the anchors' waiting bound from above.
//!
//! Everything but the distances is moved to the other side, and the most it can be is the limit R. The evaluator rounds
//! each of its n < 2^9 operations by at most 2^-53 of the terms' magnitudes, and by less than 2^-1070 where it
//! underflows; R is raised by 2^-40 of the magnitudes and by 1e-300, which is more.

use super::comparison::{double_bound, int_bound};
use super::number::{Builder, Columns, Numbers};
use super::probing::{Probing, given};
use super::shape::{Uses, can_fail};
use crate::eval::{Absent, Outcome};
use crate::expr::{ArithmeticOp, CompareOp, End, Expr};
use crate::filter::{Asked, Bound, DOUBLE_CELL_MAX, INT_CELL_MAX, Sum};
use crate::range::{self, Range};
use crate::value::ValueKind;

/// Relative slack for the rounding of the evaluator.
const SLACK: f64 = 1.0 / (1u64 << 40) as f64;
/// Absolute slack, for what underflows.
const UNDERFLOW: f64 = 1e-300;
/// Weights from here on cannot make the evaluator underflow where the sum of the columns does not. Below, only 0 is.
const WEIGHT_MIN: f64 = 1e-60;

/// A distance as it is asked.
#[derive(Debug, Clone)]
pub(super) struct Distance {
    bound: usize,
    squared: bool,
    terms: Box<[Term]>,
    /// What is not a distance; and either side, if something in it may overflow.
    numbers: Numbers,
    /// What is not a distance, with the sign it has next to the sum.
    rest: Box<[(bool, usize)]>,
    fallible: bool,
}

#[derive(Debug, Clone)]
struct Term {
    kind: ValueKind,
    point: Expr,
    weight: Option<Weight>,
}

#[derive(Debug, Clone)]
struct Weight {
    of: Expr,
    divides: bool,
}

/// What a distance's leaf looks at.
pub(super) enum Of {
    Column(usize),
    Sum(Sum),
}

/// The terms of a comparison, all moved to the lesser side.
#[derive(Default)]
struct Moved<'e> {
    terms: Vec<(&'e Expr, Term)>,
    rest: Vec<(bool, &'e Expr)>,
    squared: Option<bool>,
}

impl Distance {
    /// The distance a comparison is about, if it is about one.
    pub(super) fn new(
        op: CompareOp,
        [left, right]: [&Expr; 2],
        anchor: End,
        columns: &mut dyn Columns,
    ) -> Option<(Distance, Of)> {
        let (lesser, greater) = match op {
            CompareOp::Lt | CompareOp::Le => (left, right),
            CompareOp::Gt | CompareOp::Ge => (right, left),
            CompareOp::Eq | CompareOp::Ne => return None,
        };
        let mut moved = Moved::default();
        moved.add(lesser, true, anchor);
        moved.add(greater, false, anchor);
        let squared = moved.squared?;
        let mut numbers = Builder::default();
        let mut rest = Vec::with_capacity(moved.rest.len());
        for (positive, expr) in moved.rest {
            rest.push((positive, numbers.add(expr, anchor, columns)?));
        }
        if numbers.has_column() {
            return None;
        }
        let mut fallible = false;
        for side in [left, right].into_iter().filter(|side| can_fail(side)) {
            fallible = true;
            numbers.add(side, anchor, columns)?;
        }
        let cells = moved.terms.iter().map(|(cell, _)| columns.column(cell)).collect::<Option<Box<[usize]>>>()?;
        let terms = moved.terms.into_iter().map(|(_, term)| term).collect();
        let distance = Distance { bound: 0, squared, terms, numbers: numbers.numbers(), rest: rest.into(), fallible };
        let of = if cells.len() == 1 { Of::Column(cells[0]) } else { Of::Sum(Sum { columns: cells, squared }) };
        Some((distance, of))
    }

    pub(super) fn bind(&mut self, bound: usize) {
        self.bound = bound;
    }

    pub(super) fn squared(&self) -> bool {
        self.squared
    }

    pub(super) fn ask(&self, probing: &Probing<'_>, asked: &mut Asked) {
        if !self.numbers.forward(probing, &mut asked.ranges) {
            asked.bounds[self.bound] = Bound::Always;
            return;
        }
        let limit = self.limit(&asked.ranges);
        let bound = match &*self.terms {
            [term] => given(limit.and_then(|limit| Ok((limit, term.place(probing)?))), |(limit, (point, weight))| {
                self.band(term.kind, limit, point, weight)
            }),
            _ => {
                let from = asked.points.len();
                given(limit.and_then(|limit| self.place(probing, asked).map(|fits| (limit, fits))), |(limit, fits)| {
                    self.sum(limit, fits, from)
                })
            }
        };
        asked.bounds[self.bound] = bound;
    }

    /// The most the sum can be, infinite if that is unknown.
    fn limit(&self, ranges: &[Range]) -> Outcome<f64> {
        let (mut limit, mut magnitude) = (0.0, 0.0);
        for (positive, part) in &self.rest {
            let (low, high) = match range::to_double(ranges[*part]) {
                Range::Double(low, high) => (low, high),
                _ => return Err(Absent::Missing),
            };
            limit += if *positive { -low } else { high };
            magnitude += low.abs().max(high.abs());
        }
        let limit = limit + magnitude * SLACK + UNDERFLOW;
        Ok(if limit.is_finite() && magnitude.is_finite() { limit } else { f64::INFINITY })
    }

    /// Adds the prober's coordinates and weights; whether all are such that columns can tell.
    fn place(&self, probing: &Probing<'_>, asked: &mut Asked) -> Outcome<bool> {
        let mut fits = true;
        for term in &self.terms {
            let (point, weight) = term.place(probing)?;
            let most = if term.kind == ValueKind::Int { INT_CELL_MAX as f64 - 1.0 } else { DOUBLE_CELL_MAX };
            fits &= point.abs() <= most && usable(weight);
            asked.points.push(point);
            asked.weights.push(weight);
        }
        Ok(fits)
    }

    fn sum(&self, limit: f64, fits: bool, from: usize) -> Bound {
        if !fits || limit > DOUBLE_CELL_MAX {
            Bound::Always
        } else if limit < 0.0 {
            self.negative()
        } else {
            Bound::Sum { from, limit }
        }
    }

    /// One term is a band around the prober's coordinate.
    fn band(&self, kind: ValueKind, limit: f64, point: f64, weight: f64) -> Bound {
        if !usable(weight) || !point.is_finite() || limit > DOUBLE_CELL_MAX {
            return Bound::Always;
        }
        if limit < 0.0 {
            return self.negative();
        }
        let ratio = if weight == 0.0 { f64::INFINITY } else { limit / weight };
        let reach = if self.squared { ratio.sqrt() } else { ratio } * (1.0 + SLACK) + UNDERFLOW;
        let (low, high) = ((point - reach).next_down(), (point + reach).next_up());
        match kind {
            ValueKind::Int => match range::int_within(low, high) {
                Range::Int(low, high) => int_bound([low, high]),
                _ => Bound::Always,
            },
            _ => double_bound([low, high]),
        }
    }

    /// No sum is below zero; but an anchor's part of it may be an error.
    fn negative(&self) -> Bound {
        if self.fallible { Bound::Always } else { Bound::Never }
    }
}

fn usable(weight: f64) -> bool {
    weight == 0.0 || (WEIGHT_MIN..=DOUBLE_CELL_MAX).contains(&weight)
}

impl Term {
    /// The prober's coordinate and weight.
    fn place(&self, probing: &Probing<'_>) -> Outcome<(f64, f64)> {
        let number = |expr: &Expr| match expr.kind() {
            ValueKind::Int => probing.pair.int(expr).map(|int| int as f64),
            _ => probing.pair.double(expr),
        };
        let point = number(&self.point)?;
        Ok((
            point,
            match &self.weight {
                None => 1.0,
                Some(Weight { of, divides: false }) => number(of)?,
                Some(Weight { of, divides: true }) => 1.0 / number(of)?,
            },
        ))
    }
}

impl<'e> Moved<'e> {
    fn add(&mut self, expr: &'e Expr, positive: bool, anchor: End) {
        if Uses::of(expr).spares(anchor) {
            return self.rest.push((positive, expr));
        }
        match expr {
            Expr::Arithmetic { op: op @ (ArithmeticOp::Add | ArithmeticOp::Sub), left, right, .. } => {
                self.add(left, positive, anchor);
                self.add(right, positive == (*op == ArithmeticOp::Add), anchor);
            }
            Expr::Negate { of, .. } => self.add(of, !positive, anchor),
            _ => match distance(expr, anchor) {
                Some((squared, cell, term)) if positive && self.squared.is_none_or(|same| same == squared) => {
                    self.squared = Some(squared);
                    self.terms.push((cell, term));
                }
                _ => self.rest.push((positive, expr)),
            },
        }
    }
}

/// A squared or absolute difference, perhaps with one weight: whether it is squared, the anchor's part, and the
/// prober's.
fn distance(expr: &Expr, anchor: End) -> Option<(bool, &Expr, Term)> {
    let plain = |squared, of| {
        let (cell, point) = difference(of, anchor)?;
        Some((squared, cell, Term { kind: cell.kind(), point: point.clone(), weight: None }))
    };
    let prober = |expr: &Expr| Uses::of(expr).spares(anchor);
    let Expr::Arithmetic { op, left, right, kind } = expr else {
        return match expr {
            Expr::Abs { of, .. } => plain(false, of),
            Expr::ToDouble(of) => distance(of, anchor),
            _ => None,
        };
    };
    match op {
        ArithmeticOp::Mul if left == right => plain(true, left),
        ArithmeticOp::Mul if prober(left) => weighted(distance(right, anchor)?, left, false),
        ArithmeticOp::Mul if prober(right) => weighted(distance(left, anchor)?, right, false),
        // `w * (x - y) * (x - y)` is `(w * (x - y)) * (x - y)`.
        ArithmeticOp::Mul => match &**left {
            Expr::Arithmetic { op: ArithmeticOp::Mul, left: by, right: factor, .. }
                if prober(by) && factor == right =>
            {
                weighted(plain(true, right)?, by, false)
            }
            _ => None,
        },
        // Of ints it would round towards zero.
        ArithmeticOp::Div if *kind == ValueKind::Double && prober(right) => {
            weighted(distance(left, anchor)?, right, true)
        }
        _ => None,
    }
}

fn weighted<'e>(
    (squared, cell, term): (bool, &'e Expr, Term),
    by: &Expr,
    divides: bool,
) -> Option<(bool, &'e Expr, Term)> {
    let weight = Some(Weight { of: by.clone(), divides });
    term.weight.is_none().then_some((squared, cell, Term { weight, ..term }))
}

/// The anchor's part and the prober's of a difference, whichever comes first.
fn difference(expr: &Expr, anchor: End) -> Option<(&Expr, &Expr)> {
    match expr {
        // An int difference is exact before it is rounded to a double.
        Expr::ToDouble(of) => difference(of, anchor),
        Expr::Arithmetic { op: ArithmeticOp::Sub, left, right, .. } => {
            let sides = [(left, right), (right, left)];
            let (cell, point) = sides
                .into_iter()
                .find(|(cell, point)| Uses::of(cell).row_of(anchor) && Uses::of(point).spares(anchor))?;
            Some((cell, point))
        }
        _ => None,
    }
}
