//! Why an element is still waiting: what turned the others away, how nearly, and what is in sight.
//!
//! Tests the element with one waiting element after the other, by the parts of the rule and in the order of the plan.
//! It decides nothing and changes nothing; what it says holds for the waiting set and the time it was given.

use std::{collections::BTreeSet, sync::Arc};

use dovetail_rule::{Side, Value, Verdict, expr::CompareOp};

use crate::{ElementId, Pool, ledger::searches, pool::waited, slice::WaitingElement};

/// Most near misses that can be asked for.
pub const NEAREST_MAX: usize = 100;

/// An explanation on its way.
#[derive(Debug)]
pub struct Explainer {
    pool: Pool,
    element: WaitingElement,
    time_ms: u64,
    nearest_max: usize,
    /// By conjunct: whether time can change it.
    timed: Vec<bool>,
    explanation: Explanation,
}

/// Why an element is waiting.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// Other elements of the pool that wait.
    pub anchors: u64,
    /// By conjunct, in the order of the plan.
    pub conjuncts: Vec<TurnedAway>,
    /// Pairs on which the rule failed with an error.
    pub rule_errors: u64,
    /// Pairs that satisfy the rule now.
    pub acceptable: u64,
    /// Those that failed the fewest conjuncts by the least, nearest first.
    pub nearest: Vec<NearMiss>,
    /// The earliest search that is due and finds a partner if nothing changes: when, and which partner.
    pub prospect: Option<Prospect>,
}

/// What one conjunct did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnedAway {
    /// Elements for which it was the first that did not hold.
    pub elements: u64,
    /// Of these, the ones for which something was missing.
    pub missing: u64,
}

/// A pair that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct NearMiss {
    /// The other element.
    pub element: ElementId,
    /// Its key.
    pub key: Arc<str>,
    /// What the pair failed, in the order of the plan. Never empty.
    pub failed: Vec<Failed>,
    /// When a search that is due will find the pair acceptable, in milliseconds; none when none will.
    pub acceptable_at_ms: Option<u64>,
}

/// A conjunct that a pair failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// Its place in the plan.
    pub conjunct: usize,
    /// In words, with the values.
    pub reason: String,
    /// For a comparison of numbers, how far they are from satisfying it.
    pub off_by: Option<f64>,
}

/// A match in sight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// When one of the two searches, in milliseconds.
    pub at_ms: u64,
    /// The other element.
    pub element: ElementId,
    /// Its key.
    pub key: Arc<str>,
}

impl Explainer {
    /// Begins to explain why `element` waits at `time_ms`; at most [`NEAREST_MAX`] near misses are kept.
    #[must_use]
    pub fn new(pool: Pool, element: WaitingElement, time_ms: u64, nearest_max: usize) -> Explainer {
        let conjuncts = pool.rule.plan().conjuncts();
        let explanation =
            Explanation { conjuncts: vec![TurnedAway::default(); conjuncts.len()], ..Explanation::default() };
        let timed = conjuncts.iter().map(|conjunct| conjunct.expr().uses_time()).collect();
        Explainer { pool, element, time_ms, nearest_max: nearest_max.min(NEAREST_MAX), timed, explanation }
    }

    /// Tests another element that waits. Itself is passed over.
    pub fn look_at(&mut self, other: &WaitingElement, key: &Arc<str>) {
        if other.element == self.element.element {
            return;
        }
        self.explanation.anchors += 1;
        let [a, b] = self.sides(other, self.time_ms);
        match self.pool.rule.test(a, b) {
            Ok(true) => {
                self.explanation.acceptable += 1;
                self.expect(other, key);
            }
            Ok(false) => self.turned_away(other, key),
            Err(_) => self.explanation.rule_errors += 1,
        }
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> Explanation {
        self.explanation
    }

    /// When the element searches again, if it does.
    #[must_use]
    pub fn searches_at_ms(&self) -> Option<u64> {
        self.searches(&self.element).next()
    }

    fn turned_away(&mut self, other: &WaitingElement, key: &Arc<str>) {
        let [a, b] = self.sides(other, self.time_ms);
        let verdicts = self.pool.rule.plan().conjuncts().iter().map(|conjunct| conjunct.verdict(a, b)).enumerate();
        let failed: Vec<(usize, Verdict)> =
            verdicts.filter(|(_, verdict)| matches!(verdict, Verdict::Fails | Verdict::Missing)).collect();
        let &(first, verdict) = failed.first().expect("a rule that is not true has a conjunct that is not");
        let conjunct = &self.pool.rule.plan().conjuncts()[first];
        let missing = verdict == Verdict::Missing && conjunct.no_number(a, b).is_none();
        let counted = &mut self.explanation.conjuncts[first];
        counted.elements += 1;
        counted.missing += u64::from(missing);
        // Only time can change the mind of a rule about two elements.
        let timed = failed.iter().all(|&(index, _)| self.timed[index]);
        let acceptable_at_ms = if timed { self.expect(other, key) } else { None };
        let nearest = &self.explanation.nearest;
        if nearest.len() < self.nearest_max || nearest.last().is_some_and(|last| failed.len() <= last.failed.len()) {
            let failed = self.reasons(other, &failed);
            self.keep(NearMiss { element: other.element, key: Arc::clone(key), failed, acceptable_at_ms });
        }
    }

    fn reasons(&self, other: &WaitingElement, failed: &[(usize, Verdict)]) -> Vec<Failed> {
        let [a, b] = self.sides(other, self.time_ms);
        let reasons = failed.iter().map(|&(conjunct, verdict)| {
            let (reason, off_by) = reason(&self.pool.rule.plan().conjuncts()[conjunct], verdict, a, b);
            Failed { conjunct, reason, off_by }
        });
        reasons.collect()
    }

    /// Keeps a near miss if it is among the nearest. Of equals, the one looked at first.
    fn keep(&mut self, miss: NearMiss) {
        let off_by =
            |miss: &NearMiss| miss.failed.iter().map(|failed| failed.off_by.unwrap_or(f64::INFINITY)).sum::<f64>();
        let nearer = |one: &NearMiss| {
            one.failed.len().cmp(&miss.failed.len()).then(off_by(one).total_cmp(&off_by(&miss))).is_le()
        };
        let nearest = &mut self.explanation.nearest;
        let at = nearest.partition_point(nearer);
        nearest.insert(at, miss);
        nearest.truncate(self.nearest_max);
    }

    /// The first search that is due, of either, that finds the pair acceptable.
    fn expect(&mut self, other: &WaitingElement, key: &Arc<str>) -> Option<u64> {
        let times: BTreeSet<u64> = self.searches(&self.element).chain(self.searches(other)).collect();
        let at_ms = times.into_iter().find(|&at_ms| {
            let [a, b] = self.sides(other, at_ms);
            self.pool.rule.matches(a, b)
        })?;
        if self.explanation.prospect.as_ref().is_none_or(|known| at_ms < known.at_ms) {
            self.explanation.prospect = Some(Prospect { at_ms, element: other.element, key: Arc::clone(key) });
        }
        Some(at_ms)
    }

    /// When an element searches again, ascending.
    fn searches(&self, of: &WaitingElement) -> impl Iterator<Item = u64> + use<'_> {
        let now_ms = self.time_ms;
        searches(&self.pool.definition.reprobe_ms, of.arrived_ms).filter(move |&at_ms| at_ms > now_ms)
    }

    fn sides<'a>(&'a self, other: &'a WaitingElement, time_ms: u64) -> [Side<'a>; 2] {
        let side = |of: &'a WaitingElement| Side { row: &of.row, waited_ms: waited(of.arrived_ms, time_ms) };
        let (own, other_side) = (side(&self.element), side(other));
        if other.element < self.element.element { [other_side, own] } else { [own, other_side] }
    }
}

/// Why a conjunct does not hold for a pair, and by how much.
fn reason(conjunct: &dovetail_rule::Conjunct, verdict: Verdict, a: Side<'_>, b: Side<'_>) -> (String, Option<f64>) {
    let text = conjunct.text();
    if verdict == Verdict::Missing {
        let why = conjunct.no_number(a, b).unwrap_or_else(|| "an attribute is missing".to_owned());
        return (format!("{text}: {why}"), None);
    }
    let (Some((_, left_expr, right_expr)), Some((left, op, right))) = (conjunct.comparison(), conjunct.sides(a, b))
    else {
        return (format!("{text} is false"), None);
    };
    let (Some(left_number), Some(right_number)) = (number(&left), number(&right)) else {
        return (format!("{text}: {left_expr} is {left}, {right_expr} is {right}"), None);
    };
    // Of two that are infinite the difference is no number.
    let off_by = if left_number == right_number { 0.0 } else { (left_number - right_number).abs() };
    let allowed = match op {
        CompareOp::Eq => format!("{right} is asked for"),
        CompareOp::Ne => format!("anything but {right} is asked for"),
        CompareOp::Lt => format!("less than {right} is allowed"),
        CompareOp::Le => format!("at most {right} is allowed"),
        CompareOp::Gt => format!("more than {right} is asked for"),
        CompareOp::Ge => format!("at least {right} is asked for"),
    };
    match op {
        CompareOp::Ne => (format!("{left_expr} is {left}, {allowed}"), None),
        _ if off_by.is_infinite() => (format!("{left_expr} is {left}, {allowed}: off by Infinity"), Some(off_by)),
        _ => (format!("{left_expr} is {left}, {allowed}: off by {off_by}"), Some(off_by)),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(int) => Some(*int as f64),
        Value::Double(double) => Some(*double),
        Value::String(_) | Value::Bool(_) | Value::StringList(_) => None,
    }
}

#[cfg(test)]
mod tests;
