//! Lowering numeric comparisons: the direct forms first, then tolerances, distances, and ranges for everything else.

use super::ask::Ask;
use super::comparison::Comparison;
use super::distance::{Distance, Of};
use super::lower::{Lower, mirrored};
use super::number::Columns;
use super::shape::{Uses, can_fail};
use super::tolerance::{Tolerance, tolerance};
use crate::expr::{ArithmeticOp, Comparands, CompareOp, Expr};
use crate::filter::{Bound, Node, Operand};
use crate::value::ValueKind;

impl Lower<'_> {
    /// A comparison of two numbers.
    pub(super) fn numeric(&mut self, op: CompareOp, comparands: Comparands, left: &Expr, right: &Expr) -> Option<Node> {
        self.direct(op, comparands, left, right)
            .or_else(|| self.or_nothing(|lower| lower.each(op, comparands, left, right)))
            .or_else(|| self.or_nothing(|lower| lower.tolerance(op, left, right)))
            .or_else(|| self.or_nothing(|lower| lower.distance(op, left, right)))
            .or_else(|| self.or_nothing(|lower| lower.comparison(op, left, right)))
    }

    /// `column op value` and `abs(column - point) <= radius`, of one kind: the forms with a path of their own.
    fn direct(&mut self, op: CompareOp, comparands: Comparands, left: &Expr, right: &Expr) -> Option<Node> {
        let Comparands::Same(kind) = comparands else { return None };
        let int = kind == ValueKind::Int;
        if let Some((column, value)) = self.sides(left, right) {
            let op = if Uses::of(left).row_of(self.anchor) { op } else { mirrored(op) };
            let (passes, what) = match op {
                CompareOp::Eq => (10, "the same number"),
                CompareOp::Ne => (80, "another number"),
                _ => (50, "range"),
            };
            return match int {
                true => Some(self.leaf(column, passes, what, |bound| Ask::Int { bound, op, value })),
                false if op == CompareOp::Ne => None,
                false => Some(self.leaf(column, passes, what, |bound| Ask::Double { bound, op, value })),
            };
        }
        let (lesser, radius, strict) = match op {
            CompareOp::Lt | CompareOp::Le => (left, right, op == CompareOp::Lt),
            CompareOp::Gt | CompareOp::Ge => (right, left, op == CompareOp::Gt),
            _ => return None,
        };
        let Expr::Abs { of, .. } = lesser else { return None };
        let Expr::Arithmetic { op: ArithmeticOp::Sub, left: from, right: to, .. } = &**of else { return None };
        if !Uses::of(radius).spares(self.anchor) {
            return None;
        }
        let (column, point) = self.sides(from, to)?;
        let radius = radius.clone();
        Some(self.leaf(column, 20, "band", |bound| match int {
            true => Ask::IntBand { bound, strict, point, radius },
            false => Ask::DoubleBand { bound, strict, point, radius },
        }))
    }

    /// `x <= min(y, z)` is `x <= y && x <= z`, unless one of them may be an error where the other decides.
    fn each(&mut self, op: CompareOp, comparands: Comparands, left: &Expr, right: &Expr) -> Option<Node> {
        let least = |side: &Expr| matches!(side, Expr::Extreme { max: false, of, .. } if !of.iter().any(can_fail));
        let with = |left: &Expr, right: &Expr| {
            let [left, right] = [left, right].map(|side| Box::new(side.clone()));
            Expr::Compare { op, comparands, left, right }
        };
        let each: Vec<Expr> = match (op, left, right) {
            (CompareOp::Lt | CompareOp::Le, _, Expr::Extreme { of, .. }) if least(right) => {
                of.iter().map(|of| with(left, of)).collect()
            }
            (CompareOp::Gt | CompareOp::Ge, Expr::Extreme { of, .. }, _) if least(left) => {
                of.iter().map(|of| with(of, right)).collect()
            }
            _ => return None,
        };
        self.all(&each)
    }

    fn tolerance(&mut self, op: CompareOp, left: &Expr, right: &Expr) -> Option<Node> {
        let (lesser, greater) = match op {
            CompareOp::Lt | CompareOp::Le => (left, right),
            CompareOp::Gt | CompareOp::Ge => (right, left),
            CompareOp::Eq | CompareOp::Ne => return None,
        };
        let Tolerance { low, high, point, name } = tolerance(lesser, greater, self.anchor)?;
        let nodes = [(low, CompareOp::Le), (high, CompareOp::Ge)].map(|(end, op)| {
            let (column, value) = (Operand::Column(self.kept.column(&end)?), point.clone());
            let node = self.leaf(column, 60, "the anchor's own band", |bound| match point.kind() {
                ValueKind::Int => Ask::IntEdge { bound, op, value },
                _ => Ask::Double { bound, op, value },
            });
            self.leaves.last_mut()?.name = Some(name.clone());
            Some(node)
        });
        self.gather(true, nodes.into_iter().collect::<Option<Vec<_>>>()?)
    }

    fn distance(&mut self, op: CompareOp, left: &Expr, right: &Expr) -> Option<Node> {
        let (mut distance, of) = Distance::new(op, [left, right], self.anchor, self.kept)?;
        let what = if distance.squared() { "squared distance" } else { "distance" };
        Some(match of {
            Of::Column(column) => self.leaf(Operand::Column(column), 20, "band", |bound| {
                distance.bind(bound);
                Ask::Distance(Box::new(distance))
            }),
            Of::Sum(sum) => {
                let known = self.kept.sums.iter().position(|other| *other == sum);
                let sum = known.unwrap_or_else(|| {
                    self.kept.sums.push(sum);
                    self.kept.sums.len() - 1
                });
                self.leaf(Operand::Sum(sum), 5, what, |bound| {
                    distance.bind(bound);
                    Ask::Distance(Box::new(distance))
                })
            }
        })
    }

    fn comparison(&mut self, op: CompareOp, left: &Expr, right: &Expr) -> Option<Node> {
        let (mut comparison, columns) = Comparison::new(op, [left, right], self.anchor, self.kept)?;
        let passes = if op == CompareOp::Eq { 10 } else { 40 };
        let (mut nodes, mut bounds) = (vec![], vec![]);
        let operands = columns.iter().map(|(column, _)| Operand::Column(*column));
        let probe = columns.is_empty().then_some(Operand::Probe);
        for of in operands.chain(probe) {
            bounds.push(self.leaves.len());
            let what = if of == Operand::Probe { "the time waited" } else { "range" };
            nodes.push(self.fixed_leaf(Bound::Always, of, passes, what));
        }
        comparison.bind(&bounds);
        self.asks.push(Ask::Comparison(Box::new(comparison)));
        self.gather(true, nodes)
    }
}
