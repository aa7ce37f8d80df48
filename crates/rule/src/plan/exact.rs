//! Rules whose filter says yes as surely as it says no: what they let through need not be tested again.
//!
//! Invariant exact.X1: of such a rule, whatever pair agrees in the values of the key's attributes, and passes the
//! filter on cells that are values (no lane is wild) with no bound that is `Always`, the rule is true. That is so
//! because every conjunct is either one of the key, and then equal values are all it asks for, or a comparison of the
//! forms below, whose only leaf is as narrow as itself: within what a cell holds, nothing in it overflows or is
//! rounded.

use super::ask::Ask;
use super::conjunct::{Conjunct, ConjunctRole};
use super::draft::Filter;
use super::key::{Key, Part};
use crate::expr::{ArithmeticOp, Comparands, CompareOp, Expr};
use crate::filter::Node;
use crate::value::{Value, ValueKind};

/// The attributes the key is made of, if the rule is exact.
pub(super) fn exact(conjuncts: &[Conjunct], key: &Key, filters: &[Filter; 2]) -> Option<Box<[usize]>> {
    let attribute = |part: &Part| match part {
        Part::Same(Expr::Attribute(of)) if of.kind != ValueKind::StringList => Some(of.index),
        _ => None,
    };
    let attributes = key.parts.iter().map(attribute).collect::<Option<_>>()?;
    let of = |role: ConjunctRole| conjuncts.iter().filter(move |conjunct| conjunct.role == role);
    let columns = of(ConjunctRole::Columns).count();
    let known = of(ConjunctRole::Key).count() == key.parts.len()
        && of(ConjunctRole::Residual).count() == 0
        && of(ConjunctRole::Columns).all(|conjunct| comparison(&conjunct.expr))
        && filters.iter().all(|filter| narrow(filter, columns));
    known.then_some(attributes)
}

/// Whether a filter is a conjunction of that many leaves, each as narrow as what it is for.
fn narrow(filter: &Filter, leaves: usize) -> bool {
    let leaf = |node: &Node| matches!(node, Node::Leaf { .. });
    let flat = match &filter.root {
        Node::All(of) => of.len() == leaves && of.iter().all(leaf),
        root => leaves == 1 && leaf(root),
    };
    let asks = |ask: &Ask| matches!(ask, Ask::Int { .. } | Ask::IntBand { .. } | Ask::Symbol { .. });
    flat && filter.bounds.len() == leaves && filter.asks.len() == leaves && filter.asks.iter().all(asks)
}

/// Whether it compares two ints, the distance of two ints with a third that is written, or tells whether two strings
/// are equal.
fn comparison(expr: &Expr) -> bool {
    let Expr::Compare { op, comparands: Comparands::Same(kind), left, right } = expr else { return false };
    let plain = |of: &Expr| matches!(of, Expr::Attribute(_) | Expr::Literal(_));
    let plain_pair = plain(left) && plain(right);
    match kind {
        ValueKind::Int => plain_pair || matches!(op, CompareOp::Lt | CompareOp::Le) && band(left, right),
        ValueKind::String => plain_pair && matches!(op, CompareOp::Eq | CompareOp::Ne),
        _ => false,
    }
}

/// `abs(a.x - b.y)` and an int that is written.
fn band(left: &Expr, right: &Expr) -> bool {
    let Expr::Abs { of, .. } = left else { return false };
    let Expr::Arithmetic { op: ArithmeticOp::Sub, left: from, right: less, .. } = &**of else { return false };
    let attribute = |of: &Expr| matches!(of, Expr::Attribute(_));
    attribute(from) && attribute(less) && matches!(right, Expr::Literal(Value::Int(_)))
}
