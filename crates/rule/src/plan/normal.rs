//! The rule in the form that is planned: negations moved down into comparisons, constants folded, conjunctions flat.
//!
//! Invariant: a normal expression has the value of the original on every pair, is missing where it is missing and an
//! error where it is an error. Only which of several errors is named may differ.

use super::shape::{Uses, with_operands};
use crate::eval::Pair;
use crate::expr::{CompareOp, Expr};
use crate::row::{Row, Side};
use crate::value::{Value, ValueKind};

/// The conjuncts of a rule. None if it is always true.
pub(super) fn conjuncts(rule: &Expr) -> Vec<Expr> {
    match normal(rule, false) {
        Expr::And(of) => of.into_vec(),
        Expr::Literal(Value::Bool(true)) => vec![],
        other => vec![other],
    }
}

/// The expression in normal form, or its negation.
pub(super) fn normal(expr: &Expr, negated: bool) -> Expr {
    let shaped = match expr {
        Expr::Not(of) => return normal(of, !negated),
        Expr::And(of) => return join(!negated, of.iter().map(|operand| normal(operand, negated))),
        Expr::Or(of) => return join(negated, of.iter().map(|operand| normal(operand, negated))),
        Expr::Compare { op, comparands, left, right } => {
            let [left, right] = [left, right].map(|operand| Box::new(normal(operand, false)));
            let op = if negated { opposite(*op) } else { *op };
            Expr::Compare { op, comparands: *comparands, left, right }
        }
        Expr::Choice { condition, then, otherwise } => {
            let condition = normal(condition, false);
            let [then, otherwise] = [then, otherwise].map(|branch| normal(branch, negated));
            match condition {
                Expr::Literal(Value::Bool(true)) => return then,
                Expr::Literal(Value::Bool(false)) => return otherwise,
                condition => {
                    let [condition, then, otherwise] = [condition, then, otherwise].map(Box::new);
                    Expr::Choice { condition, then, otherwise }
                }
            }
        }
        _ => {
            let same = with_operands(expr, &mut |operand| normal(operand, false));
            if negated { Expr::Not(Box::new(same)) } else { same }
        }
    };
    if Uses::of(&shaped).constant() { constant(&shaped).unwrap_or(shaped) } else { shaped }
}

/// `&&`, or `||`, of normal operands: none of the same operator, none literal, none twice.
pub(super) fn join(all: bool, operands: impl Iterator<Item = Expr>) -> Expr {
    let mut flat: Vec<Expr> = Vec::new();
    let mut add = |operand: Expr| {
        if operand != Expr::Literal(Value::Bool(all)) && !flat.contains(&operand) {
            flat.push(operand);
        }
    };
    for operand in operands {
        match operand {
            Expr::And(inner) if all => inner.into_iter().for_each(&mut add),
            Expr::Or(inner) if !all => inner.into_iter().for_each(&mut add),
            other => add(other),
        }
    }
    let decided = Expr::Literal(Value::Bool(!all));
    match flat.len() {
        _ if flat.contains(&decided) => decided,
        0 => Expr::Literal(Value::Bool(all)),
        1 => flat.remove(0),
        _ if all => Expr::And(flat.into()),
        _ => Expr::Or(flat.into()),
    }
}

/// What is true when the comparison is false, and missing or an error when it is.
fn opposite(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Eq => CompareOp::Ne,
        CompareOp::Ne => CompareOp::Eq,
        CompareOp::Lt => CompareOp::Ge,
        CompareOp::Le => CompareOp::Gt,
        CompareOp::Gt => CompareOp::Le,
        CompareOp::Ge => CompareOp::Lt,
    }
}

/// The literal an expression without attributes is equal to. None if it is missing, an error or infinite, for which
/// there are no literals.
fn constant(expr: &Expr) -> Option<Expr> {
    let row = Row::from_values([]);
    let side = Side { row: &row, waited_ms: 0 };
    let pair = Pair { a: side, b: side };
    let value = match expr.kind() {
        ValueKind::Bool => Value::Bool(pair.bool(expr).ok()?),
        ValueKind::Int => Value::Int(pair.int(expr).ok()?),
        ValueKind::Double => Value::Double(pair.double(expr).ok().filter(|double| double.is_finite())?),
        ValueKind::String => Value::from(pair.string(expr).ok()?),
        ValueKind::StringList => Value::StringList(pair.list(expr).ok()?.iter().map(Box::from).collect()),
    };
    Some(Expr::Literal(value))
}
