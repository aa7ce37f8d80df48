//! Numbers over an anchor's columns, the prober's values and the time waited, and the ranges they are in for one probe.

use super::probing::Probing;
use super::shape::{Uses, can_fail};
use crate::eval::Absent;
use crate::expr::{ArithmeticOp, CompareOp, End, Expr};
use crate::filter::{DOUBLE_CELL_MAX, INT_CELL_MAX, Store};
use crate::range::{self, Range};
use crate::value::{Value, ValueKind};

/// Most parts of one comparison. One with more is left to the rule.
pub(super) const PARTS_MAX: usize = 96;

/// A part of a comparison. Operands come before what uses them, and are named by position.
#[derive(Debug, Clone)]
pub(super) enum NumberPart {
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
pub(super) enum Condition {
    /// Of the prober only.
    Prober(Expr),
    /// A comparison without a column.
    Compare(CompareOp, usize, usize),
    /// Not known before the pair is.
    Unknown,
}

/// Numbers over columns, the prober and the anchors' waiting.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers(Vec<NumberPart>);

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

    fn part(&mut self, expr: &'e Expr, anchor: End, columns: &mut dyn Columns) -> Option<NumberPart> {
        let uses = Uses::of(expr);
        let kind = expr.kind();
        let part = if uses.row_of(anchor) {
            NumberPart::Column(columns.column(expr)?, if kind == ValueKind::Int { Store::Int } else { Store::Double })
        } else if uses.spares(anchor) {
            match expr {
                Expr::Literal(Value::Int(int)) => NumberPart::Fixed(Range::Int(*int, *int)),
                Expr::Literal(Value::Double(double)) => NumberPart::Fixed(Range::Double(*double, *double)),
                _ => NumberPart::Scalar(expr.clone(), kind),
            }
        } else {
            let mut add = |expr: &'e Expr| self.add(expr, anchor, columns);
            match expr {
                Expr::Waited(_) => NumberPart::Waited,
                Expr::Negate { of, .. } => NumberPart::Negate(add(of)?),
                Expr::Abs { of, .. } => NumberPart::Abs(add(of)?),
                Expr::ToDouble(of) => NumberPart::ToDouble(add(of)?),
                Expr::Arithmetic { op: ArithmeticOp::Mul, left, right, .. } if left == right => {
                    NumberPart::Square(add(left)?)
                }
                Expr::Arithmetic { op, left, right, .. } => NumberPart::Arithmetic(*op, add(left)?, add(right)?),
                Expr::Extreme { max, of, .. } => NumberPart::Extreme(*max, of.iter().map(add).collect::<Option<_>>()?),
                Expr::Choice { condition, then, otherwise } => {
                    let [then, otherwise] = [add(then)?, add(otherwise)?];
                    NumberPart::Choice(self.condition(condition, anchor)?, then, otherwise)
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
    pub(super) fn parts(&self) -> &[NumberPart] {
        &self.0
    }

    /// Every column whose range a comparison can cut down, below `part`, with where it is.
    pub(super) fn places(&self, part: usize, found: &mut Vec<(usize, Store, usize)>) {
        match &self.0[part] {
            NumberPart::Column(column, store) => found.push((*column, *store, part)),
            NumberPart::Negate(of) | NumberPart::Abs(of) | NumberPart::Square(of) | NumberPart::ToDouble(of) => {
                self.places(*of, found);
            }
            // A remainder tells nothing about what was divided.
            NumberPart::Fixed(_)
            | NumberPart::Scalar(..)
            | NumberPart::Waited
            | NumberPart::Arithmetic(ArithmeticOp::Rem, ..) => {}
            NumberPart::Arithmetic(_, left, right) | NumberPart::Choice(_, left, right) => {
                self.places(*left, found);
                self.places(*right, found);
            }
            NumberPart::Extreme(_, of) => of.iter().for_each(|of| self.places(*of, found)),
        }
    }

    pub(super) fn has_column(&self) -> bool {
        self.0.iter().any(|part| matches!(part, NumberPart::Column(..)))
    }

    /// Computes every part's range into `ranges`; false if some part may be an error.
    pub(super) fn forward(&self, probing: &Probing<'_>, ranges: &mut Vec<Range>) -> bool {
        ranges.clear();
        let mut fails = false;
        for part in &self.0 {
            let range = match part {
                NumberPart::Column(_, Store::Int) => Range::Int(-INT_CELL_MAX, INT_CELL_MAX),
                NumberPart::Column(..) => Range::Double(-DOUBLE_CELL_MAX, DOUBLE_CELL_MAX),
                NumberPart::Fixed(range) => *range,
                NumberPart::Scalar(expr, ValueKind::Int) => {
                    scalar(probing.pair.int(expr).map(|int| Range::Int(int, int)), &mut fails)
                }
                NumberPart::Scalar(expr, _) => {
                    scalar(probing.pair.double(expr).map(|double| Range::Double(double, double)), &mut fails)
                }
                NumberPart::Waited => Range::Int(0, probing.oldest_waited_ms),
                NumberPart::Negate(of) => range::negate(ranges[*of], &mut fails),
                NumberPart::Abs(of) => range::abs(ranges[*of], &mut fails),
                NumberPart::Square(of) => range::square(ranges[*of], &mut fails),
                NumberPart::ToDouble(of) => range::to_double(ranges[*of]),
                NumberPart::Arithmetic(op, left, right) => {
                    range::arithmetic(*op, ranges[*left], ranges[*right], &mut fails)
                }
                NumberPart::Extreme(max, of) => {
                    of[1..].iter().fold(ranges[of[0]], |best, of| range::extreme(*max, best, ranges[*of]))
                }
                NumberPart::Choice(condition, then, otherwise) => {
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

pub(super) enum Decided {
    Then,
    Otherwise,
    Missing,
    Open,
}

impl Condition {
    pub(super) fn decide(&self, probing: &Probing<'_>, ranges: &[Range], fails: &mut bool) -> Decided {
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
