//! Numeric comparisons of any form: what must be true of each column for the comparison to be true.
//!
//! The method is HC4 (Benhamou et al., "Revising hull and box consistency", 1999): ranges are computed up the expression,
//! cut down by the comparison, and projected back onto every column. What the prober knows enters as a range of one value.

use super::ask::Probing;
use super::range::{self, Range};
use super::shape::{Uses, can_fail};
use crate::eval::Absent;
use crate::expr::{ArithmeticOp, CompareOp, End, Expr};
use crate::filter::{Asked, Bound, DOUBLE_CELL_MAX, INT_CELL_MAX, Store};
use crate::value::{Value, ValueKind};

/// Most parts of one comparison. One with more is left to the rule.
const PARTS_MAX: usize = 96;

/// A part of a comparison. Operands come before what uses them, and are named by position.
#[derive(Debug, Clone)]
enum Part {
    Column(usize, Store),
    Fixed(Range),
    /// Of the prober only, and of an int or double kind.
    Scalar(Expr, ValueKind),
    /// How long the anchor has waited.
    Waited,
    Negate(usize),
    Abs(usize),
    Square(usize),
    ToDouble(usize),
    Arithmetic(ArithmeticOp, usize, usize),
    Extreme(bool, Box<[usize]>),
    Choice(Condition, usize, usize),
}

/// What a choice depends on.
#[derive(Debug, Clone)]
enum Condition {
    /// Of the prober only.
    Prober(Expr),
    /// A comparison without a column.
    Compare(CompareOp, usize, usize),
    /// Not known before the pair is.
    Unknown,
}

/// Numbers over columns, the prober and the anchors' waiting.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers(Vec<Part>);

/// Numbers on their way: each expression is one part, however often it is written.
#[derive(Default)]
pub(super) struct Builder<'e> {
    numbers: Numbers,
    known: Vec<(&'e Expr, usize)>,
}

/// Turns expressions over an anchor's attributes into columns.
pub(super) trait Columns {
    fn column(&mut self, expr: &Expr) -> Option<usize>;
}

impl<'e> Builder<'e> {
    /// Adds a number; `None` if it has no range worth computing.
    pub(super) fn add(&mut self, expr: &'e Expr, anchor: End, columns: &mut dyn Columns) -> Option<usize> {
        if let Some((_, part)) = self.known.iter().find(|(known, _)| *known == expr) {
            return Some(*part);
        }
        let part = self.part(expr, anchor, columns)?;
        self.numbers.0.push(part);
        let part = self.numbers.0.len() - 1;
        self.known.push((expr, part));
        (part < PARTS_MAX).then_some(part)
    }

    pub(super) fn numbers(self) -> Numbers {
        self.numbers
    }

    pub(super) fn has_column(&self) -> bool {
        self.numbers.has_column()
    }

    fn part(&mut self, expr: &'e Expr, anchor: End, columns: &mut dyn Columns) -> Option<Part> {
        let uses = Uses::of(expr);
        let kind = expr.kind();
        let part = if uses.row_of(anchor) {
            Part::Column(columns.column(expr)?, if kind == ValueKind::Int { Store::Int } else { Store::Double })
        } else if uses.spares(anchor) {
            match expr {
                Expr::Literal(Value::Int(int)) => Part::Fixed(Range::Int(*int, *int)),
                Expr::Literal(Value::Double(double)) => Part::Fixed(Range::Double(*double, *double)),
                _ => Part::Scalar(expr.clone(), kind),
            }
        } else {
            let mut add = |expr: &'e Expr| self.add(expr, anchor, columns);
            match expr {
                Expr::Waited(_) => Part::Waited,
                Expr::Negate { of, .. } => Part::Negate(add(of)?),
                Expr::Abs { of, .. } => Part::Abs(add(of)?),
                Expr::ToDouble(of) => Part::ToDouble(add(of)?),
                Expr::Arithmetic { op: ArithmeticOp::Mul, left, right, .. } if left == right => {
                    Part::Square(add(left)?)
                }
                Expr::Arithmetic { op, left, right, .. } => Part::Arithmetic(*op, add(left)?, add(right)?),
                Expr::Extreme { max, of, .. } => Part::Extreme(*max, of.iter().map(add).collect::<Option<_>>()?),
                Expr::Choice { condition, then, otherwise } => {
                    let [then, otherwise] = [add(then)?, add(otherwise)?];
                    Part::Choice(self.condition(condition, anchor)?, then, otherwise)
                }
                _ => return None,
            }
        };
        Some(part)
    }

    /// `None` if the condition may be an error that only the pair can tell.
    fn condition(&mut self, condition: &'e Expr, anchor: End) -> Option<Condition> {
        let uses = Uses::of(condition);
        if uses.spares(anchor) {
            return Some(Condition::Prober(condition.clone()));
        }
        if let Expr::Compare { op, left, right, .. } = condition
            && left.kind().is_number()
            && uses.spares_row(anchor)
        {
            let [left, right] = [left, right].map(|side| self.add(side, anchor, &mut NoColumns));
            return Some(Condition::Compare(*op, left?, right?));
        }
        (!can_fail(condition)).then_some(Condition::Unknown)
    }
}

impl Numbers {
    /// Every column whose range a comparison can cut down, below `part`, with where it is.
    fn places(&self, part: usize, found: &mut Vec<(usize, Store, usize)>) {
        match &self.0[part] {
            Part::Column(column, store) => found.push((*column, *store, part)),
            Part::Negate(of) | Part::Abs(of) | Part::Square(of) | Part::ToDouble(of) => self.places(*of, found),
            // A remainder tells nothing about what was divided.
            Part::Fixed(_) | Part::Scalar(..) | Part::Waited | Part::Arithmetic(ArithmeticOp::Rem, ..) => {}
            Part::Arithmetic(_, left, right) | Part::Choice(_, left, right) => {
                self.places(*left, found);
                self.places(*right, found);
            }
            Part::Extreme(_, of) => of.iter().for_each(|of| self.places(*of, found)),
        }
    }

    fn has_column(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Column(..)))
    }

    /// Computes every part's range into `ranges`; false if some part may be an error.
    pub(super) fn forward(&self, probing: &Probing<'_>, ranges: &mut Vec<Range>) -> bool {
        ranges.clear();
        let mut fails = false;
        for part in &self.0 {
            let range = match part {
                Part::Column(_, Store::Int) => Range::Int(-INT_CELL_MAX, INT_CELL_MAX),
                Part::Column(..) => Range::Double(-DOUBLE_CELL_MAX, DOUBLE_CELL_MAX),
                Part::Fixed(range) => *range,
                Part::Scalar(expr, ValueKind::Int) => {
                    scalar(probing.pair.int(expr).map(|int| Range::Int(int, int)), &mut fails)
                }
                Part::Scalar(expr, _) => {
                    scalar(probing.pair.double(expr).map(|double| Range::Double(double, double)), &mut fails)
                }
                Part::Waited => Range::Int(0, probing.oldest_waited_ms),
                Part::Negate(of) => range::negate(ranges[*of], &mut fails),
                Part::Abs(of) => range::abs(ranges[*of], &mut fails),
                Part::Square(of) => range::square(ranges[*of], &mut fails),
                Part::ToDouble(of) => range::to_double(ranges[*of]),
                Part::Arithmetic(op, left, right) => range::arithmetic(*op, ranges[*left], ranges[*right], &mut fails),
                Part::Extreme(max, of) => {
                    of[1..].iter().fold(ranges[of[0]], |best, of| range::extreme(*max, best, ranges[*of]))
                }
                Part::Choice(condition, then, otherwise) => {
                    let (then, otherwise) = (ranges[*then], ranges[*otherwise]);
                    match condition.decide(probing, ranges, &mut fails) {
                        Decided::Then => then,
                        Decided::Otherwise => otherwise,
                        Decided::Missing => Range::Nothing,
                        Decided::Open => range::hull(then, otherwise),
                    }
                }
            };
            ranges.push(range);
        }
        !fails
    }
}

/// The way back from a comparison to its columns.
struct Backward<'a, 'p> {
    parts: &'a [Part],
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
            Part::Fixed(_) | Part::Scalar(..) | Part::Waited => true,
            Part::Column(..) => {
                self.reached |= 1 << part;
                true
            }
            Part::Negate(of) => self.narrow(*of, range::negate_back(result)),
            Part::Abs(of) => self.narrow(*of, range::abs_back(result, self.ranges[*of])),
            Part::Square(of) => self.narrow(*of, range::square_back(result)),
            Part::ToDouble(of) => self.narrow(*of, range::to_double_back(result)),
            Part::Arithmetic(op, left, right) => {
                let [to_left, to_right] = range::arithmetic_back(*op, result, self.ranges[*left], self.ranges[*right]);
                let (to_left, to_right) =
                    (to_left.unwrap_or(self.ranges[*left]), to_right.unwrap_or(self.ranges[*right]));
                self.narrow(*left, to_left) && self.narrow(*right, to_right)
            }
            Part::Extreme(max, of) => self.extreme(*max, of, result),
            Part::Choice(condition, then, otherwise) => {
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

enum Decided {
    Then,
    Otherwise,
    Missing,
    Open,
}

impl Condition {
    fn decide(&self, probing: &Probing<'_>, ranges: &[Range], fails: &mut bool) -> Decided {
        match self {
            Condition::Prober(condition) => match probing.pair.bool(condition) {
                Ok(true) => Decided::Then,
                Ok(false) => Decided::Otherwise,
                Err(Absent::Missing) => Decided::Missing,
                Err(Absent::Error(_)) => {
                    *fails = true;
                    Decided::Open
                }
            },
            Condition::Compare(op, left, right) => {
                let (mut left, mut right) = (ranges[*left], ranges[*right]);
                if left == Range::Nothing || right == Range::Nothing {
                    return Decided::Missing;
                }
                let (l, r) = (left, right);
                if !range::relate(*op, &mut left, &mut right) {
                    Decided::Otherwise
                } else if never(*op, l, r) {
                    Decided::Then
                } else {
                    Decided::Open
                }
            }
            Condition::Unknown => Decided::Open,
        }
    }
}

/// Whether the comparison cannot be false.
fn never(op: CompareOp, mut left: Range, mut right: Range) -> bool {
    let opposite = match op {
        CompareOp::Lt => CompareOp::Ge,
        CompareOp::Le => CompareOp::Gt,
        CompareOp::Gt => CompareOp::Le,
        CompareOp::Ge => CompareOp::Lt,
        // Seldom decided, and never worth it.
        CompareOp::Eq | CompareOp::Ne => return false,
    };
    !range::relate(opposite, &mut left, &mut right)
}

fn scalar(value: Result<Range, Absent>, fails: &mut bool) -> Range {
    value.unwrap_or_else(|absent| {
        *fails |= absent != Absent::Missing;
        Range::Nothing
    })
}

struct NoColumns;

impl Columns for NoColumns {
    fn column(&mut self, _: &Expr) -> Option<usize> {
        None
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
        let mut back = Backward { parts: &self.numbers.0, probing, ranges, reached: 0 };
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
    let kept = reached.fold(true, |kept, place| range::meet(&mut range, ranges[*place]) && kept);
    bound_of(range, kept)
}

/// A column's bound. An impossible one is an empty range and not `Never`: a wild lane's value is none the ranges know of.
pub(super) fn bound_of(range: Range, possible: bool) -> Bound {
    match range {
        Range::Int(low, high) => int_bound(if possible { [low, high] } else { [1, 0] }),
        Range::Double(low, high) => double_bound(if possible { [low, high] } else { [1.0, 0.0] }),
        Range::Nothing => Bound::Never,
    }
}

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
