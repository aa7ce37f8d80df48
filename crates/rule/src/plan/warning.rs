//! What whoever writes a rule should know: that it cannot match, or that it is not what it seems.
//!
//! Sound where it matters: a rule said to match never does not, and one said to match everyone does. Other such rules
//! may go unnoticed.

use std::collections::BTreeMap;
use std::fmt;

use super::conjunct::{Conjunct, Role};
use super::key::{Key, needed};
use super::range::{self, Range};
use super::shape::{Uses, natural};
use super::symmetry::{canonical, symmetric};
use crate::expr::{CompareOp, Expr};
use crate::value::Value;

/// A residual from here on costs about a microsecond a pair.
const COST_NOTED: u64 = 512;

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
    /// An element without the key's attributes never matches.
    KeyMayBeMissing {
        /// Their names.
        attributes: Vec<String>,
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
            Warning::KeyMayBeMissing { attributes } => {
                write!(f, "an element without {} never matches", attributes.join(" or "))
            }
            Warning::EveryPairTested => f.write_str("no key and no column helps: every pair is tested one by one"),
            Warning::CostlyResidual { conjunct, cost } => {
                write!(f, "costs up to {cost} units on every pair that gets this far: {conjunct}")
            }
        }
    }
}

/// The warnings about a rule made of these conjuncts, most important first.
pub(super) fn warnings(conjuncts: &[Conjunct], key: &Key) -> Vec<Warning> {
    if conjuncts.is_empty() {
        return vec![Warning::AlwaysMatches];
    }
    let mut found: Vec<Warning> =
        contradiction(conjuncts).map(|because| Warning::NeverMatches { because }).into_iter().collect();
    found.extend(asymmetry(conjuncts));
    if conjuncts.iter().all(|conjunct| conjunct.role == Role::Residual) {
        found.push(Warning::EveryPairTested);
    }
    found.extend(
        conjuncts
            .iter()
            .filter(|one| one.role == Role::Residual && one.cost >= COST_NOTED)
            .map(|one| Warning::CostlyResidual { conjunct: one.text(), cost: one.cost }),
    );
    let attributes = needed(key);
    if !attributes.is_empty() {
        found.push(Warning::KeyMayBeMissing { attributes });
    }
    found
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
            let (mut left, mut right) = (natural(left, &mut false), natural(right, &mut false));
            range::relate(*op, &mut left, &mut right) && !Uses::of(expr).constant()
        }
        Expr::Literal(literal) => *literal == Value::Bool(true),
        // What has no attribute and is no literal is missing or an error: it would have been folded.
        _ => !Uses::of(expr).constant(),
    }
}
