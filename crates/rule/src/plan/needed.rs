//! Which attributes an element cannot do without.
//!
//! Sound, not complete: an element without what is said to be needed never matches at that end; a rule may need more,
//! in ways that its form does not show.

use std::collections::BTreeMap;

use super::conjunct::Conjunct;
use super::shape::other;
use crate::expr::{AttributeRef, End, Expr};
use crate::value::Value;

/// An attribute that an element never matches without. Prints as `region`, or `rating as b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Its name.
    pub attribute: String,
    /// At which end; none for whichever the element is.
    pub end: Option<End>,
    /// Whether only negations need it, as in `!(a.name in b.blocked)`: an element without the list looks as if the name
    /// were not in it.
    pub negated: bool,
}

impl std::fmt::Display for Needed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.end {
            None => f.write_str(&self.attribute),
            Some(end) => write!(f, "{} as {end}", self.attribute),
        }
    }
}

/// The attributes, by their position in the schema and their end. `None` of them: no pair does it.
type Needs = Option<BTreeMap<(usize, End), Box<str>>>;

/// What is needed for all of the conjuncts to be true, in the order of the schema.
pub(super) fn needed(conjuncts: &[Conjunct]) -> Vec<Needed> {
    let all = |negations| union(conjuncts.iter().map(|one| when_true(&one.expr, negations)));
    let (Some(needs), Some(plainly)) = (all(true), all(false)) else { return vec![] };
    let mut found = Vec::new();
    for (&(index, end), name) in &needs {
        let opposite = (index, other(end));
        let both = needs.contains_key(&opposite);
        if both && end == End::B {
            continue;
        }
        let needed_plainly = plainly.contains_key(&(index, end)) || both && plainly.contains_key(&opposite);
        found.push(Needed { attribute: name.to_string(), end: (!both).then_some(end), negated: !needed_plainly });
    }
    found
}

fn one(of: &AttributeRef) -> Needs {
    Some(BTreeMap::from([((of.index, of.end), of.name.clone())]))
}

fn union(of: impl Iterator<Item = Needs>) -> Needs {
    of.reduce(|one, other| {
        let mut all = one?;
        all.extend(other?);
        Some(all)
    })
    .unwrap_or_else(|| Some(BTreeMap::new()))
}

fn shared(of: impl Iterator<Item = Needs>) -> Needs {
    of.reduce(|one, other| match (one, other) {
        (None, one) | (one, None) => one,
        (Some(one), Some(other)) => Some(one.into_iter().filter(|(need, _)| other.contains_key(need)).collect()),
    })
    .unwrap_or_else(|| Some(BTreeMap::new()))
}

/// What is there whenever a normal bool is true. Without `negations`, what only they need is left out.
fn when_true(expr: &Expr, negations: bool) -> Needs {
    match expr {
        Expr::Literal(Value::Bool(false)) => None,
        Expr::Has(of) => one(of),
        Expr::And(of) => union(of.iter().map(|operand| when_true(operand, negations))),
        Expr::Or(of) => shared(of.iter().map(|operand| when_true(operand, negations))),
        Expr::Choice { condition, then, otherwise } => {
            let branches = [then, otherwise].into_iter().map(|branch| when_true(branch, negations));
            union([when_there(condition), shared(branches)].into_iter())
        }
        Expr::InItems { needle, items, .. } => {
            let items = shared(items.iter().map(when_there));
            union([when_there(needle), items].into_iter())
        }
        Expr::Not(_) if !negations => Some(BTreeMap::new()),
        // It is false only if it is none of them.
        Expr::Not(of) if let Expr::InItems { needle, items, .. } = &**of => {
            union([&**needle].into_iter().chain(items).map(when_there))
        }
        _ => when_there(expr),
    }
}

/// What is there whenever the expression has a value.
fn when_there(expr: &Expr) -> Needs {
    match expr {
        Expr::Attribute(of) => one(of),
        // One operand may decide.
        Expr::And(of) | Expr::Or(of) => shared(of.iter().map(when_there)),
        Expr::Choice { condition, then, otherwise } => {
            let branches = [then, otherwise].into_iter().map(|branch| when_there(branch));
            union([when_there(condition), shared(branches)].into_iter())
        }
        // One equal item decides.
        Expr::InItems { needle, .. } => when_there(needle),
        _ => {
            let mut operands = Vec::new();
            expr.for_each_operand(|operand| operands.push(when_there(operand)));
            union(operands.into_iter())
        }
    }
}
