//! A second evaluator, which counts its steps: what the cost of a rule promises to bound.
//!
//! A step is one expression looked at, one item of an `in` compared, 64 bytes of two strings compared (a comparison is
//! one step at least), two bytes of a string searched or searched for, or one byte of a string counted. It goes
//! wherever the crate's evaluator goes, and sorts and looks up in lists as that does. It also tells false from missing,
//! which `Rule::test` does not.

use std::cmp::Ordering;

use dovetail_rule::expr::{ArithmeticOp, AttributeRef, CompareOp, End, Expr, TextOp};
use dovetail_rule::{EvalError, LIST_LEN_MAX, Rule, Side, Value};

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    Missing,
    Error(EvalError),
}

#[derive(Debug, Clone, Copy)]
enum Found<'a> {
    Int(i64),
    Double(f64),
    Text(&'a str),
    Bool(bool),
    List(&'a [Box<str>]),
}

/// What a rule says of a pair, and how many steps it took.
pub fn walk(rule: &Rule, a: Side<'_>, b: Side<'_>) -> (Result<bool, Absent>, u64) {
    let mut walk = Walk { a, b, steps: 0 };
    let answer = match walk.eval(rule.expr()) {
        Ok(Found::Bool(bool)) => Ok(bool),
        Ok(other) => panic!("a rule is {other:?}"),
        Err(absent) => Err(absent),
    };
    (answer, walk.steps)
}

/// Checks what must be so of every rule on every pair: that the crate's evaluator says what this one says, within the
/// rule's cost. Returns what it says.
pub fn check(rule: &Rule, a: Side<'_>, b: Side<'_>) -> Result<bool, Absent> {
    let (answer, steps) = walk(rule, a, b);
    let expected = match answer {
        Err(Absent::Missing) => Ok(false),
        Err(Absent::Error(error)) => Err(error),
        Ok(holds) => Ok(holds),
    };
    assert_eq!(rule.test(a, b), expected, "{}\n{a:?}\n{b:?}", rule.source());
    assert!(steps <= rule.cost(), "{steps} steps, but costs {}: {}\n{a:?}\n{b:?}", rule.cost(), rule.source());
    answer
}

struct Walk<'a> {
    a: Side<'a>,
    b: Side<'a>,
    steps: u64,
}

type Outcome<'a> = Result<Found<'a>, Absent>;

impl<'a> Walk<'a> {
    fn side(&self, end: End) -> Side<'a> {
        if end == End::A { self.a } else { self.b }
    }

    fn attribute(&self, attribute: &AttributeRef) -> Outcome<'a> {
        let value = self.side(attribute.end).row.values()[attribute.index].as_ref().ok_or(Absent::Missing)?;
        Ok(found(value))
    }

    fn eval<'e>(&mut self, expr: &'e Expr) -> Outcome<'e>
    where
        'a: 'e,
    {
        self.steps += 1;
        let result = match expr {
            Expr::Literal(value) => Ok(found(value)),
            Expr::Attribute(attribute) => self.attribute(attribute),
            Expr::Waited(end) => Ok(Found::Int(self.side(*end).waited_ms)),
            Expr::Has(attribute) => Ok(Found::Bool(self.attribute(attribute).is_ok())),
            Expr::And(of) => self.until(false, of),
            Expr::Or(of) => self.until(true, of),
            Expr::Choice { condition, then, otherwise } => match self.eval(condition)? {
                Found::Bool(true) => self.eval(then),
                Found::Bool(false) => self.eval(otherwise),
                other => panic!("a condition is {other:?}"),
            },
            Expr::InItems { needle, items, .. } => {
                let needle = self.eval(needle);
                let mut absent = Ok(Found::Bool(false));
                for item in items {
                    let item = self.eval(item);
                    match strict(&[needle, item]) {
                        Ok(()) => {
                            if self.order(value(needle), value(item), true).is_eq() {
                                return Ok(Found::Bool(true));
                            }
                        }
                        Err(new) => absent = worse(absent, new),
                    }
                }
                absent
            }
            _ => {
                // Eight of `min` and `max` at most; nothing is allocated, so that deep rules need little stack.
                let mut operands = [Ok(Found::Bool(false)); dovetail_rule::ARGUMENTS_MAX];
                let mut len = 0;
                expr.for_each_operand(|operand| {
                    operands[len] = self.eval(operand);
                    len += 1;
                });
                strict(&operands[..len])?;
                self.apply(expr, &operands[..len])
            }
        };
        match result {
            Ok(Found::Double(double)) if double.is_nan() => Err(Absent::Missing),
            result => result,
        }
    }

    /// `&&` and `||`.
    fn until<'e>(&mut self, decisive: bool, operands: &'e [Expr]) -> Outcome<'e>
    where
        'a: 'e,
    {
        let mut result = Ok(Found::Bool(!decisive));
        for operand in operands {
            match self.eval(operand) {
                Ok(Found::Bool(bool)) if bool == decisive => return Ok(Found::Bool(decisive)),
                Ok(_) => {}
                Err(absent) => result = worse(result, absent),
            }
        }
        result
    }

    /// A strict operator, on operands that are all there.
    fn apply<'e>(&mut self, expr: &Expr, operands: &[Outcome<'e>]) -> Outcome<'e> {
        use Found::{Bool, Double, Int, List, Text};
        let exact = |int: Option<i64>| int.map(Int).ok_or(Absent::Error(EvalError::Overflow));
        let (left, right) = (value(operands[0]), operands.get(1).map(|operand| value(*operand)));
        match (expr, left, right) {
            (Expr::Not(_), Bool(of), _) => Ok(Bool(!of)),
            (Expr::Negate { .. }, Int(of), _) => exact(0_i64.checked_sub(of)),
            (Expr::Negate { .. }, Double(of), _) => Ok(Double(-of)),
            (Expr::Abs { .. }, Int(of), _) => exact(of.checked_abs()),
            (Expr::Abs { .. }, Double(of), _) => Ok(Double(of.abs())),
            (Expr::ToDouble(_), Int(of), _) => Ok(Double(of as f64)),
            (Expr::Size { .. }, Text(of), _) => {
                self.steps += of.len() as u64;
                Ok(Int(of.chars().count() as i64))
            }
            (Expr::Size { .. }, List(of), _) => Ok(Int(of.len() as i64)),
            (Expr::Arithmetic { op, .. }, Int(left), Some(Int(right))) => match op {
                ArithmeticOp::Add => exact(left.checked_add(right)),
                ArithmeticOp::Sub => exact(left.checked_sub(right)),
                ArithmeticOp::Mul => exact(left.checked_mul(right)),
                _ if right == 0 => Err(Absent::Error(EvalError::DivisionByZero)),
                ArithmeticOp::Div => exact(left.checked_div(right)),
                ArithmeticOp::Rem => exact(left.checked_rem(right)),
            },
            (Expr::Arithmetic { op, .. }, Double(left), Some(Double(right))) => Ok(Double(match op {
                ArithmeticOp::Add => left + right,
                ArithmeticOp::Sub => left - right,
                ArithmeticOp::Mul => left * right,
                ArithmeticOp::Div => left / right,
                ArithmeticOp::Rem => panic!("% of doubles"),
            })),
            (Expr::Extreme { max, .. }, mut best, _) => {
                for operand in &operands[1..] {
                    let new = value(*operand);
                    let order = self.order(new, best, false);
                    if if *max { order.is_gt() } else { order.is_lt() } {
                        best = new;
                    }
                }
                Ok(best)
            }
            (Expr::Compare { op, .. }, left, Some(right)) => {
                let order = self.order(left, right, matches!(op, CompareOp::Eq | CompareOp::Ne));
                Ok(Bool(match op {
                    CompareOp::Eq => order.is_eq(),
                    CompareOp::Ne => order.is_ne(),
                    CompareOp::Lt => order.is_lt(),
                    CompareOp::Le => order.is_le(),
                    CompareOp::Gt => order.is_gt(),
                    CompareOp::Ge => order.is_ge(),
                }))
            }
            (Expr::InList { .. }, Text(needle), Some(List(list))) => {
                Ok(Bool(list.iter().any(|entry| self.compare(needle, entry, true).is_eq())))
            }
            (Expr::Intersects { .. }, List(left), Some(List(right))) => Ok(Bool(self.intersects(left, right))),
            (Expr::Text { op, .. }, Text(text), Some(Text(part))) => Ok(Bool(match op {
                TextOp::StartsWith => {
                    self.steps += blocks(text.len().min(part.len()));
                    text.starts_with(part)
                }
                TextOp::EndsWith => {
                    self.steps += blocks(text.len().min(part.len()));
                    text.ends_with(part)
                }
                TextOp::Contains => {
                    self.steps += (text.len() + part.len()).div_ceil(2) as u64;
                    text.contains(part)
                }
            })),
            _ => panic!("{expr} is applied to {operands:?}"),
        }
    }

    fn order(&mut self, left: Found<'_>, right: Found<'_>, equality: bool) -> Ordering {
        use Found::{Bool, Double, Int, List, Text};
        match (left, right) {
            (Int(left), Int(right)) => left.cmp(&right),
            (Double(left), Double(right)) => left.partial_cmp(&right).expect("NaN is missing"),
            (Int(left), Double(right)) => exactly(left, right),
            (Double(left), Int(right)) => exactly(right, left).reverse(),
            (Text(left), Text(right)) => self.compare(left, right, equality),
            (Bool(left), Bool(right)) => left.cmp(&right),
            (List(left), List(right)) if left.len() != right.len() => Ordering::Less,
            (List(left), List(right)) => {
                let same = left.iter().zip(right).all(|(left, right)| self.compare(left, right, true).is_eq());
                if same { Ordering::Equal } else { Ordering::Less }
            }
            other => panic!("{other:?} are compared"),
        }
    }

    fn compare(&mut self, left: &str, right: &str, equality: bool) -> Ordering {
        // Strings of different lengths are not equal; nobody looks at them.
        self.steps += if equality && left.len() != right.len() { 1 } else { blocks(left.len().min(right.len())) };
        left.cmp(right)
    }

    fn intersects(&mut self, left: &[Box<str>], right: &[Box<str>]) -> bool {
        let (shorter, longer) = if left.len() <= right.len() { (left, right) } else { (right, left) };
        if shorter.len() * longer.len() <= LIST_LEN_MAX {
            return longer.iter().any(|entry| shorter.iter().any(|other| self.compare(entry, other, true).is_eq()));
        }
        let mut sorted: Vec<&str> = shorter.iter().map(|entry| &**entry).collect();
        sorted.sort_unstable_by(|left, right| self.compare(left, right, false));
        longer.iter().any(|entry| sorted.binary_search_by(|other| self.compare(other, entry, false)).is_ok())
    }
}

fn blocks(bytes: usize) -> u64 {
    bytes.div_ceil(64).max(1) as u64
}

fn found(value: &Value) -> Found<'_> {
    match value {
        Value::Int(int) => Found::Int(*int),
        Value::Double(double) => Found::Double(*double),
        Value::String(text) => Found::Text(text),
        Value::Bool(bool) => Found::Bool(*bool),
        Value::StringList(list) => Found::List(list),
    }
}

fn value(outcome: Outcome<'_>) -> Found<'_> {
    outcome.expect("absent operands are seen to before")
}

/// Missing if an operand is, or else the first error.
fn strict(operands: &[Outcome<'_>]) -> Result<(), Absent> {
    let mut absent = operands.iter().filter_map(|operand| operand.err());
    let first = absent.next();
    match first {
        Some(Absent::Error(_)) if absent.any(|other| other == Absent::Missing) => Err(Absent::Missing),
        Some(first) => Err(first),
        None => Ok(()),
    }
}

/// What becomes of a chain when an operand is absent.
fn worse<'e>(so_far: Outcome<'e>, new: Absent) -> Outcome<'e> {
    match (so_far, new) {
        (Err(Absent::Missing), _) | (_, Absent::Missing) => Err(Absent::Missing),
        (Err(first), _) => Err(first),
        (Ok(_), error) => Err(error),
    }
}

/// How an int relates to a double, neither being rounded.
fn exactly(int: i64, double: f64) -> Ordering {
    // A double beyond 2^64 is beyond every int; below, its floor is an i128.
    let floor = double.clamp(-2e19, 2e19).floor();
    let fraction = if double > floor { Ordering::Less } else { Ordering::Equal };
    i128::from(int).cmp(&(floor as i128)).then(fraction)
}
