//! Whether a result is the one that the sequential program gives.

use std::sync::Arc;

use dovetail_core::{EventId, EventKind, Pool, PoolId, oracle::Oracle};
use dovetail_rule::Row;

use super::driven::Driven;
use super::source::RowSource;
use super::workload::{AnswerError, KnownAnswer, Workload, sequential};
use dovetail::pb;

/// Most elements of a described workload that the oracle is run for: it compares each with all that wait.
const ORACLE_MAX: usize = 20_000;
/// The same for W5.
const W5_MAX: usize = 100_000;

/// What was found, and what should have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What the cluster made of it.
    pub found: KnownAnswer,
    /// How that compares.
    pub verdict: CheckVerdict,
}

/// How a result compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckVerdict {
    /// It is the same.
    Matches(Against),
    /// It is another: a bug of the cluster.
    Differs(Against, KnownAnswer),
    /// Not known, and why.
    Unchecked(String),
}

/// What it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The known answer.
    Known,
    /// The sequential program, over the elements in the order of their ids.
    Sequential,
}

/// Why a result cannot even be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// A match of an element that was not submitted.
    #[error("a match names element {0}, which this run did not submit")]
    Stranger(u64),
    /// Pairs that no result can have.
    #[error("the matches contradict each other: {0}")]
    Answer(#[from] AnswerError),
    /// The described pool or an element of it is refused by the sequential program.
    #[error("the sequential program cannot take it: {0}")]
    Oracle(String),
}

/// Ids by position, the other way round.
#[derive(Debug)]
pub struct Order(Vec<(u64, usize)>);

impl Order {
    /// Of the ids by position.
    #[must_use]
    pub fn of(ids: &[u64]) -> Order {
        let mut order: Vec<(u64, usize)> = ids.iter().copied().zip(0..).collect();
        order.sort_unstable();
        Order(order)
    }

    /// Positions in the order of their ids.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|&(_, position)| position)
    }

    /// The position from 0 of an element.
    #[must_use]
    pub fn position(&self, id: u64) -> Option<usize> {
        let at = self.0.binary_search_by_key(&id, |&(id, _)| id).ok()?;
        Some(self.0[at].1)
    }

    fn is_as_submitted(&self) -> bool {
        self.0.iter().map(|&(_, position)| position).eq(0..self.0.len())
    }
}

/// Compares the matches with the known answer, or with what the sequential program makes of the same elements in the
/// order of their ids. May take a while.
///
/// # Errors
/// When the matches contradict themselves.
pub fn check(source: &RowSource, driven: &Driven, order: &Order) -> Result<Check, CheckError> {
    let position = |id| order.position(id).map(|position| position as u64 + 1).ok_or(CheckError::Stranger(id));
    let pairs = driven.matches.iter().map(|seen| Ok((position(seen.ends.0)?, position(seen.ends.1)?)));
    let pairs = pairs.collect::<Result<Vec<_>, CheckError>>()?;
    let n = source.len();
    let found = KnownAnswer::of(n, pairs)?;
    let (against, expected) = match expected(source, order)? {
        Ok(expected) => expected,
        Err(reason) => return Ok(Check { found, verdict: CheckVerdict::Unchecked(reason) }),
    };
    let verdict =
        if found == expected { CheckVerdict::Matches(against) } else { CheckVerdict::Differs(against, expected) };
    Ok(Check { found, verdict })
}

/// What should come of it, or why that is not known.
fn expected(source: &RowSource, order: &Order) -> Result<Result<(Against, KnownAnswer), String>, CheckError> {
    let n = source.len();
    let pairs = match source {
        RowSource::Generated { elements, .. } => {
            let workload = elements.workload();
            match workload.answer(n) {
                Some(known) if order.is_as_submitted() => return Ok(Ok((Against::Known, known))),
                _ if workload == Workload::W5 && n > W5_MAX => {
                    return Ok(Err(format!(
                        "there is no known answer, and {n} elements of w5 are more than the {W5_MAX} that are \
                                           compared with one another"
                    )));
                }
                _ => sequential(elements, order.positions()),
            }
        }
        RowSource::Described { definition, submissions } => match changes_with_time(definition, submissions)? {
            Some(reason) => return Ok(Err(reason)),
            None if n > ORACLE_MAX => {
                return Ok(Err(format!("{n} elements are more than the {ORACLE_MAX} that the oracle is run for")));
            }
            None => oracle(definition, submissions, order)?,
        },
    };
    Ok(Ok((Against::Sequential, KnownAnswer::of(n, pairs)?)))
}

/// Why a pool's matches follow from more than the order of its elements, if they do.
fn changes_with_time(
    definition: &pb::PoolDefinition,
    submissions: &[pb::Submission],
) -> Result<Option<String>, CheckError> {
    let pool = compile(definition)?;
    let because = if definition.ttl_ms > 0 || submissions.iter().any(|submission| submission.ttl_ms.unwrap_or(0) > 0) {
        "elements have a time to live"
    } else if !definition.reprobe_ms.is_empty() {
        "elements search again after a while"
    } else if pool.rule.uses_time() {
        "its rule asks how long an element has waited"
    } else {
        return Ok(None);
    };
    Ok(Some(format!("what matches in this pool depends on the time: {because}")))
}

const THE_POOL: PoolId = PoolId(0);

fn compile(definition: &pb::PoolDefinition) -> Result<Pool, CheckError> {
    let wrong = |error: String| CheckError::Oracle(error);
    let definition = dovetail_wire::pool_definition(definition.clone()).map_err(|error| wrong(error.to_string()))?;
    Pool::compile(THE_POOL, Arc::new(definition)).map_err(|error| wrong(error.to_string()))
}

/// The pairs of the sequential program, as positions from 1.
fn oracle(
    definition: &pb::PoolDefinition,
    submissions: &[pb::Submission],
    order: &Order,
) -> Result<Vec<(u64, u64)>, CheckError> {
    let pool = compile(definition)?;
    let wrong = |error: String| CheckError::Oracle(error);
    let mut oracle = Oracle::new();
    let mut x = EventId(1);
    let defined = EventKind::PoolDefined { pool: THE_POOL, definition: Arc::clone(&pool.definition) };
    oracle.on_event(x, 0, &defined).map_err(|error| wrong(error.to_string()))?;
    let (mut submitted, mut pairs) = (Vec::new(), Vec::new());
    for position in order.positions() {
        let submission =
            dovetail_wire::submission(submissions[position].clone()).map_err(|error| wrong(error.to_string()))?;
        let row = Row::from_named(&pool.schema, submission.attributes).map_err(|error| wrong(error.to_string()))?;
        x = x.next();
        submitted.push(position as u64 + 1);
        let arrival = EventKind::Arrival { pool: THE_POOL, row: Arc::new(row) };
        let retirement = oracle.on_event(x, 0, &arrival).map_err(|error| wrong(error.to_string()))?;
        if let Some(anchor) = retirement.and_then(|retirement| retirement.anchor) {
            // The first element is event 2.
            pairs.push((submitted[anchor.0 as usize - 2], position as u64 + 1));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::driven::SeenMatch;
    use dovetail::client::value;

    fn driven(ids: Vec<u64>, pairs: &[(u64, u64)]) -> Driven {
        let times = vec![Duration::ZERO; ids.len()];
        Driven {
            from: times.clone(),
            acknowledged: times,
            ids,
            matches: pairs.iter().map(|&ends| SeenMatch { ends, at: Duration::ZERO }).collect(),
            settled: Duration::ZERO,
            submitted_bytes: (0, 0),
            watched_bytes: 0,
        }
    }

    fn verdict(source: &RowSource, ids: Vec<u64>, pairs: &[(u64, u64)]) -> Result<CheckVerdict, CheckError> {
        let order = Order::of(&ids);
        check(source, &driven(ids, pairs), &order).map(|check| check.verdict)
    }

    fn described(rule: &str) -> RowSource {
        let skill = pb::Attribute { name: "skill".into(), r#type: pb::AttributeType::Int.into() };
        let definition =
            pb::PoolDefinition { name: "p".into(), rule: rule.into(), attributes: vec![skill], ..Default::default() };
        let submission = |skill| pb::Submission {
            key: format!("k{skill}"),
            attributes: [("skill".to_owned(), value::int(skill))].into(),
            ..Default::default()
        };
        RowSource::Described { definition, submissions: [1, 2, 3, 4].map(submission).into() }
    }

    #[test]
    fn the_known_answer_is_for_elements_in_their_order() {
        let source = RowSource::generated(Workload::W3, 20_000, None);
        let pairs: Vec<(u64, u64)> = (0..10_000).map(|pair| (2 * pair + 2, 2 * pair + 3)).collect();
        assert_eq!(verdict(&source, (2..20_002).collect(), &pairs), Ok(CheckVerdict::Matches(Against::Known)));
        assert_eq!(
            verdict(&source, (2..20_002).rev().collect(), &pairs),
            Ok(CheckVerdict::Matches(Against::Sequential))
        );
    }

    #[test]
    fn another_pair_is_seen() {
        let source = RowSource::generated(Workload::W3, 4, None);
        let found = verdict(&source, vec![2, 3, 4, 5], &[(2, 4), (3, 5)]).unwrap();
        assert!(matches!(found, CheckVerdict::Differs(Against::Sequential, _)), "{found:?}");
    }

    #[test]
    fn a_described_workload_is_compared_with_the_oracle_in_the_order_of_the_ids() {
        let source = described("abs(a.skill - b.skill) == 1");
        assert_eq!(
            verdict(&source, vec![2, 3, 4, 5], &[(2, 3), (4, 5)]),
            Ok(CheckVerdict::Matches(Against::Sequential))
        );
        // The second came first, then the third.
        assert_eq!(verdict(&source, vec![9, 2, 5, 7], &[(2, 5)]), Ok(CheckVerdict::Matches(Against::Sequential)));
    }

    #[test]
    fn a_pool_that_depends_on_the_time_is_not_compared() {
        let found = verdict(&described("a.waited > 5 && b.waited > 5"), vec![2, 3, 4, 5], &[]).unwrap();
        assert!(matches!(&found, CheckVerdict::Unchecked(reason) if reason.contains("has waited")), "{found:?}");
    }

    #[test]
    fn a_match_of_a_strangers_element_is_an_error() {
        let source = RowSource::generated(Workload::W3, 2, None);
        assert_eq!(verdict(&source, vec![2, 3], &[(2, 17)]), Err(CheckError::Stranger(17)));
    }
}
