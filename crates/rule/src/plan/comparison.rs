//! A numeric comparison of any form: what must be true of each column for the comparison to be true.
//!
//! The method is HC4 (Benhamou et al., "Revising hull and box consistency", 1999): ranges are computed up the
//! expression, cut down by the comparison, and projected back onto every column. What the prober knows enters as a
//! range of one value.

use super::number::{Builder, Columns, Decided, NumberPart, Numbers, PARTS_MAX};
use super::probing::Probing;
use crate::expr::{CompareOp, End, Expr};
use crate::filter::{Asked, Bound, INT_CELL_MAX, Store};
use crate::range::{self, Range};

/// The way back from a comparison to its columns.
struct Backward<'a, 'p> {
    parts: &'a [NumberPart],
    probing: &'a Probing<'p>,
    ranges: &'a mut [Range],
    /// The columns come to, by position: those the value certainly depends on. A branch not taken may be missing.
    reached: u128,
}

const _: () = assert!(PARTS_MAX < u128::BITS as usize, "every part has a bit");

impl Backward<'_, '_> {
    #[must_use]
    fn narrow(&mut self, part: usize, to: Range) -> bool {
        range::meet(&mut self.ranges[part], to) && self.go(part)
    }

    /// Cuts the operands of `part` down to what its own range leaves them; false if nothing is left.
    #[must_use]
    fn go(&mut self, part: usize) -> bool {
        let result = self.ranges[part];
        let parts = self.parts;
        match &parts[part] {
            NumberPart::Fixed(_) | NumberPart::Scalar(..) | NumberPart::Waited => true,
            NumberPart::Column(..) => {
                self.reached |= 1 << part;
                true
            }
            NumberPart::Negate(of) => self.narrow(*of, range::negate_back(result)),
            NumberPart::Abs(of) => self.narrow(*of, range::abs_back(result, self.ranges[*of])),
            NumberPart::Square(of) => self.narrow(*of, range::square_back(result)),
            NumberPart::ToDouble(of) => self.narrow(*of, range::to_double_back(result)),
            NumberPart::Arithmetic(op, left, right) => {
                let [to_left, to_right] = range::arithmetic_back(*op, result, self.ranges[*left], self.ranges[*right]);
                let (to_left, to_right) =
                    (to_left.unwrap_or(self.ranges[*left]), to_right.unwrap_or(self.ranges[*right]));
                self.narrow(*left, to_left) && self.narrow(*right, to_right)
            }
            NumberPart::Extreme(max, of) => self.extreme(*max, of, result),
            NumberPart::Choice(condition, then, otherwise) => {
                let taken = match condition.decide(self.probing, self.ranges, &mut false) {
                    Decided::Then => *then,
                    Decided::Otherwise => *otherwise,
                    Decided::Missing => return false,
                    Decided::Open if !self.meets(*then, result) => *otherwise,
                    Decided::Open if !self.meets(*otherwise, result) => *then,
                    Decided::Open => return true,
                };
                self.narrow(taken, result)
            }
        }
    }

    fn meets(&self, part: usize, with: Range) -> bool {
        range::meet(&mut self.ranges[part].clone(), with)
    }

    /// No operand of `max` is above the result, and one reaches it; `min` is the same upside down.
    fn extreme(&mut self, max: bool, of: &[usize], result: Range) -> bool {
        let half = match (max, result) {
            (true, Range::Int(_, high)) => Range::Int(i64::MIN, high),
            (true, Range::Double(_, high)) => Range::Double(f64::NEG_INFINITY, high),
            (false, Range::Int(low, _)) => Range::Int(low, i64::MAX),
            (false, Range::Double(low, _)) => Range::Double(low, f64::INFINITY),
            (_, Range::Nothing) => return false,
        };
        let mut able = of.iter().filter(|of| self.meets(**of, result));
        let only = match (able.next(), able.next()) {
            (None, _) => return false,
            (Some(only), None) => Some(*only),
            _ => None,
        };
        of.iter().all(|&of| self.narrow(of, if only == Some(of) { result } else { half }))
    }
}

/// A comparison, and which bounds it sets.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    op: CompareOp,
    numbers: Numbers,
    left: usize,
    right: usize,
    /// For each column once: its bound, and where it is among the numbers.
    outs: Box<[(usize, Box<[usize]>)]>,
}

impl Comparison {
    /// The comparison and the columns it bounds, in the order of [`Comparison::bind`]. `None` if no column nor the
    /// anchors' waiting helps.
    pub(super) fn new(
        op: CompareOp,
        [left, right]: [&Expr; 2],
        anchor: End,
        columns: &mut dyn Columns,
    ) -> Option<(Comparison, Vec<(usize, Store)>)> {
        let mut builder = Builder::default();
        let [left, right] = [left, right].map(|side| builder.add(side, anchor, columns));
        let (left, right, numbers) = (left?, right?, builder.numbers());
        let mut places = Vec::new();
        if op != CompareOp::Ne {
            numbers.places(left, &mut places);
            numbers.places(right, &mut places);
        }
        if places.is_empty() && (op == CompareOp::Ne || numbers.has_column()) {
            return None;
        }
        let mut found: Vec<(usize, Store)> = Vec::new();
        let mut outs: Vec<(usize, Vec<usize>)> = Vec::new();
        for (column, store, place) in places {
            match found.iter().position(|known| known.0 == column) {
                Some(at) => outs[at].1.push(place),
                None => {
                    found.push((column, store));
                    outs.push((0, vec![place]));
                }
            }
        }
        let outs = outs.into_iter().map(|(bound, places)| (bound, places.into())).collect();
        Some((Comparison { op, numbers, left, right, outs }, found))
    }

    /// Says where the bounds go: one for each column, or a single one if there is none.
    pub(super) fn bind(&mut self, bounds: &[usize]) {
        if self.outs.is_empty() {
            self.outs = [(bounds[0], [].into())].into();
        }
        for (out, bound) in self.outs.iter_mut().zip(bounds) {
            out.0 = *bound;
        }
    }

    pub(super) fn ask(&self, probing: &Probing<'_>, asked: &mut Asked) {
        let Asked { bounds, ranges, .. } = asked;
        if !self.numbers.forward(probing, ranges) {
            // Some pair may be an error, which the rule must see.
            self.outs.iter().for_each(|(bound, _)| bounds[*bound] = Bound::Always);
            return;
        }
        let (mut left, mut right) = (ranges[self.left], ranges[self.right]);
        if left == Range::Nothing || right == Range::Nothing {
            self.outs.iter().for_each(|(bound, _)| bounds[*bound] = Bound::Never);
            return;
        }
        let mut possible = range::relate(self.op, &mut left, &mut right);
        (ranges[self.left], ranges[self.right]) = (left, right);
        let mut back = Backward { parts: self.numbers.parts(), probing, ranges, reached: 0 };
        possible = possible && back.go(self.left) && back.go(self.right);
        let reached = back.reached;
        for (bound, places) in &self.outs {
            bounds[*bound] = bound_at(places, ranges, possible, reached);
        }
    }
}

/// The bound of the column that is at these places.
fn bound_at(places: &[usize], ranges: &[Range], possible: bool, reached: u128) -> Bound {
    let Some(first) = places.first() else {
        return if possible { Bound::Always } else { Bound::Never };
    };
    if !possible {
        return bound_of(ranges[*first], false);
    }
    let mut reached = places.iter().filter(|place| reached >> **place & 1 == 1);
    let Some(first) = reached.next() else { return Bound::Always };
    let mut range = ranges[*first];
    let kept = reached.all(|place| range::meet(&mut range, ranges[*place]));
    bound_of(range, kept)
}

/// A column's bound. An impossible one is an empty range and not `Never`: a wild lane's value is none the ranges know
/// of.
pub(super) fn bound_of(range: Range, possible: bool) -> Bound {
    match range {
        Range::Int(low, high) => int_bound(if possible { [low, high] } else { [1, 0] }),
        Range::Double(low, high) => double_bound(if possible { [low, high] } else { [1.0, 0.0] }),
        Range::Nothing => Bound::Never,
    }
}

#[inline]
pub(super) fn int_bound([low, high]: [i64; 2]) -> Bound {
    if low > high || low > INT_CELL_MAX || high < -INT_CELL_MAX {
        return Bound::Int { low: 1, high: 0 };
    }
    let fit = |end: i64| end.clamp(-INT_CELL_MAX, INT_CELL_MAX) as i32;
    Bound::Int { low: fit(low), high: fit(high) }
}

pub(super) fn double_bound([low, high]: [f64; 2]) -> Bound {
    if low > high {
        return Bound::Double { low: 1.0, high: 0.0 };
    }
    Bound::Double { low: (low as f32).next_down(), high: (high as f32).next_up() }
}
