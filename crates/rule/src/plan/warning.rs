//! What the author of a rule should know: that it cannot match, or that it is not what it seems.
//!
//! Sound where it matters: a rule that is said never to match never does, and one that is said to match every pair
//! does. Other such rules may go unnoticed.

use std::collections::BTreeMap;
use std::fmt;

use super::conjunct::{Conjunct, ConjunctRole};
use super::needed::Needed;
use super::normal::normal;
use super::shape::{Uses, natural, natural_within};
use super::symmetry::{canonical, symmetric};
use crate::expr::{CompareOp, End, Expr};
use crate::range::{self, Range};
use crate::value::Value;

/// A residual from here on costs about two microseconds a pair. Two lists in which something is looked up stay below.
const COST_NOTED: u64 = 1024;

/// Something to know about a rule. Prints as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// No pair can satisfy the rule.
    NeverMatches {
        /// What stands against it.
        because: String,
    },
    /// Every pair satisfies the rule.
    AlwaysMatches,
    /// The rule may say another thing of a pair with the roles exchanged.
    Asymmetric {
        /// The conjuncts that do not read the same both ways.
        conjuncts: Vec<String>,
    },
    /// An element without these attributes never matches, since a negation needs them.
    MissingNeverMatches {
        /// As `blocked`, or `blocked as b`.
        needed: Vec<Needed>,
    },
    /// Every pair is tested by the rule itself: nothing turns anchors away before.
    EveryPairTested,
    /// A conjunct that only the rule itself can test, and that costs much.
    CostlyResidual {
        /// The conjunct.
        conjunct: String,
        /// Its cost in units.
        cost: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NeverMatches { because } => write!(f, "never matches: {because}"),
            Warning::AlwaysMatches => f.write_str("matches every pair"),
            Warning::Asymmetric { conjuncts } => {
                write!(f, "not the same with a and b exchanged, so who arrives first matters: {}", conjuncts.join("; "))
            }
            Warning::MissingNeverMatches { needed } => {
                let names: Vec<String> = needed.iter().map(Needed::to_string).collect();
                let end = needed.first().and_then(|one| one.end).unwrap_or(End::B);
                let first = needed.first().map_or("x", |one| one.attribute.as_str());
                write!(
                    f,
                    "an element without {} never matches, since the ! of what is missing is missing; to let it match, \
                     write !has({end}.{first}) || ...",
                    names.join(" or ")
                )
            }
            Warning::EveryPairTested => f.write_str("no key and no column helps: every pair is tested one by one"),
            Warning::CostlyResidual { conjunct, cost } => {
                write!(f, "costs up to {cost} units on every pair that gets this far: {conjunct}")
            }
        }
    }
}

/// The warnings about a rule made of these conjuncts, most important first.
pub(super) fn warnings(conjuncts: &[Conjunct], needed: &[Needed]) -> Vec<Warning> {
    if conjuncts.is_empty() {
        return vec![Warning::AlwaysMatches];
    }
    let mut found: Vec<Warning> =
        contradiction(conjuncts).map(|because| Warning::NeverMatches { because }).into_iter().collect();
    found.extend(asymmetry(conjuncts));
    if conjuncts.iter().all(|conjunct| conjunct.role == ConjunctRole::Residual) {
        found.push(Warning::EveryPairTested);
    }
    found.extend(
        conjuncts
            .iter()
            .filter(|one| one.role == ConjunctRole::Residual && one.cost >= COST_NOTED)
            .map(|one| Warning::CostlyResidual { conjunct: one.text(), cost: one.cost }),
    );
    let needed: Vec<Needed> = needed.iter().filter(|one| one.negated).cloned().collect();
    if !needed.is_empty() {
        found.push(Warning::MissingNeverMatches { needed });
    }
    found
}

/// The comparisons with `waited` that are never true while `a.waited` and `b.waited` are at most so much, though they
/// could be. Of a choice also those that are never false.
pub(super) fn unreached(conjuncts: &[Conjunct], waited_max: [i64; 2]) -> Vec<String> {
    let mut found = Vec::new();
    conjuncts.iter().for_each(|one| look_for_unreached(&one.expr, false, waited_max, &mut found));
    found
}

/// With `either`, comparisons that are never false count as well. Each part is looked at once.
fn look_for_unreached(expr: &Expr, either: bool, waited_max: [i64; 2], found: &mut Vec<String>) {
    match expr {
        Expr::Compare { left, .. } if left.kind().is_number() => {
            if !expr.uses_time() {
                return;
            }
            let opposite = either.then(|| normal(expr, true));
            for of in [Some(expr), opposite.as_ref()].into_iter().flatten() {
                let text = of.to_string();
                if possible(of) && !possible_within(of, waited_max) && !found.contains(&text) {
                    found.push(text);
                }
            }
        }
        Expr::Choice { condition, then, otherwise } => {
            look_for_unreached(condition, true, waited_max, found);
            look_for_unreached(then, either, waited_max, found);
            look_for_unreached(otherwise, either, waited_max, found);
        }
        _ => expr.for_each_operand(|operand| look_for_unreached(operand, either, waited_max, found)),
    }
}

/// The rule as a whole decides; the conjuncts whose mirror image is no conjunct are named.
fn asymmetry(conjuncts: &[Conjunct]) -> Option<Warning> {
    let mirror = |one: &Conjunct| canonical(&super::shape::renamed(&one.expr, &super::shape::other));
    let texts: Vec<String> = conjuncts.iter().map(|one| canonical(&one.expr)).collect();
    let odd: Vec<String> = conjuncts
        .iter()
        .filter(|one| !symmetric(&one.expr) && !texts.contains(&mirror(one)))
        .map(Conjunct::text)
        .collect();
    (!odd.is_empty()).then_some(Warning::Asymmetric { conjuncts: odd })
}

/// Why no pair can satisfy all of the conjuncts.
fn contradiction(conjuncts: &[Conjunct]) -> Option<String> {
    if let Some(one) = conjuncts.iter().find(|one| !possible(&one.expr)) {
        return Some(format!("{} is never true", one.text()));
    }
    let comparisons = || conjuncts.iter().filter_map(|one| Some((one, one.comparison()?)));
    // Of each two things compared, which orders are allowed: less, equal, greater.
    let mut orders: BTreeMap<(String, String), (u8, Vec<String>)> = BTreeMap::new();
    let mut ranges: BTreeMap<String, (Range, Vec<String>)> = BTreeMap::new();
    let mut equals: BTreeMap<String, (&Value, String)> = BTreeMap::new();
    for (one, (op, left, right)) in comparisons() {
        let (l, r) = (left.to_string(), right.to_string());
        let (pair, op) = if l <= r { ((l, r), op) } else { ((r, l), super::lower::mirrored(op)) };
        let (allowed, texts) = orders.entry(pair).or_insert((0b111, vec![]));
        texts.push(one.text());
        *allowed &= mask(op);
        if *allowed == 0 {
            return Some(format!("{} contradict each other", texts.join(" and ")));
        }
    }
    for (one, (op, left, right)) in comparisons() {
        let (of, literal, op) = match (left, right) {
            (of, Expr::Literal(literal)) => (of, literal, op),
            (Expr::Literal(literal), of) => (of, literal, super::lower::mirrored(op)),
            _ => continue,
        };
        let text = of.to_string();
        if let (CompareOp::Eq, Value::String(_)) = (op, literal) {
            let (first, first_text) = equals.entry(text.clone()).or_insert((literal, one.text()));
            if *first != literal {
                return Some(format!("{first_text} and {} contradict each other", one.text()));
            }
        }
        if of.kind().is_number() {
            let (range, texts) = ranges.entry(text).or_insert_with(|| (natural(of, &mut false), vec![]));
            texts.push(one.text());
            let mut value = natural(&Expr::Literal(literal.clone()), &mut false);
            if !range::relate(op, range, &mut value) {
                return Some(format!("{} contradict each other", texts.join(" and ")));
            }
        }
    }
    None
}

fn mask(op: CompareOp) -> u8 {
    match op {
        CompareOp::Eq => 0b010,
        CompareOp::Ne => 0b101,
        CompareOp::Lt => 0b100,
        CompareOp::Le => 0b110,
        CompareOp::Gt => 0b001,
        CompareOp::Ge => 0b011,
    }
}

/// Whether the expression may be true, as far as its form tells.
fn possible(expr: &Expr) -> bool {
    possible_within(expr, [i64::MAX; 2])
}

/// The same while `a.waited` and `b.waited` are at most so much.
fn possible_within(expr: &Expr, waited_max: [i64; 2]) -> bool {
    let possible = |expr: &Expr| possible_within(expr, waited_max);
    match expr {
        Expr::And(of) => of.iter().all(possible),
        Expr::Or(of) => of.iter().any(possible),
        Expr::Choice { condition, then, otherwise } => possible(condition) && possible(then) || possible(otherwise),
        Expr::Compare { op, left, right, .. } => {
            if left == right && mask(*op) & 0b010 == 0 {
                return false;
            }
            if !left.kind().is_number() {
                return !Uses::of(expr).constant();
            }
            let range = |of: &Expr| natural_within(of, waited_max, &mut false);
            let (mut left, mut right) = (range(left), range(right));
            range::relate(*op, &mut left, &mut right) && !Uses::of(expr).constant()
        }
        Expr::Literal(literal) => *literal == Value::Bool(true),
        // What has no attribute and is no literal is missing or an error: it would have been folded.
        _ => !Uses::of(expr).constant(),
    }
}
