//! A conjunct of the plan: what it is, what part it plays, and what it says of one pair.

use std::fmt;

use crate::error::EvalError;
use crate::eval::{Absent, Outcome, Pair};
use crate::expr::{CompareOp, Expr};
use crate::row::Side;
use crate::value::{Value, ValueKind};

/// What part a conjunct plays in a search. Prints as `key`, `columns` and `residual`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConjunctRole {
    /// Elements are kept apart by it, and only those that agree are looked at.
    Key,
    /// Anchors are turned away by columns, 64 at a time.
    Columns,
    /// Only the rule itself tells, pair by pair, on what columns let through.
    Residual,
}

impl fmt::Display for ConjunctRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ConjunctRole::Key => "key",
            ConjunctRole::Columns => "columns",
            ConjunctRole::Residual => "residual",
        })
    }
}

/// What a conjunct says of one pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is true.
    Holds,
    /// It is false.
    Fails,
    /// Something it needs is missing, or arithmetic gives no number; [`Conjunct::no_number`] tells which.
    Missing,
    /// It went wrong.
    Error(EvalError),
}

/// One of the parts of a rule that must all hold.
#[derive(Debug, Clone)]
pub struct Conjunct {
    pub(super) expr: Expr,
    pub(super) role: ConjunctRole,
    pub(super) how: String,
    pub(super) cost: u64,
}

impl Conjunct {
    /// The conjunct, its negations moved into comparisons and its constants folded.
    pub fn expr(&self) -> &Expr {
        &self.expr
    }

    /// The conjunct as CEL.
    pub fn text(&self) -> String {
        self.expr.to_string()
    }

    /// What part it plays.
    pub fn role(&self) -> ConjunctRole {
        self.role
    }

    /// How columns tell, in words: `skill: band`. Empty for a residual, and for a key that is all the conjunct asks
    /// for.
    pub fn how(&self) -> &str {
        &self.how
    }

    /// What it costs at worst to evaluate it on one pair, in units of [`Rule::cost`](crate::Rule::cost).
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// What it says of a pair. `a` is the element with the lower id.
    pub fn verdict(&self, a: Side<'_>, b: Side<'_>) -> Verdict {
        match (Pair { a, b }).bool(&self.expr) {
            Ok(true) => Verdict::Holds,
            Ok(false) => Verdict::Fails,
            Err(Absent::Missing) => Verdict::Missing,
            Err(Absent::Error(error)) => Verdict::Error(error),
        }
    }

    /// What arithmetic gives no number for, if that is why the verdict on a pair is [`Verdict::Missing`]: every
    /// attribute that was looked at is there. In words, with the values: `a.x - b.x is not a number: Infinity -
    /// Infinity`.
    pub fn no_number(&self, a: Side<'_>, b: Side<'_>) -> Option<String> {
        let pair = Pair { a, b };
        let Some(Cause::NoNumber(of)) = cause(&pair, &self.expr) else { return None };
        let Expr::Arithmetic { op, left, right, .. } = of else { return None };
        let (left, right) = (value(&pair, left).ok()?, value(&pair, right).ok()?);
        Some(format!("{of} is not a number: {left} {op} {right}"))
    }

    /// The two sides of a comparison, if it is one. `sides` says what they are on a pair.
    pub fn comparison(&self) -> Option<(CompareOp, &Expr, &Expr)> {
        match &self.expr {
            Expr::Compare { op, left, right, .. } => Some((*op, left, right)),
            _ => None,
        }
    }

    /// The values of a comparison's two sides on a pair. `None` if it is none, or if either is missing or an error.
    pub fn sides(&self, a: Side<'_>, b: Side<'_>) -> Option<(Value, CompareOp, Value)> {
        let (op, left, right) = self.comparison()?;
        let pair = Pair { a, b };
        Some((value(&pair, left).ok()?, op, value(&pair, right).ok()?))
    }
}

/// Why an expression is missing on a pair.
enum Cause<'e> {
    /// So is an attribute.
    Attribute,
    /// All its operands have values.
    NoNumber(&'e Expr),
}

/// None for one that has a value, or is an error. Looks only at what evaluation looks at.
fn cause<'e>(pair: &Pair<Side<'_>>, expr: &'e Expr) -> Option<Cause<'e>> {
    if value(pair, expr).err() != Some(Absent::Missing) {
        return None;
    }
    match expr {
        Expr::Attribute(_) => Some(Cause::Attribute),
        Expr::Choice { condition, then, otherwise } => match pair.bool(condition) {
            Ok(chosen) => cause(pair, if chosen { then } else { otherwise }),
            Err(_) => cause(pair, condition),
        },
        _ => {
            let mut found = None;
            expr.for_each_operand(|operand| match (cause(pair, operand), &found) {
                (Some(Cause::Attribute), _) => found = Some(Cause::Attribute),
                (Some(no_number), None) => found = Some(no_number),
                _ => {}
            });
            found.or(Some(Cause::NoNumber(expr)))
        }
    }
}

/// What an expression is on a pair.
pub(super) fn value(pair: &Pair<Side<'_>>, expr: &Expr) -> Outcome<Value> {
    Ok(match expr.kind() {
        ValueKind::Int => Value::Int(pair.int(expr)?),
        ValueKind::Double => Value::Double(pair.double(expr)?),
        ValueKind::String => Value::from(pair.string(expr)?),
        ValueKind::Bool => Value::Bool(pair.bool(expr)?),
        ValueKind::StringList => Value::StringList(pair.list(expr)?.iter().map(Box::from).collect()),
    })
}
