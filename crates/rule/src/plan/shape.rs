//! What an expression is made of: whose values it needs, which range it stays in, whether it can fail.

use crate::expr::{ArithmeticOp, AttributeRef, End, Expr};
use crate::range::{self, Range};
use crate::value::{LIST_LEN_MAX, STRING_BYTES_MAX, Value, ValueKind};

/// Which elements' values an expression needs, by end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Uses {
    row: [bool; 2],
    waited: [bool; 2],
}

impl Uses {
    pub(super) fn of(expr: &Expr) -> Uses {
        let mut uses = Uses::default();
        uses.add(expr);
        uses
    }

    fn add(&mut self, expr: &Expr) {
        match expr {
            Expr::Attribute(of) | Expr::Has(of) => self.row[of.end as usize] = true,
            Expr::Waited(end) => self.waited[*end as usize] = true,
            _ => expr.for_each_operand(|operand| self.add(operand)),
        }
    }

    /// No element's.
    pub(super) fn constant(self) -> bool {
        self == Uses::default()
    }

    /// This element's attributes, and nothing else.
    pub(super) fn row_of(self, end: End) -> bool {
        self.row[end as usize] && !self.row[other(end) as usize] && self.waited == [false; 2]
    }

    /// None of this element's attributes.
    pub(super) fn spares_row(self, end: End) -> bool {
        !self.row[end as usize]
    }

    /// Nothing of this element.
    pub(super) fn spares(self, end: End) -> bool {
        !self.row[end as usize] && !self.waited[end as usize]
    }
}

pub(super) fn other(end: End) -> End {
    match end {
        End::A => End::B,
        End::B => End::A,
    }
}

/// The expression with every end replaced.
pub(super) fn renamed(expr: &Expr, to: &impl Fn(End) -> End) -> Expr {
    let attribute = |of: &AttributeRef| AttributeRef { end: to(of.end), ..of.clone() };
    match expr {
        Expr::Attribute(of) => Expr::Attribute(attribute(of)),
        Expr::Has(of) => Expr::Has(attribute(of)),
        Expr::Waited(end) => Expr::Waited(to(*end)),
        _ => with_operands(expr, &mut |operand| renamed(operand, to)),
    }
}

/// The expression with its direct operands replaced, each by one of its kind.
pub(super) fn with_operands(expr: &Expr, replace: &mut dyn FnMut(&Expr) -> Expr) -> Expr {
    let mut boxed = |of: &Expr| Box::new(replace(of));
    match expr {
        Expr::Literal(_) | Expr::Attribute(_) | Expr::Waited(_) | Expr::Has(_) => expr.clone(),
        Expr::Not(of) => Expr::Not(boxed(of)),
        Expr::ToDouble(of) => Expr::ToDouble(boxed(of)),
        Expr::Size { kind, of } => Expr::Size { kind: *kind, of: boxed(of) },
        Expr::Negate { kind, of } => Expr::Negate { kind: *kind, of: boxed(of) },
        Expr::Abs { kind, of } => Expr::Abs { kind: *kind, of: boxed(of) },
        Expr::And(of) => Expr::And(of.iter().map(replace).collect()),
        Expr::Or(of) => Expr::Or(of.iter().map(replace).collect()),
        Expr::Extreme { max, kind, of } => {
            Expr::Extreme { max: *max, kind: *kind, of: of.iter().map(replace).collect() }
        }
        Expr::Choice { condition, then, otherwise } => {
            Expr::Choice { condition: boxed(condition), then: boxed(then), otherwise: boxed(otherwise) }
        }
        Expr::Compare { op, comparands, left, right } => {
            Expr::Compare { op: *op, comparands: *comparands, left: boxed(left), right: boxed(right) }
        }
        Expr::InItems { needle, kind, items } => {
            Expr::InItems { needle: boxed(needle), kind: *kind, items: items.iter().map(replace).collect() }
        }
        Expr::InList { needle, list } => Expr::InList { needle: boxed(needle), list: boxed(list) },
        Expr::Intersects { left, right } => Expr::Intersects { left: boxed(left), right: boxed(right) },
        Expr::Text { op, text, part } => Expr::Text { op: *op, text: boxed(text), part: boxed(part) },
        Expr::Arithmetic { op, kind, left, right } => {
            Expr::Arithmetic { op: *op, kind: *kind, left: boxed(left), right: boxed(right) }
        }
    }
}

/// Whether evaluating the expression can be an error, on any pair.
pub(super) fn can_fail(expr: &Expr) -> bool {
    let mut fails = false;
    look_for_failure(expr, &mut fails);
    fails
}

fn look_for_failure(expr: &Expr, fails: &mut bool) {
    if expr.kind().is_number() {
        natural(expr, fails);
    } else {
        expr.for_each_operand(|operand| look_for_failure(operand, fails));
    }
}

/// Where a number's value lies whatever the elements are, and in `fails` whether there may be an error instead.
pub(super) fn natural(expr: &Expr, fails: &mut bool) -> Range {
    natural_within(expr, [i64::MAX; 2], fails)
}

/// The same while `a.waited` and `b.waited` are at most so much.
pub(super) fn natural_within(expr: &Expr, waited_max: [i64; 2], fails: &mut bool) -> Range {
    let natural = |expr: &Expr, fails: &mut bool| natural_within(expr, waited_max, fails);
    let whole = |kind| match kind {
        ValueKind::Int => Range::Int(i64::MIN, i64::MAX),
        _ => Range::Double(f64::NEG_INFINITY, f64::INFINITY),
    };
    match expr {
        Expr::Literal(Value::Int(int)) => Range::Int(*int, *int),
        Expr::Literal(Value::Double(double)) => Range::Double(*double, *double),
        Expr::Waited(end) => Range::Int(0, waited_max[*end as usize]),
        Expr::Size { kind, of } => {
            look_for_failure(of, fails);
            Range::Int(0, if *kind == ValueKind::String { STRING_BYTES_MAX } else { LIST_LEN_MAX } as i64)
        }
        Expr::Negate { of, .. } => range::negate(natural(of, fails), fails),
        Expr::Abs { of, .. } => range::abs(natural(of, fails), fails),
        Expr::ToDouble(of) => range::to_double(natural(of, fails)),
        Expr::Arithmetic { op: ArithmeticOp::Mul, left, right, .. } if left == right => {
            range::square(natural(left, fails), fails)
        }
        Expr::Arithmetic { op, left, right, .. } => {
            let (left, right) = (natural(left, fails), natural(right, fails));
            range::arithmetic(*op, left, right, fails)
        }
        Expr::Extreme { max, of, .. } => {
            let first = natural(&of[0], fails);
            of[1..].iter().fold(first, |best, operand| range::extreme(*max, best, natural(operand, fails)))
        }
        Expr::Choice { condition, then, otherwise } => {
            look_for_failure(condition, fails);
            range::hull(natural(then, fails), natural(otherwise, fails))
        }
        _ => whole(expr.kind()),
    }
}
